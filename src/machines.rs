//! What the cluster's machines say of themselves while they become members, why AWS starts none where it does not, and
//! that the load balancer before them is not there yet: shown while kcl waits for them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures::future::Either;
use kcl_aws::Aws;
use kcl_aws::health::{self, GroupHealth};
use kcl_aws::store::{Store, reports};
use kcl_node_config::{State, Status, with_hints};
use kcl_spec::Cluster;
use tokio::sync::Mutex;

/// How often their words are read: each step of theirs takes seconds, and each look is a list and what is new in it.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
/// How often AWS is asked for what is missing, and why: it tries again every minute or so.
const BETWEEN_COUNTS: Duration = Duration::from_secs(15);

/// The machines of a cluster that begin now.
pub(crate) struct Machines<'a> {
    aws: &'a Aws,
    store: &'a dyn Store,
    cluster: &'a str,
    /// The names in AWS of its load balancers.
    balancers: Vec<String>,
    since: Instant,
    seen: Mutex<BTreeMap<String, Status>>,
    /// What AWS does not have yet, and why: machines, and load balancers.
    missing: Mutex<[BTreeSet<String>; 2]>,
}

impl<'a> Machines<'a> {
    /// Those that say something from now on: what machines said that went long ago is nobody's business.
    pub(crate) fn new(aws: &'a Aws, store: &'a dyn Store, cluster: &'a Cluster) -> Self {
        Self {
            aws,
            store,
            cluster: &cluster.name,
            balancers: kcl_model::load_balancers(cluster),
            since: Instant::now(),
            seen: Mutex::default(),
            missing: Mutex::default(),
        }
    }

    /// Tells whatever is new, until nobody listens any more. That it cannot be read keeps nobody from waiting.
    pub(crate) async fn follow(&self, tell: impl Fn(&str)) -> Infallible {
        let words = self.follow_words(&tell);
        let counts = self.follow_counts(&tell);
        match Box::pin(futures::future::select(Box::pin(words), Box::pin(counts))).await {
            Either::Left((never, _)) | Either::Right((never, _)) => never,
        }
    }

    async fn follow_counts(&self, tell: &impl Fn(&str)) -> Infallible {
        loop {
            let groups = health::groups(self.aws, self.cluster);
            let balancers = health::balancers(self.aws, &self.balancers);
            let (groups, balancers) = futures::future::join(groups, balancers).await;
            let now = [
                groups.map(|groups| groups.iter().filter_map(shortage).collect()),
                balancers.map(BTreeSet::from_iter),
            ];
            let mut missing = self.missing.lock().await;
            for (known, now) in missing.iter_mut().zip(now) {
                // What could not be looked at is as it was.
                let Ok(now) = now else { continue };
                for why in now.difference(known) {
                    tell(why);
                }
                *known = now;
            }
            drop(missing);
            tokio::time::sleep(BETWEEN_COUNTS).await;
        }
    }

    async fn follow_words(&self, tell: &impl Fn(&str)) -> Infallible {
        // What is read was written a moment ago, and written times are whole seconds.
        const LATE: Duration = Duration::from_mins(1);
        let mut known = BTreeMap::new();
        loop {
            self.store.forget_reads();
            let within = self.since.elapsed() + LATE;
            let said = reports::new_statuses(self.store, self.cluster, within, &mut known).await;
            for status in said.unwrap_or_default() {
                let mut seen = self.seen.lock().await;
                let before = seen.insert(status.instance.clone(), status.clone());
                if before.as_ref().map(key) != Some(key(&status)) {
                    tell(&line(&status));
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// What stopped those that are stopped, and those that did not even start.
    pub(crate) async fn failures(&self) -> Vec<String> {
        let seen = self.seen.lock().await;
        let stopped = seen.values().filter(|status| status.state == State::Failed).map(line);
        let missing = self.missing.lock().await;
        missing.iter().flatten().cloned().chain(stopped).collect()
    }
}

/// What keeps AWS from starting the machines that a group lacks, if something does: no spot capacity, a quota...
fn shortage(group: &GroupHealth) -> Option<String> {
    let why = group.problem.as_ref()?;
    Some(format!("{}: {} of {} machines run: {why}", group.name, group.running.len(), group.desired))
}

fn key(status: &Status) -> (State, &str, Option<&String>) {
    (status.state, &status.step, status.error.as_ref())
}

/// A machine, and how far it is.
fn line(status: &Status) -> String {
    let group = status.instance_group.as_ref().map(|group| format!(" ({group})")).unwrap_or_default();
    format!("{}{group}: {}", status.instance, step(status))
}

/// How far a machine is, in a few words and with what stopped it.
fn step(status: &Status) -> String {
    match (status.state, &status.error) {
        (State::Failed, error) => {
            let (why, hints) = with_hints(error.as_deref().unwrap_or("no reason given"));
            let said: Vec<&str> = std::iter::once(why).chain(hints).collect();
            format!("stopped at {}: {}", status.step, said.join("; "))
        }
        (State::Running | State::Done | State::Leaving, _) => status.step.clone(),
    }
}

/// The word for it in a table.
pub(crate) fn word(status: &Status) -> String {
    match status.state {
        State::Failed => format!("{} failed", status.step),
        State::Running | State::Done | State::Leaving => status.step.clone(),
    }
}
