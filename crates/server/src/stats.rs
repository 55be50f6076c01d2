//! What is counted while answering, and how `/metrics` prints it.
//!
//! Names beginning with `nv_inference_` are Triton's, with its units, so that its dashboards and scalers
//! work; those beginning with `windlass_` are ours, in seconds and bytes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::Refusal;
use domain::alert::Severity;
use domain::experiment::Answer;
use domain::rollout::State;
use store::registry::outbox::DELIVERIES_MAX;

use crate::pool::Timing;
use crate::shadow::ShadowCounts;

/// Upper bounds of the histograms' buckets, in seconds.
pub(crate) const BUCKETS_S: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Upper bounds of the histogram of rows in a run.
const BUCKETS_ROWS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How often, and for how long together.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    pub(crate) count: AtomicU64,
    pub(crate) nanos: AtomicU64,
}

impl Spent {
    fn add(&self, duration: Duration) {
        self.count.fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos(duration), Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How values are spread over fixed buckets.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: [f64; N],
    counts: [AtomicU64; N],
    count: AtomicU64,
    /// In billionths of the unit.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [f64; N]) -> Self {
        Self {
            bounds,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    fn add(&self, value: f64) {
        if let Some(index) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[index].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add((value * 1e9) as u64, Relaxed);
    }

    fn print(&self, text: &mut String, name: &str, labels: &str) {
        let mut below = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            below += count.load(Relaxed);
            line(
                text,
                &format!("{name}_bucket"),
                &format!("{labels},le=\"{bound}\""),
                below,
            );
        }
        let count = self.count.load(Relaxed);
        line(
            text,
            &format!("{name}_bucket"),
            &format!("{labels},le=\"+Inf\""),
            count,
        );
        let sum = self.sum.load(Relaxed) as f64 / 1e9;
        line(text, &format!("{name}_sum"), labels, sum);
        line(text, &format!("{name}_count"), labels, count);
    }
}

/// What one version has done since it was loaded.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) success: Spent,
    pub(crate) fail: Spent,
    pub(crate) queue: Spent,
    pub(crate) compute_input: Spent,
    pub(crate) compute_infer: Spent,
    pub(crate) compute_output: Spent,
    /// Failures by whose doing they were.
    rejected: AtomicU64,
    cancelled: AtomicU64,
    backend: AtomicU64,
    other: AtomicU64,
    /// Rows answered.
    pub(crate) rows: AtomicU64,
    /// Runs made.
    pub(crate) runs: AtomicU64,
    /// Requests that are waiting or running.
    pending: AtomicI64,
    /// When the last request was answered, in milliseconds since 1970.
    pub(crate) last_ms: AtomicU64,
    request_s: Histogram<16>,
    queue_s: Histogram<16>,
    compute_s: Histogram<16>,
    run_rows: Histogram<9>,
    /// What runs used of cores.
    cpu: Spent,
    /// By the rows of a run: how many there were, and for how long each stage took together.
    by_rows: Mutex<BTreeMap<usize, RunsOf>>,
}

/// Runs of one number of rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunsOf {
    pub(crate) count: u64,
    pub(crate) join_ns: u64,
    pub(crate) compute_ns: u64,
    pub(crate) split_ns: u64,
}

/// Numbers of rows that are kept apart; a model whose requests have more different ones is not told
/// apart further.
const BY_ROWS_MAX: usize = 256;

impl Default for Stats {
    fn default() -> Self {
        Self {
            success: Spent::default(),
            fail: Spent::default(),
            queue: Spent::default(),
            compute_input: Spent::default(),
            compute_infer: Spent::default(),
            compute_output: Spent::default(),
            rejected: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            backend: AtomicU64::new(0),
            other: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            pending: AtomicI64::new(0),
            last_ms: AtomicU64::new(0),
            request_s: Histogram::new(BUCKETS_S),
            queue_s: Histogram::new(BUCKETS_S),
            compute_s: Histogram::new(BUCKETS_S),
            run_rows: Histogram::new(BUCKETS_ROWS),
            cpu: Spent::default(),
            by_rows: Mutex::default(),
        }
    }
}

