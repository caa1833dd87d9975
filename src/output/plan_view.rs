//! A plan as people read it: grouped by concern, with the reason for everything that is not plain.

use std::fmt::Write;

use anstyle::Style;
use kcl_engine::{Action, Because, Catalogue, FieldChange, Plan, Refusal, ResourceId, Step};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::names::Names;
use super::printer::{BOLD, DIM, GREEN, RED, YELLOW, paint, wrap};

/// How a plan is shown.
#[derive(Debug)]
pub(crate) struct PlanView<'a> {
    /// The kinds.
    pub(crate) catalogue: &'a Catalogue,
    /// The cluster's name.
    pub(crate) cluster: &'a str,
    /// Columns.
    pub(crate) width: usize,
    /// Every field of what is created.
    pub(crate) full: bool,
}

/// How the steps of one resource are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Create,
    Change,
    Replace,
    Delete,
}

impl Sign {
    fn of(step: &Step) -> Self {
        match (step.action, step.replacement) {
            (_, true) => Self::Replace,
            (Action::Create, _) => Self::Create,
            (Action::Update, _) => Self::Change,
            (Action::Delete, _) => Self::Delete,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Change => "~",
            Self::Replace => "-/+",
            Self::Delete => "-",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Create => GREEN,
            Self::Change | Self::Replace => YELLOW,
            Self::Delete => RED,
        }
    }
}

const INDENT: usize = 8;

