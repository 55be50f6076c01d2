//! A baseline as JSON, for the disk and for the wire.

use domain::Refusal;
use domain::monitor::segments::{self, Segments};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use stats::drift::bins::{Bins, Counted};
use stats::drift::column::{Cells, Levels};

use super::segments::{COUNTS_MAX, VALUE_BYTES_MAX};
use super::{Baseline, COLUMNS_MAX, Column, LEVELS_MAX, LeftOut, NAME_BYTES_MAX, Segment};

/// The format of this record.
const FORMAT: u32 = 1;
/// Rows of a baseline: sums of counts stay far from where whole numbers end.
const ROWS_MAX: u64 = 1 << 50;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaselineRecord {
    format: u32,
    rows: u64,
    columns: Vec<ColumnRecord>,
    left_out: Vec<LeftOutRecord>,
    /// Older ones have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    segmented: Vec<SegmentedRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unsegmented: Vec<LeftOutRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentedRecord {
    by: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    edges: Vec<Number>,
    segments: Vec<SegmentRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentRecord {
    value: String,
    rows: u64,
    /// As the columns.
    counts: Vec<Vec<u64>>,
    missing: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnRecord {
    name: String,
    /// Of a column of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numbers: Option<NumbersRecord>,
    /// Of a column of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    levels: Option<Vec<String>>,
    counts: Vec<u64>,
    missing: u64,
    distinct: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NumbersRecord {
    range: Option<(Number, Number)>,
    edges: Vec<Number>,
    atoms: Vec<Number>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftOutRecord {
    name: String,
    why: String,
}

/// JSON has no infinite numbers: they are `"inf"` and `"-inf"`. Others are read to the last bit, which `serde_json` by
/// itself does not: a value with a cell of its own would not come again.
#[derive(Clone, Copy)]
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            f64::INFINITY => serializer.serialize_str("inf"),
            f64::NEG_INFINITY => serializer.serialize_str("-inf"),
            value => serializer.serialize_f64(value),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let number = match text {
            "\"inf\"" => Some(f64::INFINITY),
            "\"-inf\"" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|it: &f64| it.is_finite()),
        };
        let shown: String = text.chars().take(40).collect();
        number
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("`{shown}` is no number")))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        number.0
    }
}

fn numbers<A: Copy, B: From<A>>(values: &[A]) -> Vec<B> {
    values.iter().map(|it| B::from(*it)).collect()
}