/// Counts a request as pending until it is dropped.
pub(crate) struct Pending<'a>(&'a Stats);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

impl Stats {
    /// A request has come.
    pub(crate) fn begin(&self) -> Pending<'_> {
        self.pending.fetch_add(1, Relaxed);
        Pending(self)
    }

    /// A request was answered.
    pub(crate) fn answered(&self, rows: usize, total: Duration, timing: &Timing, wall_ms: i64) {
        self.success.add(total);
        self.queue.add(timing.queue);
        self.compute_input.add(timing.join);
        self.compute_infer.add(timing.compute);
        self.compute_output.add(timing.split);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.last_ms
            .store(u64::try_from(wall_ms).unwrap_or(0), Relaxed);
        self.request_s.add(total.as_secs_f64());
        self.queue_s.add(timing.queue.as_secs_f64());
        if timing.first_of_run {
            self.runs.fetch_add(1, Relaxed);
            self.compute_s.add(timing.compute.as_secs_f64());
            self.run_rows.add(timing.run_rows as f64);
            self.cpu.add(timing.cpu);
            self.count_run(timing);
        }
    }

    fn count_run(&self, timing: &Timing) {
        let mut by_rows = self.by_rows.lock().unwrap_or_else(PoisonError::into_inner);
        if by_rows.len() < BY_ROWS_MAX || by_rows.contains_key(&timing.run_rows) {
            let runs = by_rows.entry(timing.run_rows).or_default();
            runs.count += 1;
            runs.join_ns += nanos(timing.join);
            runs.compute_ns += nanos(timing.compute);
            runs.split_ns += nanos(timing.split);
        }
    }

    /// Requests answered and those that were not, and how long the answered took by bucket, the last of which has what
    /// took longer than every bound.
    pub(crate) fn requests(&self) -> (u64, u64, [u64; BUCKETS_S.len() + 1]) {
        let mut buckets = [0; BUCKETS_S.len() + 1];
        // The count first: what is answered meanwhile is then told next time, not twice.
        let count = self.request_s.count.load(Relaxed);
        for (bucket, it) in buckets.iter_mut().zip(&self.request_s.counts) {
            *bucket = it.load(Relaxed);
        }
        let within: u64 = buckets.iter().sum();
        buckets[BUCKETS_S.len()] = count.saturating_sub(within);
        let answered = self.success.count.load(Relaxed);
        (answered, self.fail.count.load(Relaxed), buckets)
    }

    /// Runs by their rows.
    pub(crate) fn by_rows(&self) -> BTreeMap<usize, RunsOf> {
        self.by_rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A request was refused or failed.
    pub(crate) fn failed(&self, total: Duration, refusal: &Refusal) {
        self.fail.add(total);
        let reason = match refusal {
            Refusal::QueueFull { .. } | Refusal::Overloaded { .. } | Refusal::Draining => {
                &self.rejected
            }
            Refusal::Cancelled | Refusal::DeadlinePassed { .. } => &self.cancelled,
            Refusal::ModelFailed { .. } => &self.backend,
            _ => &self.other,
        };
        reason.fetch_add(1, Relaxed);
    }
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = match labels {
        "" => writeln!(text, "{name} {value}"),
        _ => writeln!(text, "{name}{{{labels}}} {value}"),
    };
}

/// One version's numbers and its labels: `model="credit",version="3"`.
pub(crate) struct Labelled<'a> {
    pub(crate) labels: String,
    pub(crate) stats: &'a Stats,
    pub(crate) rows_waiting: u32,
    /// Of its model's requests, from 0 to 1.
    pub(crate) share: f64,
    /// Rows against each rule.
    pub(crate) violations: [(&'static str, u64); 5],
}

/// A version in an experiment that runs, and its labels: `model="credit",version="3"`.
pub(crate) struct InExperiment {
    pub(crate) labels: String,
    pub(crate) keys: u64,
    /// None of the control, with which others are compared.
    pub(crate) answer: Option<Answer>,
}

/// A candidate whose rollout is not over, and its labels: `model="credit",version="3"`.
pub(crate) struct InRollout {
    pub(crate) labels: String,
    /// One of [`State::UNDER_WAY`].
    pub(crate) state: &'static str,
    pub(crate) held: bool,
}

/// The server's own numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) available_bytes: Option<u64>,
    pub(crate) requests: u64,
    /// Those who listen to what happens.
    pub(crate) listeners: u64,
    pub(crate) models: usize,
    /// By [`State::OVER`].
    pub(crate) rollouts_ended: [u64; 4],
    pub(crate) ledger: LedgerCounts,
    pub(crate) alerts: AlertCounts,
    pub(crate) shadows: ShadowCounts,
}

