//! `/metrics` in Prometheus' text format.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use domain::access::Read;
use http::StatusCode;

use super::{Allowed, bytes_of};
use crate::app::App;
use crate::experiments::Known;
use crate::memory;
use crate::stats::{self, InExperiment, Labelled, Process};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let models = app.catalog.models();
    let versions: Vec<Labelled<'_>> = models
        .iter()
        .flat_map(|(name, model)| {
            model
                .ready
                .iter()
                .map(move |(version, it)| (name, version, it))
        })
        .map(|(name, version, running)| Labelled {
            // Names and numbers hold nothing that a label would have to escape.
            labels: format!("model=\"{name}\",version=\"{version}\""),
            stats: &running.stats,
            rows_waiting: running.pool.rows_waiting(),
            violations: running.inputs.violations(),
        })
        .collect();
    let known = app.experiments.known();
    let experiments: Vec<InExperiment> = known.iter().flat_map(in_experiment).collect();
    let process = Process {
        resident_bytes: memory::resident_bytes(),
        available_bytes: memory::available_bytes(),
        requests: app.requests.load(Relaxed),
        listeners: app
            .limits
            .listeners_max
            .saturating_sub(app.streams.available_permits() as u64),
        models: models.iter().filter(|(_, it)| it.traffic.is_some()).count(),
        ledger: app.keeper.counts(),
        alerts: app.alerts.counts.read(),
        shadows: app.catalog.shadowed(),
    };
    let text = stats::print(&versions, &experiments, process);
    bytes_of(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    )
}

/// The versions of an experiment.
fn in_experiment(known: &Known) -> impl Iterator<Item = InExperiment> {
    let Known {
        model,
        versions,
        look,
    } = known;
    versions.iter().enumerate().map(move |(place, version)| {
        let told = look.others.iter();
        let mut told = told.filter(|it| it.compared.version == *version);
        InExperiment {
            labels: format!("model=\"{model}\",version=\"{version}\""),
            keys: look.keys.get(place).copied().unwrap_or(0),
            answer: told.next().map(|it| it.answer),
        }
    })
}
