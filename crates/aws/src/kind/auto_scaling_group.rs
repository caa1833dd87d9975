//! Auto scaling groups.
//!
//! AWS tells lifecycle hooks one group at a time, so a preview that asked for them would grow with the groups.
//! A tag of the group (not passed on to machines) says which hooks it was given; only where that is not what is
//! wanted, the hooks themselves are read. [`crate::Depth::Deep`] and deeper reads ask for all, and see also what
//! was changed by hand.

use std::collections::BTreeMap;
use std::future::Future;

use aws_sdk_autoscaling::types::builders::TagBuilder;
use aws_sdk_autoscaling::types::{
    AutoScalingGroup as Live, Filter, InstanceRequirements as SdkRequirements, InstancesDistribution,
    LaunchTemplate as SdkTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification,
    LifecycleHookSpecification, MemoryMiBRequest, MixedInstancesPolicy, Tag, VCpuCountRequest,
};
use futures::future::try_join_all;
use futures::try_join;
use kcl_engine::{Attrs, LiveNode, Owner, Ref, Resource, Set};
use kcl_model::resource::{
    AutoScalingGroup as Wanted, InstanceRequirements, LaunchTemplate, LifecycleHook, MixedInstances, Subnet,
    Tags, TargetGroup,
};
use sha2::{Digest, Sha256};

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::observe::{Depth, Scope, each_once};
use crate::permission::{self, Ground, Permission};
use crate::tags::CLUSTER_TAG;
use crate::wait::{self, PROPAGATION, SLOW_RESOURCE};
use crate::{ec2, iam, named, tags};

const LATEST: &str = "$Latest";
/// The only granularity there is.
const EVERY_MINUTE: &str = "1Minute";
/// What a tag of this kind is put on.
const TAGGED: &str = "auto-scaling-group";

/// Everything that can be different about a group. What somebody else set is taken back, wanted or not.
const CHANGE: [&str; 11] = [
    "autoscaling:AttachLoadBalancerTargetGroups",
    "autoscaling:CreateOrUpdateTags",
    "autoscaling:DeleteAutoScalingGroup",
    "autoscaling:DeleteLifecycleHook",
    "autoscaling:DeleteTags",
    "autoscaling:DetachLoadBalancerTargetGroups",
    "autoscaling:DetachLoadBalancers",
    "autoscaling:DisableMetricsCollection",
    "autoscaling:EnableMetricsCollection",
    "autoscaling:ResumeProcesses",
    "autoscaling:UpdateAutoScalingGroup",
];

pub(crate) struct AutoScalingGroup;

