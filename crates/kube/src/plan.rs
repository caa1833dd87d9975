//! What applying a list of objects would change.
//!
//! [`plan`] takes the wanted objects and the server; it gives a [`Plan`]: data that can be printed and stored,
//! and never holds the value of a Secret. It sends no request that could change anything.
//!
//! Each wanted object is applied with `dryRun=All`, so that defaults, admission and field managers all have
//! their say, and the answer is compared with what is there.
//!
//! Of N objects of K kinds (those of an earlier time counted) that are all applied already it takes 3 + K
//! requests that read and N dry runs. Each object that was not applied before takes one more that reads, and
//! each that others' fields stand in the way of, or that must be replaced, one more dry run. Namespaces and definitions that are to be
//! deleted are looked into: one request for each kind that the cluster has.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use futures::FutureExt;
use serde::Serialize;
use serde_json::Value;

use crate::applyset::{Contents, ID, PART_OF, PlannedSet, Set};
use crate::connect::Connection;
use crate::diff;
use crate::discovery::{Discovery, GroupKind, Resource};
use crate::error::{Error, ObjectError, Refused, WantedFault};
use crate::event::Observer;
use crate::object::{Item, ObjectRef, Phase, Wanted, doubles, is_going, items, normalised, part_of};
use crate::ownership::{is_member, our_fields, our_paths};
use crate::prune;
use crate::replace;
use crate::request::{Mode, Request, concurrently};
use crate::wait::Awaited;

/// How a plan is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// An object that this cluster's kcl did not apply before is taken over with all its wanted fields,
    /// whoever manages them now.
    pub force_conflicts: bool,
    /// What was applied earlier and is no longer wanted is to be deleted.
    pub prune: bool,
}

/// What is to be done with a wanted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there, not applied by this cluster's kcl so far, and becomes one of its objects.
    Adopt,
    /// Some of its fields change.
    Update,
    /// Fields change that cannot: it is deleted and made again. Only what this cluster's kcl applied itself.
    Replace,
    /// Nothing.
    Unchanged,
}

/// One field that changes. Of a Secret's data it says that it changes, not from what to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// `spec.template.spec.containers[till].image`, `spec.args[0]`, `metadata.annotations["example.com/a"]`.
    pub path: String,
    /// What is there; `None`: nothing is.
    pub before: Option<Value>,
    /// What will be; `None`: nothing.
    pub after: Option<Value>,
    /// The values are not told, so neither of the two is given.
    pub secret: bool,
}

/// A wanted object, and what is to be done.
#[derive(Clone, Serialize)]
pub struct PlannedObject {
    /// Which one.
    pub object: ObjectRef,
    /// Who wants it.
    pub origin: String,
    /// When it is applied.
    pub phase: Phase,
    /// What is to be done.
    pub action: Action,
    /// Which fields change; empty for `create` and `unchanged`. Empty for `update`: only which fields are kcl's
    /// changes, not their values.
    pub changes: Vec<FieldChange>,
    /// Other managers' fields are taken over: where that was asked for and `action` is `adopt`, and fields that
    /// kcl already manages together with others who wrote them and did not apply them.
    pub force: bool,
    /// Why nobody could tell what changes, where that is so; it is applied all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// What is sent, with the label of this cluster's set.
    #[serde(skip)]
    pub(crate) manifest: Value,
    /// Where it is sent to.
    #[serde(skip)]
    pub(crate) path: String,
    /// Where `action` is `replace`: the uid of the object that goes, and of no other.
    #[serde(skip)]
    pub(crate) replaces: Option<String>,
    /// Its kind was not in the cluster when the plan was made: a definition of the plan brings it.
    #[serde(skip)]
    pub(crate) kind_is_new: bool,
    /// Its definition changes in this plan, and the server would not take it before that.
    #[serde(skip)]
    pub(crate) schema_is_new: bool,
}

impl fmt::Debug for PlannedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what is sent: it may be a Secret.
        f.debug_struct("PlannedObject")
            .field("object", &self.object)
            .field("origin", &self.origin)
            .field("phase", &self.phase)
            .field("action", &self.action)
            .field("changes", &self.changes)
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

