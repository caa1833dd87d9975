//! Kubernetes' part of a plan, and taking it: what the cluster is to hold, compared with what it holds, applied, and
//! waited for.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use kcl_apply::Applied;
use kcl_aws::Aws;
use kcl_kube::{
    Action, Connection, ErrorKind, Fate, Guard, ObjectRef, Plan, PlanOptions, Probe, WaitOptions, Wanted,
    fetch_manifest,
};
use kcl_manifests::Manifest;
use kcl_model::{Facts, ROLE_ANNOTATION};
use kcl_spec::Cluster;
use kcl_spec::cluster::Role;
use serde_json::{Value, json};

use crate::api;
use crate::cli::{PlanFormat, Ways};
use crate::error::{CommandError, Failure};
use crate::machines::Machines;
use crate::output::{KubernetesProgress, KubernetesView, Printer};

use kcl_aws::store::{Store, reports};

/// How long an API server that answers may take until it can be planned with; else it is planned with later.
const SOON: Duration = Duration::from_secs(3);

/// How often is looked whether the control plane has begun.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// What gives pods their roles.
const POLICY: &str = "MutatingAdmissionPolicy";

/// How long an admission policy may take to act: API servers learn of a new one within seconds.
const ADMISSION: Duration = Duration::from_mins(2);

/// What is wanted of the cluster's own inside.
#[derive(Debug)]
pub(crate) struct Wishes {
    objects: Vec<Wanted>,
    /// How many objects these are, lists taken apart.
    count: usize,
    options: PlanOptions,
}

impl Wishes {
    /// What `cluster` is to hold. Manifests that stand elsewhere are fetched.
    pub(crate) async fn of(
        cluster: &Cluster,
        facts: &Facts,
        options: PlanOptions,
    ) -> Result<Self, CommandError> {
        let manifests = kcl_model::kubernetes::objects(cluster, facts)?.into_iter();
        let mut objects: Vec<Wanted> = manifests.flat_map(wanted).collect();
        let fetched = cluster.manifests.iter().map(async |manifest| {
            let found = fetch_manifest(&manifest.url, &manifest.sha256).await?;
            let wanted = found.into_iter().map(|object| Wanted { origin: manifest.name.clone(), object });
            Ok::<Vec<Wanted>, kcl_kube::RemoteError>(wanted.collect())
        });
        objects.extend(try_join_all(fetched).await?.into_iter().flatten());
        let count = kcl_kube::check(&objects)?;
        Ok(Self { objects, count, options })
    }

    /// Compares it with what the cluster holds.
    async fn plan(
        &self,
        cluster: &Cluster,
        connection: &Connection,
        printer: &Printer,
    ) -> Result<Plan, CommandError> {
        let progress = KubernetesProgress::new(printer);
        let observer = |event| progress.event(event);
        let plan = kcl_kube::plan(connection, &cluster.name, &self.objects, self.options, &observer).await;
        progress.clear();
        Ok(plan?)
    }

    /// A pod that shows whether pods are given their roles; `None` where no service account has one.
    fn probe(&self) -> Option<Probe> {
        let of_addon = self.objects.iter().filter(|wanted| wanted.origin == kcl_manifests::POD_IDENTITY);
        let policy = of_addon.map(|wanted| &wanted.object).find(|object| object["kind"] == POLICY)?;
        // An addon's own, where there is one: its namespace has no quota of the user's.
        let of_spec = [kcl_model::kubernetes::SERVICE_ACCOUNTS, kcl_model::kubernetes::SPEC_ORIGIN];
        let is_users = |wanted: &&Wanted| of_spec.contains(&wanted.origin.as_str());
        let accounts = self.objects.iter().filter(|wanted| {
            let object = &wanted.object;
            object["kind"] == "ServiceAccount"
                && object["metadata"]["annotations"][ROLE_ANNOTATION].is_string()
        });
        let account = &accounts.min_by_key(is_users)?.object;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Probe {
            namespace: text(&account["metadata"]["namespace"]).unwrap_or_else(|| "default".to_owned()),
            service_account: text(&account["metadata"]["name"])?,
            policy: text(&policy["metadata"]["name"])?,
            variable: "AWS_ROLE_ARN".to_owned(),
        })
    }
}

