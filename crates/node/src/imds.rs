//! The instance metadata service, version 2: who this machine is, and the credentials of its role.
//!
//! Version 1 is never used: it would hand the role to whoever can make the machine fetch a URL.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use hyper::StatusCode;
use hyper::body::Bytes;
use kcl_http::{Body, CredentialsError, CredentialsSource, Http, HttpError, request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::retry::{Patience, retry};

/// Where it is on EC2.
pub const ENDPOINT: &str = "http://169.254.169.254";

/// What names of roles and tags are made of stands for itself (IAM user guide, "IAM and AWS STS quotas").
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'+')
    .remove(b'=')
    .remove(b',')
    .remove(b'@')
    .remove(b':');

/// How long a token lives: six hours, the longest there is. One that ended early is renewed when it is refused.
const TOKEN_LIFE: &str = "21600";

/// The service is on the machine itself, so an answer takes milliseconds; one that was dropped on its way back
/// never arrives.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why the metadata cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImdsError {
    /// Nobody answers there.
    #[error(
        "the instance metadata service cannot be reached at {endpoint}\nhint: kcl-node runs on EC2 machines; elsewhere give another service with --imds"
    )]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// What was met.
        source: HttpError,
    },
    /// Connections are taken, and the token does not come.
    #[error(
        "the instance metadata service at {endpoint} sends no token\nhint: its answer may travel `httpPutResponseHopLimit` hops only; run kcl-node on the machine itself, not in a container"
    )]
    NoToken {
        /// Where it is.
        endpoint: String,
    },
    /// No tokens there.
    #[error(
        "the instance metadata service at {endpoint} knows version 1 only (no tokens: HTTP {status})\nhint: kcl-node uses version 2 only; every EC2 machine has it, so something else answers there"
    )]
    Version1 {
        /// Where it is.
        endpoint: String,
        /// What it said to the question for a token.
        status: u16,
    },
    /// Turned off.
    #[error(
        "the instance metadata service is turned off for this machine\nhint: the launch template's metadata options need `HttpEndpoint: enabled`"
    )]
    Disabled,
    /// It says something else than it should.
    #[error("the instance metadata service answered {path} with HTTP {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// There is no such thing.
    #[error("the instance metadata has no {path}\nhint: {hint}")]
    Missing {
        /// What was asked for.
        path: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// EC2 may not assume the role, or does not know yet that it may: a new role is known everywhere some seconds later.
    #[error(
        "EC2 cannot assume the role {role} for this machine ({code})\nhint: the role must trust ec2.amazonaws.com; `kcl update --yes` puts that back"
    )]
    NotAssumed {
        /// The role.
        role: String,
        /// What the service says instead of `Success`.
        code: String,
    },
    /// The answer is not what it should be. It is not repeated: it may be a credential.
    #[error("the instance metadata's {path} cannot be read: {why}")]
    Unreadable {
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ImdsError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.is_transient(),
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::NoToken { .. } => true,
            _ => false,
        }
    }
}

/// Who this machine is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its account.
    pub account_id: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Its zone.
    pub availability_zone: String,
    /// Its image.
    pub image_id: String,
    /// `i-…`.
    pub instance_id: String,
    /// `t3.small`.
    pub instance_type: String,
    /// Its address inside the VPC.
    pub private_ip: IpAddr,
    /// Its region.
    pub region: String,
}

/// What the spot market has in mind with this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SpotAction {
    /// `terminate`, `stop` or `hibernate`.
    pub action: String,
    /// When, in RFC 3339.
    pub time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    code: String,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

/// The service.
#[derive(Debug)]
pub struct Imds {
    http: Http,
    endpoint: String,
    patience: Patience,
    timeout: Duration,
    token: Mutex<Option<String>>,
}

impl Imds {
    /// The service at `endpoint`, which is [`ENDPOINT`] on EC2.
    pub fn new(http: Http, endpoint: &str, patience: Patience) -> Self {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Self { http, endpoint, patience, timeout: TIMEOUT, token: Mutex::default() }
    }

