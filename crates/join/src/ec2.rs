//! EC2 says what an instance is.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use roxmltree::{Document, Node};

use crate::aws::{Endpoint, aws_failed, child, child_text, error_code};
use crate::http::Http;
use crate::refusal::Refusal;

/// The largest answer that is read: one instance with fifty tags and many volumes has less than a tenth of it.
const MAX_ANSWER: usize = 512 * 1024;

const NAME: &str = "EC2";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The tags that make an instance a node of a cluster, as kOps has them.
const CLUSTER_TAG: &str = "KubernetesCluster";
const GROUP_TAG: &str = "kops.k8s.io/instancegroup";
const NODE_TAG: &str = "k8s.io/role/node";
const OTHER_ROLES: [&str; 3] = ["k8s.io/role/control-plane", "k8s.io/role/master", "k8s.io/role/bastion"];

/// The regional EC2, asked as the control plane's own role.
pub(crate) struct Ec2 {
    http: Http,
    endpoint: Endpoint,
    region: String,
    credentials: SharedCredentialsProvider,
}

/// What EC2 says about an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) state: String,
    pub(crate) private_dns_name: String,
    pub(crate) tags: BTreeMap<String, String>,
}

impl Ec2 {
    pub(crate) fn new(
        http: Http,
        endpoint: Endpoint,
        region: &str,
        credentials: SharedCredentialsProvider,
    ) -> Self {
        Self { http, endpoint, region: region.to_owned(), credentials }
    }

    /// Describes one instance. The id has to have an instance id's form: it stands in the request as it is.
    pub(crate) async fn instance(&self, id: &str) -> Result<Instance, Refusal> {
        let body = format!("Action=DescribeInstances&Version=2016-11-15&InstanceId.1={id}");
        let request = self.signed(body).await?;
        let reply = self.http.send(request, MAX_ANSWER).await;
        let reply = reply.map_err(|error| aws_failed(NAME, error))?;
        let text = String::from_utf8_lossy(&reply.body);
        if reply.status.is_success() {
            return Instance::parse(&text, id)?.ok_or(Refusal::Unknown);
        }
        match error_code(&text) {
            Some(code) if code == "InvalidInstanceID.NotFound" => Err(Refusal::Unknown),
            code => Err(aws_failed(NAME, format!("{} {}", reply.status, code.unwrap_or_default()))),
        }
    }

    async fn signed(&self, body: String) -> Result<Request<Full<Bytes>>, Refusal> {
        let failed =
            |error: &dyn std::error::Error| aws_failed(NAME, format!("the request is not signed: {error}"));
        let credentials = self.credentials.provide_credentials().await.map_err(|error| failed(&error))?;
        let identity = Identity::from(credentials);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let url = format!("{}/", self.endpoint.base);
        let headers = [("host", self.endpoint.authority.as_str()), ("content-type", FORM)];
        let body_bytes = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", &url, headers.into_iter(), body_bytes)
            .map_err(|error| failed(&error))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| failed(&error))?.into_parts();
        let mut request =
            Request::post(&url).header(HOST, &self.endpoint.authority).header(CONTENT_TYPE, FORM);
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::from(body))).map_err(|error| failed(&error))
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
        Ok(Some(Self {
            state: state.ok_or_else(unreadable)?.to_owned(),
            private_dns_name: child_text(found, "privateDnsName").unwrap_or_default().to_owned(),
            tags: tags.collect(),
        }))
    }

    /// Whether it may be the node that it asks to be.
    pub(crate) fn check(&self, cluster: &str, node_name: &str) -> Result<(), Refusal> {
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
        if self.private_dns_name != node_name {
            return Err(Refusal::NodeName {
                asked: node_name.to_owned(),
                own: self.private_dns_name.clone(),
            });
        }
        Ok(())
    }
}

/// The `item` elements of a list.
fn items<'a, 'input: 'a>(node: Node<'a, 'input>, list: &str) -> impl Iterator<Item = Node<'a, 'input>> {
    let list = child(node, list);
    list.into_iter().flat_map(|list| list.children()).filter(|one| one.tag_name().name() == "item")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "i-1.eu-north-1.compute.internal";

    fn node() -> Instance {
        let tags = [
            (CLUSTER_TAG, "c.example"),
            ("kubernetes.io/cluster/c.example", "owned"),
            (NODE_TAG, "1"),
            (GROUP_TAG, "nodes"),
        ];
        Instance {
            state: "running".to_owned(),
            private_dns_name: NODE.to_owned(),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    #[test]
    fn every_tag_counts() {
        assert!(node().check("c.example", NODE).is_ok());
        for tag in node().tags.keys() {
            let mut without = node();
            without.tags.remove(tag);
            assert!(matches!(without.check("c.example", NODE), Err(Refusal::NotMember { .. })), "{tag}");
        }
        for tag in OTHER_ROLES {
            let mut with = node();
            with.tags.insert(tag.to_owned(), "1".to_owned());
            assert!(matches!(with.check("c.example", NODE), Err(Refusal::NotMember { .. })), "{tag}");
        }
        let mut shared = node();
        shared.tags.insert("kubernetes.io/cluster/c.example".to_owned(), "shared".to_owned());
        assert!(shared.check("c.example", NODE).is_err());
        assert!(matches!(node().check("other.example", NODE), Err(Refusal::NotMember { .. })));
        assert!(matches!(node().check("c.example", "other"), Err(Refusal::NodeName { .. })));
    }

    #[test]
    fn only_what_runs_may_join() {
        for state in ["shutting-down", "terminated", "stopping", "stopped", ""] {
            let instance = Instance { state: state.to_owned(), ..node() };
            assert!(matches!(instance.check("c.example", NODE), Err(Refusal::NotRunning { .. })), "{state}");
        }
        let pending = Instance { state: "pending".to_owned(), ..node() };
        assert!(pending.check("c.example", NODE).is_err_and(|refusal| refusal.retry()));
    }
}
