//! Carries out what rules permit, through the same verbs as `/api/v1`, one action after the other.

use std::sync::{Arc, Weak};

use domain::access::{self, Caller, Change, Permission};
use domain::alert::act::{Outcome, Plan, Step, rollback_target};
use domain::alert::{Event, EventKind, Moment};
use domain::{Reference, Refusal, Selector, Version};
use store::registry::actions::Action;
use tokio::sync::mpsc;

use crate::app::App;
use crate::clock::wall_ms;
use crate::inputs;
use crate::loading::scale;
use crate::models::{self, change};
use crate::standing;
use crate::task::Tasks;

/// An action that was written down and is to be carried out.
pub(super) struct Remedy {
    pub(super) id: i64,
    pub(super) plan: Plan,
}

/// Where the traffic was, and where it is.
type Moved = (Version, Version);

/// Carries out what comes until the server ends. What is under way then is known to have been begun.
pub(super) async fn work(app: Weak<App>, mut remedies: mpsc::Receiver<Remedy>, tasks: Tasks) {
    let stopping = tasks.stopping();
    tokio::pin!(stopping);
    if let Some(app) = app.upgrade()
        && let Err(refusal) = app.store.registry.fail_begun_actions().await
    {
        tracing::error!(%refusal, "actions that were begun cannot be ended");
    }
    loop {
        let remedy = tokio::select! {
            biased;
            () = &mut stopping => break,
            remedy = remedies.recv() => remedy,
        };
        let (Some(remedy), Some(app)) = (remedy, app.upgrade()) else {
            break;
        };
        tokio::select! {
            biased;
            () = &mut stopping => break,
            () = carry_out(&app, remedy) => {}
        }
    }
}

async fn carry_out(app: &Arc<App>, Remedy { id, plan }: Remedy) {
    let (outcome, moved) = match attempt(app, &plan).await {
        Ok(done) => done,
        Err(refusal) => {
            let why = refusal.to_string();
            (Outcome::Failed { why }, None)
        }
    };
    let event = event(&plan, &outcome, moved, Moment(wall_ms()));
    let (model, rule, why) = (&plan.model, &plan.rule, &event.why);
    tracing::warn!(%model, rule, "{why}");
    let registry = &app.store.registry;
    if let Err(refusal) = registry.finish_action(id, &outcome, moved, &event).await {
        tracing::error!(%refusal, "what became of an action cannot be written down");
    }
    // What is not written down holds for no version.
    if let (Step::StricterInputs(_) | Step::Scale(_), Outcome::Done) = (&plan.step, &outcome)
        && let Err(refusal) = standing::enforce(app, &plan.model).await
    {
        tracing::error!(%refusal, %model, "not all of its versions are as the action wants them");
    }
}

/// What the alert's history says of an action.
pub(super) fn event(plan: &Plan, outcome: &Outcome, moved: Option<Moved>, now: Moment) -> Event {
    let deed = plan.step.deed().name();
    let way = match (&plan.step, moved) {
        (Step::StricterInputs(inputs), _) => format!(": {inputs}"),
        (Step::Scale(instances), _) => format!(": {instances} sessions"),
        (_, Some((from, to))) => format!(": traffic from version {from} to {to}"),
        (_, None) => String::new(),
    };
    let why = match outcome {
        Outcome::DryRun => format!("`{deed}` would be done{way}"),
        Outcome::Unavailable { why } => format!("`{deed}` is not possible: {why}"),
        Outcome::Failed { why } => format!("`{deed}` failed: {why}"),
        Outcome::Done | Outcome::Trying | Outcome::Reversed => {
            format!("`{deed}` {}{way}", outcome.name())
        }
    };
    Event {
        at: now,
        fingerprint: plan.fingerprint,
        incident: plan.incident,
        kind: EventKind::Action,
        why,
        evidence: plan.evidence.clone(),
    }
}

