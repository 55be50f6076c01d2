//! How many rows failed and how many requests took too long, by span of time: what objectives are made of.

use arrow::datatypes::Int64Type;
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
        let of = (asked.model, asked.range);
        let rows = self.numbers_of::<Int64Type>(of, &sql, limits).await?;
        let events = rows.into_iter().map(|row| {
            let count = |it: &Option<i64>| u64::try_from(it.unwrap_or(0)).unwrap_or(0);
            let at = |index: usize| row.get(index).map_or(0, count);
            let events = Events {
                rows: at(1),
                failed: at(2),
                answered: at(3),
                slow: row.iter().skip(4).map(count).collect(),
            };
            (row.first().copied().flatten().unwrap_or(0), events)
        });
        Ok(events.collect())
    }
}
