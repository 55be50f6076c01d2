//! Questions in SQL, answered by DataFusion.
//!
//! Tables: `predictions` (what every prediction has, of all models), `labels` (every label as it was told), and
//! one for each model by its name: its predictions with their features and answers, joined with the label that
//! holds; it is also `model:NAME`, for a model that is called `predictions` or `labels`. `NAME~metrics` has what was posted
//! with its predictions' ids. Names keep their case.
//!
//! R1. A question reads. What would write, change a setting or read a file of its own is refused.
//! R2. It uses no more memory than it was given; what needs more goes to a bounded folder, or fails.
//! R3. Rows are read from one snapshot: what is recorded meanwhile is not seen, and nothing is seen twice.

mod joined;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, Field, Schema, UInt32Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext, col};
use domain::Refusal;
use domain::attributes::KEY;
use futures::TryStreamExt;

use crate::attributes::{Attribute, Attributes};
use crate::files::Kind;
use crate::label::Kept;
use crate::layout::{Layout, SYSTEM, words};
use crate::read::{Range, Snapshot, Unsealed, conform};
use crate::seal;
use joined::{joined, joined_sql};

/// Where questions put what they have no memory for, in the ledger's folder.
pub(crate) const TEMPORARY: &str = "tmp";

/// Before a model's name it is the model's table, whatever the model is called. No name has a colon.
const OF_MODEL: &str = "model:";

/// Behind a model's name it is the table of its metrics. No model can have that name.
const METRICS: &str = "~metrics";

/// What a question may use.
#[derive(Clone, Copy, Debug)]
pub struct SqlLimits {
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// Bytes of files that it may put what does not fit there into.
    pub spill_bytes: u64,
    /// Threads that work on it.
    pub threads: usize,
}

/// The longest question, in bytes.
pub const SQL_BYTES_MAX: usize = 64 * 1024;

/// Why a question was not answered, in the words of who asked.
pub fn refused(error: &DataFusionError) -> Refusal {
    let root = error.find_root();
    match root {
        DataFusionError::ResourcesExhausted(why) => Refusal::QueryTooLarge {
            why: first_line(why),
        },
        DataFusionError::External(inner) => match inner.downcast_ref::<Refusal>() {
            Some(refusal) => refusal.clone(),
            None => Refusal::InvalidQuery {
                why: first_line(&error.to_string()),
            },
        },
        _ => {
            let why = root.to_string();
            // What is full of spilled rows is told as an error of a file, and by its text alone.
            if why.contains("max_temp_directory_size") {
                return Refusal::QueryTooLarge {
                    why: "what did not fit went to files, and those are full too".to_owned(),
                };
            }
            Refusal::InvalidQuery {
                why: first_line(&why),
            }
        }
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(500).collect()
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::InvalidQuery { why: why.into() }
}

/// What a question may be about.
#[derive(Clone, Copy)]
struct Of<'a> {
    models: &'a [String],
    /// Predictions in files that have none of it are left out.
    range: Range,
    /// Those that a model's table has as columns too.
    attributes: Option<(&'a str, &'a Attributes)>,
}

