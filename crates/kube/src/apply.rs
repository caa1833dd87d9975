//! Applies a [`Plan`]: sends what it says and chooses nothing.
//!
//! In phases ([`Phase`]); within one, objects are sent at the same time. A failed object does not keep the others
//! of its phase from being sent, and no later phase begins. What failed or was not begun is told; applying a new
//! plan goes on from there.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::applyset::Contents;
use crate::connect::Connection;
use crate::discovery::Discovery;
use crate::error::{Error, ObjectError, Refused};
use crate::event::{Event, Observer};
use crate::object::{ObjectRef, Phase, finalizers};
use crate::plan::{Action, Conflict, Fate, Plan, PlannedObject, Unwanted, is_about_what_it_holds};
use crate::prune;
use crate::request::{MAX_IN_FLIGHT, Mode, Request};
use crate::wait::{LOOKING_UP_ACCOUNT, Progress, definition_state};

/// How long the server may take to serve a new kind: a second on an idle one.
const ESTABLISH_TIMEOUT: Duration = Duration::from_mins(1);

/// How often that is looked at.
const ESTABLISH_PAUSE: Duration = Duration::from_millis(300);

/// So many times the patience of a request a finalizer may take: whoever works it off may have to remove something from
/// the cloud.
const FINALIZER_PATIENCE: u32 = 4;

/// Why an object of the planned name is not the planned one.
const CHANGED_HANDS: &str = "another object has its name since the plan was made";

/// What is done between configuration and workloads, and is told to have failed by an error.
pub type Hook<'a> = BoxFuture<'a, Result<(), Error>>;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything is done.
    Done,
    /// Something failed.
    Failed,
    /// It was stopped; nothing failed.
    Stopped,
}

/// What became of a plan.
#[derive(Debug, Default)]
#[must_use]
pub struct Applied {
    /// What was applied, and what that did.
    pub applied: Vec<(ObjectRef, Action)>,
    /// What was deleted.
    pub pruned: Vec<ObjectRef>,
    /// What is no longer wanted and was left alone, with why.
    pub kept: Vec<(ObjectRef, String)>,
    /// What failed: root causes only.
    pub failures: Vec<ObjectError>,
    /// What failed and belongs to no object: the hook, or the list of what kcl applied.
    pub error: Option<Error>,
    /// What was not sent, because of a failure or because it was stopped.
    pub not_started: Vec<ObjectRef>,
    /// It was stopped.
    pub stopped: bool,
}

impl Applied {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        if self.has_failed() {
            Outcome::Failed
        } else if self.stopped {
            Outcome::Stopped
        } else {
            Outcome::Done
        }
    }

    fn has_failed(&self) -> bool {
        !self.failures.is_empty() || self.error.is_some()
    }

    fn goes_on(&self) -> bool {
        !self.has_failed() && !self.stopped
    }
}

/// Applies `plan`. An error: nothing was applied, [`Error::Objects`] and [`Error::Conflicts`] above all.
///
/// `before_workloads` runs between configuration and workloads, if the plan has any workload to send. `stop`
/// ends it early: what is on its way is finished, nothing else is sent.
pub async fn apply(
    connection: &Connection,
    plan: &Plan,
    before_workloads: Option<Hook<'_>>,
    stop: impl Future<Output = ()> + Send,
    on_event: &Observer<'_>,
) -> Result<Applied, Error> {
    if !plan.faults.is_empty() {
        return Err(Error::Objects(plan.faults.clone()));
    }
    let blocking: Vec<Conflict> = plan.blocking().into_iter().cloned().collect();
    if !blocking.is_empty() {
        return Err(Error::Conflicts(blocking));
    }
    let mut run = Run { connection, plan, on_event, stop: Box::pin(stop), applied: Applied::default() };
    if let Some(grown) = plan.set.grown()
        && !run.hears_stop(0)
    {
        run.write_parent(&grown).await?;
    }
    let mut hook = before_workloads;
    for phase in Phase::ALL {
        let objects: Vec<&PlannedObject> = plan
            .objects
            .iter()
            .filter(|planned| planned.phase == phase && planned.action != Action::Unchanged)
            .collect();
        if phase == Phase::Workloads
            && !objects.is_empty()
            && run.applied.goes_on()
            && let Some(hook) = hook.take()
        {
            run.wait_for(hook).await;
        }
        run.phase(phase, objects).await;
        if phase == Phase::Definitions && run.applied.goes_on() {
            run.wait_for(Box::pin(establish(connection, plan, on_event))).await;
        }
    }
    run.keep();
    run.prune().await;
    run.shrink().await;
    Ok(run.applied)
}

