//! What receivers are told of an experiment, in each kind's own form.

use domain::alert::receiver::Kind;
use domain::experiment::course::{Event, Experiment};
use serde::Serialize;

use crate::alerts::{MailRecord, SlackRecord, json, slack_text};
use crate::api::experiments::{ExperimentEventRecord, ExperimentRecord};

/// What a webhook gets.
#[derive(Serialize)]
struct WebhookRecord<'a> {
    /// The form of this record.
    version: &'static str,
    kind: &'static str,
    experiment: ExperimentRecord,
    event: ExperimentEventRecord,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
}

/// An event of an experiment, which has followed it, as a receiver takes it; none where it knows only alerts.
pub fn telling(
    kind: Kind,
    experiment: &Experiment,
    event: &Event,
    external_url: &str,
) -> Option<String> {
    let plan = &experiment.plan;
    let said = event.sentence(plan);
    Some(match kind {
        Kind::Alertmanager => return None,
        Kind::Webhook => json(&WebhookRecord {
            version: "1",
            kind: "experiment",
            experiment: ExperimentRecord::of(experiment),
            event: ExperimentEventRecord::of(event, plan),
            external_url,
        }),
        Kind::Slack => json(&SlackRecord {
            text: slack_text(&said),
        }),
        Kind::Smtp => json(&MailRecord {
            subject: subject(experiment, event),
            text: format!("{said}\n\nexperiment {}\n", plan.id()),
        }),
    })
}

/// What became known, or else where it is.
fn subject(experiment: &Experiment, event: &Event) -> String {
    let plan = &experiment.plan;
    let (model, metric) = (plan.model(), plan.spec().name());
    let answers = event.answers().map(|it| {
        let version = it.compared.version;
        format!("{model}:{version} {}", it.answer)
    });
    let answers: Vec<String> = answers.collect();
    match answers.is_empty() {
        true => format!("[EXPERIMENT] {model} by {metric} {}", experiment.status()),
        false => format!("[EXPERIMENT] {} by {metric}", answers.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use domain::Version;
    use domain::alert::Moment;
    use domain::experiment::plan::{Parts, Plan};
    use domain::experiment::{Answer, Compared, Look, Told};
    use domain::rollout::command::Person;
    use domain::rollout::evidence::{Figure, Interval};
    use domain::rollout::traffic::Arms;

    use super::*;

    #[test]
    fn each_receiver_is_told_in_its_own_form() {
        let [one, two] = [1, 2].map(|it| Version::new(it).expect("not zero"));
        let arms = Arms::equal(one, &[two]).expect("two");
        let spec = r#"{"metric":"posted.revenue","better":"higher","equivalent_within":"1%"}"#;
        let plan = Plan::restored(Parts {
            id: "e-1".parse().expect("an id"),
            model: "credit".parse().expect("a name"),
            arms: arms.clone(),
            spec: serde_json::from_str(spec).expect("a spec"),
            started: Moment(1_000),
            person: Person {
                who: "ann".to_owned(),
                why: String::new(),
            },
        });
        let mut experiment = Experiment::new(plan.expect("a plan"));
        let figure = |value| Figure {
            n: 300,
            events: None,
            value: Some(value),
        };
        let compared = Compared {
            version: two,
            against: one,
            figure: figure(120.0),
            control: figure(100.0),
            difference: Some(Interval {
                low: 15.0,
                high: 25.0,
            }),
        };
        let told = Told {
            compared,
            answer: Answer::Better,
            remaining: None,
            before: None,
        };
        let begun = Event {
            number: 0,
            at: Moment(2_000),
            to: domain::experiment::course::State::Running { arms },
            look: Look::default(),
            known: Vec::new(),
        };
        let known = Event {
            number: 1,
            look: Look {
                others: vec![told],
                ..Look::default()
            },
            known: vec![two],
            ..begun.clone()
        };
        experiment.apply(&begun).expect("the next one");
        let telling = |kind, event| telling(kind, &experiment, event, "http://w/");
        assert_eq!(telling(Kind::Alertmanager, &known), None);
        let read = |kind, event| -> serde_json::Value {
            let body = telling(kind, event).expect("it is told");
            serde_json::from_str(&body).expect("JSON")
        };
        let said = known.sentence(&experiment.plan);
        assert!(said.starts_with("`credit:2` is better than `credit:1`: posted.revenue 120"));
        assert_eq!(read(Kind::Slack, &known)["text"], said);
        let mail = read(Kind::Smtp, &known);
        assert_eq!(
            mail["subject"],
            "[EXPERIMENT] credit:2 better by posted.revenue"
        );
        assert_eq!(mail["text"], format!("{said}\n\nexperiment e-1\n"));
        assert_eq!(
            read(Kind::Smtp, &begun)["subject"],
            "[EXPERIMENT] credit by posted.revenue is running"
        );
        let hook = read(Kind::Webhook, &known);
        assert_eq!(
            (&hook["version"], &hook["kind"]),
            (&"1".into(), &"experiment".into())
        );
        assert_eq!(hook["experiment"]["metric"], "posted.revenue");
        assert_eq!(hook["event"]["answers"][0]["answer"], "better");
        assert_eq!(hook["externalURL"], "http://w/");
        assert_eq!(read(Kind::Webhook, &begun)["event"].get("answers"), None);
    }
}
