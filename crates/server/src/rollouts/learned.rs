//! What the scores of a rollout's versions mean, learned from rows whose labels have come.
//!
//! R1. The rows are the newest that the incumbent answered before the rollout began, with a label and inputs that were kept
//!     whole. The candidate answers them as in a replay: nobody hears it, one request at a time, and before it answers
//!     anybody else.
//! R2. The older half teaches, and the newer half checks, as estimated quality has it: what held for older rows must have
//!     held for newer ones.
//! R3. It is learned once, and kept with what is measured. Rows, their reading and the time are bounded. An estimate
//!     that labels refuted is not tried again, or it would be until they do not.

use std::sync::Arc;
use std::time::Duration;

use ::ledger::{LabelledAsked, LabelledRows, Range};
use domain::rollout::recorded::LABELLED_MIN;
use domain::rollout::test::Test;
use domain::rollout::{Plan, Spec};
use domain::{ModelName, PredictionId, Refusal, Version};
use stats::estimate::compared::{Labelled, Scores};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

use super::LOOK_MAX;
use super::evidence::answer_of;
use crate::app::App;
use crate::clock::wall_ms;
use crate::replay::{again, requests};
use crate::running::Running;

/// Rows that are learned from, at most.
const ROWS_MAX: usize = 5_000;
/// Rows among which they are looked for, about.
const READ_MAX: usize = 500_000;
/// The memory that they may take, about.
const BYTES_MAX: usize = 256 << 20;
/// For how long the candidate is asked for them.
const ANSWERING_MAX: Duration = Duration::from_secs(120);

/// How often it is tried while places for questions, or the candidate, are not to be had, and how long it waits where
/// nobody says.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(5);

/// What was learned.
pub(crate) struct Learned {
    /// What scores mean, the incumbent's and the candidate's.
    pub(crate) scores: [Scores; 2],
    /// From so many rows.
    pub(crate) taught: u64,
    /// The rows that check it, as both answered them.
    pub(crate) held: Vec<[Labelled; 2]>,
    /// The incumbent and the candidate.
    pub(crate) versions: [Version; 2],
}

/// It is being learned.
pub(super) struct Learning(oneshot::Receiver<Result<Learned, Refusal>>);

impl Learning {
    pub(super) fn begin(app: &Arc<App>, plan: &Plan) -> Self {
        let (mut tell, told) = oneshot::channel();
        let (held, plan, stopping) = (Arc::clone(app), plan.clone(), app.tasks.stopping());
        app.tasks.start("what scores mean", async move {
            tokio::select! {
                biased;
                () = stopping => {}
                // A rollout that is over needs it no more.
                () = tell.closed() => {}
                learned = learn_when_it_can(&held, &plan) => drop(tell.send(learned)),
            }
        });
        Self(told)
    }

    /// What came of it, once.
    pub(super) fn end(&mut self) -> Option<Result<Learned, Refusal>> {
        match self.0.try_recv() {
            Ok(learned) => Some(learned),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(Refusal::Internal {
                what: "learning what scores mean ended".to_owned(),
            })),
        }
    }
}

/// The rows from which it could be learned what scores mean, where those are few; none where no test wants that.
pub(super) async fn count(app: &App, model: &ModelName, spec: &Spec) -> Result<u64, Refusal> {
    let tests = [&spec.guardrails, &spec.signals];
    let mut tests = tests.into_iter().flatten().flatten();
    let incumbent = app.store.registry.traffic(model).await?;
    let Some(incumbent) = incumbent.filter(|_| tests.any(Test::is_learned)) else {
        return Ok(0);
    };
    // It is asked whether they are enough: some more, as not every row has scores.
    let enough = 2 * LABELLED_MIN as usize;
    let parts = rows(app, model, incumbent, wall_ms(), enough).await?;
    let mut count = 0;
    for part in &parts {
        count += told(part)?.len() as u64;
    }
    Ok(count)
}

async fn rows(
    app: &App,
    model: &ModelName,
    incumbent: Version,
    before_ms: i64,
    rows_max: usize,
) -> Result<Vec<LabelledRows>, Refusal> {
    let (ledger, model) = (Arc::clone(&app.keeper.ledger), model.clone());
    let reading = move || {
        ledger.snapshot(wall_ms())?.labelled(&LabelledAsked {
            model: model.as_str(),
            version: incumbent.number(),
            range: Range {
                from_us: i64::MIN,
                to_us: before_ms.saturating_mul(1000),
            },
            rows_max,
            read_max: READ_MAX,
            bytes_max: BYTES_MAX,
        })
    };
    app.questions.compute(LOOK_MAX, reading).await
}

/// The rows of a part that have scores, by their places.
fn told(part: &LabelledRows) -> Result<Vec<(usize, Labelled)>, Refusal> {
    let truths: Vec<Option<f64>> = part.truths.iter().copied().map(Some).collect();
    let scored = part.rows.scored(&truths)?.into_iter().enumerate();
    let told = scored.filter_map(|(row, scored)| {
        let scored = scored?;
        let answer = answer_of(&scored);
        let positive = scored.positive?;
        Some((row, Labelled { answer, positive }))
    });
    Ok(told.collect())
}

