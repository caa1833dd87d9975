//! The executor against a provider in memory.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::BoxFuture;
use kcl_apply::{Event, Lane, Outcome, Provider, Report, Resolved, apply};
use kcl_engine::{
    Action, Attrs, Catalogue, Options, Plan, Ref, Resource, Schema, Set, Step, UnresolvedRef, Wanted,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

#[derive(Serialize, Deserialize)]
struct Part {
    group: String,
    refs: Set<Ref>,
}

impl Resource for Part {
    const SCHEMA: &'static Schema = &Schema::new("part", "parts");
}

/// `parts`: name, batch group, what it refers to.
fn plan_of(parts: &[(&str, &str, &[&str])]) -> Plan {
    let mut wanted = Wanted::default();
    for (name, group, refs) in parts {
        let refs = refs.iter().map(|to| Ref::to("part", *to, "id")).collect();
        wanted.add(*name, &Part { group: (*group).to_owned(), refs }).unwrap();
    }
    kcl_engine::plan(&Catalogue::new([Part::SCHEMA]), &wanted, Vec::new(), Options::default()).unwrap()
}

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
struct Broken(String);

/// Records what it is asked; `fails` are refused, `slow` waits until it is let go.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<Vec<String>>>,
    seen: Mutex<BTreeMap<String, String>>,
    running: Mutex<(usize, usize)>,
    /// How many ran, each time that one started.
    widths: Mutex<Vec<usize>>,
    fails: &'static str,
    slow: &'static str,
    /// The slow step runs.
    begun: Notify,
    go: Notify,
    limit: usize,
    refused: Mutex<u64>,
    /// Each step is refused so often before it is taken.
    refuses: u64,
    /// What it is told.
    under_way: Mutex<Vec<(usize, bool)>>,
}

impl Provider for Recorder {
    type Error = Broken;

    fn lane(&self, _: &str) -> Lane {
        Lane { name: "parts", limit: if self.limit == 0 { 100 } else { self.limit } }
    }

    fn refused(&self, _: &str) -> u64 {
        *self.refused.lock().unwrap()
    }

    fn batch_key(&self, step: &Step) -> Option<String> {
        let group = step.wanted.as_ref()?["group"].as_str()?;
        (!group.is_empty()).then(|| group.to_owned())
    }

    fn under_way(&self, running: usize, is_cut_short: bool) {
        self.under_way.lock().unwrap().push((running, is_cut_short));
    }

