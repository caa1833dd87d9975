//! Waits until what was applied works.
//!
//! Asks again and again: one list for each kind and namespace that has anything to wait for. (A watch for each
//! would hold as many connections open, and a rollout is not a matter of milliseconds.)

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use futures::FutureExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::connect::Connection;
use crate::diagnose::{Depth, diagnose, has_labels_for};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Observer};
use crate::object::ObjectRef;
use crate::request::{Request, concurrently, escape};

/// How it is waited.
#[derive(Clone, Copy, Debug)]
pub struct WaitOptions {
    /// How long each object has, from now on.
    pub timeout: Duration,
    /// How often is asked.
    pub interval: Duration,
    /// A DaemonSet may be desired on no node at all: every group of workers may be empty.
    pub may_idle: bool,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_mins(10), interval: Duration::from_secs(2), may_idle: false }
    }
}

/// An object that is to be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Which one.
    pub object: ObjectRef,
    /// The cluster deletes it some time after it is done, as a Job with `ttlSecondsAfterFinished`: once it was
    /// applied and is not there, it is done.
    pub vanishes: bool,
}

impl From<ObjectRef> for Awaited {
    fn from(object: ObjectRef) -> Self {
        Self { object, vanishes: false }
    }
}

/// An object that is not ready, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// Which one.
    pub object: ObjectRef,
    /// How many of its parts are ready: `(1, 3)`.
    pub progress: Option<(u64, u64)>,
    /// Why, the most telling first: one line each, a log line begins with `log: `.
    pub reasons: Vec<String>,
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not ready", self.object)?;
        if let Some((ready, wanted)) = self.progress {
            write!(f, " ({ready}/{wanted})")?;
        }
        for reason in &self.reasons {
            write!(f, "\n  {reason}")?;
        }
        Ok(())
    }
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    NotYet {
        progress: Option<(u64, u64)>,
        reason: String,
    },
    /// Waiting does not help.
    Failed {
        reason: String,
    },
}

/// Waits until those of `objects` that have something to wait for are ready: Deployments, DaemonSets,
/// StatefulSets, Jobs, CustomResourceDefinitions, APIServices. [`Error::NotReady`] says why each is not, and
/// [`Error::Stopped`] that `stop` came first.
///
/// A Job that failed ends it at once and is told alone, unless the time is over: nobody knows of the others yet.
///
/// A DaemonSet that no node fits is not ready, as nothing of it runs. It is idle, which is as good as ready, where
/// the cluster has nodes and none has the labels that it selects, or where [`WaitOptions::may_idle`].
pub async fn wait(
    connection: &Connection,
    objects: &[Awaited],
    options: WaitOptions,
    stop: impl Future<Output = ()> + Send,
    on_event: &Observer<'_>,
) -> Result<(), Error> {
    let work = async {
        let unready = wait_for_all(connection, objects, options, on_event).await?;
        if unready.is_empty() {
            return Ok(());
        }
        let unready = unready.into_iter().map(|(object, waited)| {
            async move {
                let (progress, reason) = match waited.state {
                    State::NotYet { progress, reason } => (progress, reason),
                    State::Failed { reason } => (None, reason),
                    State::Ready => (None, String::new()),
                };
                let mut reasons = diagnose(connection, &object, waited.live.as_ref(), Depth::Logs).await;
                if reasons.is_empty() && !reason.is_empty() {
                    reasons.push(reason);
                }
                Unready { object, progress, reasons }
            }
            .boxed()
        });
        Err(Error::NotReady(concurrently(unready.collect()).await))
    };
    tokio::select! {
        result = Box::pin(work) => result,
        () = stop => Err(Error::Stopped { doing: "waiting for what was applied to be ready".to_owned() }),
    }
}

/// An object that is waited for, as it was seen last.
struct Waited {
    vanishes: bool,
    state: State,
    live: Option<Value>,
}

