//! How many rows each version answered, and how many failed with which code, by span of time.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use domain::Refusal;

use crate::read::{Range, Snapshot};
use crate::sql::SqlLimits;

/// Rows of one span, version and code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeRows {
    /// The number of the span: its beginning over its length.
    pub span: i64,
    /// The version that was to answer.
    pub version: u32,
    /// Why they were not answered; none where they were.
    pub code: Option<String>,
    /// How many.
    pub rows: u64,
}

/// The most of an answer.
const GROUPS_MAX: usize = 100_000;

impl Snapshot<'_> {
    /// Counts a model's rows, sorted by span.
    pub async fn codes(
        &self,
        model: &str,
        range: Range,
        every_us: i64,
        limits: SqlLimits,
    ) -> Result<Vec<CodeRows>, Refusal> {
        // The model's name holds no quotes.
        let sql = format!(
            "select cast(time as bigint) / {every_us} as at, version, \
             coalesce(cast(code as varchar), '') as why, count(*) \
             from predictions where model = '{model}' \
             and cast(time as bigint) >= {} and cast(time as bigint) < {} \
             group by 1, 2, 3 order by 1, 2, 3 limit {GROUPS_MAX}",
            range.from_us, range.to_us,
        );
        let batches = self.query_of((model, range), &sql, limits).await?;
        let mut all = Vec::new();
        for batch in batches {
            let column = |index: usize, datatype: DataType| {
                cast(batch.column(index), &datatype)
                    .map_err(|error| crate::failure::of_library("counting rows", error))
            };
            let (spans, versions) = (column(0, DataType::Int64)?, column(1, DataType::Int64)?);
            let (codes, rows) = (column(2, DataType::Utf8)?, column(3, DataType::Int64)?);
            for row in 0..batch.num_rows() {
                let code = codes.as_string::<i32>().value(row);
                let number =
                    |it: &arrow::array::ArrayRef| it.as_primitive::<Int64Type>().value(row);
                all.push(CodeRows {
                    span: number(&spans),
                    version: u32::try_from(number(&versions)).unwrap_or(0),
                    code: (!code.is_empty()).then(|| code.to_owned()),
                    rows: u64::try_from(number(&rows)).unwrap_or(0),
                });
            }
        }
        whole(all)
    }
}

/// Refuses what may be cut: its newest spans would be missing.
fn whole(all: Vec<CodeRows>) -> Result<Vec<CodeRows>, Refusal> {
    if all.len() < GROUPS_MAX {
        return Ok(all);
    }
    Err(Refusal::QueryTooLarge {
        why: format!("rows by span, version and code are {GROUPS_MAX} counts or more"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_as_long_as_it_may_be_is_refused_and_not_cut() {
        let rows = |count: usize| {
            let row = CodeRows {
                span: 1,
                version: 1,
                code: None,
                rows: 1,
            };
            whole(vec![row; count])
        };
        assert_eq!(rows(GROUPS_MAX - 1).expect("whole").len(), GROUPS_MAX - 1);
        let refusal = rows(GROUPS_MAX).expect_err("may be cut");
        assert!(matches!(refusal, Refusal::QueryTooLarge { .. }));
    }
}
