use super::*;

fn spec(text: &str) -> Spec {
    serde_json::from_str(text).expect("a spec")
}

#[test]
fn what_makes_no_sense_is_refused_by_its_field() {
    let of = |text: &str, want: &str| {
        let got = match spec(text).check(3) {
            Ok(()) => "fine".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        assert!(got.contains(want), "{got}");
    };
    of(
        r#"{"metric":"accuracy","equivalent_within":"0.5pp"}"#,
        "fine",
    );
    of(
        r#"{"metric":"posted.revenue","better":"higher","equivalent_within":"1%",
        "allocation":{"thompson":{"floor":"1%"}}}"#,
        "fine",
    );
    of(
        r#"{"metric":"posted.revenue","equivalent_within":"1%"}"#,
        "`experiment.better`: `posted.revenue` needs",
    );
    of(
        r#"{"metric":"accuracy","better":"lower","equivalent_within":"1pp"}"#,
        "`experiment.better`: which way",
    );
    of(
        r#"{"metric":"prediction_drift","equivalent_within":"1"}"#,
        "neither more nor less of `prediction_drift`",
    );
    of(
        r#"{"metric":"latency","equivalent_within":"1pp"}"#,
        "`experiment.over`: `latency` needs",
    );
    of(
        r#"{"metric":"latency","over":"50ms","equivalent_within":"1pp"}"#,
        "fine",
    );
    of(
        r#"{"metric":"loss","over":"50ms","equivalent_within":"1"}"#,
        "`loss` has no budget",
    );
    of(
        r#"{"metric":"fairness.selection","equivalent_within":"1pp"}"#,
        "is a guardrail's",
    );
    of(
        r#"{"metric":"estimated.accuracy","equivalent_within":"1pp"}"#,
        "is a guess; an experiment waits for labels: `accuracy`",
    );
    of(
        r#"{"metric":"loss","equivalent_within":"1","before":"400d"}"#,
        "`experiment.before`",
    );
    of(
        r#"{"metric":"loss","equivalent_within":"1","allocation":{"thompson":{"floor":"5%","every":"1m"}}}"#,
        "`experiment.allocation.every`: `1m` is not",
    );
    of(
        r#"{"metric":"accuracy","equivalent_within":"1%"}"#,
        "`experiment.equivalent_within`: `1%` of a share",
    );
    of(
        r#"{"metric":"loss","equivalent_within":"1","alpha":0.9}"#,
        "`experiment.alpha`",
    );
    of(
        r#"{"metric":"loss","equivalent_within":"1","deadline":"0s"}"#,
        "`experiment.deadline`",
    );
    of(
        r#"{"metric":"loss","equivalent_within":"1","allocation":{"thompson":{"floor":"40%"}}}"#,
        "`experiment.allocation.floor`: `40%`",
    );
    of(
        r#"{"metric":"loss","equivalent_within":"1","allocation":{"epsilon_greedy":{"epsilon":"0%","floor":"1%"}}}"#,
        "`experiment.allocation.epsilon`",
    );
    let fine = spec(r#"{"metric":"loss","equivalent_within":"1"}"#);
    assert!(fine.check(1).is_err() && fine.check(17).is_err());
    assert_eq!(fine.alpha_each(2), 0.05);
    assert_eq!(fine.alpha_each(6), 0.01);
}

fn compared(low: f64, high: f64) -> Compared {
    let figure = |events| Figure {
        n: 1000,
        events: Some(events),
        value: Some(events as f64 / 1000.0),
    };
    Compared {
        version: Version::new(4).expect("not zero"),
        against: Version::FIRST,
        figure: figure(900),
        control: figure(880),
        difference: Some(Interval { low, high }),
    }
}

#[test]
fn an_answer_is_what_the_whole_interval_says() {
    let accuracy = spec(r#"{"metric":"accuracy","equivalent_within":"0.5pp"}"#);
    let errors = spec(r#"{"metric":"error_rate","equivalent_within":"0.5pp"}"#);
    let revenue = spec(r#"{"metric":"posted.x","better":"higher","equivalent_within":"10%"}"#);
    for (spec, low, high, want) in [
        (&accuracy, 0.001, 0.03, Answer::Better),
        (&accuracy, -0.03, -0.001, Answer::Worse),
        (&accuracy, -0.03, 0.03, Answer::NotYet),
        (&accuracy, -0.005, 0.004, Answer::Equivalent),
        // Surely better, and too little to matter.
        (&accuracy, 0.001, 0.004, Answer::Equivalent),
        (&errors, 0.001, 0.03, Answer::Worse),
        (&errors, -0.03, -0.001, Answer::Better),
        // A tenth of the control's 0.88.
        (&revenue, -0.08, 0.08, Answer::Equivalent),
        (&revenue, -0.1, 0.08, Answer::NotYet),
        (&accuracy, f64::NAN, 0.0, Answer::NotYet),
    ] {
        let got = spec.answer(&compared(low, high), 0.0);
        assert_eq!(got, want, "{low} {high}");
    }
    let got = accuracy.answer(&compared(0.001, 0.03), 2000.0);
    assert_eq!(got, Answer::Void);
}

#[test]
fn an_answer_is_told_in_a_sentence() {
    let spec = spec(r#"{"metric":"accuracy","equivalent_within":"0.5pp"}"#);
    let model = "credit".parse().expect("a name");
    let told = |answer, left| compared(-0.01, 0.05).sentence(&model, &spec, answer, left);
    assert_eq!(
        told(Answer::Better, None),
        "`credit:4` is better than `credit:1`: accuracy 90.00% (900 of 1000) against 88.00% (880 of 1000); \
         difference -1.00 to +5.00pp"
    );
    let same = told(Answer::Equivalent, None);
    assert!(
        same.starts_with("`credit:4` is as good as `credit:1`, within 0.5pp: "),
        "{same}"
    );
    let left = remaining(3000, 1000, Duration::from_secs(3600));
    let text = told(Answer::NotYet, left);
    assert!(
        text.starts_with("`credit:4` is not yet told from `credit:1`, expected in 2h: "),
        "{text}"
    );
    for (seconds, want) in [(200_000, "3d"), (100_000, "28h"), (119, "119s"), (0, "1s")] {
        let got = about(Duration::from_secs(seconds)).to_string();
        assert_eq!(got, want);
    }
    assert!(told(Answer::Void, None).ends_with("keys are not split as intended"));
}

#[test]
fn the_time_to_an_answer_is_that_of_the_units_to_come() {
    let hour = Duration::from_secs(3600);
    assert_eq!(remaining(100, 100, hour), Some(Duration::ZERO));
    assert_eq!(remaining(150, 100, hour), Some(hour / 2));
    assert_eq!(remaining(100, 0, hour), None);
    assert_eq!(remaining(100, 1, Duration::ZERO), None);
}
