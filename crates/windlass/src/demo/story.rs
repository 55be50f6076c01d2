//! The demo's story, told by a client of `/api/v1` as it comes true.
//!
//! R1. Nothing is claimed that the server does not say: each sentence has a number out of an answer of it.
//! R2. A step that does not come true within its bound ends the demo with what did not.
//! R3. What is waited for is what the server says, so that a slow machine tells the same, later.

use std::path::Path;
use std::time::Duration;

use domain::{ModelName, Reference};
use http::Method;
use serde_json::{Value, json};
use wire::api::PageRecord;
use wire::api::alerts::AlertRecord;
use wire::api::drift::BaselineRecord;
use wire::api::ledger::{MetricRecord, QualityGroupRecord, QualityRecord, QueryRecord, RowsRecord};
use wire::api::rollouts::{RolloutDetailRecord, RolloutStart};
use wire::api::shadow::ShadowRecord;

use super::narrator::Narrator;
use super::stream::Stream;
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, interval, share};
use crate::push;
use crate::range::asked;
use crate::rollout;

/// How often is looked whether something came true.
const LOOK: Duration = Duration::from_millis(300);
/// The longest that anything may take, on a slow machine too.
const STEP_MAX: Duration = Duration::from_secs(180);
/// Time to read a chapter before the next.
const PAUSE: Duration = Duration::from_secs(2);
/// Labelled rows of the reference period, with which estimates are learned and tested: 23 of its 24 thousand.
const REFERENCE_LABELS: u64 = 23_000;
/// Labelled rows by which the last version is judged.
const LAST_LABELS: u64 = 6_000;

/// What is told, and how.
pub(super) struct Story<'a> {
    pub(super) client: &'a Client,
    pub(super) narrator: &'a Narrator,
    pub(super) stream: &'a Stream<'a>,
    pub(super) model: &'a Reference,
    /// Where the versions lie.
    pub(super) folder: &'a Path,
    /// Whether there is time to read between chapters.
    pub(super) pauses: bool,
}

