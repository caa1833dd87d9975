//! What machines may do: the policies of their roles.
//!
//! kOps' policies, less what only kOps' own components need. A control-plane machine has the permissions of
//! what runs there: the node agent, and as long as they have no roles of their own the cloud controller, the EBS
//! driver, the cluster autoscaler, the termination handler. A node reads its own configuration, and little else.

use std::collections::BTreeSet;

use kcl_engine::Json;
use kcl_spec::cluster::{DnsType, PodNetwork};
use serde_json::{Value, json};

use crate::builder::Builder;
use crate::facts::StoreLocation;
use crate::policy::{allow, allow_if, document};
use crate::statements::{REQUEST_TAG, RESOURCE_TAG, Statements};
use crate::{dns, kubernetes};

/// What the node agent reads of the state store on every machine: itself, what it is told, and whether there is a cluster
/// to join already. Who looks its name up before hears for a quarter of an hour that there is none.
const READ_BY_NODES: [&str; 3] = ["control-plane/initialized.json", "kcl-node/*", "node/*"];

/// Where each machine says how far it is.
const STATUS: &str = "status/*";

/// What control-plane machines write beside backups: who runs which member, whether the cluster was begun, how a
/// restore goes, and how far they are.
const WRITTEN_BY_CONTROL_PLANES: [&str; 2] = ["control-plane/*", STATUS];

/// Objects by which control-plane machines find out that the store honours conditions.
const TRIED_OUT: &str = "control-plane/conditions/*";

/// What the node agent reads on the control plane: its own volume, and who the machines are that want to join.
const OWN: &[&str] = &[
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    "ec2:DescribeTags",
    "ec2:DescribeVolumes",
];

/// Pulling images from ECR.
const REGISTRY: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:DescribeRepositories",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "ecr:GetRepositoryPolicy",
    "ecr:ListImages",
];

/// Giving pods addresses of the VPC.
const VPC_CNI: &[&str] = &[
    "ec2:AssignPrivateIpAddresses",
    "ec2:AttachNetworkInterface",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DescribeTags",
    "ec2:DetachNetworkInterface",
    "ec2:ModifyNetworkInterfaceAttribute",
    "ec2:UnassignPrivateIpAddresses",
];

/// The policy of control-plane machines.
pub(crate) fn control_plane(builder: &Builder<'_>) -> Json {
    let cluster = builder.cluster;
    let mut statements = Statements::of(&cluster.name);
    statements.keep([attach_etcd_volume(builder.name())]);
    if let Some(store) = &builder.facts.store {
        statements.keep(read_and_back_up(builder, store));
        let written = WRITTEN_BY_CONTROL_PLANES.map(|path| object_arn(builder, store, path));
        let tried_out = object_arn(builder, store, TRIED_OUT);
        statements.keep([
            allow(&["s3:PutObject"], &written),
            allow(&["s3:DeleteObject", "s3:DeleteObjectVersion"], &[tried_out]),
        ]);
    }
    if cluster.network.dns != DnsType::None {
        statements.keep(publish_names(builder));
    }
    let addons_have_roles = kubernetes::have_roles(cluster);
    if !addons_have_roles {
        statements.keep(tag_created(builder, &["snapshot", "volume"], &["CopyVolumes", "CreateVolume"]));
        statements.keep(tag_created(builder, &["security-group"], &["CreateSecurityGroup"]));
        // A security group is made in a VPC, and VPCs know no request tag.
        statements.keep_last(allow(&["ec2:CreateSecurityGroup"], &[ec2_arn(builder, "vpc")]));
    }
    statements.keep(use_keys(builder));
    if !addons_have_roles {
        of_addons(builder, &mut statements);
    }
    statements.keep(tag_interfaces(builder));
    statements.read(OWN.iter().copied().chain(of_every_machine(builder)));
    statements.document()
}

/// What addons do runs on the control plane. kOps lets it do what the cloud controller, the EBS driver and the
/// autoscaler do whether or not they are its own: a user's may run there as well.
fn of_addons(builder: &Builder<'_>, statements: &mut Statements) {
    let mut cluster = builder.cluster.clone();
    let addons = &mut cluster.addons;
    addons.cloud_controller_manager.get_or_insert_default();
    addons.ebs_csi_driver.get_or_insert_default();
    addons.cluster_autoscaler.get_or_insert_default();
    let identities = kubernetes::identities(&cluster, builder.facts);
    identities.iter().flat_map(|addon| &addon.statements).for_each(|statement| statements.merge(statement));
    statements.read(["kms:DescribeKey"]);
}

/// The policy of nodes; `None` where they may do nothing.
pub(crate) fn node(builder: &Builder<'_>) -> Option<Json> {
    let mut statements = Vec::new();
    if let Some(store) = &builder.facts.store {
        statements
            .push(allow(&["s3:GetObject"], &READ_BY_NODES.map(|path| object_arn(builder, store, path))));
        statements.push(allow(&["s3:PutObject"], &[object_arn(builder, store, STATUS)]));
        // Objects that are encrypted with a key of the account's are read and written through S3 alone.
        if let Some(key) = &builder.cluster.state_store.kms_key {
            statements.push(use_state_key(builder, key));
        }
    }
    let actions = of_every_machine(builder);
    if !actions.is_empty() {
        statements.push(allow(&list(&actions), &anything()));
    }
    statements.extend(tag_interfaces(builder));
    (!statements.is_empty()).then(|| document(&statements))
}

