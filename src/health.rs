//! Whether a cluster is healthy: what its spec wants, against what AWS runs, against what Kubernetes sees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use kcl_aws::{Aws, discovery, lookup};
use kcl_kube::{Connection, Node, UnhealthyPod, Unready};
use kcl_spec::Cluster;
use kcl_spec::cluster::{IngressController, InstanceGroup, Role};
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::ConnectTo;
use crate::error::{CommandError, Failure};
use crate::output::Printer;

/// How often it is looked while it is waited for.
const INTERVAL: Duration = Duration::from_secs(5);
/// The port that an ingress is asked at: any answer there tells that it works.
const HTTP: u16 = 80;

/// What is judged.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The account.
    pub(crate) aws: &'a Aws,
    /// The cluster.
    pub(crate) cluster: &'a Cluster,
    /// Its API server.
    pub(crate) connection: &'a Connection,
    /// Namespaces that its addons run in.
    pub(crate) namespaces: &'a [String],
    /// Another way to its ingress.
    pub(crate) connect_to: Option<&'a ConnectTo>,
}

/// How a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    /// Its name.
    pub(crate) cluster: String,
    /// Nothing is wrong.
    pub(crate) healthy: bool,
    /// Its instance groups.
    pub(crate) groups: Vec<Group>,
    /// What was looked at.
    pub(crate) checks: Vec<Check>,
}

/// An instance group in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) min_size: u32,
    pub(crate) max_size: u32,
    /// How many machines its auto scaling group wants at the moment; `None`: it has none.
    pub(crate) desired: Option<u32>,
    /// How many of them run.
    pub(crate) running: usize,
    /// How many of these are nodes that are ready; `None` for machines that are no nodes.
    pub(crate) ready: Option<usize>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// What is wrong; nothing: it is well.
    pub(crate) problems: Vec<String>,
}

/// What keeps a look from being taken.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It may pass.
    Passing(CommandError),
    /// It will be the same in a minute.
    Lasting(CommandError),
}

impl From<kcl_aws::Error> for Trouble {
    fn from(error: kcl_aws::Error) -> Self {
        use kcl_aws::ErrorKind;
        match error.kind {
            ErrorKind::Throttled | ErrorKind::TimedOut | ErrorKind::Unreachable | ErrorKind::Ambiguous => {
                Self::Passing(error.into())
            }
            _ => Self::Lasting(error.into()),
        }
    }
}

impl From<kcl_kube::Error> for Trouble {
    fn from(error: kcl_kube::Error) -> Self {
        use kcl_kube::ErrorKind;
        match error.kind() {
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Server => Self::Passing(error.into()),
            _ => Self::Lasting(error.into()),
        }
    }
}

impl From<Trouble> for CommandError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Passing(error) | Trouble::Lasting(error) => error,
        }
    }
}

/// Looks at everything, at the same time.
pub(crate) async fn look(subject: &Subject<'_>) -> Result<Health, Trouble> {
    let Subject { aws, cluster, connection, namespaces, .. } = *subject;
    aws.forget_reads();
    let balancers = kcl_model::load_balancers(cluster);
    let machines = async { Ok::<_, Trouble>(kcl_aws::health::health(aws, &cluster.name, &balancers).await?) };
    let nodes = async { Ok(kcl_kube::nodes(connection).await?) };
    let pods = async { Ok(kcl_kube::system_pods(connection, namespaces).await?) };
    let workloads = async { Ok(kcl_kube::unready_workloads(connection, namespaces).await?) };
    let all = Box::pin(async {
        let ingress = Box::pin(ingress(subject));
        futures::try_join!(machines, nodes, pods, workloads, ingress, identity(aws, cluster))
    });
    let (machines, nodes, pods, workloads, ingress, identity) = all.await?;

    let groups: Vec<Group> =
        cluster.instance_groups.iter().map(|group| numbers(group, &machines, &nodes)).collect();
    let mut checks = vec![
        Check { name: "machines", problems: machine_problems(&groups, &machines) },
        Check { name: "nodes", problems: node_problems(cluster, &machines, &nodes) },
        Check { name: "workloads", problems: workloads.iter().map(one_line).collect() },
        Check { name: "system pods", problems: pods.iter().map(pod_problem).collect() },
        Check { name: "load balancers", problems: target_problems(&machines) },
    ];
    if !cluster.ingress_controllers.is_empty() {
        checks.push(Check { name: "ingress", problems: ingress });
    }
    if cluster.service_account_issuer.as_ref().is_some_and(|issuer| issuer.bucket.is_some()) {
        checks.push(Check { name: "pod identity", problems: identity });
    }
    let healthy = checks.iter().all(|check| check.problems.is_empty());
    Ok(Health { cluster: cluster.name.clone(), healthy, groups, checks })
}

