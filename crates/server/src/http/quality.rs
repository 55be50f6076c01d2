//! How right models were and what they cost, over HTTP: by span of time and by slice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::ledger::{KpiBy, Question, Report, Spans};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use domain::access::Read;
use domain::{ModelName, Refusal};
use serde::Deserialize;
use wire::api::ledger as api;

use super::Allowed;
use super::api::respond;
use crate::app::App;
use crate::attributes;
use crate::clock::wall_ms;
use crate::fairness::Asking;
use crate::ledger::verdict_name;
use crate::quality::{metric_record, metrics};
use crate::questions::{check_columns, limit, sql_limits};
use crate::range::{known_ends, range_of};

#[derive(Deserialize)]
pub(super) struct SpanQuery {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    every: Option<String>,
    level: Option<f64>,
    version: Option<u32>,
}

/// The shortest span by which rows are told apart.
const EVERY_MIN: Duration = Duration::from_secs(1);

fn every_of(text: Option<&str>) -> Result<Option<i64>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let malformed = |why| Refusal::Malformed {
        what: "`every`",
        why,
    };
    let span: domain::manifest::Span = text.parse().map_err(malformed)?;
    if span.0 < EVERY_MIN {
        return Err(malformed(format!("`{span}` is less than 1s")));
    }
    i64::try_from(span.0.as_micros())
        .map(Some)
        .map_err(|_| malformed(format!("`{span}` is too long")))
}

pub(super) async fn quality(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<SpanQuery>,
) -> Response {
    respond(try_quality(&app, &model, query).await)
}

async fn try_quality(
    app: &App,
    model: &str,
    query: SpanQuery,
) -> Result<api::QualityRecord, Refusal> {
    let model: ModelName = model.parse()?;
    app.store.registry.model(&model).await?;
    let now_us = wall_ms() * 1000;
    let range = range_of(query.from.as_deref(), query.to.as_deref(), now_us)?;
    let level = level_of(query.level)?;
    let by = columns_of(query.by.as_deref());
    check_columns(&by)?;
    let question = Question {
        version: query.version,
        attributes: attributes::among(app, &model, &by).await?,
        by,
        spans: every_of(query.every.as_deref())?.map(|every_us| Spans {
            from_us: 0,
            every_us,
        }),
        level,
        threads: app.questions.threads,
        ..Question::of(model.as_str(), range, now_us)
    };
    let ledger = Arc::clone(&app.keeper.ledger);
    let answer = app.questions.compute(limit(app), move || {
        ledger.snapshot(now_us / 1000)?.quality(&question)
    });
    let quality = answer.await?;
    let (from_us, to_us) = known_ends(range);
    let first = quality.groups.first().map(|it| &it.report);
    let (task, positive) = match first {
        Some(Report::Binary { positive, .. }) => ("binary", Some(positive.clone())),
        Some(Report::Multiclass { .. }) => ("multiclass", None),
        Some(Report::Regression(_)) => ("regression", None),
        None => ("", None),
    };
    let counts = quality.labels;
    Ok(api::QualityRecord {
        model: model.to_string(),
        from_us,
        to_us,
        task: task.to_owned(),
        positive,
        level,
        groups: quality.groups.into_iter().map(group_record).collect(),
        labels: api::LabelCountsRecord {
            named: counts.named,
            matched: counts.matched,
            unknown: counts.named.saturating_sub(counts.matched),
            by_text: counts.by_text,
            by_text_matched: counts.by_text_matched,
        },
    })
}

#[derive(Deserialize)]
pub(super) struct FairnessQuery {
    by: Option<String>,
    version: Option<String>,
    from: Option<String>,
    to: Option<String>,
    level: Option<f64>,
    support: Option<u64>,
    /// Of thresholds: the rate that they make alike.
    criterion: Option<String>,
}

pub(super) async fn fairness(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<FairnessQuery>,
) -> Response {
    let result = async {
        let asking = asking(&model, &query)?;
        crate::fairness::fairness(&app, permission, asking).await
    };
    respond(result.await)
}

fn asking(model: &str, query: &FairnessQuery) -> Result<Asking, Refusal> {
    let by = columns_of(query.by.as_deref());
    check_columns(&by)?;
    if by.is_empty() {
        return Err(Refusal::Malformed {
            what: "`by`",
            why: "it names no column, so there are no groups".to_owned(),
        });
    }
    let (from, to) = (query.from.as_deref(), query.to.as_deref());
    Ok(Asking {
        model: model.parse()?,
        version: query.version.as_deref().map(str::parse).transpose()?,
        by,
        range: range_of(from, to, wall_ms() * 1000)?,
        level: level_of(query.level)?,
        support: query.support,
    })
}

pub(super) async fn thresholds(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<FairnessQuery>,
) -> Response {
    let result = async {
        let asking = asking(&model, &query)?;
        let criterion = query.criterion.as_deref();
        crate::fairness::thresholds(&app, permission, asking, criterion).await
    };
    respond(result.await)
}

pub(super) async fn weights(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<FairnessQuery>,
) -> Response {
    let result = async {
        let asking = asking(&model, &query)?;
        crate::fairness::weights(&app, permission, asking).await
    };
    respond(result.await)
}

pub(super) fn level_of(level: Option<f64>) -> Result<f64, Refusal> {
    let level = level.unwrap_or(0.95);
    if level > 0.0 && level < 1.0 {
        return Ok(level);
    }
    Err(Refusal::Malformed {
        what: "`level`",
        why: format!("`{level}` is not between 0 and 1"),
    })
}