fn list<'a>(actions: &BTreeSet<&'a str>) -> Vec<&'a str> {
    actions.iter().copied().collect()
}

fn anything() -> [String; 1] {
    ["*".to_owned()]
}

fn ec2_arn(builder: &Builder<'_>, kind: &str) -> String {
    format!("arn:{}:ec2:*:*:{kind}/*", builder.facts.partition)
}

fn object_arn(builder: &Builder<'_>, store: &StoreLocation, key: &str) -> String {
    format!("arn:{}:s3:::{}/{}/{key}", builder.facts.partition, store.bucket, store.folder(builder.name()))
}

/// What the spec lets every machine do.
fn of_every_machine(builder: &Builder<'_>) -> BTreeSet<&'static str> {
    let mut actions = BTreeSet::new();
    if builder.cluster.iam.allow_container_registry {
        actions.extend(REGISTRY);
    }
    if builder.cluster.network.pod_network == PodNetwork::AmazonVpc {
        actions.extend(VPC_CNI);
    }
    actions
}

fn tag_interfaces(builder: &Builder<'_>) -> Option<Value> {
    let vpc_cni = builder.cluster.network.pod_network == PodNetwork::AmazonVpc;
    vpc_cni.then(|| allow(&["ec2:CreateTags"], &[ec2_arn(builder, "network-interface")]))
}

/// A member's volume moves to the machine that takes its place; both carry these tags.
fn attach_etcd_volume(cluster: &str) -> Value {
    let condition = json!({ "StringEquals": {
        RESOURCE_TAG: cluster,
        "aws:ResourceTag/k8s.io/role/master": "1",
    } });
    allow_if(&["ec2:AttachVolume", "ec2:DetachVolume"], &anything(), &condition)
}

fn read_and_back_up(builder: &Builder<'_>, store: &StoreLocation) -> [Value; 3] {
    const BUCKET: [&str; 4] =
        ["s3:GetBucketLocation", "s3:GetEncryptionConfiguration", "s3:ListBucket", "s3:ListBucketVersions"];
    const BACKUP: [&str; 4] = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"];
    [
        allow(&["s3:Get*"], &[object_arn(builder, store, "*")]),
        allow(&BACKUP, &[object_arn(builder, store, "backups/etcd/main/*")]),
        allow(&BUCKET, &[format!("arn:{}:s3:::{}", builder.facts.partition, store.bucket)]),
    ]
}

/// Control-plane machines publish the API's internal name, and without a load balancer the public one.
fn publish_names(builder: &Builder<'_>) -> Vec<Value> {
    const RECORDS: [&str; 3] =
        ["route53:ChangeResourceRecordSets", "route53:GetHostedZone", "route53:ListResourceRecordSets"];
    let arn = |rest: &str| format!("arn:{}:route53:::{rest}", builder.facts.partition);
    let zones: Vec<String> =
        dns::api_zones(builder).into_iter().map(|id| arn(&format!("hostedzone/{id}"))).collect();
    if zones.is_empty() {
        return Vec::new();
    }
    vec![
        allow(&RECORDS, &zones),
        allow(&["route53:GetChange"], &[arn("change/*")]),
        allow(&["route53:ListHostedZones", "route53:ListTagsForResource"], &anything()),
    ]
}

/// Tags may be put on what is being made, and changed on what is the cluster's already, but a tag that
/// makes something else the cluster's may not.
fn tag_created(builder: &Builder<'_>, kinds: &[&str], actions: &[&str]) -> [Value; 2] {
    let resources: Vec<String> = kinds.iter().map(|kind| ec2_arn(builder, kind)).collect();
    let name = builder.name();
    let creating = json!({ "StringEquals": { REQUEST_TAG: name, "ec2:CreateAction": actions } });
    let owned = json!({ "Null": { REQUEST_TAG: "true" }, "StringEquals": { RESOURCE_TAG: name } });
    [
        allow_if(&["ec2:CreateTags"], &resources, &creating),
        allow_if(&["ec2:CreateTags", "ec2:DeleteTags"], &resources, &owned),
    ]
}

/// The key of the state store, for what nodes read and write there.
fn use_state_key(builder: &Builder<'_>, key: &str) -> Value {
    let suffix = builder.facts.dns_suffix();
    let via = json!({ "StringLike": { "kms:ViaService": format!("s3.*.{suffix}") } });
    let key = if key.starts_with("arn:") { key.to_owned() } else { "*".to_owned() };
    allow_if(&["kms:Decrypt", "kms:GenerateDataKey"], &[key], &via)
}

/// Encrypted volumes and objects, whatever their key.
fn use_keys(builder: &Builder<'_>) -> [Value; 2] {
    const USE: [&str; 5] =
        ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"];
    let suffix = builder.facts.dns_suffix();
    let services = [format!("ec2.{}.{suffix}", builder.cluster.region), format!("s3.*.{suffix}")];
    let grant = json!({ "Bool": { "kms:GrantIsForAWSResource": "true" } });
    let via = json!({ "StringLike": { "kms:ViaService": services } });
    [allow_if(&["kms:CreateGrant"], &anything(), &grant), allow_if(&USE, &anything(), &via)]
}
