//! Tensors: a shape and elements in row-major order.
//!
//! Elements of a fixed width lie in one aligned run of little-endian bytes, so that joining the rows of
//! many requests, cutting them apart again and answering in binary are copies of bytes whatever the
//! type is, and an engine can view them as numbers without a copy.

use std::fmt;

use half::{bf16, f16};

/// What one element is. Names and widths are those of the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 64 bits.
    Uint64,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE 754 half precision.
    Fp16,
    /// Brain floating point, the upper half of an FP32.
    Bf16,
    /// IEEE 754 single precision.
    Fp32,
    /// IEEE 754 double precision.
    Fp64,
    /// A string of any bytes.
    Bytes,
}

impl DataType {
    /// Every type, in the order of the protocol's table.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The protocol's name: `FP32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The type with the protocol's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Bytes of one element; none for `BYTES`, whose elements differ in length.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// Whether elements are floating-point numbers, which alone can say "missing" (NaN).
    pub fn is_float(self) -> bool {
        matches!(self, Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes whose first one is aligned for any element type.
#[derive(Clone, Default)]
pub struct AlignedBytes {
    words: Vec<u64>,
    len: usize,
}

impl AlignedBytes {
    /// No bytes, with room for `capacity` of them.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            words: Vec::with_capacity(capacity.div_ceil(8)),
            len: 0,
        }
    }

    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(8)],
            len,
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }

    /// Adds `bytes` at the end.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let start = self.len;
        self.len += bytes.len();
        self.words.resize(self.len.div_ceil(8), 0);
        self.as_mut_slice()[start..].copy_from_slice(bytes);
    }

    /// Adds `count` zero bytes at the end.
    pub fn extend_zeroed(&mut self, count: usize) {
        self.len += count;
        self.words.resize(self.len.div_ceil(8), 0);
    }
}

impl From<&[u8]> for AlignedBytes {
    fn from(bytes: &[u8]) -> Self {
        let mut aligned = Self::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        aligned
    }
}

impl PartialEq for AlignedBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.len)
    }
}

/// The elements of a tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Elements of a fixed width, little-endian, one after another without gaps.
    Fixed(FixedElements),
    /// Strings of any bytes.
    Bytes(Vec<Vec<u8>>),
}

/// Elements of one fixed-width type. The number of bytes is a multiple of the width, and a `BOOL` is 0 or 1.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedElements {
    datatype: DataType,
    bytes: AlignedBytes,
}

impl FixedElements {
    /// The elements that these bytes spell. None when `datatype` has no fixed width, when the bytes are
    /// not a whole number of elements, or when a `BOOL` is neither 0 nor 1.
    pub fn new(datatype: DataType, bytes: AlignedBytes) -> Option<Self> {
        let whole = bytes.len().is_multiple_of(datatype.width()?);
        let boolean = datatype != DataType::Bool || bytes.as_slice().iter().all(|b| *b <= 1);
        (whole && boolean).then_some(Self { datatype, bytes })
    }

    /// What each element is.
    pub fn datatype(&self) -> DataType {
        self.datatype
    }

