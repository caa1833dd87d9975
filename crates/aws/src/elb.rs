//! The network load balancers of a cluster with all that belongs to them, read once for three kinds.
//!
//! AWS cannot filter them by tag. A preview asks for the names that are wanted and for the ARNs that the
//! tagging API knows, never for the whole region; only an exhaustive read lists everything and looks at the
//! tags of each. A load balancer that the cluster's controllers made is left out but for
//! [`Depth::Everything`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use aws_sdk_elasticloadbalancingv2::types::{
    Listener, LoadBalancer, ProtocolEnum, Tag, TagDescription, TargetGroup,
};
use futures::future::{try_join, try_join_all};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kcl_engine::Owner;
use kcl_model::resource::{self, Tags};

use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::named;
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::tags;

/// DescribeTags takes as many ARNs, DescribeLoadBalancers and DescribeTargetGroups as many names.
const MOST_NAMES: usize = 20;
/// How many questions for tags at the same time: an account may hold thousands of target groups, and all of them are
/// asked for where everything of a cluster is looked for.
const AT_ONCE: usize = 8;

/// One thing of the cluster's, with what its tags say.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    /// What AWS says of it.
    pub(crate) item: T,
    /// What we call it.
    pub(crate) name: String,
    pub(crate) tags: Tags,
    pub(crate) owner: Owner,
}

/// Load balancers, listeners and target groups of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Balancing {
    pub(crate) load_balancers: Vec<Owned<LoadBalancer>>,
    pub(crate) listeners: Vec<Owned<Listener>>,
    pub(crate) target_groups: Vec<Owned<TargetGroup>>,
}

/// Reads them, once per scope.
pub(crate) async fn balancing<'s>(scope: &'s Scope<'_>) -> Result<&'s Balancing, Error> {
    scope.shared.balancing.get_or_try_init(|| read(scope)).await
}

async fn read(scope: &Scope<'_>) -> Result<Balancing, Error> {
    let wanted = WantedNames::new(scope);
    let load_balancers = candidates::<LoadBalancer>(scope, &wanted.load_balancers);
    let target_groups = candidates::<TargetGroup>(scope, &wanted.target_groups);
    let (mut load_balancers, mut target_groups) = try_join(load_balancers, target_groups).await?;
    let mut found = Tagged::new();
    if scope.is_exhaustive() {
        // All of the region's: only the tags tell which are ours, and listeners are asked for one by one.
        let arns = load_balancers.iter().map(Named::arn).chain(target_groups.iter().map(Named::arn));
        found = describe_tags(scope.aws, arns.collect()).await?;
        load_balancers.retain(|item| owner(scope, &found, item, &wanted.load_balancers).is_some());
        target_groups.retain(|item| owner(scope, &found, item, &wanted.target_groups).is_some());
    }
    let listeners = load_balancers.iter().map(|item| describe_listeners(scope.aws, item.arn()));
    let listeners: Vec<Listener> = try_join_all(listeners).await?.into_iter().flatten().collect();
    let arns = load_balancers.iter().map(Named::arn).chain(target_groups.iter().map(Named::arn));
    let arns = arns.chain(listeners.iter().filter_map(Listener::listener_arn));
    let missing = arns.filter(|arn| !found.contains_key(*arn)).collect();
    found.extend(describe_tags(scope.aws, missing).await?);
    Ok(assemble(scope, &wanted, &found, load_balancers, target_groups, listeners))
}

/// Tags by ARN, those of classic load balancers by name.
pub(crate) type Tagged = BTreeMap<String, Tags>;

/// Whose `item` is; `None` for what is not to be looked at.
fn owner<T: Named>(
    scope: &Scope<'_>,
    found: &Tagged,
    item: &T,
    wanted: &BTreeMap<String, String>,
) -> Option<Owner> {
    let is_wanted = wanted.contains_key(item.name());
    let owner = named::owner(scope.cluster, found.get(item.arn())?, is_wanted)?;
    (owner == Owner::Cluster || scope.depth == Depth::Everything).then_some(owner)
}

