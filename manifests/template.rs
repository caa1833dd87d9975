//! Templates: YAML with values, in; Kubernetes objects, out.
//!
//! Every `{{ value }}` is written as JSON, whatever its type, and so is always exactly one YAML value or key.
//! A value that is not there is an error, never nothing.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Output, State, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

/// A template of an addon.
pub(crate) struct Template {
    /// Its path in `manifests/`.
    pub(crate) path: &'static str,
    /// What is in it.
    pub(crate) text: &'static str,
}

/// The template at a path in `manifests/`.
macro_rules! template {
    ($path:literal) => {
        $crate::template::Template {
            path: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)),
        }
    };
}
pub(crate) use template;

/// The objects that a template makes of `values`.
pub(crate) fn objects(template: &Template, values: &impl Serialize) -> Result<Vec<Value>, Error> {
    let wrong = |reason: String| Error::Template { template: template.path.to_owned(), reason };
    let text = text(template, values).map_err(|error| wrong(format!("{error:#}")))?;
    let documents = serde_yaml::Deserializer::from_str(&text).map(Value::deserialize);
    let documents: Result<Vec<Value>, _> = documents.collect();
    let documents = documents.map_err(|error| wrong(error.to_string()))?;
    // What a condition leaves out of a file is an empty document.
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn text(template: &Template, values: &impl Serialize) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_formatter(as_json);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.template_from_named_str(template.path, template.text)?.render(Serde(values))
}

/// JSON is YAML but for characters that YAML takes for ends of lines or does not take at all, which JSON
/// allows as they are: those are written as `\u....`.
fn as_json(output: &mut Output, _: &mut State, value: &minijinja::Value) -> Result<(), minijinja::Error> {
    let wrong = |error: serde_json::Error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
    };
    let json = serde_json::to_string(value).map_err(wrong)?;
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{ffff}' => write!(output, "\\u{:04x}", u32::from(character))?,
            character => output.write_char(character)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY_AND_VALUE: Template =
        Template { path: "test.yaml", text: "{{ value }}: [{{ value }}, {{ 'x=' ~ value }}]\nafter: true\n" };

    #[test]
    fn a_value_cannot_break_out() {
        let hostile = [
            "",
            "null",
            "~",
            "yes",
            "1e3",
            "plain",
            "a: b",
            "- a",
            "a # b",
            "a\nafter: false",
            "a\n---\nkind: Secret",
            "\"\nafter: false\n\"",
            "'",
            "\\",
            "\\u0041",
            "{{ 7 * 7 }}",
            "{% raw %}",
            "}} {{",
            "&a *a",
            "!!binary x",
            "%YAML 1.1",
            "\u{0}\u{7}\u{b}\u{1b}\u{7f}",
            "\u{85}after: false",
            "\u{2028}after: false\u{2029}---",
            "\u{feff}\u{fffe}\u{ffff}",
            "ä😀\u{1fffe}",
            "<script>&amp;</script>",
            "${x} $(x) `x`",
        ];
        for value in hostile {
            let made = objects(&KEY_AND_VALUE, &json!({ "value": value })).unwrap();
            let wanted = json!({ value: [value, format!("x={value}")], "after": true });
            assert_eq!(made, [wanted], "{value:?}");
        }
    }

    #[test]
    fn what_is_not_a_string_stays_what_it_is() {
        let values = json!({ "value": { "list": [1, -2.5, true, null, "a"], "empty": {} } });
        let template = Template { path: "test.yaml", text: "value: {{ value }}" };
        assert_eq!(objects(&template, &values).unwrap(), [values]);
    }

    #[test]
    fn what_is_missing_is_an_error() {
        let template = Template { path: "a/b.yaml", text: "value: {{ nothing }}" };
        let error = objects(&template, &json!({})).unwrap_err().to_string();
        assert!(error.starts_with("the template a/b.yaml cannot be rendered: undefined value"), "{error}");
        let template = Template { path: "a/b.yaml", text: "value: [" };
        assert!(objects(&template, &json!({})).is_err());
    }

    #[test]
    fn documents_left_empty_are_none() {
        let template = Template {
            path: "test.yaml",
            text: "{% if wanted %}\nkind: A\n{% endif %}\n---\nkind: B\n---\n# nothing\n",
        };
        assert_eq!(objects(&template, &json!({ "wanted": false })).unwrap(), [json!({ "kind": "B" })]);
        assert_eq!(objects(&template, &json!({ "wanted": true })).unwrap().len(), 2);
    }
}
