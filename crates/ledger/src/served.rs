//! What a model served, by span of time: how much, how fast, how often it failed, at what cost, and the level of its
//! answers, which is the mean of one of their numbers. It is what monitors watch: less than `kpi` tells, at a fraction of
//! the time.

use arrow::datatypes::Float64Type;
use domain::Refusal;

use crate::layout::{Layout, Meaning};
use crate::read::{Range, Snapshot};
use crate::sql::SqlLimits;

/// The rows of a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// The number of the span, which is its beginning over its length.
    pub span: i64,
    /// Rows, those that failed among them; at least one.
    pub rows: u64,
    /// Requests, those that failed among them.
    pub requests: u64,
    /// Rows that failed.
    pub failed: u64,
    /// 99 of 100 requests took as many microseconds at most; approximate (t-digest). 0 where all failed.
    pub p99_us: f64,
    /// What all rows cost; none where nothing has a price.
    pub cost: Option<f64>,
    /// Of the answers that are finite; none without one.
    pub level: Option<Level>,
}

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
    /// By span, ascending; those without rows are not there. Levels are of `column`.
    pub async fn served(
        &self,
        model: &str,
        column: Option<&str>,
        (range, every_us): (Range, i64),
        limits: SqlLimits,
    ) -> Result<Vec<Served>, Refusal> {
        let level = column.map(|it| {
            let column = format!("cast(\"{}\" as double)", it.replace('"', "\"\""));
            let finite = format!("filter (where {column} > '-Infinity' and {column} < 'Infinity')");
            format!(
                ", cast(count(*) {finite} as double), avg({column}) {finite}, \
                 stddev_pop({column}) {finite}"
            )
        });
        // A model's name holds no quotes.
        let sql = format!(
            "select cast(time as bigint) / {every_us}, count(*), count(*) filter (where row = 0), \
             count(*) filter (where code is not null), \
             approx_percentile_cont(0.99) within group (order by cast(total_us as double)) \
             filter (where row = 0 and code is null), \
             sum(cast(cost as double)){} \
             from \"model:{model}\" where cast(time as bigint) >= {} and cast(time as bigint) < {} \
             group by 1 order by 1",
            level.unwrap_or_default(),
            range.from_us,
            range.to_us,
        );
        let rows = self.numbers_of::<Float64Type>((model, range), &sql, limits);
        let served = rows.await?.into_iter().filter_map(|row| {
            let number = |index: usize| *row.get(index)?;
            let count = |index: usize| number(index).map_or(0, |it| it as u64);
            Some(Served {
                span: number(0)? as i64,
                rows: count(1),
                requests: count(2),
                failed: count(3),
                p99_us: number(4).unwrap_or(0.0),
                cost: number(5),
                level: number(7).map(|mean| Level {
                    rows: count(6),
                    mean,
                    deviation: number(8).unwrap_or(0.0),
                }),
            })
        });
        Ok(served.collect())
    }
}
