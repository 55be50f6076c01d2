//! The level of what a model answers, by span of time: the mean of one number of its answers.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use domain::Refusal;

use crate::layout::{Layout, Meaning};
use crate::read::{Range, Snapshot};
use crate::sql::SqlLimits;

/// The answers of a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// How many there were; at least one.
    pub rows: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
}

impl Layout {
    /// The column whose mean is the level of the answers: the positive class's score, or the value. None where there are
    /// no scores, or those of several classes.
    pub fn level_column(&self) -> Option<&str> {
        match &self.meaning {
            Meaning::Classes {
                positive: Some(positive),
                scores,
                ..
            } => match &scores[..] {
                [one] => Some(one),
                all => all.get(*positive).map(String::as_str),
            },
            Meaning::Value { column } => Some(column),
            Meaning::Classes { .. } | Meaning::None => None,
        }
    }
}

impl Snapshot<'_> {
    /// By the number of the span, which is its beginning over `every_us`. Spans without finite answers are not there.
    pub async fn levels(
        &self,
        model: &str,
        column: &str,
        range: Range,
        every_us: i64,
        limits: SqlLimits,
    ) -> Result<Vec<(i64, Level)>, Refusal> {
        let column = format!("cast(\"{}\" as double)", column.replace('"', "\"\""));
        // A model's name holds no quotes.
        let sql = format!(
            "select cast(time as bigint) / {every_us} as at, cast(count(*) as double), avg({column}), \
             stddev_pop({column}) from \"{model}\" \
             where {column} > '-Infinity' and {column} < 'Infinity' \
             and cast(time as bigint) >= {} and cast(time as bigint) < {} group by 1 order by 1",
            range.from_us, range.to_us,
        );
        let batches = self.query_of((model, range), &sql, limits).await?;
        let mut all = Vec::new();
        for batch in batches {
            let columns: Result<Vec<_>, _> = batch
                .columns()
                .iter()
                .map(|it| cast(it, &DataType::Float64))
                .collect();
            let columns =
                columns.map_err(|error| crate::failure::of_library("averaging answers", error))?;
            for row in 0..batch.num_rows() {
                let number = |index: usize| {
                    let column = columns.get(index)?.as_primitive::<Float64Type>();
                    column.is_valid(row).then(|| column.value(row))
                };
                let (Some(at), Some(rows), Some(mean)) = (number(0), number(1), number(2)) else {
                    continue;
                };
                let level = Level {
                    rows: rows as u64,
                    mean,
                    deviation: number(3).unwrap_or(0.0),
                };
                all.push((at as i64, level));
            }
        }
        Ok(all)
    }
}
