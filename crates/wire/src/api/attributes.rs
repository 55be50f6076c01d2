//! Records of attributes.

use serde::{Deserialize, Serialize};

/// What is known of those whom a model's predictions are about: `GET /api/v1/models/MODEL/attributes`. `POST` adds
/// those of CSV with a column `key`, and answers the same; `DELETE` forgets them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributesRecord {
    /// The model.
    pub model: String,
    /// By name.
    pub attributes: Vec<AttributeRecord>,
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeRecord {
    /// Its name.
    pub name: String,
    /// Keys of which it is known.
    pub keys: u64,
}
