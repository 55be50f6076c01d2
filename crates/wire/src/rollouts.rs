//! What receivers are told of a rollout, in each kind's own form.

use domain::alert::receiver::Kind;
use domain::rollout::{Event, Rollout};
use serde::Serialize;

use crate::alerts::{MailRecord, SlackRecord, json, slack_text};
use crate::api::rollouts::{RolloutEventRecord, RolloutRecord};

/// What a webhook gets.
#[derive(Serialize)]
struct WebhookRecord<'a> {
    /// The form of this record.
    version: &'static str,
    kind: &'static str,
    rollout: RolloutRecord,
    event: RolloutEventRecord,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
}

/// An event of a rollout, which has followed it, as a receiver takes it; none where it knows only alerts.
pub fn telling(kind: Kind, rollout: &Rollout, event: &Event, external_url: &str) -> Option<String> {
    let plan = &rollout.plan;
    let said = event.sentence(plan);
    Some(match kind {
        Kind::Alertmanager => return None,
        Kind::Webhook => json(&WebhookRecord {
            version: "1",
            kind: "rollout",
            rollout: RolloutRecord::of(rollout),
            event: RolloutEventRecord::of(event, plan),
            external_url,
        }),
        Kind::Slack => json(&SlackRecord {
            text: slack_text(&said),
        }),
        Kind::Smtp => json(&MailRecord {
            subject: format!(
                "[ROLLOUT] {}:{} {}",
                plan.model(),
                plan.candidate(),
                rollout.status()
            ),
            text: format!("{said}\n\nrollout {}\n", plan.id()),
        }),
    })
}
