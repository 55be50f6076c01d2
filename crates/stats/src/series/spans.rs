//! Whether the values of equal spans of time, one after another, are out of the ordinary: against the same hour of
//! the weeks before where there are enough of them, else of the days before, else against the last day.
//!
//! R6. A value is out of the ordinary where its score is beyond the limit *and* it has moved by more than matters.
//!     The second alone keeps a series that hardly scatters quiet.
//! R7. How far values scatter is taken from the residuals around the same time of the last seven days: what is
//!     usual at night is not what is usual at noon. It is never less than what counting alone makes.
//! R8. Only values before it say what is usual for a value.
//!
//! The rules R1 to R5 are those of [`super`].

use super::robust::{self, Centre, NORMAL_QUARTILE};
use super::seasonal::{self, Season};

/// What the values are, which says on what scale they scatter evenly and how far they do by chance alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    /// Above zero, such as a time or a cost: their logarithms are compared.
    Positive,
    /// Numbers of things: their roots are compared, which scatter by a half where they come by chance (Poisson).
    Count,
    /// Shares of so many: as they are, and scattering at least as draws do (binomial).
    Share(&'a [f64]),
    /// Means: as they are, and scattering at least by their standard errors.
    Mean(&'a [f64]),
}

/// What may be found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms<'a> {
    /// Spans in a day; at least 1.
    pub day: usize,
    /// What the values are.
    pub kind: Kind<'a>,
    /// Whether less than usual is out of the ordinary too.
    pub both: bool,
    /// How far out a score must be.
    pub limit: f64,
    /// The smallest move that matters, as a part of what was expected. A count must be so much more than expected,
    /// or be expected to be so much more: at 1 it has doubled or halved.
    pub margin: f64,
    /// The smallest move that matters, as it is; not of counts.
    pub margin_least: f64,
}

/// What a value was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The same span of so many weeks before.
    Weeks(usize),
    /// The same span of so many days before.
    Days(usize),
    /// All spans of the day before.
    LastDay,
}

/// What is said of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The value.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// How far it lies from that, in usual distances.
    pub score: f64,
    /// What it was compared with.
    pub against: Against,
    /// Whether it is out of the ordinary.
    pub anomalous: bool,
}

/// Days or weeks before there is a season, and the most that a value is compared with.
const CYCLES_MIN: usize = 3;
const DAYS_MAX: usize = 7;
const WEEKS_MAX: usize = 4;
/// Residuals of which a scale can be made.
const RESIDUALS_MIN: usize = 12;
/// A thousandth: logarithms that scatter less are taken to scatter so much.
const LOG_SCALE_MIN: f64 = 1e-3;
const POISSON_SCALE: f64 = 0.5;
/// Before weeks can be compared, a count is out of the ordinary only beyond so many times what was expected, either
/// way: a weekend may be so much quieter than a workday, and nobody can know that from a few days.
const WEEKEND: f64 = 4.0;
/// Spans of each day from which a scale is made, at most about: neighbours tell nearly the same.
const AROUND_MAX: usize = 24;

/// What is said of each value from `from` on; `None` where there is no value or too little before it to compare
/// it with. The values before `from` are there to be compared with. The time is that of some hundred values for
/// each.
pub fn look(values: &[f64], from: usize, terms: Terms<'_>) -> Vec<Option<Seen>> {
    assert!(terms.day > 0, "a day without spans");
    if let Kind::Share(of) | Kind::Mean(of) = terms.kind {
        assert_eq!(of.len(), values.len(), "each value has its number or error");
    }
    let scaled: Vec<f64> = values.iter().map(|it| terms.kind.scaled(*it)).collect();
    let mut residuals = Residuals::of(&scaled, None);
    let from = from.min(values.len());
    (from..values.len())
        .map(|index| {
            if scaled[index].is_nan() {
                return None;
            }
            let (against, usual) = usual(&scaled, index, terms.day, &mut residuals)?;
            Some(terms.seen(values, index, against, &usual))
        })
        .collect()
}

impl Kind<'_> {
    fn scaled(self, value: f64) -> f64 {
        match self {
            // Nothing is faster than a microsecond or costs less than nothing.
            Self::Positive if value > 0.0 => value.ln(),
            Self::Positive => f64::NAN,
            Self::Count => value.max(0.0).sqrt(),
            Self::Share(_) | Self::Mean(_) => value,
        }
    }

    fn unscaled(self, value: f64) -> f64 {
        match self {
            Self::Positive => value.exp(),
            Self::Count => value.max(0.0).powi(2),
            Self::Share(_) => value.clamp(0.0, 1.0),
            Self::Mean(_) => value,
        }
    }

    /// The least that values scatter by, where one such as `expected` is.
    fn scale_min(self, index: usize, expected: f64, mean: f64) -> f64 {
        match self {
            Self::Positive => LOG_SCALE_MIN,
            Self::Count => POISSON_SCALE,
            Self::Share(of) => {
                let of = of[index].max(2.0);
                // Where nothing ever failed one may.
                let share = expected.max(mean).clamp(1.0 / of, 1.0 - 0.5 / of);
                (share * (1.0 - share) / of).sqrt()
            }
            // Answers that are all the same have no error.
            Self::Mean(errors) => errors[index].max(f64::MIN_POSITIVE),
        }
    }
}

