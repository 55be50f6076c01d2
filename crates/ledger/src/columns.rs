//! Records of the log as columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, DictionaryArray, FixedSizeBinaryBuilder,
    Float32Builder, Float64Builder, Int8Builder, Int16Builder, Int32Array, Int32Builder,
    Int64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder, StringDictionaryBuilder,
    TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Array, UInt32Builder,
    UInt64Builder,
};
use arrow::datatypes::{DataType as Arrow, Int32Type, Schema};
use domain::DataType;
use half::{bf16, f16};

use crate::layout::{Kept, Layout, Meaning, SYSTEM, Slot, arrow_type};
use crate::record::{ABSENT, PREDICTIONS, SUMMARY, VALUES};

/// A record cannot be read although its checksum is right: it was written by another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

type Read<T> = Result<T, Unreadable>;

/// Reads a record from its front.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(record: &'a [u8]) -> Self {
        Self { rest: record }
    }

    pub(crate) fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Unreadable)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Unreadable)
    }

    pub(crate) fn byte(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn number(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn size(&mut self) -> Read<usize> {
        usize::try_from(self.number()?).map_err(|_| Unreadable)
    }

    fn single(&mut self) -> Read<f32> {
        self.array().map(f32::from_le_bytes)
    }

    fn double(&mut self) -> Read<f64> {
        self.array().map(f64::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Read<Option<&'a str>> {
        let len = u16::from_le_bytes(self.array()?);
        if len == u16::MAX {
            return Ok(None);
        }
        let bytes = self.take(usize::from(len))?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Unreadable)
    }

    fn string(&mut self) -> Read<&'a [u8]> {
        let len = self.size()?;
        self.take(len)
    }
}

/// What stands in front of a record of predictions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) layout: u32,
    pub(crate) id: [u8; 16],
    pub(crate) time_us: i64,
    pub(crate) first: u32,
    pub(crate) count: u32,
    numbers: [u32; 4],
    used: [f32; 4],
    texts: [Option<&'a str>; 5],
}

impl<'a> Head<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Read<Self> {
        if reader.byte()? != PREDICTIONS {
            return Err(Unreadable);
        }
        let layout = reader.number()?;
        let id = reader.array()?;
        let time_us = i64::from_le_bytes(reader.array()?);
        let (first, count) = (reader.number()?, reader.number()?);
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = reader.number()?;
        }
        let mut used = [0.0; 4];
        for number in &mut used {
            *number = reader.single()?;
        }
        let mut texts = [None; 5];
        for text in &mut texts {
            *text = reader.text()?;
        }
        Ok(Self {
            layout,
            id,
            time_us,
            first,
            count,
            numbers,
            used,
            texts,
        })
    }
}

type Words = StringDictionaryBuilder<Int32Type>;

/// Names of classes that are remembered: a model that answers more different numbers has no classes.
const CLASS_NAMES_MAX: usize = 4096;

/// Collects the rows of one layout.
pub(crate) struct Collector {
    layout: Arc<Layout>,
    rows: usize,
    id: FixedSizeBinaryBuilder,
    row: UInt32Builder,
    time: TimestampMicrosecondBuilder,
    arm: Words,
    key: StringBuilder,
    caller: Words,
    request_id: StringBuilder,
    code: Words,
    inputs_recorded: BooleanBuilder,
    numbers: [UInt32Builder; 4],
    used: [Float32Builder; 4],
    class: Words,
    /// What answers that were seen before are called, by their bytes.
    class_names: HashMap<u64, Option<String>>,
    outputs: Vec<Column>,
    inputs: Vec<Column>,
    /// The input and column in it that is the key, and the caller.
    key_at: Option<(usize, usize)>,
    caller_at: Option<(usize, usize)>,
}

/// The collected values of a tensor.
enum Column {
    /// One builder for each value of a row.
    Values(Vec<Values>),
    Summary(Box<Summary>),
    /// The output that holds the class: its text goes to the collector's own column.
    Class,
}

struct Summary {
    values: Lists,
    shape: StringBuilder,
    digest: StringBuilder,
    spread: Option<[Float64Builder; 3]>,
}

