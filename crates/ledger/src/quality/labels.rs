//! The labels that a question needs, where each can be found.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use domain::{PredictionId, Refusal};

use crate::failure;
use crate::files::{Entry, Kind};
use crate::find::labels_of;
use crate::label::{Kept, Target};
use crate::layout::Meaning;
use crate::read::{Groups, Ids, Range, Snapshot, group_ids, names, number_of, parse_id};

/// A label as text, with what is needed to choose among several.
#[derive(Clone, Debug)]
pub(super) struct ByText {
    pub(super) number: i64,
    pub(super) value: String,
    pub(super) at_us: i64,
}

/// A label of a prediction that it names.
#[derive(Clone, Copy, Debug)]
pub(super) struct ById {
    pub(super) id: u128,
    pub(super) row: u32,
    pub(super) number: i64,
    /// What the label says, as `Values` reads it.
    pub(super) value: f64,
    pub(super) at_us: i64,
}

/// Labels of a window of ids are read at a time: so many, more or less.
const WINDOW_LABELS: u64 = 500_000;
/// Rows of a window whose rows have few labels, so that there is work for every thread.
const WINDOW_ROWS: u64 = 400_000;
/// Labels by text lie in memory all at once: no more than this.
const BY_TEXT_MAX: usize = 5_000_000;

/// How a label's text is read: the place of a class, or a number. NaN where it is neither.
pub(super) trait Values {
    fn read(&self, text: &str) -> f64;
}

/// Reads labels for one kind of answer.
pub(super) struct Reads<'a>(pub(super) &'a Meaning);

impl Values for Reads<'_> {
    fn read(&self, text: &str) -> f64 {
        match self.0 {
            Meaning::Classes { classes, .. } => {
                let place = classes.iter().position(|it| it == text);
                place.map_or(f64::NAN, |it| it as f64)
            }
            Meaning::Value { .. } | Meaning::None => text.parse().unwrap_or(f64::NAN),
        }
    }
}

/// Windows that together cover all ids, each with a bounded number of labels in it. They begin where a file of
/// predictions does if that can be, so that few groups of rows are read for two windows.
pub(crate) fn windows(
    snapshot: &Snapshot<'_>,
    model: &str,
    files: &[Arc<Entry>],
) -> Result<Vec<Ids>, Refusal> {
    // An id, and the labels and the rows that come with it: those of a group or of a file that it begins.
    let files = files
        .iter()
        .filter_map(|it| Some((parse_id(&it.ids.0)?, 0, it.rows)));
    let mut places: Vec<(u128, u64, u64)> = files.collect();
    for entry in snapshot.files(Kind::Labels, model, Range::ALL) {
        let groups = snapshot.groups(&entry, |_| true)?;
        places.extend(groups.iter().flat_map(Groups::each).filter_map(|it| {
            let rows = u64::try_from(it.num_rows()).unwrap_or(0);
            Some((group_ids(it)?.0, rows, 0))
        }));
    }
    places.sort_unstable();
    let mut windows = Vec::new();
    let (mut from, mut labels, mut rows) = (0, 0, 0);
    for (first, more_labels, more_rows) in places {
        let full = labels + more_labels > WINDOW_LABELS;
        let enough = labels >= WINDOW_LABELS / 2 || rows >= WINDOW_ROWS;
        if (full || enough && more_rows > 0) && first > from {
            let to = Some(first);
            windows.push(Ids { from, to });
            (from, labels, rows) = (first, 0, 0);
        }
        labels += more_labels;
        rows += more_rows;
    }
    windows.push(Ids { from, to: None });
    Ok(windows)
}