/// The alerts' numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AlertCounts {
    /// Those that fire, by severity, the mildest first.
    pub(crate) firing: [u64; 3],
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    pub(crate) waiting: u64,
    pub(crate) dead: u64,
}

/// The ledger's numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LedgerCounts {
    pub(crate) recorded: u64,
    pub(crate) lost: u64,
    pub(crate) shed: u64,
    pub(crate) labels: u64,
    pub(crate) trouble: bool,
}

/// One metric: its name, type and meaning, and how it is printed for one version.
type Metric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&mut String, &str, &Labelled<'_>),
);

fn micros(spent: &Spent) -> u64 {
    spent.nanos.load(Relaxed) / 1000
}

/// Every metric that has the labels `model` and `version`; `docs/metrics.md` is printed from it.
pub(crate) const METRICS: &[Metric] = &[
    (
        "nv_inference_request_success",
        "counter",
        "Requests answered",
        |text, name, it| {
            line(text, name, &it.labels, it.stats.success.count.load(Relaxed));
        },
    ),
    (
        "nv_inference_request_failure",
        "counter",
        "Requests refused or failed, by reason: REJECTED (no room), CANCELED (caller gone or too late), BACKEND (the model), OTHER (the request)",
        |text, name, it| {
            let reasons = [
                ("REJECTED", &it.stats.rejected),
                ("CANCELED", &it.stats.cancelled),
                ("BACKEND", &it.stats.backend),
                ("OTHER", &it.stats.other),
            ];
            for (reason, count) in reasons {
                let labels = format!("{},reason=\"{reason}\"", it.labels);
                line(text, name, &labels, count.load(Relaxed));
            }
        },
    ),
    (
        "nv_inference_count",
        "counter",
        "Rows answered",
        |text, name, it| {
            line(text, name, &it.labels, it.stats.rows.load(Relaxed));
        },
    ),
    (
        "nv_inference_exec_count",
        "counter",
        "Runs of the model",
        |text, name, it| {
            line(text, name, &it.labels, it.stats.runs.load(Relaxed));
        },
    ),
    (
        "nv_inference_request_duration_us",
        "counter",
        "Time of answered requests, in microseconds together",
        |text, name, it| line(text, name, &it.labels, micros(&it.stats.success)),
    ),
    (
        "nv_inference_queue_duration_us",
        "counter",
        "Time that requests waited for their run, in microseconds together",
        |text, name, it| line(text, name, &it.labels, micros(&it.stats.queue)),
    ),
    (
        "nv_inference_compute_input_duration_us",
        "counter",
        "Time of joining inputs, in microseconds together",
        |text, name, it| line(text, name, &it.labels, micros(&it.stats.compute_input)),
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Time of the model's runs, counted for each request in a run, in microseconds together",
        |text, name, it| line(text, name, &it.labels, micros(&it.stats.compute_infer)),
    ),
    (
        "nv_inference_compute_output_duration_us",
        "counter",
        "Time of cutting outputs apart, in microseconds together",
        |text, name, it| line(text, name, &it.labels, micros(&it.stats.compute_output)),
    ),
    (
        "nv_inference_pending_request_count",
        "gauge",
        "Requests waiting or running",
        |text, name, it| line(text, name, &it.labels, it.stats.pending.load(Relaxed)),
    ),
    (
        "windlass_rows_waiting",
        "gauge",
        "Rows waiting for a run",
        |text, name, it| {
            line(text, name, &it.labels, it.rows_waiting);
        },
    ),
    (
        "windlass_traffic_share",
        "gauge",
        "The share of its model's requests that a version answers, from 0 to 1",
        |text, name, it| line(text, name, &it.labels, it.share),
    ),
    (
        "windlass_request_duration_seconds",
        "histogram",
        "From a request's arrival at the model to its answer",
        |text, name, it| it.stats.request_s.print(text, name, &it.labels),
    ),
    (
        "windlass_queue_duration_seconds",
        "histogram",
        "From a request's arrival at the model to the start of its run",
        |text, name, it| it.stats.queue_s.print(text, name, &it.labels),
    ),
    (
        "windlass_run_duration_seconds",
        "histogram",
        "One run of the model",
        |text, name, it| {
            it.stats.compute_s.print(text, name, &it.labels);
        },
    ),
    (
        "windlass_run_rows",
        "histogram",
        "Rows in one run of the model",
        |text, name, it| {
            it.stats.run_rows.print(text, name, &it.labels);
        },
    ),
    (
        "windlass_run_cpu_seconds_total",
        "counter",
        "What runs used of cores, the threads of a run beside its own not counted",
        |text, name, it| {
            let seconds = it.stats.cpu.nanos.load(Relaxed) as f64 / 1e9;
            line(text, name, &it.labels, seconds);
        },
    ),
    (
        "windlass_input_violations_total",
        "counter",
        "Values and rows asked about that are not as the model's inputs are expected to be, by rule: range, missing, unseen, constant, duplicate",
        |text, name, it| {
            for (rule, count) in it.violations {
                line(text, name, &format!("{},rule=\"{rule}\"", it.labels), count);
            }
        },
    ),
];

