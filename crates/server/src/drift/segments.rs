//! Declared parts of the rows, beside those of a baseline.

use ::ledger::baseline::{Baseline, ColumnDrift, Drift};
use domain::monitor::Setting;
use domain::{ModelName, Version};
use stats::drift::verdict::Verdict;
use wire::api::drift as api;

use super::column_records;
use crate::margins::Widened;

/// Has a baseline have the segments that are declared. It may be older than they are, or made by somebody who did not
/// know of them.
pub(super) fn declare(
    baseline: &mut Baseline,
    setting: &Setting,
    model: &ModelName,
    version: Version,
) {
    let why = format!(
        "the reference was not counted by it; make a new one: `windlass baseline {model}:{version} FILE`, or with \
         `--last 7d` instead of a file"
    );
    baseline.declare(&setting.segments, &why);
}

/// The segments of a baseline.
pub(super) fn records(baseline: &Baseline) -> Vec<api::SegmentRecord> {
    let record = |it: &::ledger::baseline::Segment| api::SegmentRecord {
        by: it.by.clone(),
        value: it.value.clone(),
        rows: it.rows,
    };
    baseline.segments.iter().map(record).collect()
}

/// What is to be thought of each segment: the columns that have drifted in it, and not in all rows.
pub(super) fn drifts(
    baseline: &Baseline,
    drift: &Drift,
    widened: &Widened,
) -> Vec<api::SegmentDriftRecord> {
    let is_moved = |it: &&ColumnDrift| it.verdict == Verdict::Drift;
    let record = |it: &::ledger::baseline::SegmentDrift| {
        let moved = it.columns.iter().filter(is_moved);
        let (as_all, own): (Vec<&ColumnDrift>, Vec<&ColumnDrift>) =
            moved.partition(|it| drift.has_drifted(&it.name));
        let unsure = it.columns.iter();
        let unsure = unsure.filter(|it| it.verdict == Verdict::NotEnoughData);
        api::SegmentDriftRecord {
            by: it.by.clone(),
            value: it.value.clone(),
            verdict: it.verdict.name().to_owned(),
            reference_rows: it.reference_rows,
            rows: it.current_rows,
            columns: column_records(baseline, own, widened),
            as_all: as_all.iter().map(|it| it.name.clone()).collect(),
            unsure: unsure.count() as u64,
        }
    };
    drift.segments.iter().map(record).collect()
}
