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
        reason: "nodes have a policy even where the spec gives them no permission: the rows below",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy nodes.*",
        attribute: "Allow s3:GetObject on arn:aws:s3:::state-store/*/node/*",
        reason: "a node reads what it is told from the state store with its role; kOps' nodes ask kops-controller for \
                 it, which we do not run",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy nodes.*",
        attribute: "Allow s3:GetObject on arn:aws:s3:::state-store/*/control-plane/initialized.json",
        reason: "whether there is a cluster to join: kOps makes the API's names beforehand with an address that is \
                 nobody's, so that nobody hears that they are not there",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy nodes.*",
        attribute: "Allow s3:GetObject on arn:aws:s3:::state-store/*/kcl-node/*",
        reason: "the program that it runs first, which kOps' nodes fetch from kOps' own bucket",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy nodes.*",
        attribute: "Allow s3:PutObject on arn:aws:s3:::state-store/*/status/*",
        reason: "a machine says how far it is where `kcl get instances` reads it: nobody needs SSH to see what stopped it",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy masters.*",
        attribute: "Allow s3:PutObject on arn:aws:s3:::state-store/*/status/*",
        reason: "likewise",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy masters.*",
        attribute: "Allow s3:PutObject on arn:aws:s3:::state-store/*/control-plane/*",
        reason: "whether the cluster was begun, and who runs which member of etcd: what only one machine may do is agreed \
                 on there",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy masters.*",
        attribute: "Allow s3:Delete* on arn:aws:s3:::state-store/*/control-plane/conditions/*",
        reason: "by these objects a machine finds out that the store honours conditions",
    },
    Deviation {
        scenario: "*",
        resource: "iam_role_policy masters.*",
        attribute: "Allow ec2:DetachVolume on * if *",
        reason: "a machine that is taken away hands etcd's volume over at once",
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
