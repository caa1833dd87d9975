//! Launch templates: the latest version is what counts.
//!
//! A change makes a new version with everything in it, and the template's default follows. Older versions
//! stay: AWS keeps 5,000 of them, and they show what machines were made from.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    CreditSpecificationRequest, InstanceInterruptionBehavior, InstanceType, LaunchTemplate as Template,
    LaunchTemplateBlockDeviceMapping, LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDevice,
    LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest, LaunchTemplateInstanceMarketOptionsRequest,
    LaunchTemplateInstanceMetadataEndpointState, LaunchTemplateInstanceMetadataOptions,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceMetadataProtocolIpv6,
    LaunchTemplateInstanceNetworkInterfaceSpecification as Interface,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, LaunchTemplatePlacementRequest,
    LaunchTemplateSpotMarketOptionsRequest, LaunchTemplateTagSpecification,
    LaunchTemplateTagSpecificationRequest, LaunchTemplateVersion, LaunchTemplatesMonitoring,
    LaunchTemplatesMonitoringRequest, MarketType, RequestLaunchTemplateData, ResourceType,
    ResponseLaunchTemplateData, Tenancy, VolumeType,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::try_join;
use kcl_engine::{Attrs, LiveNode, Owner, Ref, Resource, Text};
use kcl_model::resource::{
    AGENT_GAP, BlockDevice, CONFIGURATION_GAP, InstanceProfile, KeyPair, LaunchTemplate as Wanted, NodeAgent,
    NodeConfiguration, SecurityGroup, SpotOptions, Tags,
};

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::{ec2, iam, named};

const LATEST: &str = "$Latest";
/// What the machine's tags are put on.
const TAGGED: [ResourceType; 3] =
    [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];

pub(crate) struct LaunchTemplate;

impl Kind for LaunchTemplate {
    type Resource = Wanted;
    const SERVICE: Service = Service::Ec2;