impl Waited {
    fn state_of(&self, object: &ObjectRef, live: Option<&Value>) -> State {
        match live {
            Some(live) => state(&object.kind, live),
            None if self.vanishes => State::Ready,
            None => State::NotYet { progress: None, reason: "it is not there".to_owned() },
        }
    }

    fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }
}

/// Those that can be waited for, as if nobody had looked yet.
fn pending(objects: &[Awaited]) -> BTreeMap<ObjectRef, Waited> {
    let waitable = objects.iter().filter(|awaited| collection(&awaited.object).is_some());
    let unseen = |vanishes| Waited {
        vanishes,
        state: State::NotYet { progress: None, reason: String::new() },
        live: None,
    };
    waitable.map(|Awaited { object, vanishes }| (object.clone(), unseen(*vanishes))).collect()
}

/// Gives what is not ready when the time is over, or when waiting has no more sense.
async fn wait_for_all(
    connection: &Connection,
    objects: &[Awaited],
    options: WaitOptions,
    on_event: &Observer<'_>,
) -> Result<BTreeMap<ObjectRef, Waited>, Error> {
    let begin = Instant::now();
    let mut nodes = Nodes::default();
    let mut pending = pending(objects);
    while !pending.is_empty() {
        let refs: Vec<ObjectRef> = pending.keys().cloned().collect();
        match look(connection, &refs, on_event).await {
            Ok(mut live) => {
                for object in refs {
                    let Some(waited) = pending.get_mut(&object) else { continue };
                    let live = live.remove(&object);
                    let mut now = waited.state_of(&object, live.as_ref());
                    if let Some(live) = live.as_ref().filter(|_| is_desired_nowhere(&object, &now))
                        && (options.may_idle || nodes.lack_labels(connection, live).await)
                    {
                        now = State::Ready;
                    }
                    if now == State::Ready {
                        pending.remove(&object);
                        on_event(Event::Ready { object, waited: begin.elapsed() });
                    } else {
                        tell(&object, &waited.state, &now, on_event);
                        (waited.state, waited.live) = (now, live);
                    }
                }
            }
            // The API server itself may be on its way: what was applied can be a part of it.
            Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Server) => {
                if begin.elapsed() + options.interval > options.timeout {
                    return Err(error);
                }
                on_event(Event::NotReachable { reason: error.to_string(), waited: begin.elapsed() });
            }
            Err(error) => return Err(error),
        }
        if begin.elapsed() + options.interval > options.timeout {
            break;
        }
        if pending.values().any(Waited::has_failed) {
            // The others may be well on their way.
            pending.retain(|_, waited| waited.has_failed());
            break;
        }
        if !pending.is_empty() {
            sleep(options.interval).await;
        }
    }
    Ok(pending)
}

/// It is a DaemonSet, its controller has seen it, and it is desired on no node.
fn is_desired_nowhere(object: &ObjectRef, state: &State) -> bool {
    object.kind == "DaemonSet" && matches!(state, State::NotYet { progress: Some((_, 0)), .. })
}

/// The cluster's nodes, asked for once, and only where somebody has to know.
#[derive(Default)]
struct Nodes(Option<Vec<Value>>);

impl Nodes {
    /// There are nodes, and none has the labels that this DaemonSet selects. What may not be seen, or cannot be
    /// just now, says nothing.
    async fn lack_labels(&mut self, connection: &Connection, daemon_set: &Value) -> bool {
        if self.0.is_none() {
            let found = connection.list("list the nodes", "/api/v1/nodes", "application/json", &|_| {}).await;
            self.0 = found.ok();
        }
        let nodes = self.0.as_deref().unwrap_or_default();
        !nodes.is_empty() && !nodes.iter().any(|node| has_labels_for(node, daemon_set))
    }
}

/// Why something is not ready in its first moment.
const UNSEEN: &str = "its controller has not seen it yet";