/// A metric of versions that are tried, printed for one of them.
type Trial<T> = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    fn(&mut String, &str, &T),
);

/// What is known of rollouts that are not over: name, type, labels and meaning.
pub(crate) const ROLLOUTS: &[Trial<InRollout>] = &[
    (
        "windlass_rollout_state",
        "gauge",
        "model, version, state",
        "1 for the state that the rollout of a version is in, else 0: pending, validating, shadow, step, promoting, baking, rolling_back; of one that is over there is none",
        |text, name, it| {
            for state in State::UNDER_WAY {
                let labels = format!("{},state=\"{state}\"", it.labels);
                line(text, name, &labels, u8::from(it.state == state));
            }
        },
    ),
    (
        "windlass_rollout_held",
        "gauge",
        "model, version",
        "1 while the rollout of a version is held or waits for somebody to agree: alert when it is for long",
        |text, name, it| line(text, name, &it.labels, u8::from(it.held)),
    ),
];

/// What is known of experiments that run: name, type, labels and meaning.
pub(crate) const EXPERIMENTS: &[Trial<InExperiment>] = &[
    (
        "windlass_experiment_keys",
        "gauge",
        "model, version",
        "Keys that a version was given by an experiment that runs",
        |text, name, it| line(text, name, &it.labels, it.keys),
    ),
    (
        "windlass_experiment_answer",
        "gauge",
        "model, version, answer",
        "1 for what an experiment that runs knows of a version beside its control, else 0: better, worse, equivalent, not yet; void where keys are not split as intended: alert when it is",
        |text, name, it| {
            for answer in it.answer.iter().flat_map(|_| Answer::ALL) {
                let labels = format!("{},answer=\"{answer}\"", it.labels);
                line(text, name, &labels, u8::from(it.answer == Some(answer)));
            }
        },
    ),
];

