//! The state store, as S3 (a local one) and as a folder.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use aws_credential_types::Credentials;
use common::{bucket, client, patience, sha256};
use kcl_http::{Signer, chain};
use kcl_node::store::{Access, Condition, Location, Store, StoreError, Written};
use kcl_testkit::{Decision, LocalAws, Response};

fn access(endpoint: Option<String>) -> Access {
    let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
    Access {
        http: client(),
        signer: Signer::new(credentials),
        region: "eu-north-1".to_owned(),
        endpoint,
        patience: patience(),
    }
}

/// A bucket of an account of its own.
fn store_in_a_bucket() -> (LocalAws, Store) {
    let aws = LocalAws::shared().unwrap();
    let name = bucket::make(&aws, "node-store");
    let location = Location::parse(&format!("s3://{name}/karlaru.com")).unwrap();
    let store = Store::new(location, access(Some(aws.endpoint())));
    (aws, store)
}

/// The entity tag of what was written.
fn tag(written: Written) -> String {
    match written {
        Written::Yes(tag) => Some(tag),
        Written::ConditionFailed => None,
    }
    .unwrap()
}

async fn conditions(store: &Store) {
    assert_eq!(store.get("status/i-1").await.unwrap(), None);
    let first = tag(store.put("status/i-1", b"one", Condition::Absent).await.unwrap());
    assert_eq!(store.put("status/i-1", b"x", Condition::Absent).await.unwrap(), Written::ConditionFailed);
    let read = store.get("status/i-1").await.unwrap().unwrap();
    assert_eq!((read.bytes.as_slice(), &read.etag), (b"one".as_slice(), &first));
    let unchanged = Condition::Unchanged(&first);
    let second = tag(store.put("status/i-1", b"two", unchanged).await.unwrap());
    assert_eq!(store.put("status/i-1", b"x", unchanged).await.unwrap(), Written::ConditionFailed);
    assert_eq!(store.put("gone", b"x", unchanged).await.unwrap(), Written::ConditionFailed);
    assert_ne!(first, second);
    store.put("status/i-1", b"three", Condition::Always).await.unwrap();
    assert_eq!(store.get_checked("status/i-1", &sha256(b"three")).await.unwrap(), b"three");
    let error = store.get_checked("status/i-1", &sha256(b"two")).await.unwrap_err();
    assert!(matches!(error, StoreError::Hash { .. }), "{error}");
    let error = store.get_checked("nothing", &sha256(b"two")).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    // Names that a URL spells in another way.
    store.put("node/a group+1 é.yaml", b"odd", Condition::Always).await.unwrap();
    assert_eq!(store.get("node/a group+1 é.yaml").await.unwrap().unwrap().bytes, b"odd");
}

/// Of many who want to be the first, one is.
async fn race(store: &Store) {
    let tries = (0..8).map(|me| async move {
        store.put("initialised", format!("machine {me}").as_bytes(), Condition::Absent).await.unwrap()
    });
    let won = futures::future::join_all(tries).await;
    assert_eq!(won.iter().filter(|written| matches!(written, Written::Yes(_))).count(), 1, "{won:?}");
}

/// Objects as files, and what there is.
async fn files(store: &Store) {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    let content: Vec<u8> = (0..300_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    std::fs::write(&from, &content).unwrap();
    let keys = ["backups/x/2026-11-27T03:15:00Z-i-0/etcd.db", "backups/x/a & b <c>", "backups/y"];
    for key in keys {
        store.put_file(key, &from, &sha256(&content)).await.unwrap();
    }
    let fetched = store.get_file(keys[0], &to).await.unwrap().unwrap();
    assert_eq!((fetched.size, fetched.sha256), (300_000, sha256(&content)));
    assert_eq!(std::fs::read(&to).unwrap(), content);
    // A snapshot has every secret in it, whatever the umask is and was there before.
    let mode = || std::fs::metadata(&to).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o644)).unwrap();
    store.get_file(keys[0], &to).await.unwrap().unwrap();
    assert_eq!(mode(), 0o600);
    assert_eq!(store.get_file("backups/nothing", &to).await.unwrap(), None);
    assert_eq!(store.get("backups/y").await.unwrap().unwrap().bytes, content);

    assert_eq!(store.list("backups/x/").await.unwrap(), keys[..2]);
    assert_eq!(store.list("backups/").await.unwrap(), keys);
    assert_eq!(store.list("backups/x/2026-11").await.unwrap(), keys[..1]);
    assert!(store.list("nothing/").await.unwrap().is_empty());
    for key in keys {
        store.delete(key).await.unwrap();
        store.delete(key).await.unwrap();
    }
    assert!(store.list("backups/").await.unwrap().is_empty());
    let error = store.put_file("backups/z", &home.path().join("nothing"), &sha256(b"")).await.unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
}

#[tokio::test]
async fn a_bucket_keeps_files() {
    let (_aws, store) = store_in_a_bucket();
    files(&store).await;
}