impl Kind for AutoScalingGroup {
    type Resource = Wanted;
    const SERVICE: Service = Service::AutoScaling;

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let groups = ground.all::<Wanted>();
        let is_any = |has: fn(&Wanted) -> bool| groups.iter().any(|(_, group)| has(group));
        let mut change = CHANGE.to_vec();
        if is_any(|group| !group.classic_load_balancers.is_empty()) {
            change.push("autoscaling:AttachLoadBalancers");
        }
        if is_any(|group| !group.lifecycle_hooks.is_empty()) {
            change.push("autoscaling:PutLifecycleHook");
        }
        if is_any(|group| !group.suspended_processes.is_empty()) {
            change.push("autoscaling:SuspendProcesses");
        }
        let names =
            permission::patterns(groups.iter().map(|(name, _)| *name), &format!(".{}", ground.name()));
        let arns: Vec<String> = names
            .iter()
            .map(|name| ground.arn("autoscaling", &format!("autoScalingGroup:*:autoScalingGroupName/{name}")))
            .collect();
        let create = ["autoscaling:CreateAutoScalingGroup", "autoscaling:CreateOrUpdateTags"];
        let buys_spot = |group: &Wanted| {
            group.mixed_instances.as_ref().is_some_and(|mixed| mixed.on_demand_above_base < 100)
        };
        let of_templates = ground.all::<LaunchTemplate>().iter().any(|(_, template)| template.spot.is_some());
        let mut services = vec!["autoscaling.amazonaws.com"];
        if is_any(buys_spot) || of_templates {
            services.push("spot.amazonaws.com");
        }
        let manage = [
            vec![
                ground.requested(Permission::new("GroupsCreate", &create, arns.clone())),
                ground.owned(Permission::new("GroupsChange", &change, arns)),
            ],
            services.into_iter().map(|service| iam::service_linked_role(ground, service)).collect(),
            Permission::read(&["autoscaling:DescribeLifecycleHooks"]),
        ];
        let read = Permission::read(&["autoscaling:DescribeAutoScalingGroups"]);
        [read, ground.if_wanted::<Wanted>(manage.concat())].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let of_ours = Filter::builder().name(format!("tag:{CLUSTER_TAG}")).values(scope.cluster).build();
        let of_ours = describe_all(scope.aws, of_ours);
        let groups = if scope.depth == Depth::Everything {
            // One that has lost our mark has the other one still. Left alone it would go on making machines.
            let mark = Filter::builder().name("tag-key").values(tags::ownership_key(scope.cluster)).build();
            let (groups, marked) = try_join!(of_ours, describe_all(scope.aws, mark))?;
            each_once(groups, marked, Live::auto_scaling_group_name)
        } else {
            of_ours.await?
        };
        // One that is going away counts as gone: making it anew waits for that. Only where the cluster goes
        // must it be waited for.
        let groups = groups.iter().filter(|group| scope.depth == Depth::Everything || !is_going(group));
        let nodes = groups.map(|group| async {
            let Some(name) = group.auto_scaling_group_name() else { return Ok(None) };
            let wanted = scope.wanted.get::<Wanted>(name);
            let owner = named::owner(scope.cluster, &all_tags(group), wanted.is_some());
            let is_ours = |owner: &Owner| *owner == Owner::Cluster || scope.depth == Depth::Everything;
            let Some(owner) = owner.filter(is_ours) else { return Ok(None) };
            let hooks = match wanted.map(|wanted| wanted.lifecycle_hooks) {
                Some(wanted) if !scope.is_deep() && recorded_hooks(group) == record(&wanted) => wanted,
                Some(wanted) => without_unrecorded(hooks(scope.aws, name).await?, group, &wanted),
                None if scope.is_deep() => hooks(scope.aws, name).await?,
                None => BTreeMap::new(),
            };
            Ok::<_, Error>(Some(LiveNode::new(name, &fields(group, hooks), attrs(group), owner)?))
        });
        Ok(try_join_all(nodes).await?.into_iter().flatten().collect())
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        match request_creation(aws, name, want).await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => adopt(aws, name, want, error).await,
            Err(error) => Err(error),
            Ok(()) => finish(aws, name, want).await,
        }
    }

    async fn update(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        update_group(aws, name, old, want).await?;
        change_tags(aws, name, old, want).await?;
        change_targets(aws, name, old, want).await?;
        change_classic_load_balancers(aws, name, old, want).await?;
        change_processes(aws, name, &old.suspended_processes, &want.suspended_processes).await?;
        change_metrics(aws, name, &old.metrics, &want.metrics).await?;
        change_hooks(aws, name, &old.lifecycle_hooks, &want.lifecycle_hooks).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let Some(group) = describe(aws, name).await? else { return Ok(()) };
        let machines = group.instances().iter().filter_map(|machine| machine.instance_id());
        let machines: Vec<String> = machines.map(str::to_owned).collect();
        if !is_going(&group) {
            request_deletion(aws, name).await?;
        }
        wait_until_gone(aws, name).await?;
        wait_until_terminated(aws, name, &machines).await
    }
}

fn attrs(group: &Live) -> Attrs {
    named::attrs([("name", group.auto_scaling_group_name()), ("arn", group.auto_scaling_group_arn())])
}

/// AWS is deleting it.
fn is_going(group: &Live) -> bool {
    group.status().is_some_and(|status| !status.is_empty())
}

async fn describe(aws: &Aws, name: &str) -> Result<Option<Live>, Error> {
    let call = aws.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(name);
    let answer = call.send().await.during("autoscaling:DescribeAutoScalingGroups")?;
    Ok(answer.auto_scaling_groups.unwrap_or_default().into_iter().next())
}

async fn hooks(aws: &Aws, name: &str) -> Result<BTreeMap<String, LifecycleHook>, Error> {
    let call = aws.autoscaling.describe_lifecycle_hooks().auto_scaling_group_name(name);
    let answer = call.send().await.during("autoscaling:DescribeLifecycleHooks")?;
    let hooks = answer.lifecycle_hooks.unwrap_or_default().into_iter().filter_map(|hook| {
        let fields = LifecycleHook {
            transition: hook.lifecycle_transition.unwrap_or_default(),
            heartbeat_timeout: hook.heartbeat_timeout.unwrap_or_default(),
            default_result: hook.default_result.unwrap_or_default(),
        };
        Some((hook.lifecycle_hook_name?, fields))
    });
    Ok(hooks.collect())
}

/// All tags, for finding out whose it is.
fn all_tags(group: &Live) -> Tags {
    tags::collect(group.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())))
}

/// The tag that says which lifecycle hooks a group was given.
const HOOKS_TAG: &str = "kcl.dev/lifecycle-hooks";

fn recorded_hooks(group: &Live) -> Option<String> {
    let tag = group.tags().iter().find(|tag| tag.key() == Some(HOOKS_TAG))?;
    tag.value().map(str::to_owned)
}

