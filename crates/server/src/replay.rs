//! Recorded inputs through another version, page by page. Nothing of it is recorded: the ledger holds what was
//! answered to somebody.

use std::collections::BTreeMap;
use std::ops::Range as Span;
use std::sync::Arc;

use ::ledger::{Page, Recorded, Rows, Said, Spent, Wanted, answers};
use domain::access::{Permission, Read};
use domain::{ModelName, PredictionId, Reference, Refusal};
use wire::api::ledger::{ReplayChangeRecord, ReplayRecord, ReplayRequest, ReplaySliceRecord};

use crate::app::App;
use crate::clock::wall_ms;
use crate::questions::{check_columns, limit};
use crate::range::range_of;
use crate::running::Running;

/// Rows of a page, unless it is said, and at the most.
const PAGE_ROWS: u64 = 2_000;
const PAGE_ROWS_MAX: u64 = 20_000;
/// Rows of a request to the other version.
const REQUEST_ROWS: usize = 64;
/// The largest changes of a page that are told.
const LARGEST: usize = 20;
/// How far a number may be from the recorded one, unless it is said: what another order of sums may change.
const TOLERANCE: f64 = 1e-5;

/// Answers a page again.
pub(crate) async fn page(
    app: &App,
    permission: Permission<Read>,
    model: &ModelName,
    request: ReplayRequest,
) -> Result<ReplayRecord, Refusal> {
    let against: Reference = request.against.parse()?;
    let running = app.look(permission, &against).await?;
    let now_ms = wall_ms();
    let range = range_of(
        request.from.as_deref(),
        request.to.as_deref(),
        now_ms * 1000,
    )?;
    check_columns(&request.by)?;
    let after: Option<PredictionId> = request.after.as_deref().map(str::parse).transpose()?;
    let rows = request.rows.unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS_MAX);
    let wanted = Wanted {
        model: model.to_string(),
        range,
        version: request.version,
        after,
        rows: usize::try_from(rows).unwrap_or(usize::MAX),
        by: request.by,
    };
    let tolerance = request.tolerance.unwrap_or(TOLERANCE);
    if !(tolerance.is_finite() && tolerance >= 0.0) {
        return Err(Refusal::Malformed {
            what: "`tolerance`",
            why: format!("`{tolerance}` is not a number from 0 up"),
        });
    }
    let ledger = Arc::clone(&app.keeper.ledger);
    let read = app.questions.compute(limit(app), move || {
        let snapshot = ledger.snapshot(now_ms)?;
        let total = match wanted.after {
            None => Some(snapshot.count(&wanted)?),
            Some(_) => None,
        };
        let page = snapshot.page(&wanted)?;
        let mut truths = Vec::with_capacity(page.parts.len());
        for part in &page.parts {
            truths.push(snapshot.truths(&wanted.model, part)?);
        }
        Ok((page, truths, total))
    });
    let (page, truths, total) = read.await?;
    let mut report = ReplayRecord {
        total,
        next: page.next.map(|it| it.to_string()),
        ..ReplayRecord::default()
    };
    let mut slices = BTreeMap::new();
    for (part, truths) in page.parts.iter().zip(truths) {
        let mut replay = Replay {
            running: &running,
            page: &page,
            part,
            truths: &truths,
            tolerance,
            report: &mut report,
            slices: &mut slices,
        };
        replay.part().await?;
    }
    report.slices = slices.into_values().collect();
    report
        .largest
        .sort_by(|a, b| b.difference.abs().total_cmp(&a.difference.abs()));
    report.largest.truncate(LARGEST);
    Ok(report)
}

struct Replay<'a> {
    running: &'a Running,
    page: &'a Page,
    part: &'a Recorded,
    truths: &'a [Option<f64>],
    tolerance: f64,
    report: &'a mut ReplayRecord,
    slices: &'a mut BTreeMap<(String, String), ReplaySliceRecord>,
}

/// The rows that are asked together of another version: whole ones, as many as a request of it may have.
pub(crate) fn requests(running: &Running, part: &Recorded) -> Vec<Span<usize>> {
    let most = running
        .request_rows_max
        .map_or(REQUEST_ROWS, |it| REQUEST_ROWS.min(it as usize));
    let step = part.rows_a_request(&running.signature, most);
    let mut requests: Vec<Span<usize>> = Vec::new();
    for row in (0..part.rows()).filter(|it| part.is_whole(*it)) {
        match requests.last_mut() {
            Some(last) if last.end == row && last.len() < step => last.end += 1,
            _ => requests.push(row..row + 1),
        }
    }
    requests
}

