//! What both stores do, and what each does in its own way.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use kcl_testkit::{Decision, Fault, Point, Protocol, Reply, Response, When};
use tempfile::TempDir;

use super::{Condition, FileStore, Location, Remembering, S3Store, Store, Version};
use crate::error::ErrorKind;
use crate::testing::{World, lock, lose};

#[test]
fn locations() {
    let s3 = |bucket: &str, prefix: &str| Location::S3 {
        bucket: bucket.into(),
        prefix: prefix.into(),
        owner: None,
    };
    assert_eq!(Location::parse("s3://state").unwrap(), s3("state", ""));
    assert_eq!(Location::parse("s3://state/a/b/").unwrap(), s3("state", "a/b"));
    let owned =
        Location::S3 { bucket: "state".into(), prefix: "a".into(), owner: Some("123456789012".into()) };
    assert_eq!(Location::parse("s3://state/a/?owner=123456789012").unwrap(), owned);
    let file = Location::File { directory: "/tmp/x".into() };
    assert_eq!(Location::parse("file:///tmp/x").unwrap(), file);
    for wrong in ["memfs://x", "s3://", "s3://UPPER", "file://relative", "nonsense", "s3://state?owner=me"] {
        assert!(Location::parse(wrong).is_err(), "{wrong}");
    }
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

async fn body(store: &dyn Store, key: &str) -> Option<String> {
    let object = store.get(key).await.expect("it can be read");
    object.map(|object| String::from_utf8(object.body).expect("it is text"))
}

async fn put(store: &dyn Store, key: &str, body: &str, condition: Condition) -> Version {
    store.put(key, text(body), condition).await.expect("it is written")
}

async fn is_refused(store: &dyn Store, key: &str, body: &str, condition: Condition) {
    let error = store.put(key, text(body), condition).await.expect_err("it is refused");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains(key), "{error}");
}

async fn keeps_objects(store: &dyn Store) {
    assert_eq!(body(store, "a/x").await, None);
    let first = put(store, "a/x", "one", Condition::IfAbsent).await;
    is_refused(store, "a/x", "two", Condition::IfAbsent).await;
    // Our own write, whose answer was lost.
    assert_eq!(put(store, "a/x", "one", Condition::IfAbsent).await, first);
    let object = store.get("a/x").await.expect("it can be read").expect("it is there");
    assert_eq!((object.body.as_slice(), &object.version), (b"one".as_slice(), &first));
    assert!(object.age.is_some_and(|age| age.as_secs() < 60), "{object:?}");
    assert!(!format!("{object:?}").contains("111, 110"), "content never shows");

    let second = put(store, "a/x", "two", Condition::IfUnchanged(first.clone())).await;
    is_refused(store, "a/x", "three", Condition::IfUnchanged(first.clone())).await;
    is_refused(store, "a/none", "three", Condition::IfUnchanged(first.clone())).await;
    assert_eq!(body(store, "a/x").await.as_deref(), Some("two"));
    put(store, "a/y/z", "deep", Condition::Always).await;
    put(store, "b/x", "other", Condition::Always).await;

    assert_eq!(store.list("a/").await.expect("it can be listed"), ["a/x", "a/y/z"]);
    assert_eq!(store.folders().await.expect("it can be listed"), ["a", "b"]);
    let keys: Vec<String> = ["b/x", "a/none", "a/x"].map(str::to_owned).into();
    let many = store.get_many(&keys).await.expect("they can be read");
    let many: Vec<_> = many.into_iter().map(|object| object.map(|object| object.body)).collect();
    assert_eq!(many, [Some(text("other")), None, Some(text("two"))]);

    let listed = store.list_objects("a/").await.expect("it can be listed");
    assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["a/x", "a/y/z"]);
    assert!(listed[0].version.as_ref().is_none_or(|version| *version == second), "{listed:?}");
    assert!(listed[0].age.is_some_and(|age| age < Duration::from_mins(1)), "{listed:?}");
    put(store, "c/x", "more", Condition::Always).await;
    store.delete_many(&["c/x", "c/none"].map(str::to_owned)).await.expect("they are removed");
    assert_eq!(body(store, "c/x").await, None);

    let error = store.delete("a/x", Some(first)).await.expect_err("it was changed");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    store.delete("a/x", Some(second.clone())).await.expect("it is removed");
    store.delete("a/x", Some(second)).await.expect("it is gone already");
    store.delete("a/x", None).await.expect("it is gone already");
    assert_eq!(body(store, "a/x").await, None);
    assert_eq!(store.purge("a").await.expect("it is purged"), 1);
    assert!(!store.finish_purge("a").await.expect("there is more in it"));
    assert_eq!(store.folders().await.expect("it can be listed"), ["b"]);
}

