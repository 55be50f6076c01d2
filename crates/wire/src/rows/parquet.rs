//! Tables that callers send as Parquet.
//!
//! A reader of our own, though there is a crate for it (the command line reads the user's own files with it):
//! that one takes a file's word for its sizes, reserves room for as many row groups as a footer claims, and
//! panics at a wrong byte of a page (59.3). Here each size is compared with the bytes that are there and with
//! a budget before anything is reserved.
//!
//! What is taken: flat columns of truth values, numbers and text; plain and dictionary encodings; no
//! compression, Snappy or Zstandard. pandas, pyarrow, Polars and DuckDB write these unless told otherwise.
//!
//! Source of the numbers of fields, types and encodings: `parquet.thrift` of Apache Parquet's format.

mod hybrid;
mod pages;
mod thrift;

use bytes::Bytes;
use domain::frame::{self, Column, Frame};
use domain::limits::Limits;
use domain::request::NamedTensor;
use domain::{Refusal, Signature};
use half::f16;

use super::check_columns;
use pages::{Budget, Chunk};
use thrift::Fields;

/// The most bytes of the footer: some two hundred for each of the most columns.
const FOOTER_MAX: usize = 4 * 1024 * 1024;

/// What a value of a column takes in memory while the column is put together.
const CELL_BYTES: u64 = 16;

fn malformed(why: impl Into<String>) -> Refusal {
    let why = why.into();
    Refusal::Malformed {
        what: "the Parquet body",
        why,
    }
}

/// The inputs in a table.
pub fn decode_parquet(
    body: &Bytes,
    signature: &Signature,
    limits: &Limits,
) -> Result<Vec<NamedTensor>, Refusal> {
    frame::inputs(&read(body, limits)?, signature)
}

/// The table in a Parquet file. An index that pandas wrote as a column of its own is left out, as pandas
/// leaves it out of the columns when it reads the file.
///
/// Pages, decoded pages, values and texts together may take `decoded_bytes_max`.
pub(crate) fn read(body: &Bytes, limits: &Limits) -> Result<Frame, Refusal> {
    let footer = footer(body)?;
    let (footer, _) = thrift::read(&footer).map_err(malformed)?;
    let leaves = leaves(footer.structures(2))?;
    let groups = footer.structures(4);
    let mut rows = Vec::with_capacity(groups.len());
    for group in groups {
        let more = group.size(3, "the number of rows of a row group");
        rows.push(more.map_err(malformed)?);
        if group.structures(1).len() != leaves.len() {
            return Err(malformed("a row group has not every column of the schema"));
        }
    }
    let mut budget = Budget::new(limits.decoded_bytes_max);
    let cells = rows.iter().fold(0, |sum: u64, it| sum.saturating_add(*it));
    let cells = cells.saturating_mul(leaves.len() as u64);
    budget.take(cells.saturating_mul(CELL_BYTES))?;
    let mut columns = Vec::with_capacity(leaves.len());
    for (index, leaf) in leaves.iter().enumerate() {
        if is_pandas_index(&leaf.name) {
            continue;
        }
        let chunks = groups.iter().zip(&rows).map(|(group, rows)| {
            let entry = &group.structures(1)[index];
            // They fit: the budget has room for each of them.
            Ok((
                *rows as usize,
                Chunk::find(entry, body, leaf.kind.physical())?,
            ))
        });
        let chunks = chunks.collect::<Result<Vec<_>, Refusal>>()?;
        columns.push((leaf.name.clone(), leaf.column(chunks, &mut budget)?));
    }
    Frame::new(columns)
}

