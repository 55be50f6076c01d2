//! Which tests a rollout has, by what its owner says and by what is recorded of the model.
//!
//! R1. What nobody records is not tested: by name it is refused, and it is left out of what holds when nothing is said.
//! R2. All evidence is read from the ledger: without one nothing can be tested, and so nothing is rolled out.
//! R3. What is estimated is a mean over rows, of what each row's loss is expected to be by its score. What is no such mean
//!     (`recall` is one over positive rows, which nobody knows before labels come) or has no score is not estimated.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::{Spec, check_tests, wrong};
use super::test::{Margin, Measure, Test};
use crate::manifest::Span;
use crate::monitor::quality;
use crate::refusal::Refusal;
use crate::task::Task;

/// What is recorded of a model, on which tests can be made.
#[derive(Clone, Debug)]
pub struct Recorded<'a> {
    /// Whether the predictions of both versions are in the ledger (R2).
    pub ledger: bool,
    /// Whether the server was given prices.
    pub prices: bool,
    /// What its answers mean.
    pub task: Option<&'a Task>,
    /// The columns and attributes by which groups can be told; none where that is not known.
    pub columns: Option<&'a [String]>,
    /// The numbers that callers have posted with predictions' ids.
    pub posted: &'a [String],
    /// The incumbent's 99th percentile of latency; none where it has hardly answered.
    pub latency: Option<Duration>,
    /// Rows of the incumbent that have labels and scores, with all that the candidate needs to answer them again; of more
    /// than are learned from not all are counted.
    pub labelled: u64,
}

/// Rows with labels that are needed to learn what scores mean: half of them teach it, and half check it.
pub const LABELLED_MIN: u64 = 400;

/// The tests of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tests {
    /// Those that roll back.
    pub guardrails: Vec<Test>,
    /// Those that hold.
    pub signals: Vec<Test>,
}

impl Spec {
    /// The tests that it comes to where this is recorded. Refused where it names one that is not (R1), and where nothing is
    /// (R2).
    pub fn tests(&self, recorded: &Recorded) -> Result<Tests, Refusal> {
        for (field, tests) in [("guardrails", &self.guardrails), ("signals", &self.signals)] {
            for (place, test) in tests.iter().flatten().enumerate() {
                let at = |part: &str| format!("{field}[{place}].{part}");
                recorded
                    .check(test)
                    .or_else(|(part, why)| wrong(&at(part), why))?;
            }
        }
        let usual = |tests: [Test; 2]| tests.into_iter().filter(|it| recorded.check(it).is_ok());
        let of = |metric, worse_by| Test {
            worse_by,
            ..Test::of(metric)
        };
        let points = |size| Some(Margin::Absolute(size));
        let guardrails = [
            of(Measure::ErrorRate, points(0.005)),
            of(Measure::Latency, points(0.02)),
        ];
        let drift = Test {
            js_below: Some(0.2),
            ..Test::of(Measure::PredictionDrift)
        };
        let guardrails = match self.guardrails.clone() {
            Some(said) => said,
            None => {
                let errors = recorded.check(&guardrails[0]);
                errors.or_else(|(_, why)| wrong("guardrails", why))?;
                usual(guardrails).collect()
            }
        };
        let said = self.signals.clone();
        let signals = said.unwrap_or_else(|| {
            let signal = Some(drift).filter(|it| recorded.check(it).is_ok());
            signal.into_iter().collect()
        });
        let mut tests = Tests {
            guardrails,
            signals,
        };
        let all = tests.guardrails.iter_mut().chain(&mut tests.signals);
        for test in all.filter(|it| it.takes_incumbents_latency()) {
            test.over = recorded.latency.map(budget);
        }
        Ok(tests)
    }
}

/// A latency as a budget that people can read: up to the next millisecond, or microsecond where it is short.
fn budget(latency: Duration) -> Span {
    let up_to = |unit: u128| latency.as_nanos().div_ceil(unit).max(1) * unit;
    let nanos = match latency {
        it if it >= Duration::from_millis(10) => up_to(1_000_000),
        _ => up_to(1_000),
    };
    Span(Duration::from_nanos(
        u64::try_from(nanos).unwrap_or(u64::MAX),
    ))
}

impl Tests {
    /// Whether one of them rests on what scores mean.
    pub fn are_learned(&self) -> bool {
        let mut all = self.guardrails.iter().chain(&self.signals);
        all.any(Test::is_learned)
    }

