//! What is known of those whom predictions are about and is no column of the rows: joined by the rows' key.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use domain::Refusal;
use domain::attributes::KEY;

use crate::failure;
use crate::layout::words;

/// Attributes by their names.
#[derive(Clone, Debug, Default)]
pub struct Attributes(BTreeMap<String, Arc<Attribute>>);

#[derive(Debug)]
struct Attribute {
    /// The place of each key's value.
    places: HashMap<String, i32>,
    values: ArrayRef,
}

impl Attributes {
    /// Adds an attribute: the value of each key.
    pub fn add(&mut self, name: &str, of: impl IntoIterator<Item = (String, String)>) {
        let mut values: Vec<String> = Vec::new();
        let mut known: HashMap<String, i32> = HashMap::new();
        let place = |(key, value): (String, String)| {
            let next = i32::try_from(values.len()).unwrap_or(i32::MAX);
            let place = *known.entry(value).or_insert_with_key(|value| {
                values.push(value.clone());
                next
            });
            (key, place)
        };
        let places = of.into_iter().map(place).collect();
        let attribute = Attribute {
            places,
            values: Arc::new(StringArray::from(values)),
        };
        self.0.insert(name.to_owned(), Arc::new(attribute));
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows with a column more for each attribute that is none of theirs; null where the key is not known.
    pub(crate) fn join(&self, batch: &RecordBatch) -> Result<RecordBatch, Refusal> {
        let failed = |error| failure::of_library("joining attributes", error);
        let (schema, mut columns) = (batch.schema(), batch.columns().to_vec());
        let mut fields = schema.fields().to_vec();
        let keys = batch.column_by_name(KEY);
        let keys = keys.map(|it| cast(it, &DataType::Utf8)).transpose();
        let keys = keys.map_err(failed)?;
        for (name, attribute) in &self.0 {
            if schema.index_of(name).is_ok() {
                continue;
            }
            let place = |key: Option<&str>| attribute.places.get(key?).copied();
            let places: Int32Array = match &keys {
                Some(keys) => keys.as_string::<i32>().iter().map(place).collect(),
                None => Int32Array::new_null(batch.num_rows()),
            };
            let column = DictionaryArray::try_new(places, Arc::clone(&attribute.values));
            columns.push(Arc::new(column.map_err(failed)?));
            fields.push(Arc::new(Field::new(name, words(), true)));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(columns: Vec<(&str, Vec<Option<&str>>)>) -> RecordBatch {
        let column = |(name, values): (&'static str, Vec<Option<&str>>)| {
            let values: ArrayRef = Arc::new(StringArray::from(values));
            (name, values, true)
        };
        let columns = columns.into_iter().map(|(name, values)| {
            let name: &'static str = match name {
                "key" => "key",
                _ => "Sex",
            };
            column((name, values))
        });
        RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
    }

    fn shown(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
        let column = cast(
            batch.column_by_name(name).expect("a column"),
            &DataType::Utf8,
        );
        let column = column.expect("texts");
        let column = column.as_string::<i32>().iter();
        column.map(|it| it.map(str::to_owned)).collect()
    }

    #[test]
    fn rows_get_the_attribute_of_their_key() {
        let mut attributes = Attributes::default();
        let of = [("ann", "f"), ("bob", "m"), ("eve", "f")];
        attributes.add(
            "Sex",
            of.map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let rows = batch(vec![(
            "key",
            vec![Some("eve"), None, Some("bob"), Some("zoe")],
        )]);
        let joined = attributes.join(&rows).expect("a join");
        let want = [Some("f"), None, Some("m"), None];
        assert_eq!(shown(&joined, "Sex"), want.map(|it| it.map(str::to_owned)));
        // A column of the rows goes before.
        let own = batch(vec![("key", vec![Some("eve")]), ("Sex", vec![Some("x")])]);
        let joined = attributes.join(&own).expect("a join");
        assert_eq!(shown(&joined, "Sex"), [Some("x".to_owned())]);
        // Rows without a key have none.
        let without = batch(vec![("Sex", vec![Some("x")])]);
        attributes.add("Age", [("eve".to_owned(), "old".to_owned())]);
        let joined = attributes.join(&without).expect("a join");
        assert_eq!(shown(&joined, "Age"), [None]);
    }
}