/// What is usual for a value, on the scale of comparison.
struct Usual {
    expected: f64,
    scale: f64,
    mean: f64,
}

impl Terms<'_> {
    fn seen(&self, values: &[f64], index: usize, against: Against, usual: &Usual) -> Seen {
        let value = values[index];
        let scale_min = self.kind.scale_min(index, usual.expected, usual.mean);
        let off = self.kind.scaled(value) - usual.expected;
        let score = off / usual.scale.max(scale_min);
        let expected = self.kind.unscaled(usual.expected);
        let far = if self.both { score.abs() } else { score };
        let matters = match self.kind {
            Kind::Positive | Kind::Share(_) | Kind::Mean(_) => {
                let moved = (value - expected).abs();
                moved > self.margin * expected.abs() && moved > self.margin_least
            }
            Kind::Count => {
                let weeks = matches!(against, Against::Weeks(_));
                let times = 1.0 + self.margin;
                let times = if weeks { times } else { times.max(WEEKEND) };
                value > times * expected || times * value < expected
            }
        };
        Seen {
            value,
            expected,
            score,
            against,
            anomalous: far > self.limit && matters,
        }
    }
}

fn usual<'a>(
    scaled: &'a [f64],
    index: usize,
    day: usize,
    residuals: &mut Residuals<'a>,
) -> Option<(Against, Usual)> {
    let (weeks, days) = (index / (7 * day), index / day);
    let (against, season) = if weeks >= CYCLES_MIN {
        let seasons = (weeks - 1).min(WEEKS_MAX);
        let period = 7 * day;
        (Against::Weeks(seasons), Season { period, seasons })
    } else if days >= CYCLES_MIN {
        // Half of the days are compared with, the others tell how far one is from them.
        let seasons = (days / 2).clamp(CYCLES_MIN - 1, DAYS_MAX);
        let period = day;
        (Against::Days(seasons), Season { period, seasons })
    } else {
        let before = &scaled[index.checked_sub(day)?..index];
        robust::half_finite(before)?;
        return Some((Against::LastDay, of_values(before)?));
    };
    if residuals.season != Some(season) {
        *residuals = Residuals::of(scaled, Some(season));
    }
    let base = seasonal::usual(scaled, index, season)?;
    // Two hours to both sides.
    let near = day / 12;
    let step = (2 * near / AROUND_MAX).max(1);
    let mut around = Vec::with_capacity(7 * (2 * AROUND_MAX + 1));
    let (mut sum, mut count) = (0.0, 0.0);
    for back in (1..=7).filter_map(|it| index.checked_sub(it * day)) {
        let others = back.saturating_sub(near)..=(back + near).min(index - 1);
        for other in others.step_by(step) {
            if let Some(residual) = residuals.at(other) {
                around.push(residual);
                sum += scaled[other];
                count += 1.0;
            }
        }
    }
    if around.len() < RESIDUALS_MIN {
        return None;
    }
    let centre = Centre::of(around)?;
    let usual = Usual {
        expected: base + centre.median,
        scale: centre.deviation / NORMAL_QUARTILE,
        mean: sum / count,
    };
    Some((against, usual))
}

fn of_values(before: &[f64]) -> Option<Usual> {
    let finite = || before.iter().copied().filter(|it| it.is_finite());
    let centre = Centre::of(finite())?;
    Some(Usual {
        expected: centre.median,
        scale: centre.deviation / NORMAL_QUARTILE,
        mean: finite().sum::<f64>() / finite().count() as f64,
    })
}

/// The residuals of a series for one season, each computed once; without one there are none.
struct Residuals<'a> {
    scaled: &'a [f64],
    season: Option<Season>,
    known: Vec<Option<f64>>,
    asked: Vec<bool>,
}

impl<'a> Residuals<'a> {
    fn of(scaled: &'a [f64], season: Option<Season>) -> Self {
        Self {
            scaled,
            season,
            known: vec![None; scaled.len()],
            asked: vec![false; scaled.len()],
        }
    }

    fn at(&mut self, index: usize) -> Option<f64> {
        if !self.asked[index] {
            self.asked[index] = true;
            let usual = seasonal::usual(self.scaled, index, self.season?);
            let residual = usual.map(|it| self.scaled[index] - it);
            self.known[index] = residual.filter(|it| it.is_finite());
        }
        self.known[index]
    }
}

#[cfg(test)]
mod tests;
