//! Who gets a token and who does not, over real TLS; AWS checks signatures as AWS does. What the API server does with
//! tokens is in kubernetes.rs.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

mod support;

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use kcl_join::{
    Envelope, JoinRequest, Limits, MAX_BODY, Proof, Server, ServerTls, Service, ServiceConfig, sts_host,
};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A service with nothing in its cluster yet.
async fn service() -> (Aws, Memory, Listening) {
    let (aws, memory) = (Aws::start().await, Memory::default());
    let listening = listen(&aws, &Keys::fresh(), memory.clone(), Limits::default()).await;
    (aws, memory, listening)
}

/// Asks and is refused: with this status, this reason to the machine and this one to the log.
async fn refused(service: &Listening, log: &Log, envelope: &Envelope, status: u16, said: &str, logged: &str) {
    let (found, answer) = service.ask(envelope).await;
    let reason = answer["reason"].as_str().unwrap_or_default();
    assert_eq!((found, answer["retry"].as_bool()), (status, Some(status == 503)), "{answer}");
    assert!(reason.contains(said), "{reason}");
    let line = log.last();
    assert!(line.contains("WARN") && line.contains("join refused") && line.contains(logged), "{line}");
    assert!(line.contains("peer=127.0.0.1:"), "{line}");
}

/// A presigned `GetCallerIdentity` that signs no more than the host.
fn presigned_alone(person: &Person) -> Proof {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_mins(1));
    let identity = person.credentials().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("sts")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let url = format!("https://{STS_HOST}/?Action=GetCallerIdentity&Version=2011-06-15");
    let headers = [("host", STS_HOST)].into_iter();
    let request = SignableRequest::new("GET", url, headers, SignableBody::Bytes(&[])).unwrap();
    let (instructions, signature) = sign(request, &params).unwrap().into_parts();
    let value =
        |name| instructions.params().iter().find(|(found, _)| *found == name).unwrap().1.clone().into_owned();
    Proof {
        credential: value("X-Amz-Credential"),
        date: value("X-Amz-Date"),
        expires: 60,
        security_token: value("X-Amz-Security-Token"),
        signature,
    }
}

#[tokio::test]
async fn the_right_machine_gets_a_token() {
    let (aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let (status, answer) = service.ask(&signed(&Person::worker(), &request('a'))).await;
    assert_eq!(status, 200, "{answer} {}", log.text());
    assert_eq!(answer["api_endpoint"], "api.internal.k8s.example.com:443");
    let secrets = memory.secrets();
    assert_eq!(secrets.len(), 1);
    assert_eq!(secrets[0].kind, "bootstrap.kubernetes.io/token");
    assert_eq!(secrets[0].metadata.labels["kcl.dev/instance"], ID);
    let line = log.last();
    assert!(line.contains("INFO") && line.contains("join granted") && line.contains(ID), "{line}");

    let seen = aws.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].headers["host"], sts_host(REGION).as_str());
    assert_eq!(seen[0].headers.len(), 2, "host and hash, nothing more: {:?}", seen[0].headers);
    assert!(seen[0].target.starts_with("/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-"));
}

