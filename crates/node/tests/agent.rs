//! The daemon, as a process: a worker that is told to go, and what it may do with nothing but its kubelet's rights.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use common::Folder;
use common::member::{Member, World, in_seconds, write};
use kcl_node::agent::kubelet::{Kubelet, KubeletError, Sent};
use kcl_node_config::{Role, State};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What no drain touches.
const KEPT: [&str; 3] = ["everywhere", "over", "static"];

fn refused<T: std::fmt::Debug>(result: Result<T, KubeletError>) {
    let error = result.unwrap_err();
    assert!(matches!(&error, KubeletError::Kubernetes(error) if error.status() == Some(403)), "{error}");
}

/// The real API server, with Node authorization and NodeRestriction, lets a kubelet do exactly what emptying its own
/// machine takes.
#[tokio::test]
async fn a_kubelet_may_empty_its_own_machine_and_no_other() {
    let (here, there) = ("i-0aaaaaaaaaaaaaaaa", "i-0bbbbbbbbbbbbbbbb");
    let world = tokio::task::spawn_blocking(move || World::start(&[here, there])).await.unwrap();
    world.pods(here);
    world.pod("other", there, &json!({}));
    let (folder, other) = (Folder::new(), Folder::new());
    let kubelet = Kubelet::new(folder.system(), here);
    assert!(matches!(kubelet.pods().await.unwrap_err(), KubeletError::Credentials { .. }), "not joined yet");
    world.join(&folder.system(), here);

    kubelet.cordon(true).await.unwrap();
    assert!(kubelet.is_cordoned().await.unwrap() && world.is_cordoned(here));
    kubelet.cordon(false).await.unwrap();
    assert!(!kubelet.is_cordoned().await.unwrap());
    let pods = kubelet.pods().await.unwrap();
    let named = |name: &str| pods.iter().find(|pod| pod.metadata.name == name).unwrap();
    assert_eq!(pods.len(), 5, "{pods:?}");
    assert_eq!(kubelet.evict(named("web"), None).await.unwrap(), Sent::Yes);
    let held = kubelet.evict(named("held"), Some(5)).await.unwrap();
    assert!(matches!(&held, Sent::NotNow(why) if why.contains("disruption budget")), "{held:?}");
    let mut another = named("held").clone();
    another.metadata.uid = "0".to_owned();
    assert_eq!(kubelet.delete(&another, 5).await.unwrap(), Sent::Yes, "another one of that name need not go");
    assert!(world.pod_names().contains(&"held".to_owned()));
    assert_eq!(kubelet.delete(named("held"), 5).await.unwrap(), Sent::Yes);

    // The other machine's, with this one's credentials.
    let foreign = world.kubelet(&other.system(), there).pods().await.unwrap();
    world.join(&other.system(), here);
    let stranger = Kubelet::new(other.system(), there);
    refused(stranger.is_cordoned().await);
    refused(stranger.cordon(true).await);
    refused(stranger.pods().await);
    refused(kubelet.evict(&foreign[0], None).await);
    refused(kubelet.delete(&foreign[0], 5).await);
    // The kubelet renews its certificate: the next question is asked with the new one.
    world.join(&other.system(), there);
    assert_eq!(stranger.pods().await.unwrap(), foreign);
    write(&other.system(), "/etc/kubernetes/kubelet.conf", "{}");
    assert!(matches!(stranger.pods().await.unwrap_err(), KubeletError::Credentials { .. }));
}

