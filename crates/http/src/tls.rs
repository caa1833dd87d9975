//! Whom a client trusts, and what it shows of itself: from PEM texts, or from this machine's trusted roots.

use std::fmt;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A text is not what it should be.
    #[error("failed to read {what}: {why}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong with it; nothing of the text itself.
        why: String,
    },
    /// Certificate and key do not go together, or cannot be used.
    #[error("failed to use {what}")]
    Unusable {
        /// Which ones.
        what: &'static str,
        /// What TLS says.
        #[source]
        source: rustls::Error,
    },
    /// The machine's certificates could not be read, so no server can be trusted.
    #[error("failed to read this machine's trusted certificates\nhint: install ca-certificates")]
    NoRoots(#[source] std::io::Error),
}

/// A client's side of TLS.
#[derive(Clone)]
pub struct Tls(pub(crate) ClientConfig);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(not shown)")
    }
}

impl Tls {
    /// Trusts what this machine trusts: for AWS and downloads.
    pub fn of_this_machine() -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|source| TlsError::Unusable { what: "TLS", source })?;
        Ok(Self(builder.with_native_roots().map_err(TlsError::NoRoots)?.with_no_client_auth()))
    }

    /// Trusts these authorities (PEM) and no others, and shows a certificate with its key (PEM both) where it has
    /// one: for the servers of a cluster. All of them speak the newest TLS, so nothing older is spoken.
    pub fn of_cluster(authorities: &str, identity: Option<(&str, &str)>) -> Result<Self, TlsError> {
        const CA: &str = "the cluster's authorities";
        const CLIENT: &str = "the client certificate";
        let unusable = |what| move |source| TlsError::Unusable { what, source };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities, CA)? {
            roots.add(certificate).map_err(unusable(CA))?;
        }
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(unusable(CA))?;
        let builder = builder.with_root_certificates(roots);
        let Some((certificate, key)) = identity else {
            return Ok(Self(builder.with_no_client_auth()));
        };
        let (certificate, key) = (certificates(certificate, CLIENT)?, private_key(key, CLIENT)?);
        builder.with_client_auth_cert(certificate, key).map(Self).map_err(unusable(CLIENT))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The certificates in a text; at least one. `what` names the text in errors.
pub fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(TlsError::Pem { what, why: "there is no certificate in it".to_owned() }),
        Err(error) => Err(TlsError::Pem { what, why: error.to_string() }),
    }
}

/// The first private key in a text. `what` names the text in errors.
pub fn private_key(pem: &str, what: &'static str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| TlsError::Pem { what, why: error.to_string() })
}
