//! Client certificates for the API server on this machine, signed by the cluster's own authority.
//!
//! A control-plane machine has that authority on its disk, so it can be whoever it needs to be there. What it makes
//! is short-lived and in memory only.

use std::fs;
use std::path::PathBuf;

use kcl_pki::{Authority, AuthorityError, IssueError, KeysetName, Profile, SystemEntropy};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::kubernetes::Identity;
use crate::system::System;

/// The cluster's authority, as kubeadm has it.
pub const CA_CERTIFICATE: &str = "/etc/kubernetes/pki/ca.crt";
/// The API server's certificate, which is for the names that machines reach it by.
pub(super) const API_SERVER_CERTIFICATE: &str = "/etc/kubernetes/pki/apiserver.crt";
pub(super) const API_SERVER_KEY: &str = "/etc/kubernetes/pki/apiserver.key";

const CA_KEY: &str = "/etc/kubernetes/pki/ca.key";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The authority cannot be read.
    #[error("failed to read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The authority is none.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// It does not sign.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Reads a file of this machine that only its owner may read.
pub(super) fn read(system: &System, path: &str) -> Result<Zeroizing<String>, CertificateError> {
    let path = system.path(path);
    fs::read_to_string(&path).map(Zeroizing::new).map_err(|source| CertificateError::File { path, source })
}

/// A user of the API server at `server`, for a while.
pub fn user(
    system: &System,
    server: &str,
    user: &str,
    group: Option<&str>,
    validity: Duration,
) -> Result<Identity, CertificateError> {
    let authorities = read(system, CA_CERTIFICATE)?;
    let key = read(system, CA_KEY)?;
    let now = OffsetDateTime::now_utc();
    let authority =
        Authority::from_pem(KeysetName::KubernetesCa, authorities.as_bytes(), key.as_bytes(), now)?;
    let profile = Profile::ApiClient { user: user.to_owned(), group: group.map(str::to_owned) };
    let issued = authority.issue(&profile, validity, &mut SystemEntropy)?;
    Ok(Identity {
        server: server.to_owned(),
        authorities: authorities.to_string(),
        certificate: issued.certificate_pem,
        key: Zeroizing::new(issued.private_key.to_pem().reveal().to_owned()),
    })
}