/// Nothing of the cluster is written or removed once its lock is lost, but locks are.
async fn changes_nothing_without_the_lock(store: Arc<dyn Store>) {
    let held = lock(&store, "a").await;
    store.change_under(held.fence());
    put(store.as_ref(), "a/x", "one", Condition::Always).await;
    put(store.as_ref(), "a/y", "two", Condition::IfAbsent).await;
    store.delete("a/y", None).await.expect("the lock is held");
    lose(&held, store.as_ref(), "a").await;

    let x = ["a/x".to_owned()];
    let version = store.get("a/x").await.expect("who only looks may").expect("it is there").version;
    for error in [
        store.put("a/x", text("older"), Condition::Always).await.expect_err("a write"),
        store.put("a/x", text("older"), Condition::IfUnchanged(version)).await.expect_err("another"),
        store.put("a/z", text("new"), Condition::IfAbsent).await.expect_err("a new one"),
        store.delete("a/x", None).await.expect_err("a removal"),
        store.delete_many(&x).await.expect_err("removals"),
        store.purge("a").await.expect_err("a purge"),
    ] {
        assert_eq!(error.kind, ErrorKind::LockLost, "{error}");
    }
    assert_eq!(store.list("a/").await.expect("it can be listed"), ["a/x"]);
    assert_eq!(body(store.as_ref(), "a/x").await.as_deref(), Some("one"));
    let again = lock(&store, "a").await;
    store.change_under(again.fence());
    put(store.as_ref(), "a/x", "newer", Condition::Always).await;
    again.release().await.expect("it is given back");
}

#[tokio::test]
async fn a_directory_changes_only_under_the_lock() {
    let (_folder, store) = directory();
    changes_nothing_without_the_lock(Arc::new(Remembering::new(Box::new(store)))).await;
}

#[tokio::test]
async fn a_bucket_changes_only_under_the_lock() {
    let world = World::start().await;
    changes_nothing_without_the_lock(Arc::new(s3(&world).await)).await;
}

/// What is purged is purged under the lock. What that leaves goes when it is given back, unless it is somebody else's.
#[tokio::test]
async fn the_lock_outlasts_what_is_purged_under_it() {
    let world = World::start().await;
    let bucket = world.bucket("versions", "eu-north-1").await;
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let call = world.aws.s3.put_bucket_versioning().bucket(&bucket).versioning_configuration(enabled);
    call.send().await.expect("it has versions");
    let store: Arc<dyn Store> = Arc::new(S3Store::new(world.s3(), bucket.clone(), "p".to_owned()));
    for key in ["a/before", "a/x/behind", "b/x"] {
        put(store.as_ref(), key, "one", Condition::Always).await;
        put(store.as_ref(), key, "two", Condition::Always).await;
    }
    let versions = async || {
        let call = world.aws.s3.list_object_versions().bucket(&bucket).prefix("p/a/");
        let listed = call.send().await.expect("they are listed");
        (listed.versions().len(), listed.delete_markers().len())
    };
    let earlier = lock(&store, "a").await;
    earlier.release().await.expect("it is given back");
    let held = lock(&store, "a").await;
    store.change_under(held.fence());
    assert_eq!(versions().await, (6, 1));
    assert_eq!(store.purge("a").await.expect("it is purged"), 6);
    assert_eq!(versions().await, (1, 0));
    held.release().await.expect("it is held still");
    assert_eq!(versions().await, (1, 1));

    let theirs = lock(&store, "a").await;
    let held = store.finish_purge("a").await.expect_err("somebody has it");
    assert_eq!(held.kind, ErrorKind::Conflict, "{held}");
    assert!(store.get("a/lock").await.expect("it is read").is_some(), "it is another one's");
    put(store.as_ref(), "a/new", "one", Condition::IfAbsent).await;
    theirs.release().await.expect("it was held all the time");
    assert!(!store.finish_purge("a").await.expect("it looks"));
    assert_eq!(body(store.as_ref(), "a/new").await.as_deref(), Some("one"));

    let last = lock(&store, "a").await;
    store.change_under(last.fence());
    store.purge("a").await.expect("it is purged");
    last.release().await.expect("it is held still");
    assert!(!store.finish_purge("a").await.expect("the rest goes"), "there is another cluster in it");
    assert_eq!(versions().await, (0, 0));
    assert_eq!(store.folders().await.expect("it can be listed"), ["b"]);
}