/// Looks until the cluster is healthy, at most for `timeout`; gives what was seen last.
pub(crate) async fn wait(
    subject: &Subject<'_>,
    timeout: Duration,
    printer: &Printer,
) -> Result<Health, CommandError> {
    let until = Instant::now() + timeout;
    let mut told = BTreeSet::new();
    loop {
        let seen = look(subject).await;
        let is_over = Instant::now() >= until;
        let problems = match seen {
            Ok(health) if health.healthy || is_over => return Ok(health),
            Ok(health) => health.checks.into_iter().flat_map(|check| check.problems).collect(),
            // An API server that is away for a moment, a call that AWS has no time for.
            Err(Trouble::Passing(error)) if !is_over => error.messages,
            Err(trouble) => return Err(trouble.into()),
        };
        // Each trouble is told once; what is left in the end is told with the result.
        for problem in problems {
            if told.insert(problem.clone()) {
                printer.note(&format!("  waiting: {problem}"));
            }
        }
        tokio::time::sleep_until(until.min(Instant::now() + INTERVAL)).await;
    }
}

/// Waits until the cluster is healthy; an error that names what is wrong where it does not get so.
pub(crate) async fn wait_until_healthy(
    subject: &Subject<'_>,
    timeout: Duration,
    printer: &Printer,
) -> Result<(), CommandError> {
    let health = wait(subject, timeout, printer).await?;
    if health.healthy {
        let nodes: usize = health.groups.iter().filter_map(|group| group.ready).sum();
        printer.note(&format!("{} is healthy: {nodes} nodes ready", health.cluster));
        return Ok(());
    }
    Err(unhealthy(&health))
}

/// The error that says so.
pub(crate) fn unhealthy(health: &Health) -> CommandError {
    let problems = health
        .checks
        .iter()
        .flat_map(|check| check.problems.iter().map(move |problem| format!("{}: {problem}", check.name)));
    let mut error = CommandError::failed(format!("{} is not healthy", health.cluster));
    error.failure = Failure::Unhealthy;
    error.messages.extend(problems);
    error.hint(format!("`kcl validate {} --wait 10m` looks again", health.cluster))
}

/// A machine that is no node: it only leads to others.
fn is_node(role: Role) -> bool {
    role != Role::Bastion
}

fn numbers(group: &InstanceGroup, machines: &kcl_aws::health::Health, nodes: &[Node]) -> Group {
    let in_aws = machines.groups.iter().find(|found| found.name == group.name);
    let running: BTreeSet<&str> =
        in_aws.iter().flat_map(|found| &found.running).map(String::as_str).collect();
    let is_ready_here =
        |node: &&Node| node.ready && node.instance_id.as_deref().is_some_and(|id| running.contains(id));
    Group {
        name: group.name.clone(),
        role: group.role.as_str(),
        min_size: group.min_size,
        max_size: group.max_size,
        desired: in_aws.map(|found| found.desired),
        ready: is_node(group.role).then(|| nodes.iter().filter(is_ready_here).count()),
        running: running.len(),
    }
}

fn machine_problems(groups: &[Group], machines: &kcl_aws::health::Health) -> Vec<String> {
    let mut problems = Vec::new();
    for group in groups {
        let Some(desired) = group.desired else {
            problems.push(format!("{} has no auto scaling group", group.name));
            continue;
        };
        let wanted = desired.max(group.min_size) as usize;
        if group.running < wanted {
            let in_aws = machines.groups.iter().find(|found| found.name == group.name);
            let why = in_aws.and_then(|found| found.problem.as_ref()).map(|why| format!(": {why}"));
            let why = why.unwrap_or_default();
            problems.push(format!("{}: {} of {wanted} machines run{why}", group.name, group.running));
        }
    }
    problems
}

