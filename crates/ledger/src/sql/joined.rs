//! Predictions and what was told of them: the label that holds, and the value of each metric that does.

use arrow::datatypes::Schema;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use domain::Refusal;

use super::{refused, shown};
use crate::layout::posted_as;
use crate::read::{Range, Snapshot};

impl Snapshot<'_> {
    /// What was posted with the ids of a model's predictions.
    pub(super) async fn metrics(
        &self,
        context: &SessionContext,
        (model, range): (&str, Range),
    ) -> Result<DataFrame, Refusal> {
        let metrics = self.posted(model)?;
        let tables: Vec<String> = metrics.iter().map(|it| posted_as(model, it)).collect();
        let log = self.of_logs(|it| it == model || tables.iter().any(|table| table == it))?;
        let of_log = |table: &String| log.labels.get(table).map_or(&[][..], Vec::as_slice);
        let by_text = tables.iter().any(|it| self.has_text_labels(it, of_log(it)));
        let (rows, _) = self.rows(context, (model, range), &log.rows).await?;
        let mut values = log.labels;
        values.remove(model);
        let values = self.labels_table(context, &tables, values).await?;
        let sql = metrics_sql(model, by_text);
        shown(joined(context, rows, values, &sql).await?)
    }
}

/// The last value of each prediction and metric, and how many there were.
fn metrics_sql(model: &str, by_text: bool) -> String {
    // Functions of text count characters from 1, and names of models are of one byte each.
    let name_at = posted_as(model, "").len() + 1;
    format!(
        "select prediction_id, row, substr(cast(model as varchar), {name_at}) as name, \
         cast(last_value(label order by number) as double) as value, \
         last_value(labelled_at order by number) as posted_at, count(*) as posted \
         from ({}) group by prediction_id, row, model",
        found_sql(by_text)
    )
}

/// What SQL makes of predictions, `_rows`, and labels, `_labels`.
pub(super) async fn joined(
    context: &SessionContext,
    rows: DataFrame,
    labels: DataFrame,
    sql: &str,
) -> Result<DataFrame, Refusal> {
    let failed = |error: DataFusionError| refused(&error);
    // Names that no model can have, since they begin with an underscore.
    for (name, frame) in [("_rows", rows), ("_labels", labels)] {
        context
            .register_table(name, frame.into_view())
            .map_err(failed)?;
    }
    let joined = context.sql(sql).await.map_err(failed)?;
    for name in ["_rows", "_labels"] {
        // The plan keeps what it reads.
        context.deregister_table(name).map_err(failed)?;
    }
    Ok(joined)
}

/// Predictions with the label that holds: of several the one with the greatest number.
pub(super) fn joined_sql(schema: &Schema, by_text: bool) -> String {
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|it| format!("p.\"{}\"", it.name().replace('"', "\"\"")))
        .collect();
    let found = found_sql(by_text);
    format!(
        "select {}, l.label, l.labelled_at, l.labels from _rows p left join ( \
         select prediction_id, row, last_value(label order by number) as label, \
         last_value(labelled_at order by number) as labelled_at, count(*) as labels \
         from ({found}) group by prediction_id, row) l \
         on p.prediction_id = l.prediction_id and p.row = l.row",
        columns.join(", ")
    )
}

/// Labels with the predictions that they name.
fn found_sql(by_text: bool) -> String {
    let what = "l.model, l.label, l.labelled_at, l.number";
    let mut found = format!(
        "select l.prediction_id, l.row, {what} from _labels l where l.prediction_id is not null"
    );
    if by_text {
        found.push_str(&format!(
            " union all select p.prediction_id, p.row, {what} from _rows p \
             join _labels l on p.request_id = l.request_id and p.row = l.row \
             where l.request_id is not null \
             union all select p.prediction_id, p.row, {what} from _rows p \
             join _labels l on p.key = l.key \
             where l.key is not null and p.time >= l.key_from and p.time < l.key_to",
        ));
    }
    found
}
