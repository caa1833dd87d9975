//! The machines of a control plane of three, as they come and go: whole runs of the binary, with the real etcd.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::collections::BTreeMap;

use common::cluster::{Disk, Machine, World, said};
use common::etcd::{keys, persist, put};
use common::wait::until_async;
use kcl_node::etcd::{ClusterId, Member, peer_url};
use kcl_node_config::{Recovery, RecoveryState};

const MEMBERS: [&str; 3] = ["a", "b", "c"];

/// Three machines with a volume each, that are one control plane, with a key in etcd.
async fn three() -> (World, Vec<Disk>, Vec<Machine>) {
    let world = World::new(&MEMBERS);
    let disks: Vec<Disk> = MEMBERS.iter().map(|member| world.volume(member)).collect();
    let machines: Vec<Machine> =
        MEMBERS.iter().zip(&disks).map(|(member, disk)| world.machine(member, disk)).collect();
    all_succeed(&machines);
    write(&machines[0], "1").await;
    (world, disks, machines)
}

/// Runs all of them at once.
fn all_succeed(machines: &[Machine]) -> Vec<String> {
    let children: Vec<_> = machines.iter().map(Machine::start).collect();
    let outputs: Vec<_> =
        children.into_iter().map(|child| said(&child.wait_with_output().unwrap())).collect();
    for ((done, said), machine) in outputs.iter().zip(machines) {
        assert!(done, "{said}\n{}", machine.etcd_log());
    }
    outputs.into_iter().map(|(_, said)| said).collect()
}

async fn write(machine: &Machine, word: &str) {
    let etcd = machine.etcd();
    until_async("etcd has a leader", async || matches!(etcd.is_healthy().await, Ok(true))).await;
    put(&etcd, &[("word", word)]).await;
}

fn word(word: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("word".to_owned(), word.to_owned())])
}

/// The members as one of them knows them, by the order of their machines; each is where its machine is, and has a
/// vote.
async fn members(machines: &[Machine]) -> (ClusterId, Vec<Member>) {
    let etcd = machines[0].etcd();
    let found = persist(async || etcd.members().await).await;
    assert_eq!(found.len(), machines.len(), "{found:?}");
    let of = |machine: &Machine| {
        let own = found.iter().find(|member| member.name == machine.instance);
        assert!(own.is_some(), "{} is not among {found:?}", machine.instance);
        let own = own.unwrap().clone();
        assert_eq!(own.peer_urls, [peer_url(machine.address.into())]);
        assert!(!own.is_learner);
        own
    };
    (etcd.status().await.unwrap().cluster(), machines.iter().map(of).collect())
}

/// The machine is gone; its volume is free.
fn terminate(world: &World, machine: &Machine, disk: &Disk) {
    machine.power_off();
    world.detach(disk, &machine.instance);
}

/// Three begin; one comes back on another machine with its volume, and one with a blank volume.
#[tokio::test]
async fn members_come_back_and_are_replaced_and_stay_three() {
    let (world, mut disks, mut machines) = three().await;
    let (cluster, before) = members(&machines).await;

    // With its volume: the member that it was, under another address.
    terminate(&world, &machines[1], &disks[1]);
    write(&machines[0], "2").await;
    machines[1] = world.machine("b", &disks[1]);
    let said = machines[1].succeed();
    assert!(said.contains("Data, Yes, Answer: Rejoin"), "{said}");
    let (same, now) = members(&machines).await;
    let ids = |members: &[Member]| members.iter().map(Member::id).collect::<Vec<_>>();
    assert_eq!((same, ids(&now)), (cluster, ids(&before)), "it is repaired, not duplicated");
    assert_eq!(keys(&machines[1].etcd()).await, word("2"));

    // Its volume is lost: a new member in the place of the old one.
    terminate(&world, &machines[2], &disks[2]);
    world.delete_volume(&disks[2]);
    disks[2] = world.volume("c");
    machines[2] = world.machine("c", &disks[2]);
    let said = machines[2].succeed();
    assert!(said.contains("Blank, Yes, Answer: Join") && said.contains("is gone for good"), "{said}");
    let (same, now) = members(&machines).await;
    assert_eq!((same, ids(&now)[..2].to_vec()), (cluster, ids(&before)[..2].to_vec()));
    assert!(!ids(&before).contains(&now[2].id()));
    assert_eq!(keys(&machines[2].etcd()).await, word("2"));

    // Data of a member that the others have given up is of no use any more, and kept aside.
    let lost = now[0].id();
    terminate(&world, &machines[0], &disks[0]);
    let etcd = machines[1].etcd();
    persist(async || etcd.remove_member(lost).await).await;
    machines[0] = world.machine("a", &disks[0]);
    let said = machines[0].succeed();
    assert!(said.contains("Rejoin") && said.contains("Blank, Yes, Answer: Join"), "{said}");
    assert!(machines[0].folder.root().join("var/lib/etcd/data.given-up/member").exists());
    let (same, now) = members(&machines).await;
    assert_eq!(same, cluster);
    assert_ne!(now[0].id(), lost);
    assert_eq!(keys(&machines[0].etcd()).await, word("2"));
}

