//! TLS as both sides of a join use it, from PEM texts.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::proof::digest;

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
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
    /// The machine's own roots are needed to ask AWS.
    #[error("failed to read this machine's root certificates; hint: install ca-certificates")]
    NoRoots(#[source] std::io::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The certificates in a text; at least one.
pub(crate) fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(TlsError::Pem { what, why: "there is no certificate in it".to_owned() }),
        Err(error) => Err(TlsError::Pem { what, why: error.to_string() }),
    }
}

fn private_key(pem: &str, what: &'static str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| TlsError::Pem { what, why: error.to_string() })
}

/// Authorities to trust, and no others.
fn roots(pem: &str, what: &'static str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, what)? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { what, source })?;
    }
    Ok(roots)
}

/// What a server serves with. Its clients are ours too, so the newest TLS is enough.
pub(crate) fn server(certificate_pem: &str, key_pem: &str) -> Result<ServerConfig, TlsError> {
    const WHAT: &str = "the join service's certificate";
    let chain = certificates(certificate_pem, WHAT)?;
    let key = private_key(key_pem, "the join service's private key")?;
    let unusable = |source| TlsError::Unusable { what: WHAT, source };
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(unusable)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A client that trusts these authorities only, and shows a certificate where it has one.
pub(crate) fn client(ca_pem: &str, identity: Option<(&str, &str)>) -> Result<ClientConfig, TlsError> {
    const CA: &str = "the cluster's authorities";
    const CLIENT: &str = "the client certificate for the API server";
    let roots = roots(ca_pem, CA)?;
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| TlsError::Unusable { what: CA, source })?
        .with_root_certificates(roots);
    let Some((certificate, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    builder
        .with_client_auth_cert(certificates(certificate, CLIENT)?, private_key(key, CLIENT)?)
        .map_err(|source| TlsError::Unusable { what: CLIENT, source })
}

/// A client that trusts what the machine trusts: for AWS.
pub(crate) fn public_client() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|source| TlsError::Unusable { what: "TLS towards AWS", source })?;
    Ok(builder.with_native_roots().map_err(TlsError::NoRoots)?.with_no_client_auth())
}

/// What kubeadm knows each authority by: `sha256:` and the hash of its public key.
pub(crate) fn ca_cert_hashes(ca_pem: &str) -> Result<Vec<String>, TlsError> {
    const CA: &str = "the cluster's authorities";
    let hash = |certificate: &CertificateDer<'_>| {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| TlsError::Pem { what: CA, why: error.to_string() })?;
        Ok(format!("sha256:{}", hex::encode(digest(parsed.public_key().raw))))
    };
    certificates(ca_pem, CA)?.iter().map(hash).collect()
}