/// Cordoned by a recommendation, as the cluster wants it; emptied by a notice, which a disruption budget holds up until the time is over; and
/// back to work when it was called off.
#[test]
fn a_spot_notice_empties_a_worker_in_time() {
    let instance = "i-0123456789abcdef0";
    let world = World::start(&[instance]);
    world.pods(instance);
    let mut member = Member::new(&world, instance, Role::Node);
    member.config.cordon_on_rebalance = true;
    member.publish();
    let mut daemon = member.start();
    let ready = member.until("ready", |status| status.step == "ready");
    assert_eq!((ready.state, ready.instance_group.as_deref()), (State::Done, Some("nodes")));

    member.imds.recommend_rebalance(&in_seconds(0));
    member.until("cordoned", |status| status.step == "cordoned" && status.state == State::Done);
    daemon.says("AWS recommends another machine");
    assert!(world.is_cordoned(instance));
    assert_eq!(world.pod_names(), ["everywhere", "held", "over", "static", "web"]);

    let at = in_seconds(30);
    member.imds.interrupt(&at);
    let held = member.until("held up", |status| {
        let waits = status.waits_for.as_deref().unwrap_or_default();
        status.step == "drain" && waits.starts_with("1 pods to go\ndefault/held: ")
    });
    assert_eq!(held.state, State::Leaving);
    assert_eq!(held.because, Some(format!("spot interruption (terminate), by {at}")));
    assert_eq!(world.pod_names(), ["everywhere", "held", "over", "static"]);
    let left = member.until("left", |status| status.step == "left");
    let end = OffsetDateTime::parse(&at, &Rfc3339).unwrap();
    let done = OffsetDateTime::parse(&left.at, &Rfc3339).unwrap();
    assert!(done <= end, "{left:?}");
    assert!(
        done >= end - time::Duration::seconds(9),
        "the budget is honoured as long as it can be: {left:?}"
    );
    assert_eq!((left.state, left.error.as_deref()), (State::Leaving, None));
    assert_eq!(world.pod_names(), KEPT);

    member.imds.calm();
    daemon.says("it begins anew");
    assert!(daemon.ends_well());
    let _daemon = member.start();
    member.until("ready again", |status| status.step == "ready");
    assert!(!world.is_cordoned(instance));
}

/// systemd stops the agent when it is restarted and when the machine goes down; only the latter sends pods away. A
/// cordon that somebody else made stays.
#[test]
fn the_machines_end_is_not_the_agents() {
    let instance = "i-0123456789abcdef0";
    let world = World::start(&[instance]);
    world.pods(instance);
    let mut member = Member::new(&world, instance, Role::Node);
    member.more = ["--stop-within", "12"].map(str::to_owned).to_vec();
    for (job, line) in
        [("kcl-node-agent.service restart running", "stays"), ("reboot.target start", "restarts")]
    {
        member.folder.add_program("systemctl", &format!("echo '77 {job}'"));
        let mut daemon = member.start();
        daemon.says("begins");
        assert!(daemon.terminate());
        daemon.says(&format!("the machine {line}"));
        assert!(!world.is_cordoned(instance));
        assert_eq!(world.pod_names().len(), 5);
    }

    world.kubectl(&["cordon", instance]);
    member.folder.add_program("systemctl", "echo '77 poweroff.target start waiting'");
    let mut daemon = member.start();
    daemon.says("begins");
    assert!(daemon.terminate());
    let left = member.status().unwrap();
    assert_eq!((left.state, left.step.as_str(), left.error.as_deref()), (State::Leaving, "left", None));
    assert!(left.because.unwrap().starts_with("power-off, by "));
    assert_eq!(world.pod_names(), KEPT);
    drop(daemon);
    let _daemon = member.start();
    member.until("ready", |status| status.step == "ready");
    assert!(world.is_cordoned(instance), "it was somebody else's");
}

/// What a machine cannot do is said, and ends nothing.
#[test]
fn without_its_metadata_or_its_store_it_tries_again() {
    let instance = "i-0123456789abcdef0";
    let world = World::start(&[instance]);
    let member = Member::new(&world, instance, Role::Node);
    let store = member.store_folder();
    let moved = store.with_extension("moved");
    std::fs::rename(&store, &moved).unwrap();
    let daemon = member.start();
    daemon.says("not begun yet");
    std::fs::remove_dir_all(&store).ok();
    std::fs::rename(&moved, &store).unwrap();
    member.until("ready", |status| status.step == "ready");
    // Nobody has asked for more than to be told.
    member.imds.recommend_rebalance(&in_seconds(0));
    daemon.says("AWS recommends another machine; this one stays as it is");
    member.imds.set_mode(kcl_testkit::imds::Mode::Disabled);
    let trouble = member.until("trouble", |status| status.error.is_some());
    assert!(trouble.error.unwrap().starts_with("instance metadata: "), "{:?}", trouble.step);
    member.imds.set_mode(kcl_testkit::imds::Mode::V2);
    member.until("well again", |status| status.error.is_none());
    assert!(!world.is_cordoned(instance));
    drop(daemon);

    // What it is told it knows by now.
    std::fs::rename(&store, &moved).unwrap();
    let daemon = member.start();
    daemon.says("begins");
    assert!(!daemon.log().contains("not begun yet"), "{}", daemon.log());
}
