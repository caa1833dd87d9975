//! The AWS cloud controller manager: tells Kubernetes about machines, removes nodes whose machine is gone, and
//! makes load balancers for Services.
//!
//! It runs on the control plane's own network: until it has seen a node, nothing else can run there.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::iam::{anything, change_owned, create_tagged, ec2_arn, tag_created, tag_created_balancers};
use crate::pods::{Access, resources};
use crate::template::{self, Template, template};
use crate::{Addon, Error, Identity, Inputs, images};

pub(crate) const ADDON: Addon = Addon { name: "cloud-controller-manager", objects, identity };

const MANAGER: Template = template!("cloud-controller-manager/manager.yaml");

const NAMESPACE: &str = "kube-system";
const SERVICE_ACCOUNT: &str = "aws-cloud-controller-manager";

#[derive(Serialize)]
struct Values<'a> {
    image: String,
    /// Whoever it is, it is on the machine's network.
    access: Access,
    annotations: BTreeMap<String, String>,
    region: &'a str,
    cluster: &'a str,
    pod_cidr: String,
    log_level: u8,
    /// `--controllers`; empty: all that are on by themselves.
    controllers: String,
    routes: bool,
    resources: Value,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let Some(wish) = &inputs.cluster.addons.cloud_controller_manager else { return Ok(Vec::new()) };
    let access = Access::of(inputs, NAMESPACE, SERVICE_ACCOUNT);
    let values = Values {
        image: images::of(inputs.cluster, &wish.container, images::CLOUD_CONTROLLER_MANAGER),
        annotations: access.annotations(&BTreeMap::new()),
        access,
        region: &inputs.cluster.region,
        cluster: &inputs.cluster.name,
        pod_cidr: inputs.cluster.network.pod_cidr.to_string(),
        log_level: wish.log_level.unwrap_or(2),
        controllers: wish.controllers.join(","),
        routes: wish.configure_cloud_routes,
        resources: resources(&wish.container, "50m", "64Mi"),
    };
    template::objects(&MANAGER, &values)
}

/// What release 1.36 calls.
fn identity(inputs: &Inputs<'_>) -> Option<Identity> {
    let wish = inputs.cluster.addons.cloud_controller_manager.as_ref()?;
    let mut change = vec![
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:DeleteSecurityGroup",
        "ec2:ModifyInstanceAttribute",
        "ec2:RevokeSecurityGroupIngress",
        "elasticloadbalancing:AddTags",
        "elasticloadbalancing:ApplySecurityGroupsToLoadBalancer",
        "elasticloadbalancing:AttachLoadBalancerToSubnets",
        "elasticloadbalancing:ConfigureHealthCheck",
        "elasticloadbalancing:CreateLoadBalancerListeners",
        "elasticloadbalancing:CreateLoadBalancerPolicy",
        "elasticloadbalancing:DeleteListener",
        "elasticloadbalancing:DeleteLoadBalancer",
        "elasticloadbalancing:DeleteLoadBalancerListeners",
        "elasticloadbalancing:DeleteTargetGroup",
        "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
        "elasticloadbalancing:DeregisterTargets",
        "elasticloadbalancing:DetachLoadBalancerFromSubnets",
        "elasticloadbalancing:ModifyListener",
        "elasticloadbalancing:ModifyLoadBalancerAttributes",
        "elasticloadbalancing:ModifyTargetGroup",
        "elasticloadbalancing:ModifyTargetGroupAttributes",
        "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
        "elasticloadbalancing:RegisterTargets",
        "elasticloadbalancing:SetLoadBalancerPoliciesForBackendServer",
        "elasticloadbalancing:SetLoadBalancerPoliciesOfListener",
    ];
    if wish.configure_cloud_routes {
        change.extend(["ec2:CreateRoute", "ec2:DeleteRoute"]);
    }
    let describe = anything(&[
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeInstanceTopology",
        "ec2:DescribeInstances",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeLoadBalancerAttributes",
        "elasticloadbalancing:DescribeLoadBalancerPolicies",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTargetGroupAttributes",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
        // The first load balancer of an account makes the service's role.
        "iam:CreateServiceLinkedRole",
    ]);
    let create = create_tagged(
        inputs,
        &[
            "ec2:CreateSecurityGroup",
            "elasticloadbalancing:CreateListener",
            "elasticloadbalancing:CreateLoadBalancer",
            "elasticloadbalancing:CreateTargetGroup",
        ],
    );
    // A security group is made in a VPC, and VPCs know no request tag.
    let mut in_vpc = anything(&["ec2:CreateSecurityGroup"]);
    in_vpc["Resource"] = Value::from(ec2_arn(inputs, "vpc"));
    let mut statements = vec![describe, change_owned(inputs, &change), create, in_vpc];
    statements.extend(tag_created(inputs, &["security-group"], &["CreateSecurityGroup"]));
    statements
        .push(tag_created_balancers(inputs, &["CreateListener", "CreateLoadBalancer", "CreateTargetGroup"]));
    Some(Identity { namespace: NAMESPACE, service_account: SERVICE_ACCOUNT, statements })
}