    /// All elements as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The elements as numbers of the Rust type that has the same width; none when `T` is another type's.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        (T::DATATYPE == self.datatype).then(|| bytemuck::cast_slice(self.bytes.as_slice()))
    }

    /// Element `index` as text: a whole number is shown as one, whatever type holds it. None past the end.
    pub fn text(&self, index: usize) -> Option<String> {
        Some(match self.datatype {
            DataType::Bool => (self.number(index)? != 0.0).to_string(),
            DataType::Uint64 => self.as_slice::<u64>()?.get(index)?.to_string(),
            DataType::Int64 => self.as_slice::<i64>()?.get(index)?.to_string(),
            _ => self.number(index)?.to_string(),
        })
    }

    /// Element `index` as the nearest double; a `BOOL` is 0 or 1. None past the end.
    pub fn number(&self, index: usize) -> Option<f64> {
        let width = self.datatype.width()?;
        let start = index.checked_mul(width)?;
        let raw = self.as_bytes().get(start..start.checked_add(width)?)?;
        macro_rules! read {
            ($type:ty) => {
                <$type>::from_le_bytes(raw.try_into().ok()?)
            };
        }
        Some(match self.datatype {
            DataType::Bool | DataType::Uint8 => f64::from(read!(u8)),
            DataType::Uint16 => f64::from(read!(u16)),
            DataType::Uint32 => f64::from(read!(u32)),
            DataType::Uint64 => read!(u64) as f64,
            DataType::Int8 => f64::from(read!(i8)),
            DataType::Int16 => f64::from(read!(i16)),
            DataType::Int32 => f64::from(read!(i32)),
            DataType::Int64 => read!(i64) as f64,
            DataType::Fp16 => read!(f16).to_f64(),
            DataType::Bf16 => read!(bf16).to_f64(),
            DataType::Fp32 => f64::from(read!(f32)),
            DataType::Fp64 => read!(f64),
            DataType::Bytes => return None,
        })
    }
}

/// A Rust type that elements of a fixed width can be viewed as.
pub trait Element: bytemuck::Pod {
    /// The type of tensor it is an element of.
    const DATATYPE: DataType;
}

macro_rules! element {
    ($($rust:ty => $datatype:ident),* $(,)?) => {
        $(impl Element for $rust { const DATATYPE: DataType = DataType::$datatype; })*
    };
}

element! {
    u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64,
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    f16 => Fp16, bf16 => Bf16, f32 => Fp32, f64 => Fp64,
}

impl Elements {
    /// What each element is.
    pub fn datatype(&self) -> DataType {
        match self {
            Self::Fixed(fixed) => fixed.datatype,
            Self::Bytes(_) => DataType::Bytes,
        }
    }

    /// Element `index` as text. None past the end, or where it is not UTF-8.
    pub fn text(&self, index: usize) -> Option<String> {
        match self {
            Self::Fixed(fixed) => fixed.text(index),
            Self::Bytes(texts) => String::from_utf8(texts.get(index)?.clone()).ok(),
        }
    }

    /// How many elements.
    pub fn count(&self) -> usize {
        match self {
            Self::Fixed(fixed) => fixed.bytes.len() / fixed.datatype.width().unwrap_or(1),
            Self::Bytes(strings) => strings.len(),
        }
    }

    /// Elements from numbers of a Rust type.
    pub fn from_slice<T: Element>(numbers: &[T]) -> Self {
        let bytes = AlignedBytes::from(bytemuck::cast_slice::<T, u8>(numbers));
        Self::Fixed(FixedElements {
            datatype: T::DATATYPE,
            bytes,
        })
    }

    /// `BOOL` elements.
    pub fn from_bools(bools: &[bool]) -> Self {
        let bytes = AlignedBytes::from(bytemuck::cast_slice::<bool, u8>(bools));
        Self::Fixed(FixedElements {
            datatype: DataType::Bool,
            bytes,
        })
    }
}

/// A shape and as many elements as its product.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    elements: Elements,
}

/// The number of elements of a shape; none when it does not fit a `usize`. A scalar has one.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the count zero, whatever the others would overflow to.
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1usize, |count, size| count.checked_mul(*size))
}

impl Tensor {
    /// A tensor; none when the shape's product is not the number of elements.
    pub fn new(shape: Vec<usize>, elements: Elements) -> Option<Self> {
        (element_count(&shape) == Some(elements.count())).then_some(Self { shape, elements })
    }

    /// Its shape, outermost axis first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements in row-major order.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// What each element is.
    pub fn datatype(&self) -> DataType {
        self.elements.datatype()
    }

    /// Its shape and elements, taken apart.
    pub fn into_parts(self) -> (Vec<usize>, Elements) {
        (self.shape, self.elements)
    }