macro_rules! values {
    ($($name:ident $builder:ident $datatype:pat => $read:expr;)*) => {
        /// A column of values of one type.
        enum Values {
            $($name($builder),)*
            Text(StringBuilder),
        }

        /// A column of lists of values of one type.
        enum Lists {
            $($name(ListBuilder<$builder>),)*
            Text(ListBuilder<StringBuilder>),
        }

        impl Values {
            fn new(datatype: DataType) -> Self {
                match arrow_type(datatype) {
                    $($datatype => Self::$name($builder::new()),)*
                    _ => Self::Text(StringBuilder::new()),
                }
            }

            fn null(&mut self) {
                match self {
                    $(Self::$name(builder) => builder.append_null(),)*
                    Self::Text(builder) => builder.append_null(),
                }
            }

            fn finish(&mut self) -> ArrayRef {
                match self {
                    $(Self::$name(builder) => ArrayBuilder::finish(builder),)*
                    Self::Text(builder) => ArrayBuilder::finish(builder),
                }
            }

            /// Every `stride`th element of a tensor's bytes, from the first on.
            fn extend(&mut self, datatype: DataType, bytes: &[u8], stride: usize) {
                let size = datatype.width().unwrap_or(1);
                let elements = bytes.chunks_exact(size).step_by(stride);
                match self {
                    $(Self::$name(builder) => {
                        // Many at a time: a builder looks for room each time that it is called.
                        let mut part = [Default::default(); 32];
                        let mut len = 0;
                        for element in elements {
                            part[len] = $read(datatype, element);
                            len += 1;
                            if len == part.len() {
                                builder.append_slice(&part);
                                len = 0;
                            }
                        }
                        builder.append_slice(&part[..len]);
                    })*
                    Self::Text(builder) => for _ in elements { builder.append_null() },
                }
            }
        }

        impl Lists {
            fn new(datatype: DataType) -> Self {
                match arrow_type(datatype) {
                    $($datatype => Self::$name(ListBuilder::new($builder::new())),)*
                    _ => Self::Text(ListBuilder::new(StringBuilder::new())),
                }
            }

            fn null(&mut self) {
                match self {
                    $(Self::$name(builder) => builder.append(false),)*
                    Self::Text(builder) => builder.append(false),
                }
            }

            fn finish(&mut self) -> ArrayRef {
                match self {
                    $(Self::$name(builder) => Arc::new(builder.finish()),)*
                    Self::Text(builder) => Arc::new(builder.finish()),
                }
            }

            fn push(&mut self, datatype: DataType, bytes: &[u8]) -> Read<()> {
                match self {
                    $(Self::$name(builder) => {
                        let size = datatype.width().ok_or(Unreadable)?;
                        for element in bytes.chunks_exact(size) {
                            builder.values().append_value($read(datatype, element));
                        }
                        builder.append(true);
                    })*
                    Self::Text(builder) => {
                        let mut reader = Reader::new(bytes);
                        while !reader.rest.is_empty() {
                            let text = std::str::from_utf8(reader.string()?);
                            match text {
                                Ok(text) => builder.values().append_value(text),
                                Err(_) => builder.values().append_null(),
                            }
                        }
                        builder.append(true);
                    }
                }
                Ok(())
            }
        }
    };
}

macro_rules! le {
    ($type:ty) => {
        |_: DataType, bytes: &[u8]| <$type>::from_le_bytes(word(bytes))
    };
}

values! {
    Bool BooleanBuilder Arrow::Boolean => |_: DataType, bytes: &[u8]| bytes[0] != 0;
    U8 UInt8Builder Arrow::UInt8 => |_: DataType, bytes: &[u8]| bytes[0];
    U16 UInt16Builder Arrow::UInt16 => le!(u16);
    U32 UInt32Builder Arrow::UInt32 => le!(u32);
    U64 UInt64Builder Arrow::UInt64 => le!(u64);
    I8 Int8Builder Arrow::Int8 => le!(i8);
    I16 Int16Builder Arrow::Int16 => le!(i16);
    I32 Int32Builder Arrow::Int32 => le!(i32);
    I64 Int64Builder Arrow::Int64 => le!(i64);
    F32 Float32Builder Arrow::Float32 => |datatype: DataType, bytes: &[u8]| match datatype {
        DataType::Fp16 => f16::from_le_bytes(word(bytes)).to_f32(),
        DataType::Bf16 => bf16::from_le_bytes(word(bytes)).to_f32(),
        _ => f32::from_le_bytes(word(bytes)),
    };
    F64 Float64Builder Arrow::Float64 => le!(f64);
}

/// As many bytes as a number has.
fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut word = [0; N];
    word.copy_from_slice(bytes);
    word
}

impl Column {
    fn new(slot: &Slot, layout: &Layout) -> Self {
        let datatype = slot.datatype();
        match &slot.kept {
            Kept::Columns(names) if is_class(names, layout) => Self::Class,
            Kept::Columns(names) => {
                Self::Values(names.iter().map(|_| Values::new(datatype)).collect())
            }
            Kept::Summary(_) => Self::Summary(Box::new(Summary {
                values: Lists::new(datatype),
                shape: StringBuilder::new(),
                digest: StringBuilder::new(),
                spread: (datatype != DataType::Bytes).then(|| {
                    [
                        Float64Builder::new(),
                        Float64Builder::new(),
                        Float64Builder::new(),
                    ]
                }),
            })),
        }
    }