/// Waits for what is busy, for a while.
async fn learn_when_it_can(app: &App, plan: &Plan) -> Result<Learned, Refusal> {
    for _ in 1..TRIES {
        match learn(app, plan).await {
            Err(refusal) => match pause(&refusal) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(refusal),
            },
            learned => return learned,
        }
    }
    learn(app, plan).await
}

/// How long to wait where something is only busy.
fn pause(refusal: &Refusal) -> Option<Duration> {
    match refusal {
        // Other questions had all places.
        Refusal::QueryTimeout { .. } => Some(PAUSE),
        other => wire::code::code(other)
            .retry_after_s
            .map(|it| Duration::from_secs(it.into())),
    }
}

async fn learn(app: &App, plan: &Plan) -> Result<Learned, Refusal> {
    let model = app.catalog.model(plan.model()).unwrap_or_default();
    let candidate = model.ready.get(&plan.candidate()).cloned();
    let candidate = candidate.ok_or_else(|| Refusal::NotReady {
        reference: format!("{}:{}", plan.model(), plan.candidate()),
        state: "no longer loaded; abort the rollout and start it again".to_owned(),
    })?;
    let (model, incumbent) = (plan.model(), plan.incumbent());
    let parts = rows(app, model, incumbent, plan.started().0, ROWS_MAX).await?;
    let answered = answered(&candidate, &parts).await?;
    let versions = [incumbent, plan.candidate()];
    if (answered.pairs.len() as u64) < LABELLED_MIN {
        return Err(Refusal::InvalidQuery {
            why: answered.too_few(),
        });
    }
    let mut pairs = answered.pairs;
    let fitting = move || {
        pairs.sort_unstable_by_key(|it| it.0);
        let half = pairs.len() / 2;
        let taught: Vec<[Labelled; 2]> = pairs.iter().take(half).map(|it| it.1).collect();
        let of =
            |version: usize| -> Vec<Labelled> { taught.iter().map(|it| it[version]).collect() };
        Ok(Learned {
            scores: [Scores::fit(&of(0)), Scores::fit(&of(1))],
            taught: half as u64,
            held: pairs.iter().skip(half).map(|it| it.1).collect(),
            versions,
        })
    };
    app.questions.compute(LOOK_MAX, fitting).await
}

/// Rows as both versions answered them, and those that the candidate did not.
#[derive(Default)]
struct Answered {
    pairs: Vec<(PredictionId, [Labelled; 2])>,
    /// Those that it answered without a score.
    unscored: usize,
    failed: usize,
    failure: Option<Refusal>,
    /// Whether its time was over before it was asked for all.
    ran_out: bool,
}

impl Answered {
    fn too_few(&self) -> String {
        let Self {
            pairs,
            unscored,
            failed,
            failure,
            ran_out,
        } = self;
        let mut why = format!(
            "it takes {LABELLED_MIN} rows with labels that both versions answered with scores; there are {}",
            pairs.len()
        );
        if *unscored > 0 {
            why += &format!(", and {unscored} that the candidate answered without");
        }
        if let Some(failure) = failure {
            why += &format!(", and {failed} that the candidate did not answer: {failure}");
        }
        if *ran_out {
            let seconds = ANSWERING_MAX.as_secs();
            why += &format!(
                ", then {seconds} s were over; start it again when the machine is less busy"
            );
        }
        why
    }
}

/// The place of a class that a version does not have: none that it calls is it.
const NO_CLASS: f64 = u32::MAX as f64;

async fn answered(candidate: &Running, parts: &[LabelledRows]) -> Result<Answered, Refusal> {
    let mut all = Answered::default();
    let end = Instant::now() + ANSWERING_MAX;
    for part in parts {
        let ids = part.rows.ids();
        let mut before = vec![None; ids.len()];
        for (row, labelled) in told(part)? {
            before[row] = Some(labelled);
        }
        for request in requests(candidate, &part.rows) {
            let answers = loop {
                if Instant::now() >= end {
                    // What came is as good as any.
                    all.ran_out = true;
                    return Ok(all);
                }
                match again(candidate, &part.rows, request.clone()).await {
                    Ok(answers) => break Some(answers),
                    Err(refusal) => match pause(&refusal) {
                        Some(pause) => tokio::time::sleep(pause).await,
                        None => {
                            all.failed += request.len();
                            all.failure.get_or_insert(refusal);
                            break None;
                        }
                    },
                }
            };
            let Some(answers) = answers else { continue };
            let truths = part.truths[request.clone()].iter();
            let truths: Vec<Option<f64>> = truths
                .map(|it| Some(part.rows.place_in(&answers, *it).unwrap_or(NO_CLASS)))
                .collect();
            for (row, after) in request.zip(answers.scored(&truths)?) {
                let Some(before) = before[row] else { continue };
                let after = after.and_then(|it| {
                    let (answer, positive) = (answer_of(&it), it.positive?);
                    Some(Labelled { answer, positive })
                });
                match after {
                    Some(after) => all.pairs.push((ids[row], [before, after])),
                    None => all.unscored += 1,
                }
            }
        }
    }
    Ok(all)
}
