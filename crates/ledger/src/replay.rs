//! Recorded inputs, to be answered again, and what is different about the new answers.

mod labelled;

use std::fmt;
use std::ops::Range as Span;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{
    DataType as Arrow, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use domain::ledger::NO_VALUE;
use domain::request::NamedTensor;
use domain::signature::Rows as RowsRule;
use domain::{DataType, Dimension, Elements, PredictionId, Refusal, Signature, Tensor};
use half::{bf16, f16};

use crate::columns::Collector;
use crate::failure;
use crate::files::Kind;
use crate::layout::{Kept, Layout, Meaning, Slot};
use crate::quality::{Slicer, Truths};
use crate::read::{Ids, Range, Snapshot, names, number_of, within};
use crate::record::{self, Rows};

pub use labelled::{LabelledAsked, LabelledRows};

/// Recorded rows of one layout, in the order of their ids.
pub struct Recorded {
    layout: Arc<Layout>,
    batch: RecordBatch,
}

/// A page of recorded rows.
pub struct Page {
    /// The rows, by layout.
    pub parts: Vec<Recorded>,
    /// The last id, where there may be more.
    pub next: Option<PredictionId>,
    /// How the columns that changes are told by are told.
    pub by: Vec<(String, Telling)>,
}

/// How a column's values are told.
pub struct Telling(Slicer);

/// Which rows are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The model.
    pub model: String,
    /// When they were answered.
    pub range: Range,
    /// By which version.
    pub version: Option<u32>,
    /// Behind this one.
    pub after: Option<PredictionId>,
    /// How many at the most.
    pub rows: usize,
    /// Columns that changes are told by.
    pub by: Vec<String>,
}

impl Snapshot<'_> {
    /// How many rows were answered within the range.
    pub fn count(&self, wanted: &Wanted) -> Result<u64, Refusal> {
        let mut count = 0;
        for entry in self.files(Kind::Predictions, &wanted.model, wanted.range) {
            let version = self.layout(&entry).version;
            if wanted.version.is_some_and(|it| it != version) {
                continue;
            }
            self.read(&entry, &["time", "code"], Ids::ALL, wanted.range, |batch| {
                count += answered(&batch);
                Ok(())
            })?;
        }
        for unsealed in self.of_log(&wanted.model)?.rows {
            if wanted
                .version
                .is_none_or(|it| it == unsealed.layout.version)
            {
                count += answered(&within(&unsealed.batch, Ids::ALL, wanted.range)?);
            }
        }
        Ok(count)
    }

    /// The next rows that were answered, in the order of their ids.
    pub fn page(&self, wanted: &Wanted) -> Result<Page, Refusal> {
        let from = wanted.after.map_or(0, |it| number_of(&it.request));
        let ids = Ids { from, to: None };
        let log = self.of_log(&wanted.model)?;
        let files = self.files(Kind::Predictions, &wanted.model, wanted.range);
        let mut layouts: Vec<Arc<Layout>> = files.iter().map(|it| self.layout(it)).collect();
        layouts.extend(log.rows.iter().map(|it| Arc::clone(&it.layout)));
        let slicers = self.slicers(&wanted.by, &layouts, &files, &log)?;
        let wants = |layout: &Layout| wanted.version.is_none_or(|it| it == layout.version);
        let mut parts: Vec<Recorded> = Vec::new();
        for entry in &files {
            let layout = self.layout(entry);
            if !wants(&layout) {
                continue;
            }
            let schema = layout.schema();
            let columns = names(&schema);
            let mut batches = Vec::new();
            let mut rows = 0;
            self.read_while(entry, &columns, ids, wanted.range, |batch| {
                let batch = behind(&batch, wanted.after)?;
                rows += batch.num_rows();
                batches.push(batch);
                // Of each source no more than a page can be needed, for they are sorted.
                Ok(rows < wanted.rows)
            })?;
            let batch = concat_batches(&Arc::new(schema), &batches).map_err(failed)?;
            parts.push(Recorded { layout, batch });
        }
        for unsealed in log.rows {
            if wants(&unsealed.layout) {
                let batch = behind(&within(&unsealed.batch, ids, wanted.range)?, wanted.after)?;
                parts.push(Recorded {
                    layout: unsealed.layout,
                    batch,
                });
            }
        }
        let next = cut(&mut parts, wanted.rows);
        let by = slicers.into_iter().map(|(name, it)| (name, Telling(it)));
        Ok(Page {
            parts,
            next,
            by: by.collect(),
        })
    }

    /// What turned out to be true of a page's rows, where that is known.
    pub fn truths(&self, model: &str, part: &Recorded) -> Result<Vec<Option<f64>>, Refusal> {
        if part.batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let log = self.of_log(model)?;
        let truths = Truths::load(self, model, &part.layout.meaning, &part.ids(), &log.labels)?;
        Ok((0..part.batch.num_rows())
            .map(|row| truths.of(&part.batch, row))
            .collect())
    }
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    failure::of_library("reading recorded rows", error)
}