/// A run that was cut short may have given the group its hooks, and not recorded that: then those that are as wanted
/// count as not given yet. Who gives them records it.
fn without_unrecorded(
    mut hooks: BTreeMap<String, LifecycleHook>,
    group: &Live,
    wanted: &BTreeMap<String, LifecycleHook>,
) -> BTreeMap<String, LifecycleHook> {
    if recorded_hooks(group) != record(&hooks) {
        hooks.retain(|name, hook| wanted.get(name) != Some(hook));
    }
    hooks
}

/// What [`HOOKS_TAG`] says of `hooks`; nothing where there is none.
fn record(hooks: &BTreeMap<String, LifecycleHook>) -> Option<String> {
    let line = |(name, hook): (&String, &LifecycleHook)| {
        format!("{name}|{}|{}|{}\n", hook.transition, hook.heartbeat_timeout, hook.default_result)
    };
    let lines: String = hooks.iter().map(line).collect();
    (!lines.is_empty()).then(|| hex::encode(&Sha256::digest(lines)[..8]))
}

fn record_tag(name: &str) -> TagBuilder {
    Tag::builder().resource_type(TAGGED).resource_id(name).propagate_at_launch(false).key(HOOKS_TAG)
}

fn fields(group: &Live, lifecycle_hooks: BTreeMap<String, LifecycleHook>) -> Wanted {
    // A tag that is not passed on to machines is none of those we mean.
    let passed_on = group.tags().iter().filter(|tag| tag.propagate_at_launch() == Some(true));
    let subnets = group.vpc_zone_identifier().unwrap_or_default().split(',').map(str::trim);
    let subnets = subnets.filter(|id| !id.is_empty());
    let targets = group.target_group_arns().iter();
    let suspended = group.suspended_processes().iter().filter_map(|process| process.process_name());
    let metrics = group.enabled_metrics().iter().filter_map(|metric| metric.metric());
    Wanted {
        launch_template: launch_template(group),
        mixed_instances: group.mixed_instances_policy().map(mixed_instances),
        min_size: group.min_size().unwrap_or_default(),
        max_size: group.max_size().unwrap_or_default(),
        subnets: subnets.map(|id| Ref::id(Subnet::SCHEMA.kind, "id", id)).collect(),
        target_groups: targets.map(|arn| Ref::id(TargetGroup::SCHEMA.kind, "arn", arn)).collect(),
        classic_load_balancers: group.load_balancer_names().iter().cloned().collect(),
        max_instance_lifetime: group.max_instance_lifetime().unwrap_or_default(),
        protect_from_scale_in: group.new_instances_protected_from_scale_in().unwrap_or_default(),
        capacity_rebalance: group.capacity_rebalance().unwrap_or_default(),
        suspended_processes: suspended.map(str::to_owned).collect(),
        metrics: metrics.map(str::to_owned).collect(),
        lifecycle_hooks,
        tags: tags::collect(passed_on.map(|tag| (tag.key.clone(), tag.value.clone()))),
    }
}

/// A group that is held at one version of its template does not do what we want, which is always to run the
/// latest: the version makes the reference differ.
fn launch_template(group: &Live) -> Ref {
    let of_policy = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
    let of_policy = of_policy.and_then(|template| template.launch_template_specification());
    let template = of_policy.or_else(|| group.launch_template());
    let id = template.and_then(|template| template.launch_template_id()).unwrap_or_default();
    match template.and_then(|template| template.version()) {
        Some(LATEST) => Ref::id(LaunchTemplate::SCHEMA.kind, "id", id),
        version => {
            let version = version.unwrap_or("$Default");
            Ref::id(LaunchTemplate::SCHEMA.kind, "id", format!("{id} version {version}"))
        }
    }
}

/// AWS fills in what was left out when the group was made; what is still absent has the same meaning.
fn mixed_instances(policy: &MixedInstancesPolicy) -> MixedInstances {
    let overrides = policy.launch_template().map(SdkTemplate::overrides).unwrap_or_default();
    let requirements = overrides.iter().find_map(|it| it.instance_requirements()).map(requirements);
    let empty = InstancesDistribution::builder().build();
    let distribution = policy.instances_distribution().unwrap_or(&empty);
    let on_demand_default = if requirements.is_some() { "lowest-price" } else { "prioritized" };
    let on_demand = distribution.on_demand_allocation_strategy().unwrap_or(on_demand_default);
    let spot = distribution.spot_allocation_strategy().unwrap_or("lowest-price");
    let price = distribution.spot_max_price().filter(|price| !price.is_empty());
    MixedInstances {
        instance_types: overrides.iter().filter_map(|it| it.instance_type()).map(str::to_owned).collect(),
        requirements,
        on_demand_base: distribution.on_demand_base_capacity().unwrap_or(0),
        on_demand_above_base: distribution.on_demand_percentage_above_base_capacity().unwrap_or(100),
        on_demand_allocation: Some(on_demand.to_owned()),
        spot_allocation: Some(spot.to_owned()),
        spot_pools: (spot == "lowest-price").then(|| distribution.spot_instance_pools().unwrap_or(2)),
        spot_max_price: price.map(str::to_owned),
    }
}

