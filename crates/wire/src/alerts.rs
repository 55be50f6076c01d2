//! What is sent to those who are told of alerts: the payloads of Alertmanager's webhooks and of its API, of Slack's
//! incoming webhooks, and a mail.
//!
//! Sources: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config> (version "4"),
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml> (`postableAlert`),
//! <https://docs.slack.dev/messaging/formatting-message-text/>, RFC 5322.

use std::collections::BTreeMap;
use std::fmt::Write;

use domain::alert::notify::Place;
use domain::alert::{Alert, Labels, Moment, label};
use serde::{Deserialize, Serialize};

use crate::api::alerts::map;

/// The most alerts of one payload; of the others only their number is told.
pub const ALERTS_MAX: usize = 1000;
/// The most alerts that are listed for people.
const LINES_MAX: usize = 20;
/// The moment that stands for none, as Go's zero time does.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is told: a group's alerts at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// To whom, of which group.
    pub place: &'a Place,
    /// What fires.
    pub firing: &'a [&'a Alert],
    /// What does not fire any longer.
    pub resolved: &'a [&'a Alert],
    /// How people reach this server; may be empty.
    pub external_url: &'a str,
    /// Now.
    pub now: Moment,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookRecord {
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
    status: &'static str,
    receiver: String,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: String,
    alerts: Vec<WebhookAlertRecord>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookAlertRecord {
    status: &'static str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableRecord {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: String,
    /// Without it Alertmanager takes an end `resolve_timeout` from now, which is what is meant: the body may
    /// be sent later than it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    generator_url: String,
}

/// A mail, as it waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailRecord {
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub text: String,
}

#[derive(Serialize)]
pub(crate) struct SlackRecord {
    pub(crate) text: String,
}

