//! The daemon's life: it begins, minds its tasks, and stays or leaves as the outlook says.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use kcl_http::chain;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::leave::leave;
use super::members::{self, Presence};
use super::notice::{Cause, Outlook, Policy};
use super::report::{Report, Tell};
use super::shutdown::{Ending, ending};
use super::supervise::{Failure, keep};
use super::watch::{METADATA, look, watch};
use super::{Agent, AgentError, Settings, join, labels, renew, snapshots};
use crate::manifests::Place;

const JOIN: &str = "join service";
const NAMES: &str = "API names";
const CORDON: &str = "cordon";
const ETCD: &str = "etcd";

/// How long the last status may take when the agent alone ends.
const LAST_STATUS: std::time::Duration = std::time::Duration::from_secs(2);

/// Does all that the daemon does, until `stop` is ready; what is to be said goes to `tell`.
///
/// It also ends when the machine has left and what it left for was called off: begun again, it finds back what it
/// put away.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>, tell: Tell) -> Result<(), AgentError> {
    let report = Report::new(tell);
    let mut stop = std::pin::pin!(stop);
    let agent = tokio::select! {
        () = &mut stop => return Ok(()),
        agent = begin(&settings, &report) => Arc::new(agent?),
    };
    let name = &agent.identity.instance_id;
    report.tell(&format!("the agent of {name}, of the group {}, begins", agent.config.instance_group));
    let outlook = watch::Sender::new(Outlook::Stay);
    let said = outlook.subscribe();
    // Dropped with this function, and all tasks with them.
    let _lasting = lasting(&agent, outlook);
    let until_it_leaves = until_it_leaves(&agent);
    live(&agent, said, stop, until_it_leaves).await;
    Ok(())
}

/// Tries until it is known who the machine is and what it is told.
async fn begin(settings: &Settings, report: &Report) -> Result<Agent, AgentError> {
    let mut told = String::new();
    loop {
        match Agent::begin(settings, report).await {
            Ok(agent) => return Ok(agent),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                let why = chain(&error);
                if why != told {
                    report.tell(&format!("not begun yet: {why}"));
                    told = why;
                }
            }
        }
        tokio::time::sleep(settings.intervals.again).await;
    }
}