fn requirements(live: &SdkRequirements) -> InstanceRequirements {
    let (cpu, memory) = (live.v_cpu_count(), live.memory_mib());
    InstanceRequirements {
        cpu_min: cpu.and_then(VCpuCountRequest::min).unwrap_or_default(),
        cpu_max: cpu.and_then(VCpuCountRequest::max),
        memory_min: memory.and_then(MemoryMiBRequest::min).unwrap_or_default(),
        memory_max: memory.and_then(MemoryMiBRequest::max),
    }
}

fn specification(want: &Wanted) -> Result<LaunchTemplateSpecification, Error> {
    let id = want.launch_template.value()?;
    Ok(LaunchTemplateSpecification::builder().launch_template_id(id).version(LATEST).build())
}

/// The template as it is, or within a policy: one of the two.
fn templates(
    want: &Wanted,
) -> Result<(Option<LaunchTemplateSpecification>, Option<MixedInstancesPolicy>), Error> {
    let specification = specification(want)?;
    Ok(match &want.mixed_instances {
        None => (Some(specification), None),
        Some(mixed) => (None, Some(policy(mixed, specification))),
    })
}

fn policy(mixed: &MixedInstances, specification: LaunchTemplateSpecification) -> MixedInstancesPolicy {
    let types = mixed.instance_types.iter();
    let mut overrides: Vec<LaunchTemplateOverrides> =
        types.map(|it| LaunchTemplateOverrides::builder().instance_type(it).build()).collect();
    if let Some(it) = &mixed.requirements {
        let cpu = VCpuCountRequest::builder().min(it.cpu_min).set_max(it.cpu_max).build();
        let memory = MemoryMiBRequest::builder().min(it.memory_min).set_max(it.memory_max).build();
        let requirements = SdkRequirements::builder().v_cpu_count(cpu).memory_mib(memory).build();
        overrides.push(LaunchTemplateOverrides::builder().instance_requirements(requirements).build());
    }
    let template = SdkTemplate::builder().launch_template_specification(specification);
    let distribution = InstancesDistribution::builder()
        .on_demand_base_capacity(mixed.on_demand_base)
        .on_demand_percentage_above_base_capacity(mixed.on_demand_above_base)
        .set_on_demand_allocation_strategy(mixed.on_demand_allocation.clone())
        .set_spot_allocation_strategy(mixed.spot_allocation.clone())
        .set_spot_instance_pools(mixed.spot_pools)
        // An empty price takes away one that was set before.
        .spot_max_price(mixed.spot_max_price.clone().unwrap_or_default());
    MixedInstancesPolicy::builder()
        .launch_template(template.set_overrides(Some(overrides)).build())
        .instances_distribution(distribution.build())
        .build()
}

fn sdk_tags<'a>(name: &str, tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Tag> {
    let tags = tags.into_iter().map(|(key, value)| {
        let tag = Tag::builder().resource_type(TAGGED).resource_id(name).propagate_at_launch(true);
        tag.key(key).value(value).build()
    });
    tags.collect()
}