/// The bytes of the footer: the last of the file but for their own length and the mark.
fn footer(body: &Bytes) -> Result<Bytes, Refusal> {
    const MARK: &[u8] = b"PAR1";
    let inner = body
        .strip_prefix(MARK)
        .and_then(|it| it.strip_suffix(MARK))
        .ok_or_else(|| malformed("it does not begin and end with `PAR1`"))?;
    let Some((rest, length)) = inner.split_last_chunk::<4>() else {
        return Err(malformed("it has no footer"));
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FOOTER_MAX {
        return Err(Refusal::TooLarge {
            what: "the footer of the Parquet body",
            limit: FOOTER_MAX as u64,
            got: Some(length as u64),
        });
    }
    let start = rest.len().checked_sub(length);
    let start = start.ok_or_else(|| malformed("its footer is longer than itself"))?;
    Ok(body.slice_ref(&rest[start..]))
}

/// The name that pandas gives the column of an index without a name.
fn is_pandas_index(name: &str) -> bool {
    name.strip_prefix("__index_level_")
        .and_then(|it| it.strip_suffix("__"))
        .is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
}

/// How values are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Physical {
    Boolean,
    /// So many bytes each, the lowest first.
    Fixed(usize),
    Bytes,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Truth,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Fp16,
    Fp32,
    Fp64,
    Text,
}

impl Kind {
    fn physical(self) -> Physical {
        match self {
            Self::Truth => Physical::Boolean,
            Self::Fp16 => Physical::Fixed(2),
            Self::Int32 | Self::Uint32 | Self::Fp32 => Physical::Fixed(4),
            Self::Int64 | Self::Uint64 | Self::Fp64 => Physical::Fixed(8),
            Self::Text => Physical::Bytes,
        }
    }
}

/// A column as the schema describes it.
struct Leaf {
    name: String,
    kind: Kind,
    optional: bool,
}