fn columns_of(by: Option<&str>) -> Vec<String> {
    let names = by.unwrap_or_default().split(',').map(str::trim);
    names
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}

fn group_record(group: ::ledger::Group) -> api::QualityGroupRecord {
    let metrics = metrics(&group.report).into_iter();
    let metrics = metrics.map(|(name, it)| (name.to_owned(), metric_record(it)));
    let mut confusion: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let (skipped, approximate) = match &group.report {
        Report::Binary {
            positive,
            negative,
            report: it,
        } => {
            let row = |to_positive, to_negative| {
                BTreeMap::from([
                    (positive.clone(), to_positive),
                    (negative.clone(), to_negative),
                ])
            };
            confusion.insert(positive.clone(), row(it.true_positive, it.false_negative));
            confusion.insert(negative.clone(), row(it.false_positive, it.true_negative));
            (it.skipped, it.approximate)
        }
        Report::Multiclass {
            classes,
            report: it,
        } => {
            for (truth, row) in classes.iter().zip(&it.confusion) {
                let row = classes.iter().cloned().zip(row.iter().copied());
                confusion.insert(truth.clone(), row.filter(|(_, count)| *count > 0).collect());
            }
            (it.skipped, it.approximate)
        }
        Report::Regression(it) => (it.skipped, false),
    };
    let share = group.labelled as f64 / group.predictions as f64;
    api::QualityGroupRecord {
        version: group.version,
        by: group.by,
        from_us: group.from_us,
        predictions: group.predictions,
        failed: group.failed,
        labelled: group.labelled,
        coverage: (group.predictions > 0).then_some(share),
        provisional: group.provisional,
        skipped: skipped + group.unread,
        approximate,
        metrics: metrics.collect(),
        confusion,
    }
}

/// What is told of, where nothing is said: an hour.
const KPI_RANGE: &str = "1h";

pub(super) async fn kpi(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<SpanQuery>,
) -> Response {
    respond(try_kpi(&app, &model, query).await)
}

async fn try_kpi(app: &App, model: &str, query: SpanQuery) -> Result<api::KpiRecord, Refusal> {
    let model: ModelName = model.parse()?;
    app.store.registry.model(&model).await?;
    let now_us = wall_ms() * 1000;
    let from = query.from.as_deref().unwrap_or(KPI_RANGE);
    let mut range = range_of(Some(from), query.to.as_deref(), now_us)?;
    range.to_us = range.to_us.min(now_us.max(range.from_us + 1));
    let by = match query.by.as_deref() {
        None | Some("") => KpiBy::All,
        Some("version") => KpiBy::Version,
        Some("caller") => KpiBy::Caller,
        Some(other) => {
            return Err(Refusal::Malformed {
                what: "`by`",
                why: format!(
                    "`{}` is neither `version` nor `caller`",
                    other.chars().take(60).collect::<String>()
                ),
            });
        }
    };
    let every_us = every_of(query.every.as_deref())?;
    let (ledger, limits) = (Arc::clone(&app.keeper.ledger), sql_limits(app));
    let name = model.to_string();
    let answer = app.questions.ask(limit(app), async move {
        let snapshot = ledger.snapshot(now_us / 1000)?;
        snapshot.kpi(&name, range, by, every_us, limits).await
    });
    let seconds = every_us.unwrap_or(range.to_us - range.from_us) as f64 / 1e6;
    let groups = answer
        .await?
        .into_iter()
        .map(|it| kpi_record(it, by, seconds));
    let budget = app.budgets.get(&model).map(|state| {
        let spent = state.total(now_us / 1000);
        let verdict = domain::budget::verdict(&state.budget, spent);
        api::BudgetRecord {
            cost: state.budget.cost,
            per: state.budget.per.to_string(),
            spent,
            verdict: verdict_name(verdict).to_owned(),
        }
    });
    Ok(api::KpiRecord {
        model: model.to_string(),
        from_us: range.from_us,
        to_us: range.to_us,
        currency: app.prices.as_ref().map(|it| it.currency.clone()),
        groups: groups.collect(),
        budget,
    })
}

fn kpi_record(kpi: ::ledger::Kpi, by: KpiBy, seconds: f64) -> api::KpiGroupRecord {
    let [total_us, queue_us, compute_us] = kpi
        .quantiles
        .map(|[p50, p90, p99]| api::QuantilesRecord { p50, p90, p99 });
    let rows = kpi.rows as f64;
    api::KpiGroupRecord {
        version: kpi
            .by
            .as_ref()
            .filter(|_| by == KpiBy::Version)
            .and_then(|it| it.parse().ok()),
        caller: kpi.by.filter(|_| by == KpiBy::Caller),
        at_us: kpi.at_us,
        rows: kpi.rows,
        requests: kpi.requests,
        rows_per_s: rows / seconds,
        error_rate: kpi.failed as f64 / rows.max(1.0),
        total_us,
        queue_us,
        compute_us,
        batch_rows: kpi.batch_rows,
        cpu_s: kpi.cpu_us / 1e6,
        accelerator_s: kpi.accelerator_us / 1e6,
        memory_mib_s: kpi.memory_mib_s,
        cost: kpi.cost,
        cost_per_1000: kpi.cost.map(|it| it / rows.max(1.0) * 1000.0),
    }
}
