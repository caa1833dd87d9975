//! Every file and every program of a control-plane machine; and that it comes to the same end when it is killed or
//! stopped anywhere on its way.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::fs;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::cluster::{Machine, World};
use futures::future::BoxFuture;
use kcl_node_config::{Mark, MarkState, MemberRecord, State};
use kcl_pki::{KeysetName, SystemEntropy};
use kcl_testkit::{Ask, Call, Decision, Reply, Response, Rule};
use time::OffsetDateTime;

fn ran(machine: &Machine) -> String {
    fs::read_to_string(machine.folder.program("ran")).unwrap()
}

#[test]
fn a_control_plane_machine() {
    let world = World::new(&["a"]);
    let machine = world.machine("a", &world.volume("a"));
    machine.succeed();
    let text = format!("{}=== what was run\n{}", machine.tree(), machine.redacted(&ran(&machine)));
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

/// A machine of a new cluster, whose own programs have not all been tried: those of a worker too are in `bootstrap.rs`.
fn first_of_its_own(machine: &Machine) -> usize {
    ran(machine).lines().position(|line| line.starts_with("blkid")).unwrap() + 1
}

async fn assert_begun(world: &World, machine: &Machine, wanted: &str, place: &str) {
    assert_eq!(machine.tree(), wanted, "{place}");
    let mark = world.mark().unwrap();
    assert_eq!((mark.state, &mark.instance), (MarkState::Initialized, &machine.instance), "{place}");
    assert_eq!(machine.etcd().members().await.unwrap().len(), 1, "{place}");
    assert_eq!(world.record("a").instance, machine.instance, "{place}");
    assert_eq!(world.status(machine).state, State::Done, "{place}");
}

/// kill -9 right after each program that it runs, from the volume on.
#[tokio::test]
async fn killed_after_each_program_it_comes_to_the_same_end() {
    let world = World::new(&["a"]);
    let undisturbed = world.machine("a", &world.volume("a"));
    undisturbed.succeed();
    let wanted = undisturbed.tree();
    let programs = ran(&undisturbed).lines().count();
    for place in first_of_its_own(&undisturbed)..=programs {
        let world = World::new(&["a"]);
        let machine = world.machine("a", &world.volume("a"));
        machine.folder.killed_after(place);
        let said = machine.fail();
        assert!(!said.contains("error:"), "it was killed: {said}");
        let last = ran(&machine).lines().last().unwrap().to_owned();
        machine.folder.killed_after(0);
        machine.succeed();
        assert_begun(&world, &machine, &wanted, &last).await;
    }
}

/// A write to the store, which is held.
struct Held {
    /// What its path ends with.
    path: &'static str,
    /// A header that it has.
    header: Option<&'static str>,
    /// Whether it is held once it is done.
    done: bool,
    reached: Mutex<mpsc::Sender<()>>,
}

impl Held {
    async fn hold(&self, call: &Call) {
        let has = self.header.is_none_or(|header| call.headers.contains_key(header));
        if call.method == "PUT" && call.path.ends_with(self.path) && has {
            let _ = self.reached.lock().unwrap().send(());
            std::future::pending::<()>().await;
        }
    }
}

impl Rule for Held {
    fn before<'a>(&'a self, call: &'a Call, _: &'a Ask) -> BoxFuture<'a, Decision> {
        Box::pin(async {
            if !self.done {
                self.hold(call).await;
            }
            Decision::Forward
        })
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, _: &'a Ask) -> BoxFuture<'a, Reply> {
        Box::pin(async {
            if self.done {
                self.hold(call).await;
            }
            Reply::Send(response)
        })
    }
}

