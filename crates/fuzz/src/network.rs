//! What comes over the wire: the metadata service's answers, and requests to the join service.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "without what it reads with, a target reads nothing and would look well"
)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use aws_credential_types::Credentials;
use kcl_http::{Http, Options, Signer, Tls};
use kcl_join::{
    Kubernetes, KubernetesError, Node, Refusal, Secret, Service, ServiceConfig, ServiceError, Written,
};
use kcl_node::imds::Imds;
use kcl_node::retry::Patience;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Nothing on loopback takes longer, even beside compilers.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What takes long to make, and is the same for all inputs.
struct Kept {
    runtime: Runtime,
    http: Http,
    service: Service<Nobody>,
}

fn kept() -> &'static Kept {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    KEPT.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (http, service) = {
            let _entered = runtime.enter();
            let options = Options { connect_timeout: TIMEOUT, plain: true };
            let tls = Tls::of_this_machine().expect("this machine has authorities");
            (Http::new(tls, options), service().expect("a service"))
        };
        Kept { runtime, http, service }
    })
}

/// The metadata service answers `data`: as it is where it begins like an answer, else as the body of one. Whether
/// something was learnt from it.
pub fn imds(data: &[u8]) -> bool {
    let Kept { runtime, http, .. } = kept();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let patience = Patience { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
        let imds = Imds::new(http.clone(), &format!("http://{address}"), patience).with_timeout(TIMEOUT);
        let asking = async {
            let identity = imds.identity().await.is_ok();
            let credentials = imds.credentials().await.is_ok();
            let spot = imds.spot_action().await.is_ok_and(|action| action.is_some());
            let _ = imds.user_data().await;
            identity || credentials || spot
        };
        tokio::select! {
            is_taken = asking => is_taken,
            never = answering(&listener, data) => match never {},
        }
    })
}

async fn answering(listener: &TcpListener, data: &[u8]) -> Infallible {
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
    let request = &request[..length];
    // A document is no role's name: the role has one, so that the document is asked for.
    let is_role = request.starts_with(b"GET /latest/meta-data/iam/security-credentials/ ");
    if request.starts_with(b"PUT") || (is_role && data.contains(&b'{')) {
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

/// A machine sends `data` to the join service. Whether it gets as far as STS, where nobody is.
pub fn join(data: &[u8]) -> bool {
    let Kept { runtime, service, .. } = kept();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    // One that takes long has been let through to AWS.
    let said = runtime.block_on(async { tokio::time::timeout(TIMEOUT, service.join(peer, data)).await });
    !matches!(said, Ok(Err(refusal)) if !matches!(refusal, Refusal::Aws { .. }))
}