async fn attempt(app: &App, plan: &Plan) -> Result<(Outcome, Option<Moved>), Refusal> {
    let registry = &app.store.registry;
    let conflict = |why: String| Refusal::Conflict { why };
    let traffic = || {
        app.catalog.find(&Reference {
            model: plan.model.clone(),
            selector: Selector::Traffic,
        })
    };
    let done = match plan.dry_run {
        true => Outcome::DryRun,
        false => Outcome::Done,
    };
    let target = match &plan.step {
        Step::Rollback(about) => {
            let moves = registry.traffic_moves(&plan.model).await?;
            rollback_target(&moves, *about).map_err(conflict)?
        }
        Step::Shift(reference) => registry.resolve(reference).await?,
        Step::StricterInputs(strictness) => {
            // It holds from when it is written down.
            inputs::could_be_stricter(&*traffic()?, *strictness)?;
            return Ok((done, None));
        }
        Step::Scale(instances) => {
            let (running, instances) = (traffic()?, usize::from(*instances));
            if running.pool.instances() == instances {
                let (model, version) = (&running.model, running.version);
                return Err(conflict(format!(
                    "{model}:{version} has {instances} sessions already"
                )));
            }
            // Before it is written down, since it may fail; other versions follow.
            if !plan.dry_run {
                scale(app, &running, instances).await?;
            }
            return Ok((done, None));
        }
        Step::Retrain => {
            let why = "this server starts no training runs yet".to_owned();
            return Ok((Outcome::Unavailable { why }, None));
        }
    };
    let present = registry.traffic(&plan.model).await?;
    let present = present.ok_or_else(|| conflict("no version of it has the traffic".to_owned()))?;
    if present == target {
        let why = format!("version {target} has the traffic already");
        return Err(conflict(why));
    }
    let moved = Some((present, target));
    if plan.dry_run {
        return Ok((done, moved));
    }
    let permission: Permission<Change> = access::check(app.policy, Caller::Anonymous)?;
    let change = change(&format!("alert {}", plan.rule), &plan.why);
    models::set_traffic(app, permission, &plan.model, target, change).await?;
    Ok((done, moved))
}

/// Takes back what an action did: the traffic goes where it was, inputs are as strict as they were, and versions have the
/// sessions that they had. Refused where the traffic has moved on since.
pub(crate) async fn reverse(
    app: &Arc<App>,
    permission: Permission<Change>,
    id: i64,
    (who, why): (&str, &str),
) -> Result<Action, Refusal> {
    let registry = &app.store.registry;
    let action = registry.action(id).await?;
    let conflict = |why: String| Refusal::Conflict { why };
    let back = |way: String| Event {
        at: Moment(wall_ms()),
        fingerprint: action.tried.fingerprint,
        incident: action.tried.incident,
        kind: EventKind::Action,
        why: format!("`{}` taken back by {who}: {way}", action.tried.deed.name()),
        evidence: action.evidence.clone(),
    };
    let no_longer = match (action.inputs, action.instances) {
        (Some(strictness), _) => Some(format!("no longer at least {strictness}")),
        (None, Some(instances)) => Some(format!("no longer {instances} sessions")),
        (None, None) => None,
    };
    if let (Some(way), Outcome::Done) = (no_longer, &action.outcome) {
        registry.reverse_action(id, who, &back(way)).await?;
        standing::enforce(app, &action.tried.model).await?;
        return registry.action(id).await;
    }
    let moved = action.from.zip(action.to);
    let Some((from, to)) = moved.filter(|_| action.outcome == Outcome::Done) else {
        let outcome = action.outcome.name();
        let why = format!("action `{id}` is `{outcome}`: there is nothing to take back");
        return Err(conflict(why));
    };
    let tried = &action.tried;
    let present = registry.traffic(&tried.model).await?;
    if present != Some(to) {
        let reference: Reference = tried.model.as_str().parse()?;
        let now = present.map_or_else(|| "none".to_owned(), |it| it.to_string());
        let why = format!(
            "the action gave the traffic of `{reference}` to version {to}, and {now} has it now"
        );
        return Err(conflict(why));
    }
    let change = change(who, why);
    models::set_traffic(app, permission, &tried.model, from, change).await?;
    let event = back(format!("traffic from version {to} to {from}"));
    registry.reverse_action(id, who, &event).await?;
    registry.action(id).await
}