impl Baseline {
    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let columns = self.columns.iter().map(|column| {
            let (kinds, texts) = match &column.cells {
                Cells::Numbers(bins) => {
                    let range = bins
                        .range()
                        .map(|(least, most)| (least.into(), most.into()));
                    let edges = numbers(bins.edges());
                    let atoms = numbers(bins.atoms());
                    let record = NumbersRecord {
                        range,
                        edges,
                        atoms,
                    };
                    (Some(record), None)
                }
                Cells::Levels(levels) => (None, Some(levels.names().to_vec())),
            };
            ColumnRecord {
                name: column.name.clone(),
                numbers: kinds,
                levels: texts,
                counts: column.counted.cells.clone(),
                missing: column.counted.missing,
                distinct: column.distinct,
            }
        });
        let left_out = |all: &[LeftOut]| {
            let record = |it: &LeftOut| LeftOutRecord {
                name: it.name.clone(),
                why: it.why.clone(),
            };
            all.iter().map(record).collect()
        };
        let segmented = self.segmented.iter().map(|of| SegmentedRecord {
            by: of.by.clone(),
            edges: numbers(&of.edges),
            segments: self
                .segments
                .iter()
                .filter(|it| it.by == of.by)
                .map(|it| SegmentRecord {
                    value: it.value.clone(),
                    rows: it.rows,
                    counts: it.columns.iter().map(|it| it.cells.clone()).collect(),
                    missing: it.columns.iter().map(|it| it.missing).collect(),
                })
                .collect(),
        });
        let record = BaselineRecord {
            format: FORMAT,
            rows: self.rows,
            columns: columns.collect(),
            left_out: left_out(&self.left_out),
            segmented: segmented.collect(),
            unsegmented: left_out(&self.unsegmented),
        };
        // Records of strings and numbers cannot fail to serialise.
        serde_json::to_vec(&record).unwrap_or_default()
    }

    /// From JSON that anybody may have written.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Refusal> {
        let malformed = |why: String| Refusal::Malformed {
            what: "the baseline",
            why,
        };
        let record: BaselineRecord =
            serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if record.format != FORMAT {
            let format = record.format;
            return Err(malformed(format!(
                "its format is {format}, this Windlass reads {FORMAT}"
            )));
        }
        let names = [&record.left_out, &record.unsegmented].map(Vec::len);
        if record.columns.len() > COLUMNS_MAX || names.iter().any(|it| *it > COLUMNS_MAX) {
            return Err(malformed(format!("it has more than {COLUMNS_MAX} columns")));
        }
        if record.rows > ROWS_MAX {
            return Err(malformed(format!("it has more than {ROWS_MAX} rows")));
        }
        let rows = record.rows;
        let columns: Result<Vec<Column>, Refusal> = record
            .columns
            .into_iter()
            .map(|it| {
                let name: String = it.name.chars().take(80).collect();
                column(it, rows).map_err(|why| malformed(format!("column `{name}`: {why}")))
            })
            .collect();
        let columns = columns?;
        if !columns.is_sorted_by(|a, b| a.name < b.name) {
            return Err(malformed("its columns are not in order".to_owned()));
        }
        let left_out = |all: Vec<LeftOutRecord>| {
            let all = all.into_iter();
            all.map(|LeftOutRecord { name, why }| LeftOut { name, why })
                .collect()
        };
        let mut baseline = Self {
            rows,
            columns,
            left_out: left_out(record.left_out),
            segmented: Vec::new(),
            segments: Vec::new(),
            unsegmented: left_out(record.unsegmented),
        };
        for of in record.segmented {
            let by: String = of.by.chars().take(80).collect();
            let taken = baseline.take(of);
            taken.map_err(|why| malformed(format!("the segments of `{by}`: {why}")))?;
        }
        segments::check(&baseline.segmented).map_err(|(_, why)| malformed(why))?;
        let each: usize = baseline.columns.iter().map(|it| it.cells.count() + 1).sum();
        if each * baseline.segments.len() > COUNTS_MAX {
            return Err(malformed(format!(
                "its segments have more than {COUNTS_MAX} counts"
            )));
        }
        Ok(baseline)
    }

    /// The segments of one column.
    fn take(&mut self, record: SegmentedRecord) -> Result<(), String> {
        let SegmentedRecord {
            by,
            edges,
            segments,
        } = record;
        if by.len() > NAME_BYTES_MAX {
            return Err(format!("its name is longer than {NAME_BYTES_MAX} bytes"));
        }
        let of = Segments {
            by,
            edges: numbers(&edges),
        };
        if segments.len() > of.levels() {
            let (got, most) = (segments.len(), of.levels());
            return Err(format!("there are {got}, at most are {most}"));
        }
        let first = self.segments.len();
        for it in segments {
            let shown: String = it.value.chars().take(80).collect();
            let known = &self.segments[first..];
            if it.value.len() > VALUE_BYTES_MAX || known.iter().any(|of| of.value == it.value) {
                return Err(format!(
                    "`{shown}` is there twice, or longer than {VALUE_BYTES_MAX} bytes"
                ));
            }
            let segment = self.segment(&of.by, it);
            self.segments
                .push(segment.map_err(|why| format!("`{shown}`: {why}"))?);
        }
        let own = self.segments[first..].iter();
        let all = own.fold(0u64, |sum, it| sum.saturating_add(it.rows));
        if all > self.rows {
            let rows = self.rows;
            return Err(format!("they have {all} rows, the baseline has {rows}"));
        }
        self.segmented.push(of);
        Ok(())
    }

    fn segment(&self, by: &str, record: SegmentRecord) -> Result<Segment, String> {
        let SegmentRecord {
            value,
            rows,
            counts,
            missing,
        } = record;
        let want = self.columns.len();
        if counts.len() != want || missing.len() != want {
            return Err(format!("it does not count {want} columns, as there are"));
        }
        let pairs = counts.into_iter().zip(missing);
        let columns = pairs.zip(&self.columns).map(|((cells, missing), column)| {
            let counted = Counted { cells, missing };
            check_counts(&counted, &column.cells, rows)
                .map_err(|why| format!("column `{}`: {why}", column.name))?;
            Ok(counted)
        });
        let columns = columns.collect::<Result<_, String>>()?;
        Ok(Segment {
            by: by.to_owned(),
            value,
            rows,
            columns,
        })
    }
}

/// Refuses counts that are not those of so many rows in these cells.
fn check_counts(counted: &Counted, cells: &Cells, rows: u64) -> Result<(), String> {
    let (got, want) = (counted.cells.len(), cells.count());
    if got != want {
        return Err(format!("it has {got} counts for {want} cells"));
    }
    let counts = counted.cells.iter();
    let all = counts.fold(counted.missing, |sum, it| sum.saturating_add(*it));
    match all == rows {
        true => Ok(()),
        false => Err(format!("it counts {all} rows of {rows}")),
    }
}

fn column(record: ColumnRecord, rows: u64) -> Result<Column, String> {
    let ColumnRecord {
        name,
        numbers: kinds,
        levels,
        counts,
        missing,
        distinct,
    } = record;
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("its name is longer than {NAME_BYTES_MAX} bytes"));
    }
    let cells = match (kinds, levels) {
        (Some(record), None) => {
            let range = record
                .range
                .map(|(least, most)| (least.into(), most.into()));
            let bins = Bins::from_parts(numbers(&record.atoms), numbers(&record.edges), range);
            Cells::Numbers(bins.ok_or("its edges and atoms do not ascend within its range")?)
        }
        (None, Some(names)) => {
            let most = names.iter().map(String::len).max().unwrap_or(0);
            if names.len() > LEVELS_MAX || most > NAME_BYTES_MAX {
                return Err(format!(
                    "it has more than {LEVELS_MAX} levels, or one of more than {NAME_BYTES_MAX} bytes"
                ));
            }
            let count = names.len();
            let levels = Levels::new(names);
            if levels.names().len() != count {
                return Err("a level is there twice".to_owned());
            }
            Cells::Levels(levels)
        }
        _ => return Err("it has to have either `numbers` or `levels`".to_owned()),
    };
    let counted = Counted {
        cells: counts,
        missing,
    };
    check_counts(&counted, &cells, rows)?;
    if !(distinct.is_finite() && distinct >= 0.0) {
        return Err("its number of different values is no number".to_owned());
    }
    Ok(Column {
        name,
        cells,
        counted,
        distinct,
    })
}
