//! Manifests that stand elsewhere: fetched, checked against their hash, and only then read.
//!
//! Takes a URL and the hash of what it should give; gives the objects in it. `https://` only, also after being
//! sent elsewhere, by the certificate authorities that the machine trusts; and `file:///`.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};

use crate::error::Cause;
use crate::retry::{self, Fault};

/// The largest manifest that is read: three times the largest that people apply by hand.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// How often it is followed to another place: GitHub's releases take two.
const MAX_REDIRECTS: usize = 5;

/// How long one answer may take as a whole.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// How long passing failures are tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How deep values may stand in each other: schemas of large definitions have some fifty levels.
const MAX_DEPTH: usize = 120;

/// How many values a manifest may have, aliases counted where they are used.
const MAX_NODES: usize = 2_000_000;

/// How many of them may come from aliases (`*name`), which few manifests have at all.
const MAX_ALIAS_EVENTS: usize = 100_000;

/// Reading YAML is recursive and takes up to 40 kB of stack for each level where nothing was optimised.
const STACK: usize = 16 * 1024 * 1024;

/// Why a manifest could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The URL cannot be used.
    #[error("the manifest's URL {url} cannot be used: {reason}")]
    Url {
        /// Without user, password and query, if it had any.
        url: String,
        /// Why.
        reason: String,
    },
    /// It could not be fetched.
    #[error("the manifest {url} cannot be fetched: {reason}")]
    Fetch {
        /// From where.
        url: String,
        /// Why.
        reason: String,
    },
    /// It is another one.
    #[error("the manifest {url} has the sha256 {found}, and {expected} is expected")]
    Hash {
        /// From where.
        url: String,
        /// Lower case hexadecimal.
        expected: String,
        /// Lower case hexadecimal.
        found: String,
    },
    /// It is the right one and not a manifest.
    #[error("the manifest {url} cannot be read: {reason}")]
    Content {
        /// From where.
        url: String,
        /// Why, with line and column where there are any.
        reason: String,
    },
}

/// Fetches the objects of a manifest from `https://` or `file:///`. `sha256` is that of the whole file, in
/// hexadecimal; nothing of a file with another one is read.
pub async fn fetch_manifest(url: &str, sha256: &str) -> Result<Vec<Value>, RemoteError> {
    let expected = sha256.trim().to_ascii_lowercase();
    if expected.len() != 64 || hex::decode(&expected).is_err() {
        let reason = "its sha256 is not 64 hexadecimal digits".to_owned();
        return Err(RemoteError::Url { url: shown(url), reason });
    }
    let bytes = match url.strip_prefix("file://") {
        Some(path) => read_file(url, path).await?,
        None => fetch_https(url).await?,
    };
    let found = hex::encode(Sha256::digest(&bytes));
    if found != expected {
        return Err(RemoteError::Hash { url: shown(url), expected, found });
    }
    let content = |reason| RemoteError::Content { url: shown(url), reason };
    // On a stack of its own: how deep values stand in each other is the file's choice.
    let reader = move || {
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || read(&bytes))?
            .join()
            .map_or_else(|_| Err(std::io::Error::other("it is nested too deeply")), Ok)
    };
    match tokio::task::spawn_blocking(reader).await {
        Ok(Ok(read)) => read.map_err(content),
        Ok(Err(error)) => Err(content(error.to_string())),
        Err(_) => Err(content("reading it was cut short".to_owned())),
    }
}

async fn read_file(url: &str, path: &str) -> Result<Vec<u8>, RemoteError> {
    let bad = |reason: &str| RemoteError::Url { url: url.to_owned(), reason: reason.to_owned() };
    if !path.starts_with('/') {
        return Err(bad("a file has three slashes and a whole path: `file:///etc/manifest.yaml`"));
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| bad("its path is not UTF-8"))?;
    let path = PathBuf::from(path.into_owned());
    let failed = |reason: String| RemoteError::Fetch { url: url.to_owned(), reason };
    let read = move || {
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|_| failed("it was cut short".to_owned()))?;
    let bytes = read.map_err(|error| failed(error.to_string()))?;
    if bytes.len() > MAX_BYTES { Err(failed(too_large())) } else { Ok(bytes) }
}

