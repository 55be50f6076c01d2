//! Collects text of which there is little different.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, NullBufferBuilder, StringBuilder};

/// A column of keys, and the texts that they stand for.
pub(super) struct Words {
    keys: Vec<i32>,
    nulls: NullBufferBuilder,
    texts: StringBuilder,
    known: HashMap<Box<str>, i32>,
    /// What came last mostly comes again.
    last: Option<(Box<str>, i32)>,
}

impl Words {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            keys: Vec::with_capacity(rows),
            nulls: NullBufferBuilder::new(0),
            texts: StringBuilder::new(),
            known: HashMap::new(),
            last: None,
        }
    }

    /// The key of a text.
    pub(super) fn key(&mut self, text: &str) -> i32 {
        if let Some((last, key)) = &self.last
            && **last == *text
        {
            return *key;
        }
        let key = match self.known.get(text) {
            Some(key) => *key,
            None => {
                // A segment is far too small for so many.
                let key = i32::try_from(self.known.len()).unwrap_or(i32::MAX);
                self.texts.append_value(text);
                self.known.insert(text.into(), key);
                key
            }
        };
        self.last = Some((text.into(), key));
        key
    }

    pub(super) fn push_key(&mut self, key: Option<i32>, count: usize) {
        self.keys
            .extend(std::iter::repeat_n(key.unwrap_or(0), count));
        match key {
            Some(_) => self.nulls.append_n_non_nulls(count),
            None => self.nulls.append_n_nulls(count),
        }
    }

    pub(super) fn push(&mut self, text: Option<&str>, count: usize) {
        let key = text.map(|it| self.key(it));
        self.push_key(key, count);
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let keys = Int32Array::new(self.keys.into(), self.nulls.finish());
        // Every key was given to a text.
        Arc::new(DictionaryArray::new(keys, Arc::new(self.texts.finish())))
    }
}