/// What is to become of an object that is no longer wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Fate {
    /// It is deleted.
    Delete,
    /// It stays where it is.
    Keep {
        /// Why: pruning was not asked for, or a namespace still holds somebody else's objects.
        reason: String,
    },
}

/// An object that this cluster's kcl applied earlier, and that is no longer wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unwanted {
    /// Which one.
    pub object: ObjectRef,
    /// Its uid: only this one is deleted, not another of the same name.
    pub uid: String,
    /// When it was applied; pruning goes the other way.
    pub phase: Phase,
    /// What is to become of it.
    pub fate: Fate,
    /// The uids of what goes with it, of a namespace: what is left of them when it is deleted keeps nobody.
    #[serde(skip)]
    pub(crate) takes_along: HashSet<String>,
    /// Somebody who runs in the cluster has work to do before it is gone: it goes first, and is waited for.
    #[serde(skip)]
    pub(crate) is_held: bool,
    /// Where it is.
    #[serde(skip)]
    pub(crate) path: String,
}

/// A wanted field that somebody else manages with another value, or a wanted object of another set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{origin}: {object}: {}", conflict(.field, .manager))]
pub struct Conflict {
    /// Which object.
    pub object: ObjectRef,
    /// Who wants it.
    pub origin: String,
    /// `.spec.replicas`; empty where the whole object belongs to another set.
    pub field: String,
    /// Who holds it: `kubectl-scale`, or the id of the other set.
    pub manager: String,
    /// It is taken over, as this plan forces it.
    pub forced: bool,
}

fn conflict(field: &str, manager: &str) -> String {
    if field.is_empty() {
        format!(
            "it belongs to another set of applied objects (applyset id {manager}): \
             `kubectl get configmaps,secrets -A -l {ID}={manager}` tells whose"
        )
    } else {
        format!("{field} is managed by {manager}")
    }
}

/// What is to be done so that the wanted objects are there.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The cluster whose objects these are.
    pub cluster: String,
    /// Every wanted object, in the order in which they are applied.
    pub objects: Vec<PlannedObject>,
    /// What was applied earlier and is no longer wanted, in the order in which it goes.
    pub unwanted: Vec<Unwanted>,
    /// Fields that others hold. Those that are not `forced` keep the whole plan from being applied.
    pub conflicts: Vec<Conflict>,
    /// Wanted objects that cannot be planned, each with why; they are not among `objects`. Any of them keeps the
    /// whole plan from being applied.
    pub faults: Vec<ObjectError>,
    #[serde(skip)]
    pub(crate) set: crate::applyset::PlannedSet,
}

impl Plan {
    /// Nothing is to be done: applying it would change no object. Where an earlier run was cut short at its end, it
    /// takes what is gone out of the list of what was applied.
    pub fn is_empty(&self) -> bool {
        self.conflicts.is_empty()
            && self.faults.is_empty()
            && self.objects.iter().all(|object| object.action == Action::Unchanged)
            && self.unwanted.iter().all(|unwanted| unwanted.fate != Fate::Delete)
            && !self.set.changes()
    }

    /// How many wanted objects have this in front of them.
    pub fn count(&self, action: Action) -> usize {
        self.objects.iter().filter(|object| object.action == action).count()
    }

    /// Every wanted object that could be planned: what [`crate::wait()`] can wait for once it is applied.
    pub fn wanted(&self) -> Vec<Awaited> {
        let awaited = |planned: &PlannedObject| Awaited {
            object: planned.object.clone(),
            vanishes: planned.object.is_job() && planned.manifest["spec"]["ttlSecondsAfterFinished"].is_u64(),
        };
        self.objects.iter().map(awaited).collect()
    }

    /// The conflicts that keep it from being applied.
    pub fn blocking(&self) -> Vec<&Conflict> {
        self.conflicts.iter().filter(|conflict| !conflict.forced).collect()
    }
}