struct Run<'a, S> {
    connection: &'a Connection,
    plan: &'a Plan,
    on_event: &'a Observer<'a>,
    stop: std::pin::Pin<Box<S>>,
    applied: Applied,
}

/// What became of one object.
struct Sent {
    object: ObjectRef,
    origin: String,
    took: Duration,
    result: Result<Fated, Error>,
}

enum Fated {
    Applied(Action),
    Pruned,
    Kept(String),
}

impl<S: Future<Output = ()> + Send> Run<'_, S> {
    async fn write_parent(&self, contents: &Contents) -> Result<(), Error> {
        let set = &self.plan.set.set;
        let doing = format!("write the ConfigMap {}", set.parent_name());
        let manifest = set.manifest(contents);
        let request = Request::apply(doing, &set.parent_path(), &manifest, Mode::Real, false);
        self.connection.send(&request, self.on_event).await.map(drop)
    }

    /// Sends the objects of one phase.
    async fn phase(&mut self, phase: Phase, objects: Vec<&PlannedObject>) {
        if objects.is_empty() {
            return;
        }
        if !self.applied.goes_on() {
            self.applied.not_started.extend(objects.iter().map(|planned| planned.object.clone()));
            return;
        }
        (self.on_event)(Event::PhaseStarted { phase, objects: objects.len() });
        let (connection, on_event) = (self.connection, self.on_event);
        let sends = objects.iter().map(|planned| {
            let planned = *planned;
            let send: BoxFuture<'_, Sent> = Box::pin(async move {
                let begin = Instant::now();
                let result =
                    send(connection, planned, on_event).await.map(|()| Fated::Applied(planned.action));
                let (object, origin) = (planned.object.clone(), planned.origin.clone());
                Sent { object, origin, took: begin.elapsed(), result }
            });
            (planned.object.clone(), send)
        });
        self.run_all(sends.collect()).await;
    }

    /// Runs all, not too many at once. After a stop, or when the server is gone, no other is started.
    async fn run_all(&mut self, all: Vec<(ObjectRef, BoxFuture<'_, Sent>)>) {
        let mut waiting = all.into_iter();
        let mut running = FuturesUnordered::new();
        let mut goes_on = !self.applied.stopped;
        loop {
            goes_on = goes_on && !self.hears_stop(running.len());
            while goes_on && running.len() < MAX_IN_FLIGHT {
                let Some((_, next)) = waiting.next() else { break };
                running.push(next);
            }
            let sent = tokio::select! {
                sent = running.next() => sent,
                () = &mut self.stop, if !self.applied.stopped => {
                    self.applied.stopped = true;
                    goes_on = false;
                    (self.on_event)(Event::Stopping { running: running.len() });
                    continue;
                }
            };
            let Some(sent) = sent else { break };
            if matches!(&sent.result, Err(error) if error.is_of_all()) {
                goes_on = false;
            }
            self.note(sent);
        }
        self.applied.not_started.extend(waiting.map(|(object, _)| object));
    }

    /// Whether it is to stop, with so many running.
    fn hears_stop(&mut self, running: usize) -> bool {
        if !self.applied.stopped && (&mut self.stop).now_or_never().is_some() {
            self.applied.stopped = true;
            (self.on_event)(Event::Stopping { running });
        }
        self.applied.stopped
    }

    fn note(&mut self, sent: Sent) {
        let Sent { object, origin, took, result } = sent;
        match result {
            Ok(Fated::Applied(action)) => {
                (self.on_event)(Event::Applied { object: object.clone(), action, took });
                self.applied.applied.push((object, action));
            }
            Ok(Fated::Pruned) => {
                (self.on_event)(Event::Pruned { object: object.clone() });
                self.applied.pruned.push(object);
            }
            Ok(Fated::Kept(reason)) => {
                (self.on_event)(Event::Kept { object: object.clone(), reason: reason.clone() });
                self.applied.kept.push((object, reason));
            }
            Err(error) => {
                (self.on_event)(Event::Failed { object: object.clone(), error: error.clone() });
                self.applied.failures.push(ObjectError { object, origin, error: Box::new(error) });
            }
        }
    }

    /// Waits for something that changes nothing: a stop ends it at once.
    async fn wait_for(&mut self, waits: Hook<'_>) {
        tokio::select! {
            result = waits => self.applied.error = result.err(),
            () = &mut self.stop, if !self.applied.stopped => {
                self.applied.stopped = true;
                (self.on_event)(Event::Stopping { running: 0 });
            }
        }
    }

    /// Tells what stays although it is no longer wanted.
    fn keep(&mut self) {
        for Unwanted { object, fate, .. } in &self.plan.unwanted {
            if let Fate::Keep { reason } = fate {
                (self.on_event)(Event::Kept { object: object.clone(), reason: reason.clone() });
                self.applied.kept.push((object.clone(), reason.clone()));
            }
        }
    }

    /// Deletes what the plan says, phase by phase.
    async fn prune(&mut self) {
        let mut left: Vec<&Unwanted> =
            self.plan.unwanted.iter().filter(|unwanted| unwanted.fate == Fate::Delete).collect();
        if left.is_empty() {
            return;
        }
        if !self.applied.goes_on() {
            self.applied.not_started.extend(left.into_iter().map(|unwanted| unwanted.object.clone()));
            return;
        }
        // Whoever has to clear up after an object may be among the workloads that go.
        let waves = Phase::ALL.into_iter().rev().flat_map(|phase| [(phase, true), (phase, false)]);
        for (phase, is_held) in waves {
            let (now, later): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|unwanted| unwanted.phase == phase && unwanted.is_held == is_held);
            left = later;
            if !self.applied.goes_on() {
                self.applied.not_started.extend(now.into_iter().map(|unwanted| unwanted.object.clone()));
                continue;
            }
            let (connection, plan, on_event) = (self.connection, self.plan, self.on_event);
            let deletes = now.into_iter().map(|unwanted| {
                let delete: BoxFuture<'_, Sent> = Box::pin(async move {
                    let begin = Instant::now();
                    let result = delete(connection, plan, unwanted, on_event).await;
                    let (object, origin) = (unwanted.object.clone(), "no longer wanted".to_owned());
                    Sent { object, origin, took: begin.elapsed(), result }
                });
                (unwanted.object.clone(), delete)
            });
            let deletes = deletes.collect();
            self.run_all(deletes).await;
        }
    }

    /// Says in the parent what is left, if everything went well.
    async fn shrink(&mut self) {
        if !self.applied.goes_on() {
            return;
        }
        let mut left = self.plan.set.wanted.clone();
        left.kinds.extend(self.plan.set.out_of_sight.iter().cloned());
        for (object, _) in &self.applied.kept {
            left.add(&object.group, &object.kind, object.namespace.as_deref());
        }
        if left != self.plan.set.after_growth() {
            self.applied.error = self.write_parent(&left).await.err();
        }
    }
}