/// A text in which nothing is Slack's markup: these three are what that begins with.
pub(crate) fn slack_text(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

impl<'a> Told<'a> {
    /// The body for a webhook.
    pub fn webhook(&self) -> String {
        let alerts: Vec<WebhookAlertRecord> = self
            .all()
            .take(ALERTS_MAX)
            .map(|(alert, firing)| WebhookAlertRecord {
                status: status(firing),
                labels: map(&alert.labels),
                annotations: annotations(alert),
                starts_at: started(alert).to_string(),
                ends_at: match firing {
                    true => NEVER.to_owned(),
                    false => self.ended(alert).to_string(),
                },
                generator_url: self.generator_url(alert),
                fingerprint: alert.fingerprint().to_string(),
            })
            .collect();
        json(&WebhookRecord {
            version: "4",
            group_key: group_key(&self.place.group),
            truncated_alerts: self.count().saturating_sub(alerts.len()),
            status: status(!self.firing.is_empty()),
            receiver: self.place.receiver.clone(),
            group_labels: map(&self.place.group),
            common_labels: common(alerts.iter().map(|it| &it.labels)),
            common_annotations: common(alerts.iter().map(|it| &it.annotations)),
            external_url: self.external_url.to_owned(),
            alerts,
        })
    }

    /// The body for Alertmanager's `POST /api/v2/alerts`.
    pub fn alertmanager(&self) -> String {
        let record = |(alert, firing): (&Alert, bool)| PostableRecord {
            labels: map(&alert.labels),
            annotations: annotations(alert),
            starts_at: started(alert).to_string(),
            ends_at: (!firing).then(|| self.ended(alert).to_string()),
            generator_url: self.generator_url(alert),
        };
        let records: Vec<_> = self.all().take(ALERTS_MAX).map(record).collect();
        json(&records)
    }

    /// The body for a webhook of Slack's shape.
    pub fn slack(&self) -> String {
        let mut text = format!("*{}*", slack_text(&self.subject()));
        for line in self.lines() {
            let _ = write!(text, "\n• {}", slack_text(&line));
        }
        json(&SlackRecord { text })
    }

    /// A mail.
    pub fn mail(&self) -> String {
        json(&MailRecord {
            subject: self.subject(),
            text: self.text(),
        })
    }

    /// What it is about, in a line.
    fn subject(&self) -> String {
        let what = match self.place.group.iter().next() {
            None => String::new(),
            Some(_) => {
                let values: Vec<&str> = self.place.group.iter().map(|(_, it)| it).collect();
                format!(" {}", values.join(" "))
            }
        };
        match (self.firing.len(), self.resolved.len()) {
            (0, resolved) => format!("[RESOLVED:{resolved}]{what}"),
            (firing, _) => format!("[FIRING:{firing}]{what}"),
        }
    }

    fn text(&self) -> String {
        let mut text = self.lines().join("\n");
        if !self.external_url.is_empty() {
            let _ = write!(text, "\n\n{}", self.external_url);
        }
        text
    }

    /// A line for each alert.
    fn lines(&self) -> Vec<String> {
        let line = |(alert, firing): (&Alert, bool)| {
            let mut line = match firing {
                true => format!("{}: ", alert.severity().name()),
                false => "resolved: ".to_owned(),
            };
            line.push_str(alert.labels.get(label::ALERTNAME));
            for name in [label::SUBJECT, label::SEGMENT] {
                let value = alert.labels.get(name);
                if !value.is_empty() {
                    let _ = write!(line, " {value}");
                }
            }
            if !alert.summary.is_empty() {
                let _ = write!(line, ": {}", alert.summary);
            }
            let _ = write!(line, " ({})", alert.fingerprint());
            line
        };
        let mut lines: Vec<String> = self.all().take(LINES_MAX).map(line).collect();
        if self.count() > LINES_MAX {
            lines.push(format!("and {} more", self.count() - LINES_MAX));
        }
        lines
    }

    fn all(&self) -> impl Iterator<Item = (&'a Alert, bool)> {
        let firing = self.firing.iter().map(|it| (*it, true));
        firing.chain(self.resolved.iter().map(|it| (*it, false)))
    }

    fn count(&self) -> usize {
        self.firing.len() + self.resolved.len()
    }

    fn ended(&self, alert: &Alert) -> Moment {
        alert.ended_at.unwrap_or(self.now)
    }

    fn generator_url(&self, alert: &Alert) -> String {
        match self.external_url {
            "" => String::new(),
            url => {
                let url = url.trim_end_matches('/');
                format!("{url}/api/v1/alerts/{}", alert.fingerprint())
            }
        }
    }
}

fn status(firing: bool) -> &'static str {
    match firing {
        true => "firing",
        false => "resolved",
    }
}

fn started(alert: &Alert) -> Moment {
    alert.fired_at.unwrap_or(alert.state.since())
}

/// What its rule says, its sentence, and what that rests on.
fn annotations(alert: &Alert) -> BTreeMap<String, String> {
    let mut annotations = alert.annotations.clone();
    if !alert.summary.is_empty() {
        let summary = annotations.entry("summary".to_owned());
        summary.or_insert_with(|| alert.summary.clone());
    }
    if !alert.evidence.is_empty() {
        let facts = alert.evidence.iter().map(|(k, v)| format!("{k}={v}"));
        let facts: Vec<String> = facts.collect();
        let evidence = annotations.entry("evidence".to_owned());
        evidence.or_insert_with(|| facts.join(", "));
    }
    annotations
}

/// As Alertmanager writes it: the route, then the group's labels.
fn group_key(group: &Labels) -> String {
    let pairs = group
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"));
    let pairs: Vec<String> = pairs.collect();
    format!("{{}}:{{{}}}", pairs.join(", "))
}

/// What all of them have in common.
fn common<'a>(
    mut maps: impl Iterator<Item = &'a BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut common = maps.next().cloned().unwrap_or_default();
    for map in maps {
        common.retain(|name, value| map.get(name) == Some(value));
    }
    common
}

