//! Attributes of those whom predictions are about.

use ::ledger::Attributes;
use domain::access::{Change, Permission, Read};
use domain::attributes::Table;
use domain::{ModelName, Refusal};
use store::registry;
use wire::api::attributes as api;

use crate::app::App;

/// Those among some columns, with what is known of them.
pub(crate) async fn among(
    app: &App,
    model: &ModelName,
    columns: &[String],
) -> Result<Attributes, Refusal> {
    let mut attributes = Attributes::default();
    for name in columns {
        let of = app.store.registry.attribute(model, name).await?;
        if !of.is_empty() {
            attributes.add(name, of);
        }
    }
    Ok(attributes)
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
