//! Reading what a cluster has.
//!
//! All kinds are read at the same time, each in a few calls filtered by the cluster's tags or names.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::Filter;
use futures::future::{join, join_all};
use kcl_engine::{Attrs, LiveNode, Owner, Resource, Wanted};
use kcl_model::resource::PROTECT_TAG;
use tokio::sync::OnceCell;

use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::kind::{self, AnyKind, Service};
use crate::permission::Permission;
use crate::tags::{self, CLUSTER_TAG};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What a preview needs: the kinds that are wanted, and those of which the cluster's tags say that there
    /// is something.
    Preview,
    /// Also what AWS only tells one resource at a time (lifecycle hooks).
    Deep,
    /// Every kind that a spec can want, so that nothing unwanted stays unseen; as closely as `Deep`.
    Owned,
    /// Every kind, and what controllers left behind.
    Everything,
}

/// What to read, and what was read already.
pub struct Scope<'a> {
    /// The account.
    pub(crate) aws: &'a Aws,
    /// The cluster's name.
    pub(crate) cluster: &'a str,
    /// What is wanted: the names to look for where AWS knows no tags.
    pub(crate) wanted: &'a Wanted,
    /// How much is read.
    pub(crate) depth: Depth,
    pub(crate) shared: SharedReads,
}

/// Answers that several kinds are made from; each is asked for once.
#[derive(Default)]
pub(crate) struct SharedReads {
    pub(crate) subnets: OnceCell<Vec<aws_sdk_ec2::types::Subnet>>,
    pub(crate) route_tables: OnceCell<Vec<aws_sdk_ec2::types::RouteTable>>,
    pub(crate) security_groups: OnceCell<Vec<aws_sdk_ec2::types::SecurityGroup>>,
    pub(crate) balancing: OnceCell<crate::elb::Balancing>,
    pub(crate) roles: OnceCell<Vec<crate::iam::Role>>,
    /// ARNs of what the tagging API knows to be the cluster's own, by kind (`service:type`).
    pub(crate) tagged: OnceCell<BTreeMap<String, Vec<String>>>,
}

impl<'a> Scope<'a> {
    /// The scope of a cluster.
    pub fn new(aws: &'a Aws, cluster: &'a str, wanted: &'a Wanted, depth: Depth) -> Self {
        Self { aws, cluster, wanted, depth, shared: SharedReads::default() }
    }

    /// Whether to read what AWS tells one resource at a time.
    pub(crate) fn is_deep(&self) -> bool {
        self.depth != Depth::Preview
    }

    /// Whether every kind is read, wanted or not.
    pub(crate) fn is_exhaustive(&self) -> bool {
        matches!(self.depth, Depth::Owned | Depth::Everything)
    }

    /// The EC2 filter for what may be the cluster's. All that we make has two marks, and anybody can take one of
    /// them away: either is enough to be looked at, and a missing one is a changed tag that is set right. Several
    /// filters must all hold, so that one filter names both keys; what other clusters have comes along, and
    /// [`tags::owner`] leaves it out.
    pub(crate) fn ec2_filter(&self) -> Filter {
        let filter = Filter::builder().name("tag-key");
        filter.values(tags::ownership_key(self.cluster)).values(CLUSTER_TAG).build()
    }

    /// The same as two questions that find nothing of other clusters, for kinds that come with machines and of
    /// which they may have thousands: what is marked as made by us, and what is marked as the cluster's.
    pub(crate) fn ec2_exact_filters(&self) -> [Filter; 2] {
        let ownership = Filter::builder().name("tag-key").values(tags::ownership_key(self.cluster));
        let named = Filter::builder().name(format!("tag:{CLUSTER_TAG}")).values(self.cluster);
        [named.build(), ownership.build()]
    }

    /// Whether a resource is one that the spec gives by its id: used as it is, whatever its tags say.
    fn is_given(&self, node: &LiveNode) -> bool {
        let is_it = |attrs: &Attrs| {
            !attrs.is_empty() && attrs.iter().all(|(key, id)| node.attrs.get(key) == Some(id))
        };
        self.wanted.shared().any(|(id, attrs)| id.kind == node.id.kind && is_it(attrs))
    }

    /// Whether a resource of that kind and name is wanted.
    pub(crate) fn wants(&self, kind: &str, name: &str) -> bool {
        self.wanted.nodes().any(|(id, _)| id.kind.as_str() == kind && id.name == name)
    }