/// The label that holds for each prediction of a window that labels name, sorted by prediction.
pub(super) fn by_id(
    snapshot: &Snapshot<'_>,
    model: &str,
    ids: Ids,
    of_log: &[Kept],
    values: &dyn Values,
) -> Result<Vec<ById>, Refusal> {
    let mut found = Vec::new();
    for kept in of_log {
        if let Target::Id(PredictionId { request, row }) = kept.label.target
            && ids.has(number_of(&request))
        {
            found.push(ById {
                id: number_of(&request),
                row,
                number: kept.number,
                value: values.read(&kept.label.value),
                at_us: kept.label.at_us,
            });
        }
    }
    const COLUMNS: &[&str] = &["prediction_id", "row", "label", "labelled_at", "number"];
    for entry in snapshot.files(Kind::Labels, model, Range::ALL) {
        snapshot.read(&entry, COLUMNS, ids, Range::ALL, |batch| {
            let [id, row, label, at, number] = COLUMNS else {
                return Ok(());
            };
            let column = |name: &str| {
                batch
                    .column_by_name(name)
                    .ok_or_else(|| failure::of_library("reading labels", "a column is missing"))
            };
            let id = column(id)?.as_fixed_size_binary();
            let row = column(row)?.as_primitive::<UInt32Type>().values();
            let at = column(at)?
                .as_primitive::<TimestampMicrosecondType>()
                .values();
            let number = column(number)?.as_primitive::<Int64Type>().values();
            let label = column(label)?.as_dictionary::<Int32Type>();
            let words = label.values().as_string::<i32>();
            let read: Vec<f64> = words
                .iter()
                .map(|it| values.read(it.unwrap_or_default()))
                .collect();
            for index in 0..batch.num_rows() {
                found.push(ById {
                    id: number_of(id.value(index)),
                    row: row[index],
                    number: number[index],
                    value: label.key(index).map_or(f64::NAN, |it| read[it]),
                    at_us: at[index],
                });
            }
            Ok(())
        })?;
    }
    // Files are sorted each, which a merging sort makes use of.
    found.sort_by_key(|it| (it.id, it.row, it.number));
    // The last of several holds; `dedup_by` keeps the first, so the later one is put there.
    found.dedup_by(|later, first| {
        let same = (later.id, later.row) == (first.id, first.row);
        if same {
            *first = *later;
        }
        same
    });
    Ok(found)
}

/// Labels by the caller's own id and by key.
#[derive(Default)]
pub(super) struct TextLabels {
    requests: HashMap<String, Vec<(u32, ByText)>>,
    keys: HashMap<String, Vec<(Range, ByText)>>,
    pub(super) count: u64,
}

impl TextLabels {
    pub(super) fn load(
        snapshot: &Snapshot<'_>,
        model: &str,
        of_log: &[Kept],
    ) -> Result<Self, Refusal> {
        let mut all = Self::default();
        let mut rows = 0;
        let mut take = |kept: &Kept, all: &mut Self| {
            rows += 1;
            if rows > BY_TEXT_MAX {
                return Err(Refusal::QueryTooLarge {
                    why: format!("over {BY_TEXT_MAX} labels name no prediction id"),
                });
            }
            all.add(kept);
            Ok(())
        };
        for kept in of_log {
            take(kept, &mut all)?;
        }
        let schema = crate::seal::label_schema();
        let columns = names(&schema);
        for entry in snapshot.files(Kind::TextLabels, model, Range::ALL) {
            snapshot.read(&entry, &columns, Ids::ALL, Range::ALL, |batch| {
                for kept in labels_of(&batch) {
                    take(&kept, &mut all)?;
                }
                Ok(())
            })?;
        }
        Ok(all)
    }

