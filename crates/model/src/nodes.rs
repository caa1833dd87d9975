//! Launch templates and auto scaling groups, of every role.

use std::collections::BTreeMap;

use kcl_engine::{Ref, Resource, ResourceId, Set, Text};
use kcl_spec::cluster::{
    Architecture, CpuCredits, Image, InstanceGroup, InterruptionBehavior, MixedInstances as SpecMixed,
    Purchase, Role, SpotAllocationStrategy, SpotOptions as SpecSpot, Tenancy, Volume as SpecVolume,
};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::facts::ImageFacts;
use crate::resource::{
    AutoScalingGroup, BlockDevice, InstanceRequirements, LaunchTemplate, LifecycleHook, MixedInstances,
    SpotOptions, TargetGroup, Volume,
};
use crate::{
    bastion, control_plane, events, identity, ingress, instance_store, keys, machines, names, security,
    ssh_key, tags, user_data,
};

/// What is measured of a group every minute; AWS asks nothing for it.
const METRICS: [&str; 8] = [
    "GroupDesiredCapacity",
    "GroupInServiceInstances",
    "GroupMaxSize",
    "GroupMinSize",
    "GroupPendingInstances",
    "GroupStandbyInstances",
    "GroupTerminatingInstances",
    "GroupTotalInstances",
];

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let key_pair = ssh_key::add(builder)?;
    for group in &builder.cluster.instance_groups {
        let name = names::instance_group(group, builder.name());
        let tags = tags::instance_group(builder.cluster, group, &name);
        launch_template(builder, group, &name, &tags, key_pair.clone())?;
        auto_scaling_group(builder, group, &name, tags)?;
    }
    Ok(())
}

fn image<'a>(builder: &Builder<'a>, group: &InstanceGroup) -> Result<&'a ImageFacts, ModelError> {
    let Some(image) = builder.facts.images.get(&group.image) else {
        return Err(ModelError::MissingFact { what: "image", name: spell_image(&group.image) });
    };
    let machine = match group.architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    };
    if image.architecture == machine {
        return Ok(image);
    }
    Err(ModelError::Architecture {
        group: group.name.clone(),
        image: image.architecture.clone(),
        machine_type: group.machine_type.clone(),
        machine,
    })
}

/// An image as a spec has it.
fn spell_image(image: &Image) -> String {
    match image {
        Image::Id(id) => id.clone(),
        Image::Named { owner, name } => format!("{owner}/{name}"),
        Image::SsmParameter(path) => format!("ssm:{path}"),
    }
}

fn launch_template(
    builder: &mut Builder<'_>,
    group: &InstanceGroup,
    name: &str,
    tags: &BTreeMap<String, String>,
    key_pair: Option<Ref>,
) -> Result<(), ModelError> {
    let image = image(builder, group)?;
    let profile = group.iam_profile.as_deref();
    let metadata = group.instance_metadata;
    let template = LaunchTemplate {
        image: image.id.clone(),
        instance_type: group.machine_type.clone(),
        key_pair,
        instance_profile: Some(identity::instance_profile(builder.cluster, group.role, profile)),
        block_devices: block_devices(group, image),
        public_ip: Some(group.associate_public_ip),
        ipv6_address_count: Some(0),
        security_groups: security::of_machines(builder, group).into_iter().collect(),
        imds_tokens_required: metadata.tokens_required,
        imds_hop_limit: metadata.hop_limit.into(),
        imds_ipv6: false,
        monitoring: group.detailed_monitoring,
        cpu_credits: group.cpu_credits.map(|credits| spell_credits(credits).to_owned()),
        tenancy: group.tenancy.map(|tenancy| spell_tenancy(tenancy).to_owned()),
        spot: match &group.purchase {
            Purchase::Spot(spot) => Some(spot_options(builder, group, spot)),
            Purchase::OnDemand | Purchase::Mixed(_) => None,
        },
        ebs_optimized: group.ebs_optimized,
        user_data: Text::new(user_data::of(builder, group)?),
        node_configuration: user_data::configuration(builder, group),
        node_agent: user_data::agent(builder, group),
        default_is_old: false,
        machine_tags: tags.clone(),
        tags: tags.clone(),
    };
    builder.add(name, &template)?;
    Ok(())
}

