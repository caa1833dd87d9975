//! How a cluster is, as people read it.

use std::fmt::Write;

use super::Table;
use super::printer::{GREEN, RED, paint};
use crate::health::{Check, Health};

/// Groups in numbers, then what was looked at, then what is wrong.
pub(crate) fn health_text(health: &Health) -> String {
    let mut groups = Table::new(&["GROUP", "ROLE", "WANTED", "RUNNING", "READY"]);
    for group in &health.groups {
        let wanted = match group.desired {
            Some(desired) => desired.to_string(),
            None => "-".to_owned(),
        };
        let ready = group.ready.map_or_else(|| "-".to_owned(), |ready| ready.to_string());
        groups.row(vec![group.name.clone(), group.role.to_owned(), wanted, group.running.to_string(), ready]);
    }
    let mut checks = Table::new(&["CHECK", "STATE"]);
    for check in &health.checks {
        checks.row(vec![check.name.to_owned(), state(check)]);
    }
    let mut text = format!("{}\n{}", groups.render(), checks.render());
    for check in health.checks.iter().filter(|check| !check.problems.is_empty()) {
        let _ = writeln!(text, "\n{}:", check.name);
        for problem in &check.problems {
            let _ = writeln!(text, "  {} {problem}", paint(RED, "!"));
        }
    }
    let (style, verdict) = if health.healthy { (GREEN, "is healthy") } else { (RED, "is not healthy") };
    let _ = writeln!(text, "\n{} {}", health.cluster, paint(style, verdict));
    text
}

fn state(check: &Check) -> String {
    match check.problems.len() {
        0 => "ok".to_owned(),
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    }
}