/// Applies one object.
async fn send(
    connection: &Connection,
    planned: &PlannedObject,
    on_event: &Observer<'_>,
) -> Result<(), Error> {
    let PlannedObject { object, path, manifest, force, replaces, .. } = planned;
    if let Some(uid) = replaces {
        take_away(connection, object, path, uid, on_event).await?;
    }
    let request = Request::apply(format!("apply {object}"), path, manifest, Mode::Real, *force);
    let begin = Instant::now();
    loop {
        // Each server takes a new schema a moment after its definition was written.
        let awaits_schema = |refused: &Refused| planned.schema_is_new && is_about_what_it_holds(refused);
        match connection.send(&request, on_event).await {
            Err(Error::Refused(refused))
                if (awaits_account(object, &refused) || awaits_schema(&refused))
                    && begin.elapsed() < connection.patience =>
            {
                sleep(ESTABLISH_PAUSE).await;
            }
            answer => return answer.map(drop),
        }
    }
}

/// Deletes what is to be made again, and waits until it is gone. Another object of its name is an error: nobody
/// saw it when the plan was made.
async fn take_away(
    connection: &Connection,
    object: &ObjectRef,
    path: &str,
    uid: &str,
    on_event: &Observer<'_>,
) -> Result<(), Error> {
    let doing = format!("replace {object}");
    match connection.send(&Request::delete(&doing, path, uid), on_event).await {
        Err(Error::Refused(refused)) if refused.status == 404 => return Ok(()),
        Err(Error::Refused(refused)) if refused.status == 409 => {
            let message = format!("{CHANGED_HANDS}: make a new plan");
            return Err(Error::Refused(Box::new(Refused { message, ..*refused })));
        }
        answer => drop(answer?),
    }
    let what = format!("{object} to be gone, so that it can be made again");
    until_gone(connection, object, path, uid, (&what, connection.patience), on_event).await
}