/// Tells how far it is, when that is news. That no controller has seen it is none in the first moment.
fn tell(object: &ObjectRef, before: &State, now: &State, on_event: &Observer<'_>) {
    if let State::NotYet { progress, reason } = now
        && before != now
        && reason != UNSEEN
    {
        let (object, progress, reason) = (object.clone(), *progress, reason.clone());
        on_event(Event::Waiting { object, progress, reason });
    }
}

/// Where objects of a kind are that can be waited for.
fn collection(object: &ObjectRef) -> Option<String> {
    let (api, plural) = match (object.group.as_str(), object.kind.as_str()) {
        ("apps", "Deployment") => ("apps/v1", "deployments"),
        ("apps", "DaemonSet") => ("apps/v1", "daemonsets"),
        ("apps", "StatefulSet") => ("apps/v1", "statefulsets"),
        ("batch", "Job") => ("batch/v1", "jobs"),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            ("apiextensions.k8s.io/v1", "customresourcedefinitions")
        }
        ("apiregistration.k8s.io", "APIService") => ("apiregistration.k8s.io/v1", "apiservices"),
        _ => return None,
    };
    Some(match &object.namespace {
        Some(namespace) => format!("/apis/{api}/namespaces/{}/{plural}", escape(namespace)),
        None => format!("/apis/{api}/{plural}"),
    })
}

/// The objects as they are: what shares kind and namespace with one request, what is alone in there by its name.
async fn look(
    connection: &Connection,
    objects: &[ObjectRef],
    on_event: &Observer<'_>,
) -> Result<HashMap<ObjectRef, Value>, Error> {
    let mut groups: BTreeMap<String, Vec<&ObjectRef>> = BTreeMap::new();
    for object in objects {
        if let Some(path) = collection(object) {
            groups.entry(path).or_default().push(object);
        }
    }
    let asked = groups.into_iter().map(|(path, objects)| {
        async move {
            match objects.as_slice() {
                [object] => {
                    let path = format!("{path}/{}", escape(&object.name));
                    let request = Request::get(format!("read {object}"), path);
                    let found = connection.find(&request, on_event).await?;
                    Ok(found.map(|live| ((*object).clone(), live)).into_iter().collect())
                }
                several => {
                    let doing = format!("list what is waited for at {path}");
                    let items = connection.list(&doing, &path, "application/json", on_event).await?;
                    let mut by_name: HashMap<String, Value> = items
                        .into_iter()
                        .filter_map(|item| Some((item["metadata"]["name"].as_str()?.to_owned(), item)))
                        .collect();
                    let found = several
                        .iter()
                        .filter_map(|object| Some(((*object).clone(), by_name.remove(&object.name)?)));
                    Ok(found.collect::<Vec<_>>())
                }
            }
        }
        .boxed()
    });
    let all: Result<Vec<Vec<_>>, Error> = concurrently(asked.collect()).await.into_iter().collect();
    Ok(all?.into_iter().flatten().collect())
}

/// How far an object of this kind is.
pub(crate) fn state(kind: &str, live: &Value) -> State {
    match kind {
        "Deployment" => deployment(live),
        "DaemonSet" => daemon_set(live),
        "StatefulSet" => stateful_set(live),
        "Job" => job(live),
        "CustomResourceDefinition" => from_result(definition_state(live)),
        "APIService" => from_result(condition_is_true(live, "Available")),
        _ => State::Ready,
    }
}

fn from_result(result: Result<(), String>) -> State {
    match result {
        Ok(()) => State::Ready,
        Err(reason) => State::NotYet { progress: None, reason },
    }
}

/// Whether a definition is served; else what it says.
pub(crate) fn definition_state(live: &Value) -> Result<(), String> {
    if let Some(names) = condition(live, "NamesAccepted")
        && names["status"] == "False"
    {
        return Err(said(names));
    }
    condition_is_true(live, "Established")
}

