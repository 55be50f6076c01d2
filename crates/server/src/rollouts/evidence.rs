//! What is measured of a rollout: from the ledger's rows to the evidence on which it is decided.
//!
//! R1. What ended is counted in windows of a second from the rollout's start, each once and whole. So it does not matter
//!     when or how often one looks, nor whether the process began anew in between.
//! R2. Everything that goes on from look to look is in [`Watch`]. A look that fails leaves it as it was, and the next one
//!     counts what that should have.
//! R3. Only what came while candidate and control shared the traffic is compared. What the candidate answers with all of the
//!     traffic counts where it is held to a budget.
//! R4. Who was assigned where is told by when requests came, once all of those have ended: told by when they end, a slow
//!     arm would look like one that is given fewer. They are remembered until then, not looked for again.

mod compared;
mod counted;
mod distinct;
mod estimated;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::ledger::{ArmsAsked, ArmsWindow, Attributes, Labelled, Ledger, Posted, Side};
use domain::alert::Moment;
use domain::rollout::evidence::{Evidence, Role, SplitCheck, Tested, Verdict};
use domain::rollout::test::{Measure, Test};
use domain::rollout::{Plan, Rollout};
use domain::{ModelName, Refusal};
use serde::{Deserialize, Serialize};
use stats::estimate::compared::Scores;
use stats::sequential::{Risks, assignment};

use crate::app::App;
use crate::attributes;
use crate::clock::wall_ms;
use crate::package::blocking;
use crate::rollouts::learned::Learned;
use crate::sharing::timeout;
use counted::Counted;
use distinct::{Distinct, together};
pub(crate) use estimated::answer_of;

/// How long a window is.
pub(super) const WINDOW_US: i64 = 1_000_000;
/// What ended so long ago is in the ledger.
const LATE: Duration = Duration::from_secs(1);
/// A request takes no longer than it may, and so much to be refused.
const REFUSING: Duration = Duration::from_secs(1);
/// How long a window of labels is, and of metrics: they are fewer, and each is looked for.
const LABELS_US: i64 = 5_000_000;
/// Windows of one question, which bounds its memory.
const WINDOWS_MAX: i64 = 300;

/// What goes on from look to look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// The number of the first window that is not counted yet.
    through: i64,
    /// The same of the windows of labels and of metrics.
    labels_through: i64,
    /// The number of the first window of which some that came may not have ended.
    came_through: i64,
    /// What the counts below began with.
    since: Option<u64>,
    /// They are of requests that came from then on.
    since_us: i64,
    keys: Distinct,
    shadowed: u64,
    split: [Distinct; 2],
    /// Guardrails and then signals, in the plan's order.
    tests: Vec<State>,
    /// What the scores of the incumbent and the candidate mean, for tests that estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scores: Option<[Scores; 2]>,
    /// Why the last look failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// A test so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    counted: Counted,
    /// For how many looks in a row it could not be told.
    errors: u32,
}

/// A plan's tests with their roles, in order.
fn tests(plan: &Plan) -> impl Iterator<Item = (Role, &Test)> {
    let tests = plan.tests();
    let guardrails = tests.guardrails.iter().map(|it| (Role::Guardrail, it));
    guardrails.chain(tests.signals.iter().map(|it| (Role::Signal, it)))
}

/// The columns and attributes of groups among a plan's tests, in the order of the tests.
fn columns(plan: &Plan) -> Vec<String> {
    tests(plan)
        .filter_map(|(_, test)| test.by.clone())
        .collect()
}

/// The metrics that callers post among a plan's tests, each once.
fn metrics(plan: &Plan) -> BTreeSet<String> {
    let posted = tests(plan).filter_map(|(_, test)| match &test.metric {
        Measure::Posted(name) => Some(name.clone()),
        _ => None,
    });
    posted.collect()
}

/// The budgets of latency among a plan's tests, in the order of the tests, in microseconds.
fn budgets(plan: &Plan) -> Vec<u64> {
    let over = tests(plan).filter_map(|(_, test)| test.over);
    let us = over.map(|it| u64::try_from(it.0.as_micros()).unwrap_or(u64::MAX));
    us.collect()
}