fn too_large() -> String {
    format!("it is larger than {} MiB", MAX_BYTES / 1024 / 1024)
}

async fn fetch_https(url: &str) -> Result<Vec<u8>, RemoteError> {
    let failed = |reason: String| RemoteError::Fetch { url: shown(url), reason };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| failed(format!("the machine's certificate authorities cannot be read: {error}")))?
        .https_only()
        .enable_http1()
        .build();
    fetch(&Client::builder(TokioExecutor::new()).build(connector), url, "https", PATIENCE).await
}

type HttpClient<C> = Client<C, Empty<Bytes>>;

/// Fetches from `url`, follows it elsewhere, and tries again what may pass. Only URLs of this scheme are asked.
async fn fetch<C: Connect + Clone + Send + Sync + 'static>(
    client: &HttpClient<C>,
    url: &str,
    scheme: &str,
    patience: Duration,
) -> Result<Vec<u8>, RemoteError> {
    // From the first failure on: an answer that never came has cost a minute already, and may come now.
    let mut begin = None;
    let mut place = checked(url, scheme)?;
    let mut redirects = 0;
    let mut tries = 0;
    loop {
        let failed = |reason: String| RemoteError::Fetch { url: shown(&place.to_string()), reason };
        tries += 1;
        let answer = timeout(ANSWER_TIMEOUT, ask(client, &place)).await;
        let fault = match answer {
            Ok(Ok(Answer::Bytes(bytes))) => return Ok(bytes),
            Ok(Ok(Answer::TooLarge)) => return Err(failed(too_large())),
            Ok(Ok(Answer::Elsewhere(location))) => {
                redirects += 1;
                if redirects > MAX_REDIRECTS {
                    return Err(failed(format!("it leads from one place to the next, {redirects} times")));
                }
                place = checked(&joined(&place, &location), scheme)?;
                continue;
            }
            Ok(Err(fault)) => fault,
            Err(_) => Fault::Connection {
                cause: Cause::Timeout,
                reason: format!("no whole answer in {} s", ANSWER_TIMEOUT.as_secs()),
            },
        };
        let pause = retry::pause(tries, &fault);
        let begin = *begin.get_or_insert_with(Instant::now);
        if !retry::passes(&fault, tries) || begin.elapsed() + pause > patience {
            return Err(failed(match fault {
                Fault::Connection { reason, .. } => reason,
                Fault::Answer { status, .. } => format!("the answer is {status}"),
            }));
        }
        sleep(pause).await;
    }
}

enum Answer {
    Bytes(Vec<u8>),
    Elsewhere(String),
    TooLarge,
}

async fn ask<C: Connect + Clone + Send + Sync + 'static>(
    client: &HttpClient<C>,
    place: &Uri,
) -> Result<Answer, Fault> {
    let broken = |reason: String| Fault::Connection { cause: Cause::Broken, reason };
    let request = Request::get(place)
        .header(USER_AGENT, concat!("kcl/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| broken(error.to_string()))?;
    let answer = client.request(request).await.map_err(|error| {
        let (cause, reason) = crate::request::cause_of(&error);
        Fault::Connection { cause, reason }
    })?;
    let status = answer.status();
    if status.is_redirection() {
        let location = header(&answer, LOCATION);
        return location.map(Answer::Elsewhere).ok_or_else(|| answered(status.as_u16()));
    }
    if !status.is_success() {
        return Err(answered(status.as_u16()));
    }
    match Limited::new(answer.into_body(), MAX_BYTES).collect().await {
        Ok(body) => Ok(Answer::Bytes(body.to_bytes().to_vec())),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Ok(Answer::TooLarge),
        Err(error) => Err(broken(error.to_string())),
    }
}

fn answered(status: u16) -> Fault {
    Fault::Answer { status, retry_after: None, body: Vec::new() }
}

fn header<B>(answer: &Response<B>, name: hyper::header::HeaderName) -> Option<String> {
    answer.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn checked(url: &str, scheme: &str) -> Result<Uri, RemoteError> {
    let bad = |reason: &str| RemoteError::Url { url: shown(url), reason: reason.to_owned() };
    let parsed: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
    if parsed.scheme_str() != Some(scheme) {
        return Err(bad("only https:// and file:/// are fetched"));
    }
    match parsed.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(bad("it has a user or a password in it; a manifest is for everybody"))
        }
        Some(authority) if !authority.host().is_empty() => Ok(parsed),
        _ => Err(bad("it has no host")),
    }
}

/// Where `location` leads from `place`.
fn joined(place: &Uri, location: &str) -> String {
    let scheme = place.scheme_str().unwrap_or_default();
    let authority = place.authority().map(ToString::to_string).unwrap_or_default();
    if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = place.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    }
}

