//! A worker that is there before its control plane: when it asks for the API's name, and when it does not.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::join::JoinService;
use common::told::{Keys, config};
use common::wait::until_async;
use common::{Folder, bucket, patience, sha256};
use hyper::StatusCode;
use kcl_node::bootstrap::{self, ConfigUrl, Settings, Step};
use kcl_node::volume::Waiting;
use kcl_node_config::{Mark, MarkState, NodeConfig, Role, Status};
use kcl_testkit::imds::{Imds, Instance};
use kcl_testkit::{Decision, LocalAws, Protocol, Response};

const INSTANCE: &str = "i-0123456789abcdef0";

/// A machine that has not joined, and all that it asks but for the join service.
struct Machine {
    folder: Folder,
    imds: Imds,
    keys: Keys,
    config: NodeConfig,
    s3: Option<String>,
}

impl Machine {
    fn new() -> Self {
        let (folder, keys) = (Folder::new(), Keys::fresh());
        let location = format!("file://{}/karlaru.com", folder.home.path().join("store").display());
        let config = config(Role::Node, &location, &keys.authorities());
        let imds = Imds::start(Instance::new(INSTANCE, "nodes.karlaru.com")).unwrap();
        let machine = Self { folder, imds, keys, config, s3: None };
        machine.put(&machine.path(), &machine.config.to_yaml().unwrap());
        machine
    }

    fn sha256(&self) -> String {
        sha256(self.config.to_yaml().unwrap().as_bytes())
    }

    fn path(&self) -> String {
        NodeConfig::path(&self.config.instance_group, &self.sha256())
    }

    fn object(&self, path: &str) -> PathBuf {
        self.folder.home.path().join("store/karlaru.com").join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.object(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Whole or not at all: somebody reads it meanwhile.
        let unfinished = self.folder.home.path().join("unfinished");
        fs::write(&unfinished, text).unwrap();
        fs::rename(unfinished, path).unwrap();
    }

    fn mark(&self, state: MarkState) {
        let mark = Mark {
            state,
            member: "a".to_owned(),
            volume: "vol-1".to_owned(),
            instance: "i-0control".to_owned(),
            at: "2026-03-01T12:00:00Z".to_owned(),
        };
        self.put(Mark::PATH, &mark.to_json().unwrap());
    }

    fn settings(&self, longest: Duration) -> Settings {
        let program = self.folder.home.path().join("kcl-node");
        fs::write(&program, "the program").unwrap();
        Settings {
            config: ConfigUrl::parse(&format!("{}/{}", self.config.store.location, self.path())).unwrap(),
            sha256: self.sha256(),
            imds: self.imds.endpoint(),
            s3_endpoint: self.s3.clone(),
            ec2_endpoint: None,
            route53_endpoint: None,
            join_service: None,
            system: self.folder.system(),
            patience: patience(),
            imds_timeout: None,
            waiting: Waiting { longest, pause: Duration::from_millis(50) },
            program,
            agent_arguments: Vec::new(),
            etcdutl: None,
        }
    }

    /// Waits until its status says that it waits for this.
    async fn waits_for(&self, what: &str) {
        until_async(what, async || {
            let text = fs::read(self.object(&Status::path(INSTANCE))).ok();
            let status: Option<Status> = text.and_then(|text| serde_json::from_slice(&text).ok());
            status.and_then(|status| status.waits_for).as_deref() == Some(what)
        })
        .await;
    }
}

async fn stops(settings: Settings) -> String {
    let stopped = bootstrap::run(settings, &|_| {}).await.unwrap_err();
    assert_eq!(stopped.step, Step::Join, "{stopped}");
    stopped.to_string()
}

/// An answer that there is no such name would be kept for a quarter of an hour.
#[tokio::test]
async fn the_apis_name_is_asked_for_once_there_is_a_control_plane() {
    let machine = Machine::new();
    let does = stops(machine.settings(Duration::from_secs(10)));
    let control_plane = async {
        machine.waits_for("the control plane, which no machine has begun yet").await;
        machine.mark(MarkState::Initializing);
        let begins = "i-0control, which begins the control plane since 2026-03-01T12:00:00Z";
        machine.waits_for(begins).await;
        machine.mark(MarkState::Initialized);
    };
    let (said, ()) = tokio::join!(does, control_plane);
    // Nobody answers here, but it is the join service that it went on to.
    assert!(said.contains("no answer from api.internal.karlaru.com:3988"), "{said}");
}

#[tokio::test]
async fn a_cluster_that_nobody_begins_is_not_waited_for_for_ever() {
    let said = stops(Machine::new().settings(Duration::from_secs(1))).await;
    assert!(said.contains("has not said that there is a control plane for 1 s\nhint: "), "{said}");
}

/// Where no name has to be found, none is waited for.
#[tokio::test]
async fn a_join_service_of_its_own_is_asked_at_once() {
    let machine = Machine::new();
    let service = JoinService::start(&machine.keys);
    let settings = Settings { join_service: Some(service.url()), ..machine.settings(Duration::from_mins(1)) };
    bootstrap::run(settings, &|_| {}).await.unwrap();
    assert_eq!(service.asked().len(), 1);
    let ran = machine.folder.ran();
    assert!(ran.contains("kubeadm join --config ROOT/etc/kubernetes/kubeadm.yaml"), "{ran}");
}

/// S3 tells a role that may not list the bucket of an object that is not there that it may not read it.
#[tokio::test]
async fn what_s3_does_not_show_is_waited_for_and_other_refusals_are_final() {
    let aws = LocalAws::shared().unwrap();
    let bucket = bucket::make(&aws, "node-worker");
    let mut machine = Machine::new();
    machine.config.store.location = format!("s3://{bucket}/karlaru.com");
    machine.s3 = Some(aws.endpoint());
    let key = format!("karlaru.com/{}", machine.path());
    bucket::put(&aws, &bucket, &key, &machine.config.to_yaml().unwrap());
    let refuse = |code: &'static str| {
        aws.clear_rules();
        aws.before(move |call| {
            if call.path.ends_with(Mark::PATH) {
                return Decision::Respond(Response::error(
                    Protocol::S3,
                    StatusCode::FORBIDDEN.as_u16(),
                    code,
                    "no",
                ));
            }
            Decision::Forward
        });
    };
    let asked = || aws.take_calls().iter().filter(|call| call.path.ends_with(Mark::PATH)).count();
    refuse("AccessDenied");
    let said = stops(machine.settings(Duration::from_secs(2))).await;
    assert!(said.contains("control-plane/initialized.json: AccessDenied (HTTP 403)\nhint: "), "{said}");
    assert!(asked() > 2);
    refuse("AccountProblem");
    let said = stops(machine.settings(Duration::from_mins(5))).await;
    assert!(said.contains("AccountProblem"), "{said}");
    assert_eq!(asked(), 1);
}