/// What the tests of a plan may be wrong.
fn risks(plan: &Plan) -> Risks {
    Risks {
        fail: plan.alpha_each(),
        pass: plan.spec().alpha,
    }
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Watch {
    /// Nothing measured yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        // Each test with a budget takes the next one, and so does each with a column.
        let (mut budget, mut column) = (0.., 0..);
        let states = tests(plan).map(|(_, test)| {
            let places = (
                test.over.and_then(|_| budget.next()).unwrap_or(0),
                test.by.as_ref().and_then(|_| column.next()).unwrap_or(0),
            );
            State {
                counted: Counted::new(test, places),
                errors: 0,
            }
        });
        let from_us = plan.started().0.saturating_mul(1000);
        Self {
            through: 0,
            labels_through: 0,
            came_through: 0,
            since: None,
            since_us: from_us,
            keys: Distinct::default(),
            shadowed: 0,
            split: [Distinct::default(), Distinct::default()],
            tests: states.collect(),
            scores: None,
            failed: None,
        }
    }

    /// Whether tests wait for what scores mean.
    pub(crate) fn waits_for_scores(&self) -> bool {
        self.tests.iter().any(|it| it.counted.waits_for_scores())
    }

    /// Scores mean this, or it is never known what. What came before is not estimated.
    pub(crate) fn learn(&mut self, plan: &Plan, learned: Result<Learned, Refusal>) {
        let risks = risks(plan);
        let learned = learned.map_err(|it| it.to_string());
        for ((_, test), state) in tests(plan).zip(&mut self.tests) {
            state.counted.learn(test, learned.as_ref(), risks);
        }
        self.scores = learned.ok().map(|it| it.scores);
    }

    /// Reads what is new and says how things are. `since` begins the counts of `keys`, `shadowed` and `split` anew whenever
    /// it differs from the last one.
    pub(crate) async fn look(
        &mut self,
        app: &App,
        rollout: &Rollout,
        since: u64,
        now: Moment,
    ) -> Evidence {
        let plan = &rollout.plan;
        let versions = [plan.incumbent(), plan.candidate()];
        let longest = timeout(app, plan.model(), &versions) + REFUSING;
        let attributes = attributes::among(app, plan.model(), &columns(plan)).await;
        let source = attributes.map(|attributes| Source {
            ledger: Arc::clone(&app.keeper.ledger),
            attributes,
        });
        self.look_in(source, plan, (longest, since, now)).await
    }

    /// The same in a ledger whose requests take `longest` at most.
    async fn look_in(
        &mut self,
        source: Result<Source, Refusal>,
        plan: &Plan,
        (longest, since, now): (Duration, u64, Moment),
    ) -> Evidence {
        self.begin(since, now);
        let read = match source {
            Ok(source) => self.read(&source, plan, longest, now).await,
            Err(refusal) => Err(refusal),
        };
        self.failed = read.err().map(|it| it.to_string());
        for state in &mut self.tests {
            let fails = self.failed.is_some() || state.counted.why_not().is_some();
            state.errors = if fails {
                state.errors.saturating_add(1)
            } else {
                0
            };
        }
        self.evidence(plan)
    }

    /// Begins the counts of a stage. What came before it was seen is of the one before.
    fn begin(&mut self, since: u64, now: Moment) {
        if self.since == Some(since) {
            return;
        }
        if self.since.replace(since).is_some() {
            self.since_us = now.0.saturating_mul(1000);
        }
        self.keys = Distinct::default();
        self.shadowed = 0;
        self.split = [Distinct::default(), Distinct::default()];
    }

    /// Reads and counts all windows that are over.
    async fn read(
        &mut self,
        source: &Source,
        plan: &Plan,
        longest: Duration,
        now: Moment,
    ) -> Result<(), Refusal> {
        let from_us = plan.started().0.saturating_mul(1000);
        let over_us = now.before(LATE).0.saturating_mul(1000);
        let until = over_us.saturating_sub(from_us).div_euclid(WINDOW_US);
        while self.through < until {
            let to = until.min(self.through + WINDOWS_MAX);
            let windows = self.through..to;
            let arms = ask(source, plan, move |question, blameless| {
                let asked = question.asked((windows, WINDOW_US), longest, blameless);
                question.ledger.snapshot(wall_ms())?.arms(&asked)
            });
            self.count(&arms.await?, from_us);
            self.through = to;
            // What came before then has ended.
            let ended_us = to.saturating_mul(WINDOW_US).saturating_sub(us(longest));
            self.came_through = ended_us.div_euclid(WINDOW_US).max(self.came_through);
            self.settle();
        }
        let needs_labels = tests(plan).any(|(_, it)| it.metric.needs_labels());
        let metrics = metrics(plan);
        if !needs_labels && metrics.is_empty() {
            return Ok(());
        }
        let until = over_us.saturating_sub(from_us).div_euclid(LABELS_US);
        while self.labels_through < until {
            let to = until.min(self.labels_through + WINDOWS_MAX);
            let windows = self.labels_through..to;
            let metrics = metrics.clone();
            let told = ask(source, plan, move |question, blameless| {
                let asked = question.asked((windows, LABELS_US), longest, blameless);
                let snapshot = question.ledger.snapshot(wall_ms())?;
                let labelled = match needs_labels {
                    true => snapshot.arms_labelled(&asked)?,
                    false => Vec::new(),
                };
                let mut posted = Vec::new();
                for name in metrics {
                    let windows = snapshot.arms_posted(&asked, &name)?;
                    posted.push((name, windows));
                }
                Ok((labelled, posted))
            });
            // Both or neither, so that a look which fails loses nothing and counts nothing twice.
            let (labelled, posted) = told.await?;
            self.count_labelled(&labelled);
            for (name, windows) in posted {
                self.count_posted(plan, &Measure::Posted(name), &windows);
            }
            self.labels_through = to;
        }
        Ok(())
    }

    fn count_posted(&mut self, plan: &Plan, metric: &Measure, windows: &[Posted]) {
        let tests = tests(plan).zip(&mut self.tests);
        for ((_, test), state) in tests.filter(|((_, test), _)| test.metric == *metric) {
            for window in windows {
                state.counted.add_posted(test, window);
            }
        }
    }

    fn count_labelled(&mut self, windows: &[Labelled]) {
        for window in windows {
            for state in &mut self.tests {
                state.counted.add_labelled(window);
            }
        }
    }

    fn count(&mut self, windows: &[ArmsWindow], from_us: i64) {
        for window in windows {
            for (side, did) in &window.sides {
                let came = [did.first_us, did.unit.came_us];
                let Some(came_us) = came.into_iter().find(|it| *it >= self.since_us) else {
                    continue;
                };
                let came = came_us.saturating_sub(from_us).div_euclid(WINDOW_US);
                let arm = match side {
                    Side::Candidate => 0,
                    Side::Control => 1,
                    Side::After => continue,
                };
                if *side == Side::Candidate {
                    self.keys.add(&did.unit, came);
                }
                self.split[arm].add(&did.unit, came);
                // Both arms are thinned alike, or neither's count could be compared.
                together(&mut self.split);
            }
            let shadowed = window.shadowed_us.iter();
            self.shadowed += shadowed.filter(|it| **it >= self.since_us).count() as u64;
            for state in &mut self.tests {
                state.counted.add(window);
                if let Some(scores) = &self.scores {
                    state.counted.add_scored(window, scores);
                }
            }
        }
    }

    /// Forgets when those came of whom that does not matter any more.
    fn settle(&mut self) {
        self.keys.settle(i64::MAX);
        for arm in &mut self.split {
            arm.settle(self.came_through);
        }
    }

    fn evidence(&self, plan: &Plan) -> Evidence {
        let risks = risks(plan);
        let tested = tests(plan).zip(&self.tests).map(|((role, test), state)| {
            let why = self.failed.as_deref().or(state.counted.why_not());
            let looks = state.errors;
            let read = state.counted.read(test, risks);
            Tested {
                role,
                name: test.name(),
                verdict: match why {
                    Some(why) => Verdict::Error {
                        why: why.to_owned(),
                        looks,
                    },
                    None => read.verdict,
                },
                ..read
            }
        });
        let [candidate, control] = &self.split;
        let counts = [candidate, control].map(|it| it.counted(self.came_through));
        let split = (counts != [0, 0]).then(|| SplitCheck {
            candidate: candidate.number(self.came_through),
            control: control.number(self.came_through),
            e_value: assignment::ln_mismatch(&counts, &[0.5, 0.5])
                .exp()
                .min(f64::MAX),
        });
        Evidence {
            keys: self.keys.number(i64::MAX),
            shadowed: self.shadowed,
            split,
            tests: tested.collect(),
        }
    }
}

