//! Scripts. Times are seconds; a line is `TIME COMMAND => what came of it`.

use super::act::{Act, Tried, plan, rollback_target};
use super::notify::{Facts, Inhibition, Pace, Place, Route, Sent, Silence, decide, muted};
use super::*;
use crate::manifest::Manifest;
use std::collections::BTreeSet;

struct Desk {
    book: Book,
    rules: Vec<Rule>,
    route: Route,
    silences: Vec<Silence>,
    inhibitions: Vec<Inhibition>,
    sent: BTreeMap<Place, Sent>,
    waiting: BTreeSet<Place>,
    tried: Vec<Tried>,
}

fn desk(rules: &str) -> Desk {
    let rules: Vec<Rule> = serde_json::from_str(rules).expect("rules");
    rule::check(&rules).expect("rules that can be kept");
    Desk {
        book: Book::default(),
        rules,
        route: Route {
            receiver: "r".to_owned(),
            severities: [Severity::Page, Severity::Ticket].into(),
            by: vec!["model".to_owned()],
            pace: Pace::default(),
        },
        silences: Vec::new(),
        inhibitions: Inhibition::standard(),
        sent: BTreeMap::new(),
        waiting: BTreeSet::new(),
        tried: Vec::new(),
    }
}

fn at(seconds: &str) -> Moment {
    Moment(seconds.parse::<i64>().expect("seconds") * 1000)
}

impl Desk {
    /// `drift/age` of model `m`, or `quality` of `n` when it is `n:quality`, at a severity.
    fn finding(&self, what: &str, verdict: Verdict, severity: Option<&str>) -> Finding {
        let (model, what) = what.split_once(':').unwrap_or(("m", what));
        let (monitor, subject) = what.split_once('/').unwrap_or((what, ""));
        Finding {
            model: model.parse().expect("a model"),
            version: crate::Version::new(3),
            monitor: monitor.to_owned(),
            subject: subject.to_owned(),
            segment: None,
            verdict,
            severity: severity.map_or(Severity::Ticket, |it| it.parse().expect("a severity")),
            summary: String::new(),
            evidence: Evidence::from([("score".to_owned(), Fact::Number(0.5))]),
        }
    }

    fn name(&self, fingerprint: Fingerprint) -> String {
        let labels = &self.book.get(fingerprint).expect("an alert").labels;
        let (name, subject) = (labels.get("alertname"), labels.get("subject"));
        match subject.is_empty() {
            true => name.to_owned(),
            false => format!("{name}/{subject}"),
        }
    }