/// The root disk, further ones, and what the type brings along.
fn block_devices(group: &InstanceGroup, image: &ImageFacts) -> Vec<BlockDevice> {
    let root = block_device(&image.root_device, &group.root_volume, true);
    let further = group.volumes.iter();
    let further = further.map(|disk| block_device(&disk.device, &disk.volume, disk.delete_on_termination));
    let taken: Vec<BlockDevice> = [root].into_iter().chain(further).collect();
    let own = instance_store::mappings(&group.machine_type);
    let own: Vec<BlockDevice> =
        own.filter(|disk| taken.iter().all(|other| other.device != disk.device)).collect();
    taken.into_iter().chain(own).collect()
}

fn block_device(device: &str, volume: &SpecVolume, delete_on_termination: bool) -> BlockDevice {
    BlockDevice {
        device: device.to_owned(),
        virtual_name: None,
        size: Some(volume.size_gib.cast_signed()),
        volume_type: Some(volume.kind.as_str().to_owned()),
        iops: volume.iops.map(u32::cast_signed),
        throughput: volume.throughput.map(u32::cast_signed),
        encrypted: Some(volume.encrypted),
        kms_key: volume.kms_key.clone(),
        delete_on_termination: Some(delete_on_termination),
    }
}

fn spell_credits(credits: CpuCredits) -> &'static str {
    match credits {
        CpuCredits::Standard => "standard",
        CpuCredits::Unlimited => "unlimited",
    }
}

fn spell_tenancy(tenancy: Tenancy) -> &'static str {
    match tenancy {
        Tenancy::Default => "default",
        Tenancy::Dedicated => "dedicated",
        Tenancy::Host => "host",
    }
}

fn spot_options(builder: &mut Builder<'_>, group: &InstanceGroup, spot: &SpecSpot) -> SpotOptions {
    if spot.duration_minutes.is_some() {
        builder.warn(
            format!("the spot machines of the instance group {} have no fixed duration", group.name),
            "AWS no longer sells spot blocks; leave out `spotDurationInMinutes`",
        );
    }
    let behavior = spot.interruption_behavior.map(|behavior| match behavior {
        InterruptionBehavior::Hibernate => "hibernate",
        InterruptionBehavior::Stop => "stop",
        InterruptionBehavior::Terminate => "terminate",
    });
    SpotOptions {
        max_price: Some(spot.max_price.clone()),
        interruption_behavior: behavior.map(str::to_owned),
    }
}

fn auto_scaling_group(
    builder: &mut Builder<'_>,
    group: &InstanceGroup,
    name: &str,
    tags: BTreeMap<String, String>,
) -> Result<(), ModelError> {
    let resource = AutoScalingGroup {
        launch_template: Ref::to(LaunchTemplate::SCHEMA.kind, name, "id"),
        mixed_instances: match &group.purchase {
            Purchase::Mixed(mixed) => Some(mixed_instances(mixed)),
            Purchase::OnDemand | Purchase::Spot(_) => None,
        },
        min_size: group.min_size.cast_signed(),
        max_size: group.max_size.cast_signed(),
        subnets: group.subnets.iter().map(|subnet| builder.subnet(subnet)).collect(),
        target_groups: target_groups(builder, group),
        classic_load_balancers: Set::default(),
        max_instance_lifetime: group.max_instance_lifetime_seconds.cast_signed(),
        protect_from_scale_in: group.instance_protection,
        capacity_rebalance: false,
        suspended_processes: group.suspend_processes.iter().cloned().collect(),
        metrics: METRICS.iter().map(ToString::to_string).collect(),
        lifecycle_hooks: lifecycle_hooks(builder, group),
        tags,
    };
    let id = builder.add(name, &resource)?;
    for first in needed_by_machines(builder, group) {
        builder.order(&id, first);
    }
    Ok(())
}