/// Checks a list of wanted objects without any server: what [`plan`] would refuse in any cluster. Gives how
/// many objects it stands for; for a preview while the API server is not there yet.
pub fn check(wanted: &[Wanted]) -> Result<usize, Error> {
    let items = items(wanted).map_err(Error::Wanted)?;
    let doubles = doubles(&items);
    if doubles.is_empty() { Ok(items.len()) } else { Err(Error::Wanted(doubles)) }
}

/// Finds out what applying `wanted` to the cluster of this name would change. An object that the server refuses is
/// one of the plan's `faults`; an error is what concerns all of them: the server is gone, does not know who asks,
/// does not let its kinds or what kcl applied be seen, or the list itself is wrong.
pub async fn plan(
    connection: &Connection,
    cluster: &str,
    wanted: &[Wanted],
    options: PlanOptions,
    on_event: &Observer<'_>,
) -> Result<Plan, Error> {
    let items = items(wanted).map_err(Error::Wanted)?;
    let set = Set::of(cluster);
    let parent = Request::get(format!("read the ConfigMap {}", set.parent_name()), set.parent_path());
    let (discovery, parent) =
        futures::future::try_join(Discovery::of(connection, on_event), connection.find(&parent, on_event))
            .await?;
    let now = parent.map(|parent| set.read(&parent)).transpose()?;
    let targets = targets(items, &discovery).map_err(Error::Wanted)?;

    let mut wanted = Contents::default();
    for Target { item, .. } in &targets {
        wanted.add(&item.object.group, &item.object.kind, item.object.namespace.as_deref());
    }
    let members = members(connection, &set, &discovery, &targets, now.as_ref(), &wanted, on_event).await?;
    let (live, unseen) = live(connection, &targets, &members, on_event).await?;

    let judge = Judge { connection, set: &set, options, missing: missing(&targets, &live), on_event };
    let seen = targets.iter().filter(|target| !unseen.iter().any(|fault| fault.object == target.item.object));
    let judged = seen.map(|target| judge.judge(target, live.get(&target.item.object)).boxed());
    let mut judged = concurrently(judged.collect()).await;
    let changing = changing(&judged);
    for one in &mut judged {
        one.put_off(live.get(&one.planned.object), &set, &changing);
    }

    let names: HashSet<&ObjectRef> = targets.iter().map(|target| &target.item.object).collect();
    let is_unwanted = |object: &ObjectRef, live: &Value| {
        // One that is being deleted already, and held, is asked after until it is gone.
        !names.contains(object) && (!is_going(live) || prune::is_held(object, live)) && is_member(live, &set)
    };
    let unwanted = members.iter().filter(|(object, member)| is_unwanted(object, &member.live));
    let unwanted: Vec<_> = unwanted.map(|(object, member)| (object.clone(), member.clone())).collect();
    let going = prune::going(unwanted.iter().map(|(object, member)| (object, &member.live)));
    let context = prune::Context {
        connection,
        set: &set,
        discovery: &discovery,
        wanted: &names,
        going: &going,
        on_event,
    };
    let unwanted = prune::unwanted(&context, unwanted, options.prune).await;

    let listed = now.iter().flat_map(|now| &now.kinds);
    let out_of_sight = listed.filter(|kind| discovery.is_stale(&kind.0)).cloned().collect();
    let set = PlannedSet { set, now, wanted, out_of_sight };
    let mut plan = Plan {
        cluster: cluster.to_owned(),
        objects: Vec::new(),
        unwanted,
        conflicts: Vec::new(),
        faults: unseen,
        set,
    };
    plan.sort_in(judged)?;
    Ok(plan)
}

/// A wanted object, and where it goes.
struct Target {
    item: Item,
    resource: Resource,
    /// Its kind is not in the cluster yet.
    kind_is_new: bool,
}

/// An object of the set, as it is, and the version of its kind that it was asked for in.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) resource: Resource,
    pub(crate) live: Value,
}

