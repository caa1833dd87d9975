//! Hostile requests, by the hundred: none makes the service panic, go away, or connect to anything but STS with
//! anything but the one request that it sends there.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

mod support;

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::Method;
use kcl_join::{Envelope, JoinRequest, Limits};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// So many of each kind.
const CASES: usize = 60;

/// What is done to a request.
#[derive(Debug, Clone)]
enum Attack {
    /// Bytes of the body are replaced, and its end is cut off.
    Damage(Vec<(usize, u8)>, usize),
    /// A value of the envelope is replaced.
    Value(&'static str, Value),
    /// A field of the request, which is then signed: a worker gone bad.
    Signed(usize, String),
    /// Anything, as HTTP.
    Http(Vec<u8>),
    /// Anything, as TLS.
    Tls(Vec<u8>),
}

/// Texts with which to get out of where they stand; `DECOY` is where somebody listens.
fn text() -> BoxedStrategy<String> {
    let known = [
        "http://DECOY/latest/meta-data/",
        "DECOY",
        "@DECOY/",
        "eu-north-1.DECOY/#",
        "a\r\nHost: DECOY\r\n\r\n",
        "ASIA0000000000000000/20300101/DECOY/sts/aws4_request",
        "../../../api/v1/secrets",
        "$(curl http://DECOY)",
        "&Action=AssumeRole&RoleArn=x",
        "\u{0}\u{202e}\u{feff}",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(str::to_owned);
    let long = (1..14_000_usize).prop_map(|length| "A".repeat(length));
    prop_oneof![4 => known, 2 => ".{0,60}", 1 => long].boxed()
}

fn attacks() -> Vec<BoxedStrategy<Attack>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..600);
    let value = prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
        Just(serde_json::json!([[], {}])),
    ];
    let pointers = [
        "/request",
        "/proof",
        "/proof/credential",
        "/proof/date",
        "/proof/expires",
        "/proof/security_token",
        "/proof/signature",
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    vec![
        (changes, 0..40_usize)
            .prop_map(|(changes, cut)| {
                let changes = changes.into_iter().map(|(at, byte)| (at.index(1000), byte)).collect();
                Attack::Damage(changes, cut)
            })
            .boxed(),
        (prop::sample::select(pointers.to_vec()), value)
            .prop_map(|(at, value)| Attack::Value(at, value))
            .boxed(),
        (0..4_usize, text()).prop_map(|(field, text)| Attack::Signed(field, text)).boxed(),
        (bytes(), "[A-Z]{1,8} [!-~]{1,40} HTTP/1\\.[01]")
            .prop_map(|(rest, line)| Attack::Http([line.as_bytes(), b"\r\n", &rest, b"\r\n\r\n"].concat()))
            .boxed(),
        bytes().prop_map(Attack::Tls).boxed(),
    ]
}

impl Attack {
    /// Attacks. Gives the status of the answer, if there is one.
    async fn run(self, service: &Listening, decoy: &str) -> Option<u16> {
        let whole = signed(&Person::worker(), &request('a'));
        let unharmed = serde_json::to_vec(&whole).unwrap();
        let body = match self {
            Self::Damage(changes, cut) => {
                let mut body = unharmed.clone();
                for (at, byte) in changes {
                    let at = at % body.len();
                    body[at] = byte;
                }
                body.truncate(body.len() - cut);
                body
            }
            Self::Value(at, value) => {
                let mut json = serde_json::to_value(&whole).unwrap();
                *json.pointer_mut(at).unwrap() = value;
                json.to_string().replace("DECOY", decoy).into_bytes()
            }
            Self::Signed(field, text) => {
                let JoinRequest { mut cluster, mut instance_id, mut claim, mut nonce } = request('a');
                *[&mut cluster, &mut instance_id, &mut claim, &mut nonce][field] =
                    text.replace("DECOY", decoy);
                let request = JoinRequest { cluster, instance_id, claim, nonce };
                let envelope: Envelope = signed(&Person::worker(), &request);
                serde_json::to_vec(&envelope).unwrap()
            }
            Self::Http(bytes) => {
                service.raw(&bytes).await;
                return None;
            }
            Self::Tls(bytes) => {
                let mut stream = TcpStream::connect(service.address).await.unwrap();
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return None;
            }
        };
        if body == unharmed { None } else { Some(service.post(&body).await.0) }
    }
}

#[tokio::test]
async fn nothing_gets_through() {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, usual) = (Arc::clone(&panics), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, Ordering::SeqCst);
        usual(info);
    }));
    let decoy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let decoy_address = decoy.local_addr().unwrap().to_string();
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    tokio::spawn(async move {
        while decoy.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (aws, memory) = (Aws::start().await, Memory::default());
    let service = listen(&aws, &Keys::fresh(), memory.clone(), Limits::default()).await;

    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for kind in attacks() {
        for _ in 0..CASES {
            let attack = kind.new_tree(&mut runner).unwrap().current();
            let shown = format!("{attack:?}");
            let status = attack.run(&service, &decoy_address).await;
            if let Some(status) = status {
                assert!(matches!(status, 400 | 403 | 413 | 503), "{status} {shown}");
            }
        }
    }
    assert!(memory.secrets().is_empty());
    for seen in aws.seen() {
        assert_eq!((seen.method, seen.body.as_str()), (Method::GET, ""));
        assert!(
            seen.target.starts_with("/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-"),
            "{}",
            seen.target
        );
        assert_eq!(seen.target.matches("Action=").count(), 1, "{}", seen.target);
        assert_eq!((seen.headers.len(), &seen.headers["host"]), (2, &STS_HOST.parse().unwrap()));
    }
    // It is still there, and as it was.
    let (status, answer) = service.ask(&signed(&Person::worker(), &request('a'))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(visits.load(Ordering::SeqCst), 0, "somebody was talked into a visit");
    assert_eq!(panics.load(Ordering::SeqCst), 0);
}