fn answered(batch: &RecordBatch) -> u64 {
    let failed = batch
        .column_by_name("code")
        .map_or(0, |it| it.len() - it.null_count());
    (batch.num_rows() - failed) as u64
}

/// The rows behind an id that were answered.
fn behind(batch: &RecordBatch, after: Option<PredictionId>) -> Result<RecordBatch, Refusal> {
    let ids = batch.column(0).as_fixed_size_binary();
    let rows = batch.column(1).as_primitive::<UInt32Type>();
    let codes = batch.column_by_name("code");
    let keep: arrow::array::BooleanArray = (0..batch.num_rows())
        .map(|row| {
            let later = after.is_none_or(|after| {
                (ids.value(row), rows.value(row)) > (&after.request[..], after.row)
            });
            Some(later && codes.is_none_or(|it| it.is_null(row)))
        })
        .collect();
    arrow::compute::filter_record_batch(batch, &keep).map_err(failed)
}

/// Keeps the first rows of all parts together; the last of them where there may be more.
fn cut(parts: &mut Vec<Recorded>, most: usize) -> Option<PredictionId> {
    let mut ids: Vec<PredictionId> = parts.iter().flat_map(Recorded::ids).collect();
    if ids.len() < most {
        return None;
    }
    ids.sort_unstable();
    let last = *ids.get(most - 1)?;
    for part in parts.iter_mut() {
        let keep = part.ids().partition_point(|it| *it <= last);
        part.batch = part.batch.slice(0, keep);
    }
    parts.retain(|it| it.batch.num_rows() > 0);
    Some(last)
}

