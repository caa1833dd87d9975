//! The client against servers that misbehave, and what it sends.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use kcl_http::{AwsError, AwsService, Body, Http, HttpError, Options, Signer, Tls, chain, request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::TlsAcceptor;

const SOON: Duration = Duration::from_secs(10);

fn plain() -> Http {
    Http::new(Tls::of_this_machine().unwrap(), Options { plain: true, ..Options::default() })
}

/// Head and body of a request, as far as it arrives.
async fn receive(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse::<usize>().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            return text;
        }
        all.extend_from_slice(&buffer[..read]);
    }
}

/// A server that answers each request with these bytes and hangs up; the requests.
async fn server(answer: String) -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = seen.send(receive(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Silence: the other side ends it.
            if answer.is_empty() {
                let _ = stream.read(&mut [0]).await;
            }
        }
    });
    (base, requests)
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn answers_come_whole_or_in_pieces() {
    let (base, _requests) = server(answer(200, &"x".repeat(1000))).await;
    let ask = || request("GET", &base, &[], Body::empty()).unwrap();
    let whole = plain().send(ask(), SOON).await.unwrap();
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, 1000));
    let mut opened = plain().open(ask(), SOON).await.unwrap();
    let mut length = 0;
    while let Some(piece) = opened.next(SOON).await.unwrap() {
        length += piece.len();
    }
    assert_eq!(length, 1000);
    let error = plain().send_bounded(ask(), 999, SOON).await.unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { largest: 999, .. }) && !error.is_transient(), "{error}");
    let error = plain().open(ask(), SOON).await.unwrap().whole(999, SOON).await.unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn what_is_cut_short_or_silent_is_an_error() {
    let (cut, _requests) = server("HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nshort".to_owned()).await;
    let ask = |base: &str| request("GET", base, &[], Body::empty()).unwrap();
    let error = plain().send(ask(&cut), SOON).await.unwrap_err();
    assert!(matches!(error, HttpError::Connection { .. }) && error.is_transient(), "{error}");
    let mut opened = plain().open(ask(&cut), SOON).await.unwrap();
    assert_eq!(opened.next(SOON).await.unwrap().unwrap(), "short");
    assert!(matches!(opened.next(SOON).await, Err(HttpError::Connection { .. })));

    let (silent, _requests) = server(String::new()).await;
    let little = Duration::from_millis(50);
    let error = plain().send(ask(&silent), little).await.unwrap_err();
    assert!(matches!(error, HttpError::Timeout { .. }) && error.is_transient(), "{error}");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = plain().send(ask(&format!("http://{free}")), SOON).await.unwrap_err();
    assert!(matches!(&error, HttpError::Connection { why, .. } if why.contains("refused")), "{error}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_not() {
    for url in ["", "/path", "http://a b"] {
        assert!(matches!(request("GET", url, &[], Body::empty()), Err(HttpError::Url { .. })), "{url}");
    }
    let only = Http::new(Tls::of_this_machine().unwrap(), Options::default());
    let error = only.send(request("GET", "http://127.0.0.1:1", &[], Body::empty()).unwrap(), SOON).await;
    assert!(matches!(error, Err(HttpError::Url { .. })), "{error:?}");
}

#[tokio::test]
async fn a_file_is_sent_with_its_length() {
    let (base, mut requests) = server(answer(200, "")).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let content = "0123456789".repeat(50_000);
    file.write_all(content.as_bytes()).unwrap();
    let body = Body::file(file.path()).await.unwrap();
    assert_eq!(body.len(), 500_000);
    plain().send(request("PUT", &base, &[], body).unwrap(), SOON).await.unwrap();
    let seen = requests.recv().await.unwrap();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 500000") && !head.contains("chunked"), "{head}");
    assert!(body == content);
}

#[tokio::test]
async fn a_file_that_becomes_shorter_is_told_apart() {
    let (base, _requests) = server(answer(200, "")).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![b'x'; 500_000]).unwrap();
    let body = Body::file(file.path()).await.unwrap();
    file.as_file().set_len(10).unwrap();
    let error = plain().send(request("PUT", &base, &[], body).unwrap(), SOON).await.unwrap_err();
    assert!(matches!(error, HttpError::Body { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("it became shorter while it was sent"), "{error}");
}

/// An authority, and a certificate of it with its key for `localhost` and whoever shows it.
fn authority() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

/// A server with TLS that wants certificates of the same authority; its address.
async fn tls_server((ca, certificate, key): &(String, String, String)) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(kcl_http::certificates(ca, "ca").unwrap().remove(0)).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            kcl_http::certificates(certificate, "certificate").unwrap(),
            rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                receive(&mut stream).await;
                let _ = stream.write_all(answer(200, "").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn strangers_are_told_apart_and_an_identity_is_shown() {
    let (ours, theirs) = (authority(), authority());
    let base = tls_server(&ours).await;
    let ask = async |ca: &str, identity| {
        let http = Http::new(Tls::of_cluster(ca, identity).unwrap(), Options::default());
        http.send(request("GET", &base, &[], Body::empty()).unwrap(), SOON).await
    };
    let (ca, certificate, key) = &ours;
    assert_eq!(ask(ca, Some((certificate, key))).await.unwrap().status.as_u16(), 200);
    let error = ask(&theirs.0, Some((certificate, key))).await.unwrap_err();
    assert!(matches!(error, HttpError::Untrusted { by_clock: false, .. }), "{error}");
    let error = ask(ca, None).await.unwrap_err();
    assert!(matches!(error, HttpError::Connection { .. }), "{error}");
    let error = Tls::of_cluster("nothing", None).unwrap_err();
    assert_eq!(error.to_string(), "failed to read the cluster's authorities: there is no certificate in it");
    assert!(Tls::of_cluster(ca, Some((&theirs.1, key))).is_err(), "another key");
}

fn ec2(base: &str) -> AwsService {
    let signer = Signer::new(Credentials::new("AKIDTEST", "secret", None, None, "test"));
    AwsService::regional(plain(), signer, "ec2", "eu-north-1", Some(base)).unwrap()
}

#[tokio::test]
async fn a_query_is_a_signed_form() {
    let (base, mut requests) = server(answer(200, "<a/>")).await;
    let parameters = [("Filter.1.Name", "tag:k8s.io/etcd/main"), ("Filter.1.Value.1", "a/a,b c")];
    let text = ec2(&base).query("2016-11-15", "DescribeVolumes", &parameters).await.unwrap();
    assert_eq!(text, "<a/>");
    let seen = requests.recv().await.unwrap();
    assert!(seen.starts_with("POST / HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("/eu-north-1/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-date"),
        "{seen}"
    );
    assert!(
        seen.ends_with(
            "\r\n\r\nAction=DescribeVolumes&Version=2016-11-15&Filter.1.Name=tag%3Ak8s.io%2Fetcd%2Fmain\
             &Filter.1.Value.1=a%2Fa%2Cb%20c"
        ),
        "{seen}"
    );
    let global = AwsService::global(
        plain(),
        Signer::new(Credentials::new("AKIDTEST", "secret", None, None, "test")),
        "route53",
        "eu-north-1",
        Some(&base),
    );
    global.unwrap().send("the zone", "GET", "/2013-04-01/hostedzone/Z1", &[], Body::empty()).await.unwrap();
    let seen = requests.recv().await.unwrap();
    assert!(seen.contains("/us-east-1/route53/aws4_request"), "{seen}");
}

#[tokio::test]
async fn refusals_say_why_and_whether_they_pass() {
    for (status, code, transient, throttling) in [
        (403, "UnauthorizedOperation", false, false),
        (400, "InvalidVolume.NotFound", false, false),
        (503, "RequestLimitExceeded", true, true),
        (400, "Throttling", true, true),
        (500, "InternalError", true, false),
        (400, "RequestExpired", true, false),
    ] {
        let text = format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>the words</Message></Error></Errors></Response>"
        );
        let (base, _requests) = server(answer(status, &text)).await;
        let error = ec2(&base).query("2016-11-15", "AttachVolume", &[]).await.unwrap_err();
        assert_eq!(chain(&error), format!("ec2 refused AttachVolume: {code} (HTTP {status}) the words"));
        assert_eq!(error.code(), Some(code));
        assert_eq!((error.is_transient(), error.is_throttling()), (transient, throttling), "{code}");
    }
    let (base, _requests) = server(answer(502, "<html>")).await;
    let error = ec2(&base).query("2016-11-15", "AttachVolume", &[]).await.unwrap_err();
    assert!(matches!(&error, AwsError::Refused { code, .. } if code == "no reason given"), "{error}");
    assert!(error.is_transient());
}