pub(crate) fn condition_is_true(live: &Value, name: &str) -> Result<(), String> {
    match condition(live, name) {
        Some(found) if found["status"] == "True" => Ok(()),
        Some(found) => Err(said(found)),
        None => Err(String::new()),
    }
}

pub(crate) fn condition<'a>(live: &'a Value, name: &str) -> Option<&'a Value> {
    live["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

/// `Reason: message`.
pub(crate) fn said(condition: &Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    match (text("reason"), text("message")) {
        ("", message) => message.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Its controller has seen what was applied.
pub(crate) fn is_observed(live: &Value) -> bool {
    number(&live["status"]["observedGeneration"]) >= number(&live["metadata"]["generation"])
}

fn not_yet(ready: u64, wanted: u64, reason: impl Into<String>) -> State {
    State::NotYet { progress: Some((ready, wanted)), reason: reason.into() }
}

/// As `kubectl rollout status` has it, for this and the two after it.
fn deployment(live: &Value) -> State {
    let (status, wanted) = (&live["status"], live["spec"]["replicas"].as_u64().unwrap_or(1));
    let (all, updated) = (number(&status["replicas"]), number(&status["updatedReplicas"]));
    let available = number(&status["availableReplicas"]).min(updated);
    if !is_observed(live) {
        return not_yet(0, wanted, UNSEEN);
    }
    if available >= wanted && updated >= wanted && all <= updated {
        return State::Ready;
    }
    let stuck = condition(live, "Progressing").filter(|condition| condition["status"] == "False");
    let failing = condition(live, "ReplicaFailure").filter(|condition| condition["status"] == "True");
    let reason = failing.or(stuck).map(said).unwrap_or_default();
    if available >= wanted && reason.is_empty() {
        return not_yet(available.min(wanted), wanted, "old pods are still there");
    }
    not_yet(available.min(wanted), wanted, reason)
}

fn daemon_set(live: &Value) -> State {
    let status = &live["status"];
    let wanted = number(&status["desiredNumberScheduled"]);
    if !is_observed(live) {
        return State::NotYet { progress: None, reason: UNSEEN.to_owned() };
    }
    if wanted == 0 {
        return not_yet(0, 0, "no node fits it");
    }
    // With the other strategy, pods are as old as whoever deletes them wants.
    let replaces = live["spec"]["updateStrategy"]["type"] != "OnDelete";
    let updated = if replaces { number(&status["updatedNumberScheduled"]) } else { wanted };
    let ready = number(&status["numberAvailable"]).min(updated);
    if ready >= wanted { State::Ready } else { not_yet(ready, wanted, "") }
}

fn stateful_set(live: &Value) -> State {
    let (status, strategy) = (&live["status"], &live["spec"]["updateStrategy"]);
    let wanted = live["spec"]["replicas"].as_u64().unwrap_or(1);
    if !is_observed(live) {
        return not_yet(0, wanted, UNSEEN);
    }
    let ready = number(&status["readyReplicas"]);
    let replaces = strategy["type"] != "OnDelete";
    let old = number(&strategy["rollingUpdate"]["partition"]);
    // Before anything was changed there are only current ones.
    let unchanged = status["currentRevision"] == status["updateRevision"];
    let updated = replaces && !unchanged && number(&status["updatedReplicas"]) < wanted.saturating_sub(old);
    if ready >= wanted && !updated { State::Ready } else { not_yet(ready.min(wanted), wanted, "") }
}

fn job(live: &Value) -> State {
    let is = |name| condition(live, name).filter(|condition| condition["status"] == "True");
    if is("Complete").is_some() || is("Suspended").is_some() {
        return State::Ready;
    }
    if let Some(failed) = is("Failed") {
        return State::Failed { reason: said(failed) };
    }
    let wanted = live["spec"]["completions"].as_u64().unwrap_or(1);
    not_yet(number(&live["status"]["succeeded"]).min(wanted), wanted, "")
}

/// Which pod shows that an admission policy acts.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Namespace of the pod, and of its service account; both must be there.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// The policy that gives it its variable.
    pub policy: String,
    /// The variable that must appear in its container.
    pub variable: String,
}

/// What the server says of a pod whose service account it does not know.
pub(crate) const LOOKING_UP_ACCOUNT: &str = "error looking up service account";

/// How often a probe is made: policies act within seconds of being there.
const PROBE_PAUSE: Duration = Duration::from_millis(500);

/// Waits until a pod like `probe` would be given its variable: creates one with `dryRun=All`, again and again.
/// Events name the service account as what is waited for. Where the pod is refused for another reason, a quota or
/// somebody's policy, that says nothing of this one: it is told, and not waited for.
pub async fn wait_until_mutated(
    connection: &Connection,
    probe: &Probe,
    timeout: Duration,
    on_event: &Observer<'_>,
) -> Result<(), Error> {
    let begin = Instant::now();
    let Probe { namespace, service_account, policy, variable } = probe;
    let path = format!("/api/v1/namespaces/{}/pods", escape(namespace));
    let doing = format!("try a pod of the service account {namespace}/{service_account}");
    let request = Request::create_dry_run(doing, &path, &probe_pod(probe));
    let account = ObjectRef::new("", "ServiceAccount", Some(namespace), service_account);
    let mut progress = Progress::new(account, on_event);
    loop {
        let last = match connection.send(&request, on_event).await {
            Ok(pod) if has_variable(&pod, variable) => {
                progress.ready();
                return Ok(());
            }
            Ok(_) => format!("the pod would not get {variable}"),
            // Its service account, and what the policy reads, may be news to the server's cache.
            Err(Error::Refused(refused))
                if refused.message.contains(LOOKING_UP_ACCOUNT) || refused.message.contains(policy) =>
            {
                refused.message
            }
            Err(Error::Refused(refused)) if matches!(refused.status, 400 | 403 | 422) => {
                let account = ObjectRef::new("", "ServiceAccount", Some(namespace), service_account);
                on_event(Event::NotTried { object: account, reason: refused.message });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if begin.elapsed() + PROBE_PAUSE > timeout {
            let what = format!("{variable} in new pods of the service account {namespace}/{service_account}");
            return Err(Error::Timeout { what, after: timeout, last });
        }
        progress.waits(&last);
        sleep(PROBE_PAUSE).await;
    }
}

/// Tells of one thing that is waited for: that it is, when its reason changes, and its end if it was told of.
pub(crate) struct Progress<'a> {
    object: ObjectRef,
    told: Option<String>,
    begin: Instant,
    on_event: &'a Observer<'a>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(object: ObjectRef, on_event: &'a Observer<'a>) -> Self {
        Self { object, told: None, begin: Instant::now(), on_event }
    }

    pub(crate) fn waits(&mut self, reason: &str) {
        if self.told.as_deref() != Some(reason) {
            self.told = Some(reason.to_owned());
            let (object, reason) = (self.object.clone(), reason.to_owned());
            (self.on_event)(Event::Waiting { object, progress: None, reason });
        }
    }

    pub(crate) fn ready(self) {
        if self.told.is_some() {
            (self.on_event)(Event::Ready { object: self.object, waited: self.begin.elapsed() });
        }
    }
}

fn has_variable(pod: &Value, variable: &str) -> bool {
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    containers.iter().any(|container| {
        container["env"].as_array().is_some_and(|env| env.iter().any(|entry| entry["name"] == variable))
    })
}

/// A pod that the strictest namespace takes. It is never made.
fn probe_pod(probe: &Probe) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kcl-probe", "namespace": probe.namespace},
        "spec": {
            "serviceAccountName": probe.service_account,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "probe",
                "image": "registry.k8s.io/pause",
                "resources": {
                    "requests": {"cpu": "1m", "memory": "1Mi"},
                    "limits": {"cpu": "1m", "memory": "1Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(kind: &str, live: &Value) -> String {
        match state(kind, live) {
            State::Ready => "ready".to_owned(),
            State::NotYet { progress: Some((ready, wanted)), reason } => format!("{ready}/{wanted} {reason}"),
            State::NotYet { progress: None, reason } => format!("- {reason}"),
            State::Failed { reason } => format!("failed {reason}"),
        }
    }

    #[test]
    fn a_deployment_is_ready_when_all_its_pods_are_new_and_available() {
        let live =
            |status: Value| json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": status});
        assert_eq!(ready("Deployment", &live(json!({}))), "0/3 its controller has not seen it yet");
        let status =
            json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 1, "availableReplicas": 3});
        assert_eq!(ready("Deployment", &live(status)), "1/3 ");
        let status =
            json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3, "availableReplicas": 4});
        assert_eq!(ready("Deployment", &live(status)), "3/3 old pods are still there");
        let status =
            json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
        assert_eq!(ready("Deployment", &live(status)), "ready");
        let status = json!({"observedGeneration": 2, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]});
        assert_eq!(ready("Deployment", &live(status)), "0/3 FailedCreate: quota");
        let none = json!({"metadata": {"generation": 1}, "spec": {"replicas": 0}, "status": {"observedGeneration": 1}});
        assert_eq!(ready("Deployment", &none), "ready");
    }

    #[test]
    fn a_daemon_set_without_nodes_is_not_ready() {
        let live = |status: Value| json!({"metadata": {"generation": 1}, "spec": {}, "status": status});
        assert_eq!(
            ready("DaemonSet", &live(json!({"observedGeneration": 1, "desiredNumberScheduled": 0}))),
            "0/0 no node fits it"
        );
        let status = json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "numberAvailable": 2,
            "updatedNumberScheduled": 1});
        assert_eq!(ready("DaemonSet", &live(status.clone())), "1/2 ");
        let mut on_delete = live(status);
        on_delete["spec"]["updateStrategy"]["type"] = "OnDelete".into();
        assert_eq!(ready("DaemonSet", &on_delete), "ready");
    }

    #[test]
    fn what_is_waited_for_is_told_when_it_changes() {
        let events = std::sync::Mutex::new(Vec::new());
        let on_event = |event: Event| {
            events.lock().unwrap().push(match event {
                Event::Waiting { object, reason, .. } => format!("{object}: {reason}"),
                Event::Ready { object, .. } => format!("{object} is ready"),
                event => format!("{event:?}"),
            });
        };
        let kind = || ObjectRef::new("apiextensions.k8s.io", "CustomResourceDefinition", None, "a");
        Progress::new(kind(), &on_event).ready();
        let mut progress = Progress::new(kind(), &on_event);
        for reason in ["", "", "Installing", "Installing"] {
            progress.waits(reason);
        }
        progress.ready();
        let name = "CustomResourceDefinition a";
        let told = [format!("{name}: "), format!("{name}: Installing"), format!("{name} is ready")];
        assert_eq!(events.into_inner().unwrap(), told);
    }

    #[test]
    fn stateful_sets_and_jobs() {
        let live =
            |status: Value| json!({"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": status});
        let status = json!({"observedGeneration": 1, "readyReplicas": 2, "currentRevision": "a", "updateRevision": "a"});
        assert_eq!(ready("StatefulSet", &live(status)), "ready");
        let status = json!({"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 1,
            "currentRevision": "a", "updateRevision": "b"});
        assert_eq!(ready("StatefulSet", &live(status)), "2/2 ");
        let job = |kind: &str| {
            json!({"spec": {}, "status": {"conditions": [
            {"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}]}})
        };
        assert_eq!(ready("Job", &job("Complete")), "ready");
        assert_eq!(ready("Job", &job("Failed")), "failed BackoffLimitExceeded: too often");
        assert_eq!(ready("Job", &json!({"spec": {}, "status": {"active": 1}})), "0/1 ");
    }
}