impl Recorded {
    /// Rows that were read for something else; with the columns that are needed.
    pub(crate) fn of(layout: &Arc<Layout>, batch: &RecordBatch) -> Self {
        Self {
            layout: Arc::clone(layout),
            batch: batch.clone(),
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Their ids, ascending.
    pub fn ids(&self) -> Vec<PredictionId> {
        let ids = self.batch.column(0).as_fixed_size_binary();
        let rows = self.batch.column(1).as_primitive::<UInt32Type>();
        (0..self.batch.num_rows())
            .map(|index| {
                let mut request = [0; 16];
                request.copy_from_slice(ids.value(index));
                let row = rows.value(index);
                PredictionId { request, row }
            })
            .collect()
    }

    /// Whether a row's inputs were kept whole.
    pub fn is_whole(&self, row: usize) -> bool {
        let column = self.batch.column_by_name("inputs_recorded");
        column.is_some_and(|it| it.as_boolean().value(row))
    }

    /// How many rows a request may have: those whose tensors differ in size go alone.
    pub fn rows_a_request(&self, target: &Signature, most: usize) -> usize {
        let alone = target.rows == RowsRule::Whole
            || self
                .layout
                .inputs
                .iter()
                .any(|it| matches!(it.kept, Kept::Summary(_)));
        if alone { 1 } else { most.max(1) }
    }

    /// The inputs of some rows, whole ones all of them, as the target takes them. An input that the target
    /// does not have is left in: the target refuses it and says so.
    pub fn inputs(
        &self,
        target: &Signature,
        rows: Span<usize>,
    ) -> Result<Vec<NamedTensor>, Refusal> {
        let part = self.batch.slice(rows.start, rows.len());
        self.layout
            .inputs
            .iter()
            .map(|slot| {
                let (elements, shape) = match &slot.kept {
                    Kept::Columns(names) => {
                        let elements = values(slot, names, &part)?;
                        (elements, shape_of(slot, target, rows.len(), names.len()))
                    }
                    Kept::Summary(name) => listed(slot, name, &part, target)?,
                };
                let tensor = Tensor::new(shape, elements)
                    .ok_or_else(|| failed(format!("input `{}` has another size", slot.tensor)))?;
                let name = slot.tensor.clone();
                Ok(NamedTensor { name, tensor })
            })
            .collect()
    }

    /// The values of a column as they are told.
    pub fn told(&self, name: &str, telling: &Telling) -> Result<Vec<String>, Refusal> {
        match self.batch.column_by_name(name) {
            Some(column) => telling.0.show(column.as_ref()),
            None => Ok(vec![NO_VALUE.to_owned(); self.rows()]),
        }
    }
}

/// The shape that the target gives to a tensor of so many rows and values each.
fn shape_of(slot: &Slot, target: &Signature, rows: usize, width: usize) -> Vec<usize> {
    let plain = || vec![rows, width];
    let Some(spec) = target.input(&slot.tensor) else {
        return plain();
    };
    let whole = target.rows == RowsRule::Whole;
    let inner = spec.shape.iter().skip(usize::from(!whole));
    let sizes: Option<Vec<usize>> = inner
        .map(|it| match it {
            Dimension::Fixed(size) => Some(*size),
            Dimension::Variable(_) => None,
        })
        .collect();
    match sizes {
        Some(sizes) if sizes.iter().product::<usize>() == width => {
            let mut shape = if whole { Vec::new() } else { vec![rows] };
            shape.extend(sizes);
            shape
        }
        _ => plain(),
    }
}

/// The values of columns, row by row.
fn values(slot: &Slot, names: &[String], part: &RecordBatch) -> Result<Elements, Refusal> {
    let columns: Result<Vec<&dyn Array>, Refusal> = names
        .iter()
        .map(|name| {
            let column = part.column_by_name(name);
            column
                .map(|it| it.as_ref())
                .ok_or_else(|| failed(format!("no column `{name}`")))
        })
        .collect();
    row_by_row(slot.datatype(), &columns?, part.num_rows())
}

fn row_by_row(
    datatype: DataType,
    columns: &[&dyn Array],
    rows: usize,
) -> Result<Elements, Refusal> {
    macro_rules! numbers {
        ($arrow:ty, $convert:expr) => {{
            let columns: Vec<_> = columns
                .iter()
                .map(|it| it.as_primitive::<$arrow>())
                .collect();
            let mut all = Vec::with_capacity(rows * columns.len());
            for row in 0..rows {
                all.extend(columns.iter().map(|it| $convert(it.value(row))));
            }
            Elements::from_slice(&all)
        }};
    }
    Ok(match datatype {
        DataType::Uint8 => numbers!(UInt8Type, |it| it),
        DataType::Uint16 => numbers!(UInt16Type, |it| it),
        DataType::Uint32 => numbers!(UInt32Type, |it| it),
        DataType::Uint64 => numbers!(UInt64Type, |it| it),
        DataType::Int8 => numbers!(Int8Type, |it| it),
        DataType::Int16 => numbers!(Int16Type, |it| it),
        DataType::Int32 => numbers!(Int32Type, |it| it),
        DataType::Int64 => numbers!(Int64Type, |it| it),
        DataType::Fp16 => numbers!(Float32Type, f16::from_f32),
        DataType::Bf16 => numbers!(Float32Type, bf16::from_f32),
        DataType::Fp32 => numbers!(Float32Type, |it| it),
        DataType::Fp64 => numbers!(Float64Type, |it| it),
        DataType::Bool => {
            let mut all = Vec::with_capacity(rows * columns.len());
            for row in 0..rows {
                all.extend(columns.iter().map(|it| it.as_boolean().value(row)));
            }
            Elements::from_bools(&all)
        }
        DataType::Bytes => {
            let mut all = Vec::with_capacity(rows * columns.len());
            for row in 0..rows {
                let text = |it: &&dyn Array| it.as_string::<i32>().value(row).as_bytes().to_vec();
                all.extend(columns.iter().map(text));
            }
            Elements::Bytes(all)
        }
    })
}

/// The values of a row that were kept as a list, and their shape.
fn listed(
    slot: &Slot,
    name: &str,
    part: &RecordBatch,
    target: &Signature,
) -> Result<(Elements, Vec<usize>), Refusal> {
    let missing = || failed(format!("input `{name}` was not kept whole"));
    let list = part
        .column_by_name(name)
        .ok_or_else(missing)?
        .as_list::<i32>();
    let shape = part
        .column_by_name(&format!("{name}_shape"))
        .ok_or_else(missing)?
        .as_string::<i32>();
    if part.num_rows() != 1 || list.is_null(0) {
        return Err(missing());
    }
    let sizes = shape.value(0).trim_matches(['[', ']']).split(',');
    let inner: Vec<usize> = sizes.filter_map(|it| it.trim().parse().ok()).collect();
    let rank = target
        .input(&slot.tensor)
        .map_or(inner.len() + 1, |it| it.shape.len());
    let mut all = inner;
    if all.len() < rank {
        all.insert(0, 1);
    }
    let values = list.value(0);
    let count = values.len();
    let elements = row_by_row(slot.datatype(), &[values.as_ref()], count)?;
    Ok((elements, all))
}

/// The rows that new answers would have in the ledger.
pub fn answers(layout: &Layout, rows: &Rows<'_>) -> Result<Recorded, Refusal> {
    let layout = Arc::new(layout.clone());
    let mut collector = Collector::new(Arc::clone(&layout), rows.rows as usize);
    let mut buffer = Vec::new();
    record::encode(0, &layout, rows, 0, &mut buffer, |record, _| {
        collector.push(record)
    })
    .map_err(|_| failed("new answers do not fit their layout"))?;
    let batch = collector
        .finish()
        .map_err(|_| failed("new answers do not fit their layout"))?;
    Ok(Recorded { layout, batch })
}

/// An answer as it is compared: the class, where there is one, and a number, where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The class.
    pub class: Option<String>,
    /// The place of the class among the layout's.
    pub place: Option<usize>,
    /// The positive class's score, or the one of the class answered; the value; else the first number.
    pub number: Option<f64>,
}

impl Recorded {
    /// What was answered, row by row.
    pub fn said(&self) -> Result<Vec<Said>, Refusal> {
        let text = |name: &str| -> Result<Option<arrow::array::StringArray>, Refusal> {
            let Some(column) = self.batch.column_by_name(name) else {
                return Ok(None);
            };
            let column = cast(column, &Arrow::Utf8).map_err(failed)?;
            Ok(Some(column.as_string::<i32>().clone()))
        };
        let numbers = |name: &str| -> Result<Option<arrow::array::Float64Array>, Refusal> {
            let Some(column) = self.batch.column_by_name(name) else {
                return Ok(None);
            };
            if !column.data_type().is_numeric() {
                return Ok(None);
            }
            let column = cast(column, &Arrow::Float64).map_err(failed)?;
            Ok(Some(column.as_primitive::<Float64Type>().clone()))
        };
        let names = number_columns(&self.layout);
        let classes: &[String] = match &self.layout.meaning {
            Meaning::Classes { classes, .. } => classes,
            Meaning::Value { .. } | Meaning::None => &[],
        };
        let class = text("class")?;
        let columns: Result<Vec<_>, Refusal> = names.iter().map(|it| numbers(it)).collect();
        let columns: Vec<arrow::array::Float64Array> = columns?.into_iter().flatten().collect();
        Ok((0..self.rows())
            .map(|row| {
                let class = class
                    .as_ref()
                    .filter(|it| it.is_valid(row))
                    .map(|it| it.value(row).to_owned());
                let place = class
                    .as_ref()
                    .and_then(|class| classes.iter().position(|it| it == class));
                // With a column for each class, the one of the class that was answered.
                let column = match &columns[..] {
                    [only] => Some(only),
                    many => place.and_then(|it| many.get(it)),
                };
                let number = column.filter(|it| it.is_valid(row)).map(|it| it.value(row));
                Said {
                    class,
                    place,
                    number,
                }
            })
            .collect())
    }

