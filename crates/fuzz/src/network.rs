//! What comes over the wire: the metadata service's answers, and requests to the join service.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use aws_credential_types::Credentials;
use kcl_http::{Http, Options, Signer, Tls};
use kcl_join::{Kubernetes, KubernetesError, Node, Secret, Service, ServiceConfig, ServiceError, Written};
use kcl_node::imds::Imds;
use kcl_node::retry::Patience;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Nothing on loopback takes longer.
const TIMEOUT: Duration = Duration::from_millis(300);

pub(crate) const IDENTITY: &str = r#"{"instanceId": "i-0123456789abcdef0", "accountId": "123456789012",
 "region": "eu-north-1", "availabilityZone": "eu-north-1a", "instanceType": "t3.small", "architecture": "x86_64",
 "privateIp": "172.20.32.7", "imageId": "ami-1", "pendingTime": "2026-11-27T00:00:00Z"}"#;

pub(crate) const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 93\r\n\r\n\
{\"Code\": \"Success\", \"AccessKeyId\": \"ASIA\", \"SecretAccessKey\": \"s\", \"Token\": \"t\", \"Expiration\": \"2026\"}";

pub(crate) const ENVELOPE: &str = r#"{"request": "{\"cluster\":\"k8s.example.com\",\"instance_id\":\"i-0123456789abcdef0\",\"claim\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"nonce\":\"0123456789abcdef0123456789abcdef\"}",
 "proof": {"credential": "ASIA0000000000000000/20261127/eu-north-1/sts/aws4_request", "date": "20261127T040000Z",
 "expires": 60, "security_token": "token", "signature": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}"#;

/// What takes long to make, and is the same for all inputs.
struct Kept {
    runtime: Runtime,
    http: Http,
    service: Service<Nobody>,
}

fn kept() -> Option<&'static Kept> {
    static KEPT: OnceLock<Option<Kept>> = OnceLock::new();
    let make = || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().ok()?;
        let (http, service) = {
            let _entered = runtime.enter();
            let options = Options { connect_timeout: TIMEOUT, plain: true };
            (Http::new(Tls::of_this_machine().ok()?, options), service().ok()?)
        };
        Some(Kept { runtime, http, service })
    };
    KEPT.get_or_init(make).as_ref()
}

/// The metadata service answers `data`: as it is where it begins like an answer, else as the body of one.
pub fn imds(data: &[u8]) {
    let Some(Kept { runtime, http, .. }) = kept() else { return };
    runtime.block_on(async {
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await else { return };
        let Ok(address) = listener.local_addr() else { return };
        let patience = Patience { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
        let imds = Imds::new(http.clone(), &format!("http://{address}"), patience).with_timeout(TIMEOUT);
        let asking = async {
            let _ = imds.identity().await;
            let _ = imds.credentials().await;
            let _ = imds.spot_action().await;
            let _ = imds.user_data().await;
        };
        tokio::select! {
            () = asking => {}
            () = answering(&listener, data) => {}
        }
    });
}

async fn answering(listener: &TcpListener, data: &[u8]) {
    loop {
        // One that goes wrong is the client's to bear.
        if let Ok((stream, _)) = listener.accept().await {
            let _ = answer(stream, data).await;
        }
    }
}

async fn answer(mut stream: TcpStream, data: &[u8]) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let length = stream.read(&mut request).await?;
    if request[..length].starts_with(b"PUT") {
        let token = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntoken";
        stream.write_all(token).await?;
    } else if data.starts_with(b"HTTP/") {
        stream.write_all(data).await?;
    } else {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", data.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(data).await?;
    }
    stream.shutdown().await
}

/// A cluster that answers nothing.
struct Nobody;

fn away<T>() -> Result<T, KubernetesError> {
    Err(KubernetesError { what: "ask".to_owned(), why: "nobody is there".to_owned() })
}

impl Kubernetes for Nobody {
    async fn secret(&self, _name: &str) -> Result<Option<Secret>, KubernetesError> {
        away()
    }

    async fn create(&self, _secret: &Secret) -> Result<Written, KubernetesError> {
        away()
    }

    async fn replace(&self, _secret: &Secret) -> Result<Written, KubernetesError> {
        away()
    }

    async fn delete(&self, _secret: &Secret) -> Result<Written, KubernetesError> {
        away()
    }

    async fn node(&self, _name: &str) -> Result<Option<Node>, KubernetesError> {
        away()
    }
}

fn service() -> Result<Service<Nobody>, ServiceError> {
    let credentials = Credentials::new("ASIA0000000000000000", "secret", None, None, "fuzz");
    // Nobody listens there.
    let nowhere = || Some("http://127.0.0.1:9".to_owned());
    let config = ServiceConfig {
        cluster: "k8s.example.com".to_owned(),
        region: "eu-north-1".to_owned(),
        account: "123456789012".to_owned(),
        node_roles: vec!["nodes.k8s.example.com".to_owned()],
        api_endpoint: "api.internal.k8s.example.com:443".to_owned(),
        signer: Signer::new(credentials),
        sts_endpoint: nowhere(),
        ec2_endpoint: nowhere(),
    };
    Service::new(config, Nobody)
}

/// A machine sends `data` to the join service.
pub fn join(data: &[u8]) {
    let Some(Kept { runtime, service, .. }) = kept() else { return };
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    // What it says of it does not matter, and one that takes long has been let through to AWS.
    let _ = runtime.block_on(async { tokio::time::timeout(TIMEOUT, service.join(peer, data)).await });
}
