//! The resource kinds, one file each: how it is read, made, changed and removed.
//!
//! A new kind is a new file here with a type that implements [`Kind`], and its line in [`all`].

mod auto_scaling_group;
mod bucket;
mod classic_load_balancer;
mod dhcp_options;
mod discovery_document;
mod dns_record;
mod elastic_ip;
mod encryption_key;
mod event_rule;
mod iam_role;
mod instance;
mod instance_profile;
mod internet_gateway;
mod key_pair;
mod keyset;
mod launch_template;
mod listener;
mod load_balancer;
mod machine_records;
mod nat_gateway;
mod network_interface;
mod node_agent;
mod node_configuration;
mod oidc_provider;
mod queue;
mod registered_spec;
mod route;
mod route_table;
mod route_table_association;
mod security_group;
mod security_group_rule;
mod subnet;
mod target_group;
mod volume;
mod vpc;

use std::future::Future;

use futures::future::BoxFuture;
use kcl_apply::Lane;
use kcl_engine::{Attrs, LiveNode, Resource};
use serde_json::Value;

use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};

/// The AWS service a kind's calls go to; calls are limited per service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    /// EC2.
    Ec2,
    /// IAM: global, with a low rate.
    Iam,
    /// Elastic Load Balancing.
    Elb,
    /// EC2 Auto Scaling.
    AutoScaling,
    /// Route53: five calls a second for the whole account.
    Route53,
    /// SQS, EventBridge, S3.
    Other,
}

impl Service {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Ec2, Self::Iam, Self::Elb, Self::AutoScaling, Self::Route53, Self::Other];

    /// Its place among them.
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Ec2 => 0,
            Self::Iam => 1,
            Self::Elb => 2,
            Self::AutoScaling => 3,
            Self::Route53 => 4,
            Self::Other => 5,
        }
    }

    /// Its lane: the name, and how many steps run at a time. EC2's mutating calls refill at about five a second from
    /// a bucket of fifty and more; IAM and Route53 are far slower; ELB and Auto Scaling lie between.
    pub(crate) const fn lane(self) -> Lane {
        match self {
            Self::Ec2 => Lane { name: "ec2", limit: 16 },
            Self::Iam => Lane { name: "iam", limit: 6 },
            Self::Elb => Lane { name: "elb", limit: 8 },
            Self::AutoScaling => Lane { name: "autoscaling", limit: 6 },
            Self::Route53 => Lane { name: "route53", limit: 2 },
            Self::Other => Lane { name: "other", limit: 8 },
        }
    }
}

