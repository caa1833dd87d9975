//! What the tests share: an AWS that checks signatures, keys of a cluster, a service behind real TLS, and its log.
//!
//! The AWS here is STS and EC2 as far as a join asks them, over HTTP on loopback. It works signatures out from
//! AWS' documents with nothing of the crate under test:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>.

#![expect(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_lc_rs::hmac;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::LOCATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kcl_http::Signer;
use kcl_join::{
    Claim, ClientConfig, Envelope, JoinRequest, Kubernetes, KubernetesError, Limits, Metadata, Node,
    NodeSpec, Proof, Secret, Server, ServerTls, Service, ServiceConfig, Written,
};
use kcl_pki::{Issued, Keyset, KeysetName, Profile, SubjectAltNames, SystemEntropy};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const CLUSTER: &str = "k8s.example.com";
pub(crate) const REGION: &str = "eu-north-1";
pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const ROLE: &str = "nodes.k8s.example.com";
pub(crate) const ID: &str = "i-0123456789abcdef0";
pub(crate) const STS_HOST: &str = "sts.eu-north-1.amazonaws.com";

/// Somebody who has credentials.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) key: String,
    secret: String,
    token: String,
    account: String,
    arn: String,
    user_id: String,
}

impl Person {
    /// A session of a role, as EC2 gives one to an instance if `session` is an instance id.
    pub(crate) fn session(account: &str, role: &str, session: &str) -> Self {
        let key = hex::encode_upper(&Sha256::digest(format!("{account}/{role}/{session}"))[..8]);
        Self {
            key: format!("ASIA{key}"),
            secret: format!("secret of {key}"),
            token: format!("IQoJ/token+of/{key}=="),
            account: account.to_owned(),
            arn: format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            user_id: format!("AROAEXAMPLEEXAMPLE000:{session}"),
        }
    }

    pub(crate) fn worker() -> Self {
        Self::session(ACCOUNT, ROLE, ID)
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::new(&self.key, &self.secret, Some(self.token.clone()), None, "test")
    }
}

