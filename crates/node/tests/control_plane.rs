//! The control plane's table as whole runs of the binary: EC2 and S3 are moto's, the metadata service is testkit's,
//! kubeadm is a stand-in that has the real one make what does not need containerd, and etcd is real.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use common::cluster::{Disk, Machine, World, said};
use common::etcd::{keys, put};
use futures::future::BoxFuture;
use hyper::StatusCode;
use kcl_node::backup;
use kcl_node::etcd::{ClusterId, Member, peer_url};
use kcl_node_config::{Mark, MarkState, State};
use kcl_testkit::{Ask, Call, Decision, Reply, Response, Rule};
use tokio::sync::Barrier;

/// A cluster of one that runs, with a key in its etcd.
async fn begun() -> (World, Disk, Machine) {
    let world = World::new(&["a"]);
    let disk = world.volume("a");
    let machine = world.machine("a", &disk);
    machine.succeed();
    put(&machine.etcd(), &[("word", "mellon")]).await;
    (world, disk, machine)
}

fn word() -> BTreeMap<String, String> {
    BTreeMap::from([("word".to_owned(), "mellon".to_owned())])
}

/// The machine is gone, and its volume free.
fn terminate(world: &World, machine: &Machine, disk: &Disk) {
    machine.power_off();
    world.detach(disk, &machine.instance);
}

async fn cluster(machine: &Machine) -> (ClusterId, Vec<Member>) {
    let etcd = machine.etcd();
    (etcd.status().await.unwrap().cluster(), etcd.members().await.unwrap())
}

/// How often kubeadm was run so.
fn count(machine: &Machine, command: &str) -> usize {
    let ran = fs::read_to_string(machine.folder.program("ran")).unwrap();
    ran.lines().filter(|line| line.starts_with(command)).count()
}

/// Blank, and no mark: the cluster is begun, and marked as begun. A second run finds that it is done.
#[tokio::test]
async fn a_blank_volume_and_no_mark_is_a_new_cluster() {
    let world = World::new(&["a"]);
    let disk = world.volume("a");
    let machine = world.machine("a", &disk);
    let said = machine.succeed();
    assert!(said.contains("Blank, No, None: Begin"), "{said}");
    let mark = world.mark().unwrap();
    assert_eq!((mark.state, mark.member.as_str()), (MarkState::Initialized, "a"));
    assert_eq!((&mark.volume, &mark.instance), (&disk.id, &machine.instance));
    let (id, members) = cluster(&machine).await;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].peer_urls, [peer_url(machine.address.into())]);
    let record = world.record("a");
    assert_eq!((record.instance, record.address), (machine.instance.clone(), machine.address.into()));
    let status = world.status(&machine);
    assert_eq!((status.state, status.step.as_str(), status.error), (State::Done, "agent", None));
    let trial = format!("control-plane/conditions/{}", machine.instance);
    assert_eq!(world.get(&trial), None, "what was tried out is of no use any more");

    let before = machine.tree();
    machine.succeed();
    assert_eq!(count(&machine, "kubeadm init"), 1, "it is a part of the control plane already");
    assert_eq!(machine.tree(), before);
    assert_eq!(cluster(&machine).await.0, id);
    assert_eq!(world.mark().unwrap(), mark);
    assert!(world.aws.unsupported().is_empty(), "{:?}", world.aws.unsupported());
}

/// Data, and the mark: another machine goes on with the same cluster, under its own address.
#[tokio::test]
async fn data_and_the_mark_is_the_same_cluster_on_another_machine() {
    let (world, disk, first) = begun().await;
    let (id, members) = cluster(&first).await;
    let mark = world.mark().unwrap();
    terminate(&world, &first, &disk);
    let second = world.machine("a", &disk);
    let said = second.succeed();
    assert!(said.contains("Data, Yes, None: Restore"), "{said}");
    assert_eq!(keys(&second.etcd()).await, word());
    let (same, now) = cluster(&second).await;
    assert_eq!(
        (same, now.len(), now[0].id()),
        (id, 1, members[0].id()),
        "no second cluster, no second member"
    );
    assert_eq!((&now[0].name, &now[0].peer_urls), (&second.instance, &vec![peer_url(second.address.into())]));
    assert_eq!(world.mark().unwrap(), mark, "nobody begins anything");
    assert_eq!(world.record("a").instance, second.instance);
    // Its own certificates, of the cluster's authority.
    let certificate = |machine: &Machine, name| {
        fs::read_to_string(machine.folder.root().join("etc/kubernetes/pki").join(name)).unwrap()
    };
    assert_eq!(certificate(&first, "etcd/ca.crt"), certificate(&second, "etcd/ca.crt"));
    assert_ne!(certificate(&first, "etcd/server.crt"), certificate(&second, "etcd/server.crt"));
    // The node of the machine that is gone goes too.
    let deleted = format!("delete node {}", first.instance);
    assert!(fs::read_to_string(second.folder.program("ran")).unwrap().contains(&deleted));
}