    /// Refuses what cannot have been a rollout's.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.guardrails.is_empty() {
            return wrong("guardrails", "there is none".to_owned());
        }
        check_tests("guardrails", &self.guardrails)?;
        check_tests("signals", &self.signals)
    }
}

impl Recorded<'_> {
    /// Whether the test can be made; else the setting that is wrong and why.
    pub(crate) fn check(&self, test: &Test) -> Result<(), (&'static str, String)> {
        let metric = &test.metric;
        let nobody = |why: String| Err(("metric", why));
        if !self.ledger {
            return nobody(format!(
                "nobody records `{metric}` of both versions while `ledger.mode` of one is `off`; say `ledger.mode: buffered` in its `windlass.yaml`"
            ));
        }
        let fits = |it: &quality::Metric| self.task.is_some_and(|task| it.fits(task));
        match metric {
            Measure::Latency if test.takes_incumbents_latency() && self.latency.is_none() => {
                let why =
                    "the incumbent has answered too little for a budget; say one, such as `50ms`";
                Err(("over", why.to_owned()))
            }
            Measure::CostPer1k if !self.prices => nobody(
                "nobody knows what a prediction costs; start the server with `--prices`".to_owned(),
            ),
            Measure::Quality(quality) | Measure::Estimated(quality) if !fits(quality) => {
                nobody(match self.task {
                    None => format!("`{metric}` needs a `task`, which says what the answers mean"),
                    Some(_) => format!("the model's `task` has no `{}`", quality.name()),
                })
            }
            Measure::Estimated(quality) => self.check_estimated(metric, *quality).or_else(nobody),
            Measure::Loss | Measure::PredictionDrift
                if matches!(self.task, None | Some(Task::Embedding { .. })) =>
            {
                nobody(format!(
                    "`{metric}` needs a `task` with classes or a number"
                ))
            }
            Measure::Fairness(_) if !matches!(self.task, Some(Task::Binary { .. })) => nobody(
                "only a model whose `task` is binary has rates of groups to compare".to_owned(),
            ),
            Measure::Fairness(_) => {
                let by = test.by.as_deref().unwrap_or_default();
                let Some(columns) = self.columns else {
                    return Ok(());
                };
                if columns.iter().any(|it| it == by) {
                    return Ok(());
                }
                let known = columns.join(", ");
                Err((
                    "by",
                    format!("there is no column and no attribute `{by}`; there are {known}"),
                ))
            }
            Measure::Posted(name) if !self.posted.contains(name) => nobody(format!(
                "nobody has posted `{name}`; {}",
                match self.posted {
                    [] => "nothing was posted yet (`windlass metric` does that)".to_owned(),
                    posted => format!("what was posted is {}", posted.join(", ")),
                }
            )),
            _ => Ok(()),
        }
    }
}

