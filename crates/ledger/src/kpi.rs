//! How fast a model answered, how often it failed, and what that cost.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, Float64Type};
use domain::Refusal;

use crate::read::{Range, Snapshot};
use crate::sql::SqlLimits;

/// What the rows are told apart by, beside time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KpiBy {
    /// Nothing.
    All,
    /// The version that answered.
    Version,
    /// Who asked.
    Caller,
}

/// One group of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Kpi {
    /// The version or the caller, where it was asked for.
    pub by: Option<String>,
    /// The beginning of the span in microseconds since 1970, where spans were asked for.
    pub at_us: Option<i64>,
    /// Rows, those that failed among them.
    pub rows: u64,
    /// Requests, those that failed among them.
    pub requests: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Median, 9 of 10 and 99 of 100 requests, in microseconds: in all, waiting, in the run.
    pub quantiles: [[f64; 3]; 3],
    /// Rows in a run, on average over rows.
    pub batch_rows: f64,
    /// Microseconds of a core.
    pub cpu_us: f64,
    /// Microseconds of an accelerator.
    pub accelerator_us: f64,
    /// Mebibytes times seconds.
    pub memory_mib_s: f64,
    /// What all rows cost; none where nothing has a price.
    pub cost: Option<f64>,
}

/// The most groups of an answer.
const GROUPS_MAX: usize = 10_000;

impl Snapshot<'_> {
    /// Counts a model's rows in groups, sorted by them. Quantiles are approximate (t-digest).
    pub async fn kpi(
        &self,
        model: &str,
        range: Range,
        by: KpiBy,
        every_us: Option<i64>,
        limits: SqlLimits,
    ) -> Result<Vec<Kpi>, Refusal> {
        let by_column = match by {
            KpiBy::All => "''",
            KpiBy::Version => "cast(version as varchar)",
            KpiBy::Caller => "coalesce(cast(caller as varchar), '')",
        };
        let at = match every_us {
            None => "cast(0 as bigint)".to_owned(),
            Some(every) => {
                format!("(cast(time as bigint) / {every}) * {every}")
            }
        };
        let quantiles: Vec<String> = ["total_us", "queue_us", "compute_us"]
            .iter()
            .flat_map(|column| {
                [0.5, 0.9, 0.99].map(|it| {
                    format!(
                        "coalesce(approx_percentile_cont({it}) within group \
                         (order by cast({column} as double)) \
                         filter (where row = 0 and code is null), 0.0)"
                    )
                })
            })
            .collect();
        // The model is quoted for SQL; its name holds no quotes.
        let sql = format!(
            "select {by_column} as g, {at} as at, count(*) as rows, \
             count(*) filter (where row = 0) as requests, \
             count(*) filter (where code is not null) as failed, {}, \
             coalesce(avg(batch_rows) filter (where code is null), 0.0), \
             coalesce(sum(cast(cpu_us as double)), 0.0), \
             coalesce(sum(cast(accelerator_us as double)), 0.0), \
             coalesce(sum(cast(memory_mib_s as double)), 0.0), \
             sum(cast(cost as double)) \
             from predictions where model = '{model}' \
             and cast(time as bigint) >= {} and cast(time as bigint) < {} \
             group by 1, 2 order by 2, 1 limit {GROUPS_MAX}",
            quantiles
                .iter()
                .enumerate()
                .map(|(index, it)| format!("{it} as q{index}"))
                .collect::<Vec<_>>()
                .join(", "),
            range.from_us,
            range.to_us,
        );
        let batches = self.query_of((model, range), &sql, limits).await?;
        let mut all = Vec::new();
        for batch in batches {
            read(&batch, by, every_us.is_some(), &mut all)?;
        }
        Ok(all)
    }
}

fn read(batch: &RecordBatch, by: KpiBy, spans: bool, all: &mut Vec<Kpi>) -> Result<(), Refusal> {
    let numbers = |index: usize| -> Result<arrow::array::Float64Array, Refusal> {
        let column = cast(batch.column(index), &Arrow::Float64)
            .map_err(|error| crate::failure::of_library("counting rows", error))?;
        Ok(column.as_primitive::<Float64Type>().clone())
    };
    let groups: ArrayRef = cast(batch.column(0), &Arrow::Utf8)
        .map_err(|error| crate::failure::of_library("counting rows", error))?;
    let groups = groups.as_string::<i32>();
    let columns: Result<Vec<_>, Refusal> = (1..batch.num_columns()).map(numbers).collect();
    let columns = columns?;
    for row in 0..batch.num_rows() {
        let number = |index: usize| columns.get(index).map_or(0.0, |it| it.value(row));
        let count = |index: usize| number(index) as u64;
        let some = |index: usize| columns.get(index).filter(|it| it.is_valid(row));
        let mut quantiles = [[0.0; 3]; 3];
        for (index, of) in quantiles.iter_mut().flatten().enumerate() {
            *of = number(4 + index);
        }
        all.push(Kpi {
            by: (by != KpiBy::All).then(|| groups.value(row).to_owned()),
            at_us: spans.then(|| number(0) as i64),
            rows: count(1),
            requests: count(2),
            failed: count(3),
            quantiles,
            batch_rows: number(13),
            cpu_us: number(14),
            accelerator_us: number(15),
            memory_mib_s: number(16),
            cost: some(17).map(|it| it.value(row)),
        });
    }
    Ok(())
}
