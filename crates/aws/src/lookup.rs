//! What has to be looked up before a cluster can be modelled, and what can be told of its machines.
//!
//! [`facts`] asks for just what [`kcl_model::needed`] names, all at the same time and in as few calls as can
//! be. Nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use aws_sdk_ec2::types::{Filter, Image as SdkImage, Instance, Reservation, Tag};
use aws_sdk_route53::types::HostedZoneConfig;
use aws_smithy_types::date_time::Format;
use futures::future::{join, join_all, try_join};
use ipnet::Ipv4Net;
use kcl_engine::Attrs;
use kcl_model::resource::Subnet;
use kcl_model::{Facts, HostedZone, ImageFacts, StoreLocation, SubnetFacts, VpcFacts, needed};
use kcl_pki::{JWKS_PATH, OPENID_CONFIGURATION_PATH};
use kcl_spec::cluster::{Cluster, DnsType, Image, IssuerBucket};
use serde::Serialize;

use crate::client::Aws;
use crate::discovery::Seen;
use crate::error::{During, Error, ErrorKind};
use crate::permission::{Ground, Permission};
use crate::store::Location;
use crate::tags::{CLUSTER_TAG, GROUP_TAG};
use crate::{elb, named};

/// Looks up what modelling `cluster` needs. Everything that is missing or may not be read is reported
/// together.
pub async fn facts(aws: &Aws, cluster: &Cluster) -> Result<Facts, Vec<Error>> {
    let needs = needed(cluster);
    let store = store_location(aws);
    let zones =
        async { if needs.dns_names.is_empty() { Ok(Vec::new()) } else { one(hosted_zones(aws).await) } };
    let discovery = async { one(Box::pin(discovery(aws, needs.discovery.as_ref())).await) };
    let network = join(
        join(vpc(aws, needs.vpc.as_deref()), subnets(aws, &needs.subnets)),
        addresses(aws, &needs.addresses),
    );
    // Boxed: together they are more than a stack frame should hold.
    let lookups = Box::pin(join(images(aws, &needs.images), join(join(zones, discovery), network)));
    let (images, ((zones, discovery), network)) = lookups.await;
    let ((vpc, subnets), addresses) = network;
    let mut errors = Vec::new();
    let Discovery { region: issuer_region, is_public: discovery_is_public } = or_note(discovery, &mut errors);
    let facts = Facts {
        partition: aws.partition.clone(),
        account: aws.account.clone(),
        images: or_note(images, &mut errors),
        zones: or_note(zones, &mut errors),
        vpc: or_note(vpc, &mut errors),
        subnets: or_note(subnets, &mut errors),
        addresses: or_note(addresses, &mut errors),
        store,
        // Neither is AWS' to say: whoever plans looks at the files.
        node_agents: BTreeMap::new(),
        asset_hashes: BTreeMap::new(),
        issuer_region,
        discovery_is_public,
        // The model knows those of AWS' own certificates.
        thumbprints: Vec::new(),
    };
    if errors.is_empty() { Ok(facts) } else { Err(errors) }
}

/// What looking things up needs, beside what the kinds themselves read.
pub(crate) fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
    let needs = needed(ground.cluster);
    let parameters = needs.images.iter().filter_map(|image| match image {
        // AWS' own parameters are no account's.
        Image::SsmParameter(path) => {
            Some(ground.arn("ssm", &format!("parameter/{}", path.trim_start_matches('/'))))
        }
        Image::Id(_) | Image::Named { .. } => None,
    });
    [
        Permission::read(&["ec2:DescribeImages"]),
        ground.if_wanted::<Subnet>(Permission::read(&["ec2:DescribeAvailabilityZones"])),
        vec![Permission::new("ImageParameters", &["ssm:GetParameters"], parameters)],
    ]
    .concat()
}

fn one<T>(result: Result<T, Error>) -> Result<T, Vec<Error>> {
    result.map_err(|error| vec![error])
}

fn or_note<T: Default>(result: Result<T, Vec<Error>>, errors: &mut Vec<Error>) -> T {
    result.unwrap_or_else(|more| {
        errors.extend(more);
        T::default()
    })
}

