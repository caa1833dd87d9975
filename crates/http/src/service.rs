//! Asks services of AWS whose answers are XML, and tells what went wrong from what may pass.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::body::Body;
use crate::client::{Http, request};
use crate::endpoint::{Endpoint, EndpointError, global_region};
use crate::error::HttpError;
use crate::sign::{SignError, Signer};
use crate::xml;

/// How long an answer may take; a list of all of an account's machines takes seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer: a thousand instances of EC2 have some 3 MiB.
const LARGEST: usize = 8 << 20;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// What stands for itself in a form (RFC 3986, unreserved).
const FORM_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a service did not do as it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// No answer.
    #[error("failed to ask {service} for {what}")]
    Http {
        /// The service, as it is signed for: `ec2`.
        service: &'static str,
        /// What was asked for.
        what: String,
        /// Why.
        source: HttpError,
    },
    /// No signature.
    #[error("failed to ask {service} for {what}")]
    Sign {
        /// The service.
        service: &'static str,
        /// What was asked for.
        what: String,
        /// Why.
        source: SignError,
    },
    /// It says no.
    #[error("{service} refused {what}: {code} (HTTP {status}) {message}")]
    Refused {
        /// The service.
        service: &'static str,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// The service's code for it, or words that say that it gives none.
        code: String,
        /// What the service says to it, in one line.
        message: String,
    },
    /// The answer is no text.
    #[error("{service} answered {what} with something that cannot be read")]
    Unreadable {
        /// The service.
        service: &'static str,
        /// What was asked for.
        what: String,
    },
}

impl AwsError {
    /// The service's own code for what is wrong.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether it may pass.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http { source, .. } => source.is_transient(),
            Self::Refused { status, code, .. } => {
                // Credentials that ended are new ones at the next try.
                let ended =
                    matches!(code.as_str(), "ExpiredToken" | "ExpiredTokenException" | "RequestExpired");
                *status >= 500 || self.is_throttling() || ended || code == "RequestTimeout"
            }
            Self::Sign { .. } | Self::Unreadable { .. } => false,
        }
    }

    /// Whether it only wants to be asked less often.
    pub fn is_throttling(&self) -> bool {
        matches!(self, Self::Refused { status, code, .. } if *status == 429 || is_throttling(code))
    }
}

/// Whether this is an error code of AWS for being asked too often.
pub fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "EC2ThrottledException"
            | "PriorRequestNotComplete"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "SlowDown"
            | "ThrottledException"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException"
    )
}

/// A service of AWS, asked as somebody.
#[derive(Clone, Debug)]
pub struct AwsService {
    http: Http,
    signer: Signer,
    name: &'static str,
    region: String,
    endpoint: Endpoint,
    timeout: Duration,
    largest: usize,
}

impl AwsService {
    /// A service of a region, like EC2; `name` is its own in signatures and hosts, like `ec2`.
    pub fn regional(
        http: Http,
        signer: Signer,
        name: &'static str,
        region: &str,
        endpoint: Option<&str>,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::regional(name, region, endpoint)?;
        let region = region.to_owned();
        Ok(Self { http, signer, name, region, endpoint, timeout: TIMEOUT, largest: LARGEST })
    }

    /// A service that is one for all regions of the region's partition, like `route53`.
    pub fn global(
        http: Http,
        signer: Signer,
        name: &'static str,
        region: &str,
        endpoint: Option<&str>,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::global(name, region, endpoint)?;
        let region = global_region(region).to_owned();
        Ok(Self { http, signer, name, region, endpoint, timeout: TIMEOUT, largest: LARGEST })
    }

    /// With other bounds on how long an answer may take, and on how many bytes it may have.
    #[must_use]
    pub fn with_bounds(self, timeout: Duration, largest: usize) -> Self {
        Self { timeout, largest, ..self }
    }

    /// Asks in the way of the query APIs: an action of a version of the API with its parameters, in a form. Gives
    /// the answer's XML.
    pub async fn query(
        &self,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, AwsError> {
        let mut form = format!("Action={action}&Version={version}");
        for (name, value) in parameters {
            let (name, value) =
                (utf8_percent_encode(name, FORM_VALUE), utf8_percent_encode(value, FORM_VALUE));
            form += &format!("&{name}={value}");
        }
        self.send(action, "POST", "/", &[("content-type", FORM)], form).await
    }

    /// Asks in the way of the REST APIs; gives the answer's XML. `what` names what is asked for in errors; `target`
    /// is path and query, encoded.
    pub async fn send(
        &self,
        what: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<String, AwsError> {
        let (service, what) = (self.name, || what.to_owned());
        let http = |source| AwsError::Http { service, what: what(), source };
        let url = format!("{}{target}", self.endpoint.base());
        let mut request = request(method, &url, headers, body).map_err(http)?;
        let signed = self.signer.sign(&mut request, service, &self.region).await;
        signed.map_err(|source| AwsError::Sign { service, what: what(), source })?;
        let answer = self.http.send_bounded(request, self.largest, self.timeout).await.map_err(http)?;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status.is_success() {
            // Its names and ids are compared, so none may be one that was mended.
            let text = String::from_utf8(answer.body.into());
            return text.map_err(|_| AwsError::Unreadable { service, what: what() });
        }
        let (code, message) =
            xml::error(&text).unwrap_or_else(|| ("no reason given".to_owned(), String::new()));
        self.signer.forget_if_refused(&code);
        Err(AwsError::Refused { service, what: what(), status: answer.status.as_u16(), code, message })
    }
}
