//! A version that is loaded: it answers requests.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::decision::Decision;
use domain::request::{NamedTensor, fit};
use domain::rollout::assign::RouteToken;
use domain::{ModelName, Refusal, Signature, Tensor, Version, batch};

use uuid::Uuid;

use crate::clock::Clock;
use crate::inputs::Inputs;
use crate::ledger::{Asked, Asker, Ended, Recorder};
use crate::pool::{Done, Job, Pool};
use crate::recent::Counted;
use crate::stats::Stats;

/// The longest that a request may take where neither the model nor the caller says.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A version that is ready to answer.
pub(crate) struct Running {
    pub(crate) model: ModelName,
    pub(crate) version: Version,
    /// The same as text, for every answer.
    pub(crate) version_text: String,
    pub(crate) signature: Signature,
    pub(crate) limits: batch::Limits,
    /// Sessions that it has where no action of an alert says otherwise.
    pub(crate) instances_own: usize,
    pub(crate) timeout: Duration,
    /// The most rows of one request, where its owner says so.
    pub(crate) request_rows_max: Option<u32>,
    pub(crate) stats: Stats,
    /// What is watched of it.
    pub(crate) monitor: domain::monitor::Setting,
    /// What requests may hold, and what they held.
    pub(crate) inputs: Inputs,
    /// Which class an answer has, where groups have thresholds of their own.
    pub(crate) decision: Option<Decision>,
    pub(crate) pool: Pool,
    pub(crate) clock: Clock,
    /// One row that it answers; none where none was found.
    pub(crate) sample: Option<Vec<NamedTensor>>,
    /// Puts what was answered into the ledger.
    pub(crate) recorder: Arc<Recorder>,
    /// The same of what nobody heard, once there was something.
    pub(crate) unheard: OnceLock<Arc<Recorder>>,
}

/// What a caller gets.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of the request; its rows have a number behind it.
    pub(crate) id: Uuid,
    /// Indexes into the signature's outputs, in the caller's order.
    pub(crate) outputs: Vec<usize>,
    /// One for each of them.
    pub(crate) tensors: Vec<Tensor>,
    /// What is odd about the request.
    pub(crate) warning: Option<String>,
    /// Which thresholds of groups held for its rows.
    pub(crate) decision: Option<String>,
    /// What holds the caller where it went, while versions share the traffic and it has no key.
    pub(crate) token: Option<RouteToken>,
}

impl Running {
    /// Checks the request, waits for its run, records it and counts it. The shorter of the caller's timeout and
    /// the model's holds.
    pub(crate) async fn answer(
        &self,
        inputs: Vec<NamedTensor>,
        outputs: &[String],
        asked: &Asked<'_>,
    ) -> Result<Answer, Refusal> {
        let start = self.clock.now();
        let id = Uuid::now_v7();
        let time_us = self.recorder.time_us(start);
        let timeout = asked
            .asker
            .timeout
            .map_or(self.timeout, |it| it.min(self.timeout));
        let pending = self.stats.begin();
        let mut unfinished = EndIfDropped {
            running: self,
            asked,
            start,
            id,
            time_us,
            armed: true,
        };
        // What the ledger is told of, as far as it came to be known.
        let (mut rows, mut fitted_inputs, mut fitted_outputs) = (1, None, Vec::new());
        let (mut warning, mut decision, mut asked_for) = (None, None, 0);
        let result = async {
            self.recorder.admit(self.model.as_str(), time_us / 1000)?;
            let fitted = fit(&self.signature, inputs, outputs)?;
            rows = fitted.rows;
            fitted_outputs = fitted.outputs;
            asked_for = fitted_outputs.len();
            if let Some(limit) = self.request_rows_max
                && rows > limit as usize
            {
                let (limit, got) = (u64::from(limit), rows as u64);
                return Err(Refusal::TooManyRows { limit, got });
            }
            let inputs = Arc::new(fitted.inputs);
            fitted_inputs = Some(Arc::clone(&inputs));
            warning = self.inputs.check(&inputs, rows)?;
            let decides = self.decision.as_ref().map(|it| (it, Arc::clone(&inputs)));
            if let Some((decision, _)) = &decides {
                fitted_outputs.extend(decision.also(&fitted_outputs));
            }
            let job = Job {
                inputs,
                outputs: fitted_outputs.clone(),
                rows,
                asked: start,
                deadline: start + timeout,
            };
            let mut done = self.pool.run(job).await?;
            if let Some((it, inputs)) = decides {
                decision = Some(it.apply(&inputs, rows, &fitted_outputs, &mut done.outputs)?);
            }
            Ok(done)
        };
        let result = result.await;
        let total = self.clock.now().since(start);
        let (tensors, timing) = match &result {
            Ok(done) => (&done.outputs[..], Some(&done.timing)),
            Err(_) => (&[][..], None),
        };
        let ended = Ended {
            id,
            time_us,
            rows,
            inputs: fitted_inputs,
            outputs: &fitted_outputs[..tensors.len()],
            tensors,
            timing,
            total,
            code: result.as_ref().err().map(|it| wire::code::code(it).name),
        };
        let kept = self.recorder.keep(asked, &ended, timeout).await;
        unfinished.armed = false;
        drop(pending);
        let end = self.clock.now();
        let total = end.since(start);
        let refused = |refusal: Refusal| {
            self.stats.failed(total, &refusal);
            refusal
        };
        // A request that failed is told why it did, whatever became of its row.
        let Done {
            mut outputs,
            timing,
        } = result.map_err(refused)?;
        kept.map_err(refused)?;
        self.stats
            .answered(rows, total, &timing, self.clock.wall_ms(end));
        // Scores that nobody asked for were needed to decide.
        fitted_outputs.truncate(asked_for);
        outputs.truncate(asked_for);
        Ok(Answer {
            id,
            outputs: fitted_outputs,
            tensors: outputs,
            warning,
            decision,
            token: None,
        })
    }