    /// The names of the wanted resources of one kind.
    pub(crate) fn wanted_names(&self, kind: &str) -> Vec<&'a str> {
        let nodes = self.wanted.nodes().filter(|(id, _)| id.kind.as_str() == kind);
        nodes.map(|(id, _)| id.name.as_str()).collect()
    }

    /// The wanted resources of one kind.
    pub(crate) fn wanted_resources<R: Resource>(&self) -> Vec<(&'a str, R)> {
        let names = self.wanted_names(R::SCHEMA.kind).into_iter();
        names.filter_map(|name| Some((name, self.wanted.get(name)?))).collect()
    }

    /// ARNs of what the tagging API knows to be the cluster's own, by kind (`service:type`). It learns of
    /// things late and forgets them late: good for noticing what else is there, never to be trusted alone.
    pub(crate) async fn tagged(&self) -> Result<&BTreeMap<String, Vec<String>>, Error> {
        self.shared.tagged.get_or_try_init(|| tagged(self)).await
    }
}

/// Reads everything of `scope`. All that went wrong is reported together.
pub async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Vec<Error>> {
    let wanted: BTreeSet<&str> = scope.wanted.nodes().map(|(id, _)| id.kind.as_str()).collect();
    let everything = scope.depth == Depth::Everything;
    let exhaustive = scope.is_exhaustive();
    let (at_once, on_sight): (Vec<_>, Vec<_>) = kind::all()
        .iter()
        .copied()
        .filter(|kind| everything || !kind.only_removed())
        .partition(|kind| exhaustive || wanted.contains(kind.name()) || kind.tagged_as().is_empty());
    let nothing = BTreeMap::new();
    let seen = async { if exhaustive { Ok(&nothing) } else { scope.tagged().await } };
    let (mut results, seen) = join(read_all(scope, &at_once), seen).await;
    match seen {
        Ok(seen) => {
            let is_seen = |kind: &&dyn AnyKind| kind.tagged_as().iter().any(|name| seen.contains_key(*name));
            let on_sight: Vec<_> = on_sight.into_iter().filter(is_seen).collect();
            results.extend(read_all(scope, &on_sight).await);
        }
        Err(error) => results.push(Err(error)),
    }
    let (read, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut errors: Vec<Error> = failed.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() {
        let nodes = read.into_iter().filter_map(Result::ok).flatten();
        return Ok(nodes.filter(|node| !scope.is_given(node)).collect());
    }
    errors.dedup_by(|a, b| a.kind == b.kind && a.message == b.message);
    Err(errors)
}

/// The tagging API, whose answers only say where else to look.
pub(crate) fn permissions() -> Vec<Permission> {
    Permission::read(&["tag:GetResources"])
}

/// Whether a resource of this kind is in one region, and not seen from another one.
pub fn is_regional(kind: &str) -> bool {
    kind::all().iter().any(|one| one.name() == kind && one.in_region())
}

/// The resources of the cluster that say that it is protected: known without the spec.
pub fn protections<'n>(live: impl IntoIterator<Item = &'n LiveNode>) -> Vec<&'n LiveNode> {
    let says_so = |node: &&LiveNode| {
        let tag = node.fields.get("tags").and_then(|tags| tags.get(PROTECT_TAG));
        node.owner == Owner::Cluster && tag.is_some_and(|value| value == "true")
    };
    live.into_iter().filter(says_so).collect()
}

async fn read_all(scope: &Scope<'_>, kinds: &[&'static dyn AnyKind]) -> Vec<Result<Vec<LiveNode>, Error>> {
    join_all(kinds.iter().map(|kind| kind.observe(scope))).await
}

/// Asks for the kinds of interest only: machines and their disks carry the cluster's tag as well, and the answer
/// would grow with them. AWS refuses the whole question where it does not know one of the kinds; then it is asked
/// for everything.
async fn tagged(scope: &Scope<'_>) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let wanted: BTreeSet<&str> = scope.wanted.nodes().map(|(id, _)| id.kind.as_str()).collect();
    let names = kind::all().iter().filter(|kind| !kind.only_removed()).flat_map(|kind| {
        let found_by_tag = !wanted.contains(kind.name()) || kind.service() == Service::Elb;
        kind.tagged_as().iter().filter(move |_| found_by_tag).map(|name| (*name).to_owned())
    });
    let names: BTreeSet<String> = names.collect();
    match tagged_of_kinds(scope, Some(names.into_iter().collect())).await {
        Err(error) if error.kind == ErrorKind::Refused => tagged_of_kinds(scope, None).await,
        found => found,
    }
}

