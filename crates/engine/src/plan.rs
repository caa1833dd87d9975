//! From wanted and live to a plan.
//!
//! A plan is data: the steps, what each comes after, and why each is there. Applying it takes no decision.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diff::{FieldChange, diff};
use crate::graph::{Attrs, LiveNode, Owner, Wanted};
use crate::id::ResourceId;
use crate::schema::{Catalogue, Goes, Schema};
use crate::value::{Ref, SET, as_fields, map_references, references};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Makes a resource.
    Create,
    /// Changes one in place.
    Update,
    /// Removes one.
    Delete,
}

/// Why a step is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Because {
    /// It is wanted and not there.
    Missing,
    /// Fields differ.
    Changed,
    /// A field differs that cannot be changed in place.
    Immutable {
        /// The field.
        field: String,
        /// Why it cannot be changed.
        why: String,
    },
    /// It refers to something that is replaced.
    ReferentReplaced {
        /// What is replaced.
        referent: ResourceId,
    },
    /// It is there and the spec does not want it.
    Unwanted,
    /// A second one of the same name, left behind by an interrupted run.
    Duplicate,
    /// The whole cluster goes.
    Teardown,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// To which resource.
    pub id: ResourceId,
    /// Why; never empty.
    pub because: Vec<Because>,
    /// This step and another one (a deletion and a creation) are one replacement.
    pub replacement: bool,
    /// The fields that differ, for an update or a replacement's creation.
    pub changes: Vec<FieldChange>,
    /// Indices of the steps that must be done before this one may start.
    pub after: BTreeSet<usize>,
    /// The wanted fields, unless this is a deletion.
    pub wanted: Option<Value>,
    /// What is there, unless this is a creation.
    pub live: Option<LiveNode>,
}

/// Something that is there, ours, and not in the spec, left for a run with pruning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unwanted {
    /// What it is.
    pub id: ResourceId,
    /// What the cloud calls it.
    pub attrs: Attrs,
}

/// A change that the plan leaves out because it would break the running cluster or lose data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The resource that would have to be replaced.
    pub id: ResourceId,
    /// Why it cannot be.
    pub why: String,
    /// Why it would have to be replaced.
    pub because: Vec<Because>,
    /// What would change.
    pub changes: Vec<FieldChange>,
}

/// What to do, in which order, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Plan {
    /// The steps, sorted for display; their order says nothing about the order of execution.
    pub steps: Vec<Step>,
    /// Ours, not wanted, and left alone.
    pub unwanted: Vec<Unwanted>,
    /// Wanted, and refused.
    pub refusals: Vec<Refusal>,
    /// What each resource is called in the cloud already, for references to be resolved.
    pub known: BTreeMap<String, Attrs>,
    /// How many resources are there as wanted.
    pub unchanged: usize,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Those steps alone that `keep` picks, in the same order among each other. What they come after and is not
    /// picked is for the caller to have done.
    pub fn part(&self, keep: impl Fn(&Step) -> bool) -> Self {
        let kept: Vec<usize> =
            self.steps.iter().enumerate().filter(|(_, step)| keep(step)).map(|(index, _)| index).collect();
        let steps = kept.iter().map(|index| {
            let mut step = self.steps[*index].clone();
            step.after = step.after.iter().filter_map(|before| kept.binary_search(before).ok()).collect();
            step
        });
        Self { steps: steps.collect(), known: self.known.clone(), ..Self::default() }
    }
}

/// What a plan may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Remove what is ours and not wanted.
    pub prune: bool,
    /// The cluster goes: remove what controllers made in its name, too.
    pub teardown: bool,
}

/// The wanted graph or the live resources make no sense: a mistake in kcl.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// A kind that is not in the catalogue.
    #[error("no rules are known for the resource kind {0}")]
    UnknownKind(String),
    /// A reference to something that is neither wanted nor shared.
    #[error("{from} refers to {to}, which is not part of the cluster")]
    DanglingReference {
        /// Who refers.
        from: ResourceId,
        /// To what.
        to: ResourceId,
    },
    /// Steps that wait for each other.
    #[error("these steps wait for each other: {0}")]
    Cycle(String),
}

