//! Predictions: which of them are looked for, and what the ledger has of these.
//!
//! R1. What somebody typed is a number, a quoted text or a quoted name in the question, and nothing else.
//! R2. The page comes before its answer: the ledger may be large, and the form is of use at once.

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect, Response};
use domain::PredictionId;
use domain::time::{DAY_US, read_moment};
use serde::Deserialize;
use serde_json::Value;
use wire::api::ledger::{QueryRecord, RowsRecord};
use wire::api::{ModelRecord, PageRecord};

use super::{Frame, part, predictions, shown};
use crate::ask::{Address, Ask, Problem};
use crate::show;

/// Rows of a page.
const ROWS: usize = 50;
/// Models to choose from: as many as the API lists at once.
const MODELS_MAX: u32 = 1000;
/// Where a search begins that says neither when nor whose.
const USUAL_FROM: &str = "1d";

/// What is looked for; all that is said must hold.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Search {
    model: Option<String>,
    /// Of the prediction, or the caller's own.
    id: Option<String>,
    key: Option<String>,
    version: Option<String>,
    from: Option<String>,
    to: Option<String>,
    code: Option<String>,
    /// Anything: only those that were not answered.
    errors: Option<String>,
    /// Where the page before this one ended.
    before: Option<String>,
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|it| !it.is_empty())
}

impl Search {
    fn model(&self) -> Option<&str> {
        given(&self.model)
    }

    fn text(&self, of: &Option<String>) -> String {
        given(of).unwrap_or_default().to_owned()
    }

    fn failed(&self) -> bool {
        given(&self.errors).is_some()
    }

    /// A key or an id says enough; anything else is looked for in the last day unless it is said when.
    fn from(&self) -> Option<&str> {
        let told = given(&self.key).is_some() || given(&self.id).is_some();
        given(&self.from).or((!told).then_some(USUAL_FROM))
    }

    fn address(&self, below: &[&str], before: Option<&str>) -> String {
        let mut segments = vec!["predictions"];
        segments.extend(below);
        Address::of("/console", &segments)
            .with_some("model", self.model())
            .with_some("id", given(&self.id))
            .with_some("key", given(&self.key))
            .with_some("version", given(&self.version))
            .with_some("from", given(&self.from))
            .with_some("to", given(&self.to))
            .with_some("code", given(&self.code))
            .with_some("errors", given(&self.errors))
            .with_some("before", before)
            .as_str()
            .to_owned()
    }

    fn table(&self) -> String {
        match self.model() {
            None => "predictions".to_owned(),
            Some(model @ ("predictions" | "labels")) => identifier(&format!("model:{model}")),
            Some(model) => identifier(model),
        }
    }

    /// The question, of a table that has these columns.
    fn sql(&self, columns: &[String]) -> Result<String, Problem> {
        let mut holds = Vec::new();
        if let Some(id) = given(&self.id) {
            holds.push(format!("request_id = {}", literal(id)));
        }
        if let Some(key) = given(&self.key) {
            holds.push(format!("key = {}", literal(key)));
        }
        if let Some(version) = given(&self.version) {
            let number: u32 = version.parse().map_err(|_| {
                Problem::typed(format!("`version` is `{version}`, want a whole number"))
            })?;
            holds.push(format!("version = {number}"));
        }
        if let Some(from) = self.from() {
            holds.push(format!("time >= {}", moment("from", from)?));
        }
        if let Some(to) = given(&self.to) {
            holds.push(format!("time < {}", moment("to", to)?));
        }
        if let Some(code) = given(&self.code) {
            holds.push(format!("code = {}", literal(code)));
        }
        if self.failed() {
            holds.push("code is not null".to_owned());
        }
        if let Some(before) = given(&self.before) {
            let (at, id) = before.split_once('~').ok_or_else(|| {
                Problem::typed(format!("`before` is `{before}`, want what a page gave"))
            })?;
            let (at, id) = (moment("before", at)?, literal(id));
            // Rows of one request have one time.
            holds.push(format!(
                "(time < {at} or (time = {at} and prediction_id < {id}))"
            ));
        }
        let columns: Vec<String> = shown_columns(columns, self.model().is_none())
            .map(|it| identifier(it))
            .collect();
        let holds = match holds.is_empty() {
            true => String::new(),
            false => format!(" where {}", holds.join(" and ")),
        };
        Ok(format!(
            "select {} from {}{holds} order by time desc, prediction_id desc limit {}",
            columns.join(", "),
            self.table(),
            ROWS + 1
        ))
    }
}

/// Scores of classes that a list has room for.
const SCORES_MAX: usize = 3;

