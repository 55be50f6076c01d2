//! How many rows failed and how many requests took too long, by span of time: what objectives are made of.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use domain::Refusal;

use crate::read::{Range, Snapshot};
use crate::sql::SqlLimits;

/// What is asked of a model's rows.
#[derive(Clone, Copy, Debug)]
pub struct EventsAsked<'a> {
    /// The model.
    pub model: &'a str,
    /// The times.
    pub range: Range,
    /// The spans, in microseconds.
    pub every_us: i64,
    /// Rows that failed with one of these codes are not counted at all: they are their caller's mistakes.
    pub blameless: &'a [&'a str],
    /// How long answers may take, in microseconds.
    pub under_us: &'a [u64],
}

/// What was counted in a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Rows, those that failed among them.
    pub rows: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Those of them that took as long as each `under_us` or longer.
    pub slow: Vec<u64>,
}

impl Snapshot<'_> {
    /// Counts by the number of the span, which is its beginning over `every_us`. Spans without rows are not there.
    pub async fn events(
        &self,
        asked: EventsAsked<'_>,
        limits: SqlLimits,
    ) -> Result<Vec<(i64, Events)>, Refusal> {
        let slow = asked.under_us.iter().map(|under| {
            format!(", count(*) filter (where row = 0 and code is null and total_us >= {under})")
        });
        let blamed = if asked.blameless.is_empty() {
            String::new()
        } else {
            // Codes are words without quotes, and so is the model's name.
            let codes = asked.blameless.join("', '");
            format!("and (code is null or cast(code as varchar) not in ('{codes}')) ")
        };
        let sql = format!(
            "select cast(time as bigint) / {} as at, count(*), \
             count(*) filter (where code is not null), \
             count(*) filter (where row = 0 and code is null){} \
             from predictions where model = '{}' {blamed}\
             and cast(time as bigint) >= {} and cast(time as bigint) < {} group by 1 order by 1",
            asked.every_us,
            slow.collect::<String>(),
            asked.model,
            asked.range.from_us,
            asked.range.to_us,
        );
        let batches = self
            .query_of((asked.model, asked.range), &sql, limits)
            .await?;
        let mut all = Vec::new();
        for batch in batches {
            let columns: Result<Vec<_>, _> = batch
                .columns()
                .iter()
                .map(|it| cast(it, &DataType::Int64))
                .collect();
            let columns =
                columns.map_err(|error| crate::failure::of_library("counting rows", error))?;
            for row in 0..batch.num_rows() {
                let number = |index: usize| {
                    let column = columns.get(index);
                    column.map_or(0, |it| it.as_primitive::<Int64Type>().value(row))
                };
                let count = |index: usize| u64::try_from(number(index)).unwrap_or(0);
                let events = Events {
                    rows: count(1),
                    failed: count(2),
                    answered: count(3),
                    slow: (4..columns.len()).map(count).collect(),
                };
                all.push((number(0), events));
            }
        }
        Ok(all)
    }
}