async fn tagged_of_kinds(
    scope: &Scope<'_>,
    kinds: Option<Vec<String>>,
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let filter = aws_sdk_resourcegroupstagging::types::TagFilter::builder();
    // All that we make has this mark; what controllers make mostly has the other one only.
    let filter = filter.key(CLUSTER_TAG).values(scope.cluster).build();
    let call = scope.aws.tagging.get_resources().tag_filters(filter).set_resource_type_filters(kinds);
    let mut pages = call.resources_per_page(100).into_paginator().items().send();
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(mapping) = pages.next().await {
        let mapping = mapping.during("tag:GetResources")?;
        let pairs = mapping.tags().iter().map(|tag| (tag.key.clone().into(), tag.value.clone().into()));
        // What controllers made is of no concern as long as the cluster stays.
        if tags::owner(scope.cluster, &tags::collect(pairs)) != Some(Owner::Cluster) {
            continue;
        }
        if let Some((name, arn)) = mapping.resource_arn().and_then(|arn| Some((kind_of_arn(arn)?, arn))) {
            seen.entry(name).or_default().push(arn.to_owned());
        }
    }
    Ok(seen)
}

/// `arn:aws:ec2:eu-north-1:123456789012:natgateway/nat-1` is of the kind `ec2:natgateway`; where the resource
/// has no type (SQS), the service stands alone.
fn kind_of_arn(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let (service, resource) = (parts.get(2)?, parts.get(5)?);
    match resource.split_once('/') {
        Some((kind, _)) => Some(format!("{service}:{kind}")),
        None => Some((*service).to_owned()),
    }
}