    /// Elements `rows` of the outermost axis. None past its end or for a scalar.
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Option<Self> {
        let (outer, inner) = self.shape.split_first()?;
        if rows.start > rows.end || rows.end > *outer {
            return None;
        }
        let stride = element_count(inner)?;
        let (start, end) = (rows.start * stride, rows.end * stride);
        let elements = match &self.elements {
            Elements::Bytes(strings) => Elements::Bytes(strings.get(start..end)?.to_vec()),
            Elements::Fixed(fixed) => {
                let width = fixed.datatype.width()?;
                let bytes = fixed.as_bytes().get(start * width..end * width)?;
                Elements::Fixed(FixedElements {
                    datatype: fixed.datatype,
                    bytes: bytes.into(),
                })
            }
        };
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Some(Self { shape, elements })
    }

    /// The tensors one after another along the outermost axis. None when there are none, or when they
    /// differ in type or in an inner axis.
    pub fn join(tensors: &[&Self]) -> Option<Self> {
        let first = tensors.first()?;
        let (_, inner) = first.shape.split_first()?;
        let mut rows = 0;
        for tensor in tensors {
            let (outer, rest) = tensor.shape.split_first()?;
            if rest != inner || tensor.datatype() != first.datatype() {
                return None;
            }
            rows += outer;
        }
        let elements = match &first.elements {
            Elements::Bytes(_) => Elements::Bytes(
                tensors
                    .iter()
                    .filter_map(|it| match &it.elements {
                        Elements::Bytes(strings) => Some(strings),
                        Elements::Fixed(_) => None,
                    })
                    .flatten()
                    .cloned()
                    .collect(),
            ),
            Elements::Fixed(fixed) => {
                let width = fixed.datatype.width()?;
                let total = rows * element_count(inner)? * width;
                let mut bytes = AlignedBytes::with_capacity(total);
                for tensor in tensors {
                    if let Elements::Fixed(fixed) = &tensor.elements {
                        bytes.extend_from_slice(fixed.as_bytes());
                    }
                }
                Elements::Fixed(FixedElements {
                    datatype: fixed.datatype,
                    bytes,
                })
            }
        };
        let mut shape = first.shape.clone();
        shape[0] = rows;
        Some(Self { shape, elements })
    }

    /// The tensor with `axis` lengthened to `length` by zeros (empty strings). None when the tensor has
    /// no such axis or it is longer already.
    pub fn padded(&self, axis: usize, length: usize) -> Option<Self> {
        let current = *self.shape.get(axis)?;
        if current > length {
            return None;
        }
        if current == length {
            return Some(self.clone());
        }
        let inner = element_count(&self.shape[axis + 1..])?;
        let outer = element_count(&self.shape[..axis])?;
        let mut shape = self.shape.clone();
        shape[axis] = length;
        element_count(&shape)?;
        let elements = match &self.elements {
            Elements::Bytes(strings) => {
                let mut padded = Vec::with_capacity(outer * length * inner);
                for run in 0..outer {
                    let start = run * current * inner;
                    padded.extend_from_slice(&strings[start..start + current * inner]);
                    padded.resize(padded.len() + (length - current) * inner, Vec::new());
                }
                Elements::Bytes(padded)
            }
            Elements::Fixed(fixed) => {
                let width = fixed.datatype.width()?;
                let run_bytes = current * inner * width;
                let mut bytes = AlignedBytes::with_capacity(outer * length * inner * width);
                for run in 0..outer {
                    let start = run * run_bytes;
                    bytes.extend_from_slice(&fixed.as_bytes()[start..start + run_bytes]);
                    bytes.extend_zeroed((length - current) * inner * width);
                }
                Elements::Fixed(FixedElements {
                    datatype: fixed.datatype,
                    bytes,
                })
            }
        };
        Some(Self { shape, elements })
    }

