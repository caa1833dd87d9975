//! What whoever runs kcl must be allowed: each part of this crate says so beside the calls that it makes.
//!
//! Plain data, made from the spec alone: nothing is asked of AWS, and an account or id that is not known stands as
//! `*`. [`crate::policy`] makes the document of it. Which resources and conditions AWS takes for which action is told
//! in <https://docs.aws.amazon.com/service-authorization/latest/reference/>.

use std::collections::{BTreeMap, BTreeSet};

use kcl_engine::{Attrs, Resource, Wanted};
use kcl_partition::Partition;
use kcl_spec::Cluster;

use crate::store::Location;
use crate::tags::{CLUSTER_TAG, LOAD_BALANCER_CONTROLLER_TAG, ownership_key};

/// Conditions: operator, key, values. All keys must hold, and one value of each.
pub(crate) type Conditions = BTreeMap<&'static str, BTreeMap<String, BTreeSet<String>>>;

/// Actions for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permission {
    /// The purpose, as the document names it. Permissions of one purpose become one statement: all their actions on
    /// all their resources. That grants no more than each alone, as an action has a type of resource of its own.
    pub(crate) purpose: &'static str,
    /// The actions by IAM's names.
    pub(crate) actions: Vec<&'static str>,
    /// The ARNs they are allowed on, or `*`.
    pub(crate) resources: BTreeSet<String>,
    /// When.
    pub(crate) conditions: Conditions,
}

