//! Properties that hold for every graph: of the diff, of plans, and of schedules.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::{BTreeMap, BTreeSet};

use kcl_engine::{
    Action, Attrs, Catalogue, LiveNode, Options, Owner, Plan, Ref, Resource, Schedule, Schema, Set,
    StepState, Wanted, diff, plan,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A kind with everything the engine has rules for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    size: u8,
    fixed: u8,
    refs: Set<Ref>,
    fixed_ref: Option<Ref>,
    tags: BTreeMap<String, String>,
}

impl Resource for Part {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("fixed", "it is fixed"), ("fixed_ref", "it is fixed")],
        open_maps: &["tags"],
        is_foreign_key: |key| key.starts_with("foreign"),
        ..Schema::new("part", "parts")
    };
}

fn catalogue() -> Catalogue {
    Catalogue::new([Part::SCHEMA])
}

/// A graph of `n` parts, in which a part refers only to those before it, so that it has no cycle.
fn graph(parts: &[(u8, u8, Vec<bool>, bool)]) -> Wanted {
    let mut wanted = Wanted::default();
    for (index, (size, fixed, links, fixed_link)) in parts.iter().enumerate() {
        let refs = links.iter().take(index).enumerate().filter(|(_, linked)| **linked);
        let part = Part {
            size: *size,
            fixed: *fixed,
            refs: refs.map(|(before, _)| Ref::to("part", name(before), "id")).collect(),
            fixed_ref: (*fixed_link && index > 0).then(|| Ref::to("part", name(index - 1), "id")),
            tags: BTreeMap::from([("Name".to_owned(), name(index))]),
        };
        wanted.add(name(index), &part).unwrap();
    }
    wanted
}

fn name(index: usize) -> String {
    format!("p{index}")
}

fn parts() -> impl Strategy<Value = Vec<(u8, u8, Vec<bool>, bool)>> {
    let part = (0_u8..3, 0_u8..2, prop::collection::vec(prop::bool::weighted(0.3), 12), any::<bool>());
    prop::collection::vec(part, 1..12)
}

/// The cloud as it is once `wanted` was applied: references are the cloud's own identifiers.
fn as_live(wanted: &Wanted) -> Vec<LiveNode> {
    let attrs = |name: &str| Attrs::from([("id".to_owned(), format!("part-{name}"))]);
    let resolve =
        |fields: &Value| kcl_engine::resolve(fields, &|id, _| Some(format!("part-{}", id.name))).unwrap();
    let nodes = wanted.nodes().map(|(id, node)| LiveNode {
        id: id.clone(),
        fields: resolve(&node.fields),
        attrs: attrs(&id.name),
        owner: Owner::Cluster,
    });
    nodes.collect()
}

/// Runs the plan in an order the schedule allows, picked by `choices`, and checks it while it goes.
fn run(plan: &Plan, choices: &[usize]) -> Vec<usize> {
    let mut schedule = Schedule::new(plan);
    let mut running: Vec<usize> = Vec::new();
    let mut order = Vec::new();
    let mut choices = choices.iter().cycle();
    loop {
        for started in schedule.start_ready() {
            for before in &plan.steps[started].after {
                assert_eq!(schedule.states()[*before], StepState::Done, "{started} started before {before}");
            }
            running.push(started);
        }
        if running.is_empty() {
            return order;
        }
        let next = running.swap_remove(choices.next().unwrap() % running.len());
        schedule.done(next);
        order.push(next);
    }
}