/// As kcl makes its buckets.
#[tokio::test]
async fn nothing_is_left_of_what_is_deleted_where_old_versions_are_kept() {
    let (aws, store) = store_in_a_bucket();
    let bucket = format!("/node-store-{}", aws.account());
    let call = |method: &str, path: &str, body: &str| {
        kcl_testkit::http(&aws.endpoint(), method, &format!("{bucket}{path}"), Some("s3"), &[], body).unwrap()
    };
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(call("PUT", "?versioning", enable).status, 200);
    files(&store).await;
    for content in [b"one", b"two"] {
        store.put("backups/a", content, Condition::Always).await.unwrap();
        store.put("backups/ab", content, Condition::Always).await.unwrap();
    }
    let count = || call("GET", "?versions", "").body.matches("<VersionId>").count();
    assert_eq!(count(), 4);
    // Whatever fails: it is there until nothing else is.
    let left = std::sync::atomic::AtomicU32::new(1);
    aws.before(move |call| {
        if call.method != "DELETE" || left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            return Decision::Forward;
        }
        Decision::Respond(Response::error(kcl_testkit::Protocol::S3, 403, "AccessDenied", "no"))
    });
    store.delete("backups/a").await.unwrap_err();
    aws.clear_rules();
    assert_eq!((store.get("backups/a").await.unwrap().unwrap().bytes, count()), (b"two".to_vec(), 3));
    store.delete("backups/a").await.unwrap();
    assert_eq!(count(), 2, "another key that begins alike stays");
    assert_eq!(store.get("backups/ab").await.unwrap().unwrap().bytes, b"two");
}

#[tokio::test]
async fn a_folder_keeps_files() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::parse(&format!("file://{}/karlaru.com", folder.path().display())).unwrap();
    files(&Store::new(location, access(None))).await;
}

/// S3 tells a thousand at a time.
#[tokio::test]
async fn all_pages_of_a_list_are_read() {
    let (aws, store) = store_in_a_bucket();
    aws.before(|call| {
        let page = |keys: &[&str], next: &str| {
            let keys = keys.iter().map(|key| format!("<Contents><Key>karlaru.com/{key}</Key></Contents>"));
            let next = format!("<NextContinuationToken>{next}</NextContinuationToken>").repeat(usize::from(!next.is_empty()));
            let keys: String = keys.collect();
            let body = format!(
                "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{next}{keys}</ListBucketResult>"
            );
            let mut response = Response::error(kcl_testkit::Protocol::S3, 200, "", "");
            response.body = body.into();
            Decision::Respond(response)
        };
        match call.params.get("continuation-token").map(String::as_str) {
            _ if !call.params.contains_key("list-type") => Decision::Forward,
            None => page(&["a", "b"], "1/+=&amp;"),
            Some("1/+=&") => page(&["c"], "2"),
            _ => page(&["d &amp; e"], ""),
        }
    });
    assert_eq!(store.list("").await.unwrap(), ["a", "b", "c", "d & e"]);
    aws.clear_rules();
    aws.before(|call| match call.params.get("list-type") {
        Some(_) => Decision::Respond(Response::error(kcl_testkit::Protocol::S3, 403, "AccessDenied", "no")),
        None => Decision::Forward,
    });
    let error = store.list("backups/").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { what: "list", .. }), "{error}");
}

#[tokio::test]
async fn a_bucket_keeps_conditions() {
    let (_aws, store) = store_in_a_bucket();
    conditions(&store).await;
    race(&store).await;
}

#[tokio::test]
async fn a_folder_keeps_conditions() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::parse(&format!("file://{}/karlaru.com", folder.path().display())).unwrap();
    let store = Store::new(location, access(None));
    conditions(&store).await;
    race(&store).await;
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let (aws, store) = store_in_a_bucket();
    let refuse = |status, code: &'static str| {
        Decision::Respond(Response::error(kcl_testkit::Protocol::S3, status, code, "no"))
    };
    let left = std::sync::atomic::AtomicU32::new(2);
    aws.before(move |call| {
        let again = left.fetch_update(
            std::sync::atomic::Ordering::SeqCst,
            std::sync::atomic::Ordering::SeqCst,
            |left| left.checked_sub(1),
        );
        if call.service == "s3" && again.is_ok() { refuse(503, "SlowDown") } else { Decision::Forward }
    });
    store.put("a", b"a", Condition::Absent).await.unwrap();
    aws.clear_rules();
    aws.take_calls();
    aws.before(move |_| refuse(403, "AccessDenied"));
    let error = store.get("a").await.unwrap_err();
    assert_eq!(aws.calls().len(), 1, "a refusal is final");
    let said = chain(&error).replace(aws.account(), "ACCOUNT");
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(said) });
}

/// The bucket is in another region than the machine: S3 says so, and is asked there.
#[tokio::test]
async fn a_bucket_of_another_region_is_found() {
    let (aws, store) = store_in_a_bucket();
    store.put("a", b"a", Condition::Always).await.unwrap();
    aws.before(move |call| {
        if call.region == "eu-north-1" {
            return Decision::Forward;
        }
        let mut response = Response::error(kcl_testkit::Protocol::S3, 301, "PermanentRedirect", "elsewhere");
        response.headers.insert("x-amz-bucket-region", hyper::header::HeaderValue::from_static("eu-north-1"));
        Decision::Respond(response)
    });
    let away = Access { region: "us-east-1".to_owned(), ..access(Some(aws.endpoint())) };
    let away = Store::new(store.location().clone(), away);
    assert_eq!(away.get("a").await.unwrap().unwrap().bytes, b"a");
    aws.take_calls();
    assert_eq!(away.get("a").await.unwrap().unwrap().bytes, b"a");
    assert_eq!(aws.calls().len(), 1, "it is remembered");
}

#[test]
fn locations_are_read() {
    for text in ["s3://bucket", "s3://bucket/a/b", "file:///var/lib/state"] {
        assert_eq!(Location::parse(text).unwrap().to_string(), text);
    }
    for text in ["", "s3://", "s3://UP", "s3:///a", "file://a", "https://bucket", "/a"] {
        assert!(Location::parse(text).is_err(), "{text}");
    }
}