impl Recorded<'_> {
    /// Whether a metric can be told before labels come (R3); else why not.
    fn check_estimated(&self, metric: &Measure, quality: quality::Metric) -> Result<(), String> {
        use quality::Metric::{Accuracy, Brier, LogLoss, Precision};
        let (scores, is_of_several) = match self.task {
            Some(Task::Binary { scores, .. }) => (scores.is_some(), false),
            Some(Task::Multiclass { scores, .. }) => (scores.is_some(), true),
            Some(Task::Regression { .. } | Task::Embedding { .. }) | None => (false, false),
        };
        if !matches!(quality, Accuracy | Precision | LogLoss | Brier) {
            let name = quality.name();
            return Err(format!(
                "`{metric}` cannot be told of answers without labels; `estimated.accuracy`, `estimated.precision`, \
                 `estimated.log_loss` and `estimated.brier` can, of answers with scores, and `{name}` waits for labels"
            ));
        }
        if is_of_several && quality != Accuracy {
            return Err(format!(
                "`{metric}` is told of two classes; of several there is `estimated.accuracy`"
            ));
        }
        if !scores {
            return Err(format!(
                "`{metric}` is told by scores; say which output has them as `task.scores`"
            ));
        }
        if self.labelled < LABELLED_MIN {
            return Err(format!(
                "`{metric}` is learned from answers of the incumbent that have labels, and whose inputs the ledger has \
                 whole: it needs {LABELLED_MIN}, and there are {}; post labels (`windlass label`), or leave it out",
                self.labelled
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::spec::ShadowSetting;
    use crate::rollout::traffic::Step;

    fn read(text: &str) -> Result<Spec, String> {
        let spec: Spec = serde_json::from_str(text).map_err(|error| error.to_string())?;
        spec.check().map_err(|refusal| refusal.to_string())?;
        Ok(spec)
    }

    fn task(text: &str) -> Task {
        serde_json::from_str(text).expect("a task")
    }

    const RECORDED: Recorded = Recorded {
        ledger: true,
        prices: true,
        task: None,
        columns: None,
        posted: &[],
        latency: Some(Duration::from_micros(12_300)),
        labelled: 0,
    };

    #[test]
    fn nothing_said_is_safe() {
        let spec = read("{}").expect("it makes sense");
        assert!(spec.is_default());
        let steps: Vec<String> = spec.steps.iter().map(Step::to_string).collect();
        assert_eq!(steps, ["1%", "5%", "25%", "50%"]);
        let ShadowSetting::Sample(shadow) = &spec.shadow else {
            panic!("{spec:?}");
        };
        assert_eq!(shadow.sample.to_string(), "10%");
        let binary = task(r#"{"type":"binary","positive":"bad"}"#);
        let names = |recorded: &Recorded| {
            let Tests {
                guardrails,
                signals,
            } = spec.tests(recorded).expect("it can be tested");
            let all = guardrails.iter().chain(&signals);
            let checked = all.map(|it| it.demand().map(|_| it.name()));
            checked.collect::<Result<Vec<_>, _>>().expect("all demand")
        };
        let known = Recorded {
            task: Some(&binary),
            ..RECORDED
        };
        assert_eq!(
            names(&known),
            ["error_rate", "latency over 13ms", "prediction_drift"]
        );
        assert_eq!(names(&RECORDED), ["error_rate", "latency over 13ms"]);
    }

    #[test]
    fn without_a_ledger_nothing_can_be_tested() {
        let binary = task(r#"{"type":"binary","positive":"bad"}"#);
        let posted = ["revenue".to_owned()];
        let unrecorded = Recorded {
            ledger: false,
            task: Some(&binary),
            posted: &posted,
            ..RECORDED
        };
        let of = |text: &str| {
            let spec = read(text).expect(text);
            let refusal = spec.tests(&unrecorded).expect_err(text);
            refusal.to_string()
        };
        let why = |metric: &str| {
            format!(
                "nobody records `{metric}` of both versions while `ledger.mode` of one is `off`; say `ledger.mode: buffered` in its `windlass.yaml`"
            )
        };
        for text in ["{}", r#"{"signals":[]}"#] {
            let got = of(text);
            let want = format!("`rollout.guardrails`: {}", why("error_rate"));
            assert!(got.contains(&want), "{got}");
        }
        for (metric, test) in [
            ("error_rate", r#""worse_by":"0.5pp""#),
            ("latency", r#""worse_by":"2pp""#),
            ("latency", r#""over":"50ms","allow":"1%""#),
            ("cost_per_1k", r#""worse_by":"10%""#),
            ("loss", r#""worse_by":"1""#),
            ("estimated.accuracy", r#""worse_by":"1pp""#),
            ("fairness.selection", r#""by":"Sex","worse_by":"2pp""#),
            ("prediction_drift", r#""js_below":0.1"#),
            ("disagreement", r#""below":"8%""#),
            ("posted.revenue", r#""better":"higher","worse_by":"1""#),
        ] {
            for field in ["guardrails", "signals"] {
                let got = of(&format!(
                    r#"{{"{field}":[{{"metric":"{metric}",{test}}}]}}"#
                ));
                let want = format!("`rollout.{field}[0].metric`: {}", why(metric));
                assert!(got.contains(&want), "{got}");
            }
        }
    }

    #[test]
    fn the_budget_of_a_latency_is_the_incumbents_where_none_is_said() {
        let of = |test: &str, latency: Option<u64>| {
            let spec = read(&format!(r#"{{"guardrails":[{test}]}}"#)).expect(test);
            let tests = spec.tests(&Recorded {
                latency: latency.map(Duration::from_nanos),
                ..RECORDED
            });
            tests.map_or_else(|it| it.to_string(), |it| it.guardrails[0].name())
        };
        let test = r#"{"metric":"latency","worse_by":"2pp"}"#;
        assert_eq!(of(test, Some(10_000_001)), "latency over 11ms");
        assert_eq!(of(test, Some(9_876_543)), "latency over 9877us");
        assert_eq!(of(test, Some(0)), "latency over 1us");
        let refused = "`rollout.guardrails[0].over`: the incumbent has answered too little";
        assert!(of(test, None).starts_with(refused));
        let said = r#"{"metric":"latency","worse_by":"2pp","over":"50ms"}"#;
        assert_eq!(of(said, Some(10_000_001)), "latency over 50ms");
        assert_eq!(of(said, None), "latency over 50ms");
    }

    #[test]
    fn what_cannot_be_estimated_is_refused_with_the_reason() {
        let of = |metric: &str, task: &str, labelled: u64, want: &str| {
            let task = self::task(task);
            let recorded = Recorded {
                task: Some(&task),
                labelled,
                ..RECORDED
            };
            let test =
                format!(r#"{{"signals":[{{"metric":"estimated.{metric}","worse_by":"0.01"}}]}}"#);
            let got = match read(&test).expect(&test).tests(&recorded) {
                Ok(tests) => format!("learned: {}", tests.are_learned()),
                Err(refusal) => refusal.to_string(),
            };
            assert!(got.contains(want), "{got}");
        };
        let binary = r#"{"type":"binary","positive":"bad","scores":"p"}"#;
        for metric in ["accuracy", "precision", "log_loss", "brier"] {
            of(metric, binary, 400, "learned: true");
        }
        let several = r#"{"type":"multiclass","scores":"p"}"#;
        of("accuracy", several, 5_000, "learned: true");
        of(
            "brier",
            several,
            5_000,
            "of several there is `estimated.accuracy`",
        );
        of(
            "recall",
            binary,
            5_000,
            "`rollout.signals[0].metric`: `estimated.recall` cannot be told of answers without labels; ",
        );
        of(
            "mae",
            r#"{"type":"regression"}"#,
            5_000,
            "`estimated.mae` cannot be told of answers without labels",
        );
        of(
            "accuracy",
            r#"{"type":"binary","label":"c"}"#,
            5_000,
            "is told by scores; say which output has them as `task.scores`",
        );
        of(
            "accuracy",
            binary,
            399,
            "it needs 400, and there are 399; post labels (`windlass label`), or leave it out",
        );
        let tests = read("{}").expect("it makes sense").tests(&RECORDED);
        assert!(!tests.expect("the usual ones").are_learned());
    }

    #[test]
    fn what_nobody_records_is_refused() {
        let binary = task(r#"{"type":"binary","positive":"bad"}"#);
        let known = Recorded {
            task: Some(&binary),
            ..RECORDED
        };
        let of = |test: &str, recorded: &Recorded, want: &str| {
            let spec = read(&format!(r#"{{"guardrails":[{test}]}}"#)).expect(test);
            let got = match spec.tests(recorded) {
                Ok(_) => "it can be tested".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            assert!(got.contains(want), "{got}");
        };
        let loss = r#"{"metric":"loss","worse_by":"1"}"#;
        of(loss, &known, "it can be tested");
        of(
            loss,
            &RECORDED,
            "`rollout.guardrails[0].metric`: `loss` needs a `task`",
        );
        let mae = r#"{"metric":"estimated.mae","worse_by":"1"}"#;
        of(mae, &known, "the model's `task` has no `mae`");
        let free = Recorded {
            prices: false,
            ..known.clone()
        };
        of(
            r#"{"metric":"cost_per_1k","worse_by":"10%"}"#,
            &free,
            "nobody knows what a prediction costs",
        );
        let posted = ["revenue".to_owned()];
        let known = Recorded {
            posted: &posted,
            columns: Some(&posted),
            ..known
        };
        let clicks = r#"{"metric":"posted.clicks","worse_by":"1","better":"higher"}"#;
        of(
            clicks,
            &RECORDED,
            "nobody has posted `clicks`; nothing was posted yet",
        );
        of(
            clicks,
            &known,
            "nobody has posted `clicks`; what was posted is revenue",
        );
        of(
            r#"{"metric":"fairness.selection","by":"Sex","worse_by":"2pp"}"#,
            &known,
            "`rollout.guardrails[0].by`: there is no column and no attribute `Sex`; there are revenue",
        );
    }
}
