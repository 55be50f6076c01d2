//! Whether what a model's objectives allow to be bad is used up too fast.
//!
//! Of each model the counts of the last three days are kept by the minute; each look asks the ledger about the last
//! two minutes and the running one.

pub(super) mod quality;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ::ledger::{Events, EventsAsked, Range};
use domain::alert::{Evidence, Fact, Finding, Verdict};
use domain::manifest::Span;
use domain::monitor::slo::{Burn, Count, Kind, Objective, Pair, SPAN, windows};
use domain::{ModelName, Refusal};

use super::LOOK_MAX;
use crate::app::App;
use crate::questions::sql_limits;
use crate::running::Running;

const AGAIN: i64 = 2;

/// What was counted of every model that has objectives.
#[derive(Default)]
pub(crate) struct Watch {
    counted: HashMap<ModelName, Counted>,
}

#[derive(Default)]
struct Counted {
    under_us: Vec<u64>,
    spans: BTreeMap<i64, Events>,
    /// The span of the last look.
    last: Option<i64>,
}

fn spans_in(window: Duration) -> i64 {
    i64::try_from(window.as_secs() / SPAN.as_secs()).unwrap_or(i64::MAX)
}

impl Watch {
    /// Forgets models that are not served.
    pub(super) fn retain(&mut self, is_served: impl Fn(&ModelName) -> bool) {
        self.counted.retain(|model, _| is_served(model));
    }

    /// Looks once in a minute, and again soon where the ledger did not answer. Costs nothing otherwise.
    pub(crate) async fn look(
        &mut self,
        app: &App,
        running: &Running,
        now_us: i64,
    ) -> Result<Vec<Finding>, Refusal> {
        let objectives = running.monitor.objectives.iter();
        // Those of quality are not told by the minute.
        let objectives: Vec<&Objective> =
            objectives.filter(|it| it.kind != Kind::Quality).collect();
        let model = &running.model;
        if objectives.is_empty() {
            self.counted.remove(model);
            return Ok(Vec::new());
        }
        let every_us = i64::try_from(SPAN.as_micros()).unwrap_or(i64::MAX);
        let current = now_us.div_euclid(every_us);
        let counted = self.counted.entry(model.clone()).or_default();
        let under_us: Vec<u64> = objectives.iter().map(|it| under_us(it)).collect();
        if counted.under_us != under_us {
            *counted = Counted {
                under_us,
                ..Counted::default()
            };
        }
        if counted.last == Some(current) {
            return Ok(Vec::new());
        }
        let longest = windows().last().map_or(0, |it| spans_in(*it));
        let oldest = current - longest;
        let from = counted.last.map_or(oldest, |it| (it - AGAIN).max(oldest));
        // A question that fails is asked again at the next look, from where it was.
        let read = read(app, model, from, current, &counted.under_us).await?;
        counted.last = Some(current);
        counted.spans.extend(read);
        counted.spans = counted.spans.split_off(&oldest);
        let all = objectives.iter().enumerate();
        let findings = all.map(|(place, objective)| {
            let look = objective.look(|window| counted.count(place, objective, window, current));
            finding(running, objective, look)
        });
        Ok(findings.collect())
    }
}

fn under_us(objective: &Objective) -> u64 {
    let under = objective.under.map_or(Duration::MAX, |it| it.0);
    u64::try_from(under.as_micros()).unwrap_or(u64::from(u32::MAX))
}

impl Counted {
    fn count(&self, place: usize, objective: &Objective, window: Duration, current: i64) -> Count {
        // The running span is there beside the whole ones.
        let spans = self.spans.range(current - spans_in(window)..);
        spans.fold(Count::default(), |sum, (_, it)| match objective.kind {
            Kind::Errors => Count {
                bad: sum.bad + it.failed,
                all: sum.all + it.rows,
            },
            Kind::Latency => Count {
                bad: sum.bad + it.slow.get(place).copied().unwrap_or(0),
                all: sum.all + it.answered,
            },
            Kind::Quality => sum,
        })
    }
}

async fn read(
    app: &App,
    model: &ModelName,
    from: i64,
    current: i64,
    under_us: &[u64],
) -> Result<Vec<(i64, Events)>, Refusal> {
    let every_us = i64::try_from(SPAN.as_micros()).unwrap_or(i64::MAX);
    let (ledger, limits) = (Arc::clone(&app.keeper.ledger), sql_limits(app));
    let (name, under_us) = (model.to_string(), under_us.to_vec());
    let question = async move {
        let snapshot = ledger.snapshot(crate::clock::wall_ms())?;
        let blameless: Vec<&str> = wire::code::callers_own().collect();
        let asked = EventsAsked {
            model: &name,
            range: Range {
                from_us: from * every_us,
                to_us: (current + 1) * every_us,
            },
            every_us,
            blameless: &blameless,
            under_us: &under_us,
        };
        snapshot.events(asked, limits).await
    };
    app.questions.ask(LOOK_MAX, question).await
}

fn finding(running: &Running, objective: &Objective, (pair, burn): (Pair, Burn)) -> Finding {
    let (long, short) = (Span(pair.long), Span(pair.short));
    let what = format!("objective `{}` of {}", objective.name, running.model);
    let summary = match burn.verdict {
        Verdict::Bad => format!(
            "{what} burns: {:.1} times what {} % allows in {long} and {:.1} times in {short}, \
             where {:.1} times is too fast",
            burn.long, objective.target, burn.short, burn.limit
        ),
        Verdict::Fine => format!("{what} is kept"),
        Verdict::Unknown if objective.kind == Kind::Quality => {
            format!("{what}: too few labelled rows to tell")
        }
        Verdict::Unknown => format!("{what}: too few requests to tell"),
    };
    let evidence = Evidence::from([
        ("target".to_owned(), Fact::Number(objective.target)),
        ("over".to_owned(), Fact::Text(objective.over.to_string())),
        ("long".to_owned(), Fact::Text(long.to_string())),
        ("short".to_owned(), Fact::Text(short.to_string())),
        ("burn_long".to_owned(), Fact::Number(burn.long)),
        ("burn_short".to_owned(), Fact::Number(burn.short)),
        ("limit".to_owned(), Fact::Number(burn.limit)),
    ]);
    Finding {
        model: running.model.clone(),
        version: None,
        monitor: "slo".to_owned(),
        subject: objective.name.clone(),
        segment: None,
        verdict: burn.verdict,
        severity: pair.severity,
        summary,
        evidence,
    }
}