fn assemble(
    scope: &Scope<'_>,
    wanted: &WantedNames,
    found: &Tagged,
    load_balancers: Vec<LoadBalancer>,
    target_groups: Vec<TargetGroup>,
    listeners: Vec<Listener>,
) -> Balancing {
    let mut balancing = Balancing {
        load_balancers: owned(scope, found, load_balancers, &wanted.load_balancers),
        target_groups: owned(scope, found, target_groups, &wanted.target_groups),
        listeners: Vec::new(),
    };
    for item in listeners {
        let parent = balancing
            .load_balancers
            .iter()
            .find(|parent| item.load_balancer_arn().is_some_and(|arn| arn == parent.item.arn()));
        let (Some(parent), Some(port)) = (parent, item.port()) else { continue };
        let name = kcl_model::names::listener(&parent.name, u16::try_from(port).unwrap_or_default());
        let tags = item.listener_arn().and_then(|arn| found.get(arn)).cloned().unwrap_or_default();
        // A listener is its load balancer's, whatever its own tags say: nothing else can be done with it.
        balancing.listeners.push(Owned { name, tags, owner: parent.owner, item });
    }
    balancing
}

fn owned<T: Named>(
    scope: &Scope<'_>,
    found: &Tagged,
    items: Vec<T>,
    wanted: &BTreeMap<String, String>,
) -> Vec<Owned<T>> {
    let ours = items.into_iter().filter_map(|item| {
        let owner = owner(scope, found, &item, wanted)?;
        let tags = found.get(item.arn()).cloned().unwrap_or_default();
        // AWS' own name is unique and cannot be changed, the tag can: the name decides where it is wanted.
        let name = wanted.get(item.name()).or_else(|| tags.get("Name"));
        let name = name.map_or_else(|| item.name().to_owned(), Clone::clone);
        Some(Owned { item, name, tags, owner })
    });
    ours.collect()
}

/// The names that AWS knows wanted ones by, with the names that we call them.
struct WantedNames {
    load_balancers: BTreeMap<String, String>,
    target_groups: BTreeMap<String, String>,
}

impl WantedNames {
    fn new(scope: &Scope<'_>) -> Self {
        let load_balancers = scope.wanted_resources::<resource::LoadBalancer>().into_iter();
        let target_groups = scope.wanted_resources::<resource::TargetGroup>().into_iter();
        Self {
            load_balancers: load_balancers.map(|(name, want)| (want.lb_name, name.to_owned())).collect(),
            target_groups: target_groups.map(|(name, want)| (want.tg_name, name.to_owned())).collect(),
        }
    }
}

/// What to ask for.
pub(crate) enum Which {
    /// Those of these names.
    Names(Vec<String>),
    /// Those of these ARNs.
    Arns(Vec<String>),
    /// All of the region.
    All,
}

/// What has an ARN and a unique name.
pub(crate) trait Named: Send + Sync + Sized {
    /// How the tagging API names it.
    const TAGGED_AS: &'static str;

    fn arn(&self) -> &str;
    fn name(&self) -> &str;
    /// Asks AWS. If any of the names or ARNs is unknown, the whole call is "not found".
    fn describe(aws: &Aws, which: Which) -> impl Future<Output = Result<Vec<Self>, Error>> + Send;
}

impl Named for LoadBalancer {
    const TAGGED_AS: &'static str = "elasticloadbalancing:loadbalancer";

    fn arn(&self) -> &str {
        self.load_balancer_arn().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.load_balancer_name().unwrap_or_default()
    }

    async fn describe(aws: &Aws, which: Which) -> Result<Vec<Self>, Error> {
        let call = aws.elb.describe_load_balancers();
        let call = match which {
            Which::Names(names) => call.set_names(Some(names)),
            Which::Arns(arns) => call.set_load_balancer_arns(Some(arns)),
            Which::All => call,
        };
        let pages = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        pages.during("elasticloadbalancing:DescribeLoadBalancers")
    }
}

impl Named for TargetGroup {
    const TAGGED_AS: &'static str = "elasticloadbalancing:targetgroup";

    fn arn(&self) -> &str {
        self.target_group_arn().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.target_group_name().unwrap_or_default()
    }

    async fn describe(aws: &Aws, which: Which) -> Result<Vec<Self>, Error> {
        let call = aws.elb.describe_target_groups();
        let call = match which {
            Which::Names(names) => call.set_names(Some(names)),
            Which::Arns(arns) => call.set_target_group_arns(Some(arns)),
            Which::All => call,
        };
        let pages = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        pages.during("elasticloadbalancing:DescribeTargetGroups")
    }
}

/// The one called `name`, with its tags.
pub(crate) async fn find<T: Named>(aws: &Aws, name: &str) -> Result<Option<(T, Tags)>, Error> {
    let found = match T::describe(aws, Which::Names(vec![name.to_owned()])).await {
        Err(error) if error.is_not_found() => return Ok(None),
        found => found?.into_iter().next(),
    };
    let Some(item) = found else { return Ok(None) };
    let tags = describe_tags(aws, vec![item.arn()]).await?.into_values().next().unwrap_or_default();
    Ok(Some((item, tags)))
}

