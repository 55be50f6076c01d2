//! Whether latency, errors, traffic, cost and answers are as usual, span by span.
//!
//! Of each model what the ledger counted of five weeks is kept, and only new spans are asked for. After the
//! start the weeks before are read a day at a time, one day a tick, so that no question takes long.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ::ledger::{Range, Served};
use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use domain::monitor::anomaly::{Anomaly, Series};
use domain::{ModelName, Refusal};
use stats::series::spans::{self, Against, Kind, Seen, Terms};

use super::LOOK_MAX;
use crate::app::App;
use crate::questions::sql_limits;
use crate::running::Running;

const DAY_US: i64 = 86_400_000_000;
/// A week is compared with three before it, and what is usual of that is taken from the week before it.
const KEPT_DAYS: i64 = 35;
/// Spans that are read once more: their last requests may have been under way.
const AGAIN: i64 = 2;
/// A move of latency that never matters, in microseconds.
const LATENCY_LEAST_US: f64 = 1000.0;

/// What was counted of every model.
pub(crate) struct Watch {
    /// What was before is compared with and not judged: that nothing came while no server ran is no finding.
    began_us: i64,
    histories: HashMap<ModelName, History>,
}

struct History {
    every_us: i64,
    /// What was counted by the number of the span; those without rows are not there.
    spans: BTreeMap<i64, Served>,
    /// The first span that was read.
    first: i64,
    /// The first span that was not, and not judged.
    next: i64,
    /// Read again from this span on: the last question failed.
    not_before: i64,
}

impl History {
    fn new(every_us: i64, current: i64) -> Self {
        Self {
            every_us,
            spans: BTreeMap::new(),
            first: current,
            next: current,
            not_before: current,
        }
    }

    fn day(&self) -> i64 {
        DAY_US / self.every_us
    }
}

impl Watch {
    pub(crate) fn new(began_us: i64) -> Self {
        Self {
            began_us,
            histories: HashMap::new(),
        }
    }

    /// Forgets models that are not served.
    pub(super) fn retain(&mut self, is_served: impl Fn(&ModelName) -> bool) {
        self.histories.retain(|model, _| is_served(model));
    }

    /// Looks where a span has ended since the last look; asks at most one question. Costs nothing otherwise.
    pub(crate) async fn look(
        &mut self,
        app: &App,
        running: &Running,
        now_us: i64,
    ) -> Result<Vec<Finding>, Refusal> {
        let setting = &running.monitor.anomaly;
        let model = &running.model;
        if setting.off {
            self.histories.remove(model);
            return Ok(Vec::new());
        }
        let every_us = i64::try_from(setting.span.0.as_micros()).unwrap_or(i64::MAX);
        let current = now_us.div_euclid(every_us);
        let kept = self.histories.entry(model.clone());
        let history = kept.or_insert_with(|| History::new(every_us, current));
        if history.every_us != every_us || current - history.next > history.day() {
            *history = History::new(every_us, current);
        }
        let oldest = current - KEPT_DAYS * history.day();
        let filling = history.first > oldest;
        if current < history.not_before || !filling && current <= history.next {
            return Ok(Vec::new());
        }
        let (from, to) = if filling {
            (history.first - history.day(), history.first)
        } else {
            (history.next - AGAIN, current)
        };
        history.not_before = current + 1;
        let read = read(app, running, every_us, from, to).await?;
        history.not_before = current;
        history
            .spans
            .extend(read.into_iter().map(|it| (it.span, it)));
        if filling {
            history.first = from;
            return Ok(Vec::new());
        }
        history.next = current;
        history.spans = history.spans.split_off(&oldest);
        history.first = oldest;
        let judged = Judged::of(running, history, self.began_us.div_euclid(every_us) + 1);
        app.questions
            .compute(LOOK_MAX, move || Ok(judged.findings()))
            .await
    }
}

