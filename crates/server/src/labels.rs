//! Labels that are sent, and metrics: each is checked against its model, and those that will do are on disk before it is
//! said that they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::access::{Change, Permission};
use domain::ledger::PredictionId;
use domain::name::MetricName;
use domain::task::Task;
use domain::time::read_moment;
use domain::{ModelName, Refusal};
use ledger::{LABEL_BYTES_MAX, Label, Place, Target, posted_as};
use stats::sequential::means::VALUE_MAX;
use wire::api::ledger::{LabelsRecord, RejectedRecord};
use wire::labels::LabelRow;

use crate::app::App;
use crate::clock::wall_ms;
use crate::ledger::Keeper;
use crate::package::blocking;

/// Metrics that a model may have.
const METRICS_MAX: usize = 32;

/// Takes labels of a model; `wire::labels::decode` has bounded how many.
pub(crate) async fn add(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
    rows: Vec<Result<LabelRow, String>>,
) -> Result<LabelsRecord, Refusal> {
    let truth = truth_of(app, model).await?;
    let table = model.to_string();
    take(app, rows, move |_, row, now_us| {
        let label = read(row, |value| check(value, &truth), now_us)?;
        Ok((table.clone(), label))
    })
    .await
}

/// The metrics that somebody has posted of a model.
pub(crate) async fn posted(app: &App, model: &ModelName) -> Result<Vec<String>, Refusal> {
    let (keeper, model) = (Arc::clone(&app.keeper), model.clone());
    blocking(move || {
        let snapshot = keeper.ledger.snapshot(wall_ms())?;
        snapshot.posted(model.as_str())
    })
    .await
}

/// Takes metrics of a model: numbers that its predictions brought. `name` is that of rows without one of their own.
pub(crate) async fn add_metrics(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
    name: Option<MetricName>,
    rows: Vec<Result<LabelRow, String>>,
) -> Result<LabelsRecord, Refusal> {
    // One that there is.
    app.store.registry.model(model).await?;
    let (known, model) = (posted(app, model).await?, model.clone());
    take(app, rows, move |keeper, mut row, now_us| {
        let name = match row.name.take() {
            Some(name) => name.parse().map_err(|it: Refusal| it.to_string())?,
            None => name.clone().ok_or("`name` is missing")?,
        };
        let label = read(row, check_number, now_us)?;
        keeper.admit(&model, &name, &known)?;
        Ok((posted_as(model.as_str(), name.as_str()), label))
    })
    .await
}

impl Keeper {
    /// Refuses a metric that is one too many. `known` are those that the model has.
    fn admit(&self, model: &ModelName, name: &MetricName, known: &[String]) -> Result<(), String> {
        let mut metrics = self.metrics();
        let all = metrics.entry(model.clone()).or_default();
        if all.contains(name.as_str()) {
            return Ok(());
        }
        all.extend(known.iter().cloned());
        if all.len() < METRICS_MAX || all.contains(name.as_str()) {
            all.insert(name.as_str().to_owned());
            return Ok(());
        }
        let known: Vec<String> = all.iter().map(|it| format!("`{it}`")).collect();
        Err(format!(
            "`{}` would be more than {METRICS_MAX} metrics of `{model}`; it has {}",
            name.as_str(),
            known.join(", ")
        ))
    }
}

/// Takes what can be read, each into the table that `read` names, and waits until it is on disk.
async fn take(
    app: &App,
    rows: Vec<Result<LabelRow, String>>,
    read: impl Fn(&Keeper, LabelRow, i64) -> Result<(String, Label), String> + Send + 'static,
) -> Result<LabelsRecord, Refusal> {
    let keeper = Arc::clone(&app.keeper);
    let (accepted, rejected, place) = blocking(move || {
        keeper.start()?;
        let now_us = wall_ms() * 1000;
        let (mut tables, mut rejected) = (BTreeMap::<String, Vec<Label>>::new(), Vec::new());
        for (place, row) in (1..).zip(rows) {
            match row.and_then(|it| read(&keeper, it, now_us)) {
                Ok((table, label)) => tables.entry(table).or_default().push(label),
                Err(why) => rejected.push(RejectedRecord { place, why }),
            }
        }
        let mut last = None;
        for (table, labels) in &tables {
            last = append(&keeper, table, labels)?.or(last);
        }
        let accepted = tables.values().map(|it| it.len() as u64).sum();
        Ok((accepted, rejected, last))
    })
    .await?;
    if let Some(place) = place {
        let on_disk = app.keeper.ledger.until_on_disk(place).await;
        on_disk.map_err(|why| Refusal::StorageFailed { what: why })?;
    }
    Ok(LabelsRecord { accepted, rejected })
}

/// Appends labels of one table; gives the place behind them.
fn append(keeper: &Keeper, table: &str, labels: &[Label]) -> Result<Option<Place>, Refusal> {
    let mut rest = labels;
    let mut last = None;
    let mut room = keeper.ledger.room();
    while !rest.is_empty() {
        // Rollouts count them by when they came, however long reading or waiting took.
        match keeper.ledger.add_labels(table, rest, wall_ms()) {
            Ok(place) => {
                last = Some(place);
                break;
            }
            Err((taken, place)) => {
                last = place.or(last);
                rest = &rest[taken..];
                // A caller with labels waits for room; there is nobody whose answer is late for it.
                let made = tokio::runtime::Handle::current().block_on(tokio::time::timeout(
                    std::time::Duration::from_secs(5),
                    room.changed(),
                ));
                if taken == 0 && !matches!(made, Ok(Ok(()))) {
                    let why = keeper.ledger.status_trouble();
                    return Err(Refusal::StorageFull {
                        what: why.unwrap_or_else(|| "recording labels".to_owned()),
                    });
                }
            }
        }
    }
    Ok(last)
}

