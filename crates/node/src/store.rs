//! The state store, as far as a machine needs it: read an object, write one, if wanted only in the place of
//! what was there before.
//!
//! S3, and folders of a local file system for tests and trials.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::ETAG;
use kcl_http::{Answer, Http, HttpError, SignError, Signer, request, suffix, xml};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::retry::{Patience, retry};

/// What stands for itself in a path (RFC 3986, unreserved, and the slash between parts).
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// One object is small; a minute is a link that is not worth waiting for.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Beside the objects of a store in a folder: who writes holds it.
const LOCK: &str = ".kcl-node.lock";

/// A folder of a store: `s3://bucket/some/folder` or `file:///some/folder`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// What keys begin with, without slashes around it; may be empty.
        prefix: String,
    },
    /// A folder of this machine.
    File {
        /// The folder.
        folder: PathBuf,
    },
}

impl Location {
    /// Reads a location.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let broken = || StoreError::Location { text: text.to_owned() };
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            if bucket.is_empty() || !bucket.chars().all(plain) {
                return Err(broken());
            }
            let prefix = prefix.trim_matches('/').to_owned();
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix });
        }
        let folder = text.strip_prefix("file://").filter(|path| path.starts_with('/')).ok_or_else(broken)?;
        Ok(Self::File { folder: PathBuf::from(folder) })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { folder } => write!(f, "file://{}", folder.display()),
        }
    }
}

/// Why an object cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not a location.
    #[error("`{text}` is not a place in a state store\nhint: it is like s3://bucket/cluster.example.com")]
    Location {
        /// What was given.
        text: String,
    },
    /// It is not there.
    #[error("{object} is not there\nhint: `kcl update --yes` writes what machines read")]
    Missing {
        /// Its location.
        object: String,
    },
    /// It is something else than what was promised.
    #[error(
        "{object} has the sha256 {found}, and {wanted} was wanted\nhint: it was changed after this machine's launch template was made; `kcl update --yes` brings both together"
    )]
    Hash {
        /// Its location.
        object: String,
        /// The hash that the machine was started with.
        wanted: String,
        /// The object's.
        found: String,
    },
    /// S3 says no.
    #[error("S3 refused to {what} {object}: {code} (HTTP {status})\nhint: {hint}")]
    Refused {
        /// `read` or `write`.
        what: &'static str,
        /// Its location.
        object: String,
        /// S3's code for it.
        code: String,
        /// HTTP status.
        status: u16,
        /// What to do about it.
        hint: &'static str,
    },
    /// S3 has a bad moment.
    #[error("S3 could not {what} {object} now: {code} (HTTP {status})")]
    Busy {
        /// `read` or `write`.
        what: &'static str,
        /// Its location.
        object: String,
        /// S3's code for it.
        code: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer.
    #[error("failed to {what} {object}")]
    Http {
        /// `read` or `write`.
        what: &'static str,
        /// Its location.
        object: String,
        /// Why.
        source: HttpError,
    },
    /// No signature.
    #[error("failed to {what} {object}")]
    Sign {
        /// `read` or `write`.
        what: &'static str,
        /// Its location.
        object: String,
        /// Why.
        source: SignError,
    },
    /// A file.
    #[error("failed to {what} {object}")]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// Its location.
        object: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl StoreError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Http { source, .. } => source.is_transient(),
            _ => false,
        }
    }
}

/// An object and what it is known by until it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its entity tag.
    pub etag: String,
}

/// When to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Whatever is there.
    Always,
    /// If nothing is there.
    Absent,
    /// If what is there has this entity tag.
    Unchanged(&'a str),
}

/// What came of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there, with this entity tag.
    Yes(String),
    /// It is not: the condition does not hold.
    ConditionFailed,
}

/// How stores are reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// The client.
    pub http: Http,
    /// Who signs.
    pub signer: Signer,
    /// The bucket's region, as far as one knows; S3 says so if it is another.
    pub region: String,
    /// Another endpoint than AWS' own.
    pub endpoint: Option<String>,
    /// How often something is tried.
    pub patience: Patience,
}

/// A folder of a state store.
#[derive(Clone, Debug)]
pub struct Store {
    location: Location,
    access: Access,
    /// The bucket's region.
    region: Arc<Mutex<String>>,
}