/// The load balancers of these names that there are.
pub(crate) async fn by_name(aws: &Aws, names: &[String]) -> Result<Vec<LoadBalancer>, Error> {
    if let Some(found) = some(aws, names, Which::Names).await? {
        return Ok(found);
    }
    let each = names.iter().map(|name| some(aws, std::slice::from_ref(name), Which::Names));
    let each: Vec<Option<Vec<LoadBalancer>>> = try_join_all(each).await?;
    Ok(each.into_iter().flatten().flatten().collect())
}

/// What may be the cluster's: by the names that are wanted, by the ARNs that the tagging API knows, or, for an
/// exhaustive read, all there are.
async fn candidates<T: Named>(scope: &Scope<'_>, wanted: &BTreeMap<String, String>) -> Result<Vec<T>, Error> {
    if scope.is_exhaustive() {
        return T::describe(scope.aws, Which::All).await;
    }
    let seen = scope.tagged().await?.get(T::TAGGED_AS).cloned().unwrap_or_default();
    let names: Vec<String> = wanted.keys().cloned().collect();
    let Some(mut found) = some::<T>(scope.aws, &names, Which::Names).await? else {
        return of_all(scope.aws, wanted, &seen).await;
    };
    let known: BTreeSet<&str> = found.iter().map(Named::arn).collect();
    let others: Vec<String> = seen.iter().filter(|arn| !known.contains(arn.as_str())).cloned().collect();
    match some::<T>(scope.aws, &others, Which::Arns).await? {
        Some(others) => found.extend(others),
        // The tagging API still knows what was deleted a while ago.
        None => return of_all(scope.aws, wanted, &seen).await,
    }
    Ok(found)
}

/// `None` when one of them is missing: AWS then says nothing about the others.
async fn some<T: Named>(
    aws: &Aws,
    of: &[String],
    which: impl Fn(Vec<String>) -> Which,
) -> Result<Option<Vec<T>>, Error> {
    let mut found = Vec::new();
    for chunk in of.chunks(MOST_NAMES) {
        match T::describe(aws, which(chunk.to_vec())).await {
            Ok(items) => found.extend(items),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(found))
}

async fn of_all<T: Named>(
    aws: &Aws,
    wanted: &BTreeMap<String, String>,
    seen: &[String],
) -> Result<Vec<T>, Error> {
    let mut all = T::describe(aws, Which::All).await?;
    all.retain(|item| wanted.contains_key(item.name()) || seen.iter().any(|arn| arn == item.arn()));
    Ok(all)
}

/// The listeners of a load balancer; none if it is gone.
pub(crate) async fn describe_listeners(aws: &Aws, load_balancer: &str) -> Result<Vec<Listener>, Error> {
    let call = aws.elb.describe_listeners().load_balancer_arn(load_balancer);
    let listeners = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    match listeners.during("elasticloadbalancing:DescribeListeners") {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        listeners => listeners,
    }
}

async fn describe_tags(aws: &Aws, arns: Vec<&str>) -> Result<Tagged, Error> {
    let chunks = arns.chunks(MOST_NAMES).map(|chunk| async {
        let arns = chunk.iter().map(|arn| (*arn).to_owned()).collect();
        let call = aws.elb.describe_tags().set_resource_arns(Some(arns));
        match call.send().await.during("elasticloadbalancing:DescribeTags") {
            Ok(answer) => Ok(answer.tag_descriptions.unwrap_or_default()),
            // One of them went away since it was listed: ask for each, so that the others get their tags.
            Err(error) if error.is_not_found() => one_by_one(aws, chunk).await,
            Err(error) => Err(error),
        }
    });
    let chunks: Vec<_> = chunks.collect();
    let descriptions: Vec<_> = stream::iter(chunks).buffered(AT_ONCE).try_collect().await?;
    let tags = descriptions.into_iter().flatten().filter_map(|description| {
        let tags = description.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value));
        Some((description.resource_arn?, tags::collect(tags)))
    });
    Ok(tags.collect())
}

