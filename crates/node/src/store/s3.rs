//! S3: how it is asked, and what it says.

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::ETAG;
use kcl_http::{Answer, Body, Opened, request, suffix, xml};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Condition, Location, Object, Store, StoreError, Written};

/// What stands for itself in a path (RFC 3986, unreserved, and the slash between parts).
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Likewise, in a query.
const QUERY: &AsciiSet = &PATH.add(b'/');

/// One object is small; a minute is a link that is not worth waiting for.
pub(super) const TIMEOUT: Duration = Duration::from_mins(1);

/// The largest answer in memory: node configurations are some 10 KiB, a thousand keys some hundred.
const LARGEST: usize = 8 << 20;

/// What S3 is asked.
pub(super) struct Ask<'a> {
    /// What it is, in an error.
    pub(super) what: &'static str,
    pub(super) method: &'static str,
    /// Of an object, or what objects are asked for.
    pub(super) key: &'a str,
    /// Whether the bucket itself is asked, about keys that begin with this.
    pub(super) bucket: bool,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) content: Content<'a>,
    /// Until the head of the answer.
    pub(super) timeout: Duration,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Bytes(&'a [u8]),
    /// A file and its hash.
    File(&'a Path, &'a str),
}

impl<'a> Ask<'a> {
    /// About an object, with nothing sent.
    pub(super) fn object(what: &'static str, method: &'static str, key: &'a str) -> Self {
        let content = Content::Bytes(&[]);
        Self { what, method, key, bucket: false, query: &[], headers: &[], content, timeout: TIMEOUT }
    }
}

impl Store {
    pub(super) async fn get_s3(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let ask = Ask::object("read", "GET", key);
        let answer = self.ask(&ask).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(Object { etag: etag(&answer), bytes: answer.body.to_vec() })),
            StatusCode::NOT_FOUND if code(&answer) != "NoSuchBucket" => Ok(None),
            _ => Err(self.failure(&ask, &answer)),
        }
    }

    pub(super) async fn put_s3(
        &self,
        key: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, StoreError> {
        let headers: &[(&str, &str)] = match condition {
            Condition::Always => &[],
            Condition::Absent => &[("if-none-match", "*")],
            Condition::Unchanged(etag) => &[("if-match", etag)],
        };
        let content = Content::Bytes(bytes);
        let ask = Ask { headers, content, ..Ask::object("write", "PUT", key) };
        let answer = self.ask(&ask).await?;
        match answer.status {
            StatusCode::OK => Ok(Written::Yes(etag(&answer))),
            StatusCode::PRECONDITION_FAILED => Ok(Written::ConditionFailed),
            // What should be unchanged is gone.
            StatusCode::NOT_FOUND if code(&answer) == "NoSuchKey" => Ok(Written::ConditionFailed),
            _ => Err(self.failure(&ask, &answer)),
        }
    }

    /// Asks, and gives the whole answer.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, StoreError> {
        let opened = self.open(ask).await?;
        self.whole(ask, opened).await
    }

    /// The whole answer.
    pub(super) async fn whole(&self, ask: &Ask<'_>, opened: Opened) -> Result<Answer, StoreError> {
        let http = |source| StoreError::Http { what: ask.what, object: self.object(ask.key), source };
        let answer = opened.whole(LARGEST, TIMEOUT).await.map_err(http)?;
        self.access.signer.forget_if_refused(&code(&answer));
        Ok(answer)
    }

    /// Asks in the bucket's own region, also if it turns out to be another one, and gives the answer once its head
    /// has arrived.
    pub(super) async fn open(&self, ask: &Ask<'_>) -> Result<Opened, StoreError> {
        let region = self.region.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = self.open_in(&region, ask).await?;
        let named = answer.headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        let elsewhere = named.filter(|named| *named != region && !answer.status.is_success());
        let Some(elsewhere) = elsewhere.map(str::to_owned) else { return Ok(answer) };
        elsewhere.clone_into(&mut self.region.lock().unwrap_or_else(PoisonError::into_inner));
        self.open_in(&elsewhere, ask).await
    }

    async fn open_in(&self, region: &str, ask: &Ask<'_>) -> Result<Opened, StoreError> {
        let (what, object) = (ask.what, || self.object(ask.key));
        let http = |source| StoreError::Http { what, object: object(), source };
        let body = match ask.content {
            Content::Bytes(bytes) => bytes.to_vec().into(),
            Content::File(path, sha256) => match Body::file(path).await {
                Ok(body) => body.with_sha256(sha256),
                Err(source) => return Err(StoreError::File { what, object: object(), source }),
            },
        };
        let mut request = request(ask.method, &self.url(region, ask), ask.headers, body).map_err(http)?;
        let signed = self.access.signer.sign(&mut request, "s3", region).await;
        signed.map_err(|source| StoreError::Sign { what, object: object(), source })?;
        self.access.http.open(request, ask.timeout).await.map_err(http)
    }

    fn url(&self, region: &str, ask: &Ask<'_>) -> String {
        let Location::S3 { bucket, .. } = &self.location else { return String::new() };
        let base = match &self.access.endpoint {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            // S3's certificates are for one name below its own.
            None if bucket.contains('.') => format!("https://s3.{region}.{}/{bucket}", suffix(region)),
            None => format!("https://{bucket}.s3.{region}.{}", suffix(region)),
        };
        let key = if ask.bucket { String::new() } else { self.whole_key(ask.key) };
        let query = ask.query.iter().map(|(name, value)| {
            format!("{}={}", utf8_percent_encode(name, QUERY), utf8_percent_encode(value, QUERY))
        });
        let query = query.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}/{}{mark}{query}", utf8_percent_encode(&key, PATH))
    }

    /// A key as the bucket has it.
    pub(super) fn whole_key(&self, key: &str) -> String {
        match &self.location {
            Location::S3 { prefix, .. } if !prefix.is_empty() => format!("{prefix}/{key}"),
            _ => key.to_owned(),
        }
    }

    pub(super) fn failure(&self, ask: &Ask<'_>, answer: &Answer) -> StoreError {
        let (what, object) = (ask.what, self.object(ask.key));
        let (code, status) = (code(answer), answer.status.as_u16());
        // Credentials that ended are new ones at the next try; two writes at once settle by themselves.
        let passing =
            matches!(code.as_str(), "ExpiredToken" | "RequestTimeout" | "ConditionalRequestConflict");
        // What a store cannot do it cannot do a minute later either.
        let unable = answer.status == StatusCode::NOT_IMPLEMENTED;
        if (answer.status.is_server_error() && !unable) || status == 429 || passing {
            return StoreError::Busy { what, object, code, status };
        }
        let hint = match code.as_str() {
            "NoSuchBucket" => "the state store's bucket is gone, or its name is not this one",
            "RequestTimeTooSkewed" => "the machine's clock is wrong; does chrony run?",
            _ if unable => "the state store has to do what S3 does, conditional writes above all",
            _ => "the machine's role must be allowed to; `kcl update --yes` sets what its policy says",
        };
        StoreError::Refused { what, object, code, status, hint }
    }
}

fn etag(answer: &Answer) -> String {
    answer.headers.get(ETAG).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// S3's word for what is wrong: the `Code` of its XML.
pub(super) fn code(answer: &Answer) -> String {
    if answer.status.is_success() {
        return String::new();
    }
    let code = xml::error_code(&String::from_utf8_lossy(&answer.body));
    code.unwrap_or_else(|| "no reason given".to_owned())
}
