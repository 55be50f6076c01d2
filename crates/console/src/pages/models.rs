//! What is served: every model as it is now, those first that need attention.

use askama::Template;
use axum::response::Response;
use wire::api::overview::{
    ModelNowRecord, OverviewRecord, PointRecord, QualityNowRecord, RecentRecord,
};
use wire::api::rollouts::ShareRecord;

use super::{Frame, models, part, shown};
use crate::ask::{Address, Ask, Problem};
use crate::chart::json;
use crate::show;

#[derive(Template)]
#[template(path = "models.html")]
struct ModelsPage {
    frame: Frame,
    overview: OverviewRecord,
}

#[derive(Template)]
#[template(path = "models_list.html")]
struct ModelsList {
    overview: OverviewRecord,
}

pub(crate) async fn page(ask: Ask) -> Response {
    let page = overview(&ask).await.map(|overview| ModelsPage {
        frame: Frame::new("models", "Models"),
        overview,
    });
    shown(page)
}

/// What the page fetches again when something has changed.
pub(crate) async fn list(ask: Ask) -> Response {
    part(overview(&ask).await.map(|overview| ModelsList { overview }))
}

async fn overview(ask: &Ask) -> Result<OverviewRecord, Problem> {
    ask.get(Address::api(&["overview"])).await
}

/// What the page says first.
pub(crate) fn headline(overview: &OverviewRecord) -> String {
    let all = overview.models.len();
    let needy = overview
        .models
        .iter()
        .filter(|it| it.attention >= 2)
        .count();
    match (all, needy) {
        (0, _) => "No models yet".to_owned(),
        (1, 0) => "The model is well".to_owned(),
        (_, 0) => format!("All {all} models are well"),
        (1, _) => "The model needs attention".to_owned(),
        (_, 1) => format!("1 of {all} models needs attention"),
        (_, needy) => format!("{needy} of {all} models need attention"),
    }
}

/// How much attention a model needs, in a word and a sign: never by colour alone.
pub(crate) fn attention(level: &u8) -> (&'static str, &'static str) {
    match level {
        0 => ("✓", "well"),
        1 => ("i", "to know"),
        2 => ("!", "look after it"),
        _ => ("✕", "act now"),
    }
}

/// Who answers, in words: `version 2`, `version 1 95 %, version 2 5 %`.
pub(crate) fn shares(traffic: &[ShareRecord]) -> Vec<(u32, String)> {
    let by_version = ShareRecord::by_version(traffic);
    let one = by_version.len() == 1;
    let text = |percent: f64| {
        if one {
            String::new()
        } else {
            show::percentage(percent)
        }
    };
    by_version
        .into_iter()
        .map(|(version, percent)| (version, text(percent)))
        .collect()
}

/// The version that answers unheard, where there is one.
pub(crate) fn shadow(traffic: &[ShareRecord]) -> Option<&ShareRecord> {
    traffic.iter().find(|it| it.is_unheard())
}

/// The newest point.
pub(crate) fn now(recent: &RecentRecord) -> PointRecord {
    recent.points.last().copied().unwrap_or_default()
}

/// A small chart: what it draws, for an attribute, and the line itself.
pub(crate) struct Spark {
    pub(crate) values: String,
    pub(crate) path: String,
}

/// Points of a small chart at most; a script draws it again as new ones come.
const SPARK_POINTS: usize = 60;

pub(crate) fn spark_requests(recent: &RecentRecord) -> Spark {
    spark(recent, |it| Some(it.requests_per_s))
}

pub(crate) fn spark_p50(recent: &RecentRecord) -> Spark {
    spark(recent, |it| it.p50_ms)
}

pub(crate) fn spark_p99(recent: &RecentRecord) -> Spark {
    spark(recent, |it| it.p99_ms)
}

pub(crate) fn spark_errors(recent: &RecentRecord) -> Spark {
    spark(recent, |it| it.error_rate)
}

fn spark(recent: &RecentRecord, of: fn(&PointRecord) -> Option<f64>) -> Spark {
    let from = recent.points.len().saturating_sub(SPARK_POINTS);
    let values: Vec<Option<f64>> = recent.points[from..].iter().map(of).collect();
    Spark {
        path: path(&values),
        values: json(&values),
    }
}

/// A line through the values there are, 100 wide and 24 high, from 0 at the bottom to the greatest at the top.
fn path(values: &[Option<f64>]) -> String {
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let step = 100.0 / (SPARK_POINTS - 1) as f64;
    let first = SPARK_POINTS - values.len();
    let mut text = String::new();
    let mut pen_down = false;
    for (place, value) in values.iter().enumerate() {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let height = if most > 0.0 { value / most * 22.0 } else { 0.0 };
        let verb = if pen_down { 'L' } else { 'M' };
        let (x, y) = ((first + place) as f64 * step, 23.0 - height);
        text.push_str(&format!("{verb}{x:.1} {y:.1}"));
        pen_down = true;
    }
    text
}

/// How right a model is, in words.
pub(crate) fn quality(it: &QualityNowRecord) -> String {
    let MetricText { name, value } = metric(&it.metric, it.value.value);
    let interval = match (it.value.low, it.value.high) {
        (Some(low), Some(high)) => format!(
            " ({} to {})",
            metric(&it.metric, low).value,
            metric(&it.metric, high).value
        ),
        _ => String::new(),
    };
    format!("{name} {value}{interval}")
}

struct MetricText {
    name: String,
    value: String,
}

fn metric(name: &str, value: f64) -> MetricText {
    let shown = name.replace('_', " ");
    MetricText {
        name: shown,
        value: show::number(value),
    }
}

/// The model's worst open alert first, as far as a row has room.
pub(crate) fn alerts(model: &ModelNowRecord) -> String {
    let firing = model
        .alerts
        .iter()
        .filter(|it| it.state == "firing")
        .count();
    match (firing, model.alerts.len() - firing) {
        (0, 0) => "none".to_owned(),
        (firing, 0) => format!("{firing} firing"),
        (0, pending) => format!("{pending} pending"),
        (firing, pending) => format!("{firing} firing, {pending} pending"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gaps_where_nothing_is_known() {
        assert_eq!(
            path(&[Some(1.0), None, Some(2.0), Some(0.0)]),
            "M94.9 12.0M98.3 1.0L100.0 23.0"
        );
        assert_eq!(path(&[]), "");
    }
}
