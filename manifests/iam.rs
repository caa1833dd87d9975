//! Statements of IAM policies, of the kinds that addons need.
//!
//! There are few kinds, each the same for every addon but for its actions, so that the model can make one
//! statement of those of all addons that share a role.

use serde_json::{Value, json};

use crate::Inputs;

const RESOURCE_TAG: &str = "aws:ResourceTag/KubernetesCluster";
const REQUEST_TAG: &str = "aws:RequestTag/KubernetesCluster";

/// What cannot be narrowed to a cluster, or is not worth it: reading.
pub(crate) fn anything(actions: &[&str]) -> Value {
    json!({ "Effect": "Allow", "Action": actions, "Resource": "*" })
}

/// Changing what carries the cluster's tag.
pub(crate) fn change_owned(inputs: &Inputs<'_>, actions: &[&str]) -> Value {
    let owned = json!({ "StringEquals": { RESOURCE_TAG: inputs.cluster.name } });
    json!({ "Effect": "Allow", "Action": actions, "Resource": "*", "Condition": owned })
}

/// Making what is given the cluster's tag in the same call.
pub(crate) fn create_tagged(inputs: &Inputs<'_>, actions: &[&str]) -> Value {
    let requested = json!({ "StringEquals": { REQUEST_TAG: inputs.cluster.name } });
    json!({ "Effect": "Allow", "Action": actions, "Resource": "*", "Condition": requested })
}

/// Tags may be put on what is being made by `actions`, and changed on what is the cluster's already, but a
/// tag that makes something else the cluster's may not.
pub(crate) fn tag_created(inputs: &Inputs<'_>, kinds: &[&str], actions: &[&str]) -> [Value; 2] {
    let resources: Vec<String> = kinds.iter().map(|kind| ec2_arn(inputs, kind)).collect();
    let name = &inputs.cluster.name;
    let creating = json!({ "StringEquals": { REQUEST_TAG: name, "ec2:CreateAction": actions } });
    let owned = json!({ "Null": { REQUEST_TAG: "true" }, "StringEquals": { RESOURCE_TAG: name } });
    [
        json!({
            "Effect": "Allow", "Action": "ec2:CreateTags", "Resource": resources, "Condition": creating,
        }),
        json!({
            "Effect": "Allow",
            "Action": ["ec2:CreateTags", "ec2:DeleteTags"],
            "Resource": resources,
            "Condition": owned,
        }),
    ]
}

/// The same for load balancers and what belongs to them: who may make one with tags must be allowed to tag it.
pub(crate) fn tag_created_balancers(inputs: &Inputs<'_>, actions: &[&str]) -> Value {
    let name = &inputs.cluster.name;
    let creating =
        json!({ "StringEquals": { REQUEST_TAG: name, "elasticloadbalancing:CreateAction": actions } });
    json!({
        "Effect": "Allow", "Action": "elasticloadbalancing:AddTags", "Resource": "*", "Condition": creating,
    })
}

/// Whatever is of that kind in EC2.
pub(crate) fn ec2_arn(inputs: &Inputs<'_>, kind: &str) -> String {
    format!("arn:{}:ec2:*:*:{kind}/*", inputs.partition)
}