/// Where versions have no ids of their own, what a lock leaves is not told from a lock that somebody takes meanwhile.
#[tokio::test]
async fn what_has_no_version_of_its_own_stays() {
    let world = World::start().await;
    let bucket = world.bucket("suspended", "eu-north-1").await;
    let suspended = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
    let call = world.aws.s3.put_bucket_versioning().bucket(&bucket).versioning_configuration(suspended);
    call.send().await.expect("it has no versions any more");
    let store: Arc<dyn Store> = Arc::new(S3Store::new(world.s3(), bucket.clone(), String::new()));
    lock(&store, "a").await.release().await.expect("it is given back");
    world.local.after(|call, response| {
        if call.action != "ListObjectVersions" {
            return Reply::Send(response);
        }
        // A mark that S3 leaves there, and the local AWS does not.
        let listed = "<ListVersionsResult><DeleteMarker><Key>a/lock</Key><VersionId>null</VersionId>\
                      <IsLatest>true</IsLatest></DeleteMarker></ListVersionsResult>";
        Reply::Send(response.with_body(listed.to_owned()))
    });
    world.local.take_calls();
    assert!(!store.finish_purge("a").await.expect("it looks"));
    assert_eq!(world.local.mutating_calls().len(), 0);
}

/// A folder of files goes with the lock.
#[tokio::test]
async fn files_are_purged_under_the_lock() {
    let (folder, store) = directory();
    let store: Arc<dyn Store> = Arc::new(store);
    put(store.as_ref(), "a/x/deep", "one", Condition::Always).await;
    put(store.as_ref(), "a/y", "one", Condition::Always).await;
    // As a process leaves it that was killed before it put something there.
    std::fs::create_dir_all(folder.path().join("state/a/pki/private")).expect("it is made");
    let held = lock(&store, "a").await;
    store.change_under(held.fence());
    assert_eq!(store.purge("a").await.expect("it is purged"), 2);
    assert_eq!(store.list("a/").await.expect("it can be listed"), ["a/lock"]);
    held.release().await.expect("it is held still");
    assert!(!folder.path().join("state/a").exists());
    // Whoever has lost the lock makes no folder of it again.
    let lost = lock(&store, "a").await;
    store.change_under(lost.fence());
    lose(&lost, store.as_ref(), "a").await;
    let late = store.put("a/late", text("older"), Condition::Always).await;
    assert_eq!(late.expect_err("the lock is lost").kind, ErrorKind::LockLost);
    assert!(!folder.path().join("state/a").exists());
}

async fn s3(world: &World) -> S3Store {
    let bucket = world.bucket("store", &world.aws.region).await;
    S3Store::new(world.s3(), bucket, "pre/fix".to_owned())
}

#[tokio::test]
async fn s3_keeps_objects() {
    let world = World::start().await;
    keeps_objects(&s3(&world).await).await;
    assert_eq!(world.local.unsupported(), Vec::<String>::new());
}

fn directory() -> (TempDir, FileStore) {
    let folder = tempfile::tempdir().expect("there is a folder");
    let store = FileStore::new(folder.path().join("state"));
    (folder, store)
}

#[tokio::test]
async fn a_directory_keeps_objects() {
    let (_folder, store) = directory();
    keeps_objects(&store).await;
}

#[tokio::test]
async fn what_is_remembered_is_kept_the_same_way() {
    let (_folder, store) = directory();
    let store = Remembering::new(Box::new(store));
    assert_eq!(body(&store, "a/x").await, None);
    let version = put(&store, "a/x", "one", Condition::IfAbsent).await;
    let object = store.get("a/x").await.expect("it can be read").expect("it is there");
    assert_eq!(object.version, version);
    put(&store, "a/x", "two", Condition::IfUnchanged(version)).await;
    assert_eq!(body(&store, "a/x").await.as_deref(), Some("two"));
}

#[tokio::test]
async fn a_lock_is_never_remembered() {
    let (folder, store) = directory();
    let store = Remembering::new(Box::new(store));
    let other = FileStore::new(folder.path().join("state"));
    for key in ["a/lock", "a/config"] {
        put(&store, key, "mine", Condition::Always).await;
        assert_eq!(body(&store, key).await.as_deref(), Some("mine"));
        put(&other, key, "theirs", Condition::Always).await;
    }
    assert_eq!(body(&store, "a/lock").await.as_deref(), Some("theirs"));
    assert_eq!(body(&store, "a/config").await.as_deref(), Some("mine"));
    // A write that is refused shows that too little is known.
    is_refused(&store, "a/config", "new", Condition::IfAbsent).await;
    assert_eq!(body(&store, "a/config").await.as_deref(), Some("theirs"));
}