/// Whether the API server can be planned with: it answers, is ready, and lets us do something.
async fn ready_soon(connection: &Connection) -> Result<(), kcl_kube::Error> {
    match connection.version().await {
        // What it says while it starts is not its last word.
        Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Server) => {}
        answer => drop(answer?),
    }
    connection.wait_ready(SOON, &|_| {}).await.map(drop)
}

/// Whether what keeps an API server from answering may be its youth. Somebody else's at its address is not.
fn may_come(error: &kcl_kube::Error) -> bool {
    match error {
        kcl_kube::Error::Unreachable { cause, .. } => *cause != kcl_kube::Cause::Tls,
        error => error.kind() == ErrorKind::Timeout,
    }
}

fn wanted(manifest: Manifest) -> impl Iterator<Item = Wanted> {
    let Manifest { addon, objects } = manifest;
    objects.into_iter().map(move |object| Wanted { origin: addon.clone(), object })
}

/// Kubernetes' part of a plan.
#[derive(Debug)]
pub(crate) enum Kubernetes {
    /// It was not asked for.
    Skipped,
    /// There is no API server to ask yet: all of it is applied once there is.
    Later {
        /// What is applied then.
        wishes: Wishes,
        /// Why nobody can be asked.
        why: String,
        /// There is an address, and nobody there to plan with.
        is_away: bool,
    },
    /// It was compared with what is there.
    Planned {
        /// What is wanted.
        wishes: Wishes,
        /// The API server.
        connection: Connection,
        /// What is to be done.
        plan: Box<Plan>,
    },
}

impl Kubernetes {
    /// Compares what is wanted of `cluster` with what it holds.
    pub(crate) async fn look(
        wishes: Wishes,
        cluster: &Cluster,
        ways: &Ways,
        store: &dyn Store,
        own_url: Option<String>,
        printer: &Printer,
    ) -> Result<Self, CommandError> {
        // Who looks a name up before it is published hears for a quarter of an hour that it is not there.
        let is_nameless = by_name(ways, cluster) && !reports::has_begun(store, &cluster.name).await?;
        let own_url = own_url.filter(|_| !is_nameless);
        let Some(access) = api::access(ways, store, &cluster.name, own_url).await? else {
            let why = "the cluster has no API server yet".to_owned();
            return Ok(Self::Later { wishes, why, is_away: false });
        };
        let connection = Connection::open(&access).await?;
        match ready_soon(&connection).await {
            Ok(()) => {}
            Err(error) if may_come(&error) => {
                return Ok(Self::Later { wishes, why: error.to_string(), is_away: true });
            }
            Err(error) => return Err(error.into()),
        }
        let plan = wishes.plan(cluster, &connection, printer).await?;
        Ok(Self::Planned { wishes, connection, plan: Box::new(plan) })
    }

    /// Nothing is to be done, as far as is known.
    pub(crate) fn is_in_step(&self) -> bool {
        match self {
            Self::Skipped => true,
            Self::Later { .. } => false,
            Self::Planned { plan, .. } => plan.is_empty(),
        }
    }

    /// What is there, was applied earlier, is no longer wanted, and stays.
    pub(crate) fn left_alone(&self) -> usize {
        match self {
            Self::Skipped | Self::Later { .. } => 0,
            Self::Planned { plan, .. } => {
                plan.unwanted.iter().filter(|unwanted| unwanted.fate != Fate::Delete).count()
            }
        }
    }