fn join(subnets: &Set<Ref>) -> Result<String, Error> {
    Ok(named::values(subnets)?.join(","))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn hook_specification(name: &str, hook: &LifecycleHook) -> LifecycleHookSpecification {
    LifecycleHookSpecification::builder()
        .lifecycle_hook_name(name)
        .lifecycle_transition(&hook.transition)
        .heartbeat_timeout(hook.heartbeat_timeout)
        .default_result(&hook.default_result)
        .build()
}

/// Everything in the one call that its API has room for, so that no machine starts without its tags, hooks or
/// target groups.
async fn request_creation(aws: &Aws, name: &str, want: &Wanted) -> Result<(), Error> {
    let (template, policy) = templates(want)?;
    let hooks = want.lifecycle_hooks.iter();
    let hooks: Vec<_> = hooks.map(|(name, hook)| hook_specification(name, hook)).collect();
    let mut tags = sdk_tags(name, &want.tags);
    tags.extend(record(&want.lifecycle_hooks).map(|record| record_tag(name).value(record).build()));
    let call = aws
        .autoscaling
        .create_auto_scaling_group()
        .auto_scaling_group_name(name)
        .set_launch_template(template)
        .set_mixed_instances_policy(policy)
        .min_size(want.min_size)
        .max_size(want.max_size)
        .vpc_zone_identifier(join(&want.subnets)?)
        .set_target_group_arns(some(named::values(&want.target_groups)?))
        .set_load_balancer_names(some(want.classic_load_balancers.iter().cloned().collect()))
        .set_max_instance_lifetime(Some(want.max_instance_lifetime).filter(|seconds| *seconds > 0))
        .new_instances_protected_from_scale_in(want.protect_from_scale_in)
        .capacity_rebalance(want.capacity_rebalance)
        .set_lifecycle_hook_specification_list(some(hooks))
        .set_tags(some(tags));
    wait::retry(
        PROPAGATION,
        |error| is_not_known_yet(aws, error),
        || async { call.clone().send().await.during("autoscaling:CreateAutoScalingGroup").map(|_| ()) },
    )
    .await
}

async fn describe_all(aws: &Aws, filter: Filter) -> Result<Vec<Live>, Error> {
    let call = aws.autoscaling.describe_auto_scaling_groups().filters(filter);
    let groups = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    groups.during("autoscaling:DescribeAutoScalingGroups")
}

/// What it is to be made of was made a moment ago, and Auto Scaling does not know it yet. What a spec names and nobody
/// made will not be known later either.
fn is_not_known_yet(aws: &Aws, error: &Error) -> bool {
    iam::is_machine_config_unknown_yet(error) && (iam::is_about_own_role(error) || aws.names_new(error))
}

/// What the creating call has no room for.
async fn finish(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
    change_processes(aws, name, &Set::default(), &want.suspended_processes).await?;
    change_metrics(aws, name, &Set::default(), &want.metrics).await?;
    let made = describe(aws, name).await?;
    Ok(made.map_or_else(|| named::attrs([("name", Some(name))]), |made| attrs(&made)))
}

/// One of that name is there already: on its way out, an interrupted run's, or somebody else's.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, error: Error) -> Result<Attrs, Error> {
    if let Some(live) = describe(aws, name).await?.filter(|live| !is_going(live)) {
        if !named::is_ours(&all_tags(&live), &want.tags) {
            return Err(named::stranger(error, &format!("auto scaling group {name}")));
        }
        let old = fields(&live, hooks(aws, name).await?);
        return AutoScalingGroup::update(aws, name, &attrs(&live), &old, want).await;
    }
    wait_until_gone(aws, name).await?;
    request_creation(aws, name, want).await?;
    finish(aws, name, want).await
}

async fn update_group(aws: &Aws, name: &str, old: &Wanted, want: &Wanted) -> Result<(), Error> {
    let core = |it: &Wanted| {
        (
            (it.launch_template.clone(), it.mixed_instances.clone(), it.subnets.clone()),
            (it.min_size, it.max_size, it.max_instance_lifetime),
            (it.protect_from_scale_in, it.capacity_rebalance),
        )
    };
    if core(old) == core(want) {
        return Ok(());
    }
    let (template, policy) = templates(want)?;
    let call = aws
        .autoscaling
        .update_auto_scaling_group()
        .auto_scaling_group_name(name)
        .set_launch_template(template)
        .set_mixed_instances_policy(policy)
        .min_size(want.min_size)
        .max_size(want.max_size)
        .vpc_zone_identifier(join(&want.subnets)?)
        .max_instance_lifetime(want.max_instance_lifetime)
        .new_instances_protected_from_scale_in(want.protect_from_scale_in)
        .capacity_rebalance(want.capacity_rebalance);
    wait::retry(
        PROPAGATION,
        |error| is_not_known_yet(aws, error),
        || async { call.clone().send().await.during("autoscaling:UpdateAutoScalingGroup").map(|_| ()) },
    )
    .await
}

async fn change_tags(aws: &Aws, name: &str, old: &Wanted, want: &Wanted) -> Result<(), Error> {
    let (set, gone) = tags::changes(&old.tags, &want.tags);
    if !set.is_empty() {
        let call = aws.autoscaling.create_or_update_tags().set_tags(Some(sdk_tags(name, &set)));
        call.send().await.during("autoscaling:CreateOrUpdateTags")?;
    }
    if !gone.is_empty() {
        let gone = gone.iter().map(|key| (key, old.tags.get(key).unwrap_or(key)));
        let call = aws.autoscaling.delete_tags().set_tags(Some(sdk_tags(name, gone)));
        call.send().await.during("autoscaling:DeleteTags")?;
    }
    Ok(())
}

async fn change_targets(aws: &Aws, name: &str, old: &Wanted, want: &Wanted) -> Result<(), Error> {
    let (added, removed) = difference(&old.target_groups, &want.target_groups);
    if !added.is_empty() {
        let call = aws.autoscaling.attach_load_balancer_target_groups().auto_scaling_group_name(name);
        let call = call.set_target_group_arns(Some(named::values(&added)?));
        call.send().await.during("autoscaling:AttachLoadBalancerTargetGroups")?;
    }
    if !removed.is_empty() {
        let detach = |arns| async {
            let call = aws.autoscaling.detach_load_balancer_target_groups().auto_scaling_group_name(name);
            let call = call.set_target_group_arns(Some(arns));
            call.send().await.during("autoscaling:DetachLoadBalancerTargetGroups").map(drop)
        };
        take_away(named::values(&removed)?, detach).await?;
    }
    Ok(())
}

