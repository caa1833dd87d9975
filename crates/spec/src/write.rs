//! From typed values back to a tree: what [`crate::read`] reads, written in one canonical way.
//!
//! [`crate::read::object!`] and [`crate::read::choice!`] write what they declare: a mapping in the
//! order of its declaration, a word in its usual spelling. Reading what was written gives the same
//! value.

use serde_yaml::{Mapping, Value};

use crate::read::{Anything, Dict, List, Scalar};

/// A type that can be written into a document.
pub(crate) trait Write {
    /// The value as a tree.
    fn write(&self) -> Value;
}

impl Write for String {
    fn write(&self) -> Value {
        self.clone().into()
    }
}

impl Write for bool {
    fn write(&self) -> Value {
        (*self).into()
    }
}

impl Write for i64 {
    fn write(&self) -> Value {
        (*self).into()
    }
}

impl<T: Write> Write for List<T> {
    fn write(&self) -> Value {
        self.iter().map(|item| item.value.write()).collect()
    }
}

/// In the order of the value: where that means nothing, whoever makes the value sorts it.
impl<T: Write> Write for Dict<T> {
    fn write(&self) -> Value {
        let entries = self.0.iter().map(|(key, value)| (key.value.clone().into(), value.value.write()));
        entries.collect::<Mapping>().into()
    }
}

impl Write for Scalar {
    fn write(&self) -> Value {
        self.0.clone().into()
    }
}

/// As it is, but for the order of keys, which means nothing to whoever reads it.
impl Write for Anything {
    fn write(&self) -> Value {
        sorted(&self.0)
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Sequence(items) => items.iter().map(sorted).collect(),
        Value::Mapping(mapping) => {
            let mut entries: Vec<(&Value, &Value)> = mapping.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let entries = entries.into_iter().map(|(key, value)| (key.clone(), sorted(value)));
            entries.collect::<Mapping>().into()
        }
        scalar => scalar.clone(),
    }
}
