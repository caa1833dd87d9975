//! EC2 says what an instance is.

use std::collections::BTreeMap;

use kcl_http::xml::{child, child_text, items};
use kcl_http::{AwsService, EndpointError, Http, Signer, chain};
use roxmltree::Document;

use crate::aws::{TIMEOUT, aws_failed};
use crate::refusal::Refusal;

/// The largest answer that is read: one instance with fifty tags and many volumes has less than a tenth of it.
const MAX_ANSWER: usize = 512 * 1024;

const NAME: &str = "EC2";

/// The tags that make an instance a node of a cluster, as kOps has them.
const CLUSTER_TAG: &str = "KubernetesCluster";
const GROUP_TAG: &str = "kops.k8s.io/instancegroup";
const NODE_TAG: &str = "k8s.io/role/node";
const OTHER_ROLES: [&str; 3] = ["k8s.io/role/control-plane", "k8s.io/role/master", "k8s.io/role/bastion"];

/// The regional EC2, asked as the control plane's own role.
pub(crate) struct Ec2(AwsService);

/// What EC2 says about an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) state: String,
    pub(crate) tags: BTreeMap<String, String>,
}

impl Ec2 {
    pub(crate) fn new(
        http: Http,
        signer: Signer,
        region: &str,
        endpoint: Option<&str>,
    ) -> Result<Self, EndpointError> {
        let service = AwsService::regional(http, signer, "ec2", region, endpoint)?;
        Ok(Self(service.with_bounds(TIMEOUT, MAX_ANSWER)))
    }

    /// Describes one instance.
    pub(crate) async fn instance(&self, id: &str) -> Result<Instance, Refusal> {
        match self.0.query("2016-11-15", "DescribeInstances", &[("InstanceId.1", id)]).await {
            Ok(text) => Instance::parse(&text, id)?.ok_or(Refusal::Unknown),
            Err(error) if error.code() == Some("InvalidInstanceID.NotFound") => Err(Refusal::Unknown),
            Err(error) => Err(aws_failed(NAME, chain(&error))),
        }
    }
}

impl Instance {
    /// The instance of this id in the answer.
    fn parse(xml: &str, id: &str) -> Result<Option<Self>, Refusal> {
        let unreadable = || aws_failed(NAME, "its answer cannot be read");
        let document = Document::parse(xml).map_err(|_| unreadable())?;
        let root = document.root_element();
        if root.tag_name().name() != "DescribeInstancesResponse" {
            return Err(unreadable());
        }
        let instances = items(root, "reservationSet").flat_map(|one| items(one, "instancesSet"));
        let mut wanted = instances.filter(|one| child_text(*one, "instanceId") == Some(id));
        let Some(found) = wanted.next() else {
            return Ok(None);
        };
        let state = child(found, "instanceState").and_then(|state| child_text(state, "name"));
        let tags = items(found, "tagSet").filter_map(|tag| {
            Some((
                child_text(tag, "key")?.to_owned(),
                child_text(tag, "value").unwrap_or_default().to_owned(),
            ))
        });
        Ok(Some(Self { state: state.ok_or_else(unreadable)?.to_owned(), tags: tags.collect() }))
    }

    /// Whether it may be a node of the cluster.
    pub(crate) fn check(&self, cluster: &str) -> Result<(), Refusal> {
        match self.state.as_str() {
            "running" => {}
            "pending" => return Err(Refusal::Pending),
            state => return Err(Refusal::NotRunning { state: state.to_owned() }),
        }
        let is = |key: &str, value: &str| self.tags.get(key).is_some_and(|found| found == value);
        let owned = format!("kubernetes.io/cluster/{cluster}");
        let missing = |tag: &str| Err(Refusal::NotMember { why: format!("its tag {tag} does not say so") });
        if !is(CLUSTER_TAG, cluster) {
            return missing(CLUSTER_TAG);
        }
        if !is(&owned, "owned") {
            return missing(&owned);
        }
        if !is(NODE_TAG, "1") {
            return missing(NODE_TAG);
        }
        if self.tags.get(GROUP_TAG).is_none_or(String::is_empty) {
            return missing(GROUP_TAG);
        }
        if let Some(role) = OTHER_ROLES.iter().find(|role| self.tags.contains_key(**role)) {
            return Err(Refusal::NotMember { why: format!("it has the tag {role}") });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Instance {
        let tags = [
            (CLUSTER_TAG, "c.example"),
            ("kubernetes.io/cluster/c.example", "owned"),
            (NODE_TAG, "1"),
            (GROUP_TAG, "nodes"),
        ];
        Instance {
            state: "running".to_owned(),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    #[test]
    fn every_tag_counts() {
        assert!(node().check("c.example").is_ok());
        for tag in node().tags.keys() {
            let mut without = node();
            without.tags.remove(tag);
            assert!(matches!(without.check("c.example"), Err(Refusal::NotMember { .. })), "{tag}");
        }
        for tag in OTHER_ROLES {
            let mut with = node();
            with.tags.insert(tag.to_owned(), "1".to_owned());
            assert!(matches!(with.check("c.example"), Err(Refusal::NotMember { .. })), "{tag}");
        }
        let mut shared = node();
        shared.tags.insert("kubernetes.io/cluster/c.example".to_owned(), "shared".to_owned());
        assert!(shared.check("c.example").is_err());
        assert!(matches!(node().check("other.example"), Err(Refusal::NotMember { .. })));
    }

    #[test]
    fn only_what_runs_may_join() {
        for state in ["shutting-down", "terminated", "stopping", "stopped", ""] {
            let instance = Instance { state: state.to_owned(), ..node() };
            assert!(matches!(instance.check("c.example"), Err(Refusal::NotRunning { .. })), "{state}");
        }
        let pending = Instance { state: "pending".to_owned(), ..node() };
        assert!(pending.check("c.example").is_err_and(|refusal| refusal.retry()));
    }
}