/// What is read.
struct Source {
    ledger: Arc<Ledger>,
    /// What is known of keys by the names that tests tell groups by.
    attributes: Attributes,
}

/// What is asked of the ledger at every look.
struct Question {
    ledger: Arc<Ledger>,
    attributes: Attributes,
    model: ModelName,
    incumbent: u32,
    candidate: u32,
    from_us: i64,
    over_us: Vec<u64>,
    by: Vec<String>,
    pairs: bool,
    scores: bool,
}

impl Question {
    fn asked<'a>(
        &'a self,
        (windows, every_us): (std::ops::Range<i64>, i64),
        longest: Duration,
        blameless: &'a [&'a str],
    ) -> ArmsAsked<'a> {
        ArmsAsked {
            model: self.model.as_str(),
            incumbent: self.incumbent,
            candidate: self.candidate,
            from_us: self.from_us,
            every_us,
            windows,
            longest_us: us(longest),
            blameless,
            gave_up: wire::code::code(&Refusal::Cancelled).name,
            over_us: &self.over_us,
            pairs: self.pairs,
            by: &self.by,
            attributes: self.attributes.clone(),
            scores: self.scores,
        }
    }
}

/// Asks on a thread that may take its time. Not as people's questions are asked: a guardrail must not wait for those.
async fn ask<T: Send + 'static>(
    source: &Source,
    plan: &Plan,
    question: impl FnOnce(&Question, &[&str]) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let asked = Question {
        ledger: Arc::clone(&source.ledger),
        attributes: source.attributes.clone(),
        model: plan.model().clone(),
        incumbent: plan.incumbent().number(),
        candidate: plan.candidate().number(),
        from_us: plan.started().0.saturating_mul(1000),
        over_us: budgets(plan),
        by: columns(plan),
        pairs: tests(plan).any(|(_, it)| it.metric == Measure::Disagreement),
        scores: plan.tests().are_learned(),
    };
    blocking(move || {
        let blameless: Vec<&str> = wire::code::callers_own().collect();
        question(&asked, &blameless)
    })
    .await
}

#[cfg(test)]
mod tests;