/// Everything in Prometheus' text format.
pub(crate) fn print(
    versions: &[Labelled<'_>],
    rollouts: &[InRollout],
    experiments: &[InExperiment],
    process: Process,
) -> String {
    let mut text = String::new();
    for (name, kind, about, print) in METRICS {
        let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
        for version in versions {
            print(&mut text, name, version);
        }
    }
    print_trials(&mut text, ROLLOUTS, rollouts);
    print_trials(&mut text, EXPERIMENTS, experiments);
    for (name, kind, about, value) in PROCESS {
        let Some(value) = value(&process) else {
            continue;
        };
        let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
        line(&mut text, name, "", value);
    }
    for (name, kind, label, about, values) in PARTED {
        let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
        for (part, count) in values(&process) {
            line(&mut text, name, &format!("{label}=\"{part}\""), count);
        }
    }
    text
}

fn print_trials<T>(text: &mut String, metrics: &[Trial<T>], versions: &[T]) {
    for (name, kind, _, about, print) in metrics {
        let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
        for version in versions {
            print(text, name, version);
        }
    }
}

type PartedMetric = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    fn(&Process) -> Vec<(&'static str, u64)>,
);

/// Metrics of the whole process in parts: name, type, the label that tells the parts, and meaning.
pub(crate) const PARTED: &[PartedMetric] = &[
    (
        "windlass_rollouts_ended_total",
        "counter",
        "state",
        "Rollouts that ended, by how: succeeded, rolled_back, superseded, aborted",
        |it| State::OVER.into_iter().zip(it.rollouts_ended).collect(),
    ),
    (
        "windlass_alerts_firing",
        "gauge",
        "severity",
        "Alerts that fire",
        |it| {
            let severities = Severity::ALL.into_iter().map(|it| it.name());
            severities.zip(it.alerts.firing).collect()
        },
    ),
];

type ProcessMetric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Process) -> Option<u64>,
);