/// A URL as it may be shown: without user and password, and without its query, which may be a signature that
/// opens the place to whoever has it.
fn shown(url: &str) -> String {
    if url.starts_with("file://") {
        return url.to_owned();
    }
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// The objects of a file with one or more YAML documents. Empty ones stand for nothing.
fn read(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let documents: Vec<Tree> =
        serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| {
            let place = error
                .location()
                .map_or_else(String::new, |at| format!("line {}, column {}: ", at.line(), at.column()));
            let words = error.without_snippet().to_string();
            format!("{place}{}", words.lines().next().unwrap_or_default())
        })?;
    let mut objects = Vec::new();
    for (index, Tree(document)) in documents.into_iter().enumerate() {
        match document {
            Value::Null => {}
            Value::Object(_) => objects.push(document),
            _ => return Err(format!("document {} is not an object", index + 1)),
        }
    }
    if objects.is_empty() { Err("it has no object in it".to_owned()) } else { Ok(objects) }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIAS_EVENTS,
        },
        // Kubernetes' own tools read YAML 1.1, in which file modes are written: `defaultMode: 0400`.
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

/// JSON out of YAML. Keys are text, whatever they look like: a ConfigMap may have the key `8080`.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> serde::de::Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value that JSON has too")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number that JSON does not have"))?;
        Ok(Tree(number.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(Tree(member)) = seq.next_element()? {
            members.push(member);
        }
        Ok(Tree(members.into()))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Map::new();
        while let Some((key, Tree(value))) = map.next_entry::<String, Tree>()? {
            fields.insert(key, value);
        }
        Ok(Tree(fields.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    use hyper_util::client::legacy::connect::HttpConnector;
    use serde_json::json;

    use super::*;

    /// Answers one connection after the other with the given texts; what it was asked for comes back.
    fn serve(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                asked.push(lines.next().unwrap().unwrap());
                while lines.next().unwrap().unwrap() != "" {}
                // The other side may have heard enough.
                let _ = stream.write_all(&answer);
            }
            asked
        });
        (url, server)
    }

    fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
            .into_bytes()
    }

    async fn get(url: &str) -> Result<Vec<u8>, RemoteError> {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        fetch(&client, url, "http", Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn it_is_followed_and_tried_again() {
        let (url, server) = serve(vec![
            answer("302 Found", "Location: /b/one.yaml\r\n", ""),
            answer("302 Found", "Location: two.yaml\r\n", ""),
            answer("503 Service Unavailable", "", "busy"),
            // Cut short.
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec(),
            answer("200 OK", "", "a: b"),
        ]);
        assert_eq!(get(&format!("{url}/a")).await.unwrap(), b"a: b");
        let asked = server.join().unwrap();
        let paths: Vec<_> = asked.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(paths, ["/a", "/b/one.yaml", "/b/two.yaml", "/b/two.yaml", "/b/two.yaml"]);
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_told_at_once() {
        let (url, _server) = serve(vec![answer("404 Not Found", "", "")]);
        assert_eq!(
            get(&format!("{url}/a")).await.unwrap_err().to_string(),
            format!("the manifest {url}/a cannot be fetched: the answer is 404")
        );
        let (url, _server) = serve(vec![answer("301 Moved", "Location: ftp://a.example/\r\n", "")]);
        assert_eq!(
            get(&url).await.unwrap_err().to_string(),
            "the manifest's URL ftp://a.example/ cannot be used: only https:// and file:/// are fetched"
        );
        let (url, _server) = serve(vec![answer("302 Found", "Location: /again\r\n", ""); 6]);
        assert!(get(&url).await.unwrap_err().to_string().contains("from one place to the next"));
        let (url, _server) = serve(vec![answer("200 OK", "", &"x".repeat(MAX_BYTES + 1))]);
        assert!(get(&url).await.unwrap_err().to_string().contains("larger than 16 MiB"));
    }

    #[tokio::test]
    async fn signatures_are_not_told() {
        let (url, _server) = serve(vec![
            answer("302 Found", "Location: /b?X-Amz-Signature=swordfish\r\n", ""),
            answer("403 Forbidden", "", ""),
        ]);
        assert_eq!(
            get(&format!("{url}/a?token=swordfish")).await.unwrap_err().to_string(),
            format!("the manifest {url}/b cannot be fetched: the answer is 403")
        );
        let elsewhere = "Location: http://user:swordfish@a.example/b?c=swordfish#swordfish\r\n";
        let (url, _server) = serve(vec![answer("302 Found", elsewhere, "")]);
        let error = get(&url).await.unwrap_err();
        assert!(!format!("{error}{error:?}").contains("swordfish"), "{error:?}");
        assert!(error.to_string().contains("http://a.example/b"), "{error}");
        let error = fetch_manifest("https://a.example/b?c=swordfish", "abc").await.unwrap_err();
        assert!(!error.to_string().contains("swordfish"), "{error}");
    }

    #[tokio::test]
    async fn only_the_right_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a file.yaml");
        let text = "# nothing\n---\na: {8080: x, mode: 0400, on: yes}\n---\n---\nkind: List\nitems: []\n";
        std::fs::write(&path, text).unwrap();
        let url = format!("file://{}", path.display()).replace(' ', "%20");
        let sha256 = hex::encode(Sha256::digest(text));
        let found = fetch_manifest(&url, &sha256.to_uppercase()).await.unwrap();
        assert_eq!(
            found,
            [json!({"a": {"8080": "x", "mode": 256, "on": true}}), json!({"kind": "List", "items": []})]
        );
        let other = "0".repeat(64);
        let error = fetch_manifest(&url, &other).await.unwrap_err();
        assert_eq!(error, RemoteError::Hash { url: url.clone(), expected: other, found: sha256 });
        assert!(matches!(fetch_manifest(&url, "abc").await.unwrap_err(), RemoteError::Url { .. }));
        let missing = fetch_manifest("file:///nowhere/at/all", &"0".repeat(64)).await.unwrap_err();
        assert!(matches!(missing, RemoteError::Fetch { .. }), "{missing}");
    }

    #[tokio::test]
    async fn urls_that_are_not_fetched() {
        for (url, reason) in [
            ("http://a.example/b", "only https:// and file:/// are fetched"),
            ("b.yaml", "only https:// and file:/// are fetched"),
            ("file://b.yaml", "three slashes"),
            ("https://user:secret@a.example/b", "it has a user or a password"),
        ] {
            let error = fetch_manifest(url, &"0".repeat(64)).await.unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn hostile_files_are_refused() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n\
                    g: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
        assert!(read(bomb.as_bytes()).is_err());
        let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
        assert!(read(deep.as_bytes()).is_err());
        assert_eq!(read(b"- a").unwrap_err(), "document 1 is not an object");
        assert_eq!(read(b"---\n---\n").unwrap_err(), "it has no object in it");
        assert_eq!(read(&[0xff]).unwrap_err(), "it is not UTF-8");
        assert!(read(b"a: 1\na: 2").unwrap_err().starts_with("line 2, column 1"));
    }
}