/// What is to be done to one resource.
#[derive(Debug, Default)]
struct Decision {
    changes: Vec<FieldChange>,
    because: Vec<Because>,
    replace: bool,
}

/// Compares `wanted` with `live` and plans the way from one to the other.
pub fn plan(
    catalogue: &Catalogue,
    wanted: &Wanted,
    live: Vec<LiveNode>,
    options: Options,
) -> Result<Plan, PlanError> {
    check_references(catalogue, wanted, &live)?;
    let (mut live, duplicates) = name_uniquely(wanted, live, catalogue);
    let index = Identifiers::new(wanted, &live);
    let mut wanted = wanted.clone();
    for (id, node) in &mut live {
        let meant = wanted.nodes.get(id).map(|want| references(&want.fields)).unwrap_or_default();
        index.link(&mut node.fields, &meant);
    }
    for node in wanted.nodes.values_mut() {
        index.link(&mut node.fields, &[]);
    }
    let decisions = decide(catalogue, &wanted, &live);

    let mut plan = Plan { known: index.known, ..Plan::default() };
    plan.unchanged =
        wanted.nodes.keys().filter(|id| live.contains_key(*id) && !decisions.contains_key(*id)).count();
    add_wanted_steps(catalogue, &wanted, &live, decisions, &mut plan);
    add_removals(catalogue, &wanted, &live, &duplicates, options, &mut plan);
    let inherited = drop_contained(catalogue, &mut plan);
    sort_for_display(catalogue, &mut plan);
    add_order(catalogue, &wanted, &inherited, &mut plan);
    check_acyclic(&plan)?;
    Ok(plan)
}

fn check_references(catalogue: &Catalogue, wanted: &Wanted, live: &[LiveNode]) -> Result<(), PlanError> {
    for id in wanted.nodes.keys().chain(live.iter().map(|node| &node.id)) {
        if catalogue.get(id.kind.as_str()).is_none() {
            return Err(PlanError::UnknownKind(id.kind.to_string()));
        }
    }
    for from in wanted.nodes.keys() {
        for to in wanted.dependencies(from) {
            if !wanted.nodes.contains_key(&to) && !wanted.shared.contains_key(&to) {
                return Err(PlanError::DanglingReference { from: from.clone(), to });
            }
        }
    }
    Ok(())
}

/// Gives each live resource a name of its own. Of several with one name, the one that is nearest to what is
/// wanted keeps it; the others are left-overs of an interrupted run.
fn name_uniquely(
    wanted: &Wanted,
    live: Vec<LiveNode>,
    catalogue: &Catalogue,
) -> (BTreeMap<ResourceId, LiveNode>, BTreeSet<ResourceId>) {
    let mut by_name: BTreeMap<ResourceId, Vec<LiveNode>> = BTreeMap::new();
    for node in live {
        by_name.entry(node.id.clone()).or_default().push(node);
    }
    let mut unique = BTreeMap::new();
    let mut duplicates = BTreeSet::new();
    for (id, mut nodes) in by_name {
        nodes.sort_by_cached_key(|node| {
            let distance = wanted
                .nodes
                .get(&id)
                .map_or(0, |want| compare(catalogue.get(id.kind.as_str()), &node.fields, &want.fields).len());
            (node.owner == Owner::Controller, distance, node.attrs.clone())
        });
        for (nth, mut node) in nodes.into_iter().enumerate() {
            if nth > 0 {
                let physical = node.attrs.get("id").or_else(|| node.attrs.get("arn"));
                let suffix = physical.map_or_else(|| nth.to_string(), Clone::clone);
                node.id.name = format!("{}#{suffix}", node.id.name);
                // Only a kind that is replaced by making the new one first can leave an old one behind. Any other
                // second one is somebody's doing, and treated like everything that is not wanted.
                let left_behind = catalogue.get(id.kind.as_str()).is_some_and(|schema| schema.create_first);
                if left_behind && node.owner == Owner::Cluster {
                    duplicates.insert(node.id.clone());
                }
            }
            unique.insert(node.id.clone(), node);
        }
    }
    (unique, duplicates)
}