pub(crate) fn json(record: &impl Serialize) -> String {
    // Records of strings and numbers cannot fail to serialise.
    serde_json::to_string(record).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::alert::{Book, Evidence, Fact, Finding, Rule, Severity, Verdict};

    fn check(want: [&str; 4]) {
        let finding = |verdict, subject: &str| Finding {
            model: "credit".parse().expect("a name"),
            version: domain::Version::new(3),
            monitor: "drift".to_owned(),
            subject: subject.to_owned(),
            segment: None,
            verdict,
            severity: Severity::Page,
            summary: "`age` < before & after".to_owned(),
            evidence: Evidence::from([("score".to_owned(), Fact::Number(0.5))]),
        };
        let mut book = Book::default();
        let rule = Rule::of_monitor("drift");
        for (verdict, subject, at) in [
            (Verdict::Bad, "age", 0),
            (Verdict::Bad, "income", 0),
            (Verdict::Fine, "income", 60_000),
        ] {
            let finding = finding(verdict, subject);
            book.hear(&finding, &rule, Moment(at)).expect("room");
        }
        let alerts: Vec<&Alert> = book.iter().map(|it| it.1).collect();
        let (firing, resolved): (Vec<_>, Vec<_>) =
            alerts.into_iter().partition(|it| it.is_firing());
        let place = Place {
            receiver: "ops".to_owned(),
            group: Labels::new([("model".to_owned(), "credit".to_owned())].into()),
        };
        let told = Told {
            place: &place,
            firing: &firing,
            resolved: &resolved,
            external_url: "http://w/",
            now: Moment(90_000),
        };
        let got = [
            told.webhook(),
            told.alertmanager(),
            told.slack(),
            told.text(),
        ];
        for (got, want) in got.iter().zip(want) {
            let (first, second) = (firing[0].fingerprint(), resolved[0].fingerprint());
            let got = got.replace(&first.to_string(), "FIRST");
            assert_eq!(got.replace(&second.to_string(), "SECOND"), want);
        }
        assert_eq!(told.subject(), "[FIRING:1] credit");
    }

    #[test]
    fn payloads_are_those_that_receivers_know() {
        check([
            r#"{"version":"4","groupKey":"{}:{model=\"credit\"}","truncatedAlerts":0,"status":"firing","receiver":"ops","groupLabels":{"model":"credit"},"commonLabels":{"alertname":"drift","model":"credit","model_version":"3","monitor":"drift","severity":"page"},"commonAnnotations":{"evidence":"score=0.5","summary":"`age` < before & after"},"externalURL":"http://w/","alerts":[{"status":"firing","labels":{"alertname":"drift","model":"credit","model_version":"3","monitor":"drift","severity":"page","subject":"age"},"annotations":{"evidence":"score=0.5","summary":"`age` < before & after"},"startsAt":"1970-01-01T00:00:00.000Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://w/api/v1/alerts/FIRST","fingerprint":"FIRST"},{"status":"resolved","labels":{"alertname":"drift","model":"credit","model_version":"3","monitor":"drift","severity":"page","subject":"income"},"annotations":{"evidence":"score=0.5","summary":"`age` < before & after"},"startsAt":"1970-01-01T00:00:00.000Z","endsAt":"1970-01-01T00:01:00.000Z","generatorURL":"http://w/api/v1/alerts/SECOND","fingerprint":"SECOND"}]}"#,
            r#"[{"labels":{"alertname":"drift","model":"credit","model_version":"3","monitor":"drift","severity":"page","subject":"age"},"annotations":{"evidence":"score=0.5","summary":"`age` < before & after"},"startsAt":"1970-01-01T00:00:00.000Z","generatorURL":"http://w/api/v1/alerts/FIRST"},{"labels":{"alertname":"drift","model":"credit","model_version":"3","monitor":"drift","severity":"page","subject":"income"},"annotations":{"evidence":"score=0.5","summary":"`age` < before & after"},"startsAt":"1970-01-01T00:00:00.000Z","endsAt":"1970-01-01T00:01:00.000Z","generatorURL":"http://w/api/v1/alerts/SECOND"}]"#,
            r#"{"text":"*[FIRING:1] credit*\n• page: drift age: `age` &lt; before &amp; after (FIRST)\n• resolved: drift income: `age` &lt; before &amp; after (SECOND)"}"#,
            "page: drift age: `age` < before & after (FIRST)\nresolved: drift income: `age` < before & after (SECOND)\n\nhttp://w/",
        ]);
    }
}
