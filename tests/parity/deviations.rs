//! The differences on purpose: where a kOps user gets something else from us, and why.
//!
//! A difference that no row covers fails the test, and so does a row that covers nothing.

use crate::compare::{Deviation, EXTRA, MISSING};

/// The one table.
pub(crate) const TABLE: &[Deviation] = &[
    Deviation {
        scenario: "*",
        resource: "ebs_volume *.etcd-events.*",
        attribute: MISSING,
        reason: "kubeadm runs one etcd: what kOps keeps in `events` is kept in `main`, and a warning says so",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy masters.*",
        attribute: "Allow s3:* on arn:aws:s3:::state-store/*/backups/etcd/events/*",
        reason: "no etcd for events, so that the control plane need not reach backups of one",
    },
    Deviation {
        scenario: "*",
        resource: "ebs_volume *.etcd-main.*",
        attribute: "encrypted",
        reason: "etcd holds every secret of the cluster: its volumes are encrypted unless the spec has \
                 `encryptedVolume: false`",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy nodes.*",
        attribute: EXTRA,
        reason: "nodes have a policy even where the spec gives them no permission: the row below",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy nodes.*",
        attribute: "Allow s3:GetObject on arn:aws:s3:::state-store/*/igconfig/node/*",
        reason: "a node reads its own configuration from the state store with its role; kOps' nodes ask \
                 kops-controller for it, which we do not run",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy masters.*",
        attribute: "Allow elasticloadbalancing:AddTags on * if StringEquals aws:RequestTag/KubernetesCluster=*",
        reason: "AWS asks for it where a load balancer is made with tags; kOps allows it only for what carries the \
                 cluster's tag already",
    },
    Deviation {
        scenario: "irsa",
        resource: "iam_role *.sa.*",
        attribute: "Allow sts:AssumeRoleWithWebIdentity by Federated * only if StringEquals \
                    *:aud=amazonaws.com|sts.amazonaws.com",
        reason: "without the audience a token of the service account that was made for somebody else would do",
    },
    Deviation {
        scenario: "*",
        resource: "lb_listener *",
        attribute: "tags.*",
        reason: "all that we make carries the cluster's tags, so that it is found when the spec is lost; kOps \
                 finds listeners through their load balancer",
    },
    Deviation {
        scenario: "*",
        resource: "autoscaling_group *",
        attribute: "tags.kcl.dev/lifecycle-hooks",
        reason: "AWS tells the hooks of one group at a time: the tag, which machines do not get, says which ones a \
                 group was given, so that a preview makes no more calls where there are more groups",
    },
    Deviation {
        scenario: "mixed_instances_spot",
        resource: "autoscaling_group nodes.*",
        attribute: "mixed_instances_policy.instances_distribution.*_allocation_strategy",
        reason: "AWS' own default (`prioritized`, `lowest-price`), sent in so many words: a group says it when \
                 it is read, and one that differs is drift",
    },
    Deviation {
        scenario: "mixed_instances_spot",
        resource: "autoscaling_group nodes.*",
        attribute: "mixed_instances_policy.instances_distribution.on_demand_base_capacity",
        reason: "likewise: 0 is AWS' own default",
    },
    Deviation {
        scenario: "*",
        resource: "s3_bucket state-store",
        attribute: EXTRA,
        reason: "kOps wants the bucket of its state store to be there; ours is part of the plan where it is \
                 missing, and kept",
    },
    Deviation {
        scenario: "irsa",
        resource: "s3_bucket discovery-*",
        attribute: EXTRA,
        reason: "likewise the bucket of the discovery documents",
    },
];