async fn change_classic_load_balancers(
    aws: &Aws,
    name: &str,
    old: &Wanted,
    want: &Wanted,
) -> Result<(), Error> {
    let (added, removed) = difference(&old.classic_load_balancers, &want.classic_load_balancers);
    if !added.is_empty() {
        let call = aws.autoscaling.attach_load_balancers().auto_scaling_group_name(name);
        let call = call.set_load_balancer_names(Some(added.iter().cloned().collect()));
        call.send().await.during("autoscaling:AttachLoadBalancers")?;
    }
    if !removed.is_empty() {
        let detach = |names| async {
            let call = aws.autoscaling.detach_load_balancers().auto_scaling_group_name(name);
            let call = call.set_load_balancer_names(Some(names));
            call.send().await.during("autoscaling:DetachLoadBalancers").map(drop)
        };
        take_away(removed.iter().cloned().collect(), detach).await?;
    }
    Ok(())
}

/// What was to be taken from a group may be gone, be it by a try whose answer was lost: Auto Scaling refuses that, in
/// words alone.
fn is_gone(error: &Error) -> bool {
    const WORDS: [&str; 2] = ["No Lifecycle Hook found", "that are not part of the group"];
    WORDS.iter().any(|words| error.message.contains(words))
}

/// Takes all of `things` from a group; one by one where some are gone, which says nothing of the others.
async fn take_away<F>(things: Vec<String>, take: impl Fn(Vec<String>) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    match take(things.clone()).await {
        Err(error) if is_gone(&error) => {}
        taken => return taken,
    }
    for thing in things {
        match take(vec![thing]).await {
            Err(error) if is_gone(&error) => {}
            taken => taken?,
        }
    }
    Ok(())
}

/// What is in `want` alone, and what is in `old` alone.
fn difference<T: Ord + Clone>(old: &Set<T>, want: &Set<T>) -> (Set<T>, Set<T>) {
    let alone = |in_this: &Set<T>, not_in: &Set<T>| {
        in_this.iter().filter(|item| !not_in.contains(item)).cloned().collect()
    };
    (alone(want, old), alone(old, want))
}

async fn change_processes(aws: &Aws, name: &str, old: &Set<String>, want: &Set<String>) -> Result<(), Error> {
    let (suspended, resumed) = difference(old, want);
    if !suspended.is_empty() {
        let call = aws.autoscaling.suspend_processes().auto_scaling_group_name(name);
        let call = call.set_scaling_processes(Some(suspended.iter().cloned().collect()));
        call.send().await.during("autoscaling:SuspendProcesses")?;
    }
    if !resumed.is_empty() {
        let call = aws.autoscaling.resume_processes().auto_scaling_group_name(name);
        let call = call.set_scaling_processes(Some(resumed.iter().cloned().collect()));
        call.send().await.during("autoscaling:ResumeProcesses")?;
    }
    Ok(())
}

async fn change_metrics(aws: &Aws, name: &str, old: &Set<String>, want: &Set<String>) -> Result<(), Error> {
    let (enabled, disabled) = difference(old, want);
    if !enabled.is_empty() {
        // All that are wanted: those that are on already stay on.
        let call = aws.autoscaling.enable_metrics_collection().auto_scaling_group_name(name);
        let call = call.granularity(EVERY_MINUTE).set_metrics(Some(want.iter().cloned().collect()));
        call.send().await.during("autoscaling:EnableMetricsCollection")?;
    }
    if !disabled.is_empty() {
        let call = aws.autoscaling.disable_metrics_collection().auto_scaling_group_name(name);
        let call = call.set_metrics(Some(disabled.iter().cloned().collect()));
        call.send().await.during("autoscaling:DisableMetricsCollection")?;
    }
    Ok(())
}

async fn change_hooks(
    aws: &Aws,
    name: &str,
    old: &BTreeMap<String, LifecycleHook>,
    want: &BTreeMap<String, LifecycleHook>,
) -> Result<(), Error> {
    for (hook_name, hook) in want.iter().filter(|(name, hook)| old.get(*name) != Some(hook)) {
        let call = aws
            .autoscaling
            .put_lifecycle_hook()
            .auto_scaling_group_name(name)
            .lifecycle_hook_name(hook_name)
            .lifecycle_transition(&hook.transition)
            .heartbeat_timeout(hook.heartbeat_timeout)
            .default_result(&hook.default_result);
        call.send().await.during("autoscaling:PutLifecycleHook")?;
    }
    for hook_name in old.keys().filter(|name| !want.contains_key(*name)) {
        let call = aws.autoscaling.delete_lifecycle_hook().auto_scaling_group_name(name);
        match call.lifecycle_hook_name(hook_name).send().await.during("autoscaling:DeleteLifecycleHook") {
            Err(error) if is_gone(&error) => {}
            deleted => drop(deleted?),
        }
    }
    // Last: as long as it does not say so, the hooks are read.
    if old != want {
        let tag = record_tag(name);
        if let Some(record) = record(want) {
            let call = aws.autoscaling.create_or_update_tags().tags(tag.value(record).build());
            call.send().await.during("autoscaling:CreateOrUpdateTags")?;
        } else {
            let call = aws.autoscaling.delete_tags().tags(tag.build());
            call.send().await.during("autoscaling:DeleteTags")?;
        }
    }
    Ok(())
}