/// Which resources of ours an identifier of the cloud belongs to. Mostly it is one, but not always: all load balancers
/// of a region and type have the same zone of Route53's.
struct Identifiers {
    owners: HashMap<(String, String, String), Vec<ResourceId>>,
    known: BTreeMap<String, Attrs>,
}

impl Identifiers {
    fn new(wanted: &Wanted, live: &BTreeMap<ResourceId, LiveNode>) -> Self {
        let live = live.iter().map(|(id, node)| (id, &node.attrs));
        let mut owners: HashMap<_, Vec<ResourceId>> = HashMap::new();
        let mut known = BTreeMap::new();
        for (id, attrs) in wanted.shared.iter().chain(live) {
            for (attr, value) in attrs {
                let key = (id.kind.to_string(), attr.clone(), value.clone());
                owners.entry(key).or_default().push(id.clone());
            }
            known.insert(id.to_string(), attrs.clone());
        }
        Self { owners, known }
    }

    /// Replaces identifiers by what they belong to; of several, by one that is `meant`.
    fn link(&self, fields: &mut Value, meant: &[ResourceId]) {
        map_references(fields, &|reference| match reference {
            Ref::Id { kind, attr, value } => {
                let owners = self.owners.get(&(kind.to_string(), attr.clone(), value.clone()))?;
                let id = owners.iter().find(|id| meant.contains(id)).or(owners.first())?;
                Some(Ref::To { id: id.clone(), attr: attr.clone() })
            }
            Ref::To { .. } => None,
        });
    }
}

/// The differences that count: keys of open maps that are somebody else's do not.
fn compare(schema: Option<&Schema>, old: &Value, new: &Value) -> Vec<FieldChange> {
    let Some(schema) = schema.filter(|schema| !schema.open_maps.is_empty()) else { return diff(old, new) };
    let mut old = old.clone();
    for field in schema.open_maps {
        let ours = as_fields(new.get(field).unwrap_or(&Value::Null));
        if let Some(Value::Object(map)) = old.get_mut(field) {
            map.retain(|key, _| ours.contains_key(key) || !(schema.is_foreign_key)(key));
        }
    }
    diff(&old, new)
}

/// What is to be done to each wanted resource that is there; those that are as wanted are left out.
fn decide(
    catalogue: &Catalogue,
    wanted: &Wanted,
    live: &BTreeMap<ResourceId, LiveNode>,
) -> BTreeMap<ResourceId, Decision> {
    let mut decisions: BTreeMap<ResourceId, Decision> = BTreeMap::new();
    let mut replaced = Vec::new();
    for (id, want) in &wanted.nodes {
        let (Some(node), Some(schema)) = (live.get(id), catalogue.get(id.kind.as_str())) else { continue };
        let changes = compare(Some(schema), &node.fields, &want.fields);
        if changes.is_empty() {
            continue;
        }
        let mut because: Vec<Because> = changes
            .iter()
            .filter_map(|change| {
                let why = schema.why_impossible(change)?.to_owned();
                Some(Because::Immutable { field: change.field.clone(), why })
            })
            .collect();
        because.dedup();
        let replace = !because.is_empty();
        if replace && schema.irreplaceable.is_none() {
            replaced.push(id.clone());
        }
        if !replace {
            because.push(Because::Changed);
        }
        decisions.insert(id.clone(), Decision { changes, because, replace });
    }
    while let Some(referent) = replaced.pop() {
        for (id, want) in &wanted.nodes {
            if live.contains_key(id) && references(&want.fields).contains(&referent) {
                let decision = decisions.entry(id.clone()).or_default();
                let was_replaced = decision.replace;
                follow_replacement(catalogue, id, &want.fields, &referent, live, decision);
                let can_be =
                    catalogue.get(id.kind.as_str()).is_some_and(|schema| schema.irreplaceable.is_none());
                if decision.replace && !was_replaced && can_be {
                    replaced.push(id.clone());
                }
            }
        }
    }
    decisions
}