/// The tags of classic load balancers, by name; those that went away meanwhile are left out.
pub(crate) async fn describe_classic_tags(aws: &Aws, names: &[String]) -> Result<Tagged, Error> {
    let chunks = names.chunks(MOST_NAMES).map(|chunk| async {
        match classic_tags(aws, chunk).await {
            // AWS tells nothing at all where one of several is gone: ask for each.
            Err(error) if error.is_not_found() && chunk.len() > 1 => {
                let each = chunk.iter().map(|name| async {
                    match classic_tags(aws, std::slice::from_ref(name)).await {
                        Err(error) if error.is_not_found() => Ok(Tagged::new()),
                        tags => tags,
                    }
                });
                Ok(try_join_all(each).await?.into_iter().flatten().collect())
            }
            Err(error) if error.is_not_found() => Ok(Tagged::new()),
            tags => tags,
        }
    });
    let chunks: Vec<_> = chunks.collect();
    let tags: Vec<_> = stream::iter(chunks).buffered(AT_ONCE).try_collect().await?;
    Ok(tags.into_iter().flatten().collect())
}

async fn classic_tags(aws: &Aws, names: &[String]) -> Result<Tagged, Error> {
    let call = aws.classic_elb.describe_tags().set_load_balancer_names(Some(names.to_vec()));
    let answer = call.send().await.during("elasticloadbalancing:DescribeTags")?;
    let descriptions = answer.tag_descriptions.unwrap_or_default().into_iter();
    let tags = descriptions.filter_map(|description| {
        let tags = description.tags.unwrap_or_default().into_iter().map(|tag| (Some(tag.key), tag.value));
        Some((description.load_balancer_name?, tags::collect(tags)))
    });
    Ok(tags.collect())
}

async fn one_by_one(aws: &Aws, arns: &[&str]) -> Result<Vec<TagDescription>, Error> {
    let mut found = Vec::new();
    for arn in arns {
        let call = aws.elb.describe_tags().resource_arns(*arn);
        match call.send().await.during("elasticloadbalancing:DescribeTags") {
            Ok(answer) => found.extend(answer.tag_descriptions.unwrap_or_default()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// `tags`, as a creating call takes them.
pub(crate) fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Brings the tags of `arn` from `old` to `new`.
pub(crate) async fn change_tags(aws: &Aws, arn: &str, old: &Tags, new: &Tags) -> Result<(), Error> {
    let (set, gone) = tags::changes(old, new);
    if !set.is_empty() {
        let call = aws.elb.add_tags().resource_arns(arn).set_tags(Some(sdk_tags(&set)));
        call.send().await.during("elasticloadbalancing:AddTags")?;
    }
    if !gone.is_empty() {
        let call = aws.elb.remove_tags().resource_arns(arn).set_tag_keys(Some(gone));
        call.send().await.during("elasticloadbalancing:RemoveTags")?;
    }
    Ok(())
}

/// The ARN of the load balancer that AWS calls `name`.
pub(crate) fn balancer_arn(ground: &Ground<'_>, name: &str) -> String {
    ground.arn("elasticloadbalancing", &format!("loadbalancer/net/{name}/*"))
}

/// Removing what has the mark of the cluster, or that of its load balancer controller, which has no other.
pub(crate) fn delete_marked(ground: &Ground<'_>, action: &'static str, kind: &str) -> Vec<Permission> {
    let any = [ground.arn("elasticloadbalancing", &format!("{kind}/*"))];
    let of_controller = Permission::new("ElbDeleteOfController", &[action], any.clone());
    let tag = format!("aws:ResourceTag/{}", tags::LOAD_BALANCER_CONTROLLER_TAG);
    vec![
        ground.marked(Permission::new("ElbDeleteMarked", &[action], any)),
        of_controller.when("StringEquals", tag, [ground.name()]),
    ]
}

/// The protocol's name.
pub(crate) fn protocol(protocol: Option<&ProtocolEnum>) -> String {
    protocol.map(|protocol| protocol.as_str().to_owned()).unwrap_or_default()
}

/// A port, as we keep it.
pub(crate) fn port(port: Option<i32>) -> u16 {
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default()
}

/// A load balancer that its owner protects: says what to change.
pub(crate) fn explain_protection(mut error: Error) -> Error {
    if error.is_code(&["OperationNotPermitted", "OperationNotPermittedException"]) {
        error.kind = ErrorKind::Refused;
        let message = error.message.trim_end_matches('.').to_owned();
        error.message = format!("{message}; its attribute deletion_protection.enabled must be false first");
    }
    error
}

/// A load balancer's DNS name as we keep it: Route53 and the console spell it in several ways.
pub(crate) fn dns_name(name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.strip_prefix("dualstack.").map_or_else(|| name.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::dns_name;

    #[test]
    fn one_spelling_of_a_dns_name() {
        let plain = "api-k8s-0a1b.elb.eu-north-1.amazonaws.com";
        assert_eq!(dns_name(plain), plain);
        assert_eq!(dns_name("dualstack.API-k8s-0a1b.elb.eu-north-1.amazonaws.com."), plain);
    }
}
