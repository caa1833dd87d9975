//! Signed requests to AWS: no SDK, which would be ten times this program.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;

use crate::imds::{Imds, ImdsError};

/// A role's credentials are renewed some minutes before they end; so long before, no request is begun with them.
const MARGIN: Duration = Duration::from_mins(3);

/// Who signs.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The machine's role, asked for again when its credentials are about to end.
    Role(Arc<RoleSigner>),
    /// Always the same credentials.
    Fixed(Credentials),
}

/// The machine's role and its latest credentials.
#[derive(Debug)]
pub struct RoleSigner {
    imds: Arc<Imds>,
    kept: Mutex<Option<Credentials>>,
}

/// Why a request is not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// No credentials.
    #[error("no credentials of the machine's role")]
    Credentials(#[from] ImdsError),
    /// The signing itself.
    #[error("failed to sign a request to {service}: {why}")]
    Signing {
        /// The service.
        service: &'static str,
        /// Why not.
        why: String,
    },
}

impl Signer {
    /// The role that the metadata service speaks of.
    pub fn role(imds: Arc<Imds>) -> Self {
        Self::Role(Arc::new(RoleSigner { imds, kept: Mutex::default() }))
    }

    /// Forgets what it has: AWS does not take it any more.
    pub fn forget(&self) {
        if let Self::Role(role) = self {
            *role.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    async fn credentials(&self) -> Result<Credentials, ImdsError> {
        let role = match self {
            Self::Fixed(credentials) => return Ok(credentials.clone()),
            Self::Role(role) => role,
        };
        let kept = role.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let good = |found: &Credentials| found.expiry().is_none_or(|end| end > SystemTime::now() + MARGIN);
        if let Some(kept) = kept.filter(good) {
            return Ok(kept);
        }
        let new = role.imds.credentials().await?;
        *role.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(new.clone());
        Ok(new)
    }

    /// Signs a request for a service of a region; `body` is what it carries.
    pub async fn sign(
        &self,
        request: &mut Request<Full<Bytes>>,
        body: &[u8],
        service: &'static str,
        region: &str,
    ) -> Result<(), SignError> {
        let identity = self.credentials().await?.into();
        let failed = |why: String| SignError::Signing { service, why };
        let mut settings = SigningSettings::default();
        if service == "s3" {
            // S3 signs paths as they are, and wants the body's hash (S3 API reference, "Authenticating Requests").
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| failed(error.to_string()))?
            .into();
        let (instructions, _) = {
            let headers: Vec<(&str, &str)> = request
                .headers()
                .iter()
                .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
                .collect();
            let uri = request.uri().to_string();
            let method = request.method().as_str();
            let signable = SignableRequest::new(method, uri, headers.into_iter(), SignableBody::Bytes(body))
                .map_err(|error| failed(error.to_string()))?;
            sign(signable, &parameters).map_err(|error| failed(error.to_string()))?.into_parts()
        };
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request;

    /// What a signature must cover, or AWS does not take it.
    #[tokio::test]
    async fn a_signature_covers_what_it_must() {
        let credentials =
            Credentials::new("AKIDTEST", "the secret", Some("session".to_owned()), None, "test");
        let url = "https://bucket.s3.eu-north-1.amazonaws.com/a/b%20c";
        let headers = [("if-none-match", "*")];
        let mut request = request("PUT", url, &headers, Bytes::from_static(b"body")).unwrap();
        let signer = Signer::Fixed(credentials);
        signer.sign(&mut request, b"body", "s3", "eu-north-1").await.unwrap();
        let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap();
        let signature = header("authorization");
        assert!(signature.contains("/eu-north-1/s3/aws4_request"), "{signature}");
        let covered = "SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        assert!(signature.contains(covered), "{signature}");
        assert_eq!(
            header("x-amz-content-sha256"),
            "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5",
            "the body's"
        );
        assert!(!format!("{signer:?}").contains("the secret"));
    }
}
