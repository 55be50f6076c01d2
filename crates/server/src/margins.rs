//! How much wider margins are for what was said of alerts.

use std::collections::BTreeMap;

use domain::alert::Moment;
use domain::alert::margin;
use domain::{ModelName, Refusal};

use crate::app::App;
use crate::clock::wall_ms;

/// By a monitor's subject: how many times its margin is that of the model's owner. Others are as the owner says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Widened(BTreeMap<String, f64>);

impl Widened {
    /// After what was said of a monitor's alerts up to now.
    pub(crate) async fn of(app: &App, model: &ModelName, monitor: &str) -> Result<Self, Refusal> {
        let now = Moment(wall_ms());
        let said = app.store.registry.said(model, monitor).await?;
        let factors = said
            .into_iter()
            .map(|(subject, said)| (subject, margin::factor(said, now)));
        Ok(Self(factors.collect()))
    }

    pub(crate) fn factor(&self, subject: &str) -> f64 {
        self.0.get(subject).copied().unwrap_or(1.0)
    }
}