#[tokio::test]
async fn of_many_writers_one_is_first() {
    let (folder, _store) = directory();
    for round in 0..10 {
        let key = format!("a/{round}");
        let writers = (0..20).map(|number| {
            let store = FileStore::new(folder.path().join("state"));
            let key = key.clone();
            tokio::spawn(
                async move { store.try_put(&key, text(&number.to_string()), Condition::IfAbsent).await },
            )
        });
        let results = futures::future::join_all(writers).await;
        let first: Vec<Version> = results.into_iter().filter_map(|it| it.expect("no panic").ok()).collect();
        assert_eq!(first.len(), 1);
        let writers = (0..20).map(|number| {
            let store = FileStore::new(folder.path().join("state"));
            let (key, condition) = (key.clone(), Condition::IfUnchanged(first[0].clone()));
            tokio::spawn(async move { store.try_put(&key, text(&format!("n{number}")), condition).await })
        });
        let results = futures::future::join_all(writers).await;
        assert_eq!(results.into_iter().filter(|it| it.as_ref().expect("no panic").is_ok()).count(), 1);
    }
}

#[tokio::test]
async fn keys_lead_nowhere_else() {
    let (_folder, store) = directory();
    for key in ["../x", "/etc/passwd", "a/../../x", "", "a//x", "a/."] {
        assert!(store.get(key).await.is_err(), "{key}");
        assert!(store.put(key, text("x"), Condition::Always).await.is_err(), "{key}");
        assert!(store.delete(key, None).await.is_err(), "{key}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_is_its_owners() {
    use std::os::unix::fs::PermissionsExt as _;

    let (folder, store) = directory();
    put(&store, "a/pki/private/ca/keyset.yaml", "secret", Condition::IfAbsent).await;
    put(&store, "a/config", "spec", Condition::Always).await;
    let mode = |path: &str| {
        let path = folder.path().join("state").join(path);
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(mode("a/pki/private/ca/keyset.yaml"), 0o600);
    assert_eq!(mode("a/config"), 0o600);
    for folder in ["a/pki/private/ca", "a/pki/private", "a/pki", "a"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
}

#[tokio::test]
async fn what_a_killed_process_left_is_no_object() {
    let (folder, store) = directory();
    let root = folder.path().join("state");
    put(&store, "a/config", "spec", Condition::Always).await;
    // The name that the next write would choose, too.
    for number in 0..50 {
        let path = root.join(format!(".kcl-half-{}-{number}", std::process::id()));
        std::fs::write(path, "ha").expect("it is left");
    }
    put(&store, "a/x", "one", Condition::IfAbsent).await;
    put(&store, "discovery/.well-known/openid-configuration", "{}", Condition::Always).await;
    let keys = store.list("").await.expect("it can be listed");
    assert_eq!(keys, ["a/config", "a/x", "discovery/.well-known/openid-configuration"]);
    for key in keys {
        store.delete(&key, None).await.expect("it is removed");
    }
    assert!(store.folders().await.expect("it can be listed").is_empty());
}

#[tokio::test]
async fn a_bucket_elsewhere_is_found() {
    let world = World::start().await;
    let bucket = world.bucket("elsewhere", "eu-west-3").await;
    let store = S3Store::new(world.s3(), bucket, "p".to_owned());
    world.local.take_calls();
    put(&store, "a/x", "one", Condition::IfAbsent).await;
    let first: Vec<_> = world.local.take_calls().into_iter().map(|call| (call.region, call.status)).collect();
    assert_eq!(first, [("eu-north-1".to_owned(), 301), ("eu-west-3".to_owned(), 200)]);
    assert_eq!(body(&store, "a/x").await.as_deref(), Some("one"));
    assert_eq!(store.folders().await.expect("it can be listed"), ["a"]);
    assert_eq!(world.local.take_calls().len(), 2, "the right region costs nothing more");
    // Whatever the first call is.
    let again = S3Store::new(world.s3(), store.bucket().expect("it is one").to_owned(), "p".to_owned());
    assert_eq!(again.list("a/").await.expect("it can be listed"), ["a/x"]);
    let purged = again.purge("a").await.expect("it is purged");
    assert_eq!(purged, 1);
    assert!(!again.finish_purge("a").await.expect("it is empty"), "the bucket is somebody else's");
}

#[tokio::test]
async fn a_region_that_is_not_told_is_asked_for() {
    let world = World::start().await;
    let bucket = world.bucket("asked", "eu-west-3").await;
    world.local.before(|call| {
        if call.region == "eu-north-1" && call.action == "GetObject" {
            let answer = Response::error(Protocol::S3, 400, "AuthorizationHeaderMalformed", "wrong region");
            return Decision::Respond(answer);
        }
        Decision::Forward
    });
    let store = S3Store::new(world.s3(), bucket, String::new());
    assert_eq!(body(&store, "a/x").await, None);
    assert_eq!(world.local.count("s3", "HeadBucket"), 1);
}

#[tokio::test]
async fn encryption_is_the_buckets_own_or_the_key_asked_for() {
    let world = World::start().await;
    let store = s3(&world).await;
    world.local.take_calls();
    put(&store, "a/x", "one", Condition::Always).await;
    let store = store.with_kms_key(Some("alias/state".to_owned()));
    put(&store, "a/x", "two", Condition::Always).await;
    let said = |name: &str| -> Vec<Option<String>> {
        let calls = world.local.calls();
        calls.iter().map(|call| Some(call.headers.get(name)?.to_str().ok()?.to_owned())).collect()
    };
    assert_eq!(said("x-amz-server-side-encryption"), [None, Some("aws:kms".to_owned())]);
    assert_eq!(said("x-amz-server-side-encryption-aws-kms-key-id"), [None, Some("alias/state".to_owned())]);
    assert_eq!(said("x-amz-server-side-encryption-bucket-key-enabled"), [None, Some("true".to_owned())]);
}

#[tokio::test]
async fn a_bucket_of_another_account_is_refused() {
    let (ours, theirs) = (World::start().await, World::start().await);
    let bucket = theirs.bucket("theirs", "eu-north-1").await;
    let store = S3Store::new(ours.s3(), bucket.clone(), String::new());
    // Nothing is known yet of whose it should be.
    assert_eq!(body(&store, "a/x").await, None);
    store.expect_owner(&ours.aws.account);
    for error in [
        store.get("a/x").await.expect_err("it is refused"),
        store.put("a/x", text("key"), Condition::Always).await.expect_err("it is refused"),
        store.list("a/").await.expect_err("it is refused"),
        store.delete("a/x", None).await.expect_err("it is refused"),
    ] {
        assert_eq!(error.kind, ErrorKind::Refused);
        assert!(error.message.contains(&format!("is not of the account {}", ours.aws.account)), "{error}");
    }
    // Named with the location it is what was meant.
    let store = S3Store::new(theirs.s3(), bucket, String::new()).with_owner(Some(theirs.aws.account.clone()));
    store.expect_owner(&ours.aws.account);
    put(&store, "a/x", "one", Condition::Always).await;
}

#[tokio::test]
async fn what_is_not_allowed_is_not_blamed_on_the_bucket() {
    let world = World::start().await;
    let bucket = world.bucket("state", "eu-north-1").await;
    let store = S3Store::new(world.s3(), bucket, String::new());
    put(&store, "a/x", "one", Condition::Always).await;
    store.expect_owner(&world.aws.account);
    let point = Point { service: "s3".to_owned(), action: "GetObject".to_owned(), nth: 1 };
    world.local.inject(Fault::Denied, When::ActionFrom(point), 0);
    let error = store.get("a/x").await.expect_err("it is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(error.message.contains("is not authorized to perform: s3:GetObject"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_busy_is_asked_again() {
    let world = World::start().await;
    let store = s3(&world).await;
    let left = std::sync::atomic::AtomicI32::new(2);
    world.local.before(move |call| {
        let busy = call.headers.contains_key("if-none-match") || call.headers.contains_key("if-match");
        if busy && left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            let answer = Response::error(Protocol::S3, 409, "ConditionalRequestConflict", "try again");
            return Decision::Respond(answer);
        }
        Decision::Forward
    });
    put(&store, "a/x", "one", Condition::IfAbsent).await;
    assert_eq!(world.local.count("s3", "PutObject"), 3);
}

#[tokio::test]
async fn a_store_without_conditions_says_so() {
    let world = World::start().await;
    let store = s3(&world).await;
    world.local.before(|call| {
        if call.headers.contains_key("if-none-match") {
            let message = "A header you provided implies functionality that is not implemented";
            return Decision::Respond(Response::error(Protocol::S3, 501, "NotImplemented", message));
        }
        Decision::Forward
    });
    let error = store.put("a/x", text("one"), Condition::IfAbsent).await.expect_err("it is refused");
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
}