    fn find(&self, name: &str) -> Fingerprint {
        let found = self.book.iter().find(|(it, _)| self.name(*it) == name);
        found.expect("an alert of this name").0
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            book: &self.book,
            routes: std::slice::from_ref(&self.route),
            silences: &self.silences,
            inhibitions: &self.inhibitions,
            sent: &self.sent,
            waiting: &self.waiting,
        }
    }

    fn events(&self, events: &[Event]) -> String {
        let show = |it: &Event| {
            let name = self.name(it.fingerprint);
            match it.why.is_empty() {
                true => format!("{} {name}", it.kind.name()),
                false => format!("{} {name} ({})", it.kind.name(), it.why),
            }
        };
        events.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let now = at(words[0]);
        match words[1..] {
            [verdict @ ("bad" | "fine" | "unknown"), what, ref rest @ ..] => {
                let verdict = match verdict {
                    "bad" => Verdict::Bad,
                    "fine" => Verdict::Fine,
                    _ => Verdict::Unknown,
                };
                let finding = self.finding(what, verdict, rest.first().copied());
                let mut events = Vec::new();
                for rule in rule::of(&self.rules, &finding) {
                    events.extend(self.book.hear(&finding, &rule, now).expect("room"));
                }
                self.events(&events)
            }
            ["tick"] => {
                let events = self.book.tick(now);
                let next = self.book.next().map(|it| it.0 / 1000);
                let events = self.events(&events);
                match next {
                    None => events,
                    Some(next) if events.is_empty() => format!("next {next}"),
                    Some(next) => format!("{events}, next {next}"),
                }
            }
            ["ack", name] => {
                let fingerprint = self.find(name);
                match self.book.acknowledge(fingerprint, "ann", now) {
                    Ok(event) => self.events(&[event]),
                    Err(refusal) => refusal.to_string(),
                }
            }
            ["silence", matcher, "until", until] => {
                self.silences.push(Silence {
                    id: 1,
                    matchers: vec![matcher.parse().expect("a matcher")],
                    from: now,
                    until: at(until),
                    who: "ann".to_owned(),
                    why: String::new(),
                });
                String::new()
            }
            ["undelivered"] => {
                self.waiting = self.sent.keys().cloned().collect();
                String::new()
            }
            ["send"] => {
                let decision = decide(&self.facts(), now);
                let mut said = Vec::new();
                for it in &decision.notifications {
                    let names = |list: &[Fingerprint], word: &str| {
                        let mut names: Vec<_> = list.iter().map(|it| self.name(*it)).collect();
                        names.sort();
                        match names.is_empty() {
                            true => String::new(),
                            false => format!(" {word} {}", names.join(" ")),
                        }
                    };
                    said.push(format!(
                        "tell {}:{}{}",
                        it.place.group.get("model"),
                        names(&it.firing, "firing"),
                        names(&it.resolved, "resolved")
                    ));
                }
                for it in decision.notifications {
                    self.sent.insert(it.place, it.sent);
                }
                for it in decision.forget {
                    said.push(format!("forget {}", it.group.get("model")));
                    self.sent.remove(&it);
                }
                said.extend(decision.next.map(|it| format!("next {}", it.0 / 1000)));
                said.join(", ")
            }
            ["muted"] => {
                let muted = muted(&self.facts(), now);
                let names: Vec<String> = muted.keys().map(|it| self.name(*it)).collect();
                names.join(" ")
            }
            ["act"] => {
                let mut said = Vec::new();
                let firing: Vec<Alert> = self.book.iter().map(|it| it.1.clone()).collect();
                for alert in firing {
                    let rule = self.rules.iter().find(|it| it.made(&alert.labels));
                    let acts = rule.map_or(Vec::new(), |it| it.act.clone());
                    for act in &acts {
                        said.push(self.act(&alert, act, now));
                    }
                }
                said.join(", ")
            }
            _ => panic!("{line}"),
        }
    }

    fn act(&mut self, alert: &Alert, act: &Act, now: Moment) -> String {
        match plan(alert, act, &self.tried, now) {
            Err(why) => why.to_string(),
            Ok(plan) => {
                assert_eq!(plan.evidence, alert.evidence);
                self.tried.push(Tried {
                    at: now,
                    model: plan.model,
                    rule: plan.rule,
                    fingerprint: plan.fingerprint,
                    incident: plan.incident,
                    deed: plan.step.deed(),
                });
                let dry = if plan.dry_run { " (dry run)" } else { "" };
                format!("{:?}{dry}", plan.step)
            }
        }
    }
}

fn check(rules: &str, script: &str) {
    let mut desk = desk(rules);
    for line in script.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (command, want) = line.split_once("=>").expect("an expectation");
        assert_eq!(desk.run(command), want.trim(), "{line}");
    }
}

#[test]
fn without_rules_what_is_bad_fires_at_once_and_what_is_fine_ends_it() {
    check(
        "[]",
        "
        0 unknown drift/age   =>
        0 bad drift/age       => firing drift/age
        1 bad drift/age       =>
        2 unknown drift/age   =>
        3 fine drift/age      => resolved drift/age (it is fine again)
        4 fine drift/age      =>
        5 bad drift/age       => firing drift/age
        ",
    );
}

