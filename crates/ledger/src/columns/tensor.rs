//! Tensors of records: found as bytes, collected as columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanBuilder, Float64Array, ListArray,
    NullBufferBuilder, PrimitiveArray, StringBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType as Arrow, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use domain::DataType;
use half::{bf16, f16};

use super::reader::{Read, Reader, Unreadable};
use crate::layout::{Kept, Slot, arrow_type};
use crate::record::{ABSENT, SUMMARY, VALUES};

/// Values of so many bytes are collected row by row before they become columns: few enough to stay in the
/// nearest cache, enough that a column grows by many at a time.
const PENDING_BYTES: usize = 16 * 1024;

/// A tensor of a record, its values still as bytes.
pub(super) enum Raw<'a> {
    Absent,
    Fixed(&'a [u8]),
    /// Texts row by row; none where one is not UTF-8.
    Texts(Vec<Option<&'a str>>),
    Summaries(Vec<Summed<'a>>),
}

/// What is known of a large tensor's row.
pub(super) struct Summed<'a> {
    shape: String,
    digest: [u8; 16],
    spread: [f64; 3],
    values: Option<&'a [u8]>,
}

/// As many bytes as a number has, from the front.
fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

impl<'a> Raw<'a> {
    /// Reads a tensor of `count` rows.
    pub(super) fn read(
        reader: &mut Reader<'a>,
        kept: &Kept,
        datatype: DataType,
        count: usize,
    ) -> Read<Self> {
        match (reader.byte()?, kept) {
            (ABSENT, _) => Ok(Self::Absent),
            (VALUES, Kept::Columns(names)) => {
                let elements = count.checked_mul(names.len()).ok_or(Unreadable)?;
                if let Some(size) = datatype.width() {
                    let bytes = elements.checked_mul(size).ok_or(Unreadable)?;
                    return Ok(Self::Fixed(reader.take(bytes)?));
                }
                let mut texts = Vec::with_capacity(elements.min(1 << 16));
                for _ in 0..elements {
                    texts.push(std::str::from_utf8(reader.string()?).ok());
                }
                Ok(Self::Texts(texts))
            }
            (SUMMARY, Kept::Summary(_)) => {
                let rows = (0..count).map(|_| Summed::read(reader));
                Ok(Self::Summaries(rows.collect::<Read<_>>()?))
            }
            _ => Err(Unreadable),
        }
    }

    /// Whether everything that was asked with it can be read back.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Fixed(_) => true,
            Self::Texts(texts) => texts.iter().all(Option::is_some),
            Self::Summaries(rows) => rows.iter().all(|it| it.values.is_some()),
        }
    }

    fn element(&self, datatype: DataType, index: usize) -> Option<&'a [u8]> {
        let Self::Fixed(bytes) = self else {
            return None;
        };
        let size = datatype.width()?;
        bytes.get(index * size..(index + 1) * size)
    }

    /// One value as text.
    pub(super) fn show(&self, datatype: DataType, index: usize) -> Option<String> {
        if let Self::Texts(texts) = self {
            return texts.get(index)?.map(str::to_owned);
        }
        let bytes = self.element(datatype, index)?;
        domain::tensor::FixedElements::new(datatype, bytes.into())?.text(0)
    }

    /// The bytes of one value, which tell it from all others.
    pub(super) fn bits(&self, datatype: DataType, index: usize) -> Option<u64> {
        let bytes = self.element(datatype, index)?;
        let mut word = [0; 8];
        word.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    }

    pub(super) fn number(&self, datatype: DataType, index: usize) -> Option<f64> {
        let bytes = self.element(datatype, index)?;
        if datatype == DataType::Fp32 {
            return Some(f64::from(f32::from_le_bytes(word(bytes))));
        }
        domain::tensor::FixedElements::new(datatype, bytes.into())?.number(0)
    }
}

impl<'a> Summed<'a> {
    fn read(reader: &mut Reader<'a>) -> Read<Self> {
        let rank = reader.byte()?;
        let sizes: Read<Vec<String>> = (0..rank)
            .map(|_| reader.number().map(|it| it.to_string()))
            .collect();
        let shape = format!("[{}]", sizes?.join(", "));
        let digest = reader.array()?;
        let spread = [reader.double()?, reader.double()?, reader.double()?];
        let values = match reader.number()? {
            u32::MAX => None,
            len => Some(reader.take(usize::try_from(len).map_err(|_| Unreadable)?)?),
        };
        Ok(Self {
            shape,
            digest,
            spread,
            values,
        })
    }
}

