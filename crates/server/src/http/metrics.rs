//! `/metrics` in Prometheus' text format.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use domain::Version;
use domain::access::Read;
use domain::rollout::traffic::WHOLE;
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
            let shares = model.serving().map(|it| it.split.shares());
            let shares = shares.unwrap_or_default();
            let share = move |of: &Version| {
                let arms = shares.iter().filter(|it| it.1 == *of);
                f64::from(arms.map(|it| it.2).sum::<u16>()) / f64::from(WHOLE)
            };
            let ready = model.ready.iter();
            ready.map(move |(version, it)| (name, version, share(version), it))
        })
        .map(|(name, version, share, running)| Labelled {
            // Names and numbers hold nothing that a label would have to escape.
            labels: format!("model=\"{name}\",version=\"{version}\""),
            stats: &running.stats,
            rows_waiting: running.pool.rows_waiting(),
            share,
            violations: running.inputs.violations(),
        })
        .collect();
    let known = app.experiments.known();
    let experiments: Vec<InExperiment> = known.iter().flat_map(in_experiment).collect();
    let rollouts = app.rollouts.known();
    let process = Process {
        resident_bytes: memory::resident_bytes(),
        available_bytes: memory::available_bytes(),
        requests: app.requests.load(Relaxed),
        listeners: app
            .limits
            .listeners_max
            .saturating_sub(app.streams.available_permits() as u64),
        models: models.iter().filter(|(_, it)| it.traffic.is_some()).count(),
        rollouts_ended: app.rollouts.ended(),
        ledger: app.keeper.counts(),
        alerts: app.alerts.counts.read(),
        shadows: app.catalog.shadowed(),
    };
    let text = stats::print(&versions, &rollouts, &experiments, process);
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
