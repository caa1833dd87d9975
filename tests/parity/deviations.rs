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
        reason: "kubeadm runs one etcd: what kOps keeps in `events` is kept in `main`",
    },
    Deviation {
        scenario: "*",
        resource: "s3_bucket state-store",
        attribute: EXTRA,
        reason: "kOps wants its state store to exist; ours is made with the cluster, and kept",
    },
];