/// Blank, and the mark: never a second cluster. The newest backup is what there is to go on with.
#[tokio::test]
async fn a_blank_volume_and_the_mark_is_the_newest_backup_or_nothing() {
    let (world, disk, first) = begun().await;
    let id = cluster(&first).await.0;
    let lose = |machine: &Machine, disk: &Disk| {
        terminate(&world, machine, disk);
        world.delete_volume(disk);
        let blank = world.volume("a");
        let next = world.machine("a", &blank);
        (blank, next)
    };
    world.back_up(&first, "a").await;
    let (disk, second) = lose(&first, &disk);
    let said = second.succeed();
    assert!(said.contains("Blank, Yes, None: RestoreSnapshot"), "{said}");
    assert_eq!(keys(&second.etcd()).await, word());
    assert_ne!(cluster(&second).await.0, id, "what is restored is not taken for what it was");
    assert_eq!(count(&second, "kubeadm init --config"), 1);

    // Every backup is gone.
    for name in backup::list(&world.store()).await.unwrap().backups {
        world.delete(&format!("backups/etcd/main/{name}/backup.json"));
    }
    assert!(backup::list(&world.store()).await.unwrap().backups.is_empty());
    let (_, third) = lose(&second, &disk);
    let said = third.fail();
    assert!(said.contains("a second cluster is never begun\nhint: bring the old volume back"), "{said}");
    assert_eq!(count(&third, "kubeadm init --config"), 0);
    assert!(!third.folder.root().join("var/lib/etcd/data/member").exists());
    let status = world.status(&third);
    assert_eq!((status.state, status.step.as_str()), (State::Failed, "control-plane"));
    assert!(status.error.unwrap().contains("a second cluster is never begun"));
    assert!(world.is_initialized());
}

/// Data, and a mark of a first init that was cut short: it is resumed, by the same machine or by the next.
#[tokio::test]
async fn data_and_an_unfinished_mark_is_resumed() {
    let world = World::new(&["a"]);
    let disk = world.volume("a");
    let first = world.machine("a", &disk);
    first.trips("after-etcd", true);
    let said = first.fail();
    assert!(said.contains("error: control-plane: `") && said.contains("after-etcd: a stumble"), "{said}");
    assert!(!said.contains("abcdef.0123456789abcdef"), "kubeadm's words have a token: {said}");
    assert!(said.contains("(token)"), "{said}");
    let mark = world.mark().unwrap();
    assert_eq!((mark.state, &mark.instance), (MarkState::Initializing, &first.instance));
    put(&first.etcd(), &[("word", "mellon")]).await;
    let id = cluster(&first).await.0;
    // Its own files are in its way the second time, and no others would be ignored.
    let said = first.fail();
    assert!(said.contains("Data, ByThisMember, None: Begin"), "{said}");
    assert!(said.contains("after-etcd: a stumble"), "{said}");

    terminate(&world, &first, &disk);
    let second = world.machine("a", &disk);
    let said = second.succeed();
    assert!(said.contains("Data, ByThisMember, None: Begin"), "{said}");
    let mark = world.mark().unwrap();
    assert_eq!((mark.state, &mark.instance), (MarkState::Initialized, &second.instance));
    assert_eq!(keys(&second.etcd()).await, word());
    let (same, members) = cluster(&second).await;
    assert_eq!((same, members.len()), (id, 1));
    assert_eq!(members[0].peer_urls, [peer_url(second.address.into())]);
}

/// Both machines see that there is no mark before either writes one.
struct BothAtOnce(Barrier);

