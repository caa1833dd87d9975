//! What the service serves with, and what kubeadm knows authorities by.

use std::sync::Arc;

use kcl_http::{TlsError, certificates, private_key};
use rustls::ServerConfig;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::proof::digest;

/// What a server serves with. Our client speaks TLS 1.3; the health checks of a network load balancer fail against a
/// server that speaks nothing older
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html>).
pub(crate) fn server(certificate_pem: &str, key_pem: &str) -> Result<ServerConfig, TlsError> {
    const WHAT: &str = "the join service's certificate";
    let chain = certificates(certificate_pem, WHAT)?;
    let key = private_key(key_pem, "the join service's private key")?;
    let unusable = |source| TlsError::Unusable { what: WHAT, source };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What kubeadm knows each authority by: `sha256:` and the hash of its public key.
pub(crate) fn ca_cert_hashes(ca_pem: &str) -> Result<Vec<String>, TlsError> {
    const CA: &str = "the cluster's authorities";
    let hash = |certificate: &rustls::pki_types::CertificateDer<'_>| {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| TlsError::Pem { what: CA, why: error.to_string() })?;
        Ok(format!("sha256:{}", hex::encode(digest(parsed.public_key().raw))))
    };
    certificates(ca_pem, CA)?.iter().map(hash).collect()
}
