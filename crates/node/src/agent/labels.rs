//! The labels of nodes that a kubelet may not give itself: those of Kubernetes' own domains
//! (`node-role.kubernetes.io/node`, `kops.k8s.io/instancegroup`), which the NodeRestriction admission plugin keeps for
//! others, so that no machine makes itself something else than it is.
//!
//! The control plane gives them, as kOps' kops-controller does. Which they are, the tags of the node's instance say,
//! which it was made with and which the nodes' role may not change: the very tags by which the cluster autoscaler
//! knows a node before it is there. What a node says of itself counts for nothing but its name, which is its
//! instance's id and which its kubelet's certificate is for.
//!
//! All labels come in one request, and [`GROUP`] is always among them. So the nodes that lack theirs are those
//! without that one: where there are none, a round is one question to the API server of this machine with an empty
//! answer, nothing is asked of EC2, and nothing is remembered. What somebody takes away or changes later stays so.
//! Every machine of the control plane does this; they all want the same, and give it in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kcl_http::{AwsError, chain};
use kcl_node_config::is_own_label;
use serde_json::json;
use tokio::time::Instant;

use super::Agent;
use super::kubernetes::{FIELD_MANAGER, KubeError, Kubernetes, MERGE_PATCH};
use super::report::Report;
use super::supervise::Failure;
use super::{certificate, rights};
use crate::ec2::Ec2;

/// What does not work when nodes do not get their labels.
pub(super) const LABELS: &str = "node labels";

/// The rights that it takes, and their binding to [`USER`].
pub const RBAC: &str = include_str!("../../rbac.yaml");

/// The user that the rights are bound to.
const USER: &str = "kcl:node-labels";

/// How long its certificate is good; it is renewed when half of that is over.
const VALIDITY: Duration = Duration::from_hours(24);

/// The label, and the tag, that names the instance group. Every node that has its labels has it.
const GROUP: &str = "kops.k8s.io/instancegroup";

/// What the tags of labels begin with.
const TEMPLATE: &str = "k8s.io/cluster-autoscaler/node-template/label/";

/// So many nodes are asked for at a time, of the API server and of EC2, whose answers have ten kilobytes each.
const PAGE: usize = 25;

/// So many nodes get their labels at a time.
const AT_ONCE: usize = 8;

/// After this a node is looked at again that EC2 does not know, or that the API server did not take labels for.
const AGAIN: Duration = Duration::from_mins(1);

/// Why no node got its labels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] KubeError),
    /// EC2.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// Where labels come from, and where they go.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// The API server, as somebody who may list and change nodes.
    pub kubernetes: &'a Kubernetes,
    /// EC2, as a machine of the control plane.
    pub ec2: &'a Ec2,
    /// The cluster.
    pub cluster: &'a str,
}

/// Nodes that did not get their labels, and when they are looked at again.
#[derive(Debug, Default)]
pub struct Later(BTreeMap<String, Failed>);

#[derive(Debug)]
struct Failed {
    until: Instant,
    /// What the API server said; nothing where it was not asked, of a node that is no instance of the cluster.
    refused: Option<KubeError>,
}

impl Later {
    /// Why the API server does not take labels, where it does not.
    pub fn refusal(&self) -> Option<&KubeError> {
        self.0.values().find_map(|failed| failed.refused.as_ref())
    }
}

/// What came of a round.
#[derive(Debug, Default)]
pub struct Given {
    /// The nodes that got their labels.
    pub labelled: Vec<String>,
    /// Those that are no instances of the cluster, as far as EC2 knows, and were not looked at before.
    pub strangers: Vec<String>,
}

