//! The cluster autoscaler: grows and shrinks groups of nodes between their sizes.

use std::collections::BTreeMap;

use kcl_spec::cluster::{ClusterAutoscaler, Role};
use serde::Serialize;
use serde_json::{Value, json};

use crate::iam::{anything, change_owned};
use crate::pods::{Access, control_plane_replicas, resources};
use crate::template::{self, Template, template};
use crate::{Addon, Error, Identity, Inputs, images};

pub(crate) const ADDON: Addon = Addon { name: "cluster-autoscaler", objects, identity };

const AUTOSCALER: Template = template!("cluster-autoscaler/autoscaler.yaml");

const NAMESPACE: &str = "kube-system";
const SERVICE_ACCOUNT: &str = "cluster-autoscaler";

#[derive(Serialize)]
struct Values<'a> {
    image: String,
    access: Access,
    region: &'a str,
    arguments: Vec<String>,
    /// What the priority expander reads; `None`: another one chooses.
    priorities: Option<String>,
    replicas: u32,
    annotations: BTreeMap<String, String>,
    resources: Value,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let Some(wish) = &inputs.cluster.addons.cluster_autoscaler else { return Ok(Vec::new()) };
    let access = Access::of(inputs, NAMESPACE, SERVICE_ACCOUNT);
    let values = Values {
        image: images::of(inputs.cluster, &wish.container, images::CLUSTER_AUTOSCALER),
        region: &inputs.cluster.region,
        arguments: options(wish).into_iter().chain(groups(inputs)).collect(),
        priorities: (!wish.priorities.is_empty()).then(|| priorities(wish)),
        replicas: control_plane_replicas(inputs.cluster),
        annotations: access.annotations(&wish.pod_annotations),
        access,
        resources: resources(&wish.container, "50m", "128Mi"),
    };
    template::objects(&AUTOSCALER, &values)
}

fn options(wish: &ClusterAutoscaler) -> Vec<String> {
    let ClusterAutoscaler {
        container: _,
        expander,
        balance_similar_node_groups,
        skip_nodes_with_system_pods,
        skip_nodes_with_local_storage,
        skip_nodes_with_custom_controller_pods,
        ignore_daemon_sets_utilization,
        scale_down_utilization_threshold,
        new_pod_scale_up_delay,
        scale_down_delay_after_add,
        scale_down_unneeded_time,
        scale_down_unready_time,
        max_node_provision_time,
        cordon_node_before_terminating,
        pod_annotations: _,
        priorities: _,
    } = wish;
    let mut options = vec![
        format!("--expander={expander}"),
        format!("--balance-similar-node-groups={balance_similar_node_groups}"),
        format!("--skip-nodes-with-system-pods={skip_nodes_with_system_pods}"),
        format!("--skip-nodes-with-local-storage={skip_nodes_with_local_storage}"),
        format!("--scale-down-utilization-threshold={scale_down_utilization_threshold}"),
        format!("--new-pod-scale-up-delay={new_pod_scale_up_delay}"),
        format!("--scale-down-delay-after-add={scale_down_delay_after_add}"),
        format!("--scale-down-unneeded-time={scale_down_unneeded_time}"),
        format!("--scale-down-unready-time={scale_down_unready_time}"),
        format!("--max-node-provision-time={max_node_provision_time}"),
        format!("--cordon-node-before-terminating={cordon_node_before_terminating}"),
    ];
    if let Some(skip) = skip_nodes_with_custom_controller_pods {
        options.push(format!("--skip-nodes-with-custom-controller-pods={skip}"));
    }
    if let Some(ignore) = ignore_daemon_sets_utilization {
        options.push(format!("--ignore-daemonsets-utilization={ignore}"));
    }
    options
}

/// Named one by one, as kOps does it: what is scaled is known from the spec, and nothing need be searched by
/// tags.
fn groups(inputs: &Inputs<'_>) -> impl Iterator<Item = String> {
    let cluster = inputs.cluster;
    let groups = cluster.groups(Role::Node).filter(|group| group.autoscale);
    groups
        .map(|group| format!("--nodes={}:{}:{}.{}", group.min_size, group.max_size, group.name, cluster.name))
}

/// The keys are numbers, as only YAML has them; a list is JSON.
fn priorities(wish: &ClusterAutoscaler) -> String {
    let numbered = wish.priorities.iter();
    let numbered =
        numbered.filter_map(|(priority, patterns)| Some((priority.parse::<i64>().ok()?, patterns)));
    let sorted: BTreeMap<i64, &Vec<String>> = numbered.collect();
    let lines: Vec<String> =
        sorted.iter().map(|(key, patterns)| format!("{key}: {}\n", json!(patterns))).collect();
    lines.concat()
}

fn identity(inputs: &Inputs<'_>) -> Option<Identity> {
    inputs.cluster.addons.cluster_autoscaler.as_ref()?;
    let statements = vec![
        anything(&[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeAutoScalingInstances",
            "autoscaling:DescribeLaunchConfigurations",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:DescribeTags",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:GetInstanceTypesFromInstanceRequirements",
        ]),
        change_owned(
            inputs,
            &["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"],
        ),
    ];
    Some(Identity { namespace: NAMESPACE, service_account: SERVICE_ACCOUNT, statements })
}
