//! The values resource fields are made of.
//!
//! A resource is serialised to JSON so that two of them can be compared field by field without knowing
//! their kind. Four things JSON has no word for are objects with one reserved key:
//!
//! | JSON | type | meaning |
//! | --- | --- | --- |
//! | `{"$ref": "vpc/k8s.example.com", "attr": "id"}` | [`Ref::To`] | an attribute of another resource of ours |
//! | `{"$id": "vpc-0abc", "kind": "vpc", "attr": "id"}` | [`Ref::Id`] | the same, as the cloud spells it |
//! | `{"$set": [..]}` | [`Set`] | a list whose order means nothing |
//! | `{"$json": ..}` | [`Json`] | a document, compared by meaning, shown as a text diff |
//! | `{"$text": ".."}` | [`Text`] | long text, shown as a text diff |

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::id::{Kind, ResourceId};

const REF: &str = "$ref";
const ID: &str = "$id";
pub(crate) const SET: &str = "$set";
const JSON: &str = "$json";
const TEXT: &str = "$text";
const KIND: &str = "kind";
const ATTR: &str = "attr";

/// Whether `value` is one of the marked objects, which a comparison takes whole.
pub(crate) fn is_marked(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| [REF, ID, SET, JSON, TEXT].iter().any(|key| object.contains_key(*key)))
}

/// A reference to an attribute (`id`, `arn`, `name`...) of another resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ref {
    /// A resource of ours, by its name; the cloud's identifier may not be known yet.
    To {
        /// The resource referred to.
        id: ResourceId,
        /// Which of its attributes.
        attr: String,
    },
    /// The cloud's own identifier.
    Id {
        /// The kind of the resource referred to.
        kind: Kind,
        /// Which of its attributes `value` is.
        attr: String,
        /// The identifier.
        value: String,
    },
}

/// A reference was used before it was resolved: the step ran before what it refers to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {attr} of {id} is not known")]
pub struct UnresolvedRef {
    /// The resource referred to.
    pub id: ResourceId,
    /// The attribute asked for.
    pub attr: String,
}

impl Ref {
    /// A reference to `attr` of the resource `name`.
    pub fn to(kind: &'static str, name: impl Into<String>, attr: impl Into<String>) -> Self {
        Self::To { id: ResourceId::new(kind, name), attr: attr.into() }
    }

    /// The cloud's identifier `value`, which is the attribute `attr` of some resource of kind `kind`.
    pub fn id(kind: &'static str, attr: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Id { kind: Kind::new(kind), attr: attr.into(), value: value.into() }
    }

    /// The cloud's identifier, once it is known.
    pub fn value(&self) -> Result<&str, UnresolvedRef> {
        match self {
            Self::Id { value, .. } => Ok(value),
            Self::To { id, attr } => Err(UnresolvedRef { id: id.clone(), attr: attr.clone() }),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::To { id, attr } => json!({ REF: id.to_string(), ATTR: attr }),
            Self::Id { kind, attr, value } => json!({ ID: value, KIND: kind, ATTR: attr }),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let attr = object.get(ATTR)?.as_str()?.to_owned();
        if let Some(target) = object.get(REF) {
            return Some(Self::To { id: ResourceId::parse(target.as_str()?)?, attr });
        }
        let value = object.get(ID)?.as_str()?.to_owned();
        let kind = serde_json::from_value(object.get(KIND)?.clone()).ok()?;
        Some(Self::Id { kind, attr, value })
    }
}

impl Serialize for Ref {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).ok_or_else(|| D::Error::custom(format!("not a reference: {value}")))
    }
}

/// A list whose order means nothing: kept sorted and without duplicates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set<T>(Vec<T>);

impl<T> Set<T> {
    /// The elements, in the set's own order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Ord> Set<T> {
    /// Whether `value` is one of them.
    pub fn contains(&self, value: &T) -> bool {
        self.0.contains(value)
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        let mut items: Vec<T> = iter.into_iter().collect();
        items.sort();
        items.dedup();
        Self(items)
    }
}

impl<'a, T> IntoIterator for &'a Set<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Serialize> Serialize for Set<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = Vec::with_capacity(self.0.len());
        for item in &self.0 {
            items.push(serde_json::to_value(item).map_err(serde::ser::Error::custom)?);
        }
        sort_json(&mut items);
        json!({ SET: items }).serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned + Ord> Deserialize<'de> for Set<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let items = value.get_mut(SET).map(Value::take).ok_or_else(|| D::Error::custom("not a set"))?;
        let items: Vec<T> = serde_json::from_value(items).map_err(D::Error::custom)?;
        Ok(items.into_iter().collect())
    }
}

/// A JSON document, for example an IAM policy. The owner normalises it before it is put here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Json {
    /// The document.
    #[serde(rename = "$json")]
    pub document: Value,
}

/// Text of many lines, for example user data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    #[serde(rename = "$text")]
    pub text: String,
}

impl Text {
    /// `text`, marked as such.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

fn sort_json(items: &mut Vec<Value>) {
    items.sort_by_cached_key(ToString::to_string);
    items.dedup();
}

/// Calls `each` for every reference in `value`.
fn walk_references(value: &Value, each: &mut impl FnMut(Ref)) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = Ref::from_json(value) {
                each(reference);
            } else if !object.contains_key(JSON) && !object.contains_key(TEXT) {
                object.values().for_each(|inner| walk_references(inner, each));
            }
        }
        Value::Array(items) => items.iter().for_each(|inner| walk_references(inner, each)),
        _ => {}
    }
}

/// The resources of ours that `fields` refers to, in no particular order.
pub fn references(fields: &Value) -> Vec<ResourceId> {
    let mut found = Vec::new();
    walk_references(fields, &mut |reference| {
        if let Ref::To { id, .. } = reference {
            found.push(id);
        }
    });
    found
}

/// Replaces each reference by what `with` makes of it; `None` leaves it as it is.
pub(crate) fn map_references(value: &mut Value, with: &impl Fn(&Ref) -> Option<Ref>) {
    if let Some(reference) = Ref::from_json(value) {
        if let Some(new) = with(&reference) {
            *value = new.to_json();
        }
        return;
    }
    match value {
        Value::Object(object) if object.contains_key(JSON) || object.contains_key(TEXT) => {}
        Value::Object(object) => {
            let is_set = object.contains_key(SET);
            for inner in object.values_mut() {
                map_references(inner, with);
                // What a set refers to has a new spelling now, so its order may have changed too.
                if let (true, Value::Array(items)) = (is_set, inner) {
                    sort_json(items);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| map_references(inner, with)),
        _ => {}
    }
}

/// `fields` with every reference replaced by the cloud's identifier that `lookup` gives for it.
pub fn resolve(
    fields: &Value,
    lookup: &impl Fn(&ResourceId, &str) -> Option<String>,
) -> Result<Value, UnresolvedRef> {
    let mut resolved = fields.clone();
    map_references(&mut resolved, &|reference| match reference {
        Ref::To { id, attr } => {
            lookup(id, attr).map(|value| Ref::Id { kind: id.kind.clone(), attr: attr.clone(), value })
        }
        Ref::Id { .. } => None,
    });
    let mut missing = None;
    walk_references(&resolved, &mut |reference| {
        if let (None, Ref::To { id, attr }) = (&missing, reference) {
            missing = Some(UnresolvedRef { id, attr });
        }
    });
    missing.map_or(Ok(resolved), Err)
}

/// The fields of a resource as an object; anything else is the caller's mistake and becomes an empty one.
pub(crate) fn as_fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
