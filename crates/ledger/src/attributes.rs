//! What is known of those whom predictions are about and is no column of the rows: joined by the rows' key.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use domain::Refusal;
use domain::attributes::KEY;

use crate::failure;
use crate::layout::{Layout, words};

/// Attributes by their names.
#[derive(Clone, Debug, Default)]
pub struct Attributes(BTreeMap<String, Arc<Attribute>>);

#[derive(Debug)]
pub(crate) struct Attribute {
    /// The place of each key's value.
    places: HashMap<String, i32>,
    values: ArrayRef,
}

impl Attribute {
    /// What is known of each key; null of the others.
    pub(crate) fn of(&self, keys: &dyn Array) -> Result<ArrayRef, ArrowError> {
        let keys = cast(keys, &DataType::Utf8)?;
        let place = |key: Option<&str>| self.places.get(key?).copied();
        let places: Int32Array = keys.as_string::<i32>().iter().map(place).collect();
        let column = DictionaryArray::try_new(places, Arc::clone(&self.values))?;
        Ok(Arc::new(column))
    }

    /// What is known of each row, by its key.
    fn of_rows(&self, batch: &RecordBatch) -> Result<ArrayRef, Refusal> {
        let none: ArrayRef = Arc::new(StringArray::new_null(batch.num_rows()));
        let keys = batch.column_by_name(KEY).unwrap_or(&none);
        self.of(keys.as_ref()).map_err(failed)
    }
}

fn failed(error: ArrowError) -> Refusal {
    failure::of_library("joining attributes", error)
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

    /// Adds those of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Those whose names none of these layouts has: a column of the rows goes before, whichever version has it. Else some
    /// rows would be told by the column and others by what is known beside it.
    pub(crate) fn beside(&self, layouts: &[Arc<Layout>]) -> Self {
        let schemas: Vec<Schema> = layouts.iter().map(|it| it.schema()).collect();
        let is_free = |name: &str| schemas.iter().all(|it| it.index_of(name).is_err());
        let kept = self.0.iter().filter(|(name, _)| is_free(name));
        Self(
            kept.map(|(name, it)| (name.clone(), Arc::clone(it)))
                .collect(),
        )
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Attribute>)> {
        self.0.iter().map(|(name, it)| (name.as_str(), it))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows with a column more for each; none of them is a column of theirs.
    pub(crate) fn join(&self, batch: &RecordBatch) -> Result<RecordBatch, Refusal> {
        let (schema, mut columns) = (batch.schema(), batch.columns().to_vec());
        let mut fields = schema.fields().to_vec();
        for (name, attribute) in self.iter() {
            columns.push(attribute.of_rows(batch)?);
            fields.push(Arc::new(Field::new(name, words(), true)));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
    }

    /// What is known of the rows by that name; none where there is no such attribute.
    pub(crate) fn column(
        &self,
        name: &str,
        batch: &RecordBatch,
    ) -> Result<Option<ArrayRef>, Refusal> {
        let attribute = self.0.get(name);
        attribute.map(|it| it.of_rows(batch)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(name: &str, values: Vec<Option<&str>>) -> RecordBatch {
        let values: ArrayRef = Arc::new(StringArray::from(values));
        RecordBatch::try_from_iter_with_nullable([(name, values, true)]).expect("a batch")
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
        let keyed = rows("key", vec![Some("eve"), None, Some("bob"), Some("zoe")]);
        let joined = attributes.join(&keyed).expect("a join");
        let want = [Some("f"), None, Some("m"), None];
        assert_eq!(shown(&joined, "Sex"), want.map(|it| it.map(str::to_owned)));
        // Rows without a key have none.
        let joined = attributes.join(&rows("city", vec![Some("x")]));
        assert_eq!(shown(&joined.expect("a join"), "Sex"), [None]);
    }
}