#[test]
fn a_rule_may_wait_before_it_fires_and_before_it_resolves() {
    check(
        r#"[{"name": "d", "monitor": "drift", "for": "10s", "keep_firing_for": "5s"}]"#,
        "
        0 bad drift       => pending d
        9 bad drift       =>
        9 fine drift      => inactive d (it is fine again)
        20 bad drift      => pending d
        25 unknown drift  =>
        29 tick           => next 86420
        40 bad drift      => firing d
        41 fine drift     =>
        42 tick           => next 46
        43 bad drift      =>
        44 fine drift     =>
        48 fine drift     =>
        49 tick           => resolved d (it is fine again)
        ",
    );
}

#[test]
fn when_nothing_is_known_for_too_long_it_ends_and_says_so() {
    check(
        r#"[{"name": "d", "monitor": "drift", "no_data_after": "60s"}]"#,
        "
        0 bad drift       => firing d
        50 unknown drift  =>
        59 tick           => next 60
        60 tick           => resolved d (no data for 1m)
        61 tick           =>
        70 unknown drift  =>
        80 bad drift      => firing d
        ",
    );
}

#[test]
fn a_thing_has_one_severity_at_a_time() {
    check(
        "[]",
        "
        0 bad drift ticket => firing drift
        1 bad drift page   => resolved drift (its severity is `page` now), firing drift
        2 fine drift info  => resolved drift (it is fine again)
        ",
    );
}

#[test]
fn what_no_rule_is_about_alerts_all_the_same() {
    check(
        r#"[{"name": "a", "monitor": "drift", "subject": "age"},
            {"name": "b", "monitor": "drift", "subject": "age", "severity": "info"}]"#,
        "
        0 bad drift/age    => firing a/age, firing b/age
        0 bad drift/income => firing drift/income
        0 bad quality      => firing quality
        1 fine drift/age   => resolved a/age (it is fine again), resolved b/age (it is fine again)
        ",
    );
}

#[test]
fn a_group_waits_and_is_told_together_and_again_when_it_changes() {
    check(
        "[]",
        "
        0 bad drift/age        => firing drift/age
        0 send                 => next 30
        10 bad quality         => firing quality
        10 bad n:quality       => firing quality
        30 send                => tell m: firing drift/age quality, next 40
        40 send                => tell n: firing quality, next 14430
        50 fine drift/age      => resolved drift/age (it is fine again)
        60 bad drift/income    => firing drift/income
        60 send                => next 330
        330 send               => tell m: firing drift/income quality resolved drift/age, next 14440
        400 fine quality       => resolved quality (it is fine again)
        400 fine drift/income  => resolved drift/income (it is fine again)
        400 fine n:quality     => resolved quality (it is fine again)
        400 send               => tell n: resolved quality, next 630
        630 send               => tell m: resolved drift/income quality
        800 send               => forget n
        930 send               => forget m
        ",
    );
}

#[test]
fn what_has_not_changed_is_told_again_unless_it_was_acknowledged_or_still_waits() {
    check(
        "[]",
        "
        0 bad quality      => firing quality
        30 send            => tell m: firing quality, next 14430
        14430 send         => tell m: firing quality, next 28830
        15000 ack quality  => acknowledged quality (by ann)
        28830 send         =>
        29000 bad drift    => firing drift
        29100 send         => tell m: firing drift quality, next 43500
        29200 undelivered  =>
        43500 send         =>
        43600 fine quality => resolved quality (it is fine again)
        43600 send         => tell m: firing drift resolved quality, next 58000
        43700 ack quality  => alert `X` is resolved: there is nothing to acknowledge
        "
        .replace(
            "`X`",
            &format!("`{}`", {
                let desk = desk("[]");
                let finding = desk.finding("quality", Verdict::Bad, None);
                Rule::of_monitor("quality").labels(&finding).fingerprint()
            }),
        )
        .as_str(),
    );
}