/// kill -9 while it writes to the store what others rely on: before the write is done, and before it knows that it is.
#[tokio::test]
async fn killed_at_each_write_it_comes_to_the_same_end() {
    let world = World::new(&["a"]);
    let undisturbed = world.machine("a", &world.volume("a"));
    undisturbed.succeed();
    let wanted = undisturbed.tree();
    let writes = [
        (Mark::PATH, Some("if-none-match")),
        (Mark::PATH, Some("if-match")),
        ("control-plane/members/a.json", None),
    ];
    for (path, header) in writes {
        for done in [false, true] {
            let world = World::new(&["a"]);
            let machine = world.machine("a", &world.volume("a"));
            let (reached, is_reached) = mpsc::channel();
            world.aws.add_rule(Arc::new(Held { path, header, done, reached: Mutex::new(reached) }));
            let mut child = machine.start();
            is_reached.recv_timeout(Duration::from_mins(2)).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            world.aws.clear_rules();
            machine.succeed();
            assert_begun(&world, &machine, &wanted, &format!("{path} {header:?} {done}")).await;
        }
    }
    assert_eq!(MemberRecord::path("a"), "control-plane/members/a.json");
}

/// What stops the steps of a control-plane machine, and what is said of it; mended, it goes on.
#[test]
fn stopped_at_each_step_it_says_why_and_goes_on() {
    type Break = fn(&World, &Machine);
    let breaks: [(&str, Break, Break); 6] = [
        (
            "volume",
            |_, machine| machine.folder.fails("mount", true),
            |_, machine| machine.folder.fails("mount", false),
        ),
        ("keys", |world, _| world.delete("secrets/encryption.json"), |world, _| world.put_keys()),
        (
            "keys",
            |world, _| world.put("pki/private/etcd-ca/keyset.yaml", "kind: Other"),
            |world, _| world.put_keys(),
        ),
        (
            "control-plane",
            |world, _| world.put(Mark::PATH, "{\"state\":\"lost\"}"),
            |world, _| world.delete(Mark::PATH),
        ),
        (
            "control-plane",
            |_, machine| machine.trips("before-etcd", true),
            |_, machine| machine.trips("before-etcd", false),
        ),
        (
            "agent",
            |_, machine| machine.put_in_the_way("usr/local/bin/kcl-node"),
            |_, machine| machine.take_away("usr/local/bin/kcl-node"),
        ),
    ];
    let mut text = String::new();
    for (step, disturb, mend) in breaks {
        let world = World::new(&["a"]);
        let machine = world.machine("a", &world.volume("a"));
        disturb(&world, &machine);
        let said = machine.fail();
        let error = said.split_once("error: ").unwrap().1;
        assert!(error.starts_with(&format!("{step}: ")), "{said}");
        let status = world.status(&machine);
        assert_eq!((status.state, status.step.as_str()), (State::Failed, step));
        text += &machine.redacted(error);
        mend(&world, &machine);
        machine.succeed();
        assert!(world.is_initialized());
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

/// While keys are replaced several are trusted: the machine has them all, and signs with the primary one.
#[test]
fn several_trusted_keys_are_a_bundle_with_the_primary_first() {
    let mut world = World::new(&["a"]);
    let now = OffsetDateTime::now_utc();
    for name in KeysetName::ALL {
        let keyset = world.keys.keyset(name);
        let new = keyset.add(&mut SystemEntropy, now).unwrap();
        keyset.promote(&new, now).unwrap();
    }
    world.put_keys();
    let machine = world.machine("a", &world.volume("a"));
    machine.succeed();
    let pki = machine.folder.root().join("etc/kubernetes/pki");
    for name in KeysetName::ALL {
        let keyset = world.keys.keyset(name);
        let primary = keyset.primary().material().to_pem();
        let files = name.kubeadm_files();
        let public = fs::read_to_string(pki.join(files.public)).unwrap();
        assert_eq!(public.matches("-----BEGIN").count(), 2, "{name}");
        assert!(public.starts_with(&primary), "{name}");
        let private = keyset.primary_private_pem().unwrap();
        assert_eq!(fs::read_to_string(pki.join(files.private)).unwrap(), private.reveal(), "{name}");
    }
}
