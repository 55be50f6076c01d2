//! A model's versions: what each is, where it came from, how it did, and what differs between two.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::Value;
use wire::api::drift::BaselineRecord;
use wire::api::overview::ModelNowRecord;
use wire::api::{
    AliasMoveRecord, AliasRecord, EventRecord, PageRecord, VersionDetailRecord, VersionRecord,
};

use super::difference::Difference;
use super::model::head;
use super::{Frame, difference, models, shown, versions};
use crate::ask::{Address, Ask, Problem};
use crate::show;

/// Versions of a page.
const PAGE: u32 = 20;
/// Aliases whose history is read.
const ALIASES_MAX: usize = 20;
/// Events of a model that are looked through for who made a version.
const EVENTS_MAX: u32 = 1000;

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    before: Option<u32>,
}

#[derive(Template)]
#[template(path = "versions.html")]
struct VersionsPage {
    frame: Frame,
    model: ModelNowRecord,
    tab: &'static str,
    rows: Vec<Row>,
    older: Option<u32>,
    moves: Vec<AliasMoveRecord>,
}

/// A version in the list.
struct Row {
    version: VersionRecord,
    size: Option<u64>,
    aliases: Vec<String>,
    share: Option<f64>,
}

pub(crate) async fn list(
    ask: Ask,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async {
        let model = head(&ask, &name).await?;
        let versions = newest(&ask, &name, query.before).await?;
        let details = join_all(versions.iter().map(|it| detail(&ask, &name, it.version)));
        let (details, moves) = futures::join!(details, moves(&ask, &name, &model.aliases));
        let older = versions.last().map(|it| it.version);
        let rows = versions
            .into_iter()
            .zip(details)
            .map(|(version, detail)| Row {
                size: detail.ok().map(|it| size(&it)),
                aliases: aliases(&model.aliases, version.version),
                share: share(&model, version.version),
                version,
            });
        Ok(VersionsPage {
            frame: Frame::new("models", format!("{name}: versions")),
            tab: "versions",
            rows: rows.collect(),
            older: older.filter(|it| *it > 1),
            moves,
            model,
        })
    };
    shown(page.await)
}

/// The newest first, those before one of them.
async fn newest(
    ask: &Ask,
    model: &str,
    before: Option<u32>,
) -> Result<Vec<VersionRecord>, Problem> {
    let Some(before) = before else {
        let model: wire::api::ModelDetailRecord = ask.get(Address::api(&["models", model])).await?;
        return Ok(model.recent);
    };
    let after = before.saturating_sub(PAGE + 1);
    let address = Address::api(&["models", model, "versions"])
        .with_some("after", (after > 0).then_some(after))
        .with("limit", PAGE);
    let mut page: PageRecord<VersionRecord> = ask.get(address).await?;
    page.items.retain(|it| it.version < before);
    page.items.reverse();
    Ok(page.items)
}

async fn detail(ask: &Ask, model: &str, version: u32) -> Result<VersionDetailRecord, Problem> {
    let version = version.to_string();
    ask.get(Address::api(&["models", model, "versions", &version]))
        .await
}

/// Every move of every alias, the newest first.
async fn moves(ask: &Ask, model: &str, aliases: &[AliasRecord]) -> Vec<AliasMoveRecord> {
    let of = aliases.iter().take(ALIASES_MAX).map(|it| {
        let address = Address::api(&["models", model, "aliases", &it.alias, "history"]);
        ask.get::<Vec<AliasMoveRecord>>(address)
    });
    let histories = join_all(of).await.into_iter().filter_map(Result::ok);
    let mut moves: Vec<AliasMoveRecord> = histories.flatten().collect();
    moves.sort_by_key(|it| std::cmp::Reverse(it.at_ms));
    moves
}

fn size(version: &VersionDetailRecord) -> u64 {
    version.files.iter().map(|it| it.size).sum()
}

fn aliases(all: &[AliasRecord], version: u32) -> Vec<String> {
    let of = all.iter().filter(|it| it.version == version);
    of.map(|it| it.alias.clone()).collect()
}

fn share(model: &ModelNowRecord, version: u32) -> Option<f64> {
    let of = model.traffic.iter();
    let of = of.filter(|it| it.version == version && !it.is_unheard());
    of.map(|it| it.percent).reduce(|a, b| a + b)
}

#[derive(Deserialize)]
pub(crate) struct VersionQuery {
    against: Option<u32>,
}

#[derive(Template)]
#[template(path = "version.html")]
struct VersionPage {
    frame: Frame,
    model: ModelNowRecord,
    tab: &'static str,
    version: VersionDetailRecord,
    size: u64,
    share: Option<f64>,
    baseline: Option<BaselineRecord>,
    lineage: Vec<EventRecord>,
    moves: Vec<AliasMoveRecord>,
    others: Vec<u32>,
    against: Option<Difference>,
}