/// A column of numbers of one type.
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            values: Vec::with_capacity(rows),
            nulls: NullBufferBuilder::new(0),
        }
    }

    pub(super) fn extend(&mut self, values: impl ExactSizeIterator<Item = T::Native>) {
        self.nulls.append_n_non_nulls(values.len());
        self.values.extend(values);
    }

    pub(super) fn push_n(&mut self, value: T::Native, count: usize) {
        self.values.extend(std::iter::repeat_n(value, count));
        self.nulls.append_n_non_nulls(count);
    }

    pub(super) fn push_nulls(&mut self, count: usize) {
        let len = self.values.len() + count;
        self.values.resize(len, T::Native::default());
        self.nulls.append_n_nulls(count);
    }

    pub(super) fn finish(mut self) -> PrimitiveArray<T> {
        PrimitiveArray::new(self.values.into(), self.nulls.finish())
    }
}

macro_rules! values {
    ($($name:ident $type:ident $native:ty;)*) => {
        /// A column of values of one type.
        enum Values {
            Bool(BooleanBuilder),
            $($name(Numbers<$type>),)*
            Text(StringBuilder),
        }

        impl Values {
            fn new(datatype: DataType, rows: usize) -> Self {
                match arrow_type(datatype) {
                    Arrow::Boolean => Self::Bool(BooleanBuilder::new()),
                    $($type::DATA_TYPE => Self::$name(Numbers::new(rows)),)*
                    _ => Self::Text(StringBuilder::new()),
                }
            }

            fn push_nulls(&mut self, count: usize) {
                match self {
                    Self::Bool(builder) => builder.append_nulls(count),
                    $(Self::$name(numbers) => numbers.push_nulls(count),)*
                    Self::Text(builder) => builder.append_nulls(count),
                }
            }

            /// The first value of each row; a row has `row_bytes`, the last one perhaps fewer.
            fn extend(&mut self, datatype: DataType, bytes: &[u8], row_bytes: usize) {
                let rows = bytes.chunks(row_bytes.max(1));
                match self {
                    Self::Bool(builder) => {
                        rows.for_each(|it| builder.append_value(it.first().is_some_and(|it| *it != 0)));
                    }
                    Self::F32(numbers) if datatype == DataType::Fp16 => {
                        numbers.extend(rows.map(|it| f16::from_le_bytes(word(it)).to_f32()));
                    }
                    Self::F32(numbers) if datatype == DataType::Bf16 => {
                        numbers.extend(rows.map(|it| bf16::from_le_bytes(word(it)).to_f32()));
                    }
                    $(Self::$name(numbers) => {
                        numbers.extend(rows.map(|it| <$native>::from_le_bytes(word(it))));
                    })*
                    Self::Text(builder) => builder.append_nulls(rows.len()),
                }
            }

            fn finish(self) -> ArrayRef {
                match self {
                    Self::Bool(mut builder) => Arc::new(builder.finish()),
                    $(Self::$name(numbers) => Arc::new(numbers.finish()),)*
                    Self::Text(mut builder) => Arc::new(builder.finish()),
                }
            }
        }
    };
}

values! {
    U8 UInt8Type u8;
    U16 UInt16Type u16;
    U32 UInt32Type u32;
    U64 UInt64Type u64;
    I8 Int8Type i8;
    I16 Int16Type i16;
    I32 Int32Type i32;
    I64 Int64Type i64;
    F32 Float32Type f32;
    F64 Float64Type f64;
}

/// A column of lists.
struct Lists {
    values: Values,
    lengths: Vec<usize>,
    nulls: NullBufferBuilder,
}

impl Lists {
    fn push(&mut self, datatype: DataType, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else {
            self.lengths.push(0);
            return self.nulls.append_null();
        };
        self.nulls.append_non_null();
        if let Some(size) = datatype.width() {
            self.values.extend(datatype, bytes, size);
            return self.lengths.push(bytes.len() / size);
        }
        let Values::Text(texts) = &mut self.values else {
            return self.lengths.push(0);
        };
        let (mut reader, mut count) = (Reader::new(bytes), 0);
        while !reader.is_empty() {
            let Ok(string) = reader.string() else { break };
            texts.append_option(std::str::from_utf8(string).ok());
            count += 1;
        }
        self.lengths.push(count);
    }

    fn finish(mut self) -> ArrayRef {
        let values = self.values.finish();
        let item = Field::new("item", values.data_type().clone(), true);
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Arc::new(ListArray::new(
            item.into(),
            offsets,
            values,
            self.nulls.finish(),
        ))
    }
}

/// The collected columns of a tensor.
pub(super) struct Column {
    datatype: DataType,
    collected: Collected,
}