/// What another version answers about some rows, as it would be recorded.
pub(crate) async fn again(
    running: &Running,
    part: &Recorded,
    of: Span<usize>,
) -> Result<Recorded, Refusal> {
    let inputs = part.inputs(&running.signature, of.clone())?;
    let (answer, inputs) = running.answer_again(inputs).await?;
    let outputs: Vec<(usize, &domain::Tensor)> = answer
        .outputs
        .iter()
        .copied()
        .zip(&answer.tensors)
        .collect();
    let rows = Rows {
        id: answer.id.into_bytes(),
        time_us: 0,
        rows: u32::try_from(of.len()).unwrap_or(u32::MAX),
        arm: "replay",
        key: None,
        caller: None,
        request_id: None,
        code: None,
        spent: Spent::default(),
        // Which class a score makes may depend on them.
        inputs: Some(&inputs),
        outputs: &outputs,
        sample: domain::ledger::Share::default(),
    };
    answers(running.recorder.layout(), &rows)
}

impl Replay<'_> {
    async fn part(&mut self) -> Result<(), Refusal> {
        let part = self.part;
        let before = part.said()?;
        let ids = part.ids();
        let mut told = Vec::with_capacity(self.page.by.len());
        for (name, telling) in &self.page.by {
            told.push((name, part.told(name, telling)?));
        }
        let requests = requests(self.running, part);
        let whole: usize = requests.iter().map(Span::len).sum();
        self.report.not_recorded += (part.rows() - whole) as u64;
        for request in requests {
            let answers = again(self.running, part, request.clone()).await;
            match answers.and_then(|it| it.said()) {
                Ok(after) => {
                    for (index, after) in request.zip(after) {
                        let slices = told
                            .iter()
                            .map(|(name, values)| ((*name).clone(), values[index].clone()));
                        let slices: Vec<(String, String)> = slices.collect();
                        self.compare(ids[index], index, &before[index], &after, slices);
                    }
                }
                Err(refusal) => {
                    self.report.failed += request.len() as u64;
                    self.report.failure.get_or_insert(refusal.to_string());
                }
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        id: PredictionId,
        row: usize,
        before: &Said,
        after: &Said,
        slices: Vec<(String, String)>,
    ) {
        let report = &mut *self.report;
        report.replayed += 1;
        let numbers = before.number.zip(after.number);
        let difference = numbers.map_or(0.0, |(before, after)| after - before);
        let far = numbers.map_or(
            before.number.is_some() != after.number.is_some(),
            |(before, _)| difference.abs() > self.tolerance * before.abs().max(1.0),
        );
        let changed = before.class != after.class || far;
        report.changed += u64::from(changed);
        if numbers.is_some() && difference.is_finite() {
            report.compared += 1;
            report.difference_sum += difference;
            report.difference_squares += difference * difference;
        }
        if let Some(Some(truth)) = self.truths.get(row) {
            match (before.place, after.place) {
                (None, None) => {
                    if let Some((before, after)) = numbers {
                        report.numbers = true;
                        report.labelled += 1;
                        report.squared_error_before += (before - truth).powi(2);
                        report.squared_error_after += (after - truth).powi(2);
                    }
                }
                (before, after) => {
                    report.labelled += 1;
                    let right = |it: Option<usize>| it.is_some_and(|it| it as f64 == *truth);
                    report.right_before += u64::from(right(before));
                    report.right_after += u64::from(right(after));
                }
            }
        }
        if changed {
            report.largest.push(ReplayChangeRecord {
                prediction_id: id.to_string(),
                before: before.to_string(),
                after: after.to_string(),
                difference,
            });
            // Bounded while the page is read.
            if report.largest.len() >= 50 * LARGEST {
                report
                    .largest
                    .sort_by(|a, b| b.difference.abs().total_cmp(&a.difference.abs()));
                report.largest.truncate(LARGEST);
            }
        }
        for (column, value) in slices {
            let slice = self
                .slices
                .entry((column.clone(), value.clone()))
                .or_insert(ReplaySliceRecord {
                    column,
                    value,
                    rows: 0,
                    changed: 0,
                    difference_sum: 0.0,
                });
            slice.rows += 1;
            slice.changed += u64::from(changed);
            slice.difference_sum += difference;
        }
    }
}