/// `id` refers to `referent`, which will be another one: it must follow, in place where it can.
fn follow_replacement(
    catalogue: &Catalogue,
    id: &ResourceId,
    fields: &Value,
    referent: &ResourceId,
    live: &BTreeMap<ResourceId, LiveNode>,
    decision: &mut Decision,
) {
    let Some(schema) = catalogue.get(id.kind.as_str()) else { return };
    for (field, value) in as_fields(fields) {
        if !references(&value).contains(referent) {
            continue;
        }
        let must_go =
            schema.why_immutable(&field).is_some() || schema.replaced_with.contains(&field.as_str());
        decision.replace |= must_go;
        let because = Because::ReferentReplaced { referent: referent.clone() };
        if !decision.because.contains(&because) {
            decision.because.push(because);
        }
        if !decision.changes.iter().any(|change| change.field == field) {
            let mut old = value.clone();
            let attrs = live.get(referent).map(|node| &node.attrs);
            map_references(&mut old, &|reference| match reference {
                Ref::To { id, attr } if id == referent => Some(Ref::Id {
                    kind: id.kind.clone(),
                    attr: attr.clone(),
                    value: attrs.and_then(|attrs| attrs.get(attr)).cloned().unwrap_or_default(),
                }),
                _ => None,
            });
            decision.changes.push(FieldChange { path: field.clone(), field, old, new: value });
        }
    }
}

fn add_wanted_steps(
    catalogue: &Catalogue,
    wanted: &Wanted,
    live: &BTreeMap<ResourceId, LiveNode>,
    mut decisions: BTreeMap<ResourceId, Decision>,
    plan: &mut Plan,
) {
    for (id, want) in &wanted.nodes {
        let step = |action, because, replacement, changes| Step {
            action,
            id: id.clone(),
            because,
            replacement,
            changes,
            after: BTreeSet::new(),
            wanted: Some(want.fields.clone()),
            live: None,
        };
        let Some(node) = live.get(id) else {
            plan.steps.push(step(Action::Create, vec![Because::Missing], false, Vec::new()));
            continue;
        };
        let Some(Decision { changes, because, replace }) = decisions.remove(id) else { continue };
        let irreplaceable = catalogue.get(id.kind.as_str()).and_then(|schema| schema.irreplaceable);
        match (replace, irreplaceable) {
            (false, _) => {
                let live = Some(node.clone());
                plan.steps.push(Step { live, ..step(Action::Update, because, false, changes) });
            }
            (true, Some(why)) => {
                plan.refusals.push(Refusal { id: id.clone(), why: why.to_owned(), because, changes });
            }
            (true, None) => {
                let delete = Step {
                    live: Some(node.clone()),
                    wanted: None,
                    ..step(Action::Delete, because.clone(), true, Vec::new())
                };
                plan.steps.push(delete);
                plan.steps.push(step(Action::Create, because, true, changes));
            }
        }
    }
}