    /// An error where the plan cannot be applied whole.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        let Self::Planned { plan, .. } = self else { return Ok(()) };
        if !plan.faults.is_empty() {
            return Err(CommandError::from(kcl_kube::Error::Objects(plan.faults.clone()))
                .hint("mend that; until then --skip-bootstrap does without Kubernetes"));
        }
        let blocking: Vec<_> = plan.blocking().into_iter().cloned().collect();
        if blocking.is_empty() { Ok(()) } else { Err(kcl_kube::Error::Conflicts(blocking).into()) }
    }

    /// As data, with what only the cluster knows left out.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Skipped => Value::Null,
            Self::Later { wishes, why, .. } => json!({ "pending": wishes.count, "because": why }),
            Self::Planned { plan, .. } => json!(plan),
        }
    }

    /// What it does, for telling whether another plan does the same.
    pub(crate) fn essence(&self) -> Value {
        let mut value = self.to_json();
        // Why nobody answers may be told otherwise from one moment to the next.
        if let Some(object) = value.as_object_mut() {
            object.remove("because");
        }
        if let Some(objects) = value.get_mut("objects").and_then(Value::as_array_mut) {
            objects.retain(|object| object["action"] != json!(Action::Unchanged));
        }
        value
    }

    /// How many objects are applied once the API server answers.
    pub(crate) fn pending(&self) -> Option<usize> {
        match self {
            Self::Later { wishes, .. } => Some(wishes.count),
            Self::Skipped | Self::Planned { .. } => None,
        }
    }

    /// Why it was not compared, where it was to be.
    pub(crate) fn not_compared(&self) -> Option<String> {
        let Self::Later { why, is_away, .. } = self else { return None };
        let ways = "--api-server URL takes another way to it, --skip-bootstrap does without";
        let ways = if *is_away { format!(" ({ways})") } else { String::new() };
        Some(format!("Kubernetes is not compared yet: {why}{ways}"))
    }

    /// The plan, where there is one.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Planned { plan, .. } => Some(plan),
            Self::Skipped | Self::Later { .. } => None,
        }
    }
}

/// What a bootstrap is run with.
pub(crate) struct Bootstrap<'a> {
    /// The cluster.
    pub(crate) cluster: &'a Cluster,
    /// What the account was looked up to have.
    pub(crate) facts: &'a Facts,
    /// The account.
    pub(crate) aws: &'a Aws,
    /// Its state store.
    pub(crate) store: &'a dyn Store,
    /// How the API server is reached.
    pub(crate) ways: &'a Ways,
    /// How long each wait may take.
    pub(crate) timeout: Duration,
    /// Nothing is changed unless it says so.
    pub(crate) guard: Guard,
    /// Whatever has to be done was said yes to.
    pub(crate) confirmed: bool,
    /// How plans are shown.
    pub(crate) output: PlanFormat,
    /// Who is told.
    pub(crate) printer: &'a Printer,
}

/// What was brought in step, and can be judged.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The API server.
    pub(crate) connection: Connection,
    /// What is no longer wanted and stays.
    pub(crate) left_alone: usize,
}

