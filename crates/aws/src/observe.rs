//! Reading what a cluster has.
//!
//! All kinds are read at the same time, each in a few calls filtered by the cluster's tags or names.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, join_all};
use kcl_engine::{LiveNode, Owner, Resource, Wanted};
use tokio::sync::OnceCell;

use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::kind::{self, AnyKind, Service};
use crate::tags;

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

    /// The EC2 filter for what has the cluster's ownership tag, whatever its value.
    pub(crate) fn ec2_filter(&self) -> aws_sdk_ec2::types::Filter {
        let key = tags::ownership_key(self.cluster);
        aws_sdk_ec2::types::Filter::builder().name("tag-key").values(key).build()
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
        return Ok(read.into_iter().filter_map(Result::ok).flatten().collect());
    }
    errors.dedup_by(|a, b| a.kind == b.kind && a.message == b.message);
    Err(errors)
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
    let filter = filter.key(tags::ownership_key(scope.cluster)).build();
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

#[cfg(test)]
mod tests {
    use super::kind_of_arn;

    #[test]
    fn kinds_of_arns() {
        let kind = |arn| kind_of_arn(arn).unwrap_or_default();
        assert_eq!(kind("arn:aws:ec2:eu-north-1:123456789012:natgateway/nat-1"), "ec2:natgateway");
        assert_eq!(kind("arn:aws:sqs:eu-north-1:123456789012:k8s-example-com-nth"), "sqs");
        assert_eq!(kind("arn:aws:events:eu-north-1:123456789012:rule/x"), "events:rule");
        assert_eq!(kind_of_arn("nonsense"), None);
    }
}