/// A request that reached the AWS here.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// How STS answers.
#[derive(Debug, Clone)]
pub(crate) enum Mood {
    Well,
    /// This often with an error, then well.
    Fails(u32, u16, &'static str),
    /// With a redirect.
    Redirects(String),
    /// With something that is no answer.
    Says(String),
}

struct State {
    people: BTreeMap<String, Person>,
    instances: BTreeMap<String, String>,
    seen: Vec<Seen>,
    mood: Mood,
}

/// STS and EC2.
#[derive(Clone)]
pub(crate) struct Aws {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Aws {
    /// With one worker and its instance.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state =
            State { people: BTreeMap::new(), instances: BTreeMap::new(), seen: Vec::new(), mood: Mood::Well };
        let aws = Self { endpoint, state: Arc::new(Mutex::new(state)) };
        aws.know(&Person::worker());
        aws.know(&control_plane());
        aws.instance(ID, "running", &tags(CLUSTER));
        let served = aws.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let aws = served.clone();
                let handler = service_fn(move |request| {
                    let aws = aws.clone();
                    async move { Ok::<_, hyper::Error>(aws.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), handler));
            }
        });
        aws
    }

    pub(crate) fn know(&self, person: &Person) {
        self.state.lock().unwrap().people.insert(person.key.clone(), person.clone());
    }

    pub(crate) fn forget(&self, person: &Person) {
        self.state.lock().unwrap().people.remove(&person.key);
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub(crate) fn instance(&self, id: &str, state: &str, tags: &[(String, String)]) {
        let tags = tags
            .iter()
            .map(|(key, value)| format!("<item><key>{key}</key><value>{value}</value></item>"))
            .collect::<Vec<_>>()
            .concat();
        let xml = format!(
            "<item><reservationId>r-1</reservationId><groupSet/><instancesSet><item><instanceId>{id}</instanceId>\
             <instanceState><code>16</code><name>{state}</name></instanceState>\
             <tagSet>{tags}</tagSet></item></instancesSet></item>"
        );
        self.state.lock().unwrap().instances.insert(id.to_owned(), xml);
    }

    pub(crate) fn no_instance(&self, id: &str) {
        self.state.lock().unwrap().instances.remove(id);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How many requests each service got.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let seen = self.seen();
        let sts = seen.iter().filter(|seen| seen.method == Method::GET).count();
        (sts, seen.len() - sts)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let seen = Seen {
            method: head.method,
            target: head.uri.to_string(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        };
        let mut state = self.state.lock().unwrap();
        state.seen.push(seen.clone());
        if seen.method == Method::POST { state.ec2(&seen) } else { state.sts(&seen) }
    }
}

impl State {
    fn sts(&mut self, seen: &Seen) -> Response<Full<Bytes>> {
        match &mut self.mood {
            Mood::Fails(times, status, code) if *times > 0 => {
                *times -= 1;
                return error(*status, code);
            }
            Mood::Redirects(to) => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert(LOCATION, to.parse().unwrap());
                return response;
            }
            Mood::Says(text) => return xml(200, text.clone()),
            Mood::Well | Mood::Fails(..) => {}
        }
        let Some(query) = seen.target.strip_prefix("/?") else {
            return error(404, "NoSuchPath");
        };
        let params: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let value = |name: &str| {
            let text = params.get(name).copied().unwrap_or_default();
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        let credential = value("X-Amz-Credential");
        let scope: Vec<&str> = credential.split('/').collect();
        let Some(person) = self.people.get(scope[0]) else {
            return error(403, "InvalidClientTokenId");
        };
        if value("X-Amz-Security-Token") != person.token {
            return error(403, "InvalidClientTokenId");
        }
        if scope[1..] != [&value("X-Amz-Date")[..8], REGION, "sts", "aws4_request"] {
            return error(403, "SignatureDoesNotMatch");
        }
        let headers = value("X-Amz-SignedHeaders");
        let canonical = canonical("GET", &params, &seen.headers, &headers, "");
        if signature(&person.secret, &value("X-Amz-Date"), &scope, &canonical) != value("X-Amz-Signature") {
            return error(403, "SignatureDoesNotMatch");
        }
        if value("Action") != "GetCallerIdentity" || seen.headers["host"] != STS_HOST {
            return error(400, "InvalidAction");
        }
        xml(
            200,
            format!(
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
                 <GetCallerIdentityResult>\n    <Arn>{}</Arn>\n    <UserId>{}</UserId>\n    <Account>{}</Account>\n  \
                 </GetCallerIdentityResult>\n  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\n\
                 </GetCallerIdentityResponse>",
                person.arn, person.user_id, person.account
            ),
        )
    }

    fn ec2(&self, seen: &Seen) -> Response<Full<Bytes>> {
        // AWS4-HMAC-SHA256 Credential=.../.../..., SignedHeaders=..., Signature=...
        let authorization = seen.headers["authorization"].to_str().unwrap();
        let part = |name: &str| {
            let from = authorization.split_once(&format!("{name}=")).unwrap().1;
            from.split(',').next().unwrap().to_owned()
        };
        let credential = part("Credential");
        let scope: Vec<&str> = credential.split('/').collect();
        let (date, person) = (seen.headers["x-amz-date"].to_str().unwrap(), control_plane());
        let headers = part("SignedHeaders");
        let canonical = canonical("POST", &BTreeMap::new(), &seen.headers, &headers, &seen.body);
        if scope != [&person.key, &date[..8], REGION, "ec2", "aws4_request"]
            || signature(&person.secret, date, &scope, &canonical) != part("Signature")
        {
            return error(401, "AuthFailure");
        }
        let prefix = "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=";
        let Some(found) = seen.body.strip_prefix(prefix).and_then(|id| self.instances.get(id)) else {
            return error(400, "InvalidInstanceID.NotFound");
        };
        xml(
            200,
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeInstancesResponse \
                 xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>1</requestId><reservationSet>{found}\
                 </reservationSet></DescribeInstancesResponse>"
            ),
        )
    }
}

/// The role that asks EC2.
pub(crate) fn control_plane() -> Person {
    Person::session(ACCOUNT, "masters.k8s.example.com", "i-0fedcba9876543210")
}