    fn run(&self, steps: Vec<Resolved>) -> BoxFuture<'_, Vec<Result<Attrs, Broken>>> {
        self.calls.lock().unwrap().push(steps.iter().map(|step| step.name.clone()).collect());
        Box::pin(async move {
            {
                let mut running = self.running.lock().unwrap();
                running.0 += 1;
                running.1 = running.1.max(running.0);
                self.widths.lock().unwrap().push(running.0);
            }
            *self.refused.lock().unwrap() += self.refuses;
            tokio::task::yield_now().await;
            if steps.iter().any(|step| step.name == self.slow) {
                self.begun.notify_one();
                self.go.notified().await;
            }
            self.running.lock().unwrap().0 -= 1;
            let answer = |step: Resolved| {
                if step.name == self.fails {
                    return Err(Broken(format!("{} is broken", step.name)));
                }
                self.seen.lock().unwrap().insert(step.name.clone(), step.wanted.unwrap().to_string());
                Ok(Attrs::from([("id".to_owned(), format!("id-of-{}", step.name))]))
            };
            steps.into_iter().map(answer).collect()
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the executor gives it away")]
fn unresolved(error: UnresolvedRef) -> Broken {
    Broken(error.to_string())
}

async fn run(plan: &Plan, provider: &Recorder) -> Report<Broken> {
    apply(plan, provider, std::future::pending(), unresolved, |_| {}).await
}

const DIAMOND: &[(&str, &str, &[&str])] =
    &[("a", "", &[]), ("b", "", &["a"]), ("c", "", &["a"]), ("d", "", &["b", "c"])];

#[tokio::test]
async fn references_become_the_clouds_own_names() {
    let provider = Recorder::default();
    let report = run(&plan_of(DIAMOND), &provider).await;
    assert_eq!(report.outcome(), Outcome::Done);
    assert_eq!(report.done, 4);
    let seen = provider.seen.lock().unwrap();
    assert!(
        seen["d"].contains(r#""$id":"id-of-b""#) && seen["d"].contains(r#""$id":"id-of-c""#),
        "{}",
        seen["d"]
    );
    assert_eq!(report.attrs["part/d"]["id"], "id-of-d");
}

#[tokio::test]
async fn a_failure_skips_its_dependents_and_names_the_root_only() {
    let provider = Recorder { fails: "b", ..Recorder::default() };
    let report = run(&plan_of(DIAMOND), &provider).await;
    assert_eq!(report.outcome(), Outcome::Failed);
    assert_eq!(report.done, 2);
    assert_eq!(report.failures.len(), 1);
    assert_eq!(report.failures[0].error, Broken("b is broken".to_owned()));
    let skipped: Vec<_> = report.failures[0].skipped.iter().map(|(_, id)| id.name.as_str()).collect();
    assert_eq!(skipped, ["d"]);
    let told = provider.under_way.lock().unwrap();
    assert_eq!((told.first(), told.last()), (Some(&(1, false)), Some(&(0, true))));
}

#[tokio::test]
async fn a_slow_step_holds_up_only_what_needs_it() {
    // s is slow; x -> y -> z are not, and all of them finish while s runs.
    let parts: &[(&str, &str, &[&str])] =
        &[("s", "", &[]), ("t", "", &["s"]), ("x", "", &[]), ("y", "", &["x"]), ("z", "", &["y"])];
    let plan = plan_of(parts);
    let provider = Recorder { slow: "s", ..Recorder::default() };
    let mut order = Vec::new();
    let report = apply(&plan, &provider, std::future::pending(), unresolved, |event| {
        if let Event::Done { index, .. } = event {
            let name = plan.steps[index].id.name.clone();
            if name == "z" {
                provider.go.notify_one();
            }
            order.push(name);
        }
    })
    .await;
    assert_eq!(report.outcome(), Outcome::Done);
    assert_eq!(order, ["x", "y", "z", "s", "t"]);
}

#[tokio::test]
async fn steps_with_one_key_that_are_ready_together_are_one_call() {
    let parts: &[(&str, &str, &[&str])] =
        &[("a", "g", &[]), ("b", "g", &[]), ("c", "h", &[]), ("d", "", &[]), ("e", "g", &["a"])];
    let provider = Recorder::default();
    let report = run(&plan_of(parts), &provider).await;
    assert_eq!(report.done, 5);
    let calls = provider.calls.lock().unwrap().clone();
    assert_eq!(calls, [vec!["a", "b"], vec!["c"], vec!["d"], vec!["e"]]);
}

#[tokio::test]
async fn a_lane_limits_how_many_run() {
    let names: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
    let parts: Vec<(&str, &str, &[&str])> = names.iter().map(|name| (name.as_str(), "", &[][..])).collect();
    let provider = Recorder { limit: 3, ..Recorder::default() };
    let report = run(&plan_of(&parts), &provider).await;
    assert_eq!(report.done, 20);
    assert_eq!(provider.running.lock().unwrap().1, 3);
}

#[tokio::test]
async fn where_the_cloud_refuses_less_is_asked() {
    let names: Vec<String> = (0..60).map(|n| format!("p{n}")).collect();
    let parts: Vec<(&str, &str, &[&str])> = names.iter().map(|name| (name.as_str(), "", &[][..])).collect();
    let provider = Recorder { limit: 16, refuses: 1, ..Recorder::default() };
    let report = run(&plan_of(&parts), &provider).await;
    assert_eq!(report.done, 60);
    let widths = provider.widths.lock().unwrap().clone();
    assert!(widths[40..].iter().all(|width| *width == 1), "{widths:?}");
}

#[tokio::test]
async fn stopping_finishes_what_runs_and_starts_nothing() {
    let plan = plan_of(&[("s", "", &[]), ("t", "", &["s"])]);
    let provider = Recorder { slow: "s", ..Recorder::default() };
    let mut stopping = None;
    let report = apply(&plan, &provider, provider.begun.notified(), unresolved, |event| {
        if let Event::Stopping { running } = event {
            stopping = Some(running);
            provider.go.notify_one();
        }
    })
    .await;
    assert_eq!(stopping, Some(1));
    assert_eq!(report.outcome(), Outcome::Stopped);
    assert_eq!(report.done, 1);
    let left: Vec<_> = report.not_started.iter().map(|(action, id)| (*action, id.name.as_str())).collect();
    assert_eq!(left, [(Action::Create, "t")]);
}

#[tokio::test]
async fn what_waits_for_its_turn_when_it_is_stopped_is_not_started() {
    let parts: &[(&str, &str, &[&str])] = &[("s", "", &[]), ("t", "", &[]), ("u", "", &[])];
    let plan = plan_of(parts);
    let provider = Recorder { slow: "s", limit: 1, ..Recorder::default() };
    let mut stopping = None;
    let report = apply(&plan, &provider, provider.begun.notified(), unresolved, |event| {
        if let Event::Stopping { running } = event {
            stopping = Some(running);
            provider.go.notify_one();
        }
    })
    .await;
    assert_eq!(stopping, Some(1), "one lane, one step");
    assert_eq!((report.done, report.not_started.len()), (1, 2));
    assert_eq!(report.outcome(), Outcome::Stopped);
    assert_eq!(provider.calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn who_stops_it_before_it_begins_sees_nothing_started() {
    let provider = Recorder::default();
    let plan = plan_of(DIAMOND);
    let mut events = 0;
    let report = apply(&plan, &provider, std::future::ready(()), unresolved, |_| events += 1).await;
    assert_eq!((report.done, report.not_started.len(), events), (0, 4, 1));
    assert_eq!(report.outcome(), Outcome::Stopped);
    assert!(provider.calls.lock().unwrap().is_empty());
}
