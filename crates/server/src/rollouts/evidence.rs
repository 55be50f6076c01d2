//! What is measured of a rollout. Nothing is yet, so that every rollout holds for want of data.

use domain::Refusal;
use domain::alert::Moment;
use domain::rollout::evidence::Evidence;
use domain::rollout::{Plan, Rollout};
use serde::{Deserialize, Serialize};

use crate::app::App;

/// What goes on from look to look.
#[derive(Serialize, Deserialize)]
pub(crate) struct Watch {}

impl Watch {
    pub(crate) fn new(_: &Plan) -> Self {
        Self {}
    }

    pub(crate) async fn look(
        &mut self,
        _: &App,
        _: &Rollout,
        _: u64,
        _: Moment,
    ) -> Result<Evidence, Refusal> {
        Ok(Evidence::default())
    }
}