    /// Those that autoscalers of another kind made are removed with the cluster. Whoever makes a group must be allowed
    /// to start machines from its template, although it is AWS that starts them:
    /// <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html>.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let templates = ground.all::<Wanted>();
        let devices = templates.iter().flat_map(|(_, template)| &template.block_devices);
        let given = templates.iter().filter_map(|(_, template)| {
            let Some(Ref::Id { value, .. }) = &template.instance_profile else { return None };
            // A profile that was made with its role in the console has that one's name; which role is in one is not
            // known beforehand.
            Some(value.clone())
        });
        let manage = [
            ground.ec2_create(&["ec2:CreateLaunchTemplate"]),
            ground.ec2_change(&["ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate"]),
            ground.ec2_retag(),
            run_instances(ground),
            vec![iam::pass_roles(ground, given)],
            ec2::use_keys(ground, devices.filter_map(|device| device.kms_key.clone())),
        ];
        [
            Permission::read(&["ec2:DescribeLaunchTemplateVersions", "ec2:DescribeLaunchTemplates"]),
            ground.if_wanted::<Wanted>(manage.concat()),
            ground.ec2_delete(&["ec2:DeleteLaunchTemplate"]),
        ]
        .concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let call = scope.aws.ec2.describe_launch_templates().filters(scope.ec2_filter()).max_results(PAGE);
        let templates = async {
            let templates = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
            templates.during("ec2:DescribeLaunchTemplates")
        };
        let (templates, versions) = try_join(templates, latest_versions(scope.aws)).await?;
        let wanted = scope.wanted_names(Wanted::SCHEMA.kind);
        let mut nodes = Vec::new();
        for template in &templates {
            let (Some(id), Some(name)) = (template.launch_template_id(), template.launch_template_name())
            else {
                continue;
            };
            let tags = ec2::tags_of(template.tags());
            let owner = named::owner(scope.cluster, &tags, wanted.contains(&name));
            let of_interest = |owner: &Owner| *owner == Owner::Cluster || scope.depth == Depth::Everything;
            let Some(owner) = owner.filter(of_interest) else { continue };
            // One that was made between the two calls has no version here yet: it is not there yet.
            let Some(version) = versions.get(id) else { continue };
            nodes.push(LiveNode::new(name, &fields(template, version, tags), attrs(template), owner)?);
        }
        Ok(nodes)
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let call = aws
            .ec2
            .create_launch_template()
            .launch_template_name(name)
            .launch_template_data(data(want)?)
            .tag_specifications(ec2::specification(ResourceType::LaunchTemplate, &want.tags))
            .client_token(aws.token("launch-template", name, want));
        let made = match call.send().await.during("ec2:CreateLaunchTemplate") {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                return adopt(aws, name, want, error).await;
            }
            made => made?.launch_template,
        };
        made.map(|made| attrs(&made))
            .ok_or_else(|| Error::unexpected("ec2:CreateLaunchTemplate", "launch template"))
    }

    async fn update(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        let id = named::attr(live, "id")?;
        let mut attrs = live.clone();
        let latest = Wanted { tags: want.tags.clone(), default_is_old: false, ..old.clone() };
        if latest != *want {
            let version = new_version(aws, name, live, want).await?;
            set_default(aws, id, &version).await?;
            attrs.insert("version".to_owned(), version);
        } else if old.default_is_old {
            set_default(aws, id, named::attr(live, "version")?).await?;
        }
        ec2::retag(aws, id, &old.tags, &want.tags).await?;
        Ok(attrs)
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let call = aws.ec2.delete_launch_template().launch_template_id(named::attr(live, "id")?);
        match call.send().await.during("ec2:DeleteLaunchTemplate") {
            Err(error) if !is_missing(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Starting machines, from the cluster's templates only. A template is a resource of this call like any other, and
/// must have the cluster's mark; what else a machine is made of need not, and most of it is only being made.
fn run_instances(ground: &Ground<'_>) -> Vec<Permission> {
    const RUN: [&str; 1] = ["ec2:RunInstances"];
    const PARTS: [&str; 8] = [
        "image",
        "instance",
        "key-pair",
        "network-interface",
        "security-group",
        "snapshot",
        "subnet",
        "volume",
    ];
    let buys_spot = ground.all::<Wanted>().iter().any(|(_, template)| template.spot.is_some());
    let parts = PARTS.into_iter().chain(buys_spot.then_some("spot-instances-request"));
    let parts = parts.map(|part| ground.arn("ec2", &format!("{part}/*")));
    let templates = ground.arn("ec2", "launch-template/*");
    let tags = Permission::new("Ec2TagCreated", &["ec2:CreateTags"], []);
    vec![
        ground.owned(Permission::new("LaunchFromTemplate", &RUN, [templates.clone()])),
        Permission::new("LaunchParts", &RUN, parts).when("ArnLike", "ec2:LaunchTemplate", [templates]),
        // Machines come with the tags that the template has for them.
        tags.when("StringEquals", "ec2:CreateAction", ["RunInstances"]),
    ]
}

/// EC2 spells "not found" in a way of its own here.
fn is_missing(error: &Error) -> bool {
    const CODES: [&str; 2] =
        ["InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateName.NotFoundException"];
    error.is_not_found() || error.is_code(&CODES)
}

fn attrs(template: &Template) -> Attrs {
    let version = template.latest_version_number().map(|version| version.to_string());
    named::attrs([
        ("id", template.launch_template_id()),
        ("name", template.launch_template_name()),
        ("version", version.as_deref()),
    ])
}

/// The most that AWS gives in one answer.
const PAGE: i32 = 200;

/// The latest version of each of the account's templates, by the template's id. AWS cannot filter these by
/// tag, and asking for one template after the other would take a call for each group.
async fn latest_versions(aws: &Aws) -> Result<BTreeMap<String, LaunchTemplateVersion>, Error> {
    let call = aws.ec2.describe_launch_template_versions().versions(LATEST).max_results(PAGE);
    let versions = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let versions = versions.during("ec2:DescribeLaunchTemplateVersions")?.into_iter();
    Ok(versions.filter_map(|version| Some((version.launch_template_id.clone()?, version))).collect())
}

async fn new_version(aws: &Aws, name: &str, live: &Attrs, want: &Wanted) -> Result<String, Error> {
    let id = named::attr(live, "id")?;
    // What it follows belongs to the token: the same content may come back after another one.
    let token = aws.token("launch-template-version", name, &(want, live.get("version")));
    let call = aws.ec2.create_launch_template_version().launch_template_id(id).client_token(token);
    let answer = call.launch_template_data(data(want)?).send().await;
    let made = answer.during("ec2:CreateLaunchTemplateVersion")?.launch_template_version;
    let version = made.and_then(|made| made.version_number);
    let version = version.ok_or_else(|| Error::unexpected("ec2:CreateLaunchTemplateVersion", "version"))?;
    Ok(version.to_string())
}

async fn set_default(aws: &Aws, id: &str, version: &str) -> Result<(), Error> {
    let call = aws.ec2.modify_launch_template().launch_template_id(id).default_version(version);
    call.send().await.during("ec2:ModifyLaunchTemplate").map(drop)
}

/// One of that name is there already: an interrupted run's, or somebody else's.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, error: Error) -> Result<Attrs, Error> {
    let call = aws.ec2.describe_launch_templates().launch_template_names(name);
    let found = call.send().await.during("ec2:DescribeLaunchTemplates")?.launch_templates;
    let Some(template) = found.unwrap_or_default().into_iter().next() else { return Err(error) };
    let tags = ec2::tags_of(template.tags());
    if !named::is_ours(&tags, &want.tags) {
        return Err(named::stranger(error, &format!("launch template {name}")));
    }
    let call = aws.ec2.describe_launch_template_versions().versions(LATEST).launch_template_name(name);
    let versions = call.send().await.during("ec2:DescribeLaunchTemplateVersions")?;
    let versions = versions.launch_template_versions.unwrap_or_default();
    let Some(version) = versions.first() else { return Err(error) };
    LaunchTemplate::update(aws, name, &attrs(&template), &fields(&template, version, tags), want).await
}

fn fields(template: &Template, version: &LaunchTemplateVersion, tags: Tags) -> Wanted {
    let empty = ResponseLaunchTemplateData::builder().build();
    let data = version.launch_template_data().unwrap_or(&empty);
    let interface = data.network_interfaces().first();
    let metadata = data.metadata_options();
    let groups = data.security_group_ids().iter();
    let groups = groups.chain(interface.into_iter().flat_map(Interface::groups));
    let required = LaunchTemplateHttpTokensState::Required;
    let ipv6 = LaunchTemplateInstanceMetadataProtocolIpv6::Enabled;
    let mut user_data = decode(data.user_data().unwrap_or_default());
    let configuration = open_gap(&mut user_data, "configuration=", CONFIGURATION_GAP);
    let agent = open_gap(&mut user_data, "agent=", AGENT_GAP);
    Wanted {
        image: data.image_id().unwrap_or_default().to_owned(),
        instance_type: data.instance_type().map(InstanceType::as_str).unwrap_or_default().to_owned(),
        key_pair: data.key_name().map(|name| Ref::id(KeyPair::SCHEMA.kind, "name", name)),
        instance_profile: profile(data).map(|name| Ref::id(InstanceProfile::SCHEMA.kind, "name", name)),
        block_devices: data.block_device_mappings().iter().map(block_device).collect(),
        public_ip: interface.and_then(Interface::associate_public_ip_address),
        ipv6_address_count: interface.and_then(Interface::ipv6_address_count),
        security_groups: groups.map(|id| Ref::id(SecurityGroup::SCHEMA.kind, "id", id)).collect(),
        imds_tokens_required: metadata.is_some_and(|it| it.http_tokens() == Some(&required)),
        imds_hop_limit: metadata
            .and_then(LaunchTemplateInstanceMetadataOptions::http_put_response_hop_limit)
            .unwrap_or(1),
        imds_ipv6: metadata.is_some_and(|it| it.http_protocol_ipv6() == Some(&ipv6)),
        monitoring: data.monitoring().and_then(LaunchTemplatesMonitoring::enabled).unwrap_or_default(),
        cpu_credits: data.credit_specification().and_then(|it| it.cpu_credits()).map(str::to_owned),
        tenancy: data.placement().and_then(|it| it.tenancy()).map(|it| it.as_str().to_owned()),
        spot: spot(data),
        ebs_optimized: data.ebs_optimized(),
        user_data: Text::new(user_data),
        node_configuration: configuration
            .map(|sha256| Ref::id(NodeConfiguration::SCHEMA.kind, "sha256", sha256)),
        node_agent: agent.map(|sha256| Ref::id(NodeAgent::SCHEMA.kind, "sha256", sha256)),
        default_is_old: template.default_version_number() < template.latest_version_number(),
        machine_tags: common_tags(data.tag_specifications()),
        tags,
    }
}

/// The profile's name, where it is given by ARN too.
fn profile(data: &ResponseLaunchTemplateData) -> Option<&str> {
    let profile = data.iam_instance_profile()?;
    profile.name().or_else(|| profile.arn()?.rsplit('/').next())
}

fn spot(data: &ResponseLaunchTemplateData) -> Option<SpotOptions> {
    let options = data.instance_market_options()?;
    if options.market_type() != Some(&MarketType::Spot) {
        return None;
    }
    let spot = options.spot_options();
    let behavior = spot.and_then(|spot| spot.instance_interruption_behavior());
    Some(SpotOptions {
        max_price: spot.and_then(|spot| spot.max_price()).map(str::to_owned),
        interruption_behavior: behavior.map(|behavior| behavior.as_str().to_owned()),
    })
}

fn block_device(mapping: &LaunchTemplateBlockDeviceMapping) -> BlockDevice {
    let ebs = mapping.ebs();
    BlockDevice {
        device: mapping.device_name().unwrap_or_default().to_owned(),
        virtual_name: mapping.virtual_name().map(str::to_owned),
        size: ebs.and_then(LaunchTemplateEbsBlockDevice::volume_size),
        volume_type: ebs.and_then(|ebs| ebs.volume_type()).map(|kind| kind.as_str().to_owned()),
        iops: ebs.and_then(LaunchTemplateEbsBlockDevice::iops),
        throughput: ebs.and_then(LaunchTemplateEbsBlockDevice::throughput),
        encrypted: ebs.and_then(LaunchTemplateEbsBlockDevice::encrypted),
        kms_key: ebs.and_then(|ebs| ebs.kms_key_id()).map(str::to_owned),
        delete_on_termination: ebs.and_then(LaunchTemplateEbsBlockDevice::delete_on_termination),
    }
}

/// Puts the gap back where a hash fills it; gives the hash.
fn open_gap(user_data: &mut String, line: &str, gap: &str) -> Option<String> {
    let start = user_data.find(&format!("\n{line}"))? + 1 + line.len();
    let hash: String = user_data[start..].chars().take_while(char::is_ascii_hexdigit).collect();
    if hash.len() != 64 {
        return None;
    }
    user_data.replace_range(start..start + hash.len(), gap);
    Some(hash)
}

/// User data with its gaps filled.
fn filled(want: &Wanted) -> Result<String, Error> {
    let mut text = want.user_data.text.clone();
    for (gap, hash) in [(CONFIGURATION_GAP, &want.node_configuration), (AGENT_GAP, &want.node_agent)] {
        if let Some(hash) = hash {
            text = text.replacen(gap, hash.value()?, 1);
        }
    }
    Ok(text)
}

/// User data that is no text differs from any wanted one, whatever becomes of its bytes here.
fn decode(user_data: &str) -> String {
    let bytes = BASE64_STANDARD.decode(user_data).unwrap_or_else(|_| user_data.as_bytes().to_vec());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What machines, disks and interfaces are all tagged with. A tag that one of them lacks counts as missing.
fn common_tags(specifications: &[LaunchTemplateTagSpecification]) -> Tags {
    let of = |kind: &ResourceType| {
        let specification = specifications.iter().find(|it| it.resource_type() == Some(kind));
        specification.map(|it| ec2::tags_of(it.tags())).unwrap_or_default()
    };
    let [mut common, volumes, interfaces] = TAGGED.map(|kind| of(&kind));
    common.retain(|key, value| volumes.get(key) == Some(value) && interfaces.get(key) == Some(value));
    common
}

fn data(want: &Wanted) -> Result<RequestLaunchTemplateData, Error> {
    let mut data = RequestLaunchTemplateData::builder()
        .image_id(&want.image)
        .instance_type(InstanceType::from(want.instance_type.as_str()))
        .set_ebs_optimized(want.ebs_optimized)
        .set_block_device_mappings(Some(want.block_devices.iter().map(request_device).collect()))
        .network_interfaces(network_interface(want)?)
        .metadata_options(metadata_options(want))
        .monitoring(LaunchTemplatesMonitoringRequest::builder().enabled(want.monitoring).build())
        .user_data(BASE64_STANDARD.encode(filled(want)?));
    if let Some(key_pair) = &want.key_pair {
        data = data.key_name(key_pair.value()?);
    }
    if let Some(profile) = &want.instance_profile {
        let profile_data = LaunchTemplateIamInstanceProfileSpecificationRequest::builder();
        data = data.iam_instance_profile(profile_data.name(profile.value()?).build());
    }
    if let Some(credits) = &want.cpu_credits {
        data = data.credit_specification(CreditSpecificationRequest::builder().cpu_credits(credits).build());
    }
    if let Some(tenancy) = &want.tenancy {
        let placement = LaunchTemplatePlacementRequest::builder().tenancy(Tenancy::from(tenancy.as_str()));
        data = data.placement(placement.build());
    }
    if let Some(spot) = &want.spot {
        data = data.instance_market_options(market_options(spot));
    }
    for kind in TAGGED {
        let specification = LaunchTemplateTagSpecificationRequest::builder().resource_type(kind);
        data = data.tag_specifications(specification.set_tags(Some(ec2::to_ec2(&want.machine_tags))).build());
    }
    Ok(data.build())
}

fn request_device(device: &BlockDevice) -> LaunchTemplateBlockDeviceMappingRequest {
    let mapping = LaunchTemplateBlockDeviceMappingRequest::builder().device_name(&device.device);
    let mapping = mapping.set_virtual_name(device.virtual_name.clone());
    if device.virtual_name.is_some() {
        return mapping.build();
    }
    let ebs = LaunchTemplateEbsBlockDeviceRequest::builder()
        .set_volume_size(device.size)
        .set_volume_type(device.volume_type.as_deref().map(VolumeType::from))
        .set_iops(device.iops)
        .set_throughput(device.throughput)
        .set_encrypted(device.encrypted)
        .set_kms_key_id(device.kms_key.clone())
        .set_delete_on_termination(device.delete_on_termination);
    mapping.ebs(ebs.build()).build()
}

fn network_interface(
    want: &Wanted,
) -> Result<LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, Error> {
    let interface = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
        .device_index(0)
        .delete_on_termination(true)
        .set_associate_public_ip_address(want.public_ip)
        .set_ipv6_address_count(want.ipv6_address_count)
        .set_groups(Some(named::values(&want.security_groups)?));
    Ok(interface.build())
}

fn metadata_options(want: &Wanted) -> LaunchTemplateInstanceMetadataOptionsRequest {
    let tokens = if want.imds_tokens_required {
        LaunchTemplateHttpTokensState::Required
    } else {
        LaunchTemplateHttpTokensState::Optional
    };
    let ipv6 = if want.imds_ipv6 {
        LaunchTemplateInstanceMetadataProtocolIpv6::Enabled
    } else {
        LaunchTemplateInstanceMetadataProtocolIpv6::Disabled
    };
    LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
        .http_tokens(tokens)
        .http_put_response_hop_limit(want.imds_hop_limit)
        .http_protocol_ipv6(ipv6)
        .build()
}

fn market_options(spot: &SpotOptions) -> LaunchTemplateInstanceMarketOptionsRequest {
    let behavior = spot.interruption_behavior.as_deref().map(InstanceInterruptionBehavior::from);
    let options = LaunchTemplateSpotMarketOptionsRequest::builder()
        .set_max_price(spot.max_price.clone())
        .set_instance_interruption_behavior(behavior)
        .build();
    LaunchTemplateInstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(options)
        .build()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::Tag;

    use super::*;

    #[test]
    fn a_tag_that_one_kind_lacks_is_missing() {
        let specification = |kind: &ResourceType, keys: &[&str]| {
            let tags = keys.iter().map(|key| Tag::builder().key(*key).value("1").build()).collect();
            LaunchTemplateTagSpecification::builder().resource_type(kind.clone()).set_tags(Some(tags)).build()
        };
        let [instance, volume, interface] = &TAGGED;
        let all = [
            specification(instance, &["a", "b"]),
            specification(volume, &["a", "b"]),
            specification(interface, &["a"]),
        ];
        assert_eq!(common_tags(&all).into_keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(common_tags(&all[..2]), Tags::new());
    }
}

#[cfg(test)]
mod life {
    use kcl_engine::{Action, Text, Wanted};
    use kcl_model::resource::{LaunchTemplate, SpotOptions};
    use kcl_testkit::{Decision, Response};

    use crate::testing::{self, CLUSTER, World};

    fn name() -> String {
        format!("nodes.{CLUSTER}")
    }

    fn wanted(template: &LaunchTemplate) -> Wanted {
        let mut wanted = testing::network("a");
        testing::add(&mut wanted, &name(), template);
        wanted
    }

    #[tokio::test]
    async fn lives_and_gets_versions() {
        let world = World::start().await;
        let first = testing::launch_template(&name());
        world.reach(&wanted(&first)).await;
        let second = LaunchTemplate {
            user_data: Text::new("#!/bin/sh\necho second\n"),
            spot: Some(SpotOptions { max_price: Some("0.01".to_owned()), interruption_behavior: None }),
            tags: testing::tags_and(&name(), "kops.k8s.io/instancegroup", "workers"),
            ..first.clone()
        };
        let update = vec![(Action::Update, format!("launch-template/{}", name()))];
        assert_eq!(world.reach(&wanted(&second)).await, update);
        // Back and forth: the same content again is a new version each time.
        assert_eq!(world.reach(&wanted(&first)).await, update);
        assert_eq!(world.reach(&wanted(&second)).await, update);
        let answer = world.aws.ec2.describe_launch_templates().send().await.expect("it is there");
        let template = answer.launch_templates().first().expect("it is there");
        assert_eq!(template.latest_version_number(), Some(4));
        assert_eq!(template.default_version_number(), Some(4));
        world.remove().await;
        assert_eq!(world.local.unsupported(), Vec::<String>::new());
    }

    /// A run that is killed between a new version and the default that follows it.
    #[tokio::test]
    async fn the_default_of_a_run_that_was_cut_short_follows() {
        let world = World::start().await;
        let first = testing::launch_template(&name());
        world.reach(&wanted(&first)).await;
        let second = LaunchTemplate { user_data: Text::new("#!/bin/sh\necho second\n"), ..first.clone() };
        let plan = world.plan(&wanted(&second)).await;
        world.local.before(|call| match call.action.as_str() {
            "ModifyLaunchTemplate" => Decision::Respond(Response::error(
                call.protocol,
                403,
                "UnauthorizedOperation",
                "it is cut short",
            )),
            _ => Decision::Forward,
        });
        world.try_apply(&plan).await.expect_err("it is cut short");
        world.local.clear_rules();
        world.local.take_calls();
        let update = vec![(Action::Update, format!("launch-template/{}", name()))];
        assert_eq!(world.reach(&wanted(&second)).await, update);
        assert_eq!(world.local.count("ec2", "CreateLaunchTemplateVersion"), 0, "the version is there");
        let answer = world.aws.ec2.describe_launch_templates().send().await.expect("it is there");
        let template = answer.launch_templates().first().expect("it is there");
        assert_eq!((template.default_version_number(), template.latest_version_number()), (Some(2), Some(2)));
        world.remove().await;
    }

    #[tokio::test]
    async fn another_tag_makes_no_version() {
        let world = World::start().await;
        let first = testing::launch_template(&name());
        let tags = testing::tags_and(&name(), "kops.k8s.io/instancegroup", "workers");
        let second = LaunchTemplate { tags, ..first.clone() };
        world.reach(&wanted(&first)).await;
        world.reach(&wanted(&second)).await;
        assert_eq!(world.local.count("ec2", "CreateLaunchTemplateVersion"), 0);
    }
}
