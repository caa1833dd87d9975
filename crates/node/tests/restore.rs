//! Backups become etcd's data, with the real etcd and etcdutl.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use common::etcd::{Node, World, backups, keys, put};
use common::wait::until_async;
use common::{Folder, sha256};
use futures::FutureExt as _;
use futures::future::join_all;
use kcl_node::backup::{self, BackupError};
use kcl_node::etcd::peer_url;
use kcl_node::restore::{self, Etcdutl, Event, Image, RestoreError, Served, Site, Step};
use kcl_node::store::{Condition, Store};
use kcl_node_config::{Backup, BackupName, BackupReason, RestoreProgress, RestoreRequest, RestoreState};
use kcl_testkit::kubernetes::programs;
use time::OffsetDateTime;

/// etcd's revision after a restore is beyond this.
const BUMP: u64 = 1_000_000_000;

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn silent(_: &Event<'_>) {}

async fn request(store: &Store, id: &str, backup: &str) {
    request_at(store, id, backup, now()).await;
}

async fn request_at(store: &Store, id: &str, backup: &str, at: OffsetDateTime) {
    let new = RestoreRequest::new(at, backup, "arn:aws:iam::123456789012:user/ops");
    let request = RestoreRequest { id: id.to_owned(), ..new };
    let text = serde_json::json!(request).to_string();
    store.put(RestoreRequest::PATH, text.as_bytes(), Condition::Always).await.unwrap();
}

async fn progress(store: &Store, id: &str, member: &str) -> RestoreProgress {
    let object = store.get(&RestoreProgress::path(id, member)).await.unwrap().unwrap();
    serde_json::from_slice(&object.bytes).unwrap()
}

/// What is on the volume beside a `lost+found`.
fn volume(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.volume()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A cluster of one, with two keys, a backup of them, and a change after it.
async fn one(world: &World) -> (Node, Store, Backup) {
    let (mut node, store) = (world.machine("a", "i-0a"), world.store());
    node.start(&node.initial(), false);
    node.healthy().await;
    put(&node.etcd(), &[("a", "1"), ("b", "2")]).await;
    let backup = backup::take(&node.source(&store), BackupReason::Periodic, now()).await.unwrap();
    put(&node.etcd(), &[("a", "changed"), ("b", ""), ("c", "3")]).await;
    (node, store, backup)
}

fn assert_runs(node: &Node) {
    for name in ["etcd", "kube-apiserver"] {
        assert_eq!(fs::read_to_string(node.manifest(name)).unwrap(), "a static pod");
    }
}

/// Dies the moment a step begins, as if it were killed.
async fn killed_at(site: &Site, killed: Step) {
    let tell = |event: &Event<'_>| {
        if matches!(event, Event::Begins(step) if *step == killed) {
            resume_unwind(Box::new(killed));
        }
    };
    let died = AssertUnwindSafe(restore::serve(site, &tell)).catch_unwind().await;
    assert!(died.is_err(), "it never came to {killed}");
}

#[tokio::test]
async fn killed_at_every_step_it_gives_the_keys_of_the_backup() {
    let world = World::new();
    let (node, store, backup) = one(&world).await;
    let site = node.site(&store, &["a"]);
    assert!(matches!(restore::serve(&site, &silent).await.unwrap(), Served::Nothing));
    request(&store, "first", &backup.name).await;
    for step in Step::ALL {
        killed_at(&site, step).await;
        if step > Step::Plan {
            let said = progress(&store, "first", "a").await;
            assert_eq!((said.state, said.instance.as_str()), (RestoreState::Running, "i-0a"));
        }
        assert!(node.manifest("etcd").exists() == (step <= Step::StopEtcd || step > Step::Start), "{step}");
    }
    let served = restore::serve(&site, &silent).await.unwrap();
    assert!(matches!(&served, Served::Done(request) if request.id == "first"), "{served:?}");

    let etcd = node.etcd();
    assert_eq!(keys(&etcd).await, pairs(&[("a", "1"), ("b", "2")]));
    let status = etcd.status().await.unwrap();
    assert!(status.revision() > BUMP, "{status:?}");
    let members = etcd.members().await.unwrap();
    let [own] = members.as_slice() else { unreachable!() };
    assert_eq!((own.name.as_str(), &own.peer_urls[0]), ("i-0a", &peer_url(node.ip())));
    assert_runs(&node);
    assert_eq!(volume(&node), ["data", "data.before-restore-first"]);
    let done = progress(&store, "first", "a").await;
    assert_eq!((done.state, done.error), (RestoreState::Done, None));
    assert_eq!(done.cluster, Some(status.cluster().to_string()));

    // What was there before was saved, at the first of the tries or more often.
    let all = backups(&store).await;
    let before: Vec<_> = all.iter().filter(|one| one.reason == BackupReason::BeforeRestore).collect();
    assert!(!before.is_empty() && before.len() + 1 == all.len(), "{all:?}");

    // Once served, it is served.
    put(&etcd, &[("d", "4")]).await;
    assert!(matches!(restore::serve(&site, &silent).await.unwrap(), Served::Nothing));
    assert_eq!(keys(&etcd).await.len(), 3);

    // The next one brings back what the first took away, and its old data takes the place of that before it.
    request(&store, "second", &before[0].name).await;
    assert!(matches!(restore::serve(&site, &silent).await.unwrap(), Served::Done(_)));
    assert_eq!(keys(&etcd).await, pairs(&[("a", "changed"), ("c", "3")]));
    assert_eq!(volume(&node), ["data", "data.before-restore-second"]);
    assert_ne!(etcd.status().await.unwrap().cluster(), status.cluster());
}

#[tokio::test]
async fn what_cannot_be_restored_leaves_everything_as_it_was() {
    let world = World::new();
    let (node, store, backup) = one(&world).await;
    let (site, now_there) = (node.site(&store, &["a"]), keys(&node.etcd()).await);
    let name = |text: &str| BackupName::parse(text).unwrap();

    // Damaged, and one that is what it was when it was taken, but was no database then.
    let damaged = "2026-11-27T03:15:00Z-i-0d";
    let nonsense = "2026-11-27T03:15:00Z-i-0e";
    for (named, database) in [(damaged, &b"damaged"[..]), (nonsense, b"nonsense")] {
        let document =
            Backup { name: named.to_owned(), size: 8, sha256: sha256(b"nonsense"), ..backup.clone() };
        let text = serde_json::json!(document).to_string();
        store.put(&name(named).database(), database, Condition::Always).await.unwrap();
        store.put(&name(named).document(), text.as_bytes(), Condition::Always).await.unwrap();
    }
    let missing = "2026-11-27T03:15:00Z-i-0c";
    for (id, backup, step) in [
        ("not-a-name", "../../secrets", Step::Fetch),
        ("missing", missing, Step::Fetch),
        ("damaged", damaged, Step::Fetch),
        ("nonsense", nonsense, Step::Make),
    ] {
        request(&store, id, backup).await;
        let served = restore::serve(&site, &silent).await.unwrap();
        assert!(matches!(served, Served::Failed(..)), "{id}: {served:?}");
        let said = progress(&store, id, "a").await;
        assert_eq!((said.state, said.step.as_str()), (RestoreState::Failed, step.as_str()), "{id}");
        assert!(said.error.unwrap().contains("\nhint: ") || id == "nonsense");
        assert_runs(&node);
        node.healthy().await;
        assert_eq!(keys(&node.etcd()).await, now_there, "{id}");
        assert_eq!(volume(&node), ["data"], "{id}");
        assert!(matches!(restore::serve(&site, &silent).await.unwrap(), Served::Nothing));
    }

    // A request that is none, and one that is gone while etcd is stopped for it.
    request(&store, "../a", &backup.name).await;
    let error = restore::serve(&site, &silent).await.unwrap_err();
    assert!(matches!(error, RestoreError::Document { .. }), "{error}");
    request(&store, "given-up", &backup.name).await;
    killed_at(&site, Step::Make).await;
    assert!(!node.manifest("etcd").exists());
    store.delete(RestoreRequest::PATH).await.unwrap();
    assert!(matches!(restore::serve(&site, &silent).await.unwrap(), Served::Nothing));
    assert_runs(&node);
    node.healthy().await;
    assert_eq!(keys(&node.etcd()).await, now_there);
}

/// Nothing is done to the data of an etcd that runs, and what is late is waited for again.
#[tokio::test]
async fn a_kubelet_that_is_late_is_told_and_waited_for() {
    let world = World::new();
    let (node, store, backup) = one(&world).await;
    let mut site = node.site(&store, &["a"]);
    (site.waits.stop, site.waits.start) = (Duration::ZERO, Duration::ZERO);
    request(&store, "late", &backup.name).await;
    node.kubelet_sleeps(true);
    let error = restore::serve(&site, &silent).await.unwrap_err();
    assert!(matches!(error, RestoreError::Runs { .. }) && error.is_transient(), "{error}");
    assert_eq!(volume(&node), ["data", "restore.db"]);
    let said = progress(&store, "late", "a").await;
    assert_eq!((said.state, said.step.as_str()), (RestoreState::Running, "stop-etcd"));
    assert!(said.error.unwrap().contains("has not ended"));
    node.kubelet_sleeps(false);
    until_async("etcd has ended", async || !node.etcd().listens().await).await;
    node.kubelet_sleeps(true);
    let error = restore::serve(&site, &silent).await.unwrap_err();
    assert!(matches!(error, RestoreError::Silent { .. }) && error.is_transient(), "{error}");
    assert_eq!(progress(&store, "late", "a").await.step, "wait-for-etcd");
    node.kubelet_sleeps(false);
    node.healthy().await;
    assert!(matches!(restore::serve(&site, &silent).await.unwrap(), Served::Done(_)));
    assert_eq!(keys(&node.etcd()).await, pairs(&[("a", "1"), ("b", "2")]));
}

/// Three machines, of which one is replaced while they restore, and one has joined in another way.
#[tokio::test]
async fn all_members_restore_the_same() {
    let world = World::new();
    let store = world.store();
    let mut nodes = ["a", "b", "c"].map(|member| world.machine(member, &format!("i-0{member}")));
    let initial = nodes.each_ref().map(Node::initial).join(",");
    for node in &mut nodes {
        node.start(&initial, false);
    }
    for node in &nodes {
        node.healthy().await;
        node.register(&store).await;
    }
    // One of a larger cluster that once was.
    world.machine("d", "i-0d").register(&store).await;
    put(&nodes[0].etcd(), &[("a", "1")]).await;
    let backup = backup::take(&nodes[1].source(&store), BackupReason::Periodic, now()).await.unwrap();
    put(&nodes[0].etcd(), &[("a", "2")]).await;
    let old = nodes[0].etcd().status().await.unwrap().cluster();
    let members = ["a", "b", "c"];

    // Alone, it waits for the others.
    request(&store, "all", &backup.name).await;
    let mut first = nodes[0].site(&store, &members);
    first.waits.start = Duration::from_secs(2);
    let error = restore::serve(&first, &silent).await.unwrap_err();
    assert!(matches!(error, RestoreError::Silent { .. }) && error.is_transient(), "{error}");
    let said = progress(&store, "all", "a").await;
    assert_eq!((said.state, said.step.as_str()), (RestoreState::Running, "wait-for-etcd"));
    assert!(said.error.unwrap().contains("most of its members"));
    // The others are in the old cluster still, and do not take it for one of theirs.
    nodes[1].healthy().await;
    assert_eq!(nodes[1].etcd().status().await.unwrap().cluster(), old);

    // The last one's machine is replaced by another with the same volume, which has another address.
    let mut replaced = world.machine("c", "i-0f");
    nodes[2].terminate();
    fs::remove_dir_all(replaced.volume()).unwrap();
    fs::rename(nodes[2].volume(), replaced.volume()).unwrap();
    replaced.start(&initial, false);
    nodes[2] = replaced;
    nodes[2].register(&store).await;
    let sites = nodes.each_ref().map(|node| node.site(&store, &members));
    let served = join_all(sites.iter().map(|site| restore::serve(site, &silent))).await;
    for served in served {
        assert!(matches!(served.unwrap(), Served::Done(_)));
    }
    let cluster = nodes[0].etcd().status().await.unwrap().cluster();
    assert_ne!(cluster, old);
    for node in &nodes {
        let etcd = node.etcd();
        assert_eq!(keys(&etcd).await, pairs(&[("a", "1")]));
        assert_eq!(etcd.status().await.unwrap().cluster(), cluster);
    }
    let found = nodes[0].etcd().members().await.unwrap();
    let mut urls: Vec<String> = found.into_iter().flat_map(|member| member.peer_urls).collect();
    urls.sort();
    let mut wanted = nodes.each_ref().map(|node| peer_url(node.ip()));
    wanted.sort();
    assert_eq!(urls, wanted, "the new machine's address is known");

    // One that has come into the restored cluster in another way has nothing more to do. It is as if its machine had
    // joined with a blank volume: its data does not say that it was restored.
    put(&nodes[0].etcd(), &[("b", "after")]).await;
    store.delete(&RestoreProgress::path("all", "b")).await.unwrap();
    fs::remove_file(nodes[1].volume().join("data/member/kcl-restored.json")).unwrap();
    let served = restore::serve(&sites[1], &silent).await.unwrap();
    assert!(matches!(served, Served::Done(_)), "{served:?}");
    nodes[1].healthy().await;
    assert_eq!(keys(&nodes[1].etcd()).await, pairs(&[("a", "1"), ("b", "after")]));

    // Nor has one that was not there when it was asked for.
    let late = world.machine("d", "i-0d");
    let served = restore::serve(&late.site(&store, &["a", "b", "c", "d"]), &silent).await.unwrap();
    assert!(matches!(served, Served::Nothing), "{served:?}");
    assert!(store.get(&RestoreProgress::path("all", "d")).await.unwrap().is_none());
}

/// Volumes that are new: what was last is made of what there is in the store.
#[tokio::test]
async fn a_blank_volume_begins_with_what_was_last() {
    let world = World::new();
    let (mut node, store, backup) = one(&world).await;
    let in_a_minute = now() + Duration::from_mins(1);
    let newer = backup::take(&node.source(&store), BackupReason::Termination, in_a_minute).await.unwrap();
    node.terminate();

    let mut second = world.machine("a", "i-0b");
    let site = second.site(&store, &["a"]);
    assert!(restore::requested(&site).await.unwrap().is_none());
    assert_eq!(restore::newest(&site).await.unwrap(), Some(newer.clone()));
    // Killed right after it, and run again: nothing is done twice.
    assert_eq!(restore::newest(&site).await.unwrap(), Some(newer));
    assert_eq!(volume(&second), ["data"]);
    second.start(&second.initial(), true);
    second.healthy().await;
    assert_eq!(keys(&second.etcd()).await, pairs(&[("a", "changed"), ("c", "3")]));
    assert_eq!(second.etcd().members().await.unwrap()[0].peer_urls, [peer_url(second.ip())]);

    // Somebody restores an older one, and the volume is lost when it is half done.
    let in_an_hour = now() + Duration::from_hours(1);
    request_at(&store, "older", &backup.name, in_an_hour).await;
    killed_at(&second.site(&store, &["a"]), Step::Make).await;
    second.terminate();
    let mut third = world.machine("a", "i-0c");
    let site = third.site(&store, &["a"]);
    assert_eq!(restore::requested(&site).await.unwrap().unwrap().id, "older");
    third.start(&third.initial(), true);
    let served = restore::serve(&site, &silent).await.unwrap();
    assert!(matches!(served, Served::Done(_)), "{served:?}");
    assert_eq!(keys(&third.etcd()).await, pairs(&[("a", "1"), ("b", "2")]));
    assert_eq!(third.etcd().members().await.unwrap()[0].peer_urls, [peer_url(third.ip())]);
    assert!(restore::requested(&site).await.unwrap().is_none());

    // As long as there is no backup of after it, what was restored is what was last: not what was before it.
    third.terminate();
    let fourth = world.machine("a", "i-0d");
    assert_eq!(restore::newest(&fourth.site(&store, &["a"])).await.unwrap().unwrap().name, backup.name);
    // That it cannot be read now does not make what was before it the last.
    let document = BackupName::parse(&backup.name).unwrap().document();
    let (document, aside) = (world.folder().join(document), world.folder().join("aside"));
    fs::rename(&document, &aside).unwrap();
    fs::create_dir(&document).unwrap();
    let fifth = world.machine("a", "i-0e");
    let error = restore::newest(&fifth.site(&store, &["a"])).await.unwrap_err();
    assert!(matches!(error, RestoreError::Backup(BackupError::Store(_))), "{error}");
    assert!(volume(&fifth).is_empty());
    fs::remove_dir(&document).unwrap();
    fs::rename(&aside, &document).unwrap();
    assert_eq!(restore::newest(&fifth.site(&store, &["a"])).await.unwrap().unwrap().name, backup.name);
    // And with none at all there is nothing to begin with.
    let empty = World::new();
    let nowhere = empty.machine("a", "i-0a");
    assert_eq!(restore::newest(&nowhere.site(&empty.store(), &["a"])).await.unwrap(), None);
}

/// Without a program on the machine, it is the one in etcd's image.
#[tokio::test]
async fn etcdutl_is_run_from_the_image_that_kubeadm_names() {
    let world = World::new();
    let (node, store, _) = one(&world).await;
    let folder = Folder::new();
    let etcdutl = programs().unwrap().path("etcdutl").unwrap();
    // Of the image it is given everything after the name of the program in it.
    let run = format!(
        "while [ \"$1\" != /usr/local/bin/etcdutl ]; do shift; done; shift; exec '{}' \"$@\"",
        etcdutl.display()
    );
    folder.add_program("ctr", &format!("case $3 in run) {run};; esac"));
    folder.add_program(
        "kubeadm",
        "echo registry.example/kube-apiserver:v1.36.4; echo registry.example/etcd:3.6.8-0",
    );
    folder.add_program("crictl", "case $1 in inspecti) exit 1;; esac");
    let second = world.machine("a", "i-0b");
    let mut site = second.site(&store, &["a"]);
    site.etcdutl = Etcdutl::Image(Image {
        kubeadm: folder.program("kubeadm"),
        crictl: folder.program("crictl"),
        ctr: folder.program("ctr"),
        kubernetes_version: "1.36.4".to_owned(),
        image_repository: Some("registry.example".to_owned()),
    });
    restore::newest(&site).await.unwrap().unwrap();
    assert_eq!(volume(&second), ["data"]);
    let ran = folder.ran();
    let ran = ran.replace(&second.volume().display().to_string(), "/var/lib/etcd");
    let ran = ran.replace(&second.address.to_string(), "ADDRESS");
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(ran) });

    // A registry that is out of reach is no verdict on the backup.
    folder.fails("crictl", true);
    let third = world.machine("a", "i-0c");
    let site = Site { etcdutl: site.etcdutl, ..third.site(&store, &["a"]) };
    let error = restore::newest(&site).await.unwrap_err();
    assert!(matches!(error, RestoreError::NoEtcdutl { .. }) && error.is_transient(), "{error}");
    drop(node);
}