/// Finds the kind of each object, and so its namespace.
fn targets(items: Vec<Item>, discovery: &Discovery) -> Result<Vec<Target>, Vec<WantedFault>> {
    let definitions = items.iter().filter(|item| item.object.is_definition());
    let coming: Vec<Resource> =
        definitions.flat_map(|item| Discovery::of_definition(&item.manifest)).collect();
    let mut targets = Vec::new();
    let mut faults = Vec::new();
    for mut item in items {
        let ObjectRef { group, kind, .. } = &item.object;
        let known = discovery.find(group, &item.version, kind);
        let of_group = |resource: &&Resource| resource.group == *group && resource.kind == *kind;
        let new = coming.iter().filter(of_group).find(|resource| resource.version == item.version);
        let Some(resource) = known.or(new).cloned() else {
            faults.push(unknown_kind(&item, discovery));
            continue;
        };
        item.place(resource.namespaced);
        targets.push(Target { item, kind_is_new: known.is_none(), resource });
    }
    if faults.is_empty() {
        faults = doubles(targets.iter().map(|target| &target.item));
    }
    if faults.is_empty() { Ok(targets) } else { Err(faults) }
}

fn unknown_kind(item: &Item, discovery: &Discovery) -> WantedFault {
    let ObjectRef { group, kind, .. } = &item.object;
    let api_version = |version: &str| {
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    };
    let others: Vec<_> =
        discovery.versions(group, kind).iter().map(|known| api_version(&known.version)).collect();
    let reason = if discovery.is_stale(group) {
        "what serves this group does not answer".to_owned()
    } else if others.is_empty() {
        String::new()
    } else {
        format!("it has it in {}", others.join(", "))
    };
    WantedFault::UnknownKind {
        origin: item.origin.clone(),
        object: item.object.clone(),
        api_version: api_version(&item.version),
        reason,
    }
}

/// Everything that has the label of the set: one list per kind, over all namespaces.
async fn members(
    connection: &Connection,
    set: &Set,
    discovery: &Discovery,
    targets: &[Target],
    now: Option<&Contents>,
    wanted: &Contents,
    on_event: &Observer<'_>,
) -> Result<HashMap<ObjectRef, Member>, Error> {
    // In the version that is wanted, so that the two can be compared.
    let versions: HashMap<GroupKind, &Resource> = targets
        .iter()
        .filter(|target| !target.kind_is_new)
        .map(|Target { item, resource, .. }| {
            ((item.object.group.clone(), item.object.kind.clone()), resource)
        })
        .collect();
    // A set without a parent has no members.
    let kinds = now.map(|now| now.kinds.iter().chain(&wanted.kinds).collect::<HashSet<_>>());
    let resources = kinds.unwrap_or_default().into_iter().filter_map(|kind| {
        // A kind that is gone took its objects with it.
        versions.get(kind).copied().or_else(|| discovery.preferred(&kind.0, &kind.1))
    });
    let lists = resources.filter(|resource| resource.can("list")).map(|resource| async move {
        let doing = format!("list what kcl applied of {}", resource.full_name());
        let path = format!("{}?{}", resource.path(None, None), set.selector());
        let items = connection.list(&doing, &path, "application/json", on_event).await?;
        Ok(items.into_iter().map(|item| member(resource, item)).collect::<Vec<_>>())
    });
    let lists: Result<Vec<Vec<_>>, Error> =
        concurrently(lists.map(FutureExt::boxed).collect()).await.into_iter().collect();
    Ok(lists?.into_iter().flatten().collect())
}

fn member(resource: &Resource, mut live: Value) -> (ObjectRef, Member) {
    // The items of a list do not say what they are.
    live["apiVersion"] = resource.api_version().into();
    live["kind"] = resource.kind.clone().into();
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = live["metadata"]["namespace"].as_str();
    let object = ObjectRef::new(&resource.group, &resource.kind, namespace, name);
    (object, Member { resource: resource.clone(), live })
}