fn add_removals(
    catalogue: &Catalogue,
    wanted: &Wanted,
    live: &BTreeMap<ResourceId, LiveNode>,
    duplicates: &BTreeSet<ResourceId>,
    options: Options,
    plan: &mut Plan,
) {
    for (id, node) in live {
        if wanted.nodes.contains_key(id) || wanted.shared.contains_key(id) {
            continue;
        }
        let because = match node.owner {
            _ if options.teardown => Because::Teardown,
            Owner::Controller => continue,
            Owner::Cluster if duplicates.contains(id) => Because::Duplicate,
            Owner::Cluster
                if options.prune
                    && !catalogue.get(id.kind.as_str()).is_some_and(|schema| schema.holds_data) =>
            {
                Because::Unwanted
            }
            Owner::Cluster => {
                plan.unwanted.push(Unwanted { id: id.clone(), attrs: node.attrs.clone() });
                continue;
            }
        };
        plan.steps.push(Step {
            action: Action::Delete,
            id: id.clone(),
            because: vec![because],
            replacement: false,
            changes: Vec::new(),
            after: BTreeSet::new(),
            wanted: None,
            live: Some(node.clone()),
        });
    }
}

/// Leaves out deletions of what goes with its container, unless something else waits for the deletion: a
/// rule that refers to another group has to go before that group can, whatever becomes of its own. What a
/// left-out resource refers to can go once the container is gone: these pairs (container, referent) are given
/// back.
fn drop_contained(catalogue: &Catalogue, plan: &mut Plan) -> Vec<(ResourceId, ResourceId)> {
    let deleted: BTreeSet<ResourceId> =
        plan.steps.iter().filter(|step| step.action == Action::Delete).map(|step| step.id.clone()).collect();
    let mut inherited = Vec::new();
    plan.steps.retain(|step| {
        let Some(container) = container_of(catalogue, step) else { return true };
        if step.replacement || !deleted.contains(&container) {
            return true;
        }
        let others = step.live.iter().flat_map(|node| references(&node.fields));
        let others: Vec<ResourceId> =
            others.filter(|referent| *referent != container && deleted.contains(referent)).collect();
        if others.iter().any(|referent| referent.kind == container.kind) {
            return true;
        }
        inherited.extend(others.into_iter().map(|referent| (container.clone(), referent)));
        false
    });
    inherited
}

/// The resource that takes the deleted one along, if its kind has such.
fn container_of(catalogue: &Catalogue, step: &Step) -> Option<ResourceId> {
    if step.action != Action::Delete {
        return None;
    }
    let field = catalogue.get(step.id.kind.as_str())?.contained_in?;
    references(step.live.as_ref()?.fields.get(field)?).into_iter().next()
}

fn sort_for_display(catalogue: &Catalogue, plan: &mut Plan) {
    let key = |id: &ResourceId| (catalogue.rank(id.kind.as_str()), id.name.clone());
    plan.steps.sort_by_cached_key(|step| (key(&step.id), step.action != Action::Delete));
    plan.unwanted.sort_by_cached_key(|unwanted| key(&unwanted.id));
}