fn node_problems(cluster: &Cluster, machines: &kcl_aws::health::Health, nodes: &[Node]) -> Vec<String> {
    let mut problems = Vec::new();
    let by_machine: BTreeMap<&str, &Node> =
        nodes.iter().filter_map(|node| Some((node.instance_id.as_deref()?, node))).collect();
    for group in &machines.groups {
        let role = cluster.group(&group.name).map(|group| group.role);
        if role.is_some_and(|role| !is_node(role)) {
            continue;
        }
        for machine in &group.running {
            match by_machine.get(machine.as_str()) {
                None => problems.push(format!("{machine} of {} has not joined the cluster", group.name)),
                Some(node) if !node.ready => {
                    problems.push(format!(
                        "{} ({machine}, {}) is not ready: {}",
                        node.name, group.name, node.reason
                    ));
                }
                Some(_) => {}
            }
        }
    }
    problems
}

fn one_line(workload: &Unready) -> String {
    workload.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

fn pod_problem(pod: &UnhealthyPod) -> String {
    let reasons = if pod.reasons.is_empty() { pod.phase.clone() } else { pod.reasons.join("; ") };
    format!("{}/{}: {reasons}", pod.namespace, pod.name)
}

fn target_problems(machines: &kcl_aws::health::Health) -> Vec<String> {
    let mut problems = machines.balancers.clone();
    for group in &machines.target_groups {
        let counted: Vec<_> = group.targets.iter().filter(|target| target.state != "draining").collect();
        if counted.is_empty() {
            problems.push(format!("{} leads to no machine", group.name));
        }
        for target in counted.iter().filter(|target| target.state != "healthy") {
            let why = target.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            problems.push(format!("{}: {} is {}{why}", group.name, target.instance, target.state));
        }
    }
    problems
}

/// Asks every ingress controller's load balancer for a page.
async fn ingress(subject: &Subject<'_>) -> Result<Vec<String>, Trouble> {
    let controllers = &subject.cluster.ingress_controllers;
    let problems =
        try_join_all(controllers.iter().map(|controller| one_ingress(subject, controller))).await?;
    Ok(problems.into_iter().flatten().collect())
}

async fn one_ingress(subject: &Subject<'_>, controller: &IngressController) -> Result<Vec<String>, Trouble> {
    let Subject { aws, cluster, connection, connect_to, .. } = *subject;
    let host = match kcl_model::ingress_load_balancer(&cluster.name, controller) {
        Some(name) => lookup::load_balancer_host(aws, &name).await?,
        None => kcl_kube::service_host(connection, &controller.namespace, &controller.name).await?,
    };
    let Some(balancer) = host else {
        return Ok(vec![format!("{} has no load balancer yet", controller.name)]);
    };
    // A name whose DNS is not there yet is no trouble of the ingress.
    let any = std::slice::from_ref(&balancer);
    let hosts = if controller.hosts.is_empty() { any } else { controller.hosts.as_slice() };
    let asked = hosts.iter().map(async |host| {
        let place = match connect_to {
            Some(way) => way.place(&balancer, HTTP),
            None => (balancer.clone(), HTTP),
        };
        let answer = kcl_kube::http_answers(host, (&place.0, place.1)).await;
        answer.err().map(|why| format!("http://{host} is not answered: {why}"))
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

/// Whether AWS can read who signs the tokens of the cluster's pods.
async fn identity(aws: &Aws, cluster: &Cluster) -> Result<Vec<String>, Trouble> {
    let issuer = cluster.service_account_issuer.as_ref();
    let Some(bucket) = issuer.and_then(|issuer| issuer.bucket.as_ref()) else { return Ok(Vec::new()) };
    let hidden = discovery::hidden(aws, bucket).await?;
    Ok(hidden.into_iter().map(|key| format!("not everybody can read s3://{}/{key}", bucket.name)).collect())
}
