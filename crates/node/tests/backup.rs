//! Backups of the real etcd, in a store of files and in S3.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use common::etcd::{World, access, backups, folder_store, put};
use common::{Reply, Web, bucket, sha256};
use kcl_node::backup::{self, BackupError, INTERVAL, Periodic};
use kcl_node::store::{Condition, Location, Store};
use kcl_node_config::{Backup, BackupName, BackupReason, rfc3339};
use kcl_testkit::{Decision, LocalAws, Protocol, Response};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-27 03:15:00.5 UTC);

fn minutes(minutes: i64) -> OffsetDateTime {
    NOW + Duration::minutes(minutes)
}

/// A backup in a store, of which nobody has to believe that it is etcd's.
async fn some_backup(store: &Store, at: OffsetDateTime, database: &[u8]) -> Backup {
    let name = BackupName::new(at, "i-0f");
    let backup = Backup {
        name: name.to_string(),
        member: "a".to_owned(),
        instance: "i-0f".to_owned(),
        taken_at: rfc3339(at),
        size: database.len() as u64,
        sha256: sha256(database),
        etcd_revision: 1,
        kubernetes_version: "1.36.4".to_owned(),
        etcd_version: "3.6.8".to_owned(),
        reason: BackupReason::Periodic,
    };
    let text = serde_json::json!(backup).to_string();
    store.put(&name.database(), database, Condition::Always).await.unwrap();
    store.put(&name.document(), text.as_bytes(), Condition::Always).await.unwrap();
    backup
}

#[tokio::test]
async fn one_is_taken_when_it_is_time_by_the_leader() {
    let world = World::new();
    let (mut node, store) = (world.machine("a", "i-0a"), world.store());
    node.start(&node.initial(), false);
    node.healthy().await;
    put(&node.etcd(), &[("a", "1")]).await;
    let source = node.source(&store);

    // What another machine left half written.
    let half = BackupName::new(minutes(-1), "i-0b");
    store.put(&half.database(), b"half", Condition::Always).await.unwrap();
    assert!(backup::list(&store).await.unwrap().backups.is_empty());

    let Periodic::Taken(first, pruned) = backup::periodic(&source, INTERVAL, 90, NOW).await.unwrap() else {
        unreachable!()
    };
    assert_eq!(first.name, "2026-11-27T03:15:00Z-i-0a");
    assert_eq!((first.taken_at.as_str(), first.reason), ("2026-11-27T03:15:00Z", BackupReason::Periodic));
    assert_eq!((first.etcd_revision, first.member.as_str()), (2, "a"));
    assert!(pruned.unwrap().deleted.is_empty(), "it may still be written");
    assert!(!node.system.path("/var/lib/kcl-node/snapshot.db").exists());

    // It is what etcd gave, and can be had back.
    let to = node.volume().join("fetched.db");
    backup::fetch(&store, &first, &to).await.unwrap();
    assert_eq!(sha256(&fs::read(&to).unwrap()), first.sha256);

    let Periodic::NotDue(next) = backup::periodic(&source, INTERVAL, 90, minutes(14)).await.unwrap() else {
        unreachable!()
    };
    assert_eq!(next, datetime!(2026-11-27 03:30:00 UTC));
    // One of what was there before a restore says nothing of what is there now.
    let before = backup::take(&source, BackupReason::BeforeRestore, minutes(14)).await.unwrap();
    let Periodic::Taken(after, _) = backup::periodic(&source, INTERVAL, 90, minutes(14)).await.unwrap()
    else {
        unreachable!()
    };
    assert_eq!(
        (before.name.as_str(), after.name.as_str()),
        ("2026-11-27T03:29:00Z-i-0a", "2026-11-27T03:29:01Z-i-0a")
    );
    // A day later the half one is swept away, and of each hour one is left.
    let Periodic::Taken(last, pruned) =
        backup::periodic(&source, INTERVAL, 90, minutes(24 * 60)).await.unwrap()
    else {
        unreachable!()
    };
    assert_eq!(pruned.unwrap().deleted, [first.name, before.name, half.to_string()]);
    assert!(!world.folder().join(half.database()).exists());
    let left: Vec<String> = backups(&store).await.into_iter().map(|one| one.name).collect();
    assert_eq!(left, [after.name, last.name]);

    // Another machine's member leaves it to the leader.
    let mut other = world.machine("b", "i-0b");
    other.join(&node).await;
    let later = minutes(48 * 60);
    let periodic = backup::periodic(&other.source(&store), INTERVAL, 90, later).await.unwrap();
    assert!(matches!(periodic, Periodic::NotLeader), "{periodic:?}");
    // But saves what it has when its machine goes.
    let taken = backup::take(&other.source(&store), BackupReason::Termination, later).await.unwrap();
    assert_eq!((taken.member.as_str(), taken.reason), ("b", BackupReason::Termination));
}