/// What is there of the wanted objects: out of the lists, and what is in none is asked for. And what cannot be
/// seen, each with why.
async fn live(
    connection: &Connection,
    targets: &[Target],
    members: &HashMap<ObjectRef, Member>,
    on_event: &Observer<'_>,
) -> Result<(HashMap<ObjectRef, Value>, Vec<ObjectError>), Error> {
    let asked = targets.iter().filter(|target| !target.kind_is_new).map(|target| async move {
        let Target { item: Item { object, .. }, resource, .. } = target;
        match members.get(object) {
            Some(member) if member.resource.version == resource.version => {
                (target, Ok(Some(member.live.clone())))
            }
            _ => {
                let request = Request::get(format!("read {object}"), resource.path_of(object));
                (target, connection.find(&request, on_event).await)
            }
        }
    });
    let mut live = HashMap::new();
    let mut unseen = Vec::new();
    for (Target { item, .. }, found) in concurrently(asked.map(FutureExt::boxed).collect()).await {
        let object = item.object.clone();
        match found {
            Ok(Some(found)) => drop(live.insert(object, found)),
            Ok(None) => {}
            Err(error) if error.is_of_all() => return Err(error),
            Err(error) => {
                unseen.push(ObjectError { object, origin: item.origin.clone(), error: Box::new(error) });
            }
        }
    }
    Ok((live, unseen))
}

/// Wanted objects that are not there, in the words with which the server says that it misses them.
fn missing(targets: &[Target], live: &HashMap<ObjectRef, Value>) -> HashSet<String> {
    let missing = targets.iter().filter(|target| !live.contains_key(&target.item.object));
    missing.map(|target| not_found(&target.resource.full_name(), &target.item.object.name)).collect()
}

fn not_found(resource: &str, name: &str) -> String {
    format!("{resource} \"{name}\" not found")
}

/// What is to be done with an object.
struct Judged {
    planned: PlannedObject,
    /// The fields that stand in the way; an error where it cannot be planned.
    conflicts: Result<Vec<Conflict>, Error>,
}

impl Judged {
    /// What keeps an object from being compared need not keep it from being applied, nor the others: an object that fits
    /// only the definition that comes with it, and one of ours whose webhook does not answer, which this very plan may
    /// mend. One that is to be made again is not deleted as long as nobody says that it can be.
    fn put_off(&mut self, live: Option<&Value>, set: &Set, changing: &HashSet<GroupKind>) {
        let Self { planned, conflicts } = self;
        let Err(Error::Refused(refused)) = &*conflicts else { return };
        let ObjectRef { group, kind, .. } = &planned.object;
        let is_ours = live.is_some_and(|live| part_of(live) == Some(&set.id));
        let why = if planned.action == Action::Replace {
            return;
        } else if is_about_what_it_holds(refused) && changing.contains(&(group.clone(), kind.clone())) {
            planned.schema_is_new = true;
            "its definition changes first".to_owned()
        } else if let Some(webhook) = silent_webhook(refused).filter(|_| is_ours) {
            // Others need not wait for it: it is there.
            planned.phase = Phase::Workloads;
            format!("the webhook {webhook} does not answer")
        } else {
            return;
        };
        if planned.action == Action::Unchanged {
            planned.action = Action::Update;
        }
        planned.not_compared = Some(why);
        *conflicts = Ok(Vec::new());
    }
}

/// The kinds whose definitions change.
fn changing(judged: &[Judged]) -> HashSet<GroupKind> {
    let planned =
        judged.iter().map(|judged| &judged.planned).filter(|planned| planned.object.is_definition());
    let changed = planned.filter(|planned| planned.action != Action::Unchanged);
    let kinds = changed.flat_map(|planned| Discovery::of_definition(&planned.manifest));
    kinds.map(|resource| (resource.group, resource.kind)).collect()
}

struct Judge<'a> {
    connection: &'a Connection,
    set: &'a Set,
    options: PlanOptions,
    missing: HashSet<String>,
    on_event: &'a Observer<'a>,
}