fn leaves(schema: &[Fields<'_>]) -> Result<Vec<Leaf>, Refusal> {
    let Some((root, leaves)) = schema.split_first() else {
        return Err(malformed("it has no schema"));
    };
    check_columns(leaves.len())?;
    let leaves = leaves
        .iter()
        .map(Leaf::read)
        .collect::<Result<Vec<_>, _>>()?;
    if root.whole(5) != i64::try_from(leaves.len()).ok() {
        return Err(malformed("its schema does not add up"));
    }
    Ok(leaves)
}

impl Leaf {
    fn read(element: &Fields<'_>) -> Result<Self, Refusal> {
        let name = element
            .text(4)
            .ok_or_else(|| malformed("a column has no name that is text"))?
            .to_owned();
        let unusable = |got: &str| Refusal::WrongDatatype {
            input: name.clone(),
            want: "numbers, truth values or text".to_owned(),
            got: got.to_owned(),
        };
        let optional = match (element.has(5), element.whole(3)) {
            (false, Some(0)) => false,
            (false, Some(1)) => true,
            _ => return Err(unusable("a list or a structure")),
        };
        // The older annotation (`ConvertedType`), then the newer (`LogicalType`): writers give both where
        // there are both.
        let logical = element.structure(10);
        let is = |old: &[i64], new: i16| {
            element.whole(6).is_some_and(|it| old.contains(&it))
                || logical.is_some_and(|it| it.has(new))
        };
        let unsigned = is(&[11, 12, 13, 14], -1)
            || logical
                .and_then(|it| it.structure(10))
                .is_some_and(|it| it.whole(2) == Some(0));
        for (what, old, new) in [
            ("decimals", &[5][..], 5),
            ("dates", &[6], 6),
            ("times", &[7, 8], 7),
            ("points in time", &[9, 10], 8),
            ("BSON", &[20], 13),
            ("intervals", &[21], -1),
            ("UUIDs", &[], 14),
        ] {
            if is(old, new) {
                return Err(unusable(what));
            }
        }
        let kind = match (element.whole(1), element.whole(2)) {
            (Some(0), _) => Kind::Truth,
            (Some(1), _) if unsigned => Kind::Uint32,
            (Some(1), _) => Kind::Int32,
            (Some(2), _) if unsigned => Kind::Uint64,
            (Some(2), _) => Kind::Int64,
            (Some(3), _) => return Err(unusable("points in time")),
            (Some(4), _) => Kind::Fp32,
            (Some(5), _) => Kind::Fp64,
            (Some(6), _) => Kind::Text,
            (Some(7), Some(2)) if is(&[], 15) => Kind::Fp16,
            _ => return Err(unusable("bytes of a fixed length")),
        };
        Ok(Self {
            name,
            kind,
            optional,
        })
    }

    fn column(&self, chunks: Vec<(usize, Chunk)>, budget: &mut Budget) -> Result<Column, Refusal> {
        /// Values of a fixed width by their type.
        macro_rules! of {
            ($type:ty, $to:ty) => {
                self.cells(chunks, budget, |bytes, _| match bytes.try_into() {
                    Ok(bytes) => Ok(<$to>::from(<$type>::from_le_bytes(bytes))),
                    Err(_) => Err(malformed("a value is cut off")),
                })?
            };
        }
        Ok(match self.kind {
            Kind::Truth => {
                let cells = self.cells(chunks, budget, |bytes, _| Ok(bytes != [0]))?;
                plain_or_numbers(cells, Column::Booleans, |it| f64::from(u8::from(it)))
            }
            Kind::Int32 => plain_or_numbers(of!(i32, i64), Column::Integers, |it| it as f64),
            Kind::Uint32 => plain_or_numbers(of!(u32, i64), Column::Integers, |it| it as f64),
            Kind::Int64 => plain_or_numbers(of!(i64, i64), Column::Integers, |it| it as f64),
            Kind::Uint64 => {
                let cells = of!(u64, u64);
                let over = |it: &u64| i64::try_from(*it).is_err();
                if let Some(got) = cells.iter().flatten().copied().find(over) {
                    let (name, most) = (&self.name, i64::MAX);
                    let why = format!("column `{name}` holds {got}, at most {most} is taken");
                    return Err(malformed(why));
                }
                let whole = |all: Vec<u64>| all.into_iter().map(u64::cast_signed).collect();
                plain_or_numbers(cells, |it| Column::Integers(whole(it)), |it| it as f64)
            }
            Kind::Fp16 => plain_or_numbers(of!(f16, f64), Column::Numbers, |it| it),
            Kind::Fp32 => plain_or_numbers(of!(f32, f64), Column::Numbers, |it| it),
            Kind::Fp64 => plain_or_numbers(of!(f64, f64), Column::Numbers, |it| it),
            Kind::Text => Column::Strings(self.cells(chunks, budget, |bytes, budget| {
                // A text of the dictionary may stand in every row.
                budget.take((size_of::<Option<String>>() + bytes.len()) as u64)?;
                let text = std::str::from_utf8(bytes).map(str::to_owned);
                text.map_err(|_| malformed(format!("column `{}` is not UTF-8", self.name)))
            })?),
        })
    }

    /// The values of all chunks, none where one is missing.
    fn cells<V>(
        &self,
        chunks: Vec<(usize, Chunk)>,
        budget: &mut Budget,
        take: impl Fn(&[u8], &mut Budget) -> Result<V, Refusal>,
    ) -> Result<Vec<Option<V>>, Refusal> {
        let mut cells = Vec::new();
        for (rows, chunk) in chunks {
            pages::read(chunk, rows, self.optional, budget, |value, budget| {
                cells.push(value.map(|it| take(it, budget)).transpose()?);
                Ok(())
            })?;
        }
        Ok(cells)
    }
}

/// A column of `plain` values, or of numbers where one is missing.
fn plain_or_numbers<V>(
    cells: Vec<Option<V>>,
    plain: impl FnOnce(Vec<V>) -> Column,
    number: impl Fn(V) -> f64,
) -> Column {
    if cells.iter().all(Option::is_some) {
        return plain(cells.into_iter().flatten().collect());
    }
    let numbers = cells.into_iter().map(|it| it.map_or(f64::NAN, &number));
    Column::Numbers(numbers.collect())
}

#[cfg(test)]
mod tests;