impl Store {
    /// The store at a location.
    pub fn new(location: Location, access: Access) -> Self {
        let region = Arc::new(Mutex::new(access.region.clone()));
        Self { location, access, region }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// An object, or nothing where there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        match &self.location {
            Location::File { folder } => read_file(&folder.join(key), &self.object(key)),
            Location::S3 { .. } => {
                retry(self.access.patience, StoreError::is_transient, || self.get_s3(key)).await
            }
        }
    }

    /// An object that has to be there.
    pub async fn require(&self, key: &str) -> Result<Object, StoreError> {
        let found = self.get(key).await?;
        found.ok_or_else(|| StoreError::Missing { object: self.object(key) })
    }

    /// An object with this sha256, and no other.
    pub async fn get_checked(&self, key: &str, sha256: &str) -> Result<Vec<u8>, StoreError> {
        let object = self.object(key);
        let found = self.require(key).await?;
        let hash = hex::encode(Sha256::digest(&found.bytes));
        if hash == sha256.to_ascii_lowercase() {
            return Ok(found.bytes);
        }
        Err(StoreError::Hash { object, wanted: sha256.to_owned(), found: hash })
    }

    /// Writes an object, if the condition holds at that moment.
    ///
    /// An answer that was lost is asked for again: with a condition that then says [`Written::ConditionFailed`]
    /// although this very write was the one; whoever must know reads the object.
    pub async fn put(
        &self,
        key: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, StoreError> {
        match &self.location {
            Location::File { folder } => write_file(folder, key, bytes, condition)
                .map_err(|source| StoreError::File { what: "write", object: self.object(key), source }),
            Location::S3 { .. } => {
                let attempt = || self.put_s3(key, bytes, condition);
                retry(self.access.patience, StoreError::is_transient, attempt).await
            }
        }
    }

    /// A key as people see it.
    fn object(&self, key: &str) -> String {
        format!("{}/{key}", self.location)
    }

    async fn get_s3(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let answer = self.ask("read", "GET", key, &[], &[]).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(Object { etag: etag(&answer), bytes: answer.body.to_vec() })),
            StatusCode::NOT_FOUND if code(&answer) != "NoSuchBucket" => Ok(None),
            _ => Err(self.failure("read", key, &answer)),
        }
    }

    async fn put_s3(&self, key: &str, bytes: &[u8], condition: Condition<'_>) -> Result<Written, StoreError> {
        let headers: &[(&str, &str)] = match condition {
            Condition::Always => &[],
            Condition::Absent => &[("if-none-match", "*")],
            Condition::Unchanged(etag) => &[("if-match", etag)],
        };
        let answer = self.ask("write", "PUT", key, headers, bytes).await?;
        match answer.status {
            StatusCode::OK => Ok(Written::Yes(etag(&answer))),
            StatusCode::PRECONDITION_FAILED => Ok(Written::ConditionFailed),
            // What should be unchanged is gone.
            StatusCode::NOT_FOUND if code(&answer) == "NoSuchKey" => Ok(Written::ConditionFailed),
            _ => Err(self.failure("write", key, &answer)),
        }
    }

    /// Asks S3, in the bucket's own region if it turns out to be another one.
    async fn ask(
        &self,
        what: &'static str,
        method: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, StoreError> {
        let region = self.region.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = self.ask_in(&region, what, method, key, headers, body).await?;
        let named = answer.headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        let elsewhere = named.filter(|named| *named != region && !answer.status.is_success());
        let Some(elsewhere) = elsewhere.map(str::to_owned) else { return Ok(answer) };
        elsewhere.clone_into(&mut self.region.lock().unwrap_or_else(PoisonError::into_inner));
        self.ask_in(&elsewhere, what, method, key, headers, body).await
    }

    async fn ask_in(
        &self,
        region: &str,
        what: &'static str,
        method: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, StoreError> {
        let http = |source| StoreError::Http { what, object: self.object(key), source };
        let url = self.url(region, key);
        let mut request = request(method, &url, headers, body.to_vec()).map_err(http)?;
        let signed = self.access.signer.sign(&mut request, "s3", region).await;
        signed.map_err(|source| StoreError::Sign { what, object: self.object(key), source })?;
        let answer = self.access.http.send(request, TIMEOUT).await.map_err(http)?;
        self.access.signer.forget_if_refused(&code(&answer));
        Ok(answer)
    }

    fn url(&self, region: &str, key: &str) -> String {
        let Location::S3 { bucket, prefix } = &self.location else { return String::new() };
        let whole = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") };
        let path = utf8_percent_encode(&whole, PATH);
        match &self.access.endpoint {
            Some(endpoint) => format!("{}/{bucket}/{path}", endpoint.trim_end_matches('/')),
            // S3's certificates are for one name below its own.
            None if bucket.contains('.') => format!("https://s3.{region}.{}/{bucket}/{path}", suffix(region)),
            None => format!("https://{bucket}.s3.{region}.{}/{path}", suffix(region)),
        }
    }

    fn failure(&self, what: &'static str, key: &str, answer: &Answer) -> StoreError {
        let (object, code, status) = (self.object(key), code(answer), answer.status.as_u16());
        // Credentials that ended are new ones at the next try; two writes at once settle by themselves.
        let passing =
            matches!(code.as_str(), "ExpiredToken" | "RequestTimeout" | "ConditionalRequestConflict");
        if answer.status.is_server_error() || status == 429 || passing {
            return StoreError::Busy { what, object, code, status };
        }
        let hint = match code.as_str() {
            "NoSuchBucket" => "the state store's bucket is gone, or its name is not this one",
            "RequestTimeTooSkewed" => "the machine's clock is wrong; does chrony run?",
            _ => "the machine's role must be allowed to; `kcl update --yes` sets what its policy says",
        };
        StoreError::Refused { what, object, code, status, hint }
    }
}

fn etag(answer: &Answer) -> String {
    answer.headers.get(ETAG).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// S3's word for what is wrong: the `Code` of its XML.
fn code(answer: &Answer) -> String {
    if answer.status.is_success() {
        return String::new();
    }
    let code = xml::error_code(&String::from_utf8_lossy(&answer.body));
    code.unwrap_or_else(|| "no reason given".to_owned())
}

fn read_file(path: &Path, object: &str) -> Result<Option<Object>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Object { etag: content_tag(&bytes), bytes })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::File { what: "read", object: object.to_owned(), source }),
    }
}

fn content_tag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Sha256::digest(bytes)))
}

/// One writer at a time looks at the condition and writes.
fn write_file(folder: &Path, key: &str, bytes: &[u8], condition: Condition<'_>) -> io::Result<Written> {
    fs::create_dir_all(folder)?;
    let lock = fs::File::create(folder.join(LOCK))?;
    lock.lock()?;
    let path = folder.join(key);
    let there = match fs::read(&path) {
        Ok(bytes) => Some(content_tag(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let holds = match condition {
        Condition::Always => true,
        Condition::Absent => there.is_none(),
        Condition::Unchanged(etag) => there.as_deref() == Some(etag),
    };
    if !holds {
        return Ok(Written::ConditionFailed);
    }
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(Written::Yes(content_tag(bytes)))
}