/// All machines are replaced at once: none knows where the others are, so that no majority comes about by itself.
/// The one with the newest data goes on alone, and the others join it.
#[tokio::test]
async fn all_machines_at_once_come_back_as_one_cluster() {
    let (world, disks, machines) = three().await;
    // The member `a` has missed the last word.
    machines[0].power_off();
    write(&machines[1], "2").await;
    for (machine, disk) in machines.iter().zip(&disks) {
        machine.shut_down();
        terminate(&world, machine, disk);
    }
    let machines: Vec<Machine> =
        MEMBERS.iter().zip(&disks).map(|(member, disk)| world.machine(member, disk)).collect();
    let said = all_succeed(&machines);
    let alone: Vec<bool> =
        said.iter().map(|said| said.contains("goes on with this machine's data alone")).collect();
    assert_eq!(alone.iter().filter(|alone| **alone).count(), 1, "{said:#?}");
    assert!(!alone[0], "the member without the last word: {}", said[0]);
    for machine in &machines {
        assert_eq!(keys(&machine.etcd()).await, word("2"));
    }
    members(&machines).await;
    let recovery = Recovery::read(world.get(Recovery::PATH).unwrap().as_bytes()).unwrap();
    assert_eq!(recovery.state, RecoveryState::Recovered);
    for member in MEMBERS {
        assert_eq!(world.record(member).waits_with, None);
    }
    // None of them would do so again at its next start.
    for machine in &machines {
        let manifest = machine.folder.root().join("etc/kubernetes/manifests/etcd.yaml");
        assert!(!std::fs::read_to_string(manifest).unwrap().contains("force-new-cluster"));
    }
}

/// Two of three are replaced while the third runs on: the two know where it is, and come back to it as they were.
#[tokio::test]
async fn two_machines_at_once_come_back_to_the_third() {
    let (world, disks, mut machines) = three().await;
    let (cluster, before) = members(&machines).await;
    for index in [1, 2] {
        terminate(&world, &machines[index], &disks[index]);
    }
    let next: Vec<Machine> = [1, 2].map(|index| world.machine(MEMBERS[index], &disks[index])).into();
    let said = all_succeed(&next);
    assert!(said.iter().all(|said| !said.contains("alone")), "{said:#?}");
    machines.truncate(1);
    machines.extend(next);
    let (same, now) = members(&machines).await;
    let ids = |members: &[Member]| members.iter().map(Member::id).collect::<Vec<_>>();
    assert_eq!((same, ids(&now)), (cluster, ids(&before)));
    assert_eq!(keys(&machines[2].etcd()).await, word("1"));
    assert_eq!(world.get(Recovery::PATH), None);
}

/// All volumes are lost, too: the newest backup is restored on one machine, and the others join that.
#[tokio::test]
async fn three_blank_volumes_come_back_with_the_newest_backup() {
    let (world, disks, machines) = three().await;
    let cluster = members(&machines).await.0;
    world.back_up(&machines[1], "b").await;
    for (machine, disk) in machines.iter().zip(&disks) {
        terminate(&world, machine, disk);
        world.delete_volume(disk);
    }
    let disks: Vec<Disk> = MEMBERS.iter().map(|member| world.volume(member)).collect();
    let machines: Vec<Machine> =
        MEMBERS.iter().zip(&disks).map(|(member, disk)| world.machine(member, disk)).collect();
    let said = all_succeed(&machines);
    let restored = said.iter().filter(|said| said.contains("etcd's data is made of the newest backup"));
    assert_eq!(restored.count(), 1, "{said:#?}");
    assert_ne!(members(&machines).await.0, cluster);
    for machine in &machines {
        assert_eq!(keys(&machine.etcd()).await, word("1"));
    }
}