proptest! {
    #[test]
    fn a_thing_does_not_differ_from_itself(parts in parts()) {
        for (_, node) in graph(&parts).nodes() {
            prop_assert!(diff(&node.fields, &node.fields).is_empty());
        }
    }

    #[test]
    fn what_was_applied_needs_no_plan(parts in parts()) {
        let wanted = graph(&parts);
        let plan = plan(&catalogue(), &wanted, as_live(&wanted), Options::default()).unwrap();
        prop_assert!(plan.is_empty(), "{plan:#?}");
        prop_assert!(plan.unwanted.is_empty());
    }

    #[test]
    fn whatever_a_step_refers_to_is_there_before_it(parts in parts(), choices in prop::collection::vec(0_usize..50, 1..20)) {
        let wanted = graph(&parts);
        let plan = plan(&catalogue(), &wanted, Vec::new(), Options::default()).unwrap();
        prop_assert_eq!(plan.steps.len(), parts.len());
        let order = run(&plan, &choices);
        prop_assert_eq!(order.len(), plan.steps.len());
        let mut there = BTreeSet::new();
        for index in order {
            let step = &plan.steps[index];
            for referent in kcl_engine::references(step.wanted.as_ref().unwrap()) {
                prop_assert!(there.contains(&referent), "{} runs before {}", step.id, referent);
            }
            there.insert(step.id.clone());
        }
    }

    #[test]
    fn nothing_is_deleted_while_something_refers_to_it(parts in parts(), choices in prop::collection::vec(0_usize..50, 1..20)) {
        let live = as_live(&graph(&parts));
        let options = Options { prune: true, teardown: true };
        let plan = plan(&catalogue(), &Wanted::default(), live, options).unwrap();
        let order = run(&plan, &choices);
        prop_assert_eq!(order.len(), parts.len());
        let mut there: BTreeSet<_> = plan.steps.iter().map(|step| step.id.clone()).collect();
        for index in order {
            let step = &plan.steps[index];
            prop_assert_eq!(step.action, Action::Delete);
            there.remove(&step.id);
            for other in plan.steps.iter().filter(|other| there.contains(&other.id)) {
                let refers = kcl_engine::references(&other.live.as_ref().unwrap().fields);
                prop_assert!(!refers.contains(&step.id), "{} goes before {}", step.id, other.id);
            }
        }
    }

    #[test]
    fn any_change_leads_to_what_is_wanted(before in parts(), after in parts(), choices in prop::collection::vec(0_usize..50, 1..20)) {
        let (old, wanted) = (graph(&before), graph(&after));
        let live = as_live(&old);
        let plan = plan(&catalogue(), &wanted, live.clone(), Options { prune: true, teardown: false }).unwrap();
        let order = run(&plan, &choices);
        prop_assert_eq!(order.len(), plan.steps.len());
        let mut there: BTreeSet<_> = live.into_iter().map(|node| node.id).collect();
        for index in order {
            let step = &plan.steps[index];
            match step.action {
                Action::Create => prop_assert!(there.insert(step.id.clone()), "{} made twice", step.id),
                Action::Update => prop_assert!(there.contains(&step.id)),
                Action::Delete => prop_assert!(there.remove(&step.id)),
            }
            prop_assert!(!step.because.is_empty());
        }
        let wanted: BTreeSet<_> = wanted.nodes().map(|(id, _)| id.clone()).collect();
        prop_assert_eq!(there, wanted);
    }

    #[test]
    fn an_in_place_change_is_never_a_replacement(parts in parts(), size in 3_u8..9) {
        let live = as_live(&graph(&parts));
        let mut changed = parts.clone();
        changed[0].0 = size;
        let plan = plan(&catalogue(), &graph(&changed), live, Options::default()).unwrap();
        prop_assert_eq!(plan.steps.len(), 1);
        prop_assert_eq!(plan.steps[0].action, Action::Update);
        prop_assert!(!plan.steps[0].replacement);
    }

    #[test]
    fn a_failure_skips_what_comes_after_it_and_nothing_else(parts in parts(), fails in 0_usize..12) {
        let wanted = graph(&parts);
        let plan = plan(&catalogue(), &wanted, Vec::new(), Options::default()).unwrap();
        let fails = fails % plan.steps.len();
        let mut schedule = Schedule::new(&plan);
        let mut skipped = Vec::new();
        loop {
            let started = schedule.start_ready();
            if started.is_empty() {
                break;
            }
            for index in started {
                if index == fails { skipped = schedule.failed(index); } else { schedule.done(index); }
            }
        }
        let mut after = BTreeSet::from([fails]);
        loop {
            let more: Vec<usize> = (0..plan.steps.len())
                .filter(|i| !after.contains(i) && plan.steps[*i].after.iter().any(|b| after.contains(b)))
                .collect();
            if more.is_empty() { break; }
            after.extend(more);
        }
        after.remove(&fails);
        prop_assert_eq!(skipped.into_iter().collect::<BTreeSet<_>>(), after.clone());
        for (index, state) in schedule.states().iter().enumerate() {
            match state {
                StepState::Done => prop_assert!(index != fails && !after.contains(&index)),
                StepState::Failed => prop_assert_eq!(index, fails),
                StepState::Skipped { root } => { prop_assert_eq!(*root, fails); prop_assert!(after.contains(&index)); }
                other => prop_assert!(false, "{index} is left {other:?}"),
            }
        }
    }
}

fn one(fixed: u8) -> Wanted {
    graph(&[(1, fixed, vec![], false), (1, 0, vec![true], false), (1, 0, vec![], true)])
}

