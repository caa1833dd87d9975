//! Which fields differ between two objects. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::plan::FieldChange;

/// Every field that differs, by path. `is_secret`: the object is a Secret, whose values are not told.
pub(crate) fn changes(before: &Value, after: &Value, is_secret: bool) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(&mut found, "", Some(before), Some(after), is_secret);
    found
}

fn compare(
    found: &mut Vec<FieldChange>,
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    is_secret: bool,
) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            for (key, before, after) in by_key(before, after) {
                compare(found, &field(path, key), before, after, is_secret);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            if let (Some(before), Some(after)) = (by_name(before), by_name(after)) {
                for (name, before, after) in by_key(&before, &after) {
                    compare(found, &format!("{path}[{name}]"), before, after, is_secret);
                }
            } else {
                for index in 0..before.len().max(after.len()) {
                    let (before, after) = (before.get(index), after.get(index));
                    compare(found, &format!("{path}[{index}]"), before, after, is_secret);
                }
            }
        }
        // All of `data` at once comes or goes: one line for each value still.
        (None, Some(Value::Object(fields))) | (Some(Value::Object(fields)), None)
            if is_secret && holds_secrets(path) && !path.contains('.') =>
        {
            for (key, value) in fields {
                let (before, after) = (before.map(|_| value), after.map(|_| value));
                compare(found, &field(path, key), before, after, is_secret);
            }
        }
        (before, after) => found.push(if is_secret && holds_secrets(path) {
            FieldChange { path: path.to_owned(), before: None, after: None, secret: true }
        } else {
            FieldChange {
                path: path.to_owned(),
                before: before.cloned(),
                after: after.cloned(),
                secret: false,
            }
        }),
    }
}

fn holds_secrets(path: &str) -> bool {
    let first = path.split(['.', '[']).next().unwrap_or_default();
    matches!(first, "data" | "stringData")
}

/// `path.key`, or `path["a.b/c"]` where the key is no plain word.
fn field(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

fn by_key<'a>(
    before: &'a Map<String, Value>,
    after: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a str, Option<&'a Value>, Option<&'a Value>)> {
    let keys: BTreeSet<&str> = before.keys().chain(after.keys()).map(String::as_str).collect();
    keys.into_iter().map(|key| (key, before.get(key), after.get(key)))
}

/// The members by their `name`, where each has one of its own: containers, variables, volumes, ports.
fn by_name(members: &[Value]) -> Option<Map<String, Value>> {
    let mut named = Map::new();
    for member in members {
        let name = member.as_object()?.get("name")?.as_str()?;
        if named.insert(name.to_owned(), member.clone()).is_some() {
            return None;
        }
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn lines(before: &Value, after: &Value, is_secret: bool) -> Vec<String> {
        let show = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), ToString::to_string);
        let changes = changes(before, after, is_secret);
        changes
            .iter()
            .map(|change| format!("{}: {} -> {}", change.path, show(&change.before), show(&change.after)))
            .collect()
    }

    #[test]
    fn every_field_is_named() {
        let before = json!({
            "metadata": {"annotations": {"example.com/a": "1", "gone": "x"}},
            "spec": {
                "replicas": 1,
                "args": ["a", "b"],
                "containers": [{"name": "till", "image": "till:1"}, {"name": "log", "image": "log:1"}],
            },
        });
        let after = json!({
            "metadata": {"annotations": {"example.com/a": "2"}},
            "spec": {
                "replicas": 2,
                "args": ["a", "c", "d"],
                "containers": [{"name": "log", "image": "log:1"}, {"name": "till", "image": "till:2"}],
                "paused": true,
            },
        });
        assert_eq!(
            lines(&before, &after, false),
            [
                "metadata.annotations[\"example.com/a\"]: \"1\" -> \"2\"",
                "metadata.annotations.gone: \"x\" -> -",
                "spec.args[1]: \"b\" -> \"c\"",
                "spec.args[2]: - -> \"d\"",
                "spec.containers[till].image: \"till:1\" -> \"till:2\"",
                "spec.paused: - -> true",
                "spec.replicas: 1 -> 2",
            ]
        );
    }

    #[test]
    fn values_of_secrets_are_not_told() {
        let before = json!({"type": "Opaque", "data": {"old": "c2VjcmV0MQ==", "kept.key": "c2VjcmV0Mg=="}});
        let after = json!({"type": "Other", "data": {"kept.key": "c2VjcmV0Mw==", "new": "c2VjcmV0NA=="}});
        assert_eq!(
            lines(&before, &after, true),
            [
                "data[\"kept.key\"]: - -> -",
                "data.new: - -> -",
                "data.old: - -> -",
                "type: \"Opaque\" -> \"Other\"",
            ]
        );
        let nothing = json!({"type": "Other"});
        assert_eq!(lines(&nothing, &after, true), ["data[\"kept.key\"]: - -> -", "data.new: - -> -"]);
        assert!(changes(&nothing, &after, true).iter().all(|change| change.secret));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3_i64).prop_map(Value::from),
            "[a-b]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            let key = prop_oneof!["[a-c]", Just("name".to_owned()), Just("data".to_owned())];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_same_differs_in_nothing(value in value(), is_secret: bool) {
            prop_assert_eq!(changes(&value, &value, is_secret), vec![]);
        }

        #[test]
        fn no_value_under_data_is_told(before in value(), after in value()) {
            let (before, after) = (json!({"data": before}), json!({"data": after}));
            let told = changes(&before, &after, true);
            prop_assert!(told.iter().all(|change| change.before.is_none() && change.after.is_none()));
        }
    }
}