impl Permission {
    /// `actions` on `resources`, for `purpose`.
    pub(crate) fn new(
        purpose: &'static str,
        actions: &[&'static str],
        resources: impl IntoIterator<Item = String>,
    ) -> Self {
        let resources = resources.into_iter().collect();
        Self { purpose, actions: actions.to_vec(), resources, conditions: Conditions::new() }
    }

    /// Looking at what AWS shows whole or not at all, or what is not known by name beforehand.
    pub(crate) fn read(actions: &[&'static str]) -> Vec<Self> {
        vec![Self::new("Read", actions, ["*".to_owned()])]
    }

    /// The same, under one more condition.
    pub(crate) fn when<V: Into<String>>(
        mut self,
        operator: &'static str,
        key: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into);
        self.conditions.entry(operator).or_default().entry(key.into()).or_default().extend(values);
        self
    }
}

/// What a cluster's permissions are made from.
pub(crate) struct Ground<'a> {
    /// The cluster.
    pub(crate) cluster: &'a Cluster,
    /// What it is made of.
    pub(crate) wanted: &'a Wanted,
    /// Its state store, where one is known.
    pub(crate) store: Option<&'a Location>,
    partition: &'static str,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(cluster: &'a Cluster, wanted: &'a Wanted, store: Option<&'a Location>) -> Self {
        Self { cluster, wanted, store, partition: Partition::of_region(&cluster.region).name }
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &'a str {
        &self.cluster.name
    }

    /// The wanted resources of one kind, by name.
    pub(crate) fn all<R: Resource>(&self) -> Vec<(&'a str, R)> {
        let nodes = self.wanted.nodes().filter(|(id, _)| id.kind.as_str() == R::SCHEMA.kind);
        nodes.filter_map(|(id, _)| Some((id.name.as_str(), self.wanted.get(&id.name)?))).collect()
    }

    /// Whether any resource of that kind is wanted.
    pub(crate) fn wants<R: Resource>(&self) -> bool {
        self.wanted.nodes().any(|(id, _)| id.kind.as_str() == R::SCHEMA.kind)
    }

    /// `permissions` where the kind is wanted, else nothing.
    pub(crate) fn if_wanted<R: Resource>(
        &self,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Vec<Permission> {
        if self.wants::<R>() { permissions.into_iter().collect() } else { Vec::new() }
    }

    /// An ARN in the cluster's region.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{}:*:{resource}", self.partition, self.cluster.region)
    }

    /// An ARN of IAM.
    pub(crate) fn iam_arn(&self, resource: &str) -> String {
        format!("arn:{}:iam::*:{resource}", self.partition)
    }

    /// An ARN of a service without regions and accounts.
    pub(crate) fn global_arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}:::{resource}", self.partition)
    }

    /// What EC2 calls itself where a role is handed to it.
    pub(crate) fn ec2_service(&self) -> &'static str {
        Partition::named(self.partition).ec2_service()
    }

    /// Making EC2 resources, with the cluster's mark in the same call. What a resource is made in counts as changed:
    /// see [`Ground::ec2_change`] and [`Ground::ec2_within`].
    pub(crate) fn ec2_create(&self, actions: &[&'static str]) -> Vec<Permission> {
        let names = actions.iter().map(|action| action.trim_start_matches("ec2:"));
        vec![
            self.requested(Permission::new("Ec2Create", actions, self.any_ec2())),
            // Tags that come with a creating call are asked for apart, and only then.
            self.requested(Permission::new("Ec2TagCreated", &["ec2:CreateTags"], self.any_ec2())).when(
                "StringEquals",
                "ec2:CreateAction",
                names,
            ),
        ]
    }

    /// Changing EC2 resources that have the cluster's mark.
    pub(crate) fn ec2_change(&self, actions: &[&'static str]) -> Vec<Permission> {
        vec![self.owned(Permission::new("Ec2Change", actions, self.any_ec2()))]
    }

    /// Removing EC2 resources with either of the cluster's marks: what controllers make has only the second one, and
    /// what somebody took the first one from has to go, too.
    pub(crate) fn ec2_delete(&self, actions: &[&'static str]) -> Vec<Permission> {
        let marked = self.marked(Permission::new("Ec2Marked", actions, self.any_ec2()));
        [self.ec2_change(actions), vec![marked]].concat()
    }

    /// Likewise, and on what only has the mark of the cluster's load balancer controller.
    pub(crate) fn ec2_delete_of_controllers(&self, actions: &[&'static str]) -> Vec<Permission> {
        let tag = format!("aws:ResourceTag/{LOAD_BALANCER_CONTROLLER_TAG}");
        let of_controller = Permission::new("Ec2OfController", actions, self.any_ec2());
        let of_controller = of_controller.when("StringEquals", tag, [self.name()]);
        [self.ec2_delete(actions), vec![of_controller]].concat()
    }

    /// Tagging EC2 resources that have one of the marks: the other one can be put back.
    pub(crate) fn ec2_retag(&self) -> Vec<Permission> {
        self.ec2_delete(&["ec2:CreateTags", "ec2:DeleteTags"])
    }

    /// Making something in resources of the kind `R`, which EC2 calls `kind`: the cluster's own, or those that the
    /// spec gives by their ids. These need not have a mark, and nothing else of them may be changed.
    pub(crate) fn ec2_within<R: Resource>(&self, action: &'static str, kind: &str) -> Vec<Permission> {
        let given = self.given::<R>();
        let mut permissions = Vec::new();
        if self.wants::<R>() {
            permissions.extend(self.ec2_change(&[action]));
        }
        if !given.is_empty() {
            permissions.extend(self.ec2_within_given(action, kind, given));
        }
        permissions
    }

    /// Making something in resources that are known by their ids.
    pub(crate) fn ec2_within_given(
        &self,
        action: &'static str,
        kind: &str,
        ids: impl IntoIterator<Item = String>,
    ) -> Vec<Permission> {
        let arns = ids.into_iter().map(|id| self.arn("ec2", &format!("{kind}/{id}")));
        vec![Permission::new("Ec2CreateInGiven", &[action], arns)]
    }

    /// The ids of resources that are somebody else's.
    pub(crate) fn given<R: Resource>(&self) -> BTreeSet<String> {
        let id = |attrs: &Attrs| attrs.get("id").cloned();
        let shared = self.wanted.shared().filter(|(id, _)| id.kind.as_str() == R::SCHEMA.kind);
        shared.filter_map(|(_, attrs)| id(attrs)).collect()
    }

    /// `*` in the account's place also stands for none: images are nobody's.
    fn any_ec2(&self) -> [String; 1] {
        [self.arn("ec2", "*")]
    }

    /// On what is being made with the cluster's mark.
    pub(crate) fn requested(&self, permission: Permission) -> Permission {
        permission.when("StringEquals", format!("aws:RequestTag/{CLUSTER_TAG}"), [self.name()])
    }

    /// On what has the cluster's mark.
    pub(crate) fn owned(&self, permission: Permission) -> Permission {
        permission.when("StringEquals", format!("aws:ResourceTag/{CLUSTER_TAG}"), [self.name()])
    }

    /// On what has the mark that Kubernetes' controllers know, too.
    pub(crate) fn marked(&self, permission: Permission) -> Permission {
        permission.when("StringEquals", format!("aws:ResourceTag/{}", ownership_key(self.name())), ["owned"])
    }

    /// Using KMS keys, as a spec spells them, through `service`. The key's own policy must allow it as well. Without
    /// a key of its own nothing is needed: AWS' default keys let everybody of the account use them.
    pub(crate) fn use_keys(
        &self,
        purpose: &'static str,
        service: &str,
        actions: &[&'static str],
        keys: impl IntoIterator<Item = String>,
    ) -> Option<Permission> {
        let keys: BTreeSet<String> = keys.into_iter().collect();
        if keys.is_empty() {
            return None;
        }
        let arns = keys.iter().map(|key| match key.rsplit_once("alias/") {
            // An alias is no resource that using a key could be allowed on: see the condition.
            Some(_) => self.arn("kms", "key/*"),
            None if key.starts_with("arn:") => key.clone(),
            None => format!("arn:{}:kms:*:*:key/{key}", self.partition),
        });
        let permission = Permission::new(purpose, actions, arns).when(
            "StringLike",
            "kms:ViaService",
            [format!("{service}.*.{}", self.ec2_service().trim_start_matches("ec2."))],
        );
        let aliases: Vec<String> = keys
            .iter()
            .filter_map(|key| key.rsplit_once("alias/").map(|(_, name)| format!("alias/{name}")))
            .collect();
        // Only where every key is given so: a key that is given by its id may have no alias.
        if aliases.len() == keys.len() {
            return Some(permission.when("ForAnyValue:StringEquals", "kms:ResourceAliases", aliases));
        }
        Some(permission)
    }
}

/// `names`, or one pattern for all that end in `suffix`: a policy does not grow with what there is of a kind, and
/// covers what is added. Names that had to be cut short stand for themselves.
pub(crate) fn patterns<'n>(names: impl IntoIterator<Item = &'n str>, suffix: &str) -> BTreeSet<String> {
    let names = names.into_iter();
    names.map(|name| if name.ends_with(suffix) { format!("*{suffix}") } else { name.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::patterns;

    #[test]
    fn one_pattern_for_many_names() {
        let found = patterns(["a.k.example.com", "b.k.example.com", "cut-0a1b2c"], ".k.example.com");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["*.k.example.com", "cut-0a1b2c"]);
    }
}