#[test]
fn a_replacement_says_why_and_its_dependents_follow() {
    let plan = plan(&catalogue(), &one(1), as_live(&one(0)), Options::default()).unwrap();
    let steps: Vec<String> = plan
        .steps
        .iter()
        .map(|step| {
            format!("{:?} {} {}", step.action, step.id.name, serde_json::to_string(&step.because).unwrap())
        })
        .collect();
    let referent = r#"{"reason":"referent_replaced","referent":{"kind":"part","name":"p0"}}"#;
    let referent1 = r#"{"reason":"referent_replaced","referent":{"kind":"part","name":"p1"}}"#;
    // p1 refers to p0 in a field that can change; p2 refers to p1, which stays.
    assert_eq!(
        steps,
        [
            r#"Delete p0 [{"reason":"immutable","field":"fixed","why":"it is fixed"}]"#.to_owned(),
            r#"Create p0 [{"reason":"immutable","field":"fixed","why":"it is fixed"}]"#.to_owned(),
            format!("Update p1 [{referent}]"),
        ]
    );
    assert!(!serde_json::to_string(&plan).unwrap().contains(referent1));
    let create = plan.steps.iter().position(|step| step.action == Action::Create).unwrap();
    let update = plan.steps.iter().find(|step| step.action == Action::Update).unwrap();
    assert!(update.after.contains(&create));
    assert_eq!(update.changes[0].old, json!({"$set": [{"$id": "part-p0", "kind": "part", "attr": "id"}]}));
}

#[test]
fn tags_of_others_are_left_alone_and_ours_are_not() {
    let wanted = one(0);
    let mut live = as_live(&wanted);
    live[0].fields["tags"]["foreign-cost-centre"] = json!("42");
    let unchanged = plan(&catalogue(), &wanted, live.clone(), Options::default()).unwrap();
    assert!(unchanged.is_empty());
    live[0].fields["tags"]["ours"] = json!("left over");
    let changed = plan(&catalogue(), &wanted, live, Options::default()).unwrap();
    assert_eq!(changed.steps[0].changes[0].path, "tags.ours");
}

#[test]
fn what_controllers_made_is_seen_only_when_the_cluster_goes() {
    let mut live = as_live(&one(0));
    live[0].owner = Owner::Controller;
    let updated =
        plan(&catalogue(), &Wanted::default(), live.clone(), Options { prune: true, teardown: false });
    assert_eq!(updated.unwrap().steps.len(), 2);
    let torn_down = plan(&catalogue(), &Wanted::default(), live, Options { prune: true, teardown: true });
    assert_eq!(torn_down.unwrap().steps.len(), 3);
}

#[test]
fn without_pruning_unwanted_things_are_listed() {
    let plan = plan(&catalogue(), &Wanted::default(), as_live(&one(0)), Options::default()).unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.unwanted.len(), 3);
}

#[test]
fn of_two_with_one_name_the_nearer_one_stays() {
    let wanted = one(0);
    let mut live = as_live(&wanted);
    let mut twin = live[0].clone();
    twin.attrs.insert("id".to_owned(), "part-0-twin".to_owned());
    twin.fields["size"] = json!(7);
    live.insert(0, twin);
    let plan = plan(&catalogue(), &wanted, live, Options::default()).unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.unwanted[0].id.name, "p0#part-0-twin");
}

#[test]
fn a_reference_to_nothing_is_refused() {
    let mut wanted = Wanted::default();
    let part = Part {
        size: 1,
        fixed: 1,
        refs: [Ref::to("part", "nowhere", "id")].into_iter().collect(),
        fixed_ref: None,
        tags: BTreeMap::new(),
    };
    wanted.add("a", &part).unwrap();
    let error = plan(&catalogue(), &wanted, Vec::new(), Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "part/a refers to part/nowhere, which is not part of the cluster");
}

/// A kind that holds data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Disk {
    zone: u8,
}

impl Resource for Disk {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("zone", "it cannot move")],
        holds_data: true,
        irreplaceable: Some("it holds data"),
        ..Schema::new("disk", "disks")
    };
}

#[test]
fn data_is_neither_replaced_nor_pruned_and_goes_only_with_the_cluster() {
    let catalogue = Catalogue::new([Disk::SCHEMA]);
    let disk = |name: &str, zone| {
        let mut wanted = Wanted::default();
        wanted.add(name, &Disk { zone }).unwrap();
        wanted
    };
    let prune = Options { prune: true, teardown: false };
    let moved = plan(&catalogue, &disk("a", 2), as_live(&disk("a", 1)), prune).unwrap();
    assert!(moved.is_empty());
    assert_eq!(moved.refusals[0].why, "it holds data");
    let renamed = plan(&catalogue, &disk("b", 1), as_live(&disk("a", 1)), prune).unwrap();
    assert!(renamed.steps.iter().all(|step| step.action == Action::Create));
    assert_eq!(renamed.unwanted[0].id.name, "a");
    let teardown = Options { prune: true, teardown: true };
    let gone = plan(&catalogue, &Wanted::default(), as_live(&disk("a", 1)), teardown).unwrap();
    assert_eq!(gone.steps[0].action, Action::Delete);
}