impl Rule for BothAtOnce {
    fn before<'a>(&'a self, call: &'a Call, _: &'a Ask) -> BoxFuture<'a, Decision> {
        Box::pin(async {
            let first = call.headers.contains_key("if-none-match") && call.path.ends_with(Mark::PATH);
            if first {
                self.0.wait().await;
            }
            Decision::Forward
        })
    }
}

/// Two machines at once, each with a volume of its own: one begins the cluster, and the other joins it.
#[tokio::test]
async fn of_two_machines_one_begins_the_cluster() {
    let world = World::new(&["a", "b", "c"]);
    let disks = [world.volume("a"), world.volume("b")];
    let machines = [world.machine("a", &disks[0]), world.machine("b", &disks[1])];
    world.aws.add_rule(Arc::new(BothAtOnce(Barrier::new(2))));
    let both = machines.each_ref().map(Machine::start);
    let outputs = both.map(|child| said(&child.wait_with_output().unwrap()));
    for ((done, said), machine) in outputs.iter().zip(&machines) {
        assert!(done, "{said}\n{}", machine.etcd_log());
    }
    let inits: Vec<usize> = machines.iter().map(|machine| count(machine, "kubeadm init --config")).collect();
    let joins: Vec<usize> = machines.iter().map(|machine| count(machine, "kubeadm join")).collect();
    assert_eq!(inits.iter().sum::<usize>(), 1, "{inits:?} {joins:?}");
    assert_eq!(joins.iter().sum::<usize>(), 1, "{inits:?} {joins:?}");
    let [a, b] = [cluster(&machines[0]).await, cluster(&machines[1]).await];
    assert_eq!((a.0, a.1.len()), (b.0, 2));
    assert!(a.1.iter().all(|member| !member.is_learner), "{:?}", a.1);
    let winner = &machines[inits.iter().position(|count| *count == 1).unwrap()];
    assert_eq!(world.mark().unwrap().instance, winner.instance);
    // Each leads the API's name to itself in the end.
    for machine in &machines {
        let hosts = fs::read_to_string(machine.folder.root().join("etc/hosts")).unwrap();
        assert!(hosts.starts_with(&format!("{} api.internal.karlaru.com", machine.address)), "{hosts}");
    }
}

/// A store that takes every write, or knows no conditions, is none that a cluster is begun with.
#[tokio::test]
async fn a_store_without_conditions_begins_no_cluster() {
    for knows in [false, true] {
        let world = World::new(&["a"]);
        let machine = world.machine("a", &world.volume("a"));
        let conditional = |call: &Call| {
            let names = ["if-none-match", "if-match"];
            call.method == "PUT" && names.iter().any(|name| call.headers.contains_key(*name))
        };
        let answer = |status| Response::new(status, "application/xml", "");
        if knows {
            world.aws.after(move |call, response| {
                Reply::Send(if conditional(call) { answer(StatusCode::OK) } else { response })
            });
        } else {
            world.aws.before(move |call| {
                if conditional(call) {
                    Decision::Respond(answer(StatusCode::NOT_IMPLEMENTED))
                } else {
                    Decision::Forward
                }
            });
        }
        let said = machine.fail();
        assert!(said.contains("takes writes whose conditions do not hold"), "{said}");
        assert_eq!(count(&machine, "kubeadm"), 0);
        assert_eq!(world.get(Mark::PATH), None);
    }
}

/// Nothing of the cluster's keys is said or shown anywhere but in the files that are for root alone.
#[tokio::test]
async fn no_secret_is_told() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::new(&["a"]);
    let machine = world.machine("a", &world.volume("a"));
    let said = machine.succeed();
    let told: String = world.aws.calls().into_iter().flat_map(|call| [call.path, call.body]).collect();
    let ran = fs::read_to_string(machine.folder.program("ran")).unwrap();
    for secret in world.keys.secrets() {
        for (place, text) in [("the log", &said), ("the store", &told), ("a command line", &ran)] {
            assert!(!text.contains(&secret), "a secret is in {place}");
        }
    }
    let mut found = 0;
    for path in machine.folder.files() {
        let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        if world.keys.secrets().iter().any(|secret| content.contains(secret)) {
            found += 1;
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
    assert_eq!(found, 5, "four keys and the encryption's");
}
