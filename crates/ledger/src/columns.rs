//! Records of the log as columns.

mod reader;
mod tensor;
mod words;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanBuilder, DictionaryArray, FixedSizeBinaryArray,
    Int32Array, RecordBatch, StringArray, StringBuilder, UInt32Array, new_null_array,
};
use arrow::datatypes::{
    DataType as Arrow, Float32Type, Float64Type, Schema, TimestampMicrosecondType, UInt32Type,
};
use domain::DataType;
use domain::decision::Groups;

use crate::layout::{Kept, Layout, Meaning, SYSTEM, Slot, words};
#[cfg(test)]
pub(crate) use reader::TEXTS_AT;
pub(crate) use reader::{Head, Place, Read, Reader, Unreadable, arm, total_us};
use tensor::{Column, Numbers, Raw};
use words::Words;

/// Answers whose class is remembered by their bytes; it is looked for among them one by one.
const ANSWERS_KNOWN_MAX: usize = 64;

/// Collects the rows of one layout.
pub(crate) struct Collector {
    layout: Arc<Layout>,
    rows: usize,
    /// Sixteen bytes each.
    ids: Vec<u8>,
    row: Numbers<UInt32Type>,
    time: Numbers<TimestampMicrosecondType>,
    arm: Words,
    key: StringBuilder,
    caller: Words,
    request_id: StringBuilder,
    code: Words,
    inputs_recorded: BooleanBuilder,
    numbers: [Numbers<UInt32Type>; 4],
    used: [Numbers<Float32Type>; 4],
    class: Words,
    class_from: ClassFrom,
    /// Which threshold held for each row, where groups have their own.
    applied: Option<Applied>,
    /// The keys in `class` of answers that were seen before, by their bytes.
    answers_known: Vec<(u64, Option<i32>)>,
    outputs: Vec<Column>,
    inputs: Vec<Column>,
    /// The input and column in it that is the key, and the caller.
    key_at: Option<(usize, usize)>,
    caller_at: Option<(usize, usize)>,
}

/// Groups that have thresholds of their own, and those of the rows.
struct Applied {
    groups: Groups,
    /// The input that holds the group, and the column in it.
    at: (usize, usize),
    group: Words,
    threshold: Numbers<Float64Type>,
}

/// The outputs that tell a row's class, by their places.
#[derive(Clone, Copy)]
struct ClassFrom {
    answer: Option<usize>,
    scores: Option<usize>,
}

impl ClassFrom {
    fn new(layout: &Layout) -> Self {
        let find = |wanted: &dyn Fn(&[String]) -> bool| {
            let has = |slot: &Slot| matches!(&slot.kept, Kept::Columns(names) if wanted(names));
            layout.outputs.iter().position(has)
        };
        match &layout.meaning {
            Meaning::Classes { scores, .. } => Self {
                answer: find(&is_class),
                scores: find(&|names| !scores.is_empty() && *names == scores[..]),
            },
            Meaning::Value { .. } | Meaning::None => Self {
                answer: None,
                scores: None,
            },
        }
    }
}

fn is_class(names: &[String]) -> bool {
    matches!(names, [name] if name == "class")
}