async fn request_deletion(aws: &Aws, name: &str) -> Result<(), Error> {
    // Auto Scaling refuses while it is busy with the group, which passes.
    let busy = |error: &Error| {
        error.kind == ErrorKind::InUse || error.is_code(&["ResourceContention", "ResourceContentionFault"])
    };
    let deleted = wait::retry(SLOW_RESOURCE, busy, || async {
        let call = aws.autoscaling.delete_auto_scaling_group().auto_scaling_group_name(name);
        call.force_delete(true).send().await.during("autoscaling:DeleteAutoScalingGroup").map(|_| ())
    });
    match deleted.await {
        // It went away since it was looked at.
        Err(error) if error.message.contains("not found") => Ok(()),
        deleted => deleted,
    }
}

async fn wait_until_gone(aws: &Aws, name: &str) -> Result<(), Error> {
    let what = format!("the auto scaling group {name} to go");
    wait::until(SLOW_RESOURCE, "autoscaling:DescribeAutoScalingGroups", &what, || async {
        Ok(describe(aws, name).await?.is_none().then_some(()))
    })
    .await
}

/// The group may be gone while its machines still hold their addresses and disks.
async fn wait_until_terminated(aws: &Aws, name: &str, machines: &[String]) -> Result<(), Error> {
    if machines.is_empty() {
        return Ok(());
    }
    let alive = ["pending", "running", "shutting-down", "stopping", "stopped"].map(str::to_owned);
    let what = format!("the machines of {name} to terminate");
    wait::until(SLOW_RESOURCE, "ec2:DescribeInstances", &what, || async {
        for chunk in machines.chunks(ec2::FILTER_VALUES) {
            let call = aws.ec2.describe_instances().filters(ec2::filter_any("instance-id", chunk));
            let call = call.filters(ec2::filter_any("instance-state-name", &alive));
            let answer = call.send().await.during("ec2:DescribeInstances")?;
            if !answer.reservations().is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kcl_engine::{Action, Ref, Wanted};
    use kcl_model::resource::{AutoScalingGroup, LifecycleHook, MixedInstances};
    use kcl_testkit::{Reply, Response};

    use crate::Depth;
    use crate::testing::{self, CLUSTER, World};

    fn name() -> String {
        format!("nodes.{CLUSTER}")
    }

    fn wanted(group: &AutoScalingGroup) -> Wanted {
        let mut wanted = testing::network("ab");
        testing::add_balancing(&mut wanted);
        testing::add(&mut wanted, &name(), &testing::launch_template(&name()));
        testing::add(&mut wanted, &name(), group);
        wanted
    }

    fn hooks(seconds: i32) -> BTreeMap<String, LifecycleHook> {
        let hook = LifecycleHook {
            transition: "autoscaling:EC2_INSTANCE_TERMINATING".to_owned(),
            heartbeat_timeout: seconds,
            default_result: "CONTINUE".to_owned(),
        };
        [("nodes-NTHLifecycleHook".to_owned(), hook)].into_iter().collect()
    }

    fn all_spot() -> MixedInstances {
        MixedInstances {
            instance_types: vec!["t3.micro".to_owned(), "t3a.micro".to_owned()],
            requirements: None,
            on_demand_base: 0,
            on_demand_above_base: 0,
            on_demand_allocation: Some("prioritized".to_owned()),
            spot_allocation: Some("price-capacity-optimized".to_owned()),
            spot_pools: None,
            spot_max_price: None,
        }
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let first = AutoScalingGroup {
            suspended_processes: ["AZRebalance".to_owned()].into_iter().collect(),
            lifecycle_hooks: hooks(300),
            ..testing::auto_scaling_group(&name())
        };
        let second = AutoScalingGroup {
            mixed_instances: Some(all_spot()),
            min_size: 2,
            max_size: 3,
            subnets: ["a", "b"]
                .map(|zone| testing::id("subnet", &format!("{zone}.{CLUSTER}")))
                .into_iter()
                .collect(),
            target_groups: [Ref::to("target-group", testing::TARGET_GROUP, "arn")].into_iter().collect(),
            suspended_processes: ["Launch".to_owned()].into_iter().collect(),
            metrics: ["GroupMinSize".to_owned(), "GroupTotalInstances".to_owned()].into_iter().collect(),
            lifecycle_hooks: hooks(600),
            tags: testing::tags_and(&name(), "kops.k8s.io/instancegroup", "workers"),
            ..first.clone()
        };
        world.reach(&wanted(&first)).await;
        let update = vec![(Action::Update, format!("auto-scaling-group/{}", name()))];
        assert_eq!(world.reach(&wanted(&second)).await, update);
        assert_eq!(world.reach(&wanted(&first)).await, update);
        world.remove().await;
        assert_eq!(world.local.unsupported(), Vec::<String>::new());
    }

    /// As a run leaves them that was killed before it said so: else each look would have to ask for them.
    #[tokio::test]
    async fn hooks_that_nobody_recorded_are_recorded() {
        let world = World::start().await;
        let group = AutoScalingGroup { lifecycle_hooks: hooks(300), ..testing::auto_scaling_group(&name()) };
        let wanted = wanted(&group);
        world.reach(&wanted).await;
        let call = world.aws.autoscaling.delete_tags().tags(super::record_tag(&name()).build());
        call.send().await.expect("the record is lost");
        assert_eq!(world.reach(&wanted).await, [(Action::Update, format!("auto-scaling-group/{}", name()))]);
        world.local.take_calls();
        world.live(&wanted, Depth::Preview).await;
        assert_eq!(world.local.count("autoscaling", "DescribeLifecycleHooks"), 0);
    }

    /// Auto Scaling refuses to take from a group what an earlier try has taken, whose answer was lost.
    #[tokio::test]
    async fn what_is_gone_from_a_group_need_not_be_taken() {
        let world = World::start().await;
        let second = testing::auto_scaling_group(&name());
        let first = AutoScalingGroup {
            target_groups: [Ref::to("target-group", testing::TARGET_GROUP, "arn")].into_iter().collect(),
            lifecycle_hooks: hooks(300),
            ..second.clone()
        };
        world.reach(&wanted(&first)).await;
        world.local.after(|call, response| {
            let words = match call.action.as_str() {
                "DetachLoadBalancerTargetGroups" => {
                    "Trying to remove Target Groups that are not part of the group: arn"
                }
                "DeleteLifecycleHook" => "No Lifecycle Hook found with name: nodes-NTHLifecycleHook",
                _ => return Reply::Send(response),
            };
            Reply::Send(Response::error(call.protocol, 400, "ValidationError", words))
        });
        world.reach(&wanted(&second)).await;
        let count = |action: &str| world.local.count("autoscaling", action);
        assert_eq!((count("DetachLoadBalancerTargetGroups"), count("DeleteLifecycleHook")), (2, 1));
    }

    #[tokio::test]
    async fn a_preview_asks_for_no_hooks_and_a_deep_read_sees_them_gone() {
        let world = World::start().await;
        let group = AutoScalingGroup { lifecycle_hooks: hooks(300), ..testing::auto_scaling_group(&name()) };
        let wanted = wanted(&group);
        world.reach(&wanted).await;
        let call = world.aws.autoscaling.delete_lifecycle_hook().auto_scaling_group_name(name());
        call.lifecycle_hook_name("nodes-NTHLifecycleHook").send().await.expect("the hook is deleted");
        world.local.take_calls();
        world.live(&wanted, Depth::Preview).await;
        assert_eq!(world.local.count("autoscaling", "DescribeLifecycleHooks"), 0);
        assert_eq!(world.reach(&wanted).await.len(), 1);
    }

    #[tokio::test]
    async fn one_held_at_a_version_differs() {
        let world = World::start().await;
        let wanted = wanted(&testing::auto_scaling_group(&name()));
        world.reach(&wanted).await;
        let template = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder();
        let template = template.launch_template_name(name()).version("1").build();
        let call = world.aws.autoscaling.update_auto_scaling_group().auto_scaling_group_name(name());
        call.launch_template(template).send().await.expect("the version is held");
        assert_eq!(world.reach(&wanted).await.len(), 1);
    }

    #[tokio::test]
    async fn one_that_is_going_is_waited_for() {
        let world = World::slow().await;
        let wanted = wanted(&testing::auto_scaling_group(&name()));
        world.reach(&wanted).await;
        let call = world.aws.autoscaling.delete_auto_scaling_group().auto_scaling_group_name(name());
        call.force_delete(true).send().await.expect("it is being deleted");
        let done = world.reach(&wanted).await;
        assert_eq!(done, [(Action::Create, format!("auto-scaling-group/{}", name()))]);
    }

    #[tokio::test]
    async fn one_that_lost_our_mark_goes_with_the_cluster() {
        let world = World::start().await;
        world.reach(&wanted(&testing::auto_scaling_group(&name()))).await;
        let tag = super::Tag::builder().resource_id(name()).resource_type("auto-scaling-group");
        let tag = tag.key(super::CLUSTER_TAG).build();
        world.aws.autoscaling.delete_tags().tags(tag).send().await.expect("the mark is taken away");
        world.remove().await;
        assert_eq!(world.local.count("autoscaling", "DeleteAutoScalingGroup"), 1);
    }
}