#[tokio::test]
async fn what_is_not_what_was_taken_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let (store, to) = (folder_store(home.path()), home.path().join("fetched"));
    let good = some_backup(&store, NOW, b"the database").await;
    backup::fetch(&store, &good, &to).await.unwrap();
    let name = BackupName::parse(&good.name).unwrap();

    store.put(&name.database(), b"the databasf", Condition::Always).await.unwrap();
    let error = backup::fetch(&store, &good, &to).await.unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }) && !error.is_transient(), "{error}");
    assert!(!to.exists());
    store.put(&name.database(), b"the data", Condition::Always).await.unwrap();
    let error = backup::fetch(&store, &good, &to).await.unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    store.delete(&name.database()).await.unwrap();
    let error = backup::fetch(&store, &good, &to).await.unwrap_err();
    assert!(matches!(error, BackupError::Missing { .. }), "{error}");
    assert!(backup::list(&store).await.unwrap().backups.is_empty());

    // A document that is another one's, or none.
    for text in
        [&b"{}"[..], serde_json::json!(Backup { name: "other".to_owned(), ..good }).to_string().as_bytes()]
    {
        store.put(&name.document(), text, Condition::Always).await.unwrap();
        let error = backup::read(&store, &name).await.unwrap_err();
        assert!(matches!(error, BackupError::Unreadable { .. }), "{error}");
    }
}

/// The link breaks while it is fetched.
#[tokio::test]
async fn what_was_cut_short_is_fetched_again() {
    let home = tempfile::tempdir().unwrap();
    let database = vec![7; 300_000];
    let backup = some_backup(&folder_store(home.path()), NOW, &database).await;
    let web = Web::start();
    let location = Location::parse("s3://bucket/cluster.example.com").unwrap();
    let store = Store::new(location, access(Some(web.url(""))));
    let name = BackupName::parse(&backup.name).unwrap();
    let path = format!("/bucket/cluster.example.com/{}", name.database()).replace(':', "%3A");
    let to = home.path().join("fetched");

    web.set(&path, [Reply::Cut(database.clone()), Reply::Status(503), Reply::Whole(database.clone())]);
    backup::fetch(&store, &backup, &to).await.unwrap();
    assert_eq!((web.count(&path), fs::read(&to).unwrap() == database), (3, true));

    web.set(&path, VecDeque::from([Reply::Cut(database)]));
    let error = backup::fetch(&store, &backup, &to).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(web.count(&path), 7, "it is tried four times");
}

/// In S3, where somebody forbids to delete one.
#[tokio::test]
async fn what_cannot_be_deleted_is_tried_the_next_time() {
    let aws = LocalAws::shared().unwrap();
    let bucket = bucket::make(&aws, "node-backup");
    let location = Location::parse(&format!("s3://{bucket}/karlaru.com")).unwrap();
    let store = Store::new(location, access(Some(aws.endpoint())));
    let mut names = Vec::new();
    for day in [100, 95, 94, 0] {
        names.push(some_backup(&store, NOW - Duration::days(day), b"data").await.name);
    }
    let held = names[1].clone();
    let tries = std::sync::Arc::new(AtomicU32::new(0));
    let counted = std::sync::Arc::clone(&tries);
    aws.before(move |call| {
        if call.method == "DELETE" && call.path.contains(&held) {
            counted.fetch_add(1, Ordering::SeqCst);
            return Decision::Respond(Response::error(Protocol::S3, 403, "AccessDenied", "no"));
        }
        Decision::Forward
    });
    let pruned = backup::prune(&store, 90, NOW).await.unwrap();
    assert_eq!(pruned.deleted, [names[0].clone(), names[2].clone()]);
    let [(name, error)] = pruned.failed.as_slice() else { unreachable!() };
    assert_eq!((name, tries.load(Ordering::SeqCst)), (&names[1], 1), "{error}");
    aws.clear_rules();
    assert_eq!(backup::prune(&store, 90, NOW).await.unwrap().deleted, [names[1].clone()]);
    assert_eq!(backups(&store).await.len(), 1);
    assert_eq!(store.list("").await.unwrap().len(), 2, "nothing is left behind");
}