impl PlanView<'_> {
    /// The whole plan as text.
    pub(crate) fn render(&self, plan: &Plan) -> String {
        let mut text = String::new();
        // A replacement is a deletion and a creation; the creation stands for both.
        let shown: Vec<&Step> =
            plan.steps.iter().filter(|step| !(step.replacement && step.action == Action::Delete)).collect();
        for concern in self.concerns(shown.iter().map(|step| &step.id)) {
            let _ = writeln!(text, "{}", paint(BOLD, &heading(concern)));
            for step in shown.iter().filter(|step| self.concern(&step.id) == concern) {
                self.step(step, &mut text);
            }
            text.push('\n');
        }
        self.unwanted(plan, &mut text);
        self.refusals(&plan.refusals, &mut text);
        text.push_str(&totals(plan));
        text.push('\n');
        text
    }

    fn names(&self) -> Names {
        Names::new(self.cluster)
    }

    fn concern(&self, id: &ResourceId) -> &'static str {
        self.catalogue.get(id.kind.as_str()).map_or("other", |schema| schema.concern)
    }

    fn concerns<'b>(&self, ids: impl Iterator<Item = &'b ResourceId>) -> Vec<&'static str> {
        let mut concerns = Vec::new();
        for id in ids {
            let concern = self.concern(id);
            if !concerns.contains(&concern) {
                concerns.push(concern);
            }
        }
        concerns
    }

    fn title(&self, id: &ResourceId) -> String {
        format!("{} {}", id.kind, self.names().short(&id.name))
    }

    fn step(&self, step: &Step, text: &mut String) {
        let sign = Sign::of(step);
        let _ = writeln!(
            text,
            "{} {}",
            paint(sign.style(), &format!("{:>5}", sign.text())),
            self.title(&step.id)
        );
        for why in step.because.iter().filter_map(|because| self.why(because)) {
            self.indented(&why, DIM, text);
        }
        match (&step.wanted, sign) {
            (Some(wanted), Sign::Create) if self.full => self.all_fields(wanted, text),
            (Some(wanted), Sign::Create) => self.main_fields(&step.id, wanted, text),
            _ => step.changes.iter().for_each(|change| self.change(change, text)),
        }
    }

    fn why(&self, because: &Because) -> Option<String> {
        match because {
            Because::Missing | Because::Changed | Because::Teardown => None,
            Because::Immutable { why, .. } => Some(format!("replaced: {why}")),
            Because::ReferentReplaced { referent } => {
                Some(format!("because {} is replaced", self.title(referent)))
            }
            Because::Unwanted => Some("not in the spec".to_owned()),
            Because::Duplicate => Some("left over from an interrupted run".to_owned()),
        }
    }

    fn indented(&self, line: &str, style: Style, text: &mut String) {
        for line in wrap(line, self.width.saturating_sub(INDENT)) {
            let _ = writeln!(text, "{:INDENT$}{}", "", paint(style, &line));
        }
    }

    /// The fields of something new that tell what it is, in a few lines. What every resource has (tags) and
    /// what fills a screen (documents, user data) only stands in the full view.
    fn main_fields(&self, id: &ResourceId, wanted: &Value, text: &mut String) {
        if self.catalogue.get(id.kind.as_str()).is_some_and(|schema| schema.name_says_all) {
            return;
        }
        let fields = wanted.as_object().into_iter().flatten();
        let says_more = |value: &Value| is_short(value) && value.as_str() != Some(id.name.as_str());
        let shown = fields.filter(|(field, value)| !field.ends_with("tags") && says_more(value)).map(
            |(field, value)| match value {
                Value::Bool(true) => field.clone(),
                _ => format!("{field} {}", self.inline(value)),
            },
        );
        let line = shown.collect::<Vec<_>>().join(", ");
        if !line.is_empty() {
            self.indented(&line, DIM, text);
        }
    }

    fn all_fields(&self, wanted: &Value, text: &mut String) {
        for change in kcl_engine::diff(&Value::Null, wanted) {
            if let Value::Object(object) = &change.new
                && !is_marked(&change.new)
            {
                for (key, value) in object {
                    let change = FieldChange {
                        path: format!("{}[{key}]", change.path),
                        old: Value::Null,
                        new: value.clone(),
                        ..change.clone()
                    };
                    self.change(&change, text);
                }
            } else if !change.new.is_null() {
                self.change(&change, text);
            }
        }
    }

    fn change(&self, change: &FieldChange, text: &mut String) {
        let (old, new) = (long_text(&change.old), long_text(&change.new));
        if old.is_some() || new.is_some() {
            self.indented(&format!("{}:", change.path), Style::new(), text);
            return self.text_diff(&old.unwrap_or_default(), &new.unwrap_or_default(), text);
        }
        let line = match (&change.old, &change.new) {
            (Value::Null, new) => format!("{}: {}", change.path, self.inline(new)),
            (old, Value::Null) => format!("{}: {} -> (none)", change.path, self.inline(old)),
            (old, new) => format!("{}: {} -> {}", change.path, self.inline(old), self.inline(new)),
        };
        // What follows a long first line stands in under it, so that it is not taken for a field.
        for (nth, line) in wrap(&line, self.width.saturating_sub(INDENT + 2)).iter().enumerate() {
            let indent = if nth == 0 { INDENT } else { INDENT + 2 };
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
    }

    fn text_diff(&self, old: &str, new: &str, text: &mut String) {
        let diff = TextDiff::from_lines(old, new);
        for (nth, group) in diff.grouped_ops(2).iter().enumerate() {
            if nth > 0 {
                let _ = writeln!(text, "{:INDENT$}  ...", "");
            }
            for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                let (sign, style) = match change.tag() {
                    ChangeTag::Delete => ("-", RED),
                    ChangeTag::Insert => ("+", GREEN),
                    ChangeTag::Equal => (" ", DIM),
                };
                let line = change.value().trim_end_matches('\n');
                // A long line goes on under itself, with a mark that it is one.
                for (nth, piece) in pieces(line, self.width.saturating_sub(INDENT + 2)).enumerate() {
                    let sign = if nth == 0 { sign } else { "\\" };
                    let _ = writeln!(text, "{:INDENT$}{}", "", paint(style, &format!("{sign} {piece}")));
                }
            }
        }
    }

    /// A value in one line.
    fn inline(&self, value: &Value) -> String {
        match value {
            Value::Null => "(none)".to_owned(),
            Value::String(text) if text.is_empty() => "\"\"".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(items) => self.list(items),
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    let name = target.split_once('/').map_or(target.as_str(), |(_, name)| name);
                    return self.names().short(name);
                }
                if let Some(Value::String(id)) = object.get("$id") {
                    return id.clone();
                }
                if let Some(Value::Array(items)) = object.get("$set") {
                    return self.list(items);
                }
                let fields = object.iter().filter(|(_, value)| !value.is_null());
                let fields = fields.map(|(key, value)| format!("{key} {}", self.inline(value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
            Value::Bool(_) | Value::Number(_) => value.to_string(),
        }
    }

    fn list(&self, items: &[Value]) -> String {
        match items {
            [] => "(none)".to_owned(),
            [one] => self.inline(one),
            items => {
                format!("[{}]", items.iter().map(|item| self.inline(item)).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn unwanted(&self, plan: &Plan, text: &mut String) {
        if plan.unwanted.is_empty() {
            return;
        }
        let _ = writeln!(text, "{}", paint(BOLD, "Not in the spec (left alone; --prune removes it)"));
        for unwanted in &plan.unwanted {
            let id = unwanted.attrs.get("id").map(|id| format!(" ({id})")).unwrap_or_default();
            let line = format!("{}{id}", self.title(&unwanted.id));
            for (nth, line) in wrap(&line, self.width.saturating_sub(INDENT)).iter().enumerate() {
                let sign = if nth == 0 { paint(RED, "    ?") } else { " ".repeat(INDENT - 1) };
                let _ = writeln!(text, "{sign} {line}");
            }
        }
        text.push('\n');
    }

    fn refusals(&self, refusals: &[Refusal], text: &mut String) {
        for refusal in refusals {
            let _ = writeln!(
                text,
                "{} {} would have to be replaced, and cannot be: {}",
                paint(RED, "    !"),
                self.title(&refusal.id),
                refusal.why
            );
            for why in refusal.because.iter().filter_map(|because| self.why(because)) {
                self.indented(&why, DIM, text);
            }
            refusal.changes.iter().for_each(|change| self.change(change, text));
            text.push('\n');
        }
    }
}

/// `line` cut into pieces of at most `width` columns; at least one.
fn pieces(line: &str, width: usize) -> impl Iterator<Item = String> {
    let letters: Vec<char> = line.chars().collect();
    let width = width.max(1);
    let count = letters.len().div_ceil(width).max(1);
    (0..count).map(move |nth| letters.iter().skip(nth * width).take(width).collect())
}

fn heading(concern: &str) -> String {
    let mut words = concern.replace('-', " ");
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    if words == "Dns" { "DNS".to_owned() } else { words }
}

fn is_marked(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.keys().any(|key| key.starts_with('$')))
}

/// Whether a value of a new resource is worth a word in the short view.
fn is_short(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        // "none", or "no limit".
        Value::Number(number) if number.as_i64() == Some(0) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty() && text.len() < 80,
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_string),
        Value::Object(object) => match object.get("$set").and_then(Value::as_array) {
            Some(items) => {
                !items.is_empty() && items.len() <= 4 && items.iter().all(|item| item.to_string().len() < 160)
            }
            None if is_marked(value) => object.contains_key("$ref") || object.contains_key("$id"),
            // A part with fields of its own: how spot machines are bought, a health check, a route's target.
            None => {
                let is_plain = |field: &Value| !field.is_object() || field.get("$ref").is_some();
                !object.is_empty() && object.values().all(is_plain)
            }
        },
    }
}

/// A document or long text, as lines.
fn long_text(value: &Value) -> Option<String> {
    let object = value.as_object()?;
    if let Some(text) = object.get("$text") {
        return Some(text.as_str()?.to_owned());
    }
    let document = object.get("$json")?;
    Some(serde_json::to_string_pretty(document).unwrap_or_default() + "\n")
}

/// What the plan comes to.
fn totals(plan: &Plan) -> String {
    let count = |sign| plan.steps.iter().filter(|step| Sign::of(step) == sign).count();
    let replaced = plan.steps.iter().filter(|step| step.replacement && step.action == Action::Create).count();
    let counts = [
        (count(Sign::Create), "to create"),
        (count(Sign::Change), "to change"),
        (replaced, "to replace"),
        (count(Sign::Delete), "to delete"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let unchanged = match plan.unchanged {
        0 => String::new(),
        n => format!("; {n} unchanged"),
    };
    if counts.is_empty() {
        let left = if plan.unwanted.is_empty() { "nothing to do" } else { "nothing to do without --prune" };
        return format!("Plan: {left}{unchanged}");
    }
    format!("Plan: {}{unchanged}", counts.join(", "))
}
