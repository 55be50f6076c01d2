//! What is known and what was chosen.

use wire::api::overview::{ModelNowRecord, OverviewRecord, PointRecord, RecentRecord};

use super::News;

/// The points of a model that are kept: what the server keeps, too.
const POINTS_MAX: usize = 180;

/// What a key wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    First,
    Last,
    Enter,
    Order,
    Back,
    Leave,
}

/// By what models are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Attention,
    Requests,
    Latency,
    Errors,
    Name,
}

impl Order {
    const ALL: [Self; 5] = [
        Self::Attention,
        Self::Requests,
        Self::Latency,
        Self::Errors,
        Self::Name,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Requests => "requests/s",
            Self::Latency => "p99",
            Self::Errors => "errors",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        let place = Self::ALL.iter().position(|it| *it == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()]
    }
}

/// All that is drawn.
#[derive(Debug)]
pub(super) struct View {
    pub(super) address: String,
    /// As the server told it last, with all points; sorted by `order`.
    pub(super) overview: OverviewRecord,
    pub(super) order: Order,
    /// Which model is chosen, by name: it stays chosen wherever it goes.
    selected: Option<String>,
    /// Whether it is shown alone.
    pub(super) alone: bool,
    /// Why the server is away, where it is.
    pub(super) away: Option<String>,
}

impl View {
    pub(super) fn new(address: String, overview: OverviewRecord) -> Self {
        Self {
            address,
            overview,
            order: Order::Attention,
            selected: None,
            alone: false,
            away: None,
        }
    }

    /// The place of the model that is chosen; the first where none is.
    pub(super) fn place(&self) -> usize {
        let name = self.selected.as_deref();
        let mut models = self.overview.models.iter();
        let place = name.and_then(|name| models.position(|it| it.name == name));
        place.unwrap_or(0)
    }

    pub(super) fn chosen(&self) -> Option<&ModelNowRecord> {
        self.overview.models.get(self.place())
    }

    /// Takes in what was heard; it goes on whatever that is.
    pub(super) fn hear(&mut self, news: News) -> bool {
        match news {
            News::All(overview) => self.overview = overview,
            News::More(mut overview) => {
                for model in &mut overview.models {
                    let mut models = self.overview.models.iter_mut();
                    if let Some(before) = models.find(|it| it.name == model.name) {
                        let known = std::mem::take(&mut before.recent);
                        model.recent = joined(known, std::mem::take(&mut model.recent));
                    }
                }
                self.overview = overview;
            }
            News::Away(why) => {
                self.away = Some(why);
                return true;
            }
        }
        self.away = None;
        self.sort();
        true
    }

    /// Does what a key wants; whether it goes on.
    pub(super) fn press(&mut self, key: Key) -> bool {
        let (place, last) = (self.place(), self.overview.models.len().saturating_sub(1));
        match key {
            Key::Up => self.choose(place.saturating_sub(1)),
            Key::Down => self.choose((place + 1).min(last)),
            Key::First => self.choose(0),
            Key::Last => self.choose(last),
            Key::Enter => {
                self.choose(place);
                self.alone = !self.alone && self.chosen().is_some();
            }
            Key::Order => {
                self.choose(place);
                self.order = self.order.next();
                self.sort();
            }
            Key::Back if self.alone => self.alone = false,
            Key::Back | Key::Leave => return false,
        }
        true
    }

    fn choose(&mut self, place: usize) {
        let chosen = self.overview.models.get(place);
        self.selected = chosen.map(|it| it.name.clone());
    }

    fn sort(&mut self) {
        let order = self.order;
        let key = |it: &ModelNowRecord| {
            let last = it.recent.points.last().copied().unwrap_or_default();
            match order {
                Order::Attention => f64::from(it.attention),
                Order::Requests => last.requests_per_s,
                Order::Latency => last.p99_ms.unwrap_or(-1.0),
                Order::Errors => last.error_rate.unwrap_or(-1.0),
                Order::Name => 0.0,
            }
        };
        let models = &mut self.overview.models;
        if order != Order::Attention {
            models.sort_by(|a, b| a.name.cmp(&b.name));
        }
        // Equal ones stay as they are: by attention as the server has them, else by name.
        models.sort_by(|a, b| key(b).total_cmp(&key(a)));
    }
}