    /// With another bound on how long an answer may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Who this machine is.
    pub async fn identity(&self) -> Result<Identity, ImdsError> {
        let path = "dynamic/instance-identity/document";
        let identity: Identity = self.document(path, "something else than EC2 answers there").await?;
        // It becomes part of names in the store and of file texts.
        let plain = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        };
        let Identity { account_id, architecture, availability_zone, image_id, instance_id, .. } = &identity;
        let all = [account_id, architecture, availability_zone, image_id, instance_id, &identity.region];
        if all.into_iter().all(|text| plain(text)) && instance_id.starts_with("i-") {
            return Ok(identity);
        }
        Err(ImdsError::Unreadable { path: path.to_owned(), why: "its names are not EC2's".to_owned() })
    }

    /// The credentials of the machine's role, and until when they are good.
    pub async fn credentials(&self) -> Result<Credentials, ImdsError> {
        let is_young = |error: &ImdsError| matches!(error, ImdsError::NotAssumed { .. });
        retry(self.patience, is_young, || self.credentials_now()).await
    }

    async fn credentials_now(&self) -> Result<Credentials, ImdsError> {
        let hint = "the machine has no role; its launch template must name an instance profile";
        let list = "meta-data/iam/security-credentials/";
        let role = self.required(list, hint).await?;
        let role = role.lines().next().unwrap_or_default().trim();
        let path = format!("{list}{}", utf8_percent_encode(role, NAME));
        let found: RoleCredentials = self.document(&path, hint).await?;
        let unreadable = |why: &str| ImdsError::Unreadable { path: path.clone(), why: why.to_owned() };
        if found.code != "Success" {
            // What is in its place may be anything.
            let plain = found.code.chars().all(|c| c.is_ascii_alphanumeric()) && found.code.len() < 100;
            let code = if plain { found.code } else { "no code".to_owned() };
            return Err(ImdsError::NotAssumed { role: role.to_owned(), code });
        }
        let (Some(id), Some(secret)) = (found.access_key_id, found.secret_access_key) else {
            return Err(unreadable("it has no key"));
        };
        let expires = match &found.expiration {
            Some(at) => {
                Some(OffsetDateTime::parse(at, &Rfc3339).map_err(|_| unreadable("its end is no time"))?)
            }
            None => None,
        };
        Ok(Credentials::new(id, secret, found.token, expires.map(SystemTime::from), "instance metadata"))
    }

    /// One of the machine's tags; nothing if it has no such tag, or if its metadata shows none.
    pub async fn tag(&self, key: &str) -> Result<Option<String>, ImdsError> {
        let key = utf8_percent_encode(key, NAME);
        self.get(&format!("meta-data/tags/instance/{key}")).await
    }

    /// What the machine runs first.
    pub async fn user_data(&self) -> Result<Option<String>, ImdsError> {
        self.get("user-data").await
    }

    /// Whether the spot market wants the machine back.
    pub async fn spot_action(&self) -> Result<Option<SpotAction>, ImdsError> {
        let path = "meta-data/spot/instance-action";
        self.get(path).await?.map(|text| read(path, &text)).transpose()
    }

    async fn document<T: DeserializeOwned>(&self, path: &str, hint: &'static str) -> Result<T, ImdsError> {
        read(path, &self.required(path, hint).await?)
    }

    async fn required(&self, path: &str, hint: &'static str) -> Result<String, ImdsError> {
        let found = self.get(path).await?;
        found.ok_or_else(|| ImdsError::Missing { path: path.to_owned(), hint })
    }

    /// What is at a path below `/latest/`; nothing where the service has no such thing.
    pub async fn get(&self, path: &str) -> Result<Option<String>, ImdsError> {
        retry(self.patience, ImdsError::is_transient, || self.once(path)).await
    }

    async fn once(&self, path: &str) -> Result<Option<String>, ImdsError> {
        let kept = self.kept().clone();
        let renewable = kept.is_some();
        let token = match kept {
            Some(token) => token,
            None => self.new_token().await?,
        };
        let (status, body) = self.ask(path, &token).await?;
        match status {
            // A token may end early, as when the machine was stopped and started.
            StatusCode::UNAUTHORIZED if renewable => {
                let token = self.new_token().await?;
                self.answer(path, self.ask(path, &token).await?)
            }
            status => self.answer(path, (status, body)),
        }
    }

    fn answer(&self, path: &str, (status, body): (StatusCode, Bytes)) -> Result<Option<String>, ImdsError> {
        match status {
            StatusCode::OK => match String::from_utf8(body.to_vec()) {
                Ok(text) => Ok(Some(text)),
                Err(_) => {
                    Err(ImdsError::Unreadable { path: path.to_owned(), why: "it is not text".to_owned() })
                }
            },
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::FORBIDDEN => Err(ImdsError::Disabled),
            other => {
                *self.kept() = None;
                Err(ImdsError::Status { path: path.to_owned(), status: other.as_u16() })
            }
        }
    }

    async fn ask(&self, path: &str, token: &str) -> Result<(StatusCode, Bytes), ImdsError> {
        let url = format!("{}/latest/{path}", self.endpoint);
        let headers = [("x-aws-ec2-metadata-token", token)];
        let request =
            request("GET", &url, &headers, Body::empty()).map_err(|error| self.unreachable(error))?;
        let answer = self.http.send(request, self.timeout).await.map_err(|error| self.unreachable(error))?;
        Ok((answer.status, answer.body))
    }

    async fn new_token(&self) -> Result<String, ImdsError> {
        let endpoint = || self.endpoint.clone();
        let url = format!("{}/latest/api/token", self.endpoint);
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_LIFE)];
        let request =
            request("PUT", &url, &headers, Body::empty()).map_err(|error| self.unreachable(error))?;
        let answer = match self.http.send(request, self.timeout).await {
            Err(HttpError::Timeout { .. }) => return Err(ImdsError::NoToken { endpoint: endpoint() }),
            answer => answer.map_err(|error| self.unreachable(error))?,
        };
        match answer.status {
            StatusCode::OK => {
                let token = String::from_utf8_lossy(&answer.body).trim().to_owned();
                *self.kept() = Some(token.clone());
                Ok(token)
            }
            StatusCode::FORBIDDEN => Err(ImdsError::Disabled),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Err(ImdsError::Version1 { endpoint: endpoint(), status: answer.status.as_u16() })
            }
            status => Err(ImdsError::Status { path: "api/token".to_owned(), status: status.as_u16() }),
        }
    }

    fn unreachable(&self, source: HttpError) -> ImdsError {
        ImdsError::Unreachable { endpoint: self.endpoint.clone(), source }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The machine's role signs.
impl CredentialsSource for Imds {
    fn credentials(
        &self,
    ) -> Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + '_>> {
        Box::pin(async { Ok(Self::credentials(self).await?) })
    }
}

/// Reads a document; says where it is broken and nothing of what stands in it.
fn read<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, ImdsError> {
    serde_json::from_str(text).map_err(|error| ImdsError::Unreadable {
        path: path.to_owned(),
        why: format!("not the JSON that it should be, at line {} column {}", error.line(), error.column()),
    })
}