/// Keeps a task alive in a set of them.
fn add<F>(set: &mut JoinSet<Infallible>, agent: &Arc<Agent>, what: &'static str, task: fn(Arc<Agent>) -> F)
where
    F: Future<Output = Result<Infallible, Failure>> + Send + 'static,
{
    let (again, report, agent) = (agent.settings.intervals.again, agent.report.clone(), Arc::clone(agent));
    let tell = move |why: &str| report.trouble(what, why);
    set.spawn(async move { keep(again, tell, move || task(Arc::clone(&agent))).await });
}

/// What goes on while the machine leaves: its status, what it hears, and those who still join.
fn lasting(agent: &Arc<Agent>, outlook: watch::Sender<Outlook>) -> JoinSet<Infallible> {
    let mut set = JoinSet::new();
    let (instance, group) = (agent.identity.instance_id.clone(), agent.config.instance_group.clone());
    set.spawn(agent.report.clone().write(agent.store.clone(), instance, group));
    let (watched, again) = (Arc::clone(agent), agent.settings.intervals.again);
    let report = agent.report.clone();
    set.spawn(async move {
        let outlook = Arc::new(outlook);
        let begin = move || {
            let (agent, outlook) = (Arc::clone(&watched), Arc::clone(&outlook));
            async move {
                let (every, policy) = (agent.settings.intervals.watch, Policy::of(&agent.config));
                watch(&agent.imds, every, policy, &agent.report, &outlook).await
            }
        };
        keep(again, move |why: &str| report.trouble(METADATA, why), begin).await
    });
    if agent.control_plane.is_some() {
        add(&mut set, agent, JOIN, serve_joins);
    }
    set
}

/// What ends when the machine begins to leave.
fn until_it_leaves(agent: &Arc<Agent>) -> JoinSet<Infallible> {
    let mut set = JoinSet::new();
    if agent.control_plane.is_some() {
        add(&mut set, agent, ETCD, come_back);
        add(&mut set, agent, NAMES, keep_names);
        add(&mut set, agent, labels::LABELS, labels::keep_labels);
        add(&mut set, agent, snapshots::SNAPSHOTS, snapshots::take_periodically);
        add(&mut set, agent, snapshots::RESTORES, snapshots::serve_restores);
        add(&mut set, agent, renew::CERTIFICATES, renew::keep_certificates);
    }
    set
}

async fn serve_joins(agent: Arc<Agent>) -> Result<Infallible, Failure> {
    let Some(control_plane) = &agent.control_plane else { return pending().await };
    let settings = agent.join_settings(&control_plane.told);
    let report = agent.report.clone();
    let well = Arc::new(move || report.works(JOIN));
    join::serve(agent.settings.machine.system.clone(), settings, well).await
}

async fn keep_names(agent: Arc<Agent>) -> Result<Infallible, Failure> {
    let Some(control_plane) = &agent.control_plane else { return pending().await };
    let mut names = None;
    loop {
        if agent.has_left() {
            // Where there is no etcd, there is no API that a name could lead to.
            tokio::time::sleep(agent.settings.intervals.again).await;
            continue;
        }
        let here = agent.here().await?;
        let (route53, told) = (&control_plane.route53, &control_plane.told);
        let published =
            members::publish(&agent.store, route53, told, &here, Presence::Stays, names.as_ref()).await?;
        names = Some(published);
        agent.report.works(NAMES);
        tokio::time::sleep(agent.settings.intervals.members).await;
    }
}

/// Starts etcd again on a machine that had left and is back.
async fn come_back(agent: Arc<Agent>) -> Result<Infallible, Failure> {
    let Some(control_plane) = &agent.control_plane else { return pending().await };
    let system = &agent.settings.machine.system;
    if agent.has_left() {
        // The agent itself may have ended while the machine leaves, and nothing is called off.
        if let Outlook::Leave { .. } = look(&agent.imds, Policy::of(&agent.config)).await? {
            return pending().await;
        }
        agent.report.trouble(ETCD, "it stands still until this machine has its volume again");
        agent.take_volume(control_plane).await?;
        Place::Leaving.put_back(system)?;
        agent.report.tell("etcd's volume and manifest are back: the machine was only stopped");
    }
    agent.report.works(ETCD);
    pending().await
}

/// Stays or leaves as the outlook says, until it is told to stop.
async fn live(
    agent: &Agent,
    mut outlook: watch::Receiver<Outlook>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    mut until_it_leaves: JoinSet<Infallible>,
) {
    loop {
        let now = outlook.borrow_and_update().clone();
        if let Outlook::Leave { cause, at } = now {
            until_it_leaves.shutdown().await;
            return go(agent, outlook, stop, &cause, at).await;
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            // The watching task holds the other end as long as this one lives.
            _ = outlook.changed() => {}
            never = settle(agent, now == Outlook::Cordon) => match never {},
        }
    }
    match what_ends(agent).await {
        Ending::Service => agent.report.tell("the agent ends; the machine stays"),
        Ending::Reboot => agent.report.tell("the machine restarts; its pods come back on it"),
        Ending::PowerOff => {
            until_it_leaves.shutdown().await;
            let end = OffsetDateTime::now_utc() + agent.settings.stop_within;
            return leave(agent, &Cause::PowerOff, || end).await;
        }
    }
    agent.report.flush(LAST_STATUS).await;
}

/// Sees to it that the node is cordoned, or that the agent's own cordon is lifted.
async fn settle(agent: &Agent, cordon: bool) -> Infallible {
    loop {
        match if cordon { agent.cordon().await } else { agent.uncordon().await } {
            Ok(()) => break,
            Err(error) => agent.report.trouble(CORDON, &chain(&*error)),
        }
        tokio::time::sleep(agent.settings.intervals.again).await;
    }
    agent.report.works(CORDON);
    agent.report.stays(if cordon { "cordoned" } else { "ready" });
    pending().await
}

/// Leaves. The end comes closer when another notice says so, or when systemd begins to turn the machine off.
async fn go(
    agent: &Agent,
    mut outlook: watch::Receiver<Outlook>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    cause: &Cause,
    at: OffsetDateTime,
) {
    let end = Mutex::new(at);
    let heard = outlook.clone();
    let earliest = || {
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        if let Outlook::Leave { at, .. } = *heard.borrow() {
            *end = at.min(*end);
        }
        *end
    };
    let mut leaving = std::pin::pin!(leave(agent, cause, &earliest));
    tokio::select! {
        biased;
        () = &mut leaving => {
            tokio::select! {
                biased;
                () = &mut stop => {}
                _ = outlook.wait_for(|outlook| !matches!(outlook, Outlook::Leave { .. })) => {
                    agent.report.tell("what this machine left for was called off: it begins anew");
                }
            }
            return;
        }
        () = &mut stop => {}
    }
    if what_ends(agent).await == Ending::Service {
        // The next agent finds the same notice, and goes on.
        return;
    }
    let latest = OffsetDateTime::now_utc() + agent.settings.stop_within;
    {
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        *end = latest.min(*end);
    }
    leaving.await;
}

/// What it is that ends. Where systemd cannot be asked, it is the agent alone: sending all pods away, and stopping
/// etcd, for a mere restart of the agent would be worse than going without a word.
async fn what_ends(agent: &Agent) -> Ending {
    let system = &agent.settings.machine.system;
    match system.run(&system.commands.systemctl, &["list-jobs", "--no-legend", "--full"]).await {
        Ok(jobs) => ending(&jobs),
        Err(error) => {
            agent.report.tell(&format!("systemd does not say why the agent ends: {}", chain(&error)));
            Ending::Service
        }
    }
}
