//! Signs requests to AWS (Signature Version 4, in the headers).

use std::error::Error as StdError;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use hyper::Request;

use crate::body::{Body, Payload};

/// A role's credentials are renewed some minutes before they end; so long before, no request is begun with them.
const MARGIN: Duration = Duration::from_mins(3);

/// Why there are no credentials.
pub type CredentialsError = Box<dyn StdError + Send + Sync>;

/// Whoever has credentials, or can get them: the metadata service of a machine.
pub trait CredentialsSource: Debug + Send + Sync {
    /// Gets them anew, whatever was got before. What does not end is kept for ever, the rest until shortly before.
    fn credentials(&self)
    -> Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + '_>>;
}

/// These, always.
impl CredentialsSource for Credentials {
    fn credentials(
        &self,
    ) -> Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + '_>> {
        Box::pin(async { Ok(self.clone()) })
    }
}

/// Who signs: credentials, got again when they are about to end. Clones share them.
#[derive(Clone, Debug)]
pub struct Signer {
    source: Arc<dyn CredentialsSource>,
    kept: Arc<Mutex<Option<Credentials>>>,
}

/// Why a request is not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// No credentials.
    #[error("no credentials to sign with")]
    Credentials(#[source] CredentialsError),
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
    /// Signs with what the source gives.
    pub fn new(source: impl CredentialsSource + 'static) -> Self {
        Self::shared(Arc::new(source))
    }

    /// Likewise, of a source that others hold too.
    pub fn shared(source: Arc<dyn CredentialsSource>) -> Self {
        Self { source, kept: Arc::default() }
    }

    /// Forgets what it has: AWS does not take it any more.
    pub fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Forgets what it has if that is what an error code says.
    pub fn forget_if_refused(&self, code: &str) {
        let refused = matches!(
            code,
            "AuthFailure"
                | "ExpiredToken"
                | "ExpiredTokenException"
                | "InvalidAccessKeyId"
                | "InvalidClientTokenId"
                | "InvalidToken"
                | "RequestExpired"
                | "UnrecognizedClientException"
        );
        if refused {
            self.forget();
        }
    }

    /// The credentials that are good now.
    pub async fn credentials(&self) -> Result<Credentials, SignError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let good = |found: &Credentials| found.expiry().is_none_or(|end| end > SystemTime::now() + MARGIN);
        if let Some(kept) = kept.filter(good) {
            return Ok(kept);
        }
        let new = self.source.credentials().await.map_err(SignError::Credentials)?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(new.clone());
        Ok(new)
    }

    /// Signs a request, as it is, for a service of a region. The body is covered, unless it is a file without a hash,
    /// which only TLS protects; so it is not signed for any other way.
    pub async fn sign(
        &self,
        request: &mut Request<Body>,
        service: &'static str,
        region: &str,
    ) -> Result<(), SignError> {
        let identity = self.credentials().await?.into();
        let failed = |why: String| SignError::Signing { service, why };
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(SystemTime::now())
            .settings(settings(service))
            .build()
            .map_err(|error| failed(error.to_string()))?
            .into();
        let (instructions, _) = {
            let headers: Vec<(&str, &str)> = request
                .headers()
                .iter()
                .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
                .collect();
            let body = match request.body().payload() {
                Payload::Bytes(bytes) => SignableBody::Bytes(bytes),
                Payload::Sha256(hash) => SignableBody::Precomputed(hash.to_owned()),
                Payload::Unsigned if request.uri().scheme_str() == Some("https") => {
                    SignableBody::UnsignedPayload
                }
                Payload::Unsigned => {
                    return Err(failed("what is not hashed may only be sent over https".to_owned()));
                }
            };
            let uri = request.uri().to_string();
            let signable = SignableRequest::new(request.method().as_str(), uri, headers.into_iter(), body)
                .map_err(|error| failed(error.to_string()))?;
            sign(signable, &parameters).map_err(|error| failed(error.to_string()))?.into_parts()
        };
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        // S3 signs paths as they are, and wants the body's hash (S3 API reference, "Authenticating Requests").
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::client::request;

    const URL: &str = "https://bucket.s3.eu-north-1.amazonaws.com/a/b%20c";

    fn signer() -> Signer {
        Signer::new(Credentials::new("AKIDTEST", "the secret", Some("session".to_owned()), None, "test"))
    }

    fn header<'a>(request: &'a Request<Body>, name: &str) -> &'a str {
        request.headers().get(name).unwrap().to_str().unwrap()
    }

    /// What a signature must cover, or AWS does not take it.
    #[tokio::test]
    async fn a_signature_covers_what_it_must() {
        let headers = [("if-none-match", "*")];
        let mut request = request("PUT", URL, &headers, "body".to_owned()).unwrap();
        let signer = signer();
        signer.sign(&mut request, "s3", "eu-north-1").await.unwrap();
        let signature = header(&request, "authorization");
        assert!(signature.contains("/eu-north-1/s3/aws4_request"), "{signature}");
        let covered = "SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        assert!(signature.contains(covered), "{signature}");
        assert_eq!(
            header(&request, "x-amz-content-sha256"),
            "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5",
            "the body's"
        );
        assert!(!format!("{signer:?}").contains("the secret"));
    }

    #[tokio::test]
    async fn a_file_is_covered_by_its_hash_or_sent_over_tls_only() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"body").unwrap();
        let body = async || Body::file(file.path()).await.unwrap();
        let mut bare = request("PUT", URL, &[], body().await).unwrap();
        signer().sign(&mut bare, "s3", "eu-north-1").await.unwrap();
        assert_eq!(header(&bare, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");

        let hash = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
        let plain = "http://127.0.0.1/a";
        let mut hashed = request("PUT", plain, &[], body().await.with_sha256(hash)).unwrap();
        signer().sign(&mut hashed, "s3", "eu-north-1").await.unwrap();
        assert_eq!(header(&hashed, "x-amz-content-sha256"), hash);

        let mut bare = request("PUT", plain, &[], body().await).unwrap();
        let error = signer().sign(&mut bare, "s3", "eu-north-1").await.unwrap_err();
        assert!(matches!(error, SignError::Signing { .. }), "{error}");
    }

    /// Gives credentials that end after so many seconds, and counts.
    #[derive(Debug)]
    struct Ending(Duration, AtomicU64);

    impl CredentialsSource for Ending {
        fn credentials(
            &self,
        ) -> Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + '_>> {
            Box::pin(async {
                self.1.fetch_add(1, Ordering::SeqCst);
                Ok(Credentials::new("AKIDTEST", "s", None, Some(SystemTime::now() + self.0), "test"))
            })
        }
    }

    #[tokio::test]
    async fn credentials_are_got_again_when_they_are_about_to_end() {
        for (minutes, wanted) in [(60, 1), (1, 2)] {
            let source = Arc::new(Ending(Duration::from_mins(minutes), AtomicU64::new(0)));
            let signer = Signer::shared(Arc::clone(&source) as Arc<dyn CredentialsSource>);
            signer.credentials().await.unwrap();
            signer.clone().credentials().await.unwrap();
            assert_eq!(source.1.load(Ordering::SeqCst), wanted, "{minutes} minutes");
            signer.forget_if_refused("AccessDenied");
            signer.forget_if_refused("ExpiredToken");
            signer.credentials().await.unwrap();
            assert_eq!(source.1.load(Ordering::SeqCst), wanted + 1, "{minutes} minutes");
        }
    }
}