pub(crate) async fn page(
    ask: Ask,
    Path((name, number)): Path<(String, u32)>,
    Query(query): Query<VersionQuery>,
) -> Response {
    let page = async {
        let text = number.to_string();
        let baseline = Address::api(&["models", &name, "versions", &text, "baseline"]);
        let events = Address::api(&["events"])
            .with("model", &name)
            .with("limit", EVENTS_MAX);
        let other = async {
            match query.against {
                Some(other) => detail(&ask, &name, other).await.map(Some),
                None => Ok(None),
            }
        };
        let (model, version, other, baseline, events, all) = futures::join!(
            head(&ask, &name),
            detail(&ask, &name, number),
            other,
            ask.get::<BaselineRecord>(baseline),
            ask.get::<PageRecord<EventRecord>>(events),
            newest(&ask, &name, None),
        );
        let (model, version, other) = (model?, version?, other?);
        let mut moves = moves(&ask, &name, &model.aliases).await;
        moves.retain(|it| it.from == Some(number) || it.to == Some(number));
        let events = events.map(|it| it.items).unwrap_or_default();
        let others = all.unwrap_or_default().into_iter().map(|it| it.version);
        Ok(VersionPage {
            frame: Frame::new("models", format!("{name}:{number}")),
            tab: "versions",
            size: size(&version),
            share: share(&model, number),
            // Most versions have none.
            baseline: baseline.ok(),
            lineage: lineage(events, &name, number),
            moves,
            others: others.filter(|it| *it != number).collect(),
            against: other.map(|other| Difference::between(&other, &version)),
            version,
            model,
        })
    };
    shown(page.await)
}

/// What happened to a version itself, oldest first.
fn lineage(mut events: Vec<EventRecord>, model: &str, version: u32) -> Vec<EventRecord> {
    let is_of = |it: &EventRecord| {
        let number = |name: &str| it.detail[name].as_u64() == Some(u64::from(version));
        it.model == model && (number("version") || number("to") || number("from"))
    };
    events.retain(is_of);
    events.sort_by_key(|it| it.id);
    events
}

/// How it did on its examples, in words.
fn parity(report: &Option<Value>) -> (&'static str, String) {
    let Some(report) = report else {
        return ("unknown", "It was not run on examples yet.".to_owned());
    };
    match report["examples"] {
        Value::Bool(true) => ("fine", "It reproduced its examples.".to_owned()),
        Value::Bool(false) => (
            "unknown",
            "It came without examples to reproduce.".to_owned(),
        ),
        _ => ("unknown", report.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(number: u32, manifest: &str) -> VersionDetailRecord {
        let record = json!({
            "version": number, "digest": "0123456789abcdef", "state": "failed", "why": "<i>why", "source": "<s>source",
            "created_ms": 0, "model": "<m>", "aliases": ["<a1>"], "main": "m.onnx", "manifest": manifest,
            "files": [{"path": "<script>x", "digest": "aa", "size": 2048}],
            "signature": {"format": 1, "rows": "whole", "outputs": [],
                "inputs": [{"name": "<u>", "datatype": "FP32", "shape": ["<n>", -1, 3], "features": ["<f>"]}]},
            "report": {"examples": true},
        });
        serde_json::from_value(record).expect("a version")
    }

    fn model() -> ModelNowRecord {
        let record = json!({
            "name": "<m>", "state": "ready", "alerts": [], "attention": 0, "because": "",
            "traffic": [{"arm": "incumbent", "version": 2, "percent": 90.0}, {"arm": "control", "version": 2, "percent": 5.0}],
            "aliases": [{"alias": "<a1>", "version": 2}], "recent": {"from_ms": 0, "step_ms": 1, "points": []},
        });
        serde_json::from_value(record).expect("a model")
    }

    #[test]
    fn text_from_outside_stays_text() {
        let events = json!([
            {"id": 1, "at_ms": 0, "model": "<m>", "kind": "version_created", "detail": {"version": 2, "who": "<b>ann", "why": "<em>"}},
            {"id": 2, "at_ms": 0, "model": "other", "kind": "version_created", "detail": {"version": 2}},
        ]);
        let events = serde_json::from_value(events).expect("events");
        let version_2 = version(2, "a: <script>y\n");
        let page = VersionPage {
            frame: Frame::new("models", "<m>"),
            tab: "versions",
            size: size(&version_2),
            share: share(&model(), 2),
            baseline: None,
            lineage: lineage(events, "<m>", 2),
            moves: vec![AliasMoveRecord {
                alias: "<a1>".to_owned(),
                from: None,
                to: Some(2),
                at_ms: 0,
                who: "<b>ann".to_owned(),
                why: "<em>".to_owned(),
            }],
            others: vec![1],
            against: Some(Difference::between(
                &version(1, "a: <script>z\n"),
                &version_2,
            )),
            version: version_2,
            model: model(),
        };
        assert_eq!(page.lineage.len(), 1);
        assert_eq!(page.share, Some(95.0));
        let text = page.render().expect("HTML");
        for tag in [
            "<script>", "<i>", "<s>", "<u>", "<n>", "<f>", "<a1>", "<b>", "<em>", "<m>",
        ] {
            assert!(!text.contains(tag), "{tag} in {text}");
        }
        assert!(text.contains("It reproduced its examples."));
    }
}
