//! What can go wrong with AWS, in one type: which action failed, with which code, and what kind of trouble
//! that is.

use std::borrow::Cow;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::error::operation::BuildError;

use crate::guard::LOCK_LOST;

/// What kind of trouble an error is. Decides whether trying again makes sense, and which hint is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There are no usable credentials.
    Credentials,
    /// Nothing says which region is meant.
    NoRegion,
    /// The credentials do not allow the action.
    Denied,
    /// AWS could not be reached.
    Unreachable,
    /// Too many calls; what was asked for did not happen.
    Throttled,
    /// The answer was lost or AWS failed: what was asked for may or may not have happened.
    Ambiguous,
    /// What was named is not there.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// It was to be changed only if nobody else did meanwhile, and somebody did.
    Conflict,
    /// It was to be changed under the cluster's lock, which is not certainly held any more.
    LockLost,
    /// Something else still uses it.
    InUse,
    /// Something did not become ready in time.
    TimedOut,
    /// AWS refuses the request as it is.
    Refused,
    /// Whoever answers does not know how to do that.
    Unsupported,
    /// The answer does not make sense to kcl.
    Unexpected,
}

/// An AWS call that failed.
#[derive(Clone, Debug)]
pub struct Error {
    /// The kind of trouble.
    pub kind: ErrorKind,
    /// What was called: `ec2:CreateVpc`.
    pub action: String,
    /// AWS's error code.
    pub code: Option<String>,
    /// AWS's message, or ours.
    pub message: String,
    /// AWS's id of the request.
    pub request_id: Option<String>,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.action)?;
        if let Some(code) = &self.code {
            write!(f, "{code}: ")?;
        }
        f.write_str(self.message.trim_end_matches('.'))?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl Error {
    /// An error of our own making.
    pub fn new(kind: ErrorKind, action: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, action: action.into(), code: None, message: message.into(), request_id: None }
    }

    /// AWS's answer to `action` lacks something it always has.
    pub fn unexpected(action: &str, what: &str) -> Self {
        Self::new(ErrorKind::Unexpected, action, format!("the answer has no {what}"))
    }

    /// Whether AWS's error code is one of `codes`.
    pub fn is_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// Whether what was named is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

/// Whether AWS refuses a signature because of when it was made, and not because of who made it.
pub fn is_about_time(error: &Error) -> bool {
    const CODES: [&str; 3] = ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignatureException"];
    let says_so = ["Signature expired", "Signature not yet current"];
    error.is_code(&CODES[..1])
        || error.is_code(&CODES) && says_so.iter().any(|words| error.message.contains(words))
}

impl From<kcl_engine::UnresolvedRef> for Error {
    fn from(error: kcl_engine::UnresolvedRef) -> Self {
        Self::new(ErrorKind::Unexpected, "kcl", error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(ErrorKind::Unexpected, "kcl", error.to_string())
    }
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        Self::new(ErrorKind::Unexpected, "kcl", error.to_string())
    }
}

/// Names the action that failed.
pub(crate) trait During<T> {
    /// Turns an SDK error into ours; `action` is what was called: `ec2:CreateVpc`.
    fn during(self, action: &str) -> Result<T, Error>;
}

impl<T, E> During<T> for Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn during(self, action: &str) -> Result<T, Error> {
        self.map_err(|error| from_sdk(action, &error))
    }
}

fn from_sdk<E>(action: &str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code().map(str::to_owned);
    let status = error.raw_response().map(|response| response.status().as_u16());
    let request_id = error.raw_response().and_then(|response| {
        let headers = response.headers();
        headers.get("x-amzn-requestid").or_else(|| headers.get("x-amz-request-id")).map(str::to_owned)
    });
    let text = DisplayErrorContext(error).to_string();
    if text.contains(LOCK_LOST) {
        return Error::new(ErrorKind::LockLost, action, LOCK_LOST);
    }
    let kind = match error {
        SdkError::ServiceError(_) => kind_of(code.as_deref(), status),
        SdkError::ConstructionFailure(_) => ErrorKind::Refused,
        SdkError::DispatchFailure(_) if is_credentials_trouble(&text) => ErrorKind::Credentials,
        SdkError::DispatchFailure(failure) if failure.is_user() || is_connect_trouble(&text) => {
            ErrorKind::Unreachable
        }
        _ => ErrorKind::Ambiguous,
    };
    let message = match (error.message(), status) {
        (Some(message), _) => message.to_owned(),
        (None, Some(status)) if code.is_none() => format!("HTTP status {status}"),
        _ if kind == ErrorKind::Credentials => without_chain(innermost(error)),
        _ => innermost(error),
    };
    Error { kind, action: action.to_owned(), code, message, request_id }
}