#[test]
fn an_end_is_told_even_where_the_next_incident_has_begun() {
    check(
        r#"[{"name": "d", "monitor": "drift", "for": "600s"}]"#,
        "
        0 bad drift     => pending d
        600 bad drift   => firing d
        630 send        => tell m: firing d, next 15030
        640 fine drift  => resolved d (it is fine again)
        650 bad drift   => pending d
        650 send        => next 930
        930 send        => tell m: resolved d
        ",
    );
}

#[test]
fn a_silence_keeps_quiet_and_what_was_told_is_still_ended_afterwards() {
    check(
        "[]",
        "
        0 bad drift/age                        => firing drift/age
        0 silence subject=age|x until 100      =>
        40 send                                => next 100
        100 send                               => tell m: firing drift/age, next 14500
        200 silence model!=n until 1000        =>
        300 fine drift/age                     => resolved drift/age (it is fine again)
        500 send                               => next 1000
        1000 send                              => tell m: resolved drift/age
        ",
    );
}

#[test]
fn drift_is_no_news_while_the_data_are_broken() {
    check(
        "[]",
        "
        0 bad drift/age      => firing drift/age
        0 bad n:drift/x      => firing drift/x
        0 bad data_quality   => firing data_quality
        0 muted              => drift/age
        30 send              => tell m: firing data_quality, tell n: firing drift/x, next 14430
        60 fine data_quality => resolved data_quality (it is fine again)
        60 muted             =>
        330 send             => tell m: firing drift/age resolved data_quality, next 14430
        ",
    );
}

#[test]
fn an_alert_of_no_urgency_is_told_to_nobody() {
    check(
        "[]",
        "
        0 bad drift/age info => firing drift/age
        99 send              =>
        ",
    );
}

