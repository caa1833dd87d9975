//! What is said of a plan that could not be applied to its end.

use kcl_apply::{Failure, Report};
use kcl_aws::Error;
use kcl_engine::{Action, Plan};

use crate::error::CommandError;

/// So many resources with the same trouble are named.
const NAMED: usize = 3;

/// What EC2 puts before the details of a refusal, which only AWS can read and which differ each time.
const ENCODED: &str = "Encoded authorization failure message:";

/// The error for `report`, which has failures.
pub(super) fn failure(report: &Report<Error>, plan: &Plan) -> CommandError {
    let errors: Vec<Error> = report.failures.iter().map(|failure| failure.error.clone()).collect();
    let mut error = CommandError::from(errors);
    error.messages = causes(&report.failures);
    let skipped: usize = report.failures.iter().map(|failure| failure.skipped.len()).sum();
    // What runs when the user asks to stop may wait for what is not begun any more.
    let stopped = match report.not_started.len() {
        0 => String::new(),
        left => format!("; stopped before {left} more were started"),
    };
    error.messages.push(format!(
        "{} of {} steps are done, {} failed, {skipped} were skipped because of that{stopped}",
        report.done,
        plan.steps.len(),
        report.failures.len()
    ));
    error.hint("mend the cause and run the same command again: it goes on from here")
}

/// A line for each cause: what failed for the same reason is told together.
fn causes(failures: &[Failure<Error>]) -> Vec<String> {
    let mut groups: Vec<(&Failure<Error>, Vec<String>)> = Vec::new();
    for failure in failures {
        let name = failure.id.to_string();
        match groups.iter_mut().find(|(first, _)| reason(first) == reason(failure)) {
            Some((_, names)) => names.push(name),
            None => groups.push((failure, vec![name])),
        }
    }
    let line = |(first, names): (&Failure<Error>, Vec<String>)| {
        format!("failed to {} {}: {}", verb(first.action), listed(names), first.error)
    };
    groups.into_iter().map(line).collect()
}

/// Why it failed. What failed together, or for the same reason in calls of their own, has the same.
fn reason(failure: &Failure<Error>) -> (Action, &str, Option<&str>, &str) {
    let Error { action, code, message, .. } = &failure.error;
    let told = message.split_once(ENCODED).map_or(message.as_str(), |(told, _)| told);
    (failure.action, action, code.as_deref(), told)
}

/// `a, b, c and 16 others`.
fn listed(mut names: Vec<String>) -> String {
    // It takes no more room than `and 1 other`.
    if names.len() > NAMED + 1 {
        let others = names.len() - NAMED;
        names.truncate(NAMED);
        names.push(format!("{others} others"));
    }
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "change",
        Action::Delete => "delete",
    }
}

#[cfg(test)]
mod tests {
    use kcl_aws::ErrorKind;
    use kcl_engine::ResourceId;

    use super::*;

    fn failed(action: Action, name: &str, message: &str) -> Failure<Error> {
        let error = Error::new(ErrorKind::Denied, "ec2:CreateX", message.to_owned());
        Failure { action, id: ResourceId::new("x", name), error, skipped: Vec::new() }
    }

    #[test]
    fn what_was_not_begun_is_told_beside_what_failed() {
        let told = |not_started: usize| {
            let not_started = (0..not_started).map(|n| (Action::Delete, ResourceId::new("x", n.to_string())));
            let report = Report {
                done: 3,
                failures: vec![failed(Action::Delete, "a", "still used")],
                not_started: not_started.collect(),
                attrs: std::collections::BTreeMap::new(),
            };
            failure(&report, &Plan::default()).messages.pop()
        };
        let counts = "3 of 0 steps are done, 1 failed, 0 were skipped because of that";
        assert_eq!(told(0).as_deref(), Some(counts));
        assert_eq!(told(2), Some(format!("{counts}; stopped before 2 more were started")));
    }

    #[test]
    fn what_failed_for_the_same_reason_is_told_together() {
        let all = [
            failed(Action::Create, "a", "no"),
            failed(Action::Create, "b", "never"),
            failed(Action::Create, "c", "no"),
            failed(Action::Delete, "d", "no"),
        ];
        assert_eq!(
            causes(&all),
            [
                "failed to create x/a and x/c: ec2:CreateX: no",
                "failed to create x/b: ec2:CreateX: never",
                "failed to delete x/d: ec2:CreateX: no",
            ]
        );
        let refused = |name, code| failed(Action::Create, name, &format!("no. {ENCODED} {code}"));
        let alike = [refused("a", "4pqr"), refused("b", "9xyz"), failed(Action::Create, "c", "never")];
        let refused =
            "failed to create x/a and x/b: ec2:CreateX: no. Encoded authorization failure message: 4pqr";
        assert_eq!(causes(&alike), [refused, "failed to create x/c: ec2:CreateX: never"]);
        let named = |count: usize| {
            let all: Vec<_> = (0..count).map(|n| failed(Action::Create, &n.to_string(), "no")).collect();
            causes(&all).concat()
        };
        assert_eq!(named(4), "failed to create x/0, x/1, x/2 and x/3: ec2:CreateX: no");
        assert_eq!(named(19), "failed to create x/0, x/1, x/2 and 16 others: ec2:CreateX: no");
    }
}