/// Metrics of the whole process.
pub(crate) const PROCESS: &[ProcessMetric] = &[
    (
        "process_resident_memory_bytes",
        "gauge",
        "Memory in use",
        |it| it.resident_bytes,
    ),
    (
        "windlass_memory_available_bytes",
        "gauge",
        "Memory that could be taken besides, of the machine or of the container: what loading a model goes by",
        |it| it.available_bytes,
    ),
    (
        "windlass_requests",
        "gauge",
        "Requests being worked on",
        |it| Some(it.requests),
    ),
    (
        "windlass_listeners",
        "gauge",
        "Those who listen to events or to what is served now",
        |it| Some(it.listeners),
    ),
    ("windlass_models", "gauge", "Models that answer", |it| {
        Some(it.models as u64)
    }),
    (
        "windlass_ledger_rows_total",
        "counter",
        "Rows of predictions recorded",
        |it| Some(it.ledger.recorded),
    ),
    (
        "windlass_ledger_rows_lost_total",
        "counter",
        "Rows answered that could not be recorded: alert when it grows",
        |it| Some(it.ledger.lost),
    ),
    (
        "windlass_ledger_requests_shed_total",
        "counter",
        "Requests refused because their rows could not be recorded",
        |it| Some(it.ledger.shed),
    ),
    (
        "windlass_shadow_answered_total",
        "counter",
        "Requests that a candidate answered unheard",
        |it| Some(it.shadows.answered),
    ),
    (
        "windlass_shadow_failed_total",
        "counter",
        "Requests that a candidate could not answer, unheard",
        |it| Some(it.shadows.failed),
    ),
    (
        "windlass_shadow_skipped_total",
        "counter",
        "Requests of a sample that were not copied, as too many waited",
        |it| Some(it.shadows.skipped),
    ),
    (
        "windlass_ledger_labels_total",
        "counter",
        "Labels taken, and values of metrics",
        |it| Some(it.ledger.labels),
    ),
    (
        "windlass_ledger_trouble",
        "gauge",
        "1 while nothing can be recorded: alert when it is",
        |it| Some(u64::from(it.ledger.trouble)),
    ),
    (
        "windlass_alert_deliveries_total",
        "counter",
        "Notifications of alerts that their receivers took",
        |it| Some(it.alerts.delivered),
    ),
    (
        "windlass_alert_delivery_failures_total",
        "counter",
        "Attempts to deliver a notification that failed",
        |it| Some(it.alerts.failed),
    ),
    (
        "windlass_alert_deliveries_waiting",
        "gauge",
        "Notifications that wait to be delivered",
        |it| Some(it.alerts.waiting),
    ),
    (
        "windlass_alert_deliveries_waiting_max",
        "gauge",
        "The most that may wait: of more the oldest are given up",
        |_| Some(DELIVERIES_MAX.unsigned_abs()),
    ),
    (
        "windlass_alert_dead_letters",
        "gauge",
        "Notifications that were given up: alert when there are any",
        |it| Some(it.alerts.dead),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_failures_are_printed_under_their_names() {
        let stats = Stats::default();
        let timing = Timing {
            queue: Duration::from_micros(20),
            join: Duration::from_micros(1),
            compute: Duration::from_micros(300),
            split: Duration::from_micros(2),
            cpu: Duration::from_micros(300),
            run_rows: 3,
            first_of_run: true,
        };
        stats.answered(2, Duration::from_micros(400), &timing, 1);
        stats.failed(Duration::from_micros(5), &Refusal::Cancelled);
        let labels = "model=\"m\",version=\"1\"".to_owned();
        let version = Labelled {
            labels,
            stats: &stats,
            rows_waiting: 7,
            share: 0.25,
            violations: ["range", "missing", "unseen", "constant", "duplicate"].map(|it| (it, 4)),
        };
        let process = Process {
            resident_bytes: None,
            available_bytes: Some(3),
            requests: 1,
            listeners: 5,
            models: 1,
            rollouts_ended: [3, 1, 0, 0],
            ledger: LedgerCounts::default(),
            alerts: AlertCounts {
                firing: [0, 2, 1],
                ..AlertCounts::default()
            },
            shadows: ShadowCounts::default(),
        };
        let experiment =
            [(2, None), (3, Some(Answer::Worse))].map(|(version, answer)| InExperiment {
                labels: format!("model=\"m\",version=\"{version}\""),
                keys: 7,
                answer,
            });
        let rollout = InRollout {
            labels: "model=\"m\",version=\"4\"".to_owned(),
            state: "step",
            held: true,
        };
        let text = print(&[version], &[rollout], &experiment, process);
        for want in [
            "nv_inference_request_success{model=\"m\",version=\"1\"} 1\n",
            "nv_inference_request_failure{model=\"m\",version=\"1\",reason=\"CANCELED\"} 1\n",
            "nv_inference_count{model=\"m\",version=\"1\"} 2\n",
            "windlass_traffic_share{model=\"m\",version=\"1\"} 0.25\n",
            "windlass_rollout_state{model=\"m\",version=\"4\",state=\"shadow\"} 0\n",
            "windlass_rollout_state{model=\"m\",version=\"4\",state=\"step\"} 1\n",
            "windlass_rollout_held{model=\"m\",version=\"4\"} 1\n",
            "windlass_rollouts_ended_total{state=\"rolled_back\"} 1\n",
            "windlass_experiment_keys{model=\"m\",version=\"2\"} 7\n",
            "windlass_experiment_keys{model=\"m\",version=\"3\"} 7\n# HELP windlass_experiment_answer ",
            "gauge\nwindlass_experiment_answer{model=\"m\",version=\"3\",answer=\"better\"} 0\n",
            "windlass_experiment_answer{model=\"m\",version=\"3\",answer=\"worse\"} 1\n",
            "windlass_experiment_answer{model=\"m\",version=\"3\",answer=\"not yet\"} 0\n",
            "nv_inference_queue_duration_us{model=\"m\",version=\"1\"} 20\n",
            "windlass_run_rows_bucket{model=\"m\",version=\"1\",le=\"2\"} 0\n",
            "windlass_run_rows_bucket{model=\"m\",version=\"1\",le=\"4\"} 1\n",
            "windlass_request_duration_seconds_sum{model=\"m\",version=\"1\"} 0.0004\n",
            "windlass_rows_waiting{model=\"m\",version=\"1\"} 7\n",
            "windlass_input_violations_total{model=\"m\",version=\"1\",rule=\"unseen\"} 4\n",
            "windlass_requests 1\n",
            "windlass_memory_available_bytes 3\n",
            "windlass_listeners 5\n",
            "windlass_alert_deliveries_waiting_max 1000\n",
            "windlass_alerts_firing{severity=\"ticket\"} 2\n",
        ] {
            assert!(text.contains(want), "{want}\n{text}");
        }
    }
}
