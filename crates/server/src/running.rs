//! A version that is loaded: it answers requests.

use std::time::Duration;

use domain::request::{NamedTensor, fit};
use domain::{ModelName, Refusal, Signature, Tensor, Version, batch};

use crate::clock::Clock;
use crate::pool::{Job, Pool};
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
    pub(crate) instances: usize,
    pub(crate) timeout: Duration,
    /// The most rows of one request, where its owner says so.
    pub(crate) request_rows_max: Option<u32>,
    pub(crate) stats: Stats,
    pub(crate) pool: Pool,
    pub(crate) clock: Clock,
    /// One row that it answers; none where none was found.
    pub(crate) sample: Option<Vec<NamedTensor>>,
}

/// What a caller gets.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Indexes into the signature's outputs, in the caller's order.
    pub(crate) outputs: Vec<usize>,
    /// One for each of them.
    pub(crate) tensors: Vec<Tensor>,
}

impl Running {
    /// Checks the request, waits for its run and counts it. `timeout` is the caller's own; the shorter of
    /// it and the model's holds.
    pub(crate) async fn answer(
        &self,
        inputs: Vec<NamedTensor>,
        outputs: &[String],
        timeout: Option<Duration>,
    ) -> Result<Answer, Refusal> {
        let start = self.clock.now();
        let pending = self.stats.begin();
        let mut failure = CountIfDropped {
            running: self,
            start,
            armed: true,
        };
        let result = async {
            let fitted = fit(&self.signature, inputs, outputs)?;
            let rows = fitted.rows;
            if let Some(limit) = self.request_rows_max
                && rows > limit as usize
            {
                let (limit, got) = (u64::from(limit), rows as u64);
                return Err(Refusal::TooManyRows { limit, got });
            }
            let timeout = timeout.map_or(self.timeout, |it| it.min(self.timeout));
            let job = Job {
                inputs: fitted.inputs,
                outputs: fitted.outputs.clone(),
                rows,
                asked: start,
                deadline: start + timeout,
            };
            let done = self.pool.run(job).await?;
            Ok((rows, fitted.outputs, done))
        }
        .await;
        failure.armed = false;
        drop(pending);
        let end = self.clock.now();
        let total = end.since(start);
        match result {
            Ok((rows, outputs, done)) => {
                self.stats
                    .answered(rows, total, &done.timing, self.clock.wall_ms(end));
                Ok(Answer {
                    outputs,
                    tensors: done.outputs,
                })
            }
            Err(refusal) => {
                self.stats.failed(total, &refusal);
                Err(refusal)
            }
        }
    }

    /// A request that works, as JSON; none where a string in it is not UTF-8.
    pub(crate) fn sample_request(&self) -> Option<serde_json::Value> {
        let bytes = wire::oip::encode_request(None, self.sample.as_ref()?, &[], &[]).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Counts a request whose caller went away before it was answered.
struct CountIfDropped<'a> {
    running: &'a Running,
    start: domain::Time,
    armed: bool,
}

impl Drop for CountIfDropped<'_> {
    fn drop(&mut self) {
        if self.armed {
            let total = self.running.clock.now().since(self.start);
            self.running.stats.failed(total, &Refusal::Cancelled);
        }
    }
}