/// Waits, so long and no longer, until the object that is being deleted is gone: a finalizer may hold it.
async fn until_gone(
    connection: &Connection,
    object: &ObjectRef,
    path: &str,
    uid: &str,
    (what, patience): (&str, Duration),
    on_event: &Observer<'_>,
) -> Result<(), Error> {
    let begin = Instant::now();
    let request = Request::get(format!("read {object}"), path);
    let mut progress = Progress::new(object.clone(), on_event);
    while let Some(live) = connection.find(&request, on_event).await? {
        if live["metadata"]["uid"] != uid {
            break;
        }
        let finalizers: Vec<_> = finalizers(&live).collect();
        let held = if finalizers.is_empty() {
            "it is being deleted".to_owned()
        } else {
            format!("held by {}", finalizers.join(", "))
        };
        if begin.elapsed() > patience {
            return Err(Error::Timeout { what: what.to_owned(), after: begin.elapsed(), last: held });
        }
        progress.waits(&held);
        sleep(ESTABLISH_PAUSE).await;
    }
    Ok(())
}

/// A pod in a new namespace: the namespace's service account `default` comes a moment later.
fn awaits_account(object: &ObjectRef, refused: &Refused) -> bool {
    object.is_pod() && refused.status == 403 && refused.message.contains(LOOKING_UP_ACCOUNT)
}

/// Deletes one object, if it is still the one that was planned, and still may go.
async fn delete(
    connection: &Connection,
    plan: &Plan,
    unwanted: &Unwanted,
    on_event: &Observer<'_>,
) -> Result<Fated, Error> {
    let Unwanted { object, uid, path, is_held, .. } = unwanted;
    if (object.is_namespace() || object.is_definition())
        && let Some(reason) = changed_its_mind(connection, plan, unwanted, on_event).await?
    {
        return Ok(Fated::Kept(reason));
    }
    let request = Request::delete(format!("delete {object}"), path, uid);
    match connection.send(&request, on_event).await {
        Ok(_) if *is_held => {
            let what = format!("{object} to be gone, before what clears up after it goes");
            let patience = connection.patience.saturating_mul(FINALIZER_PATIENCE);
            until_gone(connection, object, path, uid, (&what, patience), on_event).await?;
            Ok(Fated::Pruned)
        }
        Err(Error::Refused(refused)) if refused.status == 404 => Ok(Fated::Pruned),
        Err(Error::Refused(refused)) if refused.status == 409 && is_emptied(object, &refused) => {
            Ok(Fated::Pruned)
        }
        // The one that was planned is gone; this one is somebody else's.
        Err(Error::Refused(refused)) if refused.status == 409 => Ok(Fated::Kept(CHANGED_HANDS.to_owned())),
        answer => answer.map(|_| Fated::Pruned),
    }
}