/// One resource kind.
pub(crate) trait Kind: Send + Sync + 'static {
    /// Its fields.
    type Resource: Resource;
    /// Where its calls go.
    const SERVICE: Service;
    /// How the tagging API names its resources (`ec2:natgateway`). A preview does not read kinds that are
    /// neither wanted nor seen there; kinds that the tagging API does not know (empty) are always read.
    const TAGGED_AS: &'static [&'static str] = &[];
    /// Only removed with the cluster, never wanted: not read by a preview.
    const ONLY_REMOVED: bool = false;
    /// In one region, and not seen from another one.
    const IN_REGION: bool = true;

    /// What whoever runs kcl must be allowed for this kind. Reading is needed for every cluster, as its end looks
    /// for all kinds; anything else only where the kind is wanted, or is only removed.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission>;

    /// Reads every resource of this kind that is the cluster's, in calls whose number does not depend on how
    /// many there are. References are given as [`kcl_engine::Ref::Id`].
    fn observe(scope: &Scope<'_>) -> impl Future<Output = Result<Vec<LiveNode>, Error>> + Send;

    /// Makes one, with its tags in the same call. One that is there already under a unique name is brought
    /// to what is wanted.
    fn create(
        aws: &Aws,
        name: &str,
        want: &Self::Resource,
    ) -> impl Future<Output = Result<Attrs, Error>> + Send;

    /// Changes what differs between `old` and `want`, in place. Gives the attributes as they are then.
    fn update(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        old: &Self::Resource,
        want: &Self::Resource,
    ) -> impl Future<Output = Result<Attrs, Error>> + Send;

    /// Removes one and waits until it is gone. One that is gone already is a success.
    fn delete(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        old: &Self::Resource,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Steps with the same key that are ready together are made in one call by [`Kind::create_all`] or
    /// [`Kind::delete_all`].
    fn batch_key(_resource: &Self::Resource) -> Option<String> {
        None
    }

    /// Makes several with the same batch key.
    fn create_all(
        _aws: &Aws,
        _wanted: Vec<(String, Self::Resource)>,
    ) -> impl Future<Output = Result<Vec<Attrs>, Error>> + Send {
        async { Err(not_batched(Self::Resource::SCHEMA.kind)) }
    }

    /// Removes several with the same batch key.
    fn delete_all(
        _aws: &Aws,
        _live: Vec<(Attrs, Self::Resource)>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async { Err(not_batched(Self::Resource::SCHEMA.kind)) }
    }
}

fn not_batched(kind: &str) -> Error {
    Error::new(ErrorKind::Unexpected, kind, "this kind is not made in batches")
}

/// [`Kind`] without its type: fields are JSON, references are resolved.
pub(crate) trait AnyKind: Send + Sync {
    fn name(&self) -> &'static str;
    fn service(&self) -> Service;
    fn tagged_as(&self) -> &'static [&'static str];
    fn only_removed(&self) -> bool;
    fn in_region(&self) -> bool;
    fn permissions(&self, ground: &Ground<'_>) -> Vec<Permission>;
    fn observe<'a>(&self, scope: &'a Scope<'a>) -> BoxFuture<'a, Result<Vec<LiveNode>, Error>>;
    fn create<'a>(&self, aws: &'a Aws, name: &'a str, want: Value) -> BoxFuture<'a, Result<Attrs, Error>>;
    fn update<'a>(
        &self,
        aws: &'a Aws,
        name: &'a str,
        live: &'a Attrs,
        old: Value,
        want: Value,
    ) -> BoxFuture<'a, Result<Attrs, Error>>;
    fn delete<'a>(
        &self,
        aws: &'a Aws,
        name: &'a str,
        live: &'a Attrs,
        old: Value,
    ) -> BoxFuture<'a, Result<(), Error>>;
    fn batch_key(&self, fields: &Value) -> Option<String>;
    fn create_all<'a>(
        &self,
        aws: &'a Aws,
        wanted: Vec<(String, Value)>,
    ) -> BoxFuture<'a, Result<Vec<Attrs>, Error>>;
    fn delete_all<'a>(&self, aws: &'a Aws, live: Vec<(Attrs, Value)>) -> BoxFuture<'a, Result<(), Error>>;
}

struct Typed<K>(std::marker::PhantomData<fn() -> K>);

fn typed<R: Resource>(fields: Value) -> Result<R, Error> {
    serde_json::from_value(fields)
        .map_err(|error| Error::new(ErrorKind::Unexpected, R::SCHEMA.kind, error.to_string()))
}