    fn add(&mut self, kept: &Kept) {
        let told = ByText {
            number: kept.number,
            value: kept.label.value.clone(),
            at_us: kept.label.at_us,
        };
        match &kept.label.target {
            Target::Id(_) => {}
            Target::Request { id, row } => {
                let of = self.requests.entry(id.clone()).or_default();
                match of.iter_mut().find(|(it, _)| it == row) {
                    Some((_, there)) if there.number > told.number => {}
                    Some((_, there)) => *there = told,
                    None => {
                        of.push((*row, told));
                        self.count += 1;
                    }
                }
            }
            Target::Key {
                key,
                from_us,
                to_us,
            } => {
                let range = Range {
                    from_us: *from_us,
                    to_us: *to_us,
                };
                let of = self.keys.entry(key.clone()).or_default();
                match of.iter_mut().find(|(it, _)| *it == range) {
                    Some((_, there)) if there.number > told.number => {}
                    Some((_, there)) => *there = told,
                    None => {
                        of.push((range, told));
                        self.count += 1;
                    }
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The label that holds for a row, of those that name its request or its key.
    pub(super) fn find(
        &self,
        request_id: Option<&str>,
        row: u32,
        key: Option<&str>,
        time_us: i64,
    ) -> Option<&ByText> {
        let by_request = request_id
            .and_then(|it| self.requests.get(it))
            .and_then(|it| it.iter().find(|(at, _)| *at == row))
            .map(|(_, told)| told);
        let by_key = key
            .and_then(|it| self.keys.get(it))
            .into_iter()
            .flatten()
            .filter(|(range, _)| range.has(time_us))
            .map(|(_, told)| told);
        by_key.chain(by_request).max_by_key(|it| it.number)
    }
}

/// What turned out to be true of some predictions.
pub(crate) struct Truths {
    by_id: Vec<ById>,
    texts: TextLabels,
    meaning: Meaning,
}

impl Truths {
    /// Of no window yet.
    pub(crate) fn none(
        snapshot: &Snapshot<'_>,
        model: &str,
        meaning: &Meaning,
        of_log: &[Kept],
    ) -> Result<Self, Refusal> {
        Ok(Self {
            by_id: Vec::new(),
            texts: TextLabels::load(snapshot, model, of_log)?,
            meaning: meaning.clone(),
        })
    }

    /// From here on labels are read as this says, of no window yet.
    pub(crate) fn read_as(&mut self, meaning: &Meaning) {
        self.meaning = meaning.clone();
        self.by_id.clear();
    }

    /// From here on of this window of ids.
    pub(crate) fn turn_to(
        &mut self,
        snapshot: &Snapshot<'_>,
        model: &str,
        window: Ids,
        of_log: &[Kept],
    ) -> Result<(), Refusal> {
        self.by_id = by_id(snapshot, model, window, of_log, &Reads(&self.meaning))?;
        Ok(())
    }

    /// Of predictions with these ids, which are sorted.
    pub(crate) fn load(
        snapshot: &Snapshot<'_>,
        model: &str,
        meaning: &Meaning,
        ids: &[PredictionId],
        of_log: &[Kept],
    ) -> Result<Self, Refusal> {
        let ends = ids.first().zip(ids.last());
        let window = ends.map_or(Ids::ALL, |(first, last)| Ids {
            from: number_of(&first.request),
            to: number_of(&last.request).checked_add(1),
        });
        let mut truths = Self::none(snapshot, model, meaning, of_log)?;
        truths.turn_to(snapshot, model, window, of_log)?;
        Ok(truths)
    }

    /// The place of the true class, or the true number, of a row.
    pub(crate) fn of(&self, batch: &RecordBatch, row: usize) -> Option<f64> {
        let id = number_of(
            batch
                .column_by_name("prediction_id")?
                .as_fixed_size_binary()
                .value(row),
        );
        let number = batch
            .column_by_name("row")?
            .as_primitive::<UInt32Type>()
            .value(row);
        let place = self
            .by_id
            .binary_search_by_key(&(id, number), |it| (it.id, it.row));
        let by_id = place.ok().and_then(|it| self.by_id.get(it));
        let text = |name: &str| {
            let column = batch.column_by_name(name)?.as_string::<i32>();
            column.is_valid(row).then(|| column.value(row))
        };
        let time = batch.column_by_name("time")?;
        let time = time.as_primitive::<TimestampMicrosecondType>().value(row);
        let told = self
            .texts
            .find(text("request_id"), number, text("key"), time);
        let truth = match (by_id, told) {
            (Some(by_id), Some(told)) if told.number < by_id.number => by_id.value,
            (_, Some(told)) => Reads(&self.meaning).read(&told.value),
            (Some(by_id), None) => by_id.value,
            (None, None) => return None,
        };
        (!truth.is_nan()).then_some(truth)
    }
}