/// Of a table's columns those that a list shows.
fn shown_columns(columns: &[String], of_all: bool) -> impl Iterator<Item = &String> {
    const SHOWN: [&str; 9] = [
        "prediction_id",
        "time",
        "version",
        "arm",
        "key",
        "class",
        "value",
        "code",
        "total_us",
    ];
    let mut scores = 0;
    columns.iter().filter(move |name| match name.as_str() {
        // A model's own table says its name on every row.
        "model" => of_all,
        name if SHOWN.contains(&name) => true,
        name if name.starts_with("score_") => {
            scores += 1;
            scores <= SCORES_MAX
        }
        _ => false,
    })
}

/// A name in SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A moment in SQL, of any form that the API reads. `now()` is the server's: this page has no clock.
fn moment(name: &str, text: &str) -> Result<String, Problem> {
    let us = read_moment(text, 0).ok_or_else(|| {
        Problem::typed(format!(
            "`{name}` is `{text}`, want a moment such as `2026-11-24T10:00:00Z`, `10:00` or `7d`"
        ))
    })?;
    // Read as if it were the start of 1970, what is told from now on is before it, and what is told from midnight on
    // within its first day.
    Ok(match us {
        ..0 => format!("now() - interval '{} microseconds'", us.unsigned_abs()),
        0..DAY_US => format!("date_trunc('day', now()) + interval '{us} microseconds'"),
        _ => format!("to_timestamp_micros({us})"),
    })
}

#[derive(Template)]
#[template(path = "predictions.html")]
struct PredictionsPage {
    frame: Frame,
    search: Search,
    models: Vec<ModelRecord>,
}

#[derive(Template)]
#[template(path = "predictions_found.html")]
struct Found {
    search: Search,
    columns: Vec<String>,
    rows: Vec<Row>,
    older: Option<String>,
    took_ms: u64,
    command: String,
}

/// A row of the list: its cells by the columns.
struct Row {
    cells: Vec<Cell>,
}

enum Cell {
    Id(String),
    Time(i64),
    Model(String),
    Version { model: String, version: String },
    Failed(String),
    Plain(String),
}

pub(crate) async fn page(ask: Ask, Query(search): Query<Search>) -> Response {
    // An id is one prediction's.
    if let Some(id) = given(&search.id)
        && let Ok(id) = id.parse::<PredictionId>()
    {
        return Redirect::to(&show::page(&["predictions", &id.to_string()])).into_response();
    }
    let models = Address::api(&["models"]).with("limit", MODELS_MAX);
    let models = ask.get::<PageRecord<ModelRecord>>(models).await;
    shown(models.map(|models| PredictionsPage {
        frame: Frame::new("predictions", "Predictions"),
        search,
        models: models.items,
    }))
}

/// What was found of what is looked for.
pub(crate) async fn found(ask: Ask, Query(search): Query<Search>) -> Response {
    part(look(&ask, search).await)
}

async fn look(ask: &Ask, search: Search) -> Result<Found, Problem> {
    let columns = format!("select * from {} limit 0", search.table());
    let columns = query(ask, columns).await?.columns;
    let sql = search.sql(&columns)?;
    let command = format!("windlass query {}", show::quoted(&sql));
    let answer = query(ask, sql).await?;
    Ok(listed(search, answer, command))
}

async fn query(ask: &Ask, sql: String) -> Result<RowsRecord, Problem> {
    let rows_max = Some(ROWS as u64 + 1);
    let question = QueryRecord { sql, rows_max };
    ask.post(Address::api(&["query"]), &question).await
}