impl Bootstrap<'_> {
    /// Brings Kubernetes in step, in a cluster whose machines and ways are there. `None`: it was not asked for.
    pub(crate) async fn run<S: Future<Output = ()> + Send>(
        &self,
        kubernetes: Kubernetes,
        applied: &Applied,
        stop: &impl Fn() -> S,
    ) -> Result<Option<Ready>, CommandError> {
        let (wishes, connection, plan) = match kubernetes {
            Kubernetes::Skipped => return Ok(None),
            Kubernetes::Planned { wishes, connection, plan } => (wishes, connection, *plan),
            Kubernetes::Later { wishes, .. } => {
                let connection = self.wait_for_api(applied, stop()).await?;
                let plan = tokio::select! {
                    plan = wishes.plan(self.cluster, &connection, self.printer) => plan?,
                    () = stop() => return Err(stopped()),
                };
                self.show_late(&plan)?;
                (wishes, connection, plan)
            }
        };
        let connection = connection.change_under(Guard::clone(&self.guard));
        let left_alone = self.apply(&wishes, &connection, &plan, stop()).await?;
        self.wait(&connection, &plan, stop()).await?;
        Ok(Some(Ready { connection, left_alone }))
    }

    /// Shows what nobody could see before. Objects to create were announced; anything else was not, and needs a yes.
    fn show_late(&self, plan: &Plan) -> Result<(), CommandError> {
        let creates = plan.objects.iter().all(|object| object.action == Action::Create);
        if creates && plan.unwanted.is_empty() && plan.conflicts.is_empty() && plan.faults.is_empty() {
            return Ok(());
        }
        let view = KubernetesView { width: self.printer.width, full: false };
        let view = view.render(plan);
        match self.output {
            PlanFormat::Text => self.printer.data(&view),
            // Whoever reads the document would not understand what comes behind it.
            PlanFormat::Json => self.printer.write(&view),
        }
        if self.confirmed {
            return Ok(());
        }
        let error = "the API server answers now, and not everything is to be created: nothing was changed in Kubernetes";
        Err(CommandError::failed(error).hint("run the same command again: it shows all of it"))
    }

    async fn wait_for_api(
        &self,
        applied: &Applied,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Connection, CommandError> {
        let mut stop = std::pin::pin!(stop);
        let machines = Machines::new(self.aws, self.store, self.cluster);
        let begun = Instant::now();
        if by_name(self.ways, self.cluster) {
            tokio::select! {
                begun = self.wait_for_beginning(&machines) => begun?,
                () = stop.as_mut() => return Err(stopped()),
            }
        }
        let left = self.timeout.saturating_sub(begun.elapsed());
        let own_url = kcl_model::own_api_url(self.cluster, &self.facts.zones, applied.attrs());
        let Some(access) = api::access(self.ways, self.store, &self.cluster.name, own_url).await? else {
            return Err(CommandError::failed(format!("{} has no address for its API", self.cluster.name)));
        };
        let connection = Connection::open(&access).await?;
        self.printer.note(&format!("waiting for the API server {}", connection.server()));
        tokio::select! {
            ready = wait_ready(&connection, left, self.printer, Some(&machines)) => ready?,
            () = stop.as_mut() => return Err(stopped()),
        }
        Ok(connection)
    }

    /// Waits until the control plane has begun, and so published the API's name.
    async fn wait_for_beginning(&self, machines: &Machines<'_>) -> Result<(), CommandError> {
        let name = &self.cluster.name;
        self.printer.note(&format!("waiting for the control plane of {name}"));
        let progress = KubernetesProgress::new(self.printer);
        let begins = async {
            while !reports::has_begun(self.store, name).await? {
                tokio::time::sleep(BETWEEN_LOOKS).await;
                self.store.forget_reads();
            }
            Ok(())
        };
        let result = tokio::select! {
            begun = tokio::time::timeout(self.timeout, begins) => begun,
            never = machines.follow(|line| progress.tell(line)) => match never {},
        };
        progress.clear();
        let Ok(begun) = result else {
            let error = format!("the control plane of {name} did not begin in {} s", self.timeout.as_secs());
            let mut error = CommandError { failure: Failure::Unreachable, ..CommandError::failed(error) };
            error.messages.extend(machines.failures().await);
            return Err(error.hint("`kcl get instances` shows how far each machine is"));
        };
        begun
    }

    /// Applies the plan; gives how many objects that are no longer wanted stay.
    async fn apply(
        &self,
        wishes: &Wishes,
        connection: &Connection,
        plan: &Plan,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<usize, CommandError> {
        let progress = KubernetesProgress::new(self.printer);
        let observer = |event| progress.event(event);
        let probe = wishes.probe();
        let hook = probe.as_ref().map(|probe| -> kcl_kube::Hook<'_> {
            Box::pin(kcl_kube::wait_until_mutated(connection, probe, ADMISSION, &observer))
        });
        let applied = kcl_kube::apply(connection, plan, hook, stop, &observer).await?;
        progress.clear();
        // The plan says of the others that they stay.
        let was_to_go = |object: &ObjectRef| {
            plan.unwanted.iter().any(|unwanted| unwanted.object == *object && unwanted.fate == Fate::Delete)
        };
        for (object, reason) in applied.kept.iter().filter(|(object, _)| was_to_go(object)) {
            self.printer.warning(&format!("{object} was not deleted: {reason}"), None);
        }
        match applied.outcome() {
            kcl_kube::Outcome::Done => Ok(applied.kept.len()),
            kcl_kube::Outcome::Failed => Err(failure(applied)),
            kcl_kube::Outcome::Stopped => {
                let left = applied.not_started.len();
                let error =
                    format!("stopped after {} objects; {left} were not applied", applied.applied.len());
                Err(CommandError::failed(error).hint("run the same command again: it goes on from here"))
            }
        }
    }

    async fn wait(
        &self,
        connection: &Connection,
        plan: &Plan,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), CommandError> {
        let progress = KubernetesProgress::new(self.printer);
        let observer = |event| progress.event(event);
        // Where there may be no worker at all, nothing need run on each of them.
        let may_idle = self.cluster.groups(Role::Node).all(|group| group.min_size == 0);
        let options = WaitOptions { timeout: self.timeout, may_idle, ..WaitOptions::default() };
        let result = kcl_kube::wait(connection, &plan.wanted(), options, stop, &observer).await;
        progress.clear();
        Ok(result?)
    }
}

