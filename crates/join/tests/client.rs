//! The client against a real service: what it goes on asking after, what it gives up at once, and whom it trusts.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use kcl_http::Signer;
use kcl_join::{ClientConfig, JoinError, Limits, join};
use support::*;
use tokio::net::TcpListener;

#[tokio::test]
async fn it_goes_on_while_waiting_helps() {
    let (aws, keys, folder) = (Aws::start().await, Keys::fresh(), tempfile::tempdir().unwrap());
    let service = listen(&aws, &keys, Memory::default(), Limits::default()).await;
    aws.mood(Mood::Fails(1, 400, "Throttling"));
    let (log, _guard) = Log::begin();
    let joined = join(service.client(folder.path())).await.unwrap();
    assert_eq!(joined.api_endpoint, "api.internal.k8s.example.com:443");
    assert_eq!(joined.token.reveal().len(), 23);
    assert_eq!(joined.ca_cert_hashes, [openssl_hash(&keys.ca)]);
    assert_eq!(aws.counts(), (2, 1));
    assert!(log.text().contains("not joined yet"));
    assert!(
        !log.text().contains(joined.token.reveal()) && !format!("{joined:?}").contains(joined.token.reveal())
    );
}

#[tokio::test]
async fn a_machine_that_lost_the_answer_gets_the_same_token() {
    let (aws, folder) = (Aws::start().await, tempfile::tempdir().unwrap());
    let service = listen(&aws, &Keys::fresh(), Memory::default(), Limits::default()).await;
    let first = join(service.client(folder.path())).await.unwrap();
    // Another process, later: the claim is on the disk.
    let again = join(service.client(folder.path())).await.unwrap();
    assert!(first.token == again.token && first.expires == again.expires);
    let stranger = tempfile::tempdir().unwrap();
    // Within the second of the last proof it is told to come again, and then that it may not.
    match join(service.client(stranger.path())).await {
        Err(JoinError::Refused { reason }) => assert!(reason.contains("has a token already"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_gives_up_at_once_when_it_is_refused() {
    let (aws, folder) = (Aws::start().await, tempfile::tempdir().unwrap());
    let service = listen(&aws, &Keys::fresh(), Memory::default(), Limits::default()).await;
    aws.instance(ID, "stopping", &tags(CLUSTER));
    match join(service.client(folder.path())).await {
        Err(error @ JoinError::Refused { .. }) => {
            assert_eq!(error.to_string(), "the join service refused: the instance is \"stopping\"");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(aws.counts(), (1, 1));
}

#[tokio::test]
async fn it_trusts_the_cluster_only() {
    let (aws, folder) = (Aws::start().await, tempfile::tempdir().unwrap());
    let service = listen(&aws, &Keys::fresh(), Memory::default(), Limits::default()).await;
    let other = ClientConfig { ca_pem: Keys::fresh().ca, ..service.client(folder.path()) };
    match join(other).await {
        Err(JoinError::Untrusted { url, .. }) => assert_eq!(url, format!("https://{}", service.address)),
        other => panic!("{other:?}"),
    }
    // The right authority, another name.
    let url = format!("https://{}", service.address).replace("127.0.0.1", "127.0.0.2");
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = service.address;
    tokio::spawn(async move {
        let (mut here, _) = listener.accept().await.unwrap();
        let mut there = tokio::net::TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
    });
    let url = url.replace(&service.address.port().to_string(), &port.to_string());
    let other = ClientConfig { url, ..service.client(folder.path()) };
    assert!(matches!(join(other).await, Err(JoinError::Untrusted { .. })));
    assert!(aws.seen().is_empty(), "nothing was sent to a stranger");
}

/// A server of the cluster's that speaks nothing newer than TLS 1.2 is not asked.
#[tokio::test]
async fn it_speaks_the_newest_tls_only() {
    let (keys, folder) = (Keys::fresh(), tempfile::tempdir().unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let old = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            kcl_http::certificates(&keys.certificate, "certificate").unwrap(),
            kcl_http::private_key(&keys.key, "key").unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = Listening { address: listener.local_addr().unwrap(), ca: keys.ca };
    let handshake = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(old)).accept(stream).await.map(drop)
    });
    let soon = ClientConfig { give_up_after: Duration::from_millis(1), ..service.client(folder.path()) };
    match join(soon).await {
        Err(JoinError::GaveUp { last, .. }) => assert!(last.contains("ProtocolVersion"), "{last}"),
        other => panic!("{other:?}"),
    }
    assert!(handshake.await.unwrap().is_err());
}

#[tokio::test]
async fn it_does_not_wait_for_ever() {
    let (aws, folder) = (Aws::start().await, tempfile::tempdir().unwrap());
    let service = listen(&aws, &Keys::fresh(), Memory::default(), Limits::default()).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let soon = ClientConfig { give_up_after: Duration::from_millis(1), ..service.client(folder.path()) };
    let config = ClientConfig { url: format!("https://{nobody}"), ..soon.clone() };
    match join(config).await {
        Err(JoinError::GaveUp { tries: 1, last, .. }) => assert!(last.contains("refused"), "{last}"),
        other => panic!("{other:?}"),
    }
    aws.instance(ID, "pending", &tags(CLUSTER));
    match join(soon.clone()).await {
        Err(JoinError::GaveUp { tries: 1, last, .. }) => assert!(last.contains("pending"), "{last}"),
        other => panic!("{other:?}"),
    }
    // Credentials that are nobody's session: no proof can be made of them.
    let lasting = Signer::new(Credentials::new("AKIA", "s", None, None, "test"));
    assert!(matches!(join(ClientConfig { signer: lasting, ..soon.clone() }).await, Err(JoinError::Proof(_))));
    for url in ["http://127.0.0.1:1", "127.0.0.1", "https://", "https://a b"] {
        let config = ClientConfig { url: url.to_owned(), ..soon.clone() };
        assert!(matches!(join(config).await, Err(JoinError::Config { .. })), "{url}");
    }
    let error = join(ClientConfig { ca_pem: "nothing".to_owned(), ..soon }).await.unwrap_err();
    assert!(matches!(error, JoinError::Tls(_)), "{error}");
}

/// What kubeadm knows an authority by, as its documents have it made with openssl.
fn openssl_hash(ca: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, ca).unwrap();
    let script = "openssl x509 -pubkey -noout -in \"$0\" | openssl pkey -pubin -outform der | openssl dgst -sha256 -hex";
    let output = Command::new("sh").args(["-c", script]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    format!("sha256:{}", text.split_whitespace().last().unwrap())
}