impl Collector {
    /// For about so many rows.
    pub(crate) fn new(layout: Arc<Layout>, rows: usize) -> Self {
        let place = |name: &Option<String>| {
            let name = name.as_ref()?;
            let find = |(index, slot): (usize, &Slot)| match &slot.kept {
                Kept::Columns(names) => Some((index, names.iter().position(|it| it == name)?)),
                Kept::Summary(_) => None,
            };
            layout.inputs.iter().enumerate().find_map(find)
        };
        let class_from = ClassFrom::new(&layout);
        let applied = match &layout.meaning {
            Meaning::Classes {
                by_group: Some(by_group),
                threshold,
                ..
            } => place(&Some(by_group.column.clone())).and_then(|at| {
                let datatype = layout.inputs[at.0].datatype();
                Some(Applied {
                    groups: Groups::new(&by_group.thresholds, *threshold, datatype)?,
                    at,
                    group: Words::new(rows),
                    threshold: Numbers::new(rows),
                })
            }),
            _ => None,
        };
        let output = |(index, slot)| Column::new(slot, class_from.answer == Some(index), rows);
        Self {
            rows: 0,
            ids: Vec::with_capacity(rows * 16),
            row: Numbers::new(rows),
            time: Numbers::new(rows),
            arm: Words::new(rows),
            key: StringBuilder::new(),
            caller: Words::new(rows),
            request_id: StringBuilder::new(),
            code: Words::new(rows),
            inputs_recorded: BooleanBuilder::new(),
            numbers: std::array::from_fn(|_| Numbers::new(rows)),
            used: std::array::from_fn(|_| Numbers::new(rows)),
            class: Words::new(rows),
            class_from,
            applied,
            answers_known: Vec::new(),
            outputs: layout.outputs.iter().enumerate().map(output).collect(),
            inputs: layout
                .inputs
                .iter()
                .map(|it| Column::new(it, false, rows))
                .collect(),
            key_at: place(&layout.key),
            caller_at: place(&layout.caller),
            layout,
        }
    }

    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Adds a record of this layout. One that cannot be read adds nothing.
    pub(crate) fn push(&mut self, record: &[u8]) -> Read<()> {
        let mut reader = Reader::new(record);
        let head = Head::read(&mut reader)?;
        let count = usize::try_from(head.count).map_err(|_| Unreadable)?;
        let has_inputs = reader.byte()? != 0;
        let layout = Arc::clone(&self.layout);
        let slots = layout.inputs.iter().chain(&layout.outputs);
        let columns = self.inputs.iter().chain(&self.outputs);
        let mut raws = Vec::with_capacity(self.inputs.len() + self.outputs.len());
        for (slot, column) in slots.zip(columns) {
            raws.push(Raw::read(
                &mut reader,
                &slot.kept,
                column.datatype(),
                count,
            )?);
        }
        let (of_inputs, of_outputs) = raws.split_at(self.inputs.len());

        let readable = has_inputs && of_inputs.iter().all(Raw::is_whole);
        let columns = self.inputs.iter_mut().chain(&mut self.outputs);
        for (column, raw) in columns.zip(&raws) {
            column.push(raw, count);
        }
        let groups = self.groups(of_inputs, count);
        let called = self.classes(of_outputs, groups.as_deref(), count);
        if let Some(applied) = &mut self.applied {
            applied.push(groups.filter(|_| called), count);
        }
        let [arm, key, caller, request_id, code] = head.texts;
        for _ in 0..count {
            self.ids.extend_from_slice(&head.place.id);
        }
        let first = head.place.first;
        self.row
            .extend((0..count).map(|it| first.saturating_add(it as u32)));
        self.time.push_n(head.place.time_us, count);
        self.arm.push(arm, count);
        match self.key_at {
            None => push_texts(&mut self.key, key, count),
            Some(at) => {
                for row in 0..count {
                    self.key.append_option(self.input(of_inputs, at, row));
                }
            }
        }
        match self.caller_at {
            None => self.caller.push(caller, count),
            Some(at) => {
                for row in 0..count {
                    let caller = self.input(of_inputs, at, row);
                    self.caller.push(caller.as_deref(), 1);
                }
            }
        }
        push_texts(&mut self.request_id, request_id, count);
        self.code.push(code, count);
        self.inputs_recorded.append_n(count, readable);
        for (column, number) in self.numbers.iter_mut().zip(head.numbers) {
            column.push_n(number, count);
        }
        for (column, number) in self.used.iter_mut().zip(head.used) {
            // Without prices there is no cost.
            match number.is_nan() {
                true => column.push_nulls(count),
                false => column.push_n(number, count),
            }
        }
        self.rows += count;
        Ok(())
    }