/// What a label of a model may be.
enum Truth {
    /// One of these.
    Class(Vec<String>),
    /// A number.
    Number,
    /// Anything.
    Any,
}

/// What the model's labels may be, as the version that has its traffic says, or else its last one.
async fn truth_of(app: &App, model: &ModelName) -> Result<Truth, Refusal> {
    let registry = &app.store.registry;
    let summary = registry.model(model).await?;
    let Some(version) = summary.traffic.or(summary.latest) else {
        return Ok(Truth::Any);
    };
    let record = registry.version(model, version).await?;
    Ok(match &record.signature.task {
        Some(Task::Binary { classes, .. } | Task::Multiclass { classes, .. })
            if !classes.is_empty() =>
        {
            Truth::Class(classes.clone())
        }
        // Without names they are numbered, as in the ledger.
        Some(Task::Binary { .. }) => Truth::Class(vec!["0".to_owned(), "1".to_owned()]),
        Some(Task::Regression { .. }) => Truth::Number,
        Some(Task::Multiclass { .. } | Task::Embedding { .. }) | None => Truth::Any,
    })
}

fn read(
    row: LabelRow,
    check: impl Fn(Option<String>) -> Result<String, String>,
    now_us: i64,
) -> Result<Label, String> {
    let LabelRow {
        prediction_id,
        request_id,
        row,
        key,
        from,
        to,
        name: _,
        label,
        at,
    } = row;
    let moment = |name: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => read_moment(&text, now_us).map(Some).ok_or_else(|| {
            format!(
                "`{name}` is `{}`, want a moment such as `2026-11-24T10:00:00Z`",
                short(&text)
            )
        }),
    };
    let (from, to) = (moment("from", from)?, moment("to", to)?);
    let at_us = moment("at", at)?.unwrap_or(now_us);
    let value = check(label.filter(|it| !it.is_empty()))?;
    let short_text = |name: &str, text: String| {
        if text.len() > LABEL_BYTES_MAX {
            return Err(format!("`{name}` has over {LABEL_BYTES_MAX} bytes"));
        }
        Ok(text)
    };
    let window = from.is_some() || to.is_some();
    let target = match (prediction_id, request_id, key) {
        (Some(text), None, None) => {
            let mut id: PredictionId = text
                .parse()
                .map_err(|refusal: Refusal| refusal.to_string())?;
            if let Some(row) = row {
                if text.contains('.') && id.row != row {
                    return Err(format!(
                        "`row` is {row}, and `prediction_id` ends with another"
                    ));
                }
                id.row = row;
            }
            Target::Id(id)
        }
        (None, Some(id), None) => Target::Request {
            id: short_text("request_id", id)?,
            row: row.unwrap_or(0),
        },
        (None, None, Some(key)) => {
            let (from_us, to_us) = (from.unwrap_or(0), to.unwrap_or(at_us));
            if from_us >= to_us {
                return Err("the window of `key` ends before it begins".to_owned());
            }
            Target::Key {
                key: short_text("key", key)?,
                from_us,
                to_us,
            }
        }
        (None, None, None) => {
            return Err("none of `prediction_id`, `request_id` and `key` is given".to_owned());
        }
        _ => return Err("give one of `prediction_id`, `request_id` and `key`".to_owned()),
    };
    if window && !matches!(target, Target::Key { .. }) {
        return Err("`from` and `to` go with `key`".to_owned());
    }
    Ok(Label {
        target,
        value,
        at_us,
    })
}

fn check(value: Option<String>, truth: &Truth) -> Result<String, String> {
    let value = value.ok_or("`label` is missing")?;
    match truth {
        Truth::Class(classes) if !classes.contains(&value) => {
            // What pandas makes of whole numbers where one is missing.
            if let Some(whole) = value.strip_suffix(".0")
                && classes.iter().any(|it| it == whole)
            {
                return Ok(whole.to_owned());
            }
            let known: Vec<String> = classes
                .iter()
                .take(20)
                .map(|it| format!("`{it}`"))
                .collect();
            Err(format!(
                "`{}` is not a class of the model; they are {}",
                short(&value),
                known.join(", ")
            ))
        }
        Truth::Number if !value.parse::<f64>().is_ok_and(f64::is_finite) => {
            Err(format!("`{}` is not a number", short(&value)))
        }
        _ if value.len() > LABEL_BYTES_MAX => {
            Err(format!("`label` has over {LABEL_BYTES_MAX} bytes"))
        }
        _ => Ok(value),
    }
}

fn check_number(value: Option<String>) -> Result<String, String> {
    let value = value.ok_or("`value` is missing")?;
    match value.parse::<f64>() {
        Ok(number) if number.abs() <= VALUE_MAX && value.len() <= LABEL_BYTES_MAX => Ok(value),
        _ => Err(format!(
            "`{}` is no number from {:e} to {VALUE_MAX:e}",
            short(&value),
            -VALUE_MAX
        )),
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