/// Where the state store is, if it is one that machines can read.
fn store_location(aws: &Aws) -> Option<StoreLocation> {
    match Location::parse(&aws.state.as_ref()?.location()).ok()? {
        Location::S3 { bucket, prefix, .. } => Some(StoreLocation { bucket, prefix }),
        Location::File { .. } => None,
    }
}

fn filter(name: &str, values: impl IntoIterator<Item = String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}

fn missing(action: &str, message: String) -> Error {
    Error::new(ErrorKind::NotFound, action, message)
}

// Images.

type Images = BTreeMap<Image, ImageFacts>;

/// Parameters first: they name images. Then one call for all ids and one for all names.
async fn images(aws: &Aws, wanted: &BTreeSet<Image>) -> Result<Images, Vec<Error>> {
    let mut ids: BTreeMap<&Image, String> = BTreeMap::new();
    let mut names: BTreeMap<&Image, (&str, &str)> = BTreeMap::new();
    let mut parameters: BTreeMap<&str, &Image> = BTreeMap::new();
    for image in wanted {
        match image {
            Image::Id(id) => drop(ids.insert(image, id.clone())),
            Image::Named { owner, name } => drop(names.insert(image, (owner, name))),
            Image::SsmParameter(path) => drop(parameters.insert(path, image)),
        }
    }
    let by_id = async {
        let (values, mut errors) = parameter_values(aws, parameters.keys().copied().collect()).await?;
        ids.extend(values.into_iter().filter_map(|(path, id)| Some((*parameters.get(path.as_str())?, id))));
        let (found, more) = by_id(aws, &ids).await?;
        errors.extend(more);
        Ok((found, errors))
    };
    let (mut found, mut errors) = (Images::new(), Vec::new());
    let (by_id, by_name) = join(by_id, by_name(aws, &names)).await;
    for result in [by_id, by_name] {
        match result {
            Ok((images, more)) => {
                found.extend(images);
                errors.extend(more);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// The parameters' values by path, and what is wrong with others. A call takes ten.
async fn parameter_values(
    aws: &Aws,
    paths: Vec<&str>,
) -> Result<(BTreeMap<String, String>, Vec<Error>), Error> {
    const ACTION: &str = "ssm:GetParameters";
    let calls = paths.chunks(10).map(|chunk| async {
        let names = chunk.iter().map(|path| (*path).to_owned()).collect();
        aws.ssm.get_parameters().set_names(Some(names)).send().await.during(ACTION)
    });
    let (mut values, mut errors) = (BTreeMap::new(), Vec::new());
    for answer in join_all(calls).await {
        let answer = answer?;
        for parameter in answer.parameters.unwrap_or_default() {
            if let (Some(path), Some(value)) = (parameter.name, parameter.value) {
                values.insert(path, value);
            }
        }
        for path in answer.invalid_parameters.unwrap_or_default() {
            let message = format!("there is no SSM parameter {path} in {}: image ssm:{path}", aws.region);
            errors.push(missing(ACTION, message));
        }
    }
    Ok((values, errors))
}

const DESCRIBE_IMAGES: &str = "ec2:DescribeImages";

/// By a filter, not by `ImageIds`: one that is missing must not hide the others.
async fn by_id(aws: &Aws, ids: &BTreeMap<&Image, String>) -> Result<(Images, Vec<Error>), Error> {
    let unique: BTreeSet<String> = ids.values().cloned().collect();
    if unique.is_empty() {
        return Ok((Images::new(), Vec::new()));
    }
    // A deprecated image still starts machines.
    let call = aws.ec2.describe_images().include_deprecated(true).filters(filter("image-id", unique));
    let images = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let images = images.during(DESCRIBE_IMAGES)?;
    let found = |id: &String| images.iter().find(|image| image.image_id() == Some(id.as_str()));
    Ok(pick(ids.iter().map(|(image, id)| (*image, found(id))), aws))
}

/// One call for all owners and names; which image is whose is sorted out here.
async fn by_name(aws: &Aws, names: &BTreeMap<&Image, (&str, &str)>) -> Result<(Images, Vec<Error>), Error> {
    if names.is_empty() {
        return Ok((Images::new(), Vec::new()));
    }
    let owners: BTreeSet<String> = names.values().map(|(owner, _)| (*owner).to_owned()).collect();
    let patterns: BTreeSet<String> =
        names.values().flat_map(|(owner, name)| spellings(owner, name)).collect();
    let call = aws.ec2.describe_images().set_owners(Some(owners.into_iter().collect()));
    let call = call.filters(filter("name", patterns)).filters(filter("state", ["available".to_owned()]));
    let images = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let images = images.during(DESCRIBE_IMAGES)?;
    let newest = |owner: &str, pattern: &str| {
        let patterns = spellings(owner, pattern);
        let is_named = |name: &str| patterns.iter().any(|pattern| is_like(name, pattern));
        let fits = |image: &&SdkImage| is_owner(aws, image, owner) && image.name().is_some_and(is_named);
        images.iter().filter(fits).max_by_key(|image| (image.creation_date(), image.image_id()))
    };
    Ok(pick(names.iter().map(|(image, (owner, name))| (*image, newest(owner, name))), aws))
}

/// The names an image of `owner` may have. Canonical's images are all named `ubuntu/images/...`, and kOps' users
/// write that as alias and name at once (`ubuntu/images/...`), in which the alias has eaten the name's beginning.
fn spellings(owner: &str, name: &str) -> Vec<String> {
    const CANONICAL: &str = "099720109477";
    let mut names = vec![name.to_owned()];
    if owner == CANONICAL && !name.starts_with("ubuntu/") {
        names.push(format!("ubuntu/{name}"));
    }
    names
}

fn pick<'a>(
    candidates: impl Iterator<Item = (&'a Image, Option<&'a SdkImage>)>,
    aws: &Aws,
) -> (Images, Vec<Error>) {
    let (mut found, mut errors) = (Images::new(), Vec::new());
    for (wanted, image) in candidates {
        if let Some(facts) = image.and_then(image_facts) {
            found.insert(wanted.clone(), facts);
        } else {
            let message = format!("there is no image {} in {}", spell(wanted), aws.region);
            errors.push(missing(DESCRIBE_IMAGES, message));
        }
    }
    (found, errors)
}

fn image_facts(image: &SdkImage) -> Option<ImageFacts> {
    Some(ImageFacts {
        id: image.image_id()?.to_owned(),
        root_device: image.root_device_name()?.to_owned(),
        architecture: image.architecture()?.as_str().to_owned(),
    })
}

/// An image as the spec spells it.
fn spell(image: &Image) -> String {
    match image {
        Image::Id(id) => id.clone(),
        Image::Named { owner, name } => format!("{owner}/{name}"),
        Image::SsmParameter(path) => format!("ssm:{path}"),
    }
}

fn is_owner(aws: &Aws, image: &SdkImage, owner: &str) -> bool {
    let id = image.owner_id();
    match owner {
        "self" => id == Some(aws.account.as_str()),
        _ => id == Some(owner) || image.image_owner_alias() == Some(owner),
    }
}

/// Whether `name` fits an EC2 filter's pattern: `*` is any text, `?` any one character.
fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    let (mut at, mut in_pattern) = (0, 0);
    // The last star, and up to where it has swallowed the name.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(in_pattern) {
            Some('*') => {
                star = Some((in_pattern, at));
                in_pattern += 1;
            }
            Some(c) if *c == '?' || *c == name[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => {
                let Some((place, swallowed)) = star else { return false };
                star = Some((place, swallowed + 1));
                at = swallowed + 1;
                in_pattern = place + 1;
            }
        }
    }
    pattern[in_pattern..].iter().all(|c| *c == '*')
}

// DNS.

/// All hosted zones of the account.
pub(crate) async fn hosted_zones(aws: &Aws) -> Result<Vec<HostedZone>, Error> {
    let zones = aws.route53.list_hosted_zones().into_paginator().items().send();
    let zones = zones.collect::<Result<Vec<_>, _>>().await.during("route53:ListHostedZones")?;
    let zones = zones.into_iter().map(|zone| HostedZone {
        id: zone.id().trim_start_matches("/hostedzone/").to_owned(),
        name: zone.name().to_owned(),
        private: zone.config().is_some_and(HostedZoneConfig::private_zone),
    });
    Ok(zones.collect())
}

// Network.

async fn vpc(aws: &Aws, id: Option<&str>) -> Result<Option<VpcFacts>, Vec<Error>> {
    let Some(id) = id else { return Ok(None) };
    let vpcs = async {
        let call = aws.ec2.describe_vpcs().filters(filter("vpc-id", [id.to_owned()]));
        call.send().await.during("ec2:DescribeVpcs")
    };
    let gateways = async {
        let attached = filter("attachment.vpc-id", [id.to_owned()]);
        let call = aws.ec2.describe_internet_gateways().filters(attached);
        call.send().await.during("ec2:DescribeInternetGateways")
    };
    let (vpcs, gateways) = one(try_join(vpcs, gateways).await)?;
    let Some(vpc) = vpcs.vpcs().first() else {
        let message = format!("there is no VPC {id} in {}", aws.region);
        return Err(vec![missing("ec2:DescribeVpcs", message)]);
    };
    let primary = vpc.cidr_block();
    let associated = vpc.cidr_block_association_set().iter().filter(|association| {
        let state = association.cidr_block_state().and_then(|state| state.state());
        state.is_none_or(|state| state.as_str() == "associated")
    });
    let others = associated.filter_map(|it| it.cidr_block()).filter(|cidr| Some(*cidr) != primary);
    let gateway = gateways.internet_gateways().first().and_then(|it| it.internet_gateway_id());
    Ok(Some(VpcFacts {
        id: id.to_owned(),
        cidrs: primary.into_iter().chain(others).filter_map(|cidr| cidr.parse().ok()).collect(),
        internet_gateway: gateway.map(str::to_owned),
    }))
}

async fn subnets(aws: &Aws, ids: &BTreeSet<String>) -> Result<BTreeMap<String, SubnetFacts>, Vec<Error>> {
    const ACTION: &str = "ec2:DescribeSubnets";
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let call = aws.ec2.describe_subnets().filters(filter("subnet-id", ids.iter().cloned()));
    let subnets = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let subnets = one(subnets.during(ACTION))?;
    let found: BTreeMap<String, SubnetFacts> = subnets
        .iter()
        .filter_map(|subnet| {
            let cidr: Ipv4Net = subnet.cidr_block()?.parse().ok()?;
            let (vpc, zone) = (subnet.vpc_id()?.to_owned(), subnet.availability_zone()?.to_owned());
            Some((subnet.subnet_id()?.to_owned(), SubnetFacts { vpc, zone, cidr }))
        })
        .collect();
    let lost = ids.iter().filter(|id| !found.contains_key(*id));
    let lost: Vec<Error> =
        lost.map(|id| missing(ACTION, format!("there is no subnet {id} in {}", aws.region))).collect();
    if lost.is_empty() { Ok(found) } else { Err(lost) }
}

async fn addresses(aws: &Aws, wanted: &BTreeSet<Ipv4Addr>) -> Result<BTreeMap<Ipv4Addr, String>, Vec<Error>> {
    const ACTION: &str = "ec2:DescribeAddresses";
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let values = wanted.iter().map(ToString::to_string);
    let answer = aws.ec2.describe_addresses().filters(filter("public-ip", values)).send().await;
    let answer = one(answer.during(ACTION))?;
    let found: BTreeMap<Ipv4Addr, String> = answer
        .addresses()
        .iter()
        .filter_map(|it| Some((it.public_ip()?.parse().ok()?, it.allocation_id()?.to_owned())))
        .collect();
    let lost = wanted.iter().filter(|address| !found.contains_key(*address));
    let lost: Vec<Error> = lost
        .map(|address| missing(ACTION, format!("no Elastic IP {address} is allocated in {}", aws.region)))
        .collect();
    if lost.is_empty() { Ok(found) } else { Err(lost) }
}

/// Checks that the region has these zones and lets the account use them; only worth a call where subnets are
/// to be made.
pub async fn check_zones(aws: &Aws, zones: &[&str]) -> Result<(), Vec<Error>> {
    const ACTION: &str = "ec2:DescribeAvailabilityZones";
    let answer = one(aws.ec2.describe_availability_zones().send().await.during(ACTION))?;
    let known: BTreeSet<&str> = answer.availability_zones().iter().filter_map(|it| it.zone_name()).collect();
    let unknown = zones.iter().filter(|zone| !known.contains(*zone));
    let list = || known.iter().copied().collect::<Vec<_>>().join(", ");
    let errors: Vec<Error> = unknown
        .map(|zone| {
            missing(ACTION, format!("{} has no zone {zone} for this account, but {}", aws.region, list()))
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

// S3.

/// Where the OIDC documents are, or will be.
#[derive(Default)]
struct Discovery {
    /// The bucket's region, where there is one.
    region: Option<String>,
    /// Anybody can read them already.
    is_public: bool,
}

/// Looks for the OIDC documents as IAM will. What is read here is not read again in the same run.
async fn discovery(aws: &Aws, bucket: Option<&IssuerBucket>) -> Result<Discovery, Error> {
    let Some(place) = bucket else { return Ok(Discovery::default()) };
    let name = &place.name;
    let [configuration, jwks] = [OPENID_CONFIGURATION_PATH, JWKS_PATH].map(|path| place.key(path));
    let ((first, region), (second, _)) =
        Box::pin(try_join(aws.public.read(name, &configuration), aws.public.read(name, &jwks))).await?;
    let is_public = [&first, &second].iter().all(|seen| matches!(seen, Seen::Document(_)));
    // Whoever reads without credentials is told where a bucket is only by where it answers. Where the document that
    // answered says the same, that is certain; else it is asked for.
    let is_certain = is_public && region.as_deref().is_some_and(|region| first.names(name, region));
    let region = if is_certain { region } else { Box::pin(crate::discovery::region(aws, name)).await? };
    Ok(Discovery { region, is_public })
}

// The API.

/// The URL that clients reach the cluster's API at; `None` where its load balancer is not there yet.
pub async fn api_url(aws: &Aws, cluster: &Cluster) -> Result<Option<String>, Error> {
    let zones = async {
        match cluster.network.dns {
            DnsType::None => Ok(Vec::new()),
            DnsType::Public | DnsType::Private => hosted_zones(aws).await,
        }
    };
    let (zones, known) = Box::pin(try_join(zones, api_load_balancer(aws, &cluster.name))).await?;
    Ok(kcl_model::api_url(cluster, &zones, &known))
}

/// The URL at which kcl itself looks for the API; `None` where its load balancer is not there yet.
pub async fn own_api_url(aws: &Aws, cluster: &Cluster) -> Result<Option<String>, Error> {
    let known = match &cluster.api.load_balancer {
        Some(_) => api_load_balancer(aws, &cluster.name).await?,
        None => BTreeMap::new(),
    };
    Ok(kcl_model::own_api_url(cluster, &[], &known))
}

/// What AWS calls the load balancer in front of the cluster's API, by our name of it; empty where there is none.
async fn api_load_balancer(aws: &Aws, cluster: &str) -> Result<BTreeMap<String, Attrs>, Error> {
    let (id, name) = kcl_model::api_load_balancer(cluster);
    let host = load_balancer_host(aws, &name).await?;
    let attrs = host.map(|host| named::attrs([("dns_name", Some(host.as_str()))]));
    Ok(attrs.into_iter().map(|attrs| (id.to_string(), attrs)).collect())
}

/// The DNS name of the load balancer that AWS knows by this name; `None` where there is none.
pub async fn load_balancer_host(aws: &Aws, name: &str) -> Result<Option<String>, Error> {
    let found = elb::by_name(aws, &[name.to_owned()]).await?.pop();
    Ok(found.and_then(|found| found.dns_name.as_deref().map(elb::dns_name)))
}

// Machines.

/// One machine of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceRow {
    /// `i-...`
    pub id: String,
    /// The instance group's name.
    pub group: Option<String>,
    /// The instance type.
    pub machine_type: String,
    /// The availability zone.
    pub zone: String,
    /// `pending`, `running`, `shutting-down`, `stopping` or `stopped`.
    pub state: String,
    /// The private IPv4 address.
    pub private_ip: Option<String>,
    /// The public IPv4 address.
    pub public_ip: Option<String>,
    /// `spot` or `on-demand`.
    pub lifecycle: &'static str,
    /// When it was started, as RFC 3339.
    pub launched: Option<String>,
    /// The version of the launch template it was made from.
    pub template_version: Option<String>,
}

/// The cluster's machines that are not terminated, by group and id.
pub async fn instances(aws: &Aws, cluster: &str) -> Result<Vec<InstanceRow>, Error> {
    const STATES: [&str; 5] = ["pending", "running", "shutting-down", "stopping", "stopped"];
    let call =
        aws.ec2.describe_instances().filters(filter(&format!("tag:{CLUSTER_TAG}"), [cluster.to_owned()]));
    let call = call.filters(filter("instance-state-name", STATES.map(str::to_owned)));
    let reservations = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let reservations = reservations.during("ec2:DescribeInstances")?;
    let machines = reservations.iter().flat_map(Reservation::instances);
    let mut rows: Vec<InstanceRow> = machines.filter_map(row).collect();
    rows.sort_by(|a, b| (&a.group, &a.id).cmp(&(&b.group, &b.id)));
    Ok(rows)
}

fn row(machine: &Instance) -> Option<InstanceRow> {
    let tag = |key: &str| {
        let tag = machine.tags().iter().find(|tag| tag.key() == Some(key));
        tag.and_then(Tag::value).map(str::to_owned)
    };
    let launched = machine.launch_time().and_then(|time| time.fmt(Format::DateTime).ok());
    let state = machine.state().and_then(|state| state.name());
    let is_spot = machine.instance_lifecycle().is_some_and(|lifecycle| lifecycle.as_str() == "spot");
    Some(InstanceRow {
        id: machine.instance_id()?.to_owned(),
        group: tag(GROUP_TAG),
        machine_type: machine.instance_type().map(|it| it.as_str().to_owned()).unwrap_or_default(),
        zone: machine.placement().and_then(|it| it.availability_zone()).unwrap_or_default().to_owned(),
        state: state.map(|it| it.as_str().to_owned()).unwrap_or_default(),
        private_ip: machine.private_ip_address().map(str::to_owned),
        public_ip: machine.public_ip_address().map(str::to_owned),
        lifecycle: if is_spot { "spot" } else { "on-demand" },
        launched,
        template_version: tag("aws:ec2launchtemplate:version"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kcl_model::HostedZone;
    use kcl_spec::cluster::Image;

    use super::*;
    use crate::testing::{self, CLUSTER, World};

    const AL2023: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";

    #[test]
    fn patterns() {
        let ubuntu = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260801";
        assert!(is_like(ubuntu, "ubuntu/images/*-24.04-amd64-server-*"));
        assert!(is_like(ubuntu, "*"));
        assert!(is_like(ubuntu, ubuntu));
        assert!(!is_like(ubuntu, "ubuntu/images/*-24.04-arm64-server-*"));
        assert!(!is_like(ubuntu, "ubuntu"));
        assert!(is_like("al2023-ami-1", "al2023-ami-?"));
        assert!(!is_like("al2023-ami-", "al2023-ami-?"));
        assert!(is_like("", "**") && !is_like("", "?"));
    }

    #[tokio::test]
    async fn images_by_parameter_id_and_name_take_three_calls() {
        let world = World::start().await;
        let parameter = Image::SsmParameter(AL2023.to_owned());
        let found = images(&world.aws, &BTreeSet::from([parameter.clone()])).await.expect("it is found");
        let facts = &found[&parameter];
        assert_eq!((facts.root_device.as_str(), facts.architecture.as_str()), ("/dev/xvda", "x86_64"));
        let id = Image::Id(facts.id.clone());
        let name = Image::Named { owner: "amazon".to_owned(), name: "al2023-ami-2*-x86_64".to_owned() };
        world.local.take_calls();
        let all = BTreeSet::from([parameter, id.clone(), name.clone()]);
        let found = images(&world.aws, &all).await.expect("all are found");
        assert_eq!(found[&id].id, facts.id);
        assert_eq!(found[&name].architecture, "x86_64");
        assert_eq!(world.local.calls().len(), 3);
    }

    #[tokio::test]
    async fn every_missing_image_is_named() {
        let world = World::start().await;
        let wanted = BTreeSet::from([
            Image::Id("ami-0badbadbadbadbad0".to_owned()),
            Image::Named { owner: "self".to_owned(), name: "mine".to_owned() },
            Image::SsmParameter("/nothing/here".to_owned()),
        ]);
        let errors = images(&world.aws, &wanted).await.unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(errors.len(), 3, "{text}");
        for name in ["ami-0badbadbadbadbad0", "self/mine", "ssm:/nothing/here"] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[tokio::test]
    async fn zones() {
        let world = World::start().await;
        check_zones(&world.aws, &["eu-north-1a", "eu-north-1b"]).await.expect("they are there");
        let errors = check_zones(&world.aws, &["eu-north-1a", "eu-north-1x"]).await.unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].message.contains("eu-north-1x") && errors[0].message.contains("eu-north-1c"));
    }

    #[tokio::test]
    async fn zones_of_names() {
        let world = World::start().await;
        let call = world.aws.route53.create_hosted_zone().name("example.org.").caller_reference("1");
        call.send().await.expect("a zone is made");
        let zones = hosted_zones(&world.aws).await.expect("they are listed");
        let [HostedZone { id, name, private }] = zones.as_slice() else { panic!("{zones:?}") };
        assert!(!id.contains('/'));
        assert_eq!((name.as_str(), *private), ("example.org.", false));
    }

    #[tokio::test]
    async fn shared_networks() {
        let world = World::start().await;
        world.reach(&testing::network("a")).await;
        let live = world.live(&testing::network("a"), crate::Depth::Preview).await;
        let id = |kind: &str| {
            let node = live.iter().find(|node| node.id.kind.as_str() == kind).expect("it is there");
            node.attrs["id"].clone()
        };
        let found = vpc(&world.aws, Some(&id("vpc"))).await.expect("it is found").expect("it is found");
        assert_eq!(found.internet_gateway, Some(id("internet-gateway")));
        assert_eq!(found.cidrs, ["10.0.0.0/16".parse().expect("a range")]);
        let ids = BTreeSet::from([id("subnet"), "subnet-0badbadbad".to_owned()]);
        let errors = subnets(&world.aws, &ids).await.unwrap_err();
        assert!(errors[0].message.contains("subnet-0badbadbad"));
        let found = subnets(&world.aws, &BTreeSet::from([id("subnet")])).await.expect("it is found");
        assert_eq!(found[&id("subnet")].zone, "eu-north-1a");
        let errors = vpc(&world.aws, Some("vpc-0badbadbad")).await.unwrap_err();
        assert!(errors[0].message.contains("vpc-0badbadbad"));
    }

    #[tokio::test]
    async fn machines() {
        let world = World::start().await;
        let name = format!("nodes.{CLUSTER}");
        let mut wanted = testing::network("a");
        testing::add(&mut wanted, &name, &testing::launch_template(&name));
        testing::add(&mut wanted, &name, &testing::auto_scaling_group(&name));
        world.reach(&wanted).await;
        let rows = instances(&world.aws, CLUSTER).await.expect("they are listed");
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.group.as_deref(), row.machine_type.as_str()), (Some("nodes"), "t3.micro"));
        assert_eq!((row.zone.as_str(), row.state.as_str()), ("eu-north-1a", "running"));
        assert!(row.launched.is_some() && row.private_ip.is_some());
    }
}