    /// The tensor with `axis` cut to its first `length` elements. None when it has fewer.
    pub fn cut(&self, axis: usize, length: usize) -> Option<Self> {
        let current = *self.shape.get(axis)?;
        if current < length {
            return None;
        }
        if current == length {
            return Some(self.clone());
        }
        let inner = element_count(&self.shape[axis + 1..])?;
        let outer = element_count(&self.shape[..axis])?;
        let mut shape = self.shape.clone();
        shape[axis] = length;
        let elements = match &self.elements {
            Elements::Bytes(strings) => Elements::Bytes(
                (0..outer)
                    .flat_map(|run| {
                        let start = run * current * inner;
                        strings[start..start + length * inner].iter().cloned()
                    })
                    .collect(),
            ),
            Elements::Fixed(fixed) => {
                let width = fixed.datatype.width()?;
                let mut bytes = AlignedBytes::with_capacity(outer * length * inner * width);
                for run in 0..outer {
                    let start = run * current * inner * width;
                    bytes.extend_from_slice(
                        &fixed.as_bytes()[start..start + length * inner * width],
                    );
                }
                Elements::Fixed(FixedElements {
                    datatype: fixed.datatype,
                    bytes,
                })
            }
        };
        Some(Self { shape, elements })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], numbers: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), Elements::from_slice(numbers)).expect("shape fits")
    }

    fn strings(shape: &[usize], words: &str) -> Tensor {
        let words = words
            .split(' ')
            .map(|word| word.as_bytes().to_vec())
            .collect();
        Tensor::new(shape.to_vec(), Elements::Bytes(words)).expect("shape fits")
    }

    #[test]
    fn joined_rows_come_apart_as_they_were() {
        let (a, b) = (
            tensor(&[1, 3], &[1., 2., 3.]),
            tensor(&[2, 3], &[4., 5., 6., 7., 8., 9.]),
        );
        let both = Tensor::join(&[&a, &b]).expect("same inner shape");
        assert_eq!(both.shape(), [3, 3]);
        assert_eq!(both.rows(0..1), Some(a));
        assert_eq!(both.rows(1..3), Some(b));
        assert_eq!(both.rows(2..4), None);
        let (a, b) = (strings(&[1, 2], "x y"), strings(&[1, 2], "z w"));
        let both = Tensor::join(&[&a, &b]).expect("same inner shape");
        assert_eq!((both.rows(0..1), both.rows(1..2)), (Some(a), Some(b)));
    }

    #[test]
    fn what_differs_cannot_be_joined() {
        let number = tensor(&[1, 2], &[1., 2.]);
        assert_eq!(Tensor::join(&[]), None);
        assert_eq!(
            Tensor::join(&[&number, &tensor(&[1, 3], &[1., 2., 3.])]),
            None
        );
        assert_eq!(Tensor::join(&[&number, &strings(&[1, 2], "x y")]), None);
    }

    #[test]
    fn padding_is_undone_by_cutting() {
        let whole = tensor(&[2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
        let padded = whole.padded(1, 3).expect("longer");
        let want = tensor(
            &[2, 3, 2],
            &[1., 2., 3., 4., 0., 0., 5., 6., 7., 8., 0., 0.],
        );
        assert_eq!(padded, want);
        assert_eq!(padded.cut(1, 2), Some(whole.clone()));
        assert_eq!(whole.padded(1, 1), None);
        assert_eq!(whole.padded(3, 9), None);
        let words = strings(&[2, 1], "a b");
        assert_eq!(words.padded(1, 2).and_then(|it| it.cut(1, 1)), Some(words));
    }

    #[test]
    fn a_shape_whose_product_wraps_has_no_count() {
        assert_eq!(element_count(&[usize::MAX, 2]), None);
        assert_eq!(element_count(&[usize::MAX, 2, 0]), Some(0));
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(
            Tensor::new(vec![1 << 32, 1 << 32], Elements::from_slice(&[0f32; 0])),
            None
        );
    }

    #[test]
    fn a_bool_is_zero_or_one() {
        assert!(FixedElements::new(DataType::Bool, [0u8, 1].as_slice().into()).is_some());
        assert!(FixedElements::new(DataType::Bool, [2u8].as_slice().into()).is_none());
        assert!(FixedElements::new(DataType::Fp32, [0u8; 6].as_slice().into()).is_none());
        assert!(FixedElements::new(DataType::Bytes, [0u8; 4].as_slice().into()).is_none());
    }
}