async fn read(
    app: &App,
    running: &Running,
    every_us: i64,
    from: i64,
    to: i64,
) -> Result<Vec<Served>, Refusal> {
    let (ledger, limits) = (Arc::clone(&app.keeper.ledger), sql_limits(app));
    let range = Range {
        from_us: from * every_us,
        to_us: to * every_us,
    };
    let name = running.model.to_string();
    let watched = !running.monitor.anomaly.leave_out.contains(&Series::Score);
    let column = running.recorder.layout().level_column();
    let column = column.filter(|_| watched).map(str::to_owned);
    let question = async move {
        let snapshot = ledger.snapshot(crate::clock::wall_ms())?;
        let spans = (range, every_us);
        snapshot
            .served(&name, column.as_deref(), spans, limits)
            .await
    };
    app.questions.ask(LOOK_MAX, question).await
}

/// All that is judged, apart from the history, so that it can be done elsewhere.
struct Judged {
    model: ModelName,
    setting: Anomaly,
    day: usize,
    /// From this place on spans are judged; those before are compared with.
    since: usize,
    /// From the first span that has rows to the last that has ended.
    spans: Vec<Option<Served>>,
}

impl Judged {
    fn of(running: &Running, history: &History, began: i64) -> Self {
        let first = history.spans.keys().next().copied();
        let first = first.unwrap_or(history.next);
        let spans = (first..history.next).map(|it| history.spans.get(&it).copied());
        Self {
            model: running.model.clone(),
            setting: running.monitor.anomaly.clone(),
            day: usize::try_from(history.day()).unwrap_or(1),
            since: usize::try_from(began - first).unwrap_or(0),
            spans: spans.collect(),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let watched = |it: &Series| !self.setting.leave_out.contains(it);
        let all = Series::ALL.into_iter().filter(watched);
        all.filter_map(|it| self.finding(it)).collect()
    }

    /// A series' value in a span; NaN where there is too little to tell.
    fn value(&self, series: Series, span: Option<&Served>) -> f64 {
        let Some(served) = span else {
            return if series == Series::Traffic {
                0.0
            } else {
                f64::NAN
            };
        };
        let enough = |count: u64| count >= self.setting.rows_min;
        let rows = served.rows as f64;
        match series {
            Series::Traffic => rows,
            Series::Latency if enough(served.requests) => served.p99_us,
            Series::Errors if enough(served.rows) => served.failed as f64 / rows,
            Series::Cost if enough(served.rows) => {
                served.cost.map_or(f64::NAN, |it| it / rows * 1000.0)
            }
            Series::Score => served
                .level
                .filter(|it| enough(it.rows))
                .map_or(f64::NAN, |it| it.mean),
            Series::Latency | Series::Errors | Series::Cost => f64::NAN,
        }
    }

    fn seen(&self, series: Series) -> Vec<Option<Seen>> {
        let spans = || self.spans.iter().map(Option::as_ref);
        let values: Vec<f64> = spans().map(|it| self.value(series, it)).collect();
        let rows: Vec<f64> = spans()
            .map(|it| it.map_or(0.0, |it| it.rows as f64))
            .collect();
        let levels = || spans().map(|it| it?.level);
        let errors: Vec<f64> = levels()
            .map(|it| it.map_or(0.0, |it| it.deviation / (it.rows as f64).sqrt()))
            .collect();
        let margin = self.setting.margin(series);
        let (kind, margin, margin_least) = match series {
            Series::Latency => (Kind::Positive, margin, LATENCY_LEAST_US),
            Series::Errors => (Kind::Share(&rows), 0.0, margin),
            Series::Traffic => (Kind::Count, margin, 0.0),
            Series::Cost => (Kind::Positive, margin, 0.0),
            Series::Score => {
                let deviations: Vec<f64> = levels().flatten().map(|it| it.deviation).collect();
                let usual = stats::series::robust::median(deviations).unwrap_or(0.0);
                (Kind::Mean(&errors), 0.0, margin * usual)
            }
        };
        let terms = Terms {
            day: self.day,
            kind,
            both: series.both_ways(),
            limit: self.setting.limit,
            margin,
            margin_least,
        };
        let of = usize::try_from(self.setting.of).unwrap_or(usize::MAX);
        let from = values.len().saturating_sub(of).max(self.since);
        let mut seen = spans::look(&values, from, terms);
        if series == Series::Traffic {
            let least = self.setting.rows_min as f64;
            for it in &mut seen {
                *it = it.filter(|it| it.expected.max(it.value) >= least);
            }
        }
        seen
    }

    /// None where the series never had a value: nothing has a price, answers have no level.
    fn finding(&self, series: Series) -> Option<Finding> {
        let any = |is: fn(&Served) -> bool| self.spans.iter().flatten().any(is);
        let is = match series {
            Series::Cost => any(|it| it.cost.is_some()),
            Series::Score => any(|it| it.level.is_some()),
            Series::Latency | Series::Errors | Series::Traffic => true,
        };
        if !is {
            return None;
        }
        let seen = self.seen(series);
        let spans: Vec<Option<bool>> = seen.iter().map(|it| it.map(|it| it.anomalous)).collect();
        let verdict = self.setting.verdict(&spans);
        // What is told of is the newest span that made the verdict.
        let unusual = seen.iter().rev().flatten().find(|it| it.anomalous);
        let told = match verdict {
            Verdict::Bad => unusual,
            Verdict::Fine | Verdict::Unknown => seen.iter().rev().flatten().next(),
        };
        let number = |it: bool| spans.iter().filter(|span| **span == Some(it)).count() as f64;
        let mut evidence = Evidence::from([
            ("span".to_owned(), Fact::Text(self.setting.span.to_string())),
            ("unusual_spans".to_owned(), Fact::Number(number(true))),
            ("usual_spans".to_owned(), Fact::Number(number(false))),
            ("limit".to_owned(), Fact::Number(self.setting.limit)),
        ]);
        if let Some(seen) = told {
            let mut put = |name: &str, fact: Fact| evidence.insert(name.to_owned(), fact);
            put("value", Fact::Number(seen.value));
            put("usual", Fact::Number(seen.expected));
            put("score", Fact::Number(seen.score));
            put("compared_with", Fact::Text(compared_with(seen.against)));
        }
        Some(Finding {
            model: self.model.clone(),
            version: None,
            monitor: "anomaly".to_owned(),
            subject: series.name().to_owned(),
            segment: None,
            verdict,
            severity: Severity::Ticket,
            summary: self.summary(series, verdict, told),
            evidence,
        })
    }

    fn summary(&self, series: Series, verdict: Verdict, told: Option<&Seen>) -> String {
        let what = format!("{} of {}", series.name(), self.model);
        let Some(seen) = told.filter(|_| verdict != Verdict::Unknown) else {
            return format!("{what}: too little to tell what is usual");
        };
        if verdict == Verdict::Fine {
            return format!("{what} is as usual");
        }
        let show = |value: f64| match series {
            Series::Latency => format!("{:.1} ms (99 of 100 requests)", value / 1000.0),
            Series::Errors => format!("{:.2} % of rows", value * 100.0),
            Series::Traffic => format!("{value:.0} rows in {}", self.setting.span),
            Series::Cost => format!("{value:.6} for 1000 rows"),
            Series::Score => format!("{value:.4} on average"),
        };
        format!(
            "{what} is not as usual: {} where {} was to be expected of {}",
            show(seen.value),
            show(seen.expected),
            compared_with(seen.against)
        )
    }
}

fn compared_with(against: Against) -> String {
    match against {
        Against::Weeks(weeks) => format!("the same time of {weeks} weeks before"),
        Against::Days(days) => format!("the same time of {days} days before"),
        Against::LastDay => "the day before".to_owned(),
    }
}

#[cfg(test)]
mod tests;