/// Sets each step's `after`.
fn add_order(
    catalogue: &Catalogue,
    wanted: &Wanted,
    inherited: &[(ResourceId, ResourceId)],
    plan: &mut Plan,
) {
    let mut made: HashMap<ResourceId, usize> = HashMap::new();
    let mut gone: HashMap<ResourceId, usize> = HashMap::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let map = if step.action == Action::Delete { &mut gone } else { &mut made };
        map.insert(step.id.clone(), index);
    }
    // Pairs of (later, earlier).
    let mut edges: Vec<(usize, usize)> = inherited
        .iter()
        .filter_map(|(container, referent)| Some((*gone.get(referent)?, *gone.get(container)?)))
        .collect();
    let mut soft: Vec<(usize, usize)> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        if step.action != Action::Delete {
            let before = wanted.dependencies(&step.id);
            edges.extend(before.iter().filter_map(|id| Some((index, *made.get(id)?))));
        }
        if step.replacement && step.action == Action::Create {
            let create_first = catalogue.get(step.id.kind.as_str()).is_some_and(|schema| schema.create_first);
            if let Some(&delete) = gone.get(&step.id) {
                edges.push(if create_first { (delete, index) } else { (index, delete) });
            }
        }
        // What this resource refers to today can go once this one is gone or points elsewhere.
        for referent in step.live.iter().flat_map(|node| references(&node.fields)) {
            let Some(&delete) = gone.get(&referent) else { continue };
            let waits_for_it = wanted.dependencies(&step.id).contains(&referent)
                && step.action == Action::Update
                && !catalogue.get(referent.kind.as_str()).is_some_and(|schema| schema.create_first);
            if delete == index || waits_for_it {
                continue;
            }
            // A replacement's deletion gives way where the detaching update itself needs the new one.
            let gives_way = plan.steps[delete].replacement && step.action == Action::Update;
            if gives_way { soft.push((delete, index)) } else { edges.push((delete, index)) }
        }
    }
    for (index, step) in plan.steps.iter().enumerate().filter(|(_, step)| takes_away(catalogue, step)) {
        let leaving = gone.values().filter(|delete| {
            let live = plan.steps[**delete].live.iter();
            live.flat_map(|node| references(&node.fields)).any(|referent| referent == step.id)
        });
        // Where what leaves waits for this very update (it also adds what its successor stands on), the update goes
        // first, and the cloud refuses to take away what is still stood on.
        soft.extend(leaving.map(|delete| (index, *delete)));
    }
    let turns: Vec<Goes> = plan.steps.iter().map(|step| turn(catalogue, step)).collect();
    for (index, turn) in turns.iter().enumerate() {
        edges.extend(
            turns.iter().enumerate().filter(|(_, other)| *other < turn).map(|(other, _)| (index, other)),
        );
    }
    for (later, earlier) in edges {
        if later != earlier {
            plan.steps[later].after.insert(earlier);
        }
    }
    for (later, earlier) in soft {
        if !comes_after(plan, earlier, later) {
            plan.steps[later].after.insert(earlier);
        }
    }
}

/// When a step has its turn. What makes or changes something has none: it comes before what goes late.
fn turn(catalogue: &Catalogue, step: &Step) -> Goes {
    match catalogue.get(step.id.kind.as_str()) {
        Some(schema) if step.action == Action::Delete => schema.goes,
        _ => Goes::AnyTime,
    }
}

/// Whether a step updates a resource to have fewer of what others stand on.
fn takes_away(catalogue: &Catalogue, step: &Step) -> bool {
    let (Action::Update, Some(live), Some(wanted), Some(schema)) =
        (step.action, &step.live, &step.wanted, catalogue.get(step.id.kind.as_str()))
    else {
        return false;
    };
    let elements = |fields: &Value, field: &str| -> Vec<Value> {
        let list = fields.get(field).map(|field| field.get(SET).unwrap_or(field));
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    schema.stood_on.iter().any(|field| {
        let wanted = elements(wanted, field);
        elements(&live.fields, field).iter().any(|element| !wanted.contains(element))
    })
}

/// Whether `step` comes after `before`, directly or through others.
fn comes_after(plan: &Plan, step: usize, before: usize) -> bool {
    let mut seen = BTreeSet::from([step]);
    let mut open = vec![step];
    while let Some(next) = open.pop() {
        if next == before {
            return true;
        }
        open.extend(plan.steps[next].after.iter().copied().filter(|index| seen.insert(*index)));
    }
    false
}

fn check_acyclic(plan: &Plan) -> Result<(), PlanError> {
    let mut left: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
    let mut open: Vec<usize> = (0..left.len()).filter(|index| left[*index] == 0).collect();
    let mut seen = 0;
    while let Some(done) = open.pop() {
        seen += 1;
        for (index, step) in plan.steps.iter().enumerate() {
            if step.after.contains(&done) {
                left[index] -= 1;
                if left[index] == 0 {
                    open.push(index);
                }
            }
        }
    }
    if seen == plan.steps.len() {
        return Ok(());
    }
    let stuck =
        plan.steps.iter().zip(&left).filter(|(_, left)| **left > 0).map(|(step, _)| step.id.to_string());
    Err(PlanError::Cycle(stuck.collect::<Vec<_>>().join(", ")))
}