#[test]
fn a_rule_acts_once_an_incident_and_no_more_often_than_it_may() {
    check(
        r#"[{"name": "q", "monitor": "quality", "act": [{"do": "rollback"},
            {"do": "shift", "to": "safe", "dry_run": true, "at_most": "2 per 1h"}]}]"#,
        "
        0 bad quality       => firing q
        0 act               => Rollback(Some(Version(3))), Shift(Reference { model: ModelName(\"m\"), selector: Alias(Alias(\"safe\")) }) (dry run)
        1 act               => it was tried in this incident, it was tried in this incident
        2 fine quality      => resolved q (it is fine again)
        3 bad quality       => firing q
        3 act               => it is done at most 1 per 1d, Shift(Reference { model: ModelName(\"m\"), selector: Alias(Alias(\"safe\")) }) (dry run)
        4 fine quality      => resolved q (it is fine again)
        4 act               => the alert does not fire, the alert does not fire
        5 bad quality       => firing q
        5 act               => it is done at most 1 per 1d, it is done at most 2 per 1h
        6 ack q             => acknowledged q (by ann)
        90000 act           => somebody has seen the alert, somebody has seen the alert
        ",
    );
}

#[test]
fn a_rule_does_not_act_for_what_only_has_its_name() {
    check(
        r#"[{"name": "drift", "monitor": "quality", "act": [{"do": "retrain"}]},
            {"name": "drift-age", "monitor": "drift", "subject": "age", "act": [{"do": "retrain"}]}]"#,
        "
        0 bad drift/income => firing drift/income
        0 act              =>
        1 bad quality      => firing drift
        1 act              => Retrain
        2 bad drift/age    => firing drift-age/age
        2 fine quality     => resolved drift (it is fine again)
        2 act              => Retrain, the alert does not fire
        ",
    );
}

#[test]
fn a_rollback_undoes_what_came_last() {
    let version = |it: u32| crate::Version::new(it).expect("not 0");
    let check = |moves: &[u32], about: Option<u32>, want: &str| {
        let moves: Vec<_> = moves.iter().map(|it| version(*it)).collect();
        let got = match rollback_target(&moves, about.map(version)) {
            Ok(version) => version.to_string(),
            Err(why) => why,
        };
        assert_eq!(got, want, "{moves:?}");
    };
    check(&[1, 2, 3], None, "2");
    check(&[1, 2, 3], Some(3), "2");
    check(&[1, 2, 3, 2], Some(2), "1");
    check(&[1, 2, 3, 2, 4], None, "2");
    check(&[], None, "no version has the traffic");
    check(&[1], None, "no version had the traffic before 1");
    check(
        &[1, 2, 3],
        Some(2),
        "the alert is about version 2, and 3 has the traffic",
    );
}

#[test]
fn a_rule_that_cannot_be_kept_names_its_setting() {
    let check = |rules: &str, want: &str| {
        let text = format!(r#"{{"alerts": {rules}}}"#);
        let got = match serde_json::from_str::<Manifest>(&text) {
            Err(error) => error.to_string(),
            Ok(manifest) => match rule::check(&manifest.alerts) {
                Ok(()) => serde_json::to_string(&manifest).expect("JSON"),
                Err((field, why)) => format!("{field}: {why}"),
            },
        };
        assert!(got.starts_with(want), "{got}");
    };
    let rule = r#"{"alerts":[{"name":"q","monitor":"quality","for":"10m","severity":"page","act":[{"do":"shift","to":"3","at_most":"2 per 1d"}]}]}"#;
    check(&rule[10..rule.len() - 1], rule);
    check(
        r#"[{"name": "q", "monitor": "quality", "when": 1}]"#,
        "unknown field `when`, expected one of `name`, `monitor`",
    );
    check(
        r#"[{"name": "q", "monitor": "quality", "act": [{"do": "pray"}]}]"#,
        "unknown variant `pray`, expected one of `rollback`",
    );
    check(
        r#"[{"name": "q", "monitor": "x"}, {"name": "q", "monitor": "y"}]"#,
        "alerts[1].name: `q` is the name of two rules",
    );
    check(
        r#"[{"name": "q q", "monitor": "x"}]"#,
        "alerts[0].name: `q q` is not a name",
    );
    check(
        r#"[{"name": "q", "monitor": "x", "labels": {"model": "n"}}]"#,
        "alerts[0].labels.model: every alert has a label of this name already",
    );
    check(
        r#"[{"name": "q", "monitor": "x", "act": [{"do": "shift"}]}]"#,
        "alerts[0].act[0].to: `shift` needs a version or an alias",
    );
    check(
        r#"[{"name": "q", "monitor": "x", "act": [{"do": "rollback", "to": "3"}]}]"#,
        "alerts[0].act[0].to: only `shift` takes it",
    );
    check(
        r#"[{"name": "q", "monitor": "x", "act": [{"do": "stricter_inputs", "inputs": {"range": "off"}}]}]"#,
        "alerts[0].act[0].inputs: `range: off` is not strict; want `warn` or `refuse`",
    );
    check(
        r#"[{"name": "q", "monitor": "x", "act": [{"do": "rollback", "inputs": {"range": "warn"}}]}]"#,
        "alerts[0].act[0].inputs: only `stricter_inputs` takes it",
    );
    check(
        r#"[{"name": "q", "monitor": "x", "act": [{"do": "scale"}]}]"#,
        "alerts[0].act[0].instances: `scale` needs 1 to 256",
    );
    check(
        r#"[{"name": "q", "monitor": "x", "act": [{"do": "retrain", "at_most": "daily"}]}]"#,
        "`daily` is not a rate such as `1 per 1d`",
    );
}

#[test]
fn a_fingerprint_is_that_of_alertmanager() {
    // The hash of no bytes at all, and that of one label, by Prometheus' algorithm written out by hand.
    assert_eq!(
        Labels::default().fingerprint().to_string(),
        "cbf29ce484222325"
    );
    let mut by_hand: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in b"a\xffb\xff" {
        by_hand = (by_hand ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
    }
    let labels = Labels::new(
        [("a", "b"), ("c", "")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
    );
    let fingerprint = labels.fingerprint();
    assert_eq!(fingerprint, Fingerprint(by_hand));
    assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    assert!("xyz".parse::<Fingerprint>().is_err());
}

#[test]
fn there_is_room_for_so_many_alerts_and_what_ended_first_gives_way() {
    let desk = desk("[]");
    let mut book = Book::default();
    let rule = Rule::of_monitor("drift");
    let finding = |number: usize| desk.finding(&format!("drift/{number}"), Verdict::Bad, None);
    for number in 0..ALERTS_MAX {
        book.hear(&finding(number), &rule, Moment(0)).expect("room");
    }
    assert!(book.hear(&finding(ALERTS_MAX), &rule, Moment(1)).is_err());
    let fine = Finding {
        verdict: Verdict::Fine,
        ..finding(7)
    };
    book.hear(&fine, &rule, Moment(2)).expect("it ends");
    book.hear(&finding(ALERTS_MAX), &rule, Moment(3))
        .expect("room again");
    assert_eq!(book.iter().count(), ALERTS_MAX);
    assert_eq!(book.forget(Moment(4)).len(), 1);
    assert_eq!(book.forget(Moment(5)), []);
    assert_eq!(
        Moment(1_764_000_000_123).to_string(),
        "2025-11-24T16:00:00.123Z"
    );
}

#[test]
fn receivers_that_cannot_be_told_name_the_setting() {
    use super::receiver::Receivers;
    let check = |receivers: &str, want: &str| {
        let text = format!(r#"{{"receivers": {receivers}}}"#);
        let got = match serde_json::from_str::<Receivers>(&text) {
            Err(error) => error.to_string(),
            Ok(receivers) => match receivers.check() {
                Ok(()) => format!("{receivers:?}"),
                Err((field, why)) => format!("{field}: {why}"),
            },
        };
        assert!(got.starts_with(want), "{got}");
        assert!(!got.contains("s3cret"), "{got}");
    };
    check(
        r#"[{"name": "a", "kind": "webhook", "url": "http://x:s3cret@y"}]"#,
        "Receivers",
    );
    check(
        r#"[{"name": "a", "kind": "webhook", "uri": "http://y"}]"#,
        "unknown field `uri`",
    );
    check(
        r#"[{"name": "a", "kind": "webhook"}]"#,
        "receivers[0].url: it is missing",
    );
    check(
        r#"[{"name": "a", "kind": "slack", "url": "http://y", "to": ["x@y"]}]"#,
        "receivers[0].to: only `smtp` takes it",
    );
    check(
        r#"[{"name": "a", "kind": "smtp", "host": "y", "from": "a@b", "to": ["x@y>\r\nDATA"]}]"#,
        "receivers[0].to: `x@y>",
    );
    check(
        r#"[{"name": "a", "kind": "smtp", "host": "y", "from": "a@b", "to": ["x@y"]},
            {"name": "a", "kind": "slack", "url": "http://y"}]"#,
        "receivers[1].name: `a` is the name of two receivers",
    );
    check(
        r#"[{"name": "a", "kind": "slack", "url": "http://y", "timeout": "2m"}]"#,
        "receivers[0].timeout: it is not over 0 and at most 1m",
    );
}

#[test]
fn what_was_not_taken_is_tried_after_twice_as_long_each_time() {
    let retry = super::receiver::Retry {
        attempts: 5,
        longest: crate::manifest::Span(Duration::from_secs(15)),
        ..super::receiver::Retry::default()
    };
    for (attempts, want) in [(1, 5.0), (2, 10.0), (3, 15.0), (4, 15.0)] {
        let wait = retry
            .after(attempts, 7)
            .expect("not the last")
            .as_secs_f64();
        assert!((0.8 * want..=1.2 * want).contains(&wait), "{wait}");
        assert_eq!(retry.after(attempts, 7), retry.after(attempts, 7));
    }
    assert_ne!(retry.after(1, 7), retry.after(1, 8));
    assert_eq!(retry.after(5, 7), None);
}