impl Judge<'_> {
    async fn judge(&self, target: &Target, live: Option<&Value>) -> Judged {
        let Target { item, resource, kind_is_new } = target;
        let mut manifest = item.manifest.clone();
        manifest["metadata"]["labels"][PART_OF] = self.set.id.clone().into();
        let mut planned = PlannedObject {
            object: item.object.clone(),
            origin: item.origin.clone(),
            phase: Phase::of(&item.object.group, &item.object.kind),
            action: Action::Create,
            changes: Vec::new(),
            force: false,
            manifest,
            path: resource.path_of(&item.object),
            replaces: None,
            kind_is_new: *kind_is_new,
            schema_is_new: false,
            not_compared: None,
        };
        let conflicts = match live {
            None => self.judge_new(&planned).await.map(|()| Vec::new()),
            Some(live) => self.judge_live(&mut planned, resource, live).await,
        };
        Judged { planned, conflicts }
    }

    /// Nothing is there: whether the server would take it.
    async fn judge_new(&self, planned: &PlannedObject) -> Result<(), Error> {
        let namespace = planned.object.namespace.as_deref();
        let waits = namespace.is_some_and(|name| self.missing.contains(&not_found("namespaces", name)));
        if planned.kind_is_new || waits {
            return Ok(());
        }
        match self.dry_run(planned, false).await {
            Err(Error::Refused(refused)) if self.will_be_there(planned, &refused) => Ok(()),
            Err(Error::Refused(refused))
                if namespace.is_some_and(|name| refused.message == not_found("namespaces", name)) =>
            {
                let name = namespace.unwrap_or_default();
                let message = format!("the namespace {name} is neither in the cluster nor wanted");
                Err(Error::Refused(Box::new(Refused { message, ..*refused })))
            }
            answer => answer.map(drop),
        }
    }

    /// The server misses something that is wanted too, and comes first.
    fn will_be_there(&self, planned: &PlannedObject, refused: &Refused) -> bool {
        // A pod's account is named in another number.
        let message = refused.message.replace("serviceaccount \"", "serviceaccounts \"");
        let misses = |missing: &String| message.contains(missing.as_str());
        match refused.status {
            404 => self.missing.iter().any(misses),
            403 => planned.object.is_pod() && self.missing.iter().any(misses),
            _ => false,
        }
    }

    async fn judge_live(
        &self,
        planned: &mut PlannedObject,
        resource: &Resource,
        live: &Value,
    ) -> Result<Vec<Conflict>, Error> {
        if is_going(live) {
            return Err(Error::Refused(Box::new(Refused {
                doing: format!("apply {}", planned.object),
                status: 409,
                reason: "Conflict".to_owned(),
                message: "it is being deleted, and can be applied when it is gone".to_owned(),
                faults: Vec::new(),
            })));
        }
        let is_ours = part_of(live) == Some(&self.set.id);
        planned.action = if is_ours { Action::Unchanged } else { Action::Adopt };
        if let Some(other) = part_of(live).filter(|_| !is_ours) {
            return Ok(vec![Conflict {
                object: planned.object.clone(),
                origin: planned.origin.clone(),
                field: String::new(),
                manager: other.to_owned(),
                forced: false,
            }]);
        }
        let mut conflicts = Vec::new();
        let mut answer = self.dry_run(planned, false).await;
        answer = match answer {
            Err(Error::Refused(refused)) if is_field_conflict(&refused) => {
                conflicts = field_conflicts(planned, &refused, &our_paths(live));
                let may_force = self.options.force_conflicts && !is_ours;
                for conflict in &mut conflicts {
                    conflict.forced = may_force;
                }
                planned.force = may_force || conflicts.is_empty();
                self.dry_run(planned, true).await
            }
            answer => answer,
        };
        let after = match answer {
            Err(Error::Refused(refused)) if replace::is_needed(&planned.object, &refused) => {
                if !is_ours {
                    return Err(replace::not_ours(*refused));
                }
                self.made_again(planned, resource, live).await?
            }
            answer => answer?,
        };
        let (before, after_fields) = (normalised(live), normalised(&after));
        planned.changes = diff::changes(&before, &after_fields, planned.object.is_secret());
        if planned.action == Action::Replace {
            return Ok(conflicts);
        }
        if is_ours && (!planned.changes.is_empty() || our_fields(live) != our_fields(&after)) {
            planned.action = Action::Update;
        }
        Ok(conflicts)
    }

    /// It is to be replaced: gives what it will be.
    async fn made_again(
        &self,
        planned: &mut PlannedObject,
        resource: &Resource,
        live: &Value,
    ) -> Result<Value, Error> {
        planned.action = Action::Replace;
        planned.replaces = live["metadata"]["uid"].as_str().map(str::to_owned);
        // Nobody else's fields are there any more when it is made.
        planned.force = false;
        let doing = format!("replace {}", planned.object);
        let path = resource.path(planned.object.namespace.as_deref(), None);
        let request = Request::create_dry_run(doing, &path, &replace::stand_in(&planned.manifest));
        let mut made = self.connection.send(&request, self.on_event).await?;
        replace::rename(&mut made, &planned.object.name);
        Ok(made)
    }

    async fn dry_run(&self, planned: &PlannedObject, force: bool) -> Result<Value, Error> {
        let doing = format!("apply {}", planned.object);
        let request = Request::apply(doing, &planned.path, &planned.manifest, Mode::DryRun, force);
        self.connection.send(&request, self.on_event).await
    }
}

