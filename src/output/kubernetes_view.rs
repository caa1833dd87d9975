//! Kubernetes' part of a plan as people read it.

use std::fmt::Write;

use kcl_kube::{Action, Fate, FieldChange, Plan, PlannedObject};
use serde_json::Value;

use super::printer::{BOLD, DIM, GREEN, RED, YELLOW, paint, wrap};

const INDENT: usize = 8;

/// How it is shown.
#[derive(Debug)]
pub(crate) struct KubernetesView {
    /// Columns.
    pub(crate) width: usize,
    /// Everything that is created is shown, not only how many there are of each addon.
    pub(crate) full: bool,
}

impl KubernetesView {
    /// The plan as text; empty where there is nothing to tell.
    pub(crate) fn render(&self, plan: &Plan) -> String {
        let mut text = String::new();
        let changed = plan.objects.iter().filter(|object| object.action != Action::Unchanged);
        let changed: Vec<&PlannedObject> = changed.collect();
        let is_silent = changed.is_empty()
            && plan.unwanted.is_empty()
            && plan.conflicts.is_empty()
            && plan.faults.is_empty();
        if is_silent {
            return text;
        }
        let _ = writeln!(text, "{}", paint(BOLD, "Kubernetes"));
        let mut origins: Vec<&str> = Vec::new();
        for object in &changed {
            if !origins.contains(&object.origin.as_str()) {
                origins.push(&object.origin);
            }
        }
        for origin in origins {
            let of_origin: Vec<&&PlannedObject> =
                changed.iter().filter(|object| object.origin == origin).collect();
            self.origin(origin, &of_origin, &mut text);
        }
        self.unwanted(plan, &mut text);
        self.conflicts(plan, &mut text);
        for fault in &plan.faults {
            let _ = writeln!(text, "{} {}", paint(RED, "    !"), fault.object);
            self.indented(&fault.error.to_string(), &mut text);
        }
        text.push('\n');
        text.push_str(&totals(plan));
        text.push('\n');
        text
    }

    /// A whole addon that is new is one line: its objects are kcl's business.
    fn origin(&self, origin: &str, objects: &[&&PlannedObject], text: &mut String) {
        let is_new = objects.iter().all(|object| object.action == Action::Create);
        if is_new && objects.len() > 1 && !self.full && origin != kcl_model::kubernetes::SPEC_ORIGIN {
            let sign = paint(GREEN, "    +");
            let _ = writeln!(text, "{sign} {origin}");
            return self.indented(&kinds(objects), text);
        }
        for object in objects {
            let (sign, style) = match object.action {
                Action::Create => ("    +", GREEN),
                Action::Adopt => ("   <+", YELLOW),
                Action::Replace => ("  -/+", YELLOW),
                Action::Update | Action::Unchanged => ("    ~", YELLOW),
            };
            let _ = writeln!(text, "{} {}", paint(style, sign), object.object);
            if object.action == Action::Adopt {
                self.indented("it is there already, and becomes one of the cluster's objects", text);
            }
            if let Some(why) = &object.not_compared {
                self.indented(&format!("not compared, as {why}"), text);
            }
            object.changes.iter().for_each(|change| self.change(change, text));
        }
    }

    fn change(&self, change: &FieldChange, text: &mut String) {
        let line = match (&change.before, &change.after) {
            _ if change.secret => format!("{}: changes (it is secret)", change.path),
            (None, after) => format!("{}: {}", change.path, inline(after.as_ref())),
            (Some(before), None) => format!("{}: {} -> (none)", change.path, inline(Some(before))),
            (Some(before), after) => {
                format!("{}: {} -> {}", change.path, inline(Some(before)), inline(after.as_ref()))
            }
        };
        for (nth, line) in wrap(&line, self.width.saturating_sub(INDENT + 2)).iter().enumerate() {
            let indent = if nth == 0 { INDENT } else { INDENT + 2 };
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
    }

    fn unwanted(&self, plan: &Plan, text: &mut String) {
        for unwanted in &plan.unwanted {
            let sign = if unwanted.fate == Fate::Delete { "    -" } else { "    ?" };
            let _ = writeln!(text, "{} {}", paint(RED, sign), unwanted.object);
            match &unwanted.fate {
                Fate::Keep { reason } => self.indented(&format!("no longer in the spec; {reason}"), text),
                Fate::Delete => self.indented("no longer in the spec", text),
            }
        }
    }

    fn conflicts(&self, plan: &Plan, text: &mut String) {
        for conflict in &plan.conflicts {
            let (sign, style) = if conflict.forced { ("    ~", YELLOW) } else { ("    !", RED) };
            let _ = writeln!(text, "{} {conflict}", paint(style, sign));
            if conflict.forced {
                self.indented("taken over: --force-conflicts", text);
            }
        }
    }

    fn indented(&self, line: &str, text: &mut String) {
        for line in wrap(line, self.width.saturating_sub(INDENT)) {
            let _ = writeln!(text, "{:INDENT$}{}", "", paint(DIM, &line));
        }
    }
}

/// `DaemonSet, 2 ConfigMaps, ServiceAccount`.
fn kinds(objects: &[&&PlannedObject]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for object in objects {
        match counts.iter_mut().find(|(kind, _)| *kind == object.object.kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((&object.object.kind, 1)),
        }
    }
    let counts = counts.into_iter().map(|(kind, count)| match count {
        1 => kind.to_owned(),
        count => format!("{count} x {kind}"),
    });
    counts.collect::<Vec<_>>().join(", ")
}

fn inline(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "(none)".to_owned(),
        Some(Value::String(text)) if !text.is_empty() && !text.contains('\n') => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn totals(plan: &Plan) -> String {
    let unwanted = |delete: bool| {
        plan.unwanted.iter().filter(|unwanted| (unwanted.fate == Fate::Delete) == delete).count()
    };
    let counts = [
        (plan.count(Action::Create), "to create"),
        (plan.count(Action::Adopt), "to adopt"),
        (plan.count(Action::Update), "to change"),
        (plan.count(Action::Replace), "to replace"),
        (unwanted(true), "to delete"),
        (unwanted(false), "left alone"),
        (plan.blocking().len(), "in conflict"),
        (plan.faults.len(), "refused"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let unchanged = match plan.count(Action::Unchanged) {
        0 => String::new(),
        n => format!("; {n} unchanged"),
    };
    format!("Kubernetes: {}{unchanged}", counts.join(", "))
}
