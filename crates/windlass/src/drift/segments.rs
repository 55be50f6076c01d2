//! Declared parts of the rows: how each is beside the same one of the reference.

use std::collections::BTreeMap;

use domain::Reference;
use domain::monitor::segments::Segments;
use wire::api::drift::{DriftRecord, SegmentDriftRecord, SegmentRecord};

use super::effect_line;
use crate::client::Client;
use crate::models;
use crate::output::{count, table};

/// The segments that a version's manifest declares.
pub(super) async fn declared(
    client: &Client,
    version: &Reference,
) -> anyhow::Result<Vec<Segments>> {
    let version = models::version(client, version).await?;
    let manifest = store::format::parse_manifest(&version.manifest)?;
    Ok(manifest.monitor.segments)
}

/// What has drifted in a segment alone: `` `Income` where Home=rent ``.
pub(super) fn named(drift: &DriftRecord) -> impl Iterator<Item = String> {
    drift.segments.iter().flat_map(|segment| {
        let columns = segment.columns.iter();
        columns.map(|it| format!("`{}` where {}", it.name, name(segment)))
    })
}

/// Columns that have drifted in a segment alone, and how many segments were looked at; with `all` each of them.
pub(super) fn show(drift: &DriftRecord, all: bool) -> Option<String> {
    let segments = &drift.segments;
    if segments.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    let lines: Vec<Vec<String>> = segments.iter().flat_map(lines).collect();
    if !lines.is_empty() {
        let head = [
            "SEGMENT", "COLUMN", "QUESTION", "EFFECT", "MARGIN", "FINDS", "P", "VERDICT",
        ];
        parts.push(table(&head, lines));
    }
    if all {
        let row = |it: &SegmentDriftRecord| {
            vec![
                name(it),
                it.rows.to_string(),
                it.reference_rows.to_string(),
                it.verdict.clone(),
                it.as_all.join(", "),
                it.unsure.to_string(),
            ]
        };
        let head = [
            "SEGMENT",
            "ROWS",
            "REFERENCE",
            "VERDICT",
            "DRIFTED AS ALL ROWS",
            "UNSURE COLUMNS",
        ];
        parts.push(table(&head, segments.iter().map(row)));
    }
    let own = segments.iter().filter(|it| !it.columns.is_empty()).count();
    let unsure = segments.iter().filter(|it| it.unsure > 0).count();
    parts.push(format!(
        "{own} of {} drifted where all rows have not, {unsure} with too few rows to tell of every column",
        count(segments.len() as u64, "segment")
    ));
    Some(parts.join("\n\n"))
}

fn name(segment: &SegmentDriftRecord) -> String {
    format!("{}={}", segment.by, segment.value)
}

fn lines(segment: &SegmentDriftRecord) -> Vec<Vec<String>> {
    let lines = segment.columns.iter().flat_map(|column| {
        let moved = column.effects.iter().filter(|it| it.verdict == "drift");
        moved.map(|it| effect_line(&column.name, it))
    });
    let line = |(at, line): (usize, Vec<String>)| {
        let first = if at == 0 {
            name(segment)
        } else {
            String::new()
        };
        std::iter::once(first).chain(line).collect()
    };
    lines.enumerate().map(line).collect()
}

/// The segments of a reference, column by column.
pub(super) fn of_reference(segments: &[SegmentRecord]) -> Vec<String> {
    let mut by: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for it in segments {
        let rows = count(it.rows, "row");
        let shown = format!("{} ({rows})", it.value);
        by.entry(&it.by).or_default().push(shown);
    }
    let line = |(by, values): (&str, Vec<String>)| {
        let values = values.join(", ");
        format!("segments by `{by}`: {values}")
    };
    by.into_iter().map(line).collect()
}