    /// A row's value in a column of an input, as text.
    fn input(&self, raws: &[Raw<'_>], at: (usize, usize), row: usize) -> Option<String> {
        let (input, column) = at;
        let Kept::Columns(names) = &self.layout.inputs.get(input)?.kept else {
            return None;
        };
        let datatype = self.inputs.get(input)?.datatype();
        raws.get(input)?.show(datatype, row * names.len() + column)
    }

    /// The group of each row, where groups have thresholds of their own and the inputs are there.
    fn groups(&self, inputs: &[Raw<'_>], count: usize) -> Option<Vec<Option<usize>>> {
        let Applied { groups, at, .. } = self.applied.as_ref()?;
        let (input, column) = *at;
        let raw = inputs.get(input).filter(|it| !matches!(it, Raw::Absent))?;
        let datatype = self.inputs.get(input)?.datatype();
        let Kept::Columns(names) = &self.layout.inputs.get(input)?.kept else {
            return None;
        };
        let group = |row: usize| {
            let place = row * names.len() + column;
            match datatype {
                DataType::Bytes => groups.of_text(raw.show(datatype, place)?.as_bytes()),
                _ => groups.of_number(raw.number(datatype, place)?),
            }
        };
        Some((0..count).map(group).collect())
    }

    /// The class of each row: what was answered, or what its scores say. Whether there was either.
    fn classes(
        &mut self,
        outputs: &[Raw<'_>],
        groups: Option<&[Option<usize>]>,
        count: usize,
    ) -> bool {
        let Meaning::Classes {
            classes,
            positive,
            threshold,
            scores,
            single,
            ..
        } = &self.layout.meaning
        else {
            return false;
        };
        let found = |at: Option<usize>| {
            let (raw, column) = (outputs.get(at?)?, self.outputs.get(at?)?);
            (!matches!(raw, Raw::Absent)).then(|| (raw, column.datatype()))
        };
        if let Some((raw, datatype)) = found(self.class_from.answer) {
            for row in 0..count {
                let bits = raw.bits(datatype, row);
                let known = self.answers_known.iter().find(|it| Some(it.0) == bits);
                if let Some((_, key)) = known {
                    self.class.push_key(*key, 1);
                    continue;
                }
                let shown = raw.show(datatype, row);
                let name = shown.map(|text| class_name(text, datatype, classes));
                let key = name.map(|it| self.class.key(&it));
                self.class.push_key(key, 1);
                if let Some(bits) = bits
                    && self.answers_known.len() < ANSWERS_KNOWN_MAX
                {
                    self.answers_known.push((bits, key));
                }
            }
            return true;
        }
        let Some((raw, datatype)) = found(self.class_from.scores) else {
            self.class.push(None, count);
            return false;
        };
        if self.applied.is_some() && groups.is_none() {
            // Nobody knows which threshold it was.
            self.class.push(None, count);
            return false;
        }
        for row in 0..count {
            let score = |index: usize| raw.number(datatype, row * scores.len() + index);
            let threshold = match (&self.applied, groups) {
                (Some(applied), Some(groups)) => Some(applied.groups.threshold(groups[row])),
                _ => *threshold,
            };
            let decided = decide(score, classes.len(), *positive, threshold, *single);
            let class = decided.and_then(|it| classes.get(it));
            self.class.push(class.map(String::as_str), 1);
        }
        true
    }

    /// The rows collected, as the layout's schema has them.
    pub(crate) fn finish(self) -> Read<RecordBatch> {
        let rows = self.rows;
        let schema: Arc<Schema> = Arc::new(self.layout.schema());
        let [queue, compute, total, batch] = self.numbers.map(number_column);
        let [cpu, accelerator, memory, cost] = self.used.map(number_column);
        let texts = |mut builder: StringBuilder| -> ArrayRef { Arc::new(builder.finish()) };
        let ids = FixedSizeBinaryArray::try_new(16, self.ids.into(), None);
        let mut inputs_recorded = self.inputs_recorded;
        // In the order of `SYSTEM`.
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(ids.map_err(|_| Unreadable)?),
            number_column(self.row),
            Arc::new(self.time.finish().with_timezone("UTC")),
            constant(&self.layout.model, rows),
            Arc::new(UInt32Array::from_value(self.layout.version, rows)),
            constant(&self.layout.digest, rows),
            self.arm.finish(),
            texts(self.key),
            self.caller.finish(),
            texts(self.request_id),
            self.code.finish(),
            Arc::new(inputs_recorded.finish()),
            batch,
            queue,
            compute,
            total,
            cpu,
            accelerator,
            memory,
            cost,
        ];
        debug_assert_eq!(columns.len(), SYSTEM.len());
        if matches!(self.layout.meaning, Meaning::Classes { .. }) {
            columns.push(self.class.finish());
        }
        match self.applied {
            Some(Applied {
                group, threshold, ..
            }) => columns.extend([group.finish(), number_column(threshold)]),
            // Of a layout that another Windlass wrote, which this one cannot apply.
            None if self.layout.meaning.by_group().is_some() => {
                columns.push(new_null_array(&words(), rows));
                columns.push(new_null_array(&Arrow::Float64, rows));
            }
            None => {}
        }
        for column in self.outputs.into_iter().chain(self.inputs) {
            columns.extend(column.finish());
        }
        RecordBatch::try_new(schema, columns).map_err(|_| Unreadable)
    }
}

impl Applied {
    fn push(&mut self, groups: Option<Vec<Option<usize>>>, count: usize) {
        let Some(groups) = groups else {
            self.group.push(None, count);
            return self.threshold.push_nulls(count);
        };
        for group in groups {
            let name = group.map(|it| self.groups.name(it));
            self.group.push(name, 1);
            self.threshold.push_n(self.groups.threshold(group), 1);
        }
    }
}

fn push_texts(builder: &mut StringBuilder, text: Option<&str>, count: usize) {
    match text {
        Some(text) => builder.append_value_n(text, count),
        None => builder.append_nulls(count),
    }
}

fn number_column<T: ArrowPrimitiveType>(numbers: Numbers<T>) -> ArrayRef {
    Arc::new(numbers.finish())
}

/// The place of the class that scores stand for: the positive one from its threshold on, else the greatest,
/// the first where several are.
pub(crate) fn decide(
    score: impl Fn(usize) -> Option<f64>,
    classes: usize,
    positive: Option<usize>,
    threshold: Option<f64>,
    single: bool,
) -> Option<usize> {
    if let Some(positive) = positive
        && classes == 2
    {
        let value = score(if single { 0 } else { positive })?;
        let taken = value >= threshold.unwrap_or(0.5);
        return Some(if taken { positive } else { 1 - positive });
    }
    let mut best: Option<(usize, f64)> = None;
    for index in 0..classes {
        let value = score(index)?;
        if best.is_none_or(|(_, most)| value > most) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}

/// The name of the class that a model answered: by its place where it answers numbers.
pub(crate) fn class_name(answered: String, datatype: DataType, classes: &[String]) -> String {
    if datatype == DataType::Bytes || classes.contains(&answered) {
        return answered;
    }
    let place = match datatype {
        DataType::Bool => Some(usize::from(answered == "true")),
        _ => answered.parse().ok(),
    };
    let name = place.and_then(|it: usize| classes.get(it));
    name.cloned().unwrap_or(answered)
}

fn constant(text: &str, rows: usize) -> ArrayRef {
    let keys = Int32Array::from_value(0, rows);
    let values = Arc::new(StringArray::from(vec![text]));
    // Every key is 0, and there is a value there.
    Arc::new(DictionaryArray::new(keys, values))
}
