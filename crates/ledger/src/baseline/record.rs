//! A baseline as JSON, for the disk and for the wire.

use domain::Refusal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use stats::drift::bins::{Bins, Counted};
use stats::drift::column::{Cells, Levels};

use super::{Baseline, COLUMNS_MAX, Column, LEVELS_MAX, LeftOut, NAME_BYTES_MAX};

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
        let left_out = self.left_out.iter().map(|it| LeftOutRecord {
            name: it.name.clone(),
            why: it.why.clone(),
        });
        let record = BaselineRecord {
            format: FORMAT,
            rows: self.rows,
            columns: columns.collect(),
            left_out: left_out.collect(),
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
        if record.columns.len() > COLUMNS_MAX || record.left_out.len() > COLUMNS_MAX {
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
        Ok(Self {
            rows,
            columns,
            left_out: record
                .left_out
                .into_iter()
                .map(|LeftOutRecord { name, why }| LeftOut { name, why })
                .collect(),
        })
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
    if counts.len() != cells.count() {
        let (got, want) = (counts.len(), cells.count());
        return Err(format!("it has {got} counts for {want} cells"));
    }
    let all = counts
        .iter()
        .fold(missing, |sum, it| sum.saturating_add(*it));
    if all != rows {
        return Err(format!("it counts {all} rows, the baseline has {rows}"));
    }
    if !(distinct.is_finite() && distinct >= 0.0) {
        return Err("its number of different values is no number".to_owned());
    }
    Ok(Column {
        name,
        cells,
        counted: Counted {
            cells: counts,
            missing,
        },
        distinct,
    })
}
