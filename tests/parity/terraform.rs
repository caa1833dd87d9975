//! Reads the `kubernetes.tf` that kOps writes.
//!
//! Takes its text and a way to read the files beside it; gives its resources as JSON objects in which
//! references are names. Not a reader of Terraform at large: kOps writes one attribute a line, formatted as
//! `terraform fmt` does, and whatever is not that is an error.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One `resource`.
#[derive(Debug)]
pub(crate) struct Resource {
    /// `aws_subnet`.
    pub(crate) kind: String,
    /// Attributes; a block is a list of objects under its name, however many there are.
    pub(crate) body: Map<String, Value>,
}

/// Reads a document. `file` gives the content of a file by its path below the module.
pub(crate) fn read(document: &str, file: impl Fn(&str) -> Option<String>) -> Result<Vec<Resource>, String> {
    let blocks = resources(document)?;
    let names: BTreeMap<String, String> =
        blocks.iter().map(|(kind, label, body)| (format!("{kind}.{label}"), name(body))).collect();
    let resolve = Resolve { names: &names, file: &file };
    let resolved =
        blocks.into_iter().map(|(kind, _, body)| Ok(Resource { kind, body: resolve.object(body)? }));
    resolved.collect()
}

/// How a resource is called: by its name, else by its `Name` tag.
fn name(body: &Map<String, Value>) -> String {
    let text = |value: &Value| value.as_str().and_then(quoted);
    let own = body.get("name").or_else(|| body.get("key_name")).and_then(text);
    let tag = || body.get("tags").and_then(|tags| tags.get("Name")).and_then(text);
    own.or_else(tag).unwrap_or_default()
}

type Block = (String, String, Map<String, Value>);

/// The resources with their values as they are written.
fn resources(document: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if !line.ends_with('{') {
            continue;
        }
        // Everything else (locals, outputs, providers) is read over: no attribute of it is at the margin.
        let Some(header) = line.strip_prefix("resource ") else { continue };
        let labels: Vec<String> = header.split_whitespace().filter_map(quoted).collect();
        let [kind, label] = labels.as_slice() else { return Err(format!("not a resource: {line}")) };
        let mut body = body(&mut lines)?;
        // These tell Terraform how to work, not what to make.
        for meta in ["lifecycle", "provider"] {
            body.remove(meta);
        }
        blocks.push((kind.clone(), label.clone(), body));
    }
    Ok(blocks)
}

/// The lines up to the brace that closes the block.
fn body<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    while let Some(line) = lines.next().map(str::trim) {
        if line == "}" {
            return Ok(fields);
        }
        if let Some((key, value)) = line.split_once(" = ") {
            let key = quoted(key.trim()).unwrap_or_else(|| key.trim().to_owned());
            let value = match value.trim() {
                "{" => Value::Object(body(lines)?),
                written => Value::String(written.to_owned()),
            };
            fields.insert(key, value);
        } else if let Some(block) = line.strip_suffix('{') {
            let inner = Value::Object(body(lines)?);
            let list = fields.entry(block.trim()).or_insert_with(|| Value::Array(Vec::new()));
            list.as_array_mut().ok_or_else(|| format!("both attribute and block: {line}"))?.push(inner);
        } else if !line.is_empty() {
            return Err(format!("neither attribute nor block: {line}"));
        }
    }
    Err("a block without an end".to_owned())
}

/// The text between quotes.
fn quoted(written: &str) -> Option<String> {
    let json = written.starts_with('"').then(|| serde_json::from_str(written));
    json.and_then(Result::ok)
}

/// Turns what is written into what is meant.
struct Resolve<'a> {
    names: &'a BTreeMap<String, String>,
    file: &'a dyn Fn(&str) -> Option<String>,
}

impl Resolve<'_> {
    fn object(&self, fields: Map<String, Value>) -> Result<Map<String, Value>, String> {
        fields.into_iter().map(|(name, value)| Ok((name, self.value(value)?))).collect()
    }

    fn value(&self, value: Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(written) => self.written(&written)?,
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.value(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => Value::Object(self.object(fields)?),
            other => other,
        })
    }

    fn written(&self, written: &str) -> Result<Value, String> {
        if let Some(inner) = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            // No member of any list that kOps writes has a comma in it.
            let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
            return Ok(Value::Array(items.map(|item| self.written(item)).collect::<Result<_, _>>()?));
        }
        if let Some(path) = call(written, "file") {
            let content = (self.file)(&path);
            // The keys and node files of kOps' tests are not all there.
            return Ok(content.map_or(Value::Null, Value::String));
        }
        if call(written, "filebase64").is_some() {
            return Ok(Value::Null);
        }
        if let Ok(scalar) = serde_json::from_str(written) {
            return Ok(scalar);
        }
        let known = written.rsplit_once('.').and_then(|(resource, _)| self.names.get(resource));
        known
            .map(|name| Value::String(name.clone()))
            .ok_or_else(|| format!("cannot read the value {written}"))
    }
}

/// The path in `file("${path.module}/data/x")`.
fn call(written: &str, function: &str) -> Option<String> {
    let argument = written.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')')?;
    Some(quoted(argument)?.replace("${path.module}/", ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_kops_writes_is_read() {
        let document = r#"
locals {
  region = "x"
}

resource "aws_vpc" "a-example" {
  cidr_block = "10.0.0.0/16"
  tags = {
    "Name"                            = "a.example"
    "kubernetes.io/cluster/a.example" = "owned"
  }
}

resource "aws_thing" "b" {
  enabled = true
  ids     = [aws_vpc.a-example.id, "vpc-1"]
  nothing = []
  nested {
    size = 3
  }
  nested {
    size = 4
  }
  policy = file("${path.module}/data/p")
  vpc_id = aws_vpc.a-example.id
}
"#;
        let read = read(document, |path| (path == "data/p").then(|| "{}".to_owned())).unwrap();
        assert_eq!(read[1].kind, "aws_thing");
        assert_eq!(
            Value::Object(read[1].body.clone()),
            json!({
                "enabled": true,
                "ids": ["a.example", "vpc-1"],
                "nothing": [],
                "nested": [{ "size": 3 }, { "size": 4 }],
                "policy": "{}",
                "vpc_id": "a.example",
            })
        );
        assert_eq!(read[0].body["tags"]["kubernetes.io/cluster/a.example"], "owned");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for value in ["each.value", "\"a\" + 1", "aws_vpc.unknown.id"] {
            let document = format!("resource \"a\" \"b\" {{\n  x = {value}\n}}\n");
            assert!(read(&document, |_| None).is_err(), "{value}");
        }
    }
}
