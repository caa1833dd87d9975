//! Values that try to get out of where they stand, in every place of a spec that has one.
//!
//! A value is either refused, or it ends up as a value: what is made of the spec has the same shape as with a
//! harmless one. Shape: everything but the texts that hold the value, with policies, user data and objects taken
//! apart as those who read them do.

use kcl_model::{Facts, StoreLocation};
use kcl_spec::Source;
use serde_json::{Value, json};

/// What no reader may take for more than text.
pub const VALUES: [&str; 12] = [
    "a\"b'c$(touch /tmp/kcl-was-here)`touch /tmp/kcl-was-here`;touch /tmp/kcl-was-here",
    "x\nEND\ntouch /tmp/kcl-was-here\n",
    "x' ; touch /tmp/kcl-was-here ; '",
    "\",\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*",
    "arn:aws:s3:::*\",\"arn:aws:s3:::*",
    "any*thing?",
    "${aws:PrincipalTag/x}",
    "x: y\nkind: Secret\nmetadata: {name: x}",
    "x\n---\napiVersion: v1\nkind: Secret",
    "{{ 7 * 7 }}{% if true %}",
    "../../../../etc/shadow",
    "0.0.0.0/0, ::/0",
];

/// What stands for a harmless value.
pub const HARMLESS: &str = "harmless";

/// Every text that `spec` has with one of its values replaced by `value`, and which line that is: those of the policies
/// in it, too.
pub fn variants<'s>(spec: &'s str, value: &'s str) -> impl Iterator<Item = (usize, String)> + 's {
    let lines: Vec<&str> = spec.lines().collect();
    (0..lines.len()).filter_map(move |index| {
        let line = lines[index];
        let rest = line.trim_start();
        if rest.starts_with('#') || rest.is_empty() {
            return None;
        }
        // Written like this it is a text in YAML as in JSON.
        let quoted = Value::from(value).to_string();
        let indent = &line[..line.len() - rest.len()];
        let changed = match in_policy(rest, &quoted) {
            Some(changed) => format!("{indent}{changed}"),
            None if rest.starts_with('"') => return None,
            None => in_yaml(line, rest, indent, &quoted)?,
        };
        let mut text = lines.clone();
        text[index] = &changed;
        Some((index + 1, text.join("\n")))
    })
}

/// A line of a policy (`"Action": "s3:GetObject",` or an item of a list) with another value.
fn in_policy(line: &str, quoted: &str) -> Option<String> {
    let (text, comma) = line.strip_suffix(',').map_or((line, ""), |text| (text, ","));
    let is_text = |text: &str| text.len() > 1 && text.starts_with('"') && text.ends_with('"');
    match text.split_once("\": ") {
        Some((name, old)) if name.starts_with('"') && is_text(old) => {
            Some(format!("{name}\": {quoted}{comma}"))
        }
        None if is_text(text) => Some(format!("{quoted}{comma}")),
        _ => None,
    }
}

/// A line of YAML with another value: of a field, or of an item of a list.
fn in_yaml(line: &str, rest: &str, indent: &str, quoted: &str) -> Option<String> {
    match (line.split_once(": "), rest.strip_prefix("- ")) {
        (Some((key, old)), _) if !old.is_empty() && !old.starts_with(['|', '>', '{', '[']) => {
            Some(format!("{key}: {quoted}"))
        }
        (None, Some(old)) if !old.ends_with(':') => Some(format!("{indent}- {quoted}")),
        _ => None,
    }
}

/// The shape of what is made of `spec`; nothing where the spec is refused. `value` is what was put into it.
pub fn shape(spec: &str, value: &str) -> Option<Value> {
    let loaded = kcl_spec::load(&[Source::new("cluster.yaml", spec)]).ok()?;
    let store = StoreLocation { bucket: "state".to_owned(), prefix: String::new() };
    let facts = Facts::assumed(&loaded.cluster, Some(store));
    let model = kcl_model::build(&loaded.cluster, &facts).ok()?;
    let objects = kcl_model::kubernetes::objects(&loaded.cluster, &facts).ok()?;
    let resources: Vec<Value> = model
        .wanted
        .nodes()
        .map(|(id, node)| {
            json!([id.kind.as_str(), of(&Value::from(id.name.as_str()), value), of(&node.fields, value)])
        })
        .collect();
    let objects: Vec<Value> = objects
        .iter()
        .map(|group| {
            json!([group.addon, group.objects.iter().map(|object| of(object, value)).collect::<Vec<_>>()])
        })
        .collect();
    Some(json!([resources, objects]))
}

/// `found` without the texts that hold `value`.
fn of(found: &Value, value: &str) -> Value {
    match found {
        Value::String(text) => text_shape(text, value),
        Value::Array(items) => {
            // Sets are sorted by what is in them.
            let mut items: Vec<Value> =
                items.iter().filter(|item| !is_list_of_tags(item)).map(|item| of(item, value)).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| {
                let name = if name.contains(value) { "VALUE".to_owned() } else { name.clone() };
                (name, of(field, value))
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Labels that this list cannot hold are left out of it, which the addon's own test looks at.
fn is_list_of_tags(argument: &Value) -> bool {
    argument.as_str().is_some_and(|argument| argument.starts_with("--extra-tags="))
}

fn text_shape(text: &str, value: &str) -> Value {
    // A document within a text is read by somebody.
    if let Ok(document) = serde_json::from_str::<Value>(text)
        && (document.is_object() || document.is_array())
    {
        return json!({ "document": of(&document, value) });
    }
    if text.starts_with("#!") || text.contains("\n#!") {
        return json!({ "script": text.lines().count() });
    }
    if text.contains(value) { Value::from("VALUE") } else { Value::from(text) }
}

/// Scripts among what is made of `spec`, also within user data of several parts.
pub fn scripts(spec: &str) -> Vec<String> {
    let Ok(loaded) = kcl_spec::load(&[Source::new("cluster.yaml", spec)]) else { return Vec::new() };
    let store = StoreLocation { bucket: "state".to_owned(), prefix: String::new() };
    let facts = Facts::assumed(&loaded.cluster, Some(store));
    let Ok(model) = kcl_model::build(&loaded.cluster, &facts) else { return Vec::new() };
    let mut found = Vec::new();
    for (_, node) in model.wanted.nodes() {
        collect(&node.fields, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.lines().any(|line| line.starts_with("#!/")) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
        _ => {}
    }
}