/// The tags of a node.
pub(crate) fn tags(cluster: &str) -> Vec<(String, String)> {
    let owned = format!("kubernetes.io/cluster/{cluster}");
    let tags = [
        ("KubernetesCluster", cluster),
        (owned.as_str(), "owned"),
        ("k8s.io/role/node", "1"),
        ("kops.k8s.io/instancegroup", "nodes"),
        ("Name", "nodes.k8s.example.com"),
    ];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

fn xml(status: u16, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn error(status: u16, code: &str) -> Response<Full<Bytes>> {
    xml(
        status,
        format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>"),
    )
}

/// The canonical form of a request.
fn canonical(
    method: &str,
    params: &BTreeMap<&str, &str>,
    headers: &HeaderMap,
    signed: &str,
    body: &str,
) -> String {
    let params = params.iter().filter(|(name, _)| **name != "X-Amz-Signature");
    let query: Vec<String> = params.map(|(name, value)| format!("{name}={value}")).collect();
    let header = |name| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let headers: Vec<String> = signed.split(';').map(|name| format!("{name}:{}\n", header(name))).collect();
    let headers = headers.concat();
    let body = hex::encode(Sha256::digest(body));
    format!("{method}\n/\n{}\n{headers}\n{signed}\n{body}", query.join("&"))
}

fn signature(secret: &str, date: &str, scope: &[&str], canonical: &str) -> String {
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let key = scope[1..].iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| sign(&key, part));
    let hash = hex::encode(Sha256::digest(canonical));
    hex::encode(sign(&key, &format!("AWS4-HMAC-SHA256\n{date}\n{}\n{hash}", scope[1..].join("/"))))
}

/// An authority of a cluster, and what a service of it serves with.
pub(crate) struct Keys {
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Keys {
    pub(crate) fn fresh() -> Self {
        let now = OffsetDateTime::now_utc();
        let keyset = Keyset::generate(KeysetName::KubernetesCa, &mut SystemEntropy, now).unwrap();
        let names = SubjectAltNames { dns: vec!["localhost".to_owned()], ips: vec![[127, 0, 0, 1].into()] };
        let Issued { certificate_pem, private_key, .. } = keyset
            .authority(now)
            .unwrap()
            .issue(&Profile::ApiServer(names), time::Duration::days(1), &mut SystemEntropy)
            .unwrap();
        Self {
            ca: keyset.trust_bundle(),
            certificate: certificate_pem,
            key: private_key.to_pem().reveal().to_owned(),
        }
    }
}

/// Secrets and nodes in memory, with the API server's rules for names and versions.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Objects>>);

#[derive(Default)]
struct Objects {
    secrets: BTreeMap<String, Secret>,
    nodes: BTreeMap<String, String>,
    version: u64,
}

impl Memory {
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        self.0.lock().unwrap().secrets.values().cloned().collect()
    }

    pub(crate) fn add_node(&self, name: &str, provider_id: &str) {
        self.0.lock().unwrap().nodes.insert(name.to_owned(), provider_id.to_owned());
    }

    fn change(&self, secret: &Secret, change: impl FnOnce(&mut Objects)) -> Written {
        let mut objects = self.0.lock().unwrap();
        let there = objects.secrets.get(&secret.metadata.name);
        let version = there.map(|there| there.metadata.resource_version.clone()).unwrap_or_default();
        if version != secret.metadata.resource_version {
            return Written::Conflict;
        }
        objects.version += 1;
        change(&mut objects);
        Written::Done
    }
}

impl Objects {
    fn put(&mut self, secret: &Secret) {
        let metadata = Metadata { resource_version: self.version.to_string(), ..secret.metadata.clone() };
        self.secrets.insert(metadata.name.clone(), Secret { metadata, ..secret.clone() });
    }
}

impl Kubernetes for Memory {
    async fn secret(&self, name: &str) -> Result<Option<Secret>, KubernetesError> {
        Ok(self.0.lock().unwrap().secrets.get(name).cloned())
    }

    async fn create(&self, secret: &Secret) -> Result<Written, KubernetesError> {
        Ok(self.change(secret, |objects| objects.put(secret)))
    }

    async fn replace(&self, secret: &Secret) -> Result<Written, KubernetesError> {
        Ok(self.change(secret, |objects| objects.put(secret)))
    }

    async fn delete(&self, secret: &Secret) -> Result<Written, KubernetesError> {
        Ok(self.change(secret, |objects| {
            objects.secrets.remove(&secret.metadata.name);
        }))
    }

    async fn node(&self, name: &str) -> Result<Option<Node>, KubernetesError> {
        let objects = self.0.lock().unwrap();
        let node = |id: &String| Node {
            metadata: Metadata { name: name.to_owned(), ..Metadata::default() },
            spec: NodeSpec { provider_id: id.clone() },
        };
        Ok(objects.nodes.get(name).map(node))
    }
}

/// A service that listens.
#[derive(Clone)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
}

