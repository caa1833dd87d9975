//! What every concern builds into: the wanted graph, with the names and references all of them share.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use kcl_engine::{Ref, Resource, ResourceId, Wanted};
use kcl_spec::cluster::Cluster;

use crate::error::{ModelError, Warning};
use crate::facts::Facts;
use crate::resource::{
    Direction, InternetGateway, PROTECT_TAG, Peer, Protocol, SecurityGroup, SecurityGroupRule, Subnet, Tags,
    Vpc,
};
use crate::{Model, names, tags};

/// The model while it is being built.
pub(crate) struct Builder<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) facts: &'a Facts,
    wanted: Wanted,
    warnings: BTreeSet<Warning>,
    added: BTreeSet<ResourceId>,
    /// What leads traffic out of each subnet, by the subnet's name: machines start once it is there.
    pub(crate) egress: BTreeMap<String, BTreeSet<ResourceId>>,
    /// The rules of each security group, by the group's name.
    pub(crate) rules: BTreeMap<String, BTreeSet<ResourceId>>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(cluster: &'a Cluster, facts: &'a Facts) -> Self {
        Self {
            cluster,
            facts,
            wanted: Wanted::default(),
            warnings: BTreeSet::new(),
            added: BTreeSet::new(),
            egress: BTreeMap::new(),
            rules: BTreeMap::new(),
        }
    }

    pub(crate) fn finish(self) -> Model {
        Model { wanted: self.wanted, warnings: self.warnings.into_iter().collect() }
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &'a str {
        &self.cluster.name
    }

    /// Adds a resource; a second one of the same name is a mistake in the spec.
    pub(crate) fn add<R: Resource>(
        &mut self,
        name: impl Into<String>,
        resource: &R,
    ) -> Result<ResourceId, ModelError> {
        let id = self.wanted.add(name, resource)?;
        if self.added.insert(id.clone()) { Ok(id) } else { Err(ModelError::Conflict(id)) }
    }

    /// Adds a resource that is somebody else's, known by its `id`.
    pub(crate) fn add_shared<R: Resource>(&mut self, name: &str, id: &str) {
        let attrs = [("id".to_owned(), id.to_owned())].into_iter().collect();
        self.wanted.add_shared(ResourceId::new(R::SCHEMA.kind, name), attrs);
    }

    /// `id` comes after `first`, although no field of it refers to `first`.
    pub(crate) fn order(&mut self, id: &ResourceId, first: ResourceId) {
        self.wanted.order(id, first);
    }

    /// Whether `id` is one of the resources that are ours so far.
    pub(crate) fn has(&self, id: &ResourceId) -> bool {
        self.added.contains(id)
    }

    pub(crate) fn warn(&mut self, title: impl Into<String>, hint: impl Into<String>) {
        self.warnings.insert(Warning { title: title.into(), hint: hint.into() });
    }

    /// The tags of a resource of that `Name`.
    pub(crate) fn tags(&self, name: &str) -> Tags {
        tags::owned(self.cluster, name)
    }

    /// The tags of what says on AWS itself that the cluster is protected, where it is.
    pub(crate) fn protecting_tags(&self, name: &str) -> Tags {
        let mut tags = self.tags(name);
        if self.cluster.protected {
            tags.insert(PROTECT_TAG.to_owned(), "true".to_owned());
        }
        tags
    }

    pub(crate) fn vpc(&self) -> Ref {
        Ref::to(Vpc::SCHEMA.kind, self.name(), "id")
    }

    /// The subnet of that name in the spec.
    pub(crate) fn subnet(&self, name: &str) -> Ref {
        Ref::to(Subnet::SCHEMA.kind, names::subnet(name, self.name()), "id")
    }

    /// The internet gateway, where it is ours.
    pub(crate) fn own_internet_gateway(&self) -> Option<ResourceId> {
        let id = ResourceId::new(InternetGateway::SCHEMA.kind, self.name());
        self.has(&id).then_some(id)
    }

    /// Adds a security group.
    pub(crate) fn security_group(&mut self, name: &str, description: &str) -> Result<(), ModelError> {
        let tags = self.tags(name);
        self.tagged_security_group(name, description, tags)
    }

    /// Likewise, with these tags.
    pub(crate) fn tagged_security_group(
        &mut self,
        name: &str,
        description: &str,
        tags: Tags,
    ) -> Result<(), ModelError> {
        let group = SecurityGroup { vpc: self.vpc(), description: description.to_owned(), tags };
        self.add(name, &group)?;
        for anywhere in ["0.0.0.0/0", "::/0"] {
            let peer = Peer::Cidr(anywhere.to_owned());
            self.rule(name, Direction::Egress, Protocol::all(), peer)?;
        }
        Ok(())
    }

    /// Lets `protocol` into `group` from the members of the group `from`.
    pub(crate) fn allow_group(
        &mut self,
        group: &str,
        protocol: Protocol,
        from: &str,
    ) -> Result<(), ModelError> {
        self.rule(group, Direction::Ingress, protocol, Peer::Group(group_ref(from)))
    }

    /// Lets `protocol` into `group` from `cidr`.
    pub(crate) fn allow_cidr(
        &mut self,
        group: &str,
        protocol: Protocol,
        cidr: &IpNet,
    ) -> Result<(), ModelError> {
        self.rule(group, Direction::Ingress, protocol, Peer::Cidr(cidr.trunc().to_string()))
    }

    /// Lets path MTU discovery into `group` from `cidr`: load balancers do not work for every client without.
    pub(crate) fn allow_path_mtu(&mut self, group: &str, cidr: &IpNet) -> Result<(), ModelError> {
        let protocol = match cidr {
            IpNet::V4(_) => Protocol::icmp_fragmentation_needed(),
            IpNet::V6(_) => Protocol { name: "icmpv6".to_owned(), from: -1, to: -1 },
        };
        self.allow_cidr(group, protocol, cidr)
    }

    /// Adds a rule. Two parts of the spec may well ask for the same one.
    fn rule(
        &mut self,
        group: &str,
        direction: Direction,
        protocol: Protocol,
        peer: Peer,
    ) -> Result<(), ModelError> {
        let peer_name = match &peer {
            Peer::Cidr(name) | Peer::PrefixList(name) => name,
            Peer::Group(Ref::To { id, .. }) => &id.name,
            Peer::Group(Ref::Id { value, .. }) => value,
        };
        let name = SecurityGroupRule::name(group, direction, &protocol, peer_name);
        let rule = SecurityGroupRule { group: group_ref(group), direction, protocol, peer };
        let id = self.wanted.add(name, &rule)?;
        self.added.insert(id.clone());
        self.rules.entry(group.to_owned()).or_default().insert(id);
        Ok(())
    }
}

/// The security group of that name.
pub(crate) fn group_ref(name: &str) -> Ref {
    Ref::to(SecurityGroup::SCHEMA.kind, name, "id")
}

/// Security groups of the user's own.
pub(crate) fn given_groups(ids: &[String]) -> impl Iterator<Item = Ref> {
    ids.iter().map(|id| Ref::id(SecurityGroup::SCHEMA.kind, "id", id))
}