/// A namespace that is being deleted already: it is emptied, and a second deletion is refused.
fn is_emptied(object: &ObjectRef, refused: &Refused) -> bool {
    object.is_namespace() && !refused.message.contains("UID in precondition")
}

/// Somebody may have put something into a namespace since the plan was made, and it would be lost.
async fn changed_its_mind(
    connection: &Connection,
    plan: &Plan,
    unwanted: &Unwanted,
    on_event: &Observer<'_>,
) -> Result<Option<String>, Error> {
    let request = Request::get(format!("read {}", unwanted.object), &unwanted.path);
    let Some(live) = connection.find(&request, on_event).await? else { return Ok(None) };
    let discovery = Discovery::of(connection, on_event).await?;
    let wanted = plan.objects.iter().map(|planned| &planned.object).collect();
    let deleted = plan.unwanted.iter().filter(|unwanted| {
        unwanted.fate == Fate::Delete && !unwanted.object.is_namespace() && !unwanted.object.is_definition()
    });
    // By now what owned them may be gone.
    let going = deleted.map(|unwanted| &unwanted.uid).chain(&unwanted.takes_along).cloned().collect();
    let set = &plan.set.set;
    let context =
        prune::Context { connection, set, discovery: &discovery, wanted: &wanted, going: &going, on_event };
    Ok(match prune::fate(&context, &unwanted.object, &live).await.0 {
        Fate::Delete => None,
        Fate::Keep { reason } => Some(reason),
    })
}

/// Waits until the definitions that were sent are served, and the kinds that later phases need are there.
/// Without such it asks nothing.
async fn establish(connection: &Connection, plan: &Plan, on_event: &Observer<'_>) -> Result<(), Error> {
    let begin = Instant::now();
    let sent = plan
        .objects
        .iter()
        .filter(|planned| planned.object.is_definition() && planned.action != Action::Unchanged);
    for planned in sent {
        let request = Request::get(format!("read {}", planned.object), &planned.path);
        let mut progress = Progress::new(planned.object.clone(), on_event);
        while let Err(reason) = definition_state(&connection.send(&request, on_event).await?) {
            progress.waits(&reason);
            pause(begin, &planned.object.to_string(), Some(reason)).await?;
        }
        progress.ready();
    }
    let new: Vec<&PlannedObject> = plan.objects.iter().filter(|planned| planned.kind_is_new).collect();
    let Some(first) = new.first() else { return Ok(()) };
    // No object of it can be sent yet: the first that waits stands for all.
    let mut progress = Progress::new(first.object.clone(), on_event);
    loop {
        let discovery = Discovery::of(connection, on_event).await?;
        let Some(missing) = new.iter().find(|planned| !is_served(&discovery, planned)) else { break };
        let kind = format!("the kind {}", missing.object.kind);
        progress.waits(&format!("{kind} is not served yet"));
        pause(begin, &kind, None).await?;
    }
    progress.ready();
    Ok(())
}

fn is_served(discovery: &Discovery, planned: &PlannedObject) -> bool {
    let ObjectRef { group, kind, .. } = &planned.object;
    let api_version = planned.manifest["apiVersion"].as_str().unwrap_or_default();
    let version = api_version.rsplit_once('/').map_or(api_version, |(_, version)| version);
    discovery.find(group, version, kind).is_some()
}

async fn pause(begin: Instant, what: &str, last: Option<String>) -> Result<(), Error> {
    if begin.elapsed() > ESTABLISH_TIMEOUT {
        let what = format!("{what} to be served");
        return Err(Error::Timeout { what, after: ESTABLISH_TIMEOUT, last: last.unwrap_or_default() });
    }
    sleep(ESTABLISH_PAUSE).await;
    Ok(())
}