enum Collected {
    /// A column for each value of a row.
    Values {
        columns: Vec<Values>,
        /// Rows that are no columns yet.
        pending: Vec<u8>,
    },
    Summary(Box<Summary>),
    /// The output that holds the class: its text goes to the collector's own column.
    Class,
}

struct Summary {
    values: Lists,
    shape: StringBuilder,
    digest: StringBuilder,
    spread: [Numbers<Float64Type>; 3],
}

impl Column {
    pub(super) fn new(slot: &Slot, is_class: bool, rows: usize) -> Self {
        let datatype = slot.datatype();
        let collected = match &slot.kept {
            Kept::Columns(_) if is_class => Collected::Class,
            Kept::Columns(names) => Collected::Values {
                columns: names.iter().map(|_| Values::new(datatype, rows)).collect(),
                pending: Vec::new(),
            },
            Kept::Summary(_) => Collected::Summary(Box::new(Summary {
                values: Lists {
                    values: Values::new(datatype, rows),
                    lengths: Vec::new(),
                    nulls: NullBufferBuilder::new(0),
                },
                shape: StringBuilder::new(),
                digest: StringBuilder::new(),
                spread: std::array::from_fn(|_| Numbers::new(rows)),
            })),
        };
        Self {
            datatype,
            collected,
        }
    }

    pub(super) fn datatype(&self) -> DataType {
        self.datatype
    }

    /// Adds `count` rows, as `raw` was read for them.
    pub(super) fn push(&mut self, raw: &Raw<'_>, count: usize) {
        let datatype = self.datatype;
        match (&mut self.collected, raw) {
            (Collected::Class, _) => {}
            (Collected::Values { pending, .. }, Raw::Fixed(bytes)) => {
                pending.extend_from_slice(bytes);
                if pending.len() >= PENDING_BYTES {
                    self.flush();
                }
            }
            (Collected::Values { columns, .. }, Raw::Texts(texts)) => {
                let width = columns.len();
                for (index, column) in columns.iter_mut().enumerate() {
                    if let Values::Text(builder) = column {
                        for text in texts.iter().skip(index).step_by(width) {
                            builder.append_option(*text);
                        }
                    }
                }
            }
            (Collected::Summary(summary), Raw::Summaries(rows)) => {
                rows.iter().for_each(|it| summary.push(datatype, it));
            }
            _ => self.push_nulls(count),
        }
    }

    fn push_nulls(&mut self, count: usize) {
        self.flush();
        match &mut self.collected {
            Collected::Class => {}
            Collected::Values { columns, .. } => {
                columns.iter_mut().for_each(|it| it.push_nulls(count));
            }
            Collected::Summary(it) => {
                for _ in 0..count {
                    it.values.push(self.datatype, None);
                }
                it.shape.append_nulls(count);
                it.digest.append_nulls(count);
                it.spread.iter_mut().for_each(|it| it.push_nulls(count));
            }
        }
    }

    /// Makes columns of what is pending.
    fn flush(&mut self) {
        let Collected::Values { columns, pending } = &mut self.collected else {
            return;
        };
        let Some(size) = self.datatype.width().filter(|_| !pending.is_empty()) else {
            return;
        };
        let row_bytes = columns.len() * size;
        for (index, column) in columns.iter_mut().enumerate() {
            let from_here = pending.get(index * size..).unwrap_or_default();
            column.extend(self.datatype, from_here, row_bytes);
        }
        pending.clear();
    }

    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        self.flush();
        match self.collected {
            Collected::Class => Vec::new(),
            Collected::Values { columns, .. } => columns.into_iter().map(Values::finish).collect(),
            Collected::Summary(mut it) => {
                let mut all: Vec<ArrayRef> = vec![
                    it.values.finish(),
                    Arc::new(it.shape.finish()),
                    Arc::new(it.digest.finish()),
                ];
                if self.datatype != DataType::Bytes {
                    let spread = it.spread.map(|it| -> Float64Array { it.finish() });
                    all.extend(spread.map(|it| -> ArrayRef { Arc::new(it) }));
                }
                all
            }
        }
    }
}

impl Summary {
    fn push(&mut self, datatype: DataType, row: &Summed<'_>) {
        self.shape.append_value(&row.shape);
        let digits: String = row.digest.iter().map(|it| format!("{it:02x}")).collect();
        self.digest.append_value(digits);
        for (column, number) in self.spread.iter_mut().zip(row.spread) {
            match number.is_nan() {
                true => column.push_nulls(1),
                false => column.push_n(number, 1),
            }
        }
        self.values.push(datatype, row.values);
    }
}