#[tokio::test]
async fn others_get_none() {
    let (aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let not = "this identity may not join";
    for (person, why) in [
        (Person::session(ACCOUNT, "masters.k8s.example.com", ID), "role is not one of the cluster's nodes"),
        (Person::session(ACCOUNT, "nodes.other.example.com", ID), "role is not one of the cluster's nodes"),
        (Person::session("210987654321", ROLE, ID), "of another account"),
        (Person::session(ACCOUNT, ROLE, "i-0aaaaaaaaaaaaaaa0"), "not the instance that it asks for"),
        (Person::session(ACCOUNT, ROLE, "alice"), "not the instance that it asks for"),
    ] {
        aws.know(&person);
        refused(&service, &log, &signed(&person, &request('a')), 403, not, why).await;
        assert!(log.last().contains(ID));
    }
    // None of them got as far as EC2.
    assert_eq!(aws.counts(), (5, 0));

    let stranger = Person::session(ACCOUNT, ROLE, "i-0bbbbbbbbbbbbbbb0");
    refused(&service, &log, &signed(&stranger, &request('a')), 403, "InvalidClientTokenId", "STS does not")
        .await;
    let other = JoinRequest { cluster: "other.example.com".to_owned(), ..request('a') };
    let said = "the join service of another cluster";
    refused(&service, &log, &signed(&Person::worker(), &other), 403, said, "other.example.com").await;
    assert_eq!(aws.counts(), (6, 0));
    assert!(memory.secrets().is_empty());
}

#[tokio::test]
async fn a_proof_is_of_one_request() {
    let (aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let (worker, whole) = (Person::worker(), signed(&Person::worker(), &request('a')));
    let mismatch = "SignatureDoesNotMatch";

    // Another text than the one that was signed, if only by a space.
    for text in [serde_json::to_string(&request('b')).unwrap(), format!("{} ", whole.request)] {
        let altered = Envelope { request: text, ..whole.clone() };
        refused(&service, &log, &altered, 403, mismatch, mismatch).await;
    }
    // A presigned request that binds nothing: what any tool makes.
    let unbound = Envelope { proof: presigned_alone(&worker), ..whole.clone() };
    refused(&service, &log, &unbound, 403, mismatch, mismatch).await;
    let key = Person::session(ACCOUNT, ROLE, "i-0aaaaaaaaaaaaaaa0");
    aws.know(&key);
    let credential = whole.proof.credential.replace(&worker.key, &key.key);
    let swapped = Envelope { proof: Proof { credential, ..whole.proof.clone() }, ..whole.clone() };
    refused(&service, &log, &swapped, 403, "InvalidClientTokenId", "STS").await;
    let longer = Envelope { proof: Proof { expires: 300, ..whole.proof.clone() }, ..whole.clone() };
    refused(&service, &log, &longer, 403, mismatch, mismatch).await;
    assert!(memory.secrets().is_empty());

    // The real one still counts, once.
    assert_eq!(service.ask(&whole).await.0, 200);
    refused(&service, &log, &whole, 403, "used before", "used before").await;
    assert_eq!(memory.secrets().len(), 1);
}

#[tokio::test]
async fn a_proof_is_of_one_place_and_time() {
    let (aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let worker = Person::worker();
    let clock = "is the machine's clock right?";
    for seconds in [61, 3600, -90] {
        let envelope = signed_ago(&worker, &request('a'), seconds);
        refused(&service, &log, &envelope, 503, clock, "not valid now").await;
    }
    let whole = signed(&worker, &request('a'));
    let with = |change: &dyn Fn(&mut Proof)| {
        let mut envelope = whole.clone();
        change(&mut envelope.proof);
        envelope
    };
    let scope = |from: &'static str, to: &'static str| {
        with(&|proof| proof.credential = proof.credential.replace(from, to))
    };
    let elsewhere = "another region or service";
    for envelope in [
        scope("eu-north-1", "us-east-1"),
        scope("/sts/", "/s3/"),
        scope("aws4_request", "aws4_request/x"),
        scope("eu-north-1", "evil.example#"),
    ] {
        refused(&service, &log, &envelope, 403, elsewhere, elsewhere).await;
    }
    for (envelope, what) in [
        (with(&|proof| proof.expires = 604_800), "`expires`"),
        (with(&|proof| proof.expires = 0), "`expires`"),
        (with(&|proof| proof.signature = "A".repeat(64)), "`signature`"),
        (with(&|proof| proof.signature.push('0')), "`signature`"),
        (with(&|proof| proof.security_token.clear()), "`security_token`"),
        (with(&|proof| proof.security_token.push_str("&Action=AssumeRole")), "`security_token`"),
        (with(&|proof| proof.credential = proof.credential.replace("ASIA", "AKIA")), "`credential`"),
        (with(&|proof| proof.date = "20300101T000000".to_owned()), "`date`"),
        (with(&|proof| proof.date = "20300101T000000Z".to_owned()), "`credential` and `date`"),
        (with(&|proof| proof.date = "é0300101T000000Z".to_owned()), "`date`"),
    ] {
        refused(&service, &log, &envelope, 400, what, what).await;
    }
    assert!(aws.seen().is_empty(), "nothing of this is worth a call");
    assert!(memory.secrets().is_empty());
}

#[tokio::test]
async fn the_instance_has_to_be_a_node_that_runs() {
    let (aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    // Each in a second of its own would take long, and the record is not reached.
    let ask = || signed(&Person::worker(), &request('a'));
    for state in ["stopped", "stopping", "shutting-down", "terminated"] {
        aws.instance(ID, state, &tags(CLUSTER));
        refused(&service, &log, &ask(), 403, state, state).await;
        assert!(log.last().contains(ID));
    }
    aws.instance(ID, "pending", &tags(CLUSTER));
    refused(&service, &log, &ask(), 503, "still pending", "pending").await;
    aws.instance(ID, "running", &tags("other.example.com"));
    refused(&service, &log, &ask(), 403, "not a node of this cluster", "KubernetesCluster").await;
    let bare = tags(CLUSTER).into_iter().filter(|(key, _)| key != "k8s.io/role/node").collect::<Vec<_>>();
    aws.instance(ID, "running", &bare);
    refused(&service, &log, &ask(), 403, "not a node of this cluster", "k8s.io/role/node").await;
    aws.no_instance(ID);
    refused(&service, &log, &ask(), 503, "EC2 does not know the instance", "EC2").await;
    assert!(memory.secrets().is_empty());

    aws.instance(ID, "running", &tags(CLUSTER));
    memory.add_node(ID, "aws:///eu-north-1a/i-0ddddddddddddddd0");
    refused(&service, &log, &ask(), 503, "kubectl delete node", "i-0ddddddddddddddd0").await;
    memory.add_node(ID, &format!("aws:///eu-north-1a/{ID}"));
    refused(&service, &log, &ask(), 403, "is the node", "already").await;
    assert!(memory.secrets().is_empty());
}

#[tokio::test]
async fn an_aws_that_does_not_answer_well_is_asked_nothing_else() {
    let (aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let elsewhere = Aws::start().await;
    let could_not = "the control plane could not ask STS";
    for mood in [
        Mood::Redirects(format!("{}/latest/meta-data/", elsewhere.endpoint)),
        Mood::Fails(1, 400, "Throttling"),
        Mood::Fails(1, 503, "ServiceUnavailable"),
        Mood::Says(String::new()),
        Mood::Says("<html>".to_owned()),
        Mood::Says("x".repeat(100_000)),
        Mood::Says("<!DOCTYPE a [<!ENTITY b \"c\">]><GetCallerIdentityResponse/>".to_owned()),
    ] {
        aws.mood(mood);
        refused(&service, &log, &signed(&Person::worker(), &request('a')), 503, could_not, "STS").await;
    }
    aws.mood(Mood::Fails(1, 403, "ExpiredToken"));
    let said = "do they still hold?";
    refused(&service, &log, &signed(&Person::worker(), &request('a')), 403, said, "ExpiredToken").await;
    assert!(elsewhere.seen().is_empty(), "a redirect is not followed");
    assert!(memory.secrets().is_empty());
}

#[tokio::test]
async fn a_second_use_is_refused_and_a_return_is_not() {
    let (_aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let worker = Person::worker();
    // Signed in different seconds.
    let first = service.ask(&signed_ago(&worker, &request('a'), 40)).await;
    assert_eq!(first.0, 200, "{}", first.1);
    let other = signed_ago(&worker, &request('b'), 30);
    refused(&service, &log, &other, 403, "has a token already", "expires at").await;
    assert!(log.last().contains(ID));
    let older = signed_ago(&worker, &request('a'), 50);
    refused(&service, &log, &older, 503, "signed later", "signed later").await;
    let back = service.ask(&signed_ago(&worker, &request('a'), 20)).await;
    assert_eq!((back.0, &back.1), (200, &first.1));
    assert_eq!(memory.secrets().len(), 1);
}

#[tokio::test]
async fn a_proof_that_was_of_no_use_is_used_all_the_same() {
    let (aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let envelope = signed(&Person::worker(), &request('a'));
    aws.instance(ID, "pending", &tags(CLUSTER));
    refused(&service, &log, &envelope, 503, "pending", "pending").await;
    // Who has seen it cannot have its turn when the machine runs.
    aws.instance(ID, "running", &tags(CLUSTER));
    refused(&service, &log, &envelope, 403, "used before", "used before").await;
    assert!(memory.secrets().is_empty());
}

#[tokio::test]
async fn what_is_not_a_join_request_is_refused() {
    let (aws, _memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let whole = serde_json::to_value(signed(&Person::worker(), &request('a'))).unwrap();
    let mut url = whole.clone();
    url["proof"]["url"] = "http://169.254.169.254/".into();
    let mut host = whole.clone();
    host["host"] = "evil.example".into();
    let nested = format!("{}{}", "[".repeat(8000), "]".repeat(8000));
    let bodies = [
        Vec::new(),
        b"{}".to_vec(),
        b"\xff\xfe".to_vec(),
        nested.into_bytes(),
        url.to_string().into_bytes(),
        host.to_string().into_bytes(),
        whole["request"].as_str().unwrap().as_bytes().to_vec(),
    ];
    for body in bodies {
        assert_eq!(service.post(&body).await.0, 400, "{}", String::from_utf8_lossy(&body));
        assert!(log.last().contains("malformed"), "{}", log.last());
    }
    for bad in [
        JoinRequest { instance_id: "../../secrets".to_owned(), ..request('a') },
        JoinRequest { instance_id: "i-0&Action=X".to_owned(), ..request('a') },
        JoinRequest { claim: "short".to_owned(), ..request('a') },
        JoinRequest { cluster: "a\nb".to_owned(), ..request('a') },
    ] {
        assert_eq!(service.ask(&signed(&Person::worker(), &bad)).await.0, 400);
        assert!(log.last().contains("malformed"), "{}", log.last());
    }
    for (head, status) in [
        ("GET /v1/join HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("POST /v1/join/../x HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        ("GET http://169.254.169.254/ HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        ("CONNECT evil.example:80 HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        ("garbage\r\n\r\n", "400"),
    ] {
        let answer = service.raw(head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head} {answer}");
        assert!(log.last().contains("join refused"), "{head} {}", log.text());
    }
    assert!(aws.seen().is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let (aws, _memory, service) = service().await;
    let (log, _guard) = Log::begin();
    assert_eq!(service.post(&vec![b' '; MAX_BODY]).await.0, 400);
    assert_eq!(service.post(&vec![b' '; MAX_BODY + 1]).await.0, 413);
    assert!(log.last().contains("too large"));
    // Without a length, and without an end.
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let endless =
        format!("POST /v1/join HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(5));
    assert!(service.raw(endless.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    let huge = "POST /v1/join HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999\r\n\r\n";
    assert!(service.raw(huge.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    let headers = "x: y\r\n".repeat(40);
    let many = format!("POST /v1/join HTTP/1.1\r\n{headers}\r\n");
    assert!(service.raw(many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let wide = format!("POST /v1/join HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(9000));
    assert!(service.raw(wide.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert!(aws.seen().is_empty());
}

#[tokio::test]
async fn who_dawdles_is_hung_up_on_and_holds_nobody_up() {
    let (aws, memory) = (Aws::start().await, Memory::default());
    let limits = Limits { connections: 3, receive: Duration::from_secs(2) };
    let service = listen(&aws, &Keys::fresh(), memory, limits).await;
    let (log, _guard) = Log::begin();

    // All places are taken: by one that does not begin with TLS, one that does not end its head, and one that does not
    // send its body.
    let mut silent = TcpStream::connect(service.address).await.unwrap();
    let mut head = service.connect().await;
    head.write_all(b"POST /v1/join HTTP/1.1\r\n").await.unwrap();
    let mut body = service.connect().await;
    body.write_all(b"POST /v1/join HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n1").await.unwrap();

    // A worker gets its turn.
    let (status, answer) = service.ask(&signed(&Person::worker(), &request('a'))).await;
    assert_eq!(status, 200, "{answer}");
    let mut answers = [const { String::new() }; 3];
    // An end without a TLS farewell is an error to TLS, and here as good as any other.
    let _ = silent.read_to_string(&mut answers[0]).await;
    let _ = head.read_to_string(&mut answers[1]).await;
    let _ = body.read_to_string(&mut answers[2]).await;
    assert!(answers[0].is_empty());
    assert!(answers[2].starts_with("HTTP/1.1 408 "), "{answers:?}");
    for reason in ["the TLS handshake takes too long", "the request takes too long"] {
        assert!(log.text().contains(reason), "{}", log.text());
    }
}

#[tokio::test]
async fn a_visit_of_the_load_balancer_is_no_refusal() {
    let (_aws, _memory, service) = service().await;
    let (log, _guard) = Log::begin();
    drop(TcpStream::connect(service.address).await.unwrap());
    // The next one is served after it.
    assert_eq!(service.post(b"{}").await.0, 400);
    assert_eq!(log.text().matches("WARN").count(), 1, "{}", log.text());
}

/// As a network load balancer asks: with a TLS that is not the newest.
#[tokio::test]
async fn a_health_check_is_answered_and_no_refusal() {
    let (aws, _memory, service) = service().await;
    let (log, _guard) = Log::begin();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stream = service.connect_with(&[version]).await;
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let check = b"GET /healthz HTTP/1.1\r\nhost: a\r\nuser-agent: ELB-HealthChecker/2.0\r\n\r\n";
        let answer = Listening::exchange(stream, check).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    }
    assert!(!log.text().contains("join refused"), "{}", log.text());
    let answer = service.raw(b"POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(log.last().contains("join refused"), "{}", log.text());
    assert!(aws.seen().is_empty());
}

#[tokio::test]
async fn the_log_holds_no_secret() {
    let (_aws, memory, service) = service().await;
    let (log, _guard) = Log::begin();
    let worker = Person::worker();
    let envelope = signed_ago(&worker, &request('a'), 10);
    let (status, answer) = service.ask(&envelope).await;
    assert_eq!(status, 200);
    assert_eq!(service.ask(&signed(&worker, &request('b'))).await.0, 403);
    let token = answer["token"].as_str().unwrap().split_once('.').unwrap().1;
    let text = log.text();
    // At the highest level, of all crates; the signer is told the session token of the control plane.
    for secret in [token, &envelope.proof.security_token, &envelope.proof.signature, &"a".repeat(64)] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(!format!("{memory:?} {envelope:?}", memory = memory.secrets()).contains(token));
}

#[tokio::test]
async fn what_was_begun_is_ended_when_it_stops() {
    let (aws, keys) = (Aws::start().await, Keys::fresh());
    let server = Server::new(
        Service::new(service_config(&aws), Memory::default()).unwrap(),
        ServerTls::new(&keys.certificate, &keys.key).unwrap(),
        Limits::default(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = Listening { address: listener.local_addr().unwrap(), ca: keys.ca };
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(server.serve(listener, async move { stopped.await.unwrap() }));

    let body = serde_json::to_vec(&signed(&Person::worker(), &request('a'))).unwrap();
    let head = format!("POST /v1/join HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = service.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stop.send(()).unwrap();
    // The port is free as soon as nobody is let in any more.
    while TcpStream::connect(service.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(&body).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    ended.await.unwrap();
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let aws = runtime.block_on(Aws::start());
    let wrong = |change: &dyn Fn(&mut ServiceConfig)| {
        let mut config = service_config(&aws);
        change(&mut config);
        Service::new(config, Memory::default()).unwrap_err().to_string()
    };
    let wanted = "failed to set up the join service: ";
    for (error, what) in [
        (wrong(&|config| config.region = "eu-north-1.evil.example/".to_owned()), "region"),
        (wrong(&|config| config.account = "12345".to_owned()), "account"),
        (wrong(&|config| config.sts_endpoint = Some("sts.example".to_owned())), "the STS endpoint"),
        (wrong(&|config| config.ec2_endpoint = Some("https://a@b/".to_owned())), "the EC2 endpoint"),
    ] {
        assert!(error.starts_with(&format!("{wanted}{what} ")), "{error}");
    }
    let (keys, others) = (Keys::fresh(), Keys::fresh());
    for (certificate, key) in
        [("", keys.key.as_str()), (&keys.certificate, ""), (&keys.certificate, &others.key)]
    {
        let error = ServerTls::new(certificate, key).unwrap_err();
        assert!(!format!("{error:?}").contains("PRIVATE KEY"), "{error:?}");
    }
}
