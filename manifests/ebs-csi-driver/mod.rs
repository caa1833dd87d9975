//! The EBS CSI driver: volumes for pods, and the StorageClass that they have by default.
//!
//! Without snapshots: their custom resources come with a controller that kcl does not install.

use std::collections::BTreeMap;

use kcl_spec::cluster::Container;
use serde::Serialize;
use serde_json::{Value, json};

use crate::iam::{anything, change_owned, create_tagged, tag_created};
use crate::pods::{Access, control_plane_replicas, resources};
use crate::template::{self, Template, template};
use crate::{Addon, Error, Identity, Inputs, images};

pub(crate) const ADDON: Addon = Addon { name: "ebs-csi-driver", objects, identity };

const DRIVER: Template = template!("ebs-csi-driver/driver.yaml");

const NAMESPACE: &str = "kube-system";
/// Of the controller. The pods on nodes call nothing of AWS.
const SERVICE_ACCOUNT: &str = "ebs-csi-controller-sa";

const CLUSTER_TAG: &str = "KubernetesCluster";
/// EC2 takes 50 tags of a volume. Seven are the driver's: `Name`, `CSIVolumeName`, its own mark, the cluster's, and
/// those of the volume, the claim and its namespace.
const MOST_TAGS: usize = 50 - 7;

#[derive(Serialize)]
struct Values<'a> {
    image: String,
    provisioner: String,
    attacher: String,
    resizer: String,
    registrar: String,
    liveness_probe: String,
    access: Access,
    region: &'a str,
    cluster: &'a str,
    /// Tags of volumes: `key=value`, comma separated.
    tags: String,
    replicas: u32,
    volume_attach_limit: Option<u32>,
    controller_annotations: BTreeMap<String, String>,
    pod_annotations: &'a BTreeMap<String, String>,
    storage_classes: bool,
    resources: Value,
    sidecar_resources: Value,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let Some(wish) = &inputs.cluster.addons.ebs_csi_driver else { return Ok(Vec::new()) };
    let pinned = |image| images::pinned(inputs.cluster, image);
    let access = Access::of(inputs, NAMESPACE, SERVICE_ACCOUNT);
    let values = Values {
        image: images::of(inputs.cluster, &wish.container, images::EBS_CSI_DRIVER),
        provisioner: pinned(images::CSI_PROVISIONER),
        attacher: pinned(images::CSI_ATTACHER),
        resizer: pinned(images::CSI_RESIZER),
        registrar: pinned(images::CSI_NODE_DRIVER_REGISTRAR),
        liveness_probe: pinned(images::CSI_LIVENESS_PROBE),
        region: &inputs.cluster.region,
        cluster: &inputs.cluster.name,
        tags: tags(inputs),
        replicas: control_plane_replicas(inputs.cluster),
        volume_attach_limit: wish.volume_attach_limit,
        controller_annotations: access.annotations(&wish.pod_annotations),
        access,
        pod_annotations: &wish.pod_annotations,
        storage_classes: wish.storage_classes,
        resources: resources(&wish.container, "10m", "40Mi"),
        sidecar_resources: resources(&Container::default(), "5m", "20Mi"),
    };
    template::objects(&DRIVER, &values)
}

/// The cluster's tag, on which the driver's permissions hang, and the user's own.
///
/// By `--k8s-tag-cluster-id` the driver itself says whose a volume is (`kubernetes.io/cluster/<name>` and
/// `KubernetesCluster`): so it is found when its cluster is deleted.
fn tags(inputs: &Inputs<'_>) -> String {
    let labels = inputs.cluster.cloud_labels.iter().map(|(key, value)| (key.trim(), value.as_str()));
    let labels = labels.filter(|(key, value)| *key != CLUSTER_TAG && is_taken(key, value));
    let own = (CLUSTER_TAG, inputs.cluster.name.as_str());
    let tags: Vec<String> = std::iter::once(own)
        .chain(labels)
        .take(MOST_TAGS)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    tags.join(",")
}

/// With a tag that it does not take the driver does not start. The flag knows no escapes.
fn is_taken(key: &str, value: &str) -> bool {
    const RESERVED: [&str; 3] = ["CSIVolumeName", "CSIVolumeSnapshotName", "ebs.csi.aws.com/cluster"];
    const RESERVED_STARTS: [&str; 2] = ["aws:", "kubernetes.io"];
    // The driver counts bytes.
    let fits = (1..=128).contains(&key.len()) && value.len() <= 256;
    let is_reserved =
        RESERVED.contains(&key) || RESERVED_STARTS.iter().any(|reserved| key.starts_with(reserved));
    fits && !is_reserved && !key.contains([',', '=']) && !value.contains(',')
}

fn identity(inputs: &Inputs<'_>) -> Option<Identity> {
    inputs.cluster.addons.ebs_csi_driver.as_ref()?;
    let mut statements = vec![
        anything(&[
            "ec2:DescribeAvailabilityZones",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeInstances",
            "ec2:DescribeTags",
            "ec2:DescribeVolumeStatus",
            "ec2:DescribeVolumes",
            "ec2:DescribeVolumesModifications",
        ]),
        change_owned(
            inputs,
            &["ec2:AttachVolume", "ec2:DeleteVolume", "ec2:DetachVolume", "ec2:ModifyVolume"],
        ),
        create_tagged(inputs, &["ec2:CopyVolumes", "ec2:CreateVolume"]),
    ];
    statements.extend(tag_created(inputs, &["volume"], &["CopyVolumes", "CreateVolume"]));
    statements.extend(use_keys(inputs));
    Some(Identity { namespace: NAMESPACE, service_account: SERVICE_ACCOUNT, statements })
}

/// Encrypted volumes, whatever their key.
fn use_keys(inputs: &Inputs<'_>) -> [Value; 2] {
    let ec2 = format!("ec2.{}.{}", inputs.cluster.region, inputs.dns_suffix());
    let mut grant = anything(&["kms:CreateGrant"]);
    grant["Condition"] = json!({ "Bool": { "kms:GrantIsForAWSResource": "true" } });
    let mut through_ec2 = anything(&[
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey*",
        "kms:ReEncrypt*",
    ]);
    through_ec2["Condition"] = json!({ "StringLike": { "kms:ViaService": ec2 } });
    [grant, through_ec2]
}