/// It was refused for what is written in it.
pub(crate) fn is_about_what_it_holds(refused: &Refused) -> bool {
    matches!(refused.status, 400 | 422)
}

/// The webhook that the server could not ask, in its own sentence `failed calling webhook "NAME": ...`
/// (k8s.io/apiserver/pkg/admission/plugin/webhook/generic).
fn silent_webhook(refused: &Refused) -> Option<&str> {
    let (_, after) =
        refused.message.split_once("failed calling webhook \"").filter(|_| refused.status == 500)?;
    after.split('"').next()
}

/// How the server begins to name the other manager:
/// k8s.io/apimachinery/pkg/util/managedfields/internal/conflict.go.
const CONFLICT_WITH: &str = "conflict with ";

pub(crate) fn is_field_conflict(refused: &Refused) -> bool {
    refused.status == 409 && refused.faults.iter().any(|fault| fault.message.starts_with(CONFLICT_WITH))
}

/// How it goes on where that manager wrote the field, and did not apply it.
const BY_UPDATE: &str = " using ";

/// The fields that others hold. `ours` are those that kcl manages too: they have the value that kcl gave them, as
/// nobody changed them since. Whoever only wrote such a field once, before kcl came or to fill in a default, does
/// not want it any more than that; who applied it wants it as it is.
fn field_conflicts(planned: &PlannedObject, refused: &Refused, ours: &BTreeSet<String>) -> Vec<Conflict> {
    let faults = refused.faults.iter().filter_map(|fault| {
        let manager = fault.message.strip_prefix(CONFLICT_WITH)?;
        let wrote = manager.rsplit('"').next().is_some_and(|rest| rest.starts_with(BY_UPDATE));
        if wrote && ours.contains(&fault.field) {
            return None;
        }
        Some(Conflict {
            object: planned.object.clone(),
            origin: planned.origin.clone(),
            field: fault.field.clone(),
            manager: manager.split('"').nth(1).unwrap_or(manager).to_owned(),
            forced: false,
        })
    });
    faults.collect()
}

impl Plan {
    /// Takes what could be planned, in the order of phases, and why each of the others could not.
    fn sort_in(&mut self, judged: Vec<Judged>) -> Result<(), Error> {
        for Judged { planned, conflicts } in judged {
            match conflicts {
                Ok(found) => {
                    self.objects.push(planned);
                    self.conflicts.extend(found);
                }
                // A server that is gone is gone for all of them: once is enough.
                Err(error) if error.is_of_all() => return Err(error),
                Err(error) => {
                    let PlannedObject { object, origin, .. } = planned;
                    self.faults.push(ObjectError { object, origin, error: Box::new(error) });
                }
            }
        }
        self.objects.sort_by_key(|planned| planned.phase);
        Ok(())
    }
}