impl Labels<'_> {
    /// Gives all nodes their labels that lack them.
    pub async fn give(&self, later: &mut Later) -> Result<Given, LabelsError> {
        let now = Instant::now();
        let mut given = Given::default();
        let (mut next, mut lacking) = (None, BTreeSet::new());
        loop {
            let (names, more) = self.kubernetes.names("list the nodes without labels", &page(next)).await?;
            let due = names.iter().filter(|name| later.0.get(*name).is_none_or(|failed| failed.until <= now));
            let due: Vec<&str> = due.map(String::as_str).filter(|name| is_instance(name)).collect();
            if !due.is_empty() {
                self.give_these(&due, &mut given, later).await?;
            }
            lacking.extend(names);
            next = more;
            if next.is_none() {
                break;
            }
        }
        // A node that is gone, or has its labels, is forgotten.
        later.0.retain(|name, _| lacking.contains(name) && !given.labelled.contains(name));
        Ok(given)
    }

    /// Gives a node these labels; says of which node it is what came of it.
    async fn label<'n>(
        &self,
        name: &'n str,
        labels: BTreeMap<&str, &str>,
    ) -> (&'n str, Result<(), KubeError>) {
        let fields = json!({"metadata": {"labels": labels}});
        let path = format!("/api/v1/nodes/{name}?fieldManager={FIELD_MANAGER}");
        let what = format!("label the node {name}");
        (name, self.kubernetes.patch(&what, &path, MERGE_PATCH, &fields).await)
    }

    async fn give_these(
        &self,
        names: &[&str],
        given: &mut Given,
        later: &mut Later,
    ) -> Result<(), LabelsError> {
        let until = Instant::now() + AGAIN;
        let tags = self.ec2.tags(self.cluster, names).await?;
        let mut patches = Vec::new();
        for name in names {
            if let Some(labels) = tags.get(*name).and_then(wanted) {
                patches.push(self.label(name, labels));
            } else {
                let before = later.0.insert((*name).to_owned(), Failed { until, refused: None });
                given.strangers.extend(before.is_none().then(|| (*name).to_owned()));
            }
        }
        let mut patches = futures::stream::iter(patches).buffer_unordered(AT_ONCE);
        while let Some((name, done)) = patches.next().await {
            match done {
                Ok(()) => given.labelled.push(name.to_owned()),
                // It is gone since.
                Err(error) if error.status() == Some(404) => {}
                Err(error @ KubeError::Refused { .. }) => {
                    later.0.insert(name.to_owned(), Failed { until, refused: Some(error) });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The path of a page of the nodes that lack their labels.
fn page(next: Option<String>) -> String {
    let go_on = next.map(|next| {
        let next = percent_encoding::utf8_percent_encode(&next, percent_encoding::NON_ALPHANUMERIC);
        format!("&continue={next}")
    });
    // `!key`: without the label, whatever its value would be.
    let without = GROUP.replace('/', "%2F");
    format!("/api/v1/nodes?labelSelector=%21{without}&limit={PAGE}{}", go_on.unwrap_or_default())
}

/// Whether a node's name is an instance's id: what is none need not be asked for.
fn is_instance(name: &str) -> bool {
    let id = name.strip_prefix("i-").unwrap_or_default();
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The labels of a node whose instance has these tags; none if they name no group.
fn wanted(tags: &BTreeMap<String, String>) -> Option<BTreeMap<&str, &str>> {
    let group = tags.get(GROUP).filter(|group| !group.is_empty())?;
    let labels = tags.iter().filter_map(|(key, value)| Some((key.strip_prefix(TEMPLATE)?, value.as_str())));
    // What a kubelet may give itself it was told to, and kubeadm has its own.
    let others = labels.filter(|(key, _)| !is_own_label(key));
    Some([(GROUP, group.as_str())].into_iter().chain(others).collect())
}

/// Looks now and then, and gives labels.
pub(super) async fn keep_labels(agent: Arc<Agent>) -> Result<Infallible, Failure> {
    let Some(control_plane) = &agent.control_plane else { return pending().await };
    let (system, server) = (&agent.settings.machine.system, agent.api_server());
    // Where there is no etcd, there is no API server.
    while agent.has_left() {
        tokio::time::sleep(agent.settings.intervals.again).await;
    }
    rights::apply(system, &server, RBAC).await?;
    let mut later = Later::default();
    loop {
        let own = certificate::user(system, &server, USER, None, time::Duration::try_from(VALIDITY)?)?;
        let (kubernetes, renew) = (Kubernetes::new(&own)?, Instant::now() + VALIDITY / 2);
        let labels =
            Labels { kubernetes: &kubernetes, ec2: &control_plane.ec2, cluster: &agent.config.cluster };
        while Instant::now() < renew {
            let given = labels.give(&mut later).await?;
            tell(&agent.report, &given, later.refusal());
            tokio::time::sleep(agent.settings.intervals.labels).await;
        }
    }
}

/// Says what came of a round.
fn tell(report: &Report, given: &Given, refusal: Option<&KubeError>) {
    let Given { labelled, strangers } = given;
    if !labelled.is_empty() {
        report.tell(&format!("nodes that got their labels: {}", labelled.join(", ")));
    }
    if !strangers.is_empty() {
        let names = strangers.join(", ");
        report.tell(&format!("nodes without labels, as they are no instances of this cluster: {names}"));
    }
    match refusal {
        Some(error) => report.trouble(LABELS, &chain(error)),
        None => report.works(LABELS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_tags_that_a_kubelet_may_not_give_itself() {
        let tags = |tags: &[(&str, &str)]| -> BTreeMap<String, String> {
            tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let label = |key: &str| format!("{TEMPLATE}{key}");
        let all = [
            (GROUP, "nodes"),
            ("Name", "nodes.c.example"),
            (&label("node-role.kubernetes.io/node"), ""),
            (&label("team.k8s.io/a"), "b"),
            (&label("disk"), "fast"),
            (&label("node.kubernetes.io/exclude-from-external-load-balancers"), ""),
            ("k8s.io/cluster-autoscaler/node-template/taint/only", "gpu:NoSchedule"),
        ];
        let found = tags(&all);
        let expected = [(GROUP, "nodes"), ("node-role.kubernetes.io/node", ""), ("team.k8s.io/a", "b")];
        assert_eq!(wanted(&found), Some(BTreeMap::from(expected)));
        let own = tags(&[(GROUP, "nodes"), (&label(GROUP), "other")]);
        assert_eq!(wanted(&own).unwrap()[GROUP], "other", "the spec's own word");
        for none in [tags(&all[1..]), tags(&[(GROUP, "")])] {
            assert_eq!(wanted(&none), None);
        }
    }

    #[test]
    fn only_instances_are_asked_for() {
        assert!(is_instance("i-0123456789abcdef0"));
        for other in ["", "i-", "i-0123/../x", "ip-10-0-0-1.ec2.internal", "control-plane"] {
            assert!(!is_instance(other), "{other}");
        }
    }

    #[test]
    fn a_page_follows_another() {
        let first = "/api/v1/nodes?labelSelector=%21kops.k8s.io%2Finstancegroup&limit=25";
        assert_eq!(page(None), first);
        assert_eq!(page(Some("a=/".to_owned())), format!("{first}&continue=a%3D%2F"));
    }
}
