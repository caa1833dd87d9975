//! A worker's bootstrap into a folder; stopped at every step, killed, run again. kubeadm is a stand-in, and so is the
//! join service. Machines of the control plane are in `control_plane.rs`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::fs;
use std::sync::Mutex;

use common::join::{Answer, JoinService, TOKEN};
use common::told::Keys;
use common::wait::until;
use common::worker::{INSTANCE, Machine};
use common::{Reply, bucket};
use kcl_node::bootstrap::{self, Context, Event, Report, Settings, Step};
use kcl_node_config::{Role, State, Status};
use kcl_testkit::LocalAws;
use kcl_testkit::imds::Mode;

#[tokio::test]
async fn a_worker() {
    let machine = Machine::new();
    let member = machine.run().await.unwrap();
    assert_eq!(member.config, machine.config);
    let status = machine.status();
    assert_eq!((status.state, status.step.as_str()), (State::Done, "agent"));
    assert_eq!(status.instance_group.as_deref(), Some(machine.config.instance_group.as_str()));
    // It joined with its token, of which nothing is left.
    let discovery = fs::read_to_string(machine.folder.program("discovery.conf")).unwrap();
    assert!(discovery.contains(TOKEN) && discovery.contains("server: https://api.internal.karlaru.com:443"));
    assert!(!machine.folder.tree().contains(TOKEN));
    let asked = machine.join.asked();
    assert!(asked.len() == 1 && asked[0].contains(INSTANCE) && asked[0].contains("karlaru.com"), "{asked:?}");
    let ran = machine.redacted(&machine.folder.ran());
    let text = format!("{}=== what was run\n{ran}", machine.tree());
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

/// Nothing is fetched, written or restarted the second time.
#[tokio::test]
async fn a_second_run_changes_nothing() {
    let machine = Machine::new();
    machine.run().await.unwrap();
    let (before, first) = (machine.tree(), machine.folder.ran());
    assert!(first.contains("systemctl restart containerd.service"), "{first}");
    let fetched = machine.web.count("/files/release/v1.36.3/bin/linux/amd64/kubelet");
    machine.run().await.unwrap();
    assert_eq!(machine.tree(), before);
    let second = machine.folder.ran();
    assert!(second.contains("systemctl start containerd.service"), "{second}");
    assert!(!second.contains("restart") && !second.contains("kubeadm"), "{second}");
    assert_eq!(machine.join.asked().len(), 1, "it is a member already");
    assert_eq!(machine.web.count("/files/release/v1.36.3/bin/linux/amd64/kubelet"), fetched);
}

/// What makes a step fail, and what mends it.
fn break_step(machine: &Machine, step: Step) -> Box<dyn Fn(&Machine)> {
    let config = machine.object(&machine.path());
    match step {
        Step::Identity => {
            machine.imds.set_mode(Mode::Disabled);
            Box::new(|machine| machine.imds.set_mode(Mode::V2))
        }
        Step::Configuration => {
            let whole = fs::read(&config).unwrap();
            fs::write(&config, "kind: Other").unwrap();
            Box::new(move |_| fs::write(&config, &whole).unwrap())
        }
        Step::Kernel => {
            machine.folder.fails("swapoff", true);
            Box::new(|machine| machine.folder.fails("swapoff", false))
        }
        Step::Programs => {
            let path = "/files/opencontainers/runc/releases/download/v1.4.3/runc.amd64";
            machine.web.set(path, [Reply::Status(404)]);
            Box::new(move |machine| machine.web.set(path, [Reply::Whole(b"the program runc".to_vec())]))
        }
        // The files are written by then, and containerd does not know.
        Step::Services => {
            machine.folder.fails("systemctl", true);
            Box::new(|machine| machine.folder.fails("systemctl", false))
        }
        Step::Kubeadm => {
            let folder = machine.folder.root().join("etc/kubernetes");
            fs::create_dir_all(folder.parent().unwrap()).unwrap();
            fs::write(&folder, "a file where a folder should be").unwrap();
            Box::new(move |_| fs::remove_file(&folder).unwrap())
        }
        // It was let in by then.
        Step::Join => {
            machine.folder.fails("kubeadm", true);
            Box::new(|machine| machine.folder.fails("kubeadm", false))
        }
        Step::Agent => {
            let program = machine.folder.program("kcl-node");
            fs::rename(&program, program.with_extension("away")).unwrap();
            Box::new(move |_| fs::rename(program.with_extension("away"), &program).unwrap())
        }
        Step::Volume | Step::Keys | Step::ControlPlane => unreachable!("no worker does {step}"),
    }
}

#[tokio::test]
async fn stopped_at_each_step_it_says_why_and_comes_to_the_same_end() {
    let undisturbed = Machine::new();
    undisturbed.run().await.unwrap();
    let wanted = undisturbed.tree();
    let mut text = String::new();
    for step in Step::of(Role::Node) {
        let machine = Machine::new();
        let mend = break_step(&machine, step);
        let stopped = machine.run().await.unwrap_err();
        assert_eq!(stopped.step, step, "{stopped}");
        let said = stopped.to_string();
        // Nobody knows who the machine is before the first step is done.
        if step != Step::Identity {
            let status = machine.status();
            assert_eq!((status.state, status.step.as_str()), (State::Failed, step.as_str()));
            assert_eq!(Some(said.trim_start_matches(&format!("{step}: "))), status.error.as_deref());
        }
        text += &machine.redacted(&said).replace(machine.web.url("").trim_start_matches("http://"), "HOST");
        text += "\n";
        mend(&machine);
        machine.run().await.unwrap();
        let ran = machine.folder.ran();
        // Once in both runs together: a step after this one is not undone by what failed.
        for service in ["containerd", "kcl-node-agent"] {
            assert_eq!(ran.matches(&format!("restart {service}.service")).count(), 1, "{step}: {ran}");
        }
        assert_eq!(machine.tree(), wanted, "after {step}");
        assert_eq!(machine.status().state, State::Done);
        assert_eq!(machine.status().error, None);
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

/// Ended after any step, as by a loss of power, and run again from the start.
#[tokio::test]
async fn ended_after_each_step_it_comes_to_the_same_end() {
    let undisturbed = Machine::new();
    undisturbed.run().await.unwrap();
    let wanted = undisturbed.tree();
    let steps = Step::of(Role::Node);
    for done in 1..=steps.len() {
        let machine = Machine::new();
        let context = Context::new(machine.settings()).unwrap();
        let identity = context.identity().await.unwrap();
        let store = context.store(&identity);
        let config = context.configuration(&store).await.unwrap();
        let report = Report::new(&store, INSTANCE, &|_| {});
        for step in &steps[..done] {
            match step {
                Step::Identity | Step::Configuration => {}
                Step::Kernel => context.kernel(&config).await.unwrap(),
                Step::Programs => drop(context.programs(&config).await.unwrap()),
                Step::Services => context.services(&config).await.unwrap(),
                Step::Kubeadm => drop(context.kubeadm(&config, &identity).unwrap()),
                Step::Join => context.join(&config, &identity, &report).await.unwrap(),
                Step::Agent => context.agent().await.unwrap(),
                Step::Volume | Step::Keys | Step::ControlPlane => unreachable!("no worker does {step}"),
            }
        }
        drop(context);
        machine.run().await.unwrap();
        assert_eq!(machine.tree(), wanted, "after {done} steps");
    }
}

/// Runs the binary to its end.
fn finish(machine: &Machine) -> (bool, String) {
    let output = machine.start().wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits for an asset to be asked for, and kills who asks.
fn kill_at(machine: &Machine, path: &str) {
    let mut child = machine.start();
    until(&format!("{path} is asked for"), || machine.web.count(path) > 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A package manager and the servers of programs do not wait for each other.
#[tokio::test]
async fn a_packet_filter_comes_while_programs_are_fetched() {
    let machine = Machine::new();
    let root = machine.folder.root();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("usr/sbin")).unwrap();
    let at_last = "for _ in $(seq 1000); do [ -e $here/root/usr/local/bin/kubelet ] && break; sleep 0.02; done\n\
                   [ -e $here/root/usr/local/bin/kubelet ] || exit 1; : > $here/root/usr/sbin/iptables";
    machine.folder.add_program("dnf", &format!("here={}\n{at_last}", machine.folder.home.path().display()));
    std::os::unix::fs::symlink(machine.folder.program("dnf"), root.join("usr/bin/dnf")).unwrap();
    let warnings = Mutex::new(Vec::new());
    let tell = |event: &Event<'_>| {
        if let Event::Warning(what) = event {
            warnings.lock().unwrap().push((*what).to_owned());
        }
    };
    bootstrap::run(machine.settings(), &tell).await.unwrap();
    assert_eq!(*warnings.lock().unwrap(), [""; 0]);
}

/// kill -9 in the middle of each download, while others go on: nothing of a file is where it would be used,
/// and what the next run comes to is the same to the last file.
#[test]
fn killed_while_it_downloads_it_comes_to_the_same_end() {
    let undisturbed = Machine::new();
    let (done, said) = finish(&undisturbed);
    assert!(done && said.contains(&format!("{INSTANCE} is a member of karlaru.com")), "{said}");
    let wanted = undisturbed.tree();
    for asset in &undisturbed.config.assets {
        let machine = Machine::new();
        let path = format!("/files/{}", asset.url.splitn(4, '/').nth(3).unwrap());
        let whole = machine.web.get(&path);
        machine.web.set(&path, [Reply::Stall(whole.clone())]);
        kill_at(&machine, &path);
        for file in &asset.files {
            assert!(!machine.folder.system().path(&file.to).exists(), "{}", file.to);
        }
        machine.web.set(&path, [Reply::Whole(whole)]);
        let (done, said) = finish(&machine);
        assert!(done, "{said}");
        assert_eq!(machine.tree(), wanted, "killed at {}", asset.name);
    }
}

/// Two at once would undo each other's work.
#[test]
fn a_second_one_keeps_away() {
    let machine = Machine::new();
    let lock = machine.folder.system().lock().unwrap();
    let (done, said) = finish(&machine);
    assert!(!done && said.contains("another kcl-node is at work"), "{said}");
    drop(lock);
    let (done, said) = finish(&machine);
    assert!(done, "{said}");
}

/// From S3, with the credentials of the machine's role.
#[tokio::test]
async fn the_configuration_comes_from_a_bucket_as_the_machines_role() {
    let aws = LocalAws::shared().unwrap();
    let bucket = bucket::make(&aws, "node-bootstrap");
    let mut machine = Machine::new();
    machine.config.store.location = format!("s3://{bucket}/karlaru.com");
    let key = format!("karlaru.com/{}", machine.path());
    bucket::put(&aws, &bucket, &key, &machine.config.to_yaml().unwrap());
    aws.take_calls();
    let settings = Settings { s3_endpoint: Some(aws.endpoint()), ..machine.settings() };
    bootstrap::run(settings, &|event| assert!(!matches!(event, Event::StatusNotWritten(_)))).await.unwrap();

    let calls = aws.take_calls();
    assert!(
        calls
            .iter()
            .all(|call| call.signed && call.headers["x-amz-security-token"] == "instance-role-session")
    );
    let status = format!("/{bucket}/karlaru.com/status/{INSTANCE}");
    assert!(
        calls.iter().all(|call| call.method == "GET" || call.path == status),
        "it writes its status only"
    );
    let last = serde_json::from_str::<Status>(&calls.last().unwrap().body).unwrap();
    assert_eq!(last.state, State::Done);
    let asked = machine.imds.requests();
    let credentials = "GET /latest/meta-data/iam/security-credentials/role.karlaru.com";
    assert_eq!(asked.iter().filter(|request| *request == credentials).count(), 1, "they are kept");
    let everything =
        format!("{}{}", machine.tree(), calls.iter().map(|call| call.body.clone()).collect::<String>());
    assert!(!everything.contains("instance-role-secret"), "a secret was written");
}

/// A configuration that is not the one the machine was started with, or not its group's, is not acted on.
#[tokio::test]
async fn another_configuration_is_refused() {
    let mut machine = Machine::new();
    let (before, place) = (machine.settings(), machine.object(&machine.path()));
    machine.config.labels.insert("team".to_owned(), "other".to_owned());
    machine.publish();
    fs::copy(machine.object(&machine.path()), place).unwrap();
    let stopped = bootstrap::run(before, &|_| {}).await.unwrap_err();
    assert!(stopped.to_string().contains("has the sha256"), "{stopped}");
    assert!(!machine.folder.root().join("etc").exists(), "nothing was written");

    let others = machine.object(&machine.path().replace("/nodes/", "/others/"));
    fs::create_dir_all(others.parent().unwrap()).unwrap();
    fs::copy(machine.object(&machine.path()), others).unwrap();
    let url = machine.url().replace("/nodes/", "/others/");
    let settings = Settings { config: bootstrap::ConfigUrl::parse(&url).unwrap(), ..machine.settings() };
    let stopped = bootstrap::run(settings, &|_| {}).await.unwrap_err();
    assert!(stopped.to_string().contains("is the node configuration of the group nodes"), "{stopped}");
}

/// The store is out of reach for the status alone: the machine comes up all the same.
#[tokio::test]
async fn a_status_that_cannot_be_written_stops_nothing() {
    let machine = Machine::new();
    fs::write(machine.object("status"), "a file where a folder should be").unwrap();
    let warnings = Mutex::new(0);
    let tell = |event: &Event<'_>| {
        if matches!(event, Event::StatusNotWritten(_)) {
            *warnings.lock().unwrap() += 1;
        }
    };
    bootstrap::run(machine.settings(), &tell).await.unwrap();
    let steps = Step::of(Role::Node).len();
    assert_eq!(*warnings.lock().unwrap(), steps, "one for each step begun but the first, and the end");
}

/// Waiting for a control plane that is not there yet is said, and what the service says is said when it ends.
#[tokio::test]
async fn who_is_not_let_in_says_why() {
    let machine = Machine::new();
    machine.join.set([Answer::Refuse("the API server is not there yet", true), Answer::Grant]);
    machine.run().await.unwrap();
    assert_eq!(machine.join.asked().len(), 2);

    let machine = Machine::new();
    machine.join.set([Answer::Refuse("the instance is \"stopping\"", false)]);
    let stopped = machine.run().await.unwrap_err();
    assert_eq!(stopped.to_string(), "join: the join service refused: the instance is \"stopping\"");
    assert!(!machine.folder.ran().contains("kubeadm"));

    // A cluster of other authorities is not this machine's, whoever answers at its name.
    let mut machine = Machine::new();
    machine.join = JoinService::start(&Keys::fresh());
    let stopped = machine.run().await.unwrap_err();
    assert!(
        stopped.to_string().contains("its certificate is not of this cluster's authorities"),
        "{stopped}"
    );
    assert!(machine.join.asked().is_empty());
}

/// kubeadm was ended in the middle of joining: what it left behind is not in its way, and the claim gets the token
/// again.
#[tokio::test]
async fn ended_in_the_middle_of_joining_it_joins() {
    let machine = Machine::new();
    machine.folder.fails("kubeadm", true);
    let stopped = machine.run().await.unwrap_err();
    assert!(stopped.to_string().contains("it does not work"), "{stopped}");
    assert!(!machine.folder.root().join("etc/kubernetes/discovery.conf").exists(), "the token is gone");
    assert!(
        !machine.folder.ran().contains("--ignore-preflight-errors"),
        "nothing is in its way the first time"
    );
    machine.folder.fails("kubeadm", false);
    machine.run().await.unwrap();
    let ignored = "--ignore-preflight-errors FileAvailable--etc-kubernetes-bootstrap-kubelet.conf,\
                   FileAvailable--etc-kubernetes-kubelet.conf,FileAvailable--etc-kubernetes-pki-ca.crt,Port-10250";
    let ran = machine.folder.ran();
    assert!(ran.contains(ignored), "{ran}");
}

#[test]
fn only_a_node_configurations_place_is_one() {
    let hash = "0a".repeat(32);
    for url in [
        String::new(),
        format!("s3://bucket/{hash}.yaml"),
        "s3://bucket/c/node/x.yaml".to_owned(),
        "s3://bucket/c/node/x/y.yaml".to_owned(),
        format!("s3://bucket/c/node/x/{hash}"),
        format!("s3://bucket/c/node//{hash}.yaml"),
        format!("s3://bucket/c/node/x/y/{hash}.yaml"),
        format!("https://b/c/node/x/{hash}.yaml"),
    ] {
        assert!(bootstrap::ConfigUrl::parse(&url).is_err(), "{url}");
    }
    let url = format!("s3://bucket/clusters/karlaru.com/node/nodes/{hash}.yaml");
    bootstrap::ConfigUrl::parse(&url).unwrap();
}