    fn nulls(&mut self, count: usize) {
        for _ in 0..count {
            match self {
                Self::Class => {}
                Self::Values(columns) => columns.iter_mut().for_each(Values::null),
                Self::Summary(it) => {
                    it.values.null();
                    it.shape.append_null();
                    it.digest.append_null();
                    for column in it.spread.iter_mut().flatten() {
                        column.append_null();
                    }
                }
            }
        }
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        match self {
            Self::Class => Vec::new(),
            Self::Values(columns) => columns.iter_mut().map(Values::finish).collect(),
            Self::Summary(it) => {
                let mut all: Vec<ArrayRef> = vec![
                    it.values.finish(),
                    Arc::new(it.shape.finish()),
                    Arc::new(it.digest.finish()),
                ];
                for column in it.spread.iter_mut().flatten() {
                    all.push(Arc::new(column.finish()));
                }
                all
            }
        }
    }
}

fn is_class(names: &[String], layout: &Layout) -> bool {
    matches!(layout.meaning, Meaning::Classes { .. }) && matches!(names, [name] if name == "class")
}

/// The values of a tensor that a record has, still as bytes.
#[derive(Clone)]
enum Raw<'a> {
    Absent,
    Fixed(&'a [u8]),
    /// Texts row by row; none where one is not UTF-8.
    Texts(Vec<Option<&'a str>>),
}

impl Raw<'_> {
    /// One value as text.
    fn show(&self, datatype: DataType, index: usize) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Texts(texts) => texts.get(index)?.map(str::to_owned),
            Self::Fixed(bytes) => {
                let size = datatype.width()?;
                let bytes = bytes.get(index * size..(index + 1) * size)?;
                if datatype == DataType::Bool {
                    return Some((bytes[0] != 0).to_string());
                }
                let fixed = domain::tensor::FixedElements::new(datatype, bytes.into())?;
                // A whole number is shown as one, whatever type holds it.
                match datatype {
                    DataType::Uint64 => Some(u64::from_le_bytes(word(bytes)).to_string()),
                    DataType::Int64 => Some(i64::from_le_bytes(word(bytes)).to_string()),
                    _ => fixed.number(0).map(|it| it.to_string()),
                }
            }
        }
    }

    /// The bytes of one value, which tell it from all others.
    fn bits(&self, datatype: DataType, index: usize) -> Option<u64> {
        let Self::Fixed(bytes) = self else {
            return None;
        };
        let size = datatype.width()?;
        let bytes = bytes.get(index * size..(index + 1) * size)?;
        let mut word = [0; 8];
        word.get_mut(..size)?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    }

    fn number(&self, datatype: DataType, index: usize) -> Option<f64> {
        let Self::Fixed(bytes) = self else {
            return None;
        };
        let size = datatype.width()?;
        let bytes = bytes.get(index * size..(index + 1) * size)?;
        if datatype == DataType::Fp32 {
            return Some(f64::from(f32::from_le_bytes(word(bytes))));
        }
        domain::tensor::FixedElements::new(datatype, bytes.into())?.number(0)
    }
}