/// What a service is configured with, here.
pub(crate) fn service_config(aws: &Aws) -> ServiceConfig {
    ServiceConfig {
        cluster: CLUSTER.to_owned(),
        region: REGION.to_owned(),
        account: ACCOUNT.to_owned(),
        node_roles: vec![ROLE.to_owned()],
        api_endpoint: "api.internal.k8s.example.com:443".to_owned(),
        signer: Signer::new(control_plane().credentials()),
        sts_endpoint: Some(aws.endpoint.clone()),
        ec2_endpoint: Some(aws.endpoint.clone()),
    }
}

/// Starts a service.
pub(crate) async fn listen<K: Kubernetes>(
    aws: &Aws,
    keys: &Keys,
    kubernetes: K,
    limits: Limits,
) -> Listening {
    listen_with(service_config(aws), keys, kubernetes, limits).await
}

/// Likewise, with another configuration.
pub(crate) async fn listen_with<K: Kubernetes>(
    config: ServiceConfig,
    keys: &Keys,
    kubernetes: K,
    limits: Limits,
) -> Listening {
    let service = Service::new(config, kubernetes).unwrap();
    let tls = ServerTls::new(&keys.certificate, &keys.key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::new(service, tls, limits).serve(listener, pending()));
    Listening { address, ca: keys.ca.clone() }
}

impl Listening {
    /// A connection, with TLS.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_with(rustls::DEFAULT_VERSIONS).await
    }

    /// Likewise, with these versions of TLS.
    pub(crate) async fn connect_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends bytes as they are; gives what comes back until the end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        Self::exchange(self.connect().await, bytes).await
    }

    /// Likewise, over this connection.
    pub(crate) async fn exchange(mut stream: TlsStream<TcpStream>, bytes: &[u8]) -> String {
        // The service may have answered and hung up before it has everything.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Posts a body; gives the status and the answer.
    pub(crate) async fn post(&self, body: &[u8]) -> (u16, serde_json::Value) {
        let head =
            format!("POST /v1/join HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        let answer = self.raw(&[head.as_bytes(), body].concat()).await;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let json = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        (status, serde_json::from_str(json).unwrap_or_default())
    }

    /// Posts an envelope.
    pub(crate) async fn ask(&self, envelope: &Envelope) -> (u16, serde_json::Value) {
        self.post(&serde_json::to_vec(envelope).unwrap()).await
    }

    /// A client of the service: the worker.
    pub(crate) fn client(&self, folder: &std::path::Path) -> ClientConfig {
        ClientConfig {
            url: format!("https://{}", self.address),
            ca_pem: self.ca.clone(),
            cluster: CLUSTER.to_owned(),
            region: REGION.to_owned(),
            instance_id: ID.to_owned(),
            claim: Claim::load_or_create(&folder.join("claim")).unwrap(),
            signer: Signer::new(Person::worker().credentials()),
            give_up_after: Duration::from_mins(1),
        }
    }
}

/// What the worker asks for, if it has the claim `aaaa...`, and so on.
pub(crate) fn request(claim: char) -> JoinRequest {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).unwrap();
    JoinRequest {
        cluster: CLUSTER.to_owned(),
        instance_id: ID.to_owned(),
        claim: claim.to_string().repeat(64),
        nonce: hex::encode(nonce),
    }
}

/// A request, signed by somebody some seconds ago.
pub(crate) fn signed_ago(person: &Person, request: &JoinRequest, seconds: i64) -> Envelope {
    let request = serde_json::to_string(request).unwrap();
    let ago = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    let then = if seconds < 0 { now + ago } else { now - ago };
    let proof = Proof::sign(&person.credentials(), REGION, &request, then).unwrap();
    Envelope { request, proof }
}

/// A request, signed by somebody now.
pub(crate) fn signed(person: &Person, request: &JoinRequest) -> Envelope {
    signed_ago(person, request, 0)
}

/// What a service of this thread logs.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes down what this thread logs until the guard is dropped.
    pub(crate) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let sink = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("trace")
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The last line about a join.
    pub(crate) fn last(&self) -> String {
        let text = self.text();
        let line = text.lines().rfind(|line| line.contains("kcl_join::s") && line.contains("join "));
        line.unwrap_or_default().to_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