/// What an answer says; nothing of one that is streamed: objects of S3 are, its errors are not.
pub(crate) fn body(response: &HttpResponse) -> Cow<'_, str> {
    response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default()
}

fn is_credentials_trouble(text: &str) -> bool {
    ["CredentialsNotLoaded", "no providers in chain", "CredentialsProvider", "credentials"]
        .iter()
        .any(|mark| text.contains(mark))
}

/// Whether the request never left: nobody was reached, or where to is spelled wrongly.
fn is_connect_trouble(text: &str) -> bool {
    const MARKS: [&str; 6] = [
        "ConnectError",
        "Connection refused",
        "dns error",
        "tcp connect error",
        "unsupported scheme",
        "failed to apply endpoint",
    ];
    MARKS.iter().any(|mark| text.contains(mark))
}

/// The SDK tells of each place where it looked for credentials; that there are none says it all.
fn without_chain(message: String) -> String {
    if message.starts_with("no credentials found in chain") {
        return "no credentials were found".to_owned();
    }
    // What a chain of one, the profile that was named, says.
    if message == "the credential provider was not enabled" {
        return "there is no such profile, or it has no credentials".to_owned();
    }
    message
}

/// The message at the bottom of the chain: the one that says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What AWS calls too many calls. What was asked for did not happen.
pub(crate) const THROTTLED: [&str; 7] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestThrottled",
    "SlowDown",
    "PriorRequestNotComplete",
];

/// The SDK does not model EC2's errors, so the codes themselves are what counts.
fn kind_of(code: Option<&str>, status: Option<u16>) -> ErrorKind {
    const CREDENTIALS: [&str; 10] = [
        "AuthFailure",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidAccessKeyId",
        "InvalidSignatureException",
        "RequestTimeTooSkewed",
    ];
    const DENIED: [&str; 4] = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Forbidden"];
    const IN_USE: [&str; 9] = [
        "DependencyViolation",
        "ResourceInUse",
        "ResourceInUseFault",
        "DeleteConflict",
        "VolumeInUse",
        "ScalingActivityInProgress",
        "Gateway.NotAttached",
        "BucketNotEmpty",
        "Resource.AlreadyAssociated",
    ];
    const AMBIGUOUS: [&str; 6] = [
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "Unavailable",
        "RequestTimeout",
        "ServiceFailure",
    ];
    const MISSING: [&str; 5] = [
        "NoSuchEntity",
        "NoSuchKey",
        "NoSuchBucket",
        "NoSuchHostedZone",
        "AWS.SimpleQueueService.NonExistentQueue",
    ];
    const THERE: [&str; 6] = [
        "EntityAlreadyExists",
        "AlreadyExists",
        "AlreadyExistsFault",
        "BucketAlreadyOwnedByYou",
        "PreconditionFailed",
        "QueueAlreadyExists",
    ];
    let Some(code) = code else {
        return match status {
            Some(403) => ErrorKind::Denied,
            Some(404) => ErrorKind::NotFound,
            Some(409 | 412) => ErrorKind::AlreadyExists,
            Some(500..) => ErrorKind::Ambiguous,
            _ => ErrorKind::Refused,
        };
    };
    match code {
        _ if CREDENTIALS.contains(&code) => ErrorKind::Credentials,
        _ if THROTTLED.contains(&code) => ErrorKind::Throttled,
        _ if DENIED.contains(&code) => ErrorKind::Denied,
        _ if IN_USE.contains(&code) || code.ends_with(".InUse") => ErrorKind::InUse,
        _ if AMBIGUOUS.contains(&code) => ErrorKind::Ambiguous,
        _ if MISSING.contains(&code) || code.ends_with("NotFound") || code.ends_with("NotFoundException") => {
            ErrorKind::NotFound
        }
        _ if code.contains(".NotFound") || code == "QueueDoesNotExist" => ErrorKind::NotFound,
        _ if THERE.contains(&code) || code.ends_with(".Duplicate") || code.starts_with("Duplicate") => {
            ErrorKind::AlreadyExists
        }
        _ if code.ends_with("AlreadyExists") || code.ends_with("AlreadyExistsException") => {
            ErrorKind::AlreadyExists
        }
        _ => ErrorKind::Refused,
    }
}