impl Collector {
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        let column = |slot: &Slot| Column::new(slot, &layout);
        let place = |name: &Option<String>| {
            let name = name.as_ref()?;
            let find = |(index, slot): (usize, &Slot)| match &slot.kept {
                Kept::Columns(names) => Some((index, names.iter().position(|it| it == name)?)),
                Kept::Summary(_) => None,
            };
            layout.inputs.iter().enumerate().find_map(find)
        };
        Self {
            rows: 0,
            id: FixedSizeBinaryBuilder::new(16),
            row: UInt32Builder::new(),
            time: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            arm: Words::new(),
            key: StringBuilder::new(),
            caller: Words::new(),
            request_id: StringBuilder::new(),
            code: Words::new(),
            inputs_recorded: BooleanBuilder::new(),
            numbers: std::array::from_fn(|_| UInt32Builder::new()),
            used: std::array::from_fn(|_| Float32Builder::new()),
            class: Words::new(),
            class_names: HashMap::new(),
            outputs: layout.outputs.iter().map(column).collect(),
            inputs: layout.inputs.iter().map(column).collect(),
            key_at: place(&layout.key),
            caller_at: place(&layout.caller),
            layout,
        }
    }

    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Adds a record of this layout.
    pub(crate) fn push(&mut self, record: &[u8]) -> Read<()> {
        let mut reader = Reader::new(record);
        let head = Head::read(&mut reader)?;
        let count = usize::try_from(head.count).map_err(|_| Unreadable)?;
        // A damaged count must not make columns of different lengths: everything is read before anything is
        // added, but for the values of tensors, which are checked as they are found.
        let has_inputs = reader.byte()? != 0;
        let layout = Arc::clone(&self.layout);
        let mut readable = has_inputs;
        let mut of_inputs = Vec::with_capacity(layout.inputs.len());
        for (slot, column) in layout.inputs.iter().zip(&mut self.inputs) {
            let (raw, whole) = tensor(&mut reader, slot, column, count)?;
            readable &= whole;
            of_inputs.push(raw);
        }
        let mut of_outputs = Vec::with_capacity(layout.outputs.len());
        for (slot, column) in layout.outputs.iter().zip(&mut self.outputs) {
            of_outputs.push(tensor(&mut reader, slot, column, count)?.0);
        }
        self.classes(&of_outputs, count);
        let from_input = |at: Option<(usize, usize)>, row: usize| {
            let (input, column) = at?;
            let slot = layout.inputs.get(input)?;
            let Kept::Columns(names) = &slot.kept else {
                return None;
            };
            of_inputs[input].show(slot.datatype(), row * names.len() + column)
        };
        let [arm, key, caller, request_id, code] = head.texts;
        for row in 0..count {
            self.id.append_value(head.id).map_err(|_| Unreadable)?;
            self.row
                .append_value(head.first + u32::try_from(row).unwrap_or(0));
            match self.key_at {
                Some(_) => self.key.append_option(from_input(self.key_at, row)),
                None => self.key.append_option(key),
            }
            match self.caller_at {
                Some(_) => self.caller.append_option(from_input(self.caller_at, row)),
                None => self.caller.append_option(caller),
            }
            self.request_id.append_option(request_id);
        }
        self.time.append_value_n(head.time_us, count);
        self.arm.append_options(arm, count);
        self.code.append_options(code, count);
        self.inputs_recorded.append_n(count, readable);
        for (column, number) in self.numbers.iter_mut().zip(head.numbers) {
            column.append_value_n(number, count);
        }
        for (column, number) in self.used.iter_mut().zip(head.used) {
            // Without prices there is no cost.
            match number.is_nan() {
                true => column.append_nulls(count),
                false => column.append_value_n(number, count),
            }
        }
        self.rows += count;
        Ok(())
    }

    /// The class of each row: what the model answered, or what its scores say.
    fn classes(&mut self, outputs: &[Raw<'_>], count: usize) {
        let Meaning::Classes {
            classes,
            positive,
            threshold,
            scores,
            single,
            ..
        } = &self.layout.meaning
        else {
            return;
        };
        let slots = self.layout.outputs.iter().zip(outputs);
        let find = |wanted: &dyn Fn(&[String]) -> bool| {
            slots.clone().find_map(|(slot, raw)| match &slot.kept {
                Kept::Columns(names) if wanted(names) => Some((slot, raw)),
                _ => None,
            })
        };
        let answered = find(&|names| matches!(names, [name] if name == "class"));
        if let Some((slot, raw)) = answered
            && !matches!(raw, Raw::Absent)
        {
            let datatype = slot.datatype();
            let name = |row: usize| {
                let shown = raw.show(datatype, row);
                shown.map(|text| class_name(text, datatype, classes))
            };
            for row in 0..count {
                let Some(bits) = raw.bits(datatype, row) else {
                    self.class.append_option(name(row));
                    continue;
                };
                if self.class_names.len() >= CLASS_NAMES_MAX {
                    self.class_names.clear();
                }
                let name = self.class_names.entry(bits).or_insert_with(|| name(row));
                self.class.append_option(name.as_deref());
            }
            return;
        }
        let scored = find(&|names| !scores.is_empty() && *names == scores[..]);
        let Some((slot, raw)) = scored else {
            return self.class.append_nulls(count);
        };
        for row in 0..count {
            let score = |index: usize| raw.number(slot.datatype(), row * scores.len() + index);
            let decided = decide(score, classes.len(), *positive, *threshold, *single);
            self.class
                .append_option(decided.and_then(|it| classes.get(it)));
        }
    }

    /// The rows collected, as the layout's schema has them.
    pub(crate) fn finish(mut self) -> Read<RecordBatch> {
        let rows = self.rows;
        let schema: Arc<Schema> = Arc::new(self.layout.schema());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (name, _) in SYSTEM {
            columns.push(match *name {
                "prediction_id" => Arc::new(self.id.finish()),
                "row" => Arc::new(self.row.finish()),
                "time" => Arc::new(self.time.finish()),
                "model" => constant(&self.layout.model, rows),
                "version" => Arc::new(UInt32Array::from_value(self.layout.version, rows)),
                "digest" => constant(&self.layout.digest, rows),
                "arm" => Arc::new(self.arm.finish()),
                "key" => Arc::new(self.key.finish()),
                "caller" => Arc::new(self.caller.finish()),
                "request_id" => Arc::new(self.request_id.finish()),
                "code" => Arc::new(self.code.finish()),
                "inputs_recorded" => Arc::new(self.inputs_recorded.finish()),
                "batch_rows" => Arc::new(self.numbers[3].finish()),
                "queue_us" => Arc::new(self.numbers[0].finish()),
                "compute_us" => Arc::new(self.numbers[1].finish()),
                "total_us" => Arc::new(self.numbers[2].finish()),
                "cpu_us" => Arc::new(self.used[0].finish()),
                "accelerator_us" => Arc::new(self.used[1].finish()),
                "memory_mib_s" => Arc::new(self.used[2].finish()),
                _ => Arc::new(self.used[3].finish()),
            });
        }
        if matches!(self.layout.meaning, Meaning::Classes { .. }) {
            columns.push(Arc::new(self.class.finish()));
        }
        for column in self.outputs.iter_mut().chain(&mut self.inputs) {
            columns.extend(column.finish());
        }
        RecordBatch::try_new(schema, columns).map_err(|_| Unreadable)
    }
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

/// Reads a tensor of `count` rows into its columns; says whether all of it could be kept.
fn tensor<'a>(
    reader: &mut Reader<'a>,
    slot: &Slot,
    column: &mut Column,
    count: usize,
) -> Read<(Raw<'a>, bool)> {
    let datatype = slot.datatype();
    match (reader.byte()?, &slot.kept) {
        (ABSENT, _) => {
            column.nulls(count);
            Ok((Raw::Absent, false))
        }
        (VALUES, Kept::Columns(names)) => {
            let width = names.len();
            let elements = count.checked_mul(width).ok_or(Unreadable)?;
            if let Some(size) = datatype.width() {
                let bytes = reader.take(elements.checked_mul(size).ok_or(Unreadable)?)?;
                if let Column::Values(columns) = column {
                    for (index, column) in columns.iter_mut().enumerate() {
                        column.extend(
                            datatype,
                            bytes.get(index * size..).unwrap_or_default(),
                            width,
                        );
                    }
                }
                return Ok((Raw::Fixed(bytes), true));
            }
            let mut texts = Vec::with_capacity(elements.min(1 << 16));
            for _ in 0..elements {
                texts.push(std::str::from_utf8(reader.string()?).ok());
            }
            if let Column::Values(columns) = column {
                for (index, column) in columns.iter_mut().enumerate() {
                    if let Values::Text(builder) = column {
                        for text in texts.iter().skip(index).step_by(width) {
                            builder.append_option(*text);
                        }
                    }
                }
            }
            let whole = texts.iter().all(Option::is_some);
            Ok((Raw::Texts(texts), whole))
        }
        (SUMMARY, Kept::Summary(_)) => {
            let Column::Summary(summary) = column else {
                return Err(Unreadable);
            };
            let mut whole = true;
            for _ in 0..count {
                whole &= summary.read(reader, datatype)?;
            }
            Ok((Raw::Absent, whole))
        }
        _ => Err(Unreadable),
    }
}

impl Summary {
    /// Reads one row; says whether its values were kept.
    fn read(&mut self, reader: &mut Reader<'_>, datatype: DataType) -> Read<bool> {
        let rank = reader.byte()?;
        let sizes: Read<Vec<String>> = (0..rank)
            .map(|_| reader.number().map(|it| it.to_string()))
            .collect();
        let digest: [u8; 16] = reader.array()?;
        let spread = [reader.double()?, reader.double()?, reader.double()?];
        let len = reader.number()?;
        self.shape.append_value(format!("[{}]", sizes?.join(", ")));
        let digits: String = digest.iter().map(|it| format!("{it:02x}")).collect();
        self.digest.append_value(digits);
        for (column, number) in self.spread.iter_mut().flatten().zip(spread) {
            column.append_option((!number.is_nan()).then_some(number));
        }
        if len == u32::MAX {
            self.values.null();
            return Ok(false);
        }
        let bytes = reader.take(usize::try_from(len).map_err(|_| Unreadable)?)?;
        self.values.push(datatype, bytes)?;
        Ok(true)
    }
}
