//! `kind: SSHCredential`: the public key for the machines.

use super::Metadata;
use crate::read::object;

object! {
    /// The SSH public key that machines are started with.
    SshCredentialDocument {
        /// `kops.k8s.io/v1alpha2`
        used api_version: String = "apiVersion",
        /// `SSHCredential`
        used kind: String = "kind",
        /// Its name means nothing (kOps calls it `admin`).
        used metadata: Metadata = "metadata",
        /// What it holds.
        used spec: SshCredentialSpec = "spec",
    }
}

object! {
    /// The SSH public key that machines are started with.
    SshCredentialSpec {
        /// OpenSSH's one line: `ssh-ed25519 AAAA... comment`.
        used public_key: String = "publicKey",
    }
}