fn listed(search: Search, mut answer: RowsRecord, command: String) -> Found {
    let place = |name: &str| answer.columns.iter().position(|it| it == name);
    let (id, time, model) = (place("prediction_id"), place("time"), place("model"));
    let text = |row: &[Value], place: Option<usize>| {
        let value = place.and_then(|it| row.get(it));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let more = answer.rows.len() > ROWS;
    answer.rows.truncate(ROWS);
    let last = answer.rows.last().filter(|_| more);
    let older = last.map(|row| format!("{}~{}", text(row, time), text(row, id)));
    let older = older.map(|it| search.address(&[], Some(&it)));
    let rows = answer.rows.iter().map(|row| {
        let of = match model {
            Some(_) => text(row, model),
            None => search.model().unwrap_or_default().to_owned(),
        };
        let cells = row.iter().zip(&answer.columns);
        Row {
            cells: cells.map(|(it, column)| cell(it, column, &of)).collect(),
        }
    });
    Found {
        rows: rows.collect(),
        columns: answer.columns.iter().map(|it| heading(it)).collect(),
        older,
        took_ms: answer.took_ms,
        command,
        search,
    }
}

fn heading(column: &str) -> String {
    match column {
        "prediction_id" => "Prediction".to_owned(),
        "total_us" => "Took".to_owned(),
        "code" => "Error".to_owned(),
        other => other.replace('_', " "),
    }
}

fn cell(value: &Value, column: &str, model: &str) -> Cell {
    let text = show::value(value);
    match (column, value) {
        ("prediction_id", _) => Cell::Id(text),
        ("time", Value::String(time)) => match domain::time::read_moment(time, 0) {
            Some(us) => Cell::Time(us),
            None => Cell::Plain(text),
        },
        ("model", _) => Cell::Model(text),
        ("version", Value::Number(_)) => Cell::Version {
            model: model.to_owned(),
            version: text,
        },
        ("code", Value::String(_)) => Cell::Failed(text),
        ("total_us", Value::Number(us)) => Cell::Plain(show::us(us.as_f64().unwrap_or_default())),
        (_, Value::Number(number)) if number.is_f64() => {
            Cell::Plain(show::number(number.as_f64().unwrap_or_default()))
        }
        _ => Cell::Plain(text),
    }
}

/// What is said where there is nothing.
pub(super) fn nothing(search: &Search) -> String {
    let of = match search.model() {
        Some(model) => format!(" of {model}"),
        None => String::new(),
    };
    match search.from() {
        Some(USUAL_FROM) if given(&search.from).is_none() => {
            format!(
                "There are no such predictions{of} in the last day; say `from` to look further back."
            )
        }
        _ => format!("There are no such predictions{of}."),
    }
}

pub(super) fn is_chosen(search: &Search, model: &ModelRecord) -> bool {
    search.model() == Some(&model.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(of: &[(&str, &str)]) -> Search {
        let address = of
            .iter()
            .fold(Address::of("/x", &[]), |address, (name, value)| {
                address.with(name, value)
            });
        let uri = address.as_str().parse().expect("an address");
        Query::try_from_uri(&uri).map(|it| it.0).expect("a search")
    }

    fn columns() -> Vec<String> {
        ["prediction_id", "time", "version", "score_a\"b", "total_us"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn what_was_typed_stays_a_value() {
        let evil = search(&[
            ("model", "m\"; drop table x; --"),
            ("key", "' or 1=1 --"),
            ("code", "a''b'"),
            ("id", "x'||'y"),
        ]);
        assert_eq!(
            evil.sql(&columns()).expect("SQL"),
            "select \"prediction_id\", \"time\", \"version\", \"score_a\"\"b\", \"total_us\" from \"m\"\"; drop table x; --\" \
             where request_id = 'x''||''y' and key = ''' or 1=1 --' and code = 'a''''b''' \
             order by time desc, prediction_id desc limit 51"
        );
    }

    #[test]
    fn what_is_no_number_or_moment_is_refused() {
        for (name, value) in [
            ("version", "1 or 1=1"),
            ("from", "' or '1'='1"),
            ("to", "now()"),
            ("before", "2026-11-24T10:00:00Z"),
            ("before", "x~y"),
        ] {
            let problem = search(&[(name, value)]).sql(&columns()).expect_err(value);
            assert!(
                problem
                    .error
                    .message
                    .contains(value.split('~').next().unwrap_or(value))
            );
            assert_eq!(problem.status, http::StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn moments_are_told_from_now_from_midnight_or_by_themselves() {
        let moments = ["7d", "10:00", "2026-11-24T10:00:00Z"].map(|it| moment("from", it));
        assert_eq!(
            moments.map(|it| it.expect("a moment")),
            [
                "now() - interval '604800000000 microseconds'",
                "date_trunc('day', now()) + interval '36000000000 microseconds'",
                "to_timestamp_micros(1795514400000000)"
            ]
        );
    }

    #[test]
    fn a_page_ends_where_the_next_begins() {
        let row = |id: &str| {
            vec![
                Value::from(format!("{id}<b>")),
                Value::from("2026-11-24T10:00:00.000001Z"),
                Value::from("<script>alert(1)</script>"),
                Value::from("it's \"<i>\""),
            ]
        };
        let answer = RowsRecord {
            columns: ["prediction_id", "time", "code", "key"]
                .map(str::to_owned)
                .to_vec(),
            rows: (0..=ROWS).map(|it| row(&format!("a.{it}"))).collect(),
            more: false,
            took_ms: 3,
        };
        let found = listed(
            search(&[("model", "<m>")]),
            answer,
            "windlass '<query>'".to_owned(),
        );
        assert_eq!(found.rows.len(), ROWS);
        assert_eq!(
            found.older.as_deref(),
            Some(
                "/console/predictions?model=%3Cm%3E&before=2026-11-24T10%3A00%3A00.000001Z~a.49%3Cb%3E"
            )
        );
        let text = found.render().expect("HTML");
        assert!(
            !text.contains("<script") && !text.contains("<b>") && !text.contains("<i>"),
            "{text}"
        );
    }
}
