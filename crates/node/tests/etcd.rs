//! The client of etcd, with the real one.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use common::etcd::{World, add_learner, members_known_to, persist, put};
use kcl_node::etcd::{Etcd, EtcdError, client_url, peer_url};
use kcl_testkit::kubernetes::programs;

#[tokio::test]
async fn a_member_tells_how_it_does_and_gives_a_snapshot() {
    let world = World::new();
    let mut node = world.machine("a", "i-0a");
    let etcd = node.etcd();
    assert!(!etcd.listens().await);
    let error = etcd.status().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    node.start(&node.initial(), false);
    node.healthy().await;
    assert!(etcd.listens().await);

    put(&etcd, &[("a", "1"), ("b", "2")]).await;
    let status = etcd.status().await.unwrap();
    assert!(status.is_leader() && !status.is_learner, "{status:?}");
    assert!(status.version.starts_with("3."), "{status:?}");
    assert_eq!(status.revision(), 3, "one to begin with, and two changes");
    let members = etcd.members().await.unwrap();
    assert_eq!(members, members_known_to(&etcd).await);
    let [own] = members.as_slice() else { unreachable!() };
    assert_eq!((own.id(), own.name.as_str()), (status.member(), "i-0a"));
    assert_eq!((&own.peer_urls[0], &own.client_urls[0]), (&peer_url(node.ip()), &client_url(node.ip())));

    // What a machine with a new address does first.
    let elsewhere = peer_url([127, 0, 0, 99].into());
    etcd.update_member(own.id(), &elsewhere).await.unwrap();
    assert_eq!(etcd.members().await.unwrap()[0].peer_urls, [elsewhere]);

    let path = node.volume().join("snapshot.db");
    let snapshot = etcd.snapshot(&path).await.unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((snapshot.size, snapshot.sha256), (bytes.len() as u64, common::sha256(&bytes)));
    assert_eq!(bytes.len() % 512, 32, "a database and its hash");
    let etcdutl = programs().unwrap().path("etcdutl").unwrap();
    let path = path.to_string_lossy();
    let said = node.system.run(&etcdutl, &["snapshot", "status", "-w", "json", &path]).await.unwrap();
    assert!(said.contains("\"revision\":3"), "{said}");
}

#[tokio::test]
async fn who_has_no_certificate_of_the_cluster_is_not_answered() {
    let (world, stranger) = (World::new(), World::new());
    let mut node = world.machine("a", "i-0a");
    node.start(&node.initial(), false);
    node.healthy().await;
    let other = stranger.machine("a", "i-0a");
    let file = |name: &str| std::fs::read_to_string(other.system.path(name)).unwrap();
    let certificate = file("/etc/kubernetes/pki/apiserver-etcd-client.crt");
    let key = file("/etc/kubernetes/pki/apiserver-etcd-client.key");
    let ca = std::fs::read_to_string(node.system.path("/etc/kubernetes/pki/etcd/ca.crt")).unwrap();
    let unknown = Etcd::new(&client_url(node.ip()), &ca, (&certificate, &key)).unwrap();
    let error = unknown.status().await.unwrap_err();
    assert!(matches!(error, EtcdError::Http { .. }), "{error}");
    // Nor does the client speak with a server that it does not know.
    let error = other.etcd().at(&client_url(node.ip())).status().await.unwrap_err();
    assert!(matches!(error, EtcdError::Http { .. }) && !error.is_transient(), "{error}");
    // The API server's keys do where there are none for the probe.
    std::fs::remove_file(node.system.path("/etc/kubernetes/pki/etcd/healthcheck-client.crt")).unwrap();
    assert!(node.etcd().is_healthy().await.unwrap());
    std::fs::remove_file(node.system.path("/etc/kubernetes/pki/etcd/ca.crt")).unwrap();
    let error = Etcd::with_keys_of(&node.system, "https://127.0.0.1:2379").unwrap_err();
    assert!(error.to_string().ends_with("/etc/kubernetes/pki/etcd/ca.crt"), "{error}");
}

#[tokio::test]
async fn members_come_and_go() {
    let world = World::new();
    let mut nodes = ["a", "b", "c"].map(|member| world.machine(member, &format!("i-0{member}")));
    let initial = nodes[0].initial();
    nodes[0].start(&initial, false);
    nodes[0].healthy().await;
    let etcd = nodes[0].etcd();
    let [first, others @ ..] = &mut nodes;
    for node in others {
        node.join(first).await;
    }
    let status = nodes[2].etcd().status().await.unwrap();
    assert!(!status.is_learner && !status.is_leader(), "{status:?}");
    let leader = etcd.status().await.unwrap();
    assert_eq!((status.leader(), status.cluster()), (Some(leader.member()), leader.cluster()));
    let names: Vec<String> = etcd.members().await.unwrap().into_iter().map(|member| member.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");

    // One has no name and no vote until it comes; another is gone for ever.
    let added = add_learner(&etcd, &peer_url([127, 0, 0, 99].into())).await.unwrap();
    assert!(added.name.is_empty() && added.is_learner, "{added:?}");
    let error = etcd.promote_member(added.id()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    nodes[2].terminate();
    for id in [added.id(), status.member()] {
        persist(async || etcd.remove_member(id).await).await;
    }
    let error = etcd.remove_member(status.member()).await.unwrap_err();
    assert!(error.is_not_found() && !error.is_transient(), "{error}");
    assert_eq!(etcd.members().await.unwrap().len(), 2);

    // Without a majority a member still says what it knows.
    nodes[1].terminate();
    assert_eq!(members_known_to(&etcd).await.len(), 2);
    etcd.snapshot(&nodes[0].volume().join("snapshot.db")).await.unwrap();
}
