//! The two documents by which anybody can verify the tokens of service accounts: the cluster's OpenID provider.
//!
//! See <https://openid.net/specs/openid-connect-discovery-1_0.html> and RFC 7517. The API server serves the same
//! documents under the same paths.

use serde::Serialize;

use crate::error::{DiscoveryError, KeysetError, excerpt};
use crate::keyset::Keyset;
use crate::layout::KeysetType;

/// Where the discovery document is, relative to the issuer's URL.
pub const OPENID_CONFIGURATION_PATH: &str = ".well-known/openid-configuration";

/// Where the keys are, relative to the issuer's URL.
pub const JWKS_PATH: &str = "openid/v1/jwks";

/// The one algorithm that signs tokens.
const SIGNING_ALGORITHM: &str = "RS256";

#[derive(Serialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Serialize)]
struct Jwk {
    r#use: &'static str,
    kty: &'static str,
    kid: String,
    alg: &'static str,
    n: String,
    e: String,
}

#[derive(Serialize)]
struct Configuration<'a> {
    issuer: &'a str,
    jwks_uri: String,
    authorization_endpoint: &'static str,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    claims_supported: [&'static str; 2],
}

/// The public keys by which tokens are verified: all trusted keys of the service accounts, the primary first. The
/// same keyset gives the same text, which ends in a newline.
///
/// Errors: another keyset.
pub fn jwks(keyset: &Keyset) -> Result<String, DiscoveryError> {
    let mut keys = Vec::new();
    for key in keyset.trusted() {
        let public = key.material().public_key();
        let (n, e) = public.rsa_components().ok_or_else(|| KeysetError::WrongType {
            keyset: keyset.name(),
            found: keyset.name().keyset_type(),
            needed: KeysetType::SigningKey,
        })?;
        keys.push(Jwk { r#use: "sig", kty: "RSA", kid: public.key_id(), alg: SIGNING_ALGORITHM, n, e });
    }
    write("JWKS", &JwkSet { keys })
}

/// The discovery document of an issuer. The same issuer gives the same text, which ends in a newline.
///
/// Errors: a URL that is not `https://`, or has a query, a fragment or a slash at its end: verifiers compare
/// issuers as texts, and add the paths to them.
pub fn openid_configuration(issuer: &str) -> Result<String, DiscoveryError> {
    let unfit = |reason| DiscoveryError::Issuer { issuer: excerpt(issuer), reason };
    let rest = issuer.strip_prefix("https://").ok_or_else(|| unfit("it does not begin with https://"))?;
    if rest.is_empty() || rest.starts_with('/') {
        return Err(unfit("it names no host"));
    }
    if issuer.ends_with('/') {
        return Err(unfit("it ends in a slash, which tokens would have to repeat; leave it out"));
    }
    if issuer.contains(['?', '#']) || issuer.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(unfit("it has a query, a fragment, or a space"));
    }
    let configuration = Configuration {
        issuer,
        jwks_uri: format!("{issuer}/{JWKS_PATH}"),
        // Nobody is ever sent there; the specification demands one, and this is the API server's.
        authorization_endpoint: "urn:kubernetes:programmatic_authorization",
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: [SIGNING_ALGORITHM],
        claims_supported: ["sub", "iss"],
    };
    write("discovery document", &configuration)
}

fn write(document: &'static str, value: &impl Serialize) -> Result<String, DiscoveryError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| DiscoveryError::Writing { document, reason: error.to_string() })?;
    text.push('\n');
    Ok(text)
}