impl<K: Kind> AnyKind for Typed<K> {
    fn name(&self) -> &'static str {
        K::Resource::SCHEMA.kind
    }

    fn service(&self) -> Service {
        K::SERVICE
    }

    fn tagged_as(&self) -> &'static [&'static str] {
        K::TAGGED_AS
    }

    fn only_removed(&self) -> bool {
        K::ONLY_REMOVED
    }

    fn in_region(&self) -> bool {
        K::IN_REGION
    }

    fn permissions(&self, ground: &Ground<'_>) -> Vec<Permission> {
        K::permissions(ground)
    }

    fn observe<'a>(&self, scope: &'a Scope<'a>) -> BoxFuture<'a, Result<Vec<LiveNode>, Error>> {
        Box::pin(K::observe(scope))
    }

    fn create<'a>(&self, aws: &'a Aws, name: &'a str, want: Value) -> BoxFuture<'a, Result<Attrs, Error>> {
        Box::pin(async move { K::create(aws, name, &typed(want)?).await })
    }

    fn update<'a>(
        &self,
        aws: &'a Aws,
        name: &'a str,
        live: &'a Attrs,
        old: Value,
        want: Value,
    ) -> BoxFuture<'a, Result<Attrs, Error>> {
        Box::pin(async move { K::update(aws, name, live, &typed(old)?, &typed(want)?).await })
    }

    fn delete<'a>(
        &self,
        aws: &'a Aws,
        name: &'a str,
        live: &'a Attrs,
        old: Value,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { K::delete(aws, name, live, &typed(old)?).await })
    }

    fn batch_key(&self, fields: &Value) -> Option<String> {
        K::batch_key(&typed(fields.clone()).ok()?)
    }

    fn create_all<'a>(
        &self,
        aws: &'a Aws,
        wanted: Vec<(String, Value)>,
    ) -> BoxFuture<'a, Result<Vec<Attrs>, Error>> {
        Box::pin(async move {
            let wanted = wanted.into_iter().map(|(name, fields)| Ok((name, typed(fields)?)));
            K::create_all(aws, wanted.collect::<Result<_, Error>>()?).await
        })
    }

    fn delete_all<'a>(&self, aws: &'a Aws, live: Vec<(Attrs, Value)>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let live = live.into_iter().map(|(attrs, fields)| Ok((attrs, typed(fields)?)));
            K::delete_all(aws, live.collect::<Result<_, Error>>()?).await
        })
    }
}

const fn kind<K: Kind>() -> &'static dyn AnyKind {
    &Typed::<K>(std::marker::PhantomData)
}

/// Every kind there is.
pub(crate) fn all() -> &'static [&'static dyn AnyKind] {
    const ALL: &[&dyn AnyKind] = &[
        kind::<bucket::Bucket>(),
        kind::<registered_spec::RegisteredSpec>(),
        kind::<keyset::Keyset>(),
        kind::<encryption_key::EncryptionKey>(),
        kind::<machine_records::MachineRecords>(),
        kind::<vpc::Vpc>(),
        kind::<dhcp_options::DhcpOptions>(),
        kind::<internet_gateway::InternetGateway>(),
        kind::<subnet::Subnet>(),
        kind::<elastic_ip::ElasticIp>(),
        kind::<nat_gateway::NatGateway>(),
        kind::<route_table::RouteTable>(),
        kind::<route::Route>(),
        kind::<route_table_association::RouteTableAssociation>(),
        kind::<security_group::SecurityGroup>(),
        kind::<security_group_rule::SecurityGroupRule>(),
        kind::<network_interface::NetworkInterface>(),
        kind::<discovery_document::DiscoveryDocument>(),
        kind::<oidc_provider::OidcProvider>(),
        kind::<iam_role::IamRole>(),
        kind::<instance_profile::InstanceProfile>(),
        kind::<key_pair::KeyPair>(),
        kind::<volume::Volume>(),
        kind::<load_balancer::LoadBalancer>(),
        kind::<target_group::TargetGroup>(),
        kind::<listener::Listener>(),
        kind::<classic_load_balancer::ClassicLoadBalancer>(),
        kind::<dns_record::DnsRecord>(),
        kind::<node_agent::NodeAgent>(),
        kind::<node_configuration::NodeConfiguration>(),
        kind::<launch_template::LaunchTemplate>(),
        kind::<auto_scaling_group::AutoScalingGroup>(),
        kind::<instance::Instance>(),
        kind::<queue::Queue>(),
        kind::<event_rule::EventRule>(),
    ];
    ALL
}

/// What a kind says to making or changing one that is only ever removed.
fn never_wanted(name: &str) -> Error {
    Error::new(ErrorKind::Unexpected, name, "it is of a kind that is only removed")
}

/// The kind named `name`.
pub(crate) fn find(name: &str) -> Option<&'static dyn AnyKind> {
    all().iter().copied().find(|kind| kind.name() == name)
}