impl Snapshot<'_> {
    /// Begins to answer a question: the answer's columns, and its rows as they come. Must be called, and the
    /// rows taken, in a tokio runtime; computing is done on its threads.
    pub async fn query(
        &self,
        sql: &str,
        limits: SqlLimits,
    ) -> Result<SendableRecordBatchStream, Refusal> {
        let of = Of {
            models: &self.models()?,
            range: Range::ALL,
            attributes: None,
        };
        self.stream(sql, of, limits).await
    }

    /// The same to a question of our own: a model's table has these attributes as columns too, where it has none of
    /// their names.
    pub async fn query_with(
        &self,
        (model, attributes): (&str, &Attributes),
        sql: &str,
        limits: SqlLimits,
    ) -> Result<SendableRecordBatchStream, Refusal> {
        let of = Of {
            models: &[model.to_owned()],
            range: Range::ALL,
            attributes: Some((model, attributes)),
        };
        self.stream(sql, of, limits).await
    }

    /// The whole answer to a question of our own about one model within a range of time: files of others and of other
    /// times are not opened. That a row's time is within the range is for the question to say. It counts rows in groups:
    /// of no row there is no answer.
    pub(crate) async fn query_of(
        &self,
        (model, range): (&str, Range),
        sql: &str,
        limits: SqlLimits,
    ) -> Result<Vec<RecordBatch>, Refusal> {
        if !self.may_have(model, range)? {
            return Ok(Vec::new());
        }
        let of = Of {
            models: &[model.to_owned()],
            range,
            attributes: None,
        };
        let stream = self.stream(sql, of, limits).await?;
        stream.try_collect().await.map_err(|error| refused(&error))
    }

    /// The same where every column is a number of one type: the values of each row.
    pub(crate) async fn numbers_of<T: ArrowPrimitiveType>(
        &self,
        of: (&str, Range),
        sql: &str,
        limits: SqlLimits,
    ) -> Result<Vec<Vec<Option<T::Native>>>, Refusal> {
        let mut rows = Vec::new();
        for batch in self.query_of(of, sql, limits).await? {
            let columns = batch.columns().iter().map(|it| cast(it, &T::DATA_TYPE));
            let columns: Result<Vec<ArrayRef>, _> = columns.collect();
            let columns =
                columns.map_err(|error| crate::failure::of_library("counting rows", error))?;
            let value = |column: &ArrayRef, row| {
                let column = column.as_primitive::<T>();
                column.is_valid(row).then(|| column.value(row))
            };
            let row = |row| columns.iter().map(|it| value(it, row)).collect();
            rows.extend((0..batch.num_rows()).map(row));
        }
        Ok(rows)
    }

    async fn stream(
        &self,
        sql: &str,
        of: Of<'_>,
        limits: SqlLimits,
    ) -> Result<SendableRecordBatchStream, Refusal> {
        if sql.len() > SQL_BYTES_MAX {
            return Err(Refusal::TooLarge {
                what: "the question",
                limit: SQL_BYTES_MAX as u64,
                got: Some(sql.len() as u64),
            });
        }
        let context = self.context(limits)?;
        let state = context.state();
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state
            .sql_to_statement(sql, &dialect)
            .map_err(|error| refused(&error))?;
        let names = state
            .resolve_table_references(&statement)
            .map_err(|error| refused(&error))?;
        let tables: BTreeSet<&str> = names.iter().map(|it| it.table()).collect();
        self.register(&context, &tables, of, mentions_labels(sql))
            .await?;
        // The tables are known only now.
        let state = context.state();
        let plan = state.statement_to_plan(statement).await;
        let plan = plan.map_err(|error| self.explain(&refused(&error)))?;
        // R1.
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|error| refused(&error))?;
        let frame = context
            .execute_logical_plan(plan)
            .await
            .map_err(|error| refused(&error))?;
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.and_then(ending);
        let stream = plan.and_then(|plan| execute_stream(plan, task));
        stream.map_err(|error| refused(&error))
    }

    /// A table that is not there is told with those that are.
    fn explain(&self, refusal: &Refusal) -> Refusal {
        let Refusal::InvalidQuery { why } = refusal else {
            return refusal.clone();
        };
        if !why.contains("not found") || !why.contains("table") {
            return refusal.clone();
        }
        let models = self.models().unwrap_or_default();
        let table = |model: &String| match model.as_str() {
            "predictions" | "labels" => format!("`{OF_MODEL}{model}`"),
            model => format!("`{model}`"),
        };
        let known: Vec<String> = models.iter().map(table).collect();
        invalid(format!(
            "{why}; the tables are `predictions`, `labels` and the models {}",
            known.join(", ")
        ))
    }

    fn context(&self, limits: SqlLimits) -> Result<SessionContext, Refusal> {
        let mut config = SessionConfig::new()
            .with_target_partitions(limits.threads)
            .with_information_schema(false);
        let options = config.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        options.execution.parquet.pushdown_filters = true;
        options.execution.time_zone = Some("UTC".to_owned());
        let temporary = self.folder().join(TEMPORARY);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_limit(limits.memory_bytes, 1.0)
            .with_temp_file_path(temporary)
            .with_max_temp_directory_size(limits.spill_bytes)
            .build_arc()
            .map_err(|error| refused(&error))?;
        Ok(SessionContext::new_with_config_rt(config, runtime))
    }

    /// Registers the tables that a question names.
    async fn register(
        &self,
        context: &SessionContext,
        tables: &BTreeSet<&str>,
        of: Of<'_>,
        with_labels: bool,
    ) -> Result<(), Refusal> {
        for table in tables {
            let frame = match *table {
                "predictions" => self.all_predictions(context, of).await?,
                "labels" => self.labels(context, of.models).await?,
                name => {
                    let name = name.strip_prefix(OF_MODEL).unwrap_or(name);
                    let of_metrics = name.strip_suffix(METRICS);
                    let model = of_metrics.unwrap_or(name);
                    if !of.models.iter().any(|it| it == model) {
                        continue;
                    }
                    let range = (model, of.range);
                    match of.attributes {
                        _ if of_metrics.is_some() => self.metrics(context, range).await?,
                        Some((of, attributes)) if of == model => {
                            let frame = self.model(context, range, with_labels).await?;
                            with_attributes(frame, attributes)?
                        }
                        _ => self.model(context, range, with_labels).await?,
                    }
                }
            };
            context
                .register_table(
                    datafusion::common::TableReference::bare(*table),
                    frame.into_view(),
                )
                .map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    async fn all_predictions(
        &self,
        context: &SessionContext,
        Of { models, range, .. }: Of<'_>,
    ) -> Result<DataFrame, Refusal> {
        let mut fields: Vec<Field> = SYSTEM
            .iter()
            .map(|(name, datatype)| Field::new(*name, datatype(), true))
            .collect();
        fields.push(Field::new("class", words(), true));
        fields.push(Field::new("value", Arrow::Float64, true));
        let schema = Arc::new(Schema::new(fields));
        let mut files = Vec::new();
        for model in models {
            self.paths(Kind::Predictions, model, range, &mut files)?;
        }
        let log = self.of_logs(|it| models.iter().any(|model| model == it))?;
        let rows = log.rows.iter().map(|it| conform(&it.batch, &schema));
        let rows: Vec<RecordBatch> = rows.collect::<Result<_, _>>()?;
        let frame = table(context, &schema, files, rows).await?;
        shown(frame)
    }

    /// Adds where the files of a model lie.
    fn paths(
        &self,
        kind: Kind,
        model: &str,
        range: Range,
        files: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        for entry in self.files(kind, model, range) {
            files.push(self.checked(&entry)?.display().to_string());
        }
        Ok(())
    }

    async fn labels(
        &self,
        context: &SessionContext,
        models: &[String],
    ) -> Result<DataFrame, Refusal> {
        let log = self.of_logs(|it| models.iter().any(|model| model == it))?;
        shown(self.labels_table(context, models, log.labels).await?)
    }

    /// The labels of models in their files, and those of the log.
    async fn labels_table(
        &self,
        context: &SessionContext,
        models: &[String],
        log: BTreeMap<String, Vec<Kept>>,
    ) -> Result<DataFrame, Refusal> {
        let mut files = Vec::new();
        for model in models {
            for kind in [Kind::Labels, Kind::TextLabels] {
                self.paths(kind, model, Range::ALL, &mut files)?;
            }
        }
        let rows = log
            .into_iter()
            .map(|(model, labels)| seal::label_batch(&model, labels));
        let rows: Vec<RecordBatch> = rows.collect::<Result<_, _>>()?;
        table(context, &Arc::new(seal::label_schema()), files, rows).await
    }

    /// A model's predictions, with their labels where they are asked for.
    async fn model(
        &self,
        context: &SessionContext,
        (model, range): (&str, Range),
        with_labels: bool,
    ) -> Result<DataFrame, Refusal> {
        let log = self.of_log(model)?;
        let (frame, schema) = self.rows(context, (model, range), &log.rows).await?;
        if !with_labels {
            return shown(frame);
        }
        let by_text = self.has_text_labels(model, &log.labels);
        let labels = match log.labels.is_empty() {
            true => BTreeMap::new(),
            false => BTreeMap::from([(model.to_owned(), log.labels)]),
        };
        let models = [model.to_owned()];
        let labels = self.labels_table(context, &models, labels).await?;
        let sql = joined_sql(&schema, by_text);
        shown(joined(context, frame, labels, &sql).await?)
    }

    /// A model's predictions as they are kept, those of the log among them.
    async fn rows(
        &self,
        context: &SessionContext,
        (model, range): (&str, Range),
        of_log: &[Unsealed],
    ) -> Result<(DataFrame, Arc<Schema>), Refusal> {
        let schema = Arc::new(merged(&self.layouts_of_model(model, of_log)));
        let mut files = Vec::new();
        self.paths(Kind::Predictions, model, range, &mut files)?;
        let rows = of_log.iter().map(|it| conform(&it.batch, &schema));
        let rows: Vec<RecordBatch> = rows.collect::<Result<_, _>>()?;
        let frame = table(context, &schema, files, rows).await?;
        Ok((frame, schema))
    }

    /// Whether labels name requests or keys.
    fn has_text_labels(&self, model: &str, of_log: &[Kept]) -> bool {
        let is_by_text = |it: &Kept| !matches!(it.label.target, crate::Target::Id(_));
        !self.files(Kind::TextLabels, model, Range::ALL).is_empty() || of_log.iter().any(is_by_text)
    }
}

/// With places at which a question can be given up where few rows become many: a join of small tables makes
/// rows for hours, and never waits for anything.
fn ending(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let ended = plan.transform_up(|it| {
        Ok(if it.children().len() > 1 {
            Transformed::yes(Arc::new(CooperativeExec::new(it)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(it)
        })
    });
    ended.map(|it| it.data)
}

/// Whether a question asks for labels: by name, or for all columns.
fn mentions_labels(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    lower.contains("label") || lower.replace(' ', "").replace("count(*)", "").contains('*')
}

/// The columns of all layouts. Where two give a name different types, it is text, which holds either.
fn merged(layouts: &[Arc<Layout>]) -> Schema {
    let mut fields: Vec<Field> = Vec::new();
    for layout in layouts {
        for field in layout.schema().fields() {
            match fields.iter_mut().find(|it| it.name() == field.name()) {
                None => fields.push(field.as_ref().clone()),
                Some(there) if there.data_type() == field.data_type() => {}
                Some(there) => {
                    let numbers = there.data_type().is_numeric() && field.data_type().is_numeric();
                    let common = if numbers { Arrow::Float64 } else { Arrow::Utf8 };
                    *there = Field::new(field.name(), common, true);
                }
            }
        }
    }
    Schema::new(fields)
}

/// Files and rows in memory as one table.
async fn table(
    context: &SessionContext,
    schema: &Arc<Schema>,
    files: Vec<String>,
    rows: Vec<RecordBatch>,
) -> Result<DataFrame, Refusal> {
    let failed = |error: DataFusionError| refused(&error);
    let memory = if rows.is_empty() && !files.is_empty() {
        None
    } else {
        let rows = if rows.is_empty() {
            vec![RecordBatch::new_empty(Arc::clone(schema))]
        } else {
            rows
        };
        Some(context.read_batches(rows).map_err(failed)?)
    };
    if files.is_empty() {
        return memory.ok_or_else(|| invalid("there are no rows"));
    }
    let options = ParquetReadOptions::default()
        .schema(schema)
        .parquet_pruning(true);
    let sealed = context.read_parquet(files, options).await.map_err(failed)?;
    match memory {
        None => Ok(sealed),
        Some(memory) => sealed.union(memory).map_err(failed),
    }
}

/// With ids as people see them.
fn shown(frame: DataFrame) -> Result<DataFrame, Refusal> {
    let text = id_text().call(vec![col("prediction_id"), col("row")]);
    let names: Vec<String> = frame
        .schema()
        .fields()
        .iter()
        .map(|it| it.name().clone())
        .collect();
    let columns = names.iter().map(|name| match name.as_str() {
        "prediction_id" => text.clone().alias("prediction_id"),
        name => datafusion::prelude::ident(name),
    });
    frame
        .select(columns.collect::<Vec<_>>())
        .map_err(|error| refused(&error))
}

/// With attributes, each by the key of the rows, that are no columns already.
fn with_attributes(frame: DataFrame, attributes: &Attributes) -> Result<DataFrame, Refusal> {
    let schema = frame.schema().clone();
    let own = schema.fields().iter();
    let own = own.map(|it| datafusion::prelude::ident(it.name()));
    let is_new = |name: &str| schema.fields().iter().all(|it| it.name() != name);
    let new = attributes.iter().filter(|(name, _)| is_new(name));
    let new = new.map(|(name, attribute)| {
        let of_key = attribute_of(name, Arc::clone(attribute));
        of_key.call(vec![col(KEY)]).alias(name)
    });
    frame
        .select(own.chain(new).collect::<Vec<_>>())
        .map_err(|error| refused(&error))
}

/// The function that tells what is known of a key.
fn attribute_of(name: &str, attribute: Arc<Attribute>) -> ScalarUDF {
    create_udf(
        // Functions of one name are taken to be the same.
        &format!("attribute_{name}"),
        vec![Arrow::Utf8],
        words(),
        Volatility::Immutable,
        Arc::new(move |arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let Some(keys) = arrays.first() else {
                return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
            };
            Ok(ColumnarValue::Array(attribute.of(keys.as_ref())?))
        }),
    )
}

/// The function that shows an id.
fn id_text() -> ScalarUDF {
    create_udf(
        "prediction_id_text",
        vec![Arrow::FixedSizeBinary(16), Arrow::UInt32],
        Arrow::Utf8,
        Volatility::Immutable,
        Arc::new(|arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let (Some(ids), Some(rows)) = (arrays.first(), arrays.get(1)) else {
                return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
            };
            Ok(ColumnarValue::Array(show_ids(ids, rows)))
        }),
    )
}

fn show_ids(ids: &ArrayRef, rows: &ArrayRef) -> ArrayRef {
    let ids = ids.as_fixed_size_binary();
    let rows = rows.as_primitive::<UInt32Type>();
    let mut text = StringBuilder::with_capacity(ids.len(), ids.len() * 38);
    for index in 0..ids.len() {
        if ids.is_null(index) {
            text.append_null();
            continue;
        }
        let mut request = [0; 16];
        request.copy_from_slice(ids.value(index));
        let row = rows.value(index);
        text.append_value(domain::PredictionId { request, row }.to_string());
    }
    Arc::new(text.finish())
}