impl Story<'_> {
    /// Tells all of it.
    pub(super) async fn tell(&self) -> anyhow::Result<()> {
        let before = self.serves().await?;
        let (since, estimated) = self.drifts(before).await?;
        let after = self.labels_come(&since, estimated).await?;
        self.bad_candidate().await?;
        self.good_candidate().await?;
        self.recovers(&since, after).await
    }

    /// Chapter 1. The accuracy of the reference period.
    async fn serves(&self) -> anyhow::Result<MetricRecord> {
        let model = self.name();
        self.narrator.chapter("Version 1 serves")?;
        self.until("its first answers", async || {
            Ok((self.stream.answered() > 0).then_some(()))
        })
        .await?;
        self.narrator.say(
            "`car_loan:1` is asked 150 times a second about 4 applications. What became of an applicant is told \
             a second later.",
            "windlass show car_loan",
            json!({}),
        )?;
        let path = format!("/api/v1/models/{model}/versions/1/baseline");
        let baseline: BaselineRecord = self
            .until("a baseline of its first predictions", async || {
                found(self.client.get(&path).await)
            })
            .await?;
        let rows = baseline.reference.rows;
        self.narrator.say(
            &format!("Its first {rows} predictions are what later ones are measured against."),
            "windlass baseline car_loan:1",
            json!({ "rows": rows }),
        )?;
        self.until("enough labels to test estimates with", async || {
            Ok((self.stream.labelled() >= REFERENCE_LABELS).then_some(()))
        })
        .await?;
        let group = self.quality(1, None).await?;
        let accuracy = accuracy(&group)?;
        self.narrator.say(
            &format!(
                "By {} labels its accuracy is {}; below 0.93 somebody is to be told.",
                group.labelled,
                interval(&accuracy)
            ),
            "windlass quality car_loan --version 1",
            json!({ "labelled": group.labelled, "accuracy": accuracy }),
        )?;
        self.pause().await;
        Ok(accuracy)
    }

    /// Chapter 2. Since when, and what the accuracy is estimated to be.
    async fn drifts(&self, before: MetricRecord) -> anyhow::Result<(String, f64)> {
        self.narrator
            .chapter("The applicants change, and nobody knows yet who pays back")?;
        self.stream.drift();
        self.until("other applicants", async || {
            Ok(self.stream.has_drifted().then_some(()))
        })
        .await?;
        // Rows of before have older times, but for the one that is the newest now.
        tokio::time::sleep(LOOK).await;
        let since = self.newest().await?;
        let (mut drift, mut estimate) = (None, None);
        // Whichever is seen first is told first.
        while drift.is_none() || estimate.is_none() {
            let alert = self
                .until("alerts of drift and of the estimated quality", async || {
                    let alerts = self.alerts().await?;
                    let mut new = alerts.into_iter().filter(|it| match monitor(it) {
                        "drift" => drift.is_none(),
                        "estimated_quality" => estimate.is_none(),
                        _ => false,
                    });
                    Ok(new.next())
                })
                .await?;
            let command = match monitor(&alert) {
                "drift" => "windlass drift car_loan".to_owned(),
                _ => format!("windlass alert {}", alert.id),
            };
            self.narrator.say(
                &told(&alert),
                &command,
                json!({ "alert": alert.name, "since_ms": alert.since_ms, "evidence": alert.evidence }),
            )?;
            match monitor(&alert) {
                "drift" => drift = Some(alert),
                _ => estimate = Some(alert),
            }
        }
        let group = self.quality(1, Some(&since)).await?;
        if group.labelled > 0 {
            return Err(untrue("seen before any label", "labels had come already").into());
        }
        let estimated = estimate.as_ref().and_then(|it| {
            serde_json::to_value(it.evidence.get("value")?)
                .ok()?
                .as_f64()
        });
        let Some(estimated) = estimated else {
            return Err(untrue("an estimate", "the alert has no value").into());
        };
        self.narrator.say(
            &format!(
                "Both were seen without a label: {} of {} predictions since then have one. The estimate fell \
                 from {:.3} to {estimated:.3}.",
                group.labelled, group.predictions, before.value
            ),
            &format!("windlass quality car_loan --from {since}"),
            json!({
                "since": since, "predictions": group.predictions, "labelled": group.labelled,
                "before": before.value, "estimated": estimated,
            }),
        )?;
        self.pause().await;
        Ok((since, estimated))
    }

    /// Chapter 3. The accuracy since the applicants changed.
    async fn labels_come(&self, since: &str, estimated: f64) -> anyhow::Result<MetricRecord> {
        self.narrator.chapter("Labels come, and say the same")?;
        self.stream.tell_labels();
        let alert = self
            .until("an alert of the quality by labels", async || {
                let alerts = self.alerts().await?;
                Ok(alerts.into_iter().find(|it| monitor(it) == "quality"))
            })
            .await?;
        self.narrator.say(
            &told(&alert),
            &format!("windlass alert {}", alert.id),
            json!({ "alert": alert.name, "since_ms": alert.since_ms, "evidence": alert.evidence }),
        )?;
        let group = self.quality(1, Some(since)).await?;
        let accuracy = accuracy(&group)?;
        self.narrator.say(
            &format!(
                "It was estimated to be {estimated:.3}; by {} labels it is {}.",
                group.labelled,
                interval(&accuracy)
            ),
            &format!("windlass quality car_loan --from {since}"),
            json!({ "labelled": group.labelled, "accuracy": accuracy, "estimated": estimated }),
        )?;
        self.pause().await;
        Ok(accuracy)
    }

    /// Chapter 4.
    async fn bad_candidate(&self) -> anyhow::Result<()> {
        self.narrator
            .chapter("Version 2 was trained anew, with a mistake")?;
        let ended = self.roll_out(2).await?;
        let back = ended.events.iter().find(|it| it.to == "rolling_back");
        let Some(back) = back.filter(|_| ended.rollout.state == "rolled_back") else {
            return Err(untrue("version 2 is rolled back", &ended.rollout.status).into());
        };
        let met = format!("select count(*) from {} where version = 2", self.name());
        let met = self.answer(&met).await?.as_u64().unwrap_or(0);
        self.narrator.say(
            &format!(
                "Its training took months for years. {met} of {} applications so far met it.",
                self.stream.answered()
            ),
            &format!("windlass query '{}'", self.by_version()),
            json!({
                "rollout": ended.rollout.id, "state": ended.rollout.state, "said": back.said, "met": met,
            }),
        )?;
        self.pause().await;
        Ok(())
    }

    /// Chapter 5.
    async fn good_candidate(&self) -> anyhow::Result<()> {
        self.narrator
            .chapter("Version 3 was trained anew, without it")?;
        let ended = self.roll_out(3).await?;
        if ended.rollout.state != "succeeded" {
            return Err(untrue("version 3 gets the traffic", &ended.rollout.status).into());
        }
        self.pause().await;
        Ok(())
    }

    /// Chapter 6.
    async fn recovers(&self, since: &str, before: MetricRecord) -> anyhow::Result<()> {
        self.narrator.chapter("The quality is back")?;
        let promoted = self.newest().await?;
        let group = self
            .until("labels of version 3", async || {
                let group = self.quality(3, Some(&promoted)).await?;
                Ok((group.labelled >= LAST_LABELS).then_some(group))
            })
            .await?;
        let after = accuracy(&group)?;
        let surely = before
            .high
            .zip(after.low)
            .is_some_and(|(high, low)| low > high);
        if !surely {
            let got = format!("{} after {}", interval(&after), interval(&before));
            return Err(untrue("version 3 is surely more often right", &got).into());
        }
        self.narrator.say(
            &format!(
                "Of the same applicants version 1 got {} right, version 3 {}: better beyond chance.",
                interval(&before),
                interval(&after)
            ),
            &format!("windlass quality car_loan --from {since}"),
            json!({ "before": before, "after": after, "labelled": group.labelled }),
        )?;
        self.until("no alert fires any more", async || {
            let alerts = self.alerts().await?;
            Ok(alerts.is_empty().then_some(()))
        })
        .await?;
        self.narrator.say(
            "No alert fires any more.",
            "windlass alerts car_loan --all",
            json!({ "firing": 0 }),
        )
    }

    /// Registers a version and moves the traffic to it, or not. Tells every event.
    async fn roll_out(&self, version: u32) -> anyhow::Result<RolloutDetailRecord> {
        let quiet = Output {
            json: false,
            quiet: true,
        };
        let folder = self.folder.join(format!("v{version}"));
        push::push(self.client, quiet, &folder, None, &Default::default()).await?;
        let record = RolloutStart {
            version,
            who: Some("demo".to_owned()),
            why: "trained with newer applicants".to_owned(),
            ..RolloutStart::default()
        };
        let path = format!("/api/v1/models/{}/rollouts", self.name());
        let begun: RolloutDetailRecord = self.client.send(Method::POST, &path, &record).await?;
        let id = begun.rollout.id;
        let mut told_of = 0;
        let mut shadowed = false;
        self.until("the rollout is over", async || {
            let told: RolloutDetailRecord = self.client.get(&rollout::path(&id)).await?;
            let from = told_of;
            for event in told.events.iter().filter(|it| it.number >= from) {
                told_of = event.number + 1;
                if event.to.starts_with("step") && !shadowed {
                    shadowed = true;
                    self.say_shadow(&id).await?;
                }
                self.narrator.say(
                    &event.said,
                    "windlass rollout watch car_loan",
                    json!({ "rollout": id, "from": event.from, "to": event.to }),
                )?;
            }
            Ok(told.rollout.over.then_some(told))
        })
        .await
    }

    /// What the candidate would have answered.
    async fn say_shadow(&self, id: &str) -> anyhow::Result<()> {
        let path = format!("{}/shadow", rollout::path(id));
        let told: ShadowRecord = self.client.get(&path).await?;
        let changed = told.changed as f64 / told.pairs.max(1) as f64;
        self.narrator.say(
            &format!(
                "Unheard it would have answered {} of {} applications otherwise.",
                share(changed),
                told.pairs
            ),
            "windlass shadow car_loan",
            json!({ "pairs": told.pairs, "changed": told.changed }),
        )
    }

    fn name(&self) -> &ModelName {
        &self.model.model
    }

    /// When the newest prediction was made, as a moment.
    async fn newest(&self) -> anyhow::Result<String> {
        let sql = format!("select max(time) from {}", self.name());
        let moment = self.answer(&sql).await?;
        let moment = moment.as_str().map(str::to_owned);
        moment.ok_or_else(|| untrue("predictions in the ledger", "none").into())
    }

    /// How many rows each version answered, as a question.
    fn by_version(&self) -> String {
        format!(
            "select version, count(*) from {} group by version",
            self.name()
        )
    }

    /// The one value that a question has for its answer.
    async fn answer(&self, sql: &str) -> anyhow::Result<Value> {
        let record = QueryRecord {
            sql: sql.to_owned(),
            rows_max: None,
        };
        let path = "/api/v1/query";
        let answer: RowsRecord = self.client.send(Method::POST, path, &record).await?;
        let value = answer.rows.into_iter().next();
        let value = value.and_then(|it| it.into_iter().next());
        value.ok_or_else(|| untrue("an answer", sql).into())
    }

    /// How right a version was, since a moment or ever.
    async fn quality(
        &self,
        version: u32,
        since: Option<&str>,
    ) -> anyhow::Result<QualityGroupRecord> {
        let path = format!("/api/v1/models/{}/quality", self.name());
        let path = asked(
            &path,
            &[
                ("version", Some(version.to_string())),
                ("from", since.map(str::to_owned)),
            ],
        );
        let record: QualityRecord = self.client.get(&path).await?;
        let group = record.groups.into_iter().next();
        group.ok_or_else(|| untrue("predictions of the version", "none").into())
    }

    /// Alerts that fire.
    async fn alerts(&self) -> anyhow::Result<Vec<AlertRecord>> {
        let model = Some(self.name().to_string());
        let path = asked("/api/v1/alerts", &[("model", model)]);
        let page: PageRecord<AlertRecord> = self.client.get(&path).await?;
        let alerts = page.items.into_iter();
        Ok(alerts.filter(|it| it.state == "firing").collect())
    }

    /// Looks until something is true.
    async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let until = self.narrator.elapsed() + STEP_MAX;
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if self.narrator.elapsed() > until {
                let got = format!("not within {} s", STEP_MAX.as_secs());
                return Err(untrue(what, &got).into());
            }
            self.narrator.now(|| {
                let (answered, labelled) = (self.stream.answered(), self.stream.labelled());
                format!("{answered} answered, {labelled} labelled; waiting for {what}")
            });
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn pause(&self) {
        if self.pauses {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A step that did not come true.
fn untrue(want: &str, got: &str) -> Failure {
    Failure {
        code: "demo".to_owned(),
        message: format!("the demo's story did not come true: wanted {want}, got {got}"),
        hint: Some(
            "run it again with `--keep DIR` when the machine has more time, and look at \
             `windlass alerts --all` and `windlass rollout show car_loan`"
                .to_owned(),
        ),
        exit: Exit::Failed,
    }
}

/// What is there, or nothing where it is not there yet.
fn found<T>(answer: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if Failure::of(&error).exit == Exit::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn monitor(alert: &AlertRecord) -> &str {
    alert.labels.get("monitor").map_or("", String::as_str)
}

/// An alert in a sentence.
fn told(alert: &AlertRecord) -> String {
    format!(
        "ALERT {} ({}): {}",
        alert.name, alert.severity, alert.summary
    )
}

fn accuracy(group: &QualityGroupRecord) -> anyhow::Result<MetricRecord> {
    let accuracy = group.metrics.get("accuracy").copied();
    accuracy.ok_or_else(|| untrue("an accuracy", "no labels").into())
}