/// Points and newer ones as one row of them: of the same time the newer hold.
fn joined(mut known: RecentRecord, newer: RecentRecord) -> RecentRecord {
    let (step_ms, from_ms) = (newer.step_ms, newer.from_ms);
    let offset = from_ms.saturating_sub(known.from_ms);
    let fits = step_ms > 0 && step_ms == known.step_ms && offset >= 0 && offset % step_ms == 0;
    let place = usize::try_from(offset / step_ms.max(1)).unwrap_or(usize::MAX);
    if !fits || place > known.points.len() + POINTS_MAX {
        return newer;
    }
    known.points.resize(place, PointRecord::default());
    known.points.extend(newer.points);
    let over = known.points.len().saturating_sub(POINTS_MAX);
    known.points.drain(..over);
    known.from_ms += step_ms * over as i64;
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::draw::tests::overview;

    fn names(view: &View) -> Vec<&str> {
        let models = view.overview.models.iter();
        models.map(|it| it.name.as_str()).collect()
    }

    #[test]
    fn a_chosen_model_stays_chosen_wherever_it_goes() {
        let mut view = View::new("http://h:1".to_owned(), overview());
        assert_eq!(names(&view), ["credit", "churn", "idle"]);
        assert!(view.press(Key::Down));
        assert_eq!(view.chosen().map(|it| it.name.as_str()), Some("churn"));
        for (order, want) in [
            ("requests/s", ["churn", "credit", "idle"]),
            ("p99", ["credit", "churn", "idle"]),
            ("errors", ["credit", "churn", "idle"]),
            ("name", ["churn", "credit", "idle"]),
        ] {
            assert!(view.press(Key::Order));
            assert_eq!((view.order.name(), names(&view)), (order, want.to_vec()));
            assert_eq!(view.chosen().map(|it| it.name.as_str()), Some("churn"));
        }
        assert!(view.press(Key::Last));
        assert!(view.press(Key::Down));
        assert_eq!(view.place(), 2);
        assert!(view.press(Key::Enter) && view.alone);
        assert!(view.press(Key::Back) && !view.alone, "back to the list");
        assert!(!view.press(Key::Back));
        assert!(!view.press(Key::Leave));
        let mut none = overview();
        none.models.clear();
        assert!(view.hear(News::All(none)));
        assert!(view.press(Key::Up) && view.press(Key::Enter) && !view.alone);
    }

    #[test]
    fn newer_points_are_put_behind_those_that_are_known() {
        let recent = |from_ms, rates: &[f64]| RecentRecord {
            from_ms,
            step_ms: 10,
            points: rates
                .iter()
                .map(|it| PointRecord {
                    requests_per_s: *it,
                    ..PointRecord::default()
                })
                .collect(),
        };
        let check = |known: &RecentRecord, newer, from_ms, want: &[f64]| {
            let joined = joined(known.clone(), newer);
            let rates: Vec<f64> = joined.points.iter().map(|it| it.requests_per_s).collect();
            assert_eq!((joined.from_ms, rates), (from_ms, want.to_vec()));
        };
        let known = recent(100, &[1.0, 2.0]);
        check(&known, recent(110, &[3.0]), 100, &[1.0, 3.0]);
        check(&known, recent(120, &[3.0]), 100, &[1.0, 2.0, 3.0]);
        check(&known, recent(130, &[3.0]), 100, &[1.0, 2.0, 0.0, 3.0]);
        check(&known, recent(125, &[3.0]), 125, &[3.0]);
        check(&known, recent(90_000, &[3.0]), 90_000, &[3.0]);
        check(&RecentRecord::default(), recent(90, &[3.0]), 90, &[3.0]);
        let full = recent(100, &[1.0; POINTS_MAX]);
        let joined = joined(full, recent(100 + 10 * POINTS_MAX as i64, &[3.0]));
        assert_eq!((joined.from_ms, joined.points.len()), (110, POINTS_MAX));
    }

    #[test]
    fn a_server_that_is_away_is_said_to_be_until_it_is_heard_again() {
        let mut view = View::new("http://h:1".to_owned(), overview());
        assert!(view.hear(News::Away("refused".to_owned())));
        assert_eq!(view.away.as_deref(), Some("refused"));
        let mut more = overview();
        for it in &mut more.models {
            it.recent.points = it.recent.points.split_off(2);
            it.recent.from_ms += 2 * it.recent.step_ms;
        }
        assert!(view.hear(News::More(more)));
        assert_eq!((view.away.as_deref(), view.overview), (None, overview()));
    }
}