    /// When each row was answered, in microseconds since 1970.
    pub fn times_us(&self) -> Vec<i64> {
        let column = self.batch.column_by_name("time");
        column.map_or_else(Vec::new, |it| {
            it.as_primitive::<TimestampMicrosecondType>()
                .values()
                .to_vec()
        })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.class, self.number) {
            (Some(class), Some(number)) => write!(f, "{class} {number:.6}"),
            (Some(class), None) => f.write_str(class),
            (None, Some(number)) => write!(f, "{number:.6}"),
            (None, None) => f.write_str("nothing"),
        }
    }
}

/// The columns that [`Recorded::said`] reads.
pub(crate) fn said_columns(layout: &Layout) -> Vec<String> {
    let mut columns = number_columns(layout);
    columns.push("class".to_owned());
    columns
}

/// The columns of the number that is compared: with one for each class, it is that of the class answered.
fn number_columns(layout: &Layout) -> Vec<String> {
    match &layout.meaning {
        Meaning::Classes {
            positive: Some(positive),
            scores,
            single,
            ..
        } => {
            let place = if *single { 0 } else { *positive };
            scores.get(place).cloned().into_iter().collect()
        }
        Meaning::Classes { scores, .. } => scores.clone(),
        Meaning::Value { column } => vec![column.clone()],
        Meaning::None => first_number(layout),
    }
}

/// The first column of an output that holds numbers.
fn first_number(layout: &Layout) -> Vec<String> {
    let columns = layout.outputs.iter().filter_map(|it| match &it.kept {
        Kept::Columns(names) if it.datatype() != DataType::Bytes => names.first().cloned(),
        Kept::Summary(name) if it.datatype() != DataType::Bytes => Some(format!("{name}_mean")),
        _ => None,
    });
    columns.take(1).collect()
}