/// AWS' own defaults are filled in: a group read back has them.
fn mixed_instances(spec: &SpecMixed) -> MixedInstances {
    let lowest_price = SpotAllocationStrategy::LowestPrice;
    let spot_allocation = spec.spot_allocation_strategy.unwrap_or(lowest_price);
    let requirements = spec.requirements.as_ref();
    // Types that are only described have no order to be prioritised by.
    let on_demand_default = if requirements.is_some() { "lowest-price" } else { "prioritized" };
    let on_demand = spec.on_demand_allocation_strategy.as_deref().unwrap_or(on_demand_default);
    MixedInstances {
        instance_types: spec.instance_types.clone(),
        requirements: requirements.map(|requirements| InstanceRequirements {
            cpu_min: requirements.cpu_min.cast_signed(),
            cpu_max: requirements.cpu_max.map(u32::cast_signed),
            memory_min: requirements.memory_min_mib.cast_signed(),
            memory_max: requirements.memory_max_mib.map(u32::cast_signed),
        }),
        on_demand_base: spec.on_demand_base.unwrap_or(0).cast_signed(),
        on_demand_above_base: spec.on_demand_above_base.unwrap_or(100).cast_signed(),
        on_demand_allocation: Some(on_demand.to_owned()),
        spot_allocation: Some(spot_allocation.as_str().to_owned()),
        spot_pools: (spot_allocation == lowest_price)
            .then(|| spec.spot_instance_pools.unwrap_or(2).cast_signed()),
        spot_max_price: spec.max_price.clone(),
    }
}

fn target_groups(builder: &Builder<'_>, group: &InstanceGroup) -> Set<Ref> {
    let of_role = match group.role {
        Role::ControlPlane => control_plane::target_groups(builder.cluster, &builder.facts.zones),
        Role::Node => ingress::target_groups(builder.cluster),
        Role::Bastion => bastion::target_groups(builder.cluster),
    };
    let given = group.target_group_arns.iter().map(|arn| Ref::id(TargetGroup::SCHEMA.kind, "arn", arn));
    of_role.into_iter().chain(given).collect()
}

/// A machine that goes waits until the termination handler has drained it.
fn lifecycle_hooks(builder: &Builder<'_>, group: &InstanceGroup) -> BTreeMap<String, LifecycleHook> {
    let handler = &builder.cluster.node_termination_handler;
    if !handler.enabled || !handler.sqs_termination_draining {
        return BTreeMap::new();
    }
    let hook = LifecycleHook {
        transition: "autoscaling:EC2_INSTANCE_TERMINATING".to_owned(),
        heartbeat_timeout: events::RETENTION,
        default_result: "CONTINUE".to_owned(),
    };
    // A group's name may have dots; AWS takes letters, digits, `-`, `_` and `/` for a hook's.
    let name = format!("{}-NTHLifecycleHook", group.name.replace('.', "-"));
    [(name, hook)].into_iter().collect()
}

/// What a machine needs as soon as it is on: a way out, open doors, and its etcd member's volume.
fn needed_by_machines(builder: &Builder<'_>, group: &InstanceGroup) -> Vec<ResourceId> {
    let routes = group.subnets.iter().filter_map(|subnet| builder.egress.get(subnet)).flatten();
    let security_group = names::security_group(group.role, builder.name());
    let rules = builder.rules.get(&security_group).into_iter().flatten();
    let volumes = control_plane::volumes_of(builder.cluster, &group.name);
    let volumes = volumes.into_iter().map(|volume| ResourceId::new(Volume::SCHEMA.kind, volume));
    routes
        .chain(rules)
        .cloned()
        .chain(volumes)
        .chain(keys::ids())
        .chain(machines::needed_by_machines(builder))
        .collect()
}
