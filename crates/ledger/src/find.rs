//! One prediction and everything that is known of it.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType, UInt32Type};
use domain::{PredictionId, Refusal};

use crate::files::Kind;
use crate::label::{Kept, Target};
use crate::read::{Ids, Range, Snapshot, names, number_of};
use crate::seal;

/// A prediction and its labels.
pub struct Story {
    /// The prediction's row, with every column that its layout has.
    pub row: RecordBatch,
    /// Rows of the same request that the ledger has.
    pub rows_of_request: usize,
    /// Its labels, the one that holds first.
    pub labels: Vec<Told>,
    /// Whether it lies in a file already.
    pub sealed: bool,
}

/// A label of a prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What was told.
    pub value: String,
    /// When it became known, in microseconds since 1970.
    pub at_us: i64,
    /// `id`, `request_id` or `key`: by what it was found.
    pub by: &'static str,
}

impl Snapshot<'_> {
    /// The story of a prediction; none where the ledger does not have it.
    pub fn find(&self, id: PredictionId) -> Result<Option<Story>, Refusal> {
        let number = number_of(&id.request);
        let ids = Ids {
            from: number,
            to: number.checked_add(1),
        };
        for model in self.models()? {
            let mut rows: Vec<(RecordBatch, bool)> = Vec::new();
            for entry in self.files(Kind::Predictions, &model, Range::ALL) {
                if !entry.may_have(number) {
                    continue;
                }
                let schema = self.layout(&entry).schema();
                let columns = names(&schema);
                self.read(&entry, &columns, ids, Range::ALL, |batch| {
                    rows.push((batch, true));
                    Ok(())
                })?;
            }
            let log = self.of_log(&model)?;
            for unsealed in &log.rows {
                let batch = crate::read::within(&unsealed.batch, ids, Range::ALL)?;
                if batch.num_rows() > 0 {
                    rows.push((batch, false));
                }
            }
            let all = rows.iter().map(|(batch, _)| batch.num_rows()).sum();
            let found = rows.iter().find_map(|(batch, sealed)| {
                let of = batch.column_by_name("row")?.as_primitive::<UInt32Type>();
                let place = (0..batch.num_rows()).find(|it| of.value(*it) == id.row)?;
                Some((batch.slice(place, 1), *sealed))
            });
            if let Some((row, sealed)) = found {
                let labels = self.told(&model, id, ids, &row, &log.labels)?;
                return Ok(Some(Story {
                    row,
                    rows_of_request: all,
                    labels,
                    sealed,
                }));
            }
        }
        Ok(None)
    }

    fn told(
        &self,
        model: &str,
        id: PredictionId,
        ids: Ids,
        row: &RecordBatch,
        of_log: &[Kept],
    ) -> Result<Vec<Told>, Refusal> {
        let text = |name: &str| {
            let column = row.column_by_name(name)?.as_string_opt::<i32>()?;
            column.is_valid(0).then(|| column.value(0).to_owned())
        };
        let (request_id, key) = (text("request_id"), text("key"));
        let time = row.column_by_name("time").map_or(0, |it| {
            it.as_primitive::<TimestampMicrosecondType>().value(0)
        });
        let mut kept: Vec<(i64, Told)> = Vec::new();
        let mut consider = |it: &Kept| {
            let by = match &it.label.target {
                Target::Id(target) if *target == id => "id",
                Target::Request {
                    id: request,
                    row: at,
                } if request_id.as_ref() == Some(request) && *at == id.row => "request_id",
                Target::Key {
                    key: of,
                    from_us,
                    to_us,
                } if key.as_ref() == Some(of) && (*from_us..*to_us).contains(&time) => "key",
                _ => return,
            };
            let told = Told {
                value: it.label.value.clone(),
                at_us: it.label.at_us,
                by,
            };
            kept.push((it.number, told));
        };
        of_log.iter().for_each(&mut consider);
        for (kind, ids) in [(Kind::Labels, ids), (Kind::TextLabels, Ids::ALL)] {
            for entry in self.files(kind, model, Range::ALL) {
                if kind == Kind::Labels && !entry.may_have(number_of(&id.request)) {
                    continue;
                }
                let schema = seal::label_schema();
                let columns = names(&schema);
                self.read(&entry, &columns, ids, Range::ALL, |batch| {
                    labels_of(&batch).iter().for_each(&mut consider);
                    Ok(())
                })?;
            }
        }
        kept.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        Ok(kept.into_iter().map(|(_, told)| told).collect())
    }
}

/// Labels out of a file's columns.
pub(crate) fn labels_of(batch: &RecordBatch) -> Vec<Kept> {
    let text = |name: &str| batch.column_by_name(name).map(|it| it.as_string::<i32>());
    let times = |name: &str| {
        let column = batch.column_by_name(name);
        column.map(|it| it.as_primitive::<TimestampMicrosecondType>())
    };
    let (Some(ids), Some(rows), Some(values), Some(numbers)) = (
        batch.column_by_name("prediction_id"),
        batch.column_by_name("row"),
        batch.column_by_name("label"),
        batch.column_by_name("number"),
    ) else {
        return Vec::new();
    };
    let (Some(request_ids), Some(keys)) = (text("request_id"), text("key")) else {
        return Vec::new();
    };
    let (Some(from), Some(to), Some(at)) =
        (times("key_from"), times("key_to"), times("labelled_at"))
    else {
        return Vec::new();
    };
    let ids = ids.as_fixed_size_binary();
    let rows = rows.as_primitive::<UInt32Type>();
    let numbers = numbers.as_primitive::<Int64Type>();
    let values = values.as_dictionary::<arrow::datatypes::Int32Type>();
    let words = values.values().as_string::<i32>();
    (0..batch.num_rows())
        .map(|index| {
            let target = if ids.is_valid(index) {
                let mut request = [0; 16];
                request.copy_from_slice(ids.value(index));
                let row = rows.value(index);
                Target::Id(PredictionId { request, row })
            } else if request_ids.is_valid(index) {
                Target::Request {
                    id: request_ids.value(index).to_owned(),
                    row: rows.value(index),
                }
            } else {
                Target::Key {
                    key: keys.value(index).to_owned(),
                    from_us: from.value(index),
                    to_us: to.value(index),
                }
            };
            let value = values.key(index).map_or("", |it| words.value(it));
            Kept {
                label: crate::Label {
                    target,
                    value: value.to_owned(),
                    at_us: at.value(index),
                },
                number: numbers.value(index),
            }
        })
        .collect()
}
