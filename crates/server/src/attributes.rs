//! Attributes of those whom predictions are about.
//!
//! R1. What was read is kept, so that monitors do not read a million keys anew at every look: as many keys in all as one
//!     attribute may have.
//! R2. It holds as long as the model has no later event: whatever changes attributes is told by one, in its transaction.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ::ledger::Attributes;
use domain::access::{Change, Permission, Read};
use domain::attributes::{KEYS_MAX, Table};
use domain::{ModelName, Refusal};
use store::registry::{self, EventId};
use wire::api::attributes as api;

use crate::app::App;

/// Those among some columns, with what is known of them.
pub(crate) async fn among(
    app: &App,
    model: &ModelName,
    columns: &[String],
) -> Result<Attributes, Refusal> {
    let mut attributes = Attributes::default();
    if columns.is_empty() {
        return Ok(attributes);
    }
    let registry = &app.store.registry;
    // Before what it tells of is read: of what changes meanwhile there is a later one.
    let last = registry.last_event(model).await?;
    for name in columns {
        if let Some(known) = app.attributes.find(model, name, last) {
            attributes.extend(known);
            continue;
        }
        let of = registry.attribute(model, name).await?;
        let (keys, mut read) = (of.len() as u64, Attributes::default());
        if keys > 0 {
            read.add(name, of);
        }
        app.attributes.keep((model, name), last, keys, &read);
        attributes.extend(read);
    }
    Ok(attributes)
}

/// What was read of the registry.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<(ModelName, String), Kept>>);

struct Kept {
    /// The model's last event then.
    last: Option<EventId>,
    keys: u64,
    of: Attributes,
}

impl Known {
    /// An attribute that was read when a model's last event was this one.
    fn find(&self, model: &ModelName, name: &str, last: Option<EventId>) -> Option<Attributes> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.get(&(model.clone(), name.to_owned()))?;
        (kept.last == last).then(|| kept.of.clone())
    }

    /// Keeps what was read, in the stead of all others where there is no room for it beside them (R1). What is no
    /// attribute is not kept: of such names there is no end.
    fn keep(
        &self,
        (model, name): (&ModelName, &str),
        last: Option<EventId>,
        keys: u64,
        of: &Attributes,
    ) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (model.clone(), name.to_owned());
        known.remove(&name);
        if keys == 0 || keys > KEYS_MAX {
            return;
        }
        let others: u64 = known.values().map(|it| it.keys).sum();
        if others + keys > KEYS_MAX {
            known.clear();
        }
        let of = of.clone();
        known.insert(name, Kept { last, keys, of });
    }
}

/// What is known of a model's.
pub(crate) async fn show(
    app: &App,
    _: Permission<Read>,
    model: &ModelName,
) -> Result<api::AttributesRecord, Refusal> {
    app.store.registry.model(model).await?;
    Ok(record(model, app.store.registry.attributes(model).await?))
}

/// Adds some.
pub(crate) async fn add(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
    table: Table,
    change: registry::Change,
) -> Result<api::AttributesRecord, Refusal> {
    let registry = &app.store.registry;
    let all = registry.set_attributes(model, &table, &change).await?;
    Ok(record(model, all))
}

/// Forgets all.
pub(crate) async fn remove(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
    change: registry::Change,
) -> Result<(), Refusal> {
    app.store.registry.remove_attributes(model, &change).await
}

fn record(model: &ModelName, all: Vec<registry::AttributeSummary>) -> api::AttributesRecord {
    let attribute = |it: registry::AttributeSummary| api::AttributeRecord {
        name: it.name,
        keys: it.keys,
    };
    api::AttributesRecord {
        model: model.to_string(),
        attributes: all.into_iter().map(attribute).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Attributes {
        let mut of = Attributes::default();
        of.add(name, [("ann".to_owned(), "x".to_owned())]);
        of
    }

    #[test]
    fn what_was_read_holds_until_the_model_has_another_event() {
        let (known, model) = (Known::default(), "credit".parse().expect("a name"));
        let at = |event: i64| Some(EventId(event));
        let names = |name: &str, last| {
            let found = known.find(&model, name, last)?;
            Some(found.names().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(names("Sex", at(3)), None);
        known.keep((&model, "Sex"), at(3), 1, &of("Sex"));
        assert_eq!(names("Sex", at(3)), Some(vec!["Sex".to_owned()]));
        assert_eq!(names("Sex", at(4)), None);
        // It was taken back.
        known.keep((&model, "Sex"), at(4), 0, &Attributes::default());
        assert_eq!(names("Sex", at(3)), None);
        // What there is no room for goes.
        known.keep((&model, "Sex"), at(5), KEYS_MAX, &of("Sex"));
        known.keep((&model, "Town"), at(5), 1, &of("Town"));
        assert_eq!(names("Sex", at(5)), None);
        assert_eq!(names("Town", at(5)), Some(vec!["Town".to_owned()]));
        known.keep((&model, "Sex"), at(5), KEYS_MAX - 1, &of("Sex"));
        assert!(names("Sex", at(5)).is_some() && names("Town", at(5)).is_some());
    }
}