/// What one question found, and what another one did beside it: each once, by its `id`.
pub(crate) fn each_once<T>(mut found: Vec<T>, others: Vec<T>, id: impl Fn(&T) -> Option<&str>) -> Vec<T> {
    let known: BTreeSet<String> = found.iter().filter_map(|one| id(one).map(str::to_owned)).collect();
    found.extend(others.into_iter().filter(|one| id(one).is_some_and(|id| !known.contains(id))));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kcl_engine::{Action, LiveNode, Options, Plan, ResourceId, Wanted, plan};
    use kcl_model::resource::{self, catalogue};

    use super::{Depth, kind_of_arn};
    use crate::tags::{CLUSTER_TAG, ownership_key};
    use crate::testing::{self, CLUSTER, World};

    /// One of every EC2 kind that is known by its tags.
    fn marked() -> Wanted {
        let mut wanted = testing::network("a");
        let name = format!("a.{CLUSTER}");
        let tags = testing::tags(&name);
        let options = resource::DhcpOptions {
            domain_name: "example.internal".to_owned(),
            domain_name_servers: vec!["10.0.0.2".to_owned()],
            tags: tags.clone(),
        };
        testing::add(&mut wanted, &name, &options);
        testing::add(&mut wanted, &name, &resource::ElasticIp { tags: tags.clone() });
        let gateway = resource::NatGateway {
            subnet: testing::id("subnet", &name),
            elastic_ip: testing::id("elastic-ip", &name),
            tags: tags.clone(),
        };
        testing::add(&mut wanted, &name, &gateway);
        let table = resource::RouteTable { vpc: testing::id("vpc", CLUSTER), tags: tags.clone() };
        testing::add(&mut wanted, &name, &table);
        let volume = resource::Volume {
            zone: "eu-north-1a".to_owned(),
            size: 20,
            volume_type: "gp3".to_owned(),
            iops: Some(3000),
            throughput: Some(125),
            encrypted: true,
            kms_key: None,
            tags: tags.clone(),
        };
        testing::add(&mut wanted, &name, &volume);
        let template = testing::launch_template(&name);
        testing::add(&mut wanted, &name, &template);
        wanted
    }

    fn take_tag(world: &World, live: &[LiveNode], key: &str) -> BTreeSet<String> {
        let tagged = live.iter().filter(|node| node.fields.get("tags").is_some());
        let taken = tagged.map(|node| {
            let id = node.attrs.get("id").expect("it has an id");
            let params = [("ResourceId.1", id.as_str()), ("Tag.1.Key", key)];
            world.local.direct("ec2", "DeleteTags", &params).expect("the tag is taken away");
            node.id.to_string()
        });
        taken.collect()
    }

    async fn preview(world: &World, wanted: &Wanted) -> Plan {
        let options = Options { prune: true, teardown: false };
        plan(&catalogue(), wanted, world.live(wanted, Depth::Preview).await, options)
            .expect("there is a plan")
    }

    #[tokio::test]
    async fn a_mark_that_was_taken_away_is_put_back_and_nothing_is_made_twice() {
        let world = World::start().await;
        let wanted = marked();
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Preview).await;
        for key in [ownership_key(CLUSTER), CLUSTER_TAG.to_owned()] {
            let taken = take_tag(&world, &live, &key);
            assert_eq!(taken.len(), 10, "{taken:?}");
            let plan = preview(&world, &wanted).await;
            let updated: BTreeSet<String> = plan.steps.iter().map(|step| step.id.to_string()).collect();
            assert_eq!(updated, taken, "without {key}");
            assert!(plan.steps.iter().all(|step| step.action == Action::Update), "without {key}");
            world.apply(&plan).await;
            assert!(preview(&world, &wanted).await.is_empty());
        }
    }

    #[tokio::test]
    async fn a_converged_preview_asks_for_each_kind_once() {
        let world = World::start().await;
        let wanted = marked();
        world.reach(&wanted).await;
        world.local.take_calls();
        assert!(preview(&world, &wanted).await.is_empty());
        let counts = world.local.counts();
        // Of a VPC the attributes are told one by one.
        let several =
            counts.iter().filter(|(name, count)| **count > 1 && *name != "ec2:DescribeVpcAttribute");
        assert_eq!(several.count(), 0, "{counts:#?}");
    }

    #[tokio::test]
    async fn what_lost_a_mark_goes_with_the_cluster() {
        let world = World::start().await;
        let wanted = marked();
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Preview).await;
        take_tag(&world, &live, &ownership_key(CLUSTER));
        world.remove().await;
        let audit = kcl_testkit::audit(&world.local, world.local.region()).expect("it is listed");
        assert_eq!(audit.leftovers(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_the_spec_gives_by_id_is_not_ours_whatever_its_tags_say() {
        let world = World::start().await;
        let mut wanted = Wanted::default();
        let vpc = resource::Vpc { tags: testing::tags("theirs"), ..testing::vpc() };
        testing::add(&mut wanted, "theirs", &vpc);
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Preview).await;
        let vpc = live.first().expect("there is a VPC");
        take_tag(&world, &live, &ownership_key(CLUSTER));
        let mut given = Wanted::default();
        given.add_shared(ResourceId::new("vpc", CLUSTER), vpc.attrs.clone());
        assert!(preview(&world, &given).await.is_empty(), "it is not pruned");
        // With the mark of a shared resource it stays when the cluster goes, too.
        let id = vpc.attrs.get("id").expect("it has an id");
        let key = ownership_key(CLUSTER);
        let params = [("ResourceId.1", id.as_str()), ("Tag.1.Key", &key), ("Tag.1.Value", "shared")];
        world.local.direct("ec2", "CreateTags", &params).expect("it is tagged");
        assert!(world.live(&Wanted::default(), Depth::Everything).await.is_empty());
    }

    #[tokio::test]
    async fn another_clusters_things_are_never_ours() {
        let world = World::start().await;
        let wanted = testing::network("");
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Preview).await;
        for node in live.iter().filter(|node| node.fields.get("tags").is_some()) {
            let id = node.attrs.get("id").expect("it has an id");
            let params = [
                ("ResourceId.1", id.as_str()),
                ("Tag.1.Key", CLUSTER_TAG),
                ("Tag.1.Value", "other.example.com"),
            ];
            world.local.direct("ec2", "CreateTags", &params).expect("it is tagged");
        }
        assert!(world.live(&Wanted::default(), Depth::Everything).await.is_empty());
    }

    #[test]
    fn kinds_of_arns() {
        let kind = |arn| kind_of_arn(arn).unwrap_or_default();
        assert_eq!(kind("arn:aws:ec2:eu-north-1:123456789012:natgateway/nat-1"), "ec2:natgateway");
        assert_eq!(kind("arn:aws:sqs:eu-north-1:123456789012:k8s-example-com-nth"), "sqs");
        assert_eq!(kind("arn:aws:events:eu-north-1:123456789012:rule/x"), "events:rule");
        assert_eq!(kind_of_arn("nonsense"), None);
    }
}