/// A network, which others stand on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ground {
    blocks: Set<String>,
}

impl Resource for Ground {
    const SCHEMA: &'static Schema = &Schema { stood_on: &["blocks"], ..Schema::new("ground", "grounds") };
}

fn ground(blocks: &[&str]) -> Ground {
    Ground { blocks: blocks.iter().map(|block| (*block).to_owned()).collect() }
}

fn part_on(wanted: &mut Wanted, name: &str, kind: &'static str, referent: &str) {
    let part = Part {
        size: 1,
        fixed: 1,
        refs: [Ref::to(kind, referent, "id")].into_iter().collect(),
        fixed_ref: None,
        tags: BTreeMap::new(),
    };
    wanted.add(name, &part).unwrap();
}

#[test]
fn what_others_stand_on_is_taken_away_after_them() {
    let catalogue = Catalogue::new([Ground::SCHEMA, Part::SCHEMA]);
    let prune = Options { prune: true, teardown: false };
    let of = |blocks: &[&str], parts: &[&str]| {
        let mut wanted = Wanted::default();
        wanted.add("g", &ground(blocks)).unwrap();
        for part in parts {
            part_on(&mut wanted, part, "ground", "g");
        }
        wanted
    };
    let before = as_live(&of(&["a", "b"], &["stays", "goes"]));
    let order = |blocks: &[&str], parts: &[&str]| {
        let plan = plan(&catalogue, &of(blocks, parts), before.clone(), prune).unwrap();
        let place = |action, name: &str| {
            plan.steps.iter().position(|step| step.action == action && step.id.name == name)
        };
        let (update, delete) = (place(Action::Update, "g").unwrap(), place(Action::Delete, "goes").unwrap());
        plan.steps[update].after.contains(&delete)
    };
    assert!(order(&["a"], &["stays"]), "an element less: later than what may stand on it");
    assert!(!order(&["a", "b", "c"], &["stays"]), "only more: nothing to wait for");
}

#[test]
fn an_update_that_what_leaves_waits_for_goes_first() {
    // The user moves from the old part to a new one, which stands on what the same update adds.
    let catalogue = Catalogue::new([Ground::SCHEMA, Part::SCHEMA]);
    let of = |blocks: &[&str], part: &str| {
        let mut wanted = Wanted::default();
        wanted.add("g", &ground(blocks)).unwrap();
        part_on(&mut wanted, part, "ground", "g");
        part_on(&mut wanted, "user", "part", part);
        wanted
    };
    let prune = Options { prune: true, teardown: false };
    let plan = plan(&catalogue, &of(&["new"], "new"), as_live(&of(&["old"], "old")), prune).unwrap();
    let steps = run(&plan, &[0]);
    let place = |name: &str| steps.iter().position(|step| plan.steps[*step].id.name == name).unwrap();
    assert!(place("g") < place("new") && place("new") < place("user") && place("user") < place("old"));
}

/// As with the Route53 zone of load balancers, which all of a region share.
#[test]
fn an_identifier_that_several_share_is_that_of_the_one_that_is_meant() {
    let plain = || Part { size: 0, fixed: 0, refs: Set::default(), fixed_ref: None, tags: BTreeMap::new() };
    for meant in ["a", "b"] {
        let mut wanted = Wanted::default();
        wanted.add("a", &plain()).unwrap();
        wanted.add("b", &plain()).unwrap();
        wanted.add("c", &Part { fixed_ref: Some(Ref::to("part", meant, "zone")), ..plain() }).unwrap();
        let attrs = || Attrs::from([("zone".to_owned(), "Z1".to_owned())]);
        let third = Part { fixed_ref: Some(Ref::id("part", "zone", "Z1")), ..plain() };
        let live = vec![
            LiveNode::new("a", &plain(), attrs(), Owner::Cluster).unwrap(),
            LiveNode::new("b", &plain(), attrs(), Owner::Cluster).unwrap(),
            LiveNode::new("c", &third, Attrs::new(), Owner::Cluster).unwrap(),
        ];
        let planned = plan(&catalogue(), &wanted, live, Options { prune: true, teardown: false }).unwrap();
        assert!(planned.is_empty(), "{meant}: {planned:?}");
    }
}