/// Whether the API is reached by a name that its control plane publishes.
fn by_name(ways: &Ways, cluster: &Cluster) -> bool {
    ways.kubeconfig.is_none() && ways.api_server.is_none() && cluster.api.load_balancer.is_none()
}

/// Waits until the API server is ready to be asked.
pub(crate) async fn wait_ready(
    connection: &Connection,
    timeout: Duration,
    printer: &Printer,
    machines: Option<&Machines<'_>>,
) -> Result<(), CommandError> {
    let progress = KubernetesProgress::new(printer);
    let observer = |event| progress.event(event);
    let follow = async {
        match machines {
            Some(machines) => match machines.follow(|line| progress.tell(line)).await {},
            None => std::future::pending().await,
        }
    };
    let ready = tokio::select! {
        ready = connection.wait_ready(timeout, &observer) => ready,
        ready = follow => ready,
    };
    progress.clear();
    match ready {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Timeout => {
            let mut error = CommandError { failure: Failure::Unreachable, ..error.into() };
            if let Some(machines) = machines {
                error.messages.extend(machines.failures().await);
                error = error.hint("`kcl get instances` shows how far each machine is");
            }
            Err(error)
        }
        Err(error) => Err(error.into()),
    }
}

fn stopped() -> CommandError {
    CommandError::failed("stopped while waiting for the API server")
        .hint("run the same command again: it goes on from here")
}

fn failure(applied: kcl_kube::Applied) -> CommandError {
    let mut command = CommandError::failed(String::new());
    command.messages.clear();
    let errors = applied.failures.iter().map(|failed| &*failed.error).chain(&applied.error);
    if errors.map(kcl_kube::Error::kind).all(|kind| kind == ErrorKind::Unreachable) {
        command.failure = Failure::Unreachable;
    }
    for failed in applied.failures {
        let error = CommandError::from(*failed.error);
        command
            .messages
            .extend(error.messages.into_iter().map(|message| format!("{}: {message}", failed.origin)));
        command = error.hints.into_iter().fold(command, CommandError::hint);
    }
    if let Some(error) = applied.error {
        let error = CommandError::from(error);
        command.messages.extend(error.messages);
        command = error.hints.into_iter().fold(command, CommandError::hint);
    }
    let count = format!(
        "{} objects were applied, {} were not sent because of that",
        applied.applied.len(),
        applied.not_started.len()
    );
    command.messages.push(count);
    command.hint("mend the cause and run the same command again: it goes on from here")
}

#[cfg(test)]
mod tests {
    use kcl_kube::{Applied, Cause, Error, ObjectError};

    use super::*;

    /// What ends a run has its exit code, when it comes midway too.
    #[test]
    fn a_server_that_is_gone_midway_cannot_be_reached() {
        let gone = || Error::Unreachable {
            server: "https://127.0.0.1:6443".to_owned(),
            cause: Cause::Refused,
            reason: String::new(),
        };
        let of = |error: Error| {
            let object = ObjectRef {
                group: String::new(),
                kind: "ConfigMap".to_owned(),
                namespace: Some("shop".to_owned()),
                name: "prices".to_owned(),
            };
            ObjectError { object, origin: "spec".to_owned(), error: Box::new(error) }
        };
        let ended = |failures: Vec<ObjectError>, error| {
            failure(Applied { failures, error, ..Applied::default() }).failure
        };
        assert_eq!(ended(vec![of(gone()), of(gone())], None), Failure::Unreachable);
        assert_eq!(ended(Vec::new(), Some(gone())), Failure::Unreachable);
        let stopped = || Error::Stopped { doing: "applying".to_owned() };
        assert_eq!(ended(vec![of(gone()), of(stopped())], None), Failure::Failed);
        assert_eq!(ended(vec![of(gone())], Some(stopped())), Failure::Failed);
    }
}