    /// Answers inputs that were answered before, and gives them back as they were run. Neither recorded nor counted:
    /// nobody asked.
    pub(crate) async fn answer_again(
        &self,
        inputs: Vec<NamedTensor>,
    ) -> Result<(Answer, Arc<Vec<Tensor>>), Refusal> {
        let fitted = fit(&self.signature, inputs, &[])?;
        let asked = self.clock.now();
        let inputs = Arc::new(fitted.inputs);
        let job = Job {
            inputs: Arc::clone(&inputs),
            outputs: fitted.outputs.clone(),
            rows: fitted.rows,
            asked,
            deadline: asked + self.timeout,
        };
        let mut done = self.pool.run(job).await?;
        let decision = match &self.decision {
            None => None,
            Some(it) => Some(it.apply(&inputs, fitted.rows, &fitted.outputs, &mut done.outputs)?),
        };
        let answer = Answer {
            id: Uuid::nil(),
            outputs: fitted.outputs,
            tensors: done.outputs,
            warning: None,
            decision,
            token: None,
        };
        Ok((answer, inputs))
    }

    /// Answers what a caller asked another version, and records it with the same id beside the model's rows. Counted
    /// nowhere else: nobody asked.
    pub(crate) async fn answer_unheard(
        &self,
        inputs: Vec<NamedTensor>,
        id: Uuid,
        arm: &str,
        key: Option<&str>,
    ) -> Result<(), Refusal> {
        let start = self.clock.now();
        let headers = http::HeaderMap::new();
        let asked = Asked {
            asker: Asker {
                headers: &headers,
                request_id: None,
                timeout: None,
            },
            arm,
            key,
        };
        let fitted = fit(&self.signature, inputs, &[])?;
        let (rows, mut outputs) = (fitted.rows, fitted.outputs);
        let inputs = Arc::new(fitted.inputs);
        if let Some(decision) = &self.decision {
            outputs.extend(decision.also(&outputs));
        }
        let job = Job {
            inputs: Arc::clone(&inputs),
            outputs: outputs.clone(),
            rows,
            asked: start,
            deadline: start + self.timeout,
        };
        let result = self.pool.run(job).await.and_then(|mut done| {
            if let Some(decision) = &self.decision {
                decision.apply(&inputs, rows, &outputs, &mut done.outputs)?;
            }
            Ok(done)
        });
        let (tensors, timing) = match &result {
            Ok(done) => (&done.outputs[..], Some(&done.timing)),
            Err(_) => (&[][..], None),
        };
        let ended = Ended {
            id,
            time_us: self.recorder.time_us(start),
            rows,
            inputs: Some(Arc::clone(&inputs)),
            outputs: &outputs[..tensors.len()],
            tensors,
            timing,
            total: self.clock.now().since(start),
            code: result.as_ref().err().map(|it| wire::code::code(it).name),
        };
        let recorder = self
            .unheard
            .get_or_init(|| Arc::new(self.recorder.unheard()));
        recorder.keep(&asked, &ended, self.timeout).await?;
        result.map(drop)
    }

    /// What it has done since it was loaded.
    pub(crate) fn counted(&self) -> Counted {
        let (answered, failed, buckets) = self.stats.requests();
        let (rows, cost) = self.recorder.costs();
        Counted {
            answered,
            failed,
            buckets,
            rows,
            cost,
        }
    }

    /// A request that works, as JSON; none where a string in it is not UTF-8.
    pub(crate) fn sample_request(&self) -> Option<serde_json::Value> {
        let bytes = wire::oip::encode_request(None, self.sample.as_ref()?, &[], &[]).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Counts and records a request whose caller went away before it was answered.
struct EndIfDropped<'a> {
    running: &'a Running,
    asked: &'a Asked<'a>,
    start: domain::Time,
    id: Uuid,
    time_us: i64,
    armed: bool,
}

impl Drop for EndIfDropped<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let total = self.running.clock.now().since(self.start);
        self.running.stats.failed(total, &Refusal::Cancelled);
        let ended = Ended {
            id: self.id,
            time_us: self.time_us,
            rows: 1,
            inputs: None,
            outputs: &[],
            tensors: &[],
            timing: None,
            total,
            code: Some(wire::code::code(&Refusal::Cancelled).name),
        };
        self.running.recorder.keep_gone(self.asked, &ended);
    }
}
