//! The tokens in a real API server: that they are let in, that each is given once, also by two control planes, and
//! that the service needs no more rights than it says.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kcl_join::{ApiServer as Client, ApiServerConfig as ClientConfig, Limits, RBAC, join};
use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig, pki};
use serde_json::{Value, json};
use support::*;

/// An API server, and two control-plane machines that each have a join service.
struct World {
    server: ApiServer,
    admin: PathBuf,
    aws: Aws,
    services: [Listening; 2],
    folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = pki::fresh(&folder.path().join("pki")).unwrap();
        let config = ApiServerConfig::new(keys.folder(), "https://issuer.example");
        let server = tokio::task::spawn_blocking(|| ApiServer::start(config).unwrap()).await.unwrap();
        let admin = server.admin(&keys).unwrap();
        server.kubectl_reads(&admin, &["apply", "--server-side", "-f", "-"], RBAC).unwrap().expect(0);

        let read = |path: &std::path::Path| fs::read_to_string(path).unwrap();
        let user = keys.client("kcl:join-service", None).unwrap();
        let ca = read(&keys.folder().join("ca.crt"));
        let client = Client::new(&ClientConfig {
            url: server.url(),
            ca_pem: ca.clone(),
            certificate_pem: read(&user.certificate),
            key_pem: read(&user.key),
        })
        .unwrap();
        // The API server's own certificate serves the join service too.
        let pki = |name| read(&keys.folder().join(name));
        let keys = Keys { ca, certificate: pki("apiserver.crt"), key: pki("apiserver.key") };
        let aws = Aws::start().await;
        let services = [
            listen(&aws, &keys, client.clone(), Limits::default()).await,
            listen(&aws, &keys, client, Limits::default()).await,
        ];
        Self { server, admin, aws, services, folder }
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.server.kubectl(&self.admin, args).unwrap().expect(0).stdout
    }

    fn apply(&self, object: &Value) {
        let run = self.server.kubectl_reads(&self.admin, &["apply", "-f", "-"], &object.to_string());
        run.unwrap().expect(0);
    }

    /// Another worker, whose instance is there.
    fn worker(&self, number: u8) -> (Person, String) {
        let id = format!("i-{number:017x}");
        let person = Person::session(ACCOUNT, ROLE, &id);
        self.aws.know(&person);
        self.aws.instance(&id, "running", &tags(CLUSTER));
        (person, id)
    }

    /// A worker's request.
    fn request(id: &str, claim: char) -> kcl_join::JoinRequest {
        kcl_join::JoinRequest { instance_id: id.to_owned(), ..request(claim) }
    }

    /// Who a token is to the API server, with nothing but the token.
    fn who(&self, token: &str) -> Result<Value, String> {
        let ca = self.folder.path().join("pki/ca.crt");
        let empty = self.folder.path().join("empty.conf");
        fs::write(&empty, "").unwrap();
        let url = self.server.url();
        let arguments = [
            "--server",
            &url,
            "--certificate-authority",
            ca.to_str().unwrap(),
            "--token",
            token,
            "auth",
            "whoami",
            "-o",
            "json",
        ];
        let run = self.server.kubectl(&empty, &arguments).unwrap();
        if run.code == 0 { Ok(serde_json::from_str(&run.stdout).unwrap()) } else { Err(run.stderr) }
    }

    fn secrets(&self) -> Vec<Value> {
        let selector = "--field-selector=type=bootstrap.kubernetes.io/token";
        let list = self.kubectl(&["get", "secrets", "-n", "kube-system", selector, "-o", "json"]);
        serde_json::from_str::<Value>(&list).unwrap()["items"].as_array().unwrap().clone()
    }

    fn forget_all(&self) {
        let selector = "--field-selector=type=bootstrap.kubernetes.io/token";
        self.kubectl(&["delete", "secrets", "-n", "kube-system", selector]);
    }

    /// Lets the only token expire.
    fn expire(&self) {
        let patch = json!({"stringData": {"expiration": "2020-01-01T00:00:00Z"}}).to_string();
        let name = self.secrets()[0]["metadata"]["name"].as_str().unwrap().to_owned();
        self.kubectl(&["patch", "secret", "-n", "kube-system", &name, "-p", &patch]);
    }
}

#[tokio::test]
async fn tokens_work_and_are_given_once() {
    let world = World::start().await;
    a_token_is_let_in(&world).await;
    a_token_is_given_once(&world).await;
    an_unused_token_is_replaced_and_a_used_one_is_not(&world).await;
    of_two_control_planes_one_gives(&world).await;
    what_another_has_made_is_left_alone(&world).await;
    no_right_is_missing_and_none_is_left_over(&world);
}

async fn a_token_is_let_in(world: &World) {
    let joined = join(world.services[0].client(world.folder.path())).await.unwrap();
    let who = world.who(joined.token.reveal()).unwrap();
    let user = &who["status"]["userInfo"];
    let id = joined.token.reveal().split_once('.').unwrap().0;
    assert_eq!(user["username"], format!("system:bootstrap:{id}"));
    let groups = user["groups"].to_string();
    assert!(groups.contains("system:bootstrappers:kubeadm:default-node-token"), "{groups}");
    assert!(world.who(&format!("{id}.0000000000000000")).is_err());

    let secret = &world.secrets()[0];
    assert_eq!(secret["metadata"]["name"], format!("bootstrap-token-{id}"));
    assert_eq!(secret["metadata"]["labels"]["kcl.dev/instance"], ID);
    let keys: BTreeSet<&str> = secret["data"].as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = [
        "auth-extra-groups",
        "description",
        "expiration",
        "token-id",
        "token-secret",
        "usage-bootstrap-authentication",
        "usage-bootstrap-signing",
    ];
    assert_eq!(keys, wanted.into());
    // kubeadm knows it, and reads the same expiry.
    let kubeadm = world.server.programs().path("kubeadm").unwrap();
    let listed = Command::new(kubeadm)
        .args(["token", "list", "-o", "json", "--kubeconfig"])
        .arg(&world.admin)
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["token"], joined.token.reveal());
    assert_eq!(listed["expires"], joined.expires.as_str());
    assert_eq!(listed["usages"], json!(["authentication", "signing"]));
}

async fn a_token_is_given_once(world: &World) {
    let [here, there] = &world.services;
    world.forget_all();
    let (person, id) = world.worker(1);
    let ask = |claim, ago| signed_ago(&person, &World::request(&id, claim), ago);
    let envelope = ask('a', 40);
    let (status, first) = here.ask(&envelope).await;
    assert_eq!(status, 200, "{first}");
    // The same proof, to the service that took it and to one that knows it from the record only.
    for service in [here, there] {
        let (status, answer) = service.ask(&envelope).await;
        assert_eq!((status, answer["reason"].as_str()), (403, Some("the proof was used before")), "{answer}");
    }
    let (status, second) = there.ask(&ask('b', 30)).await;
    assert_eq!(status, 403, "{second}");
    // The one that got it gets it again, wherever it asks.
    let (status, again) = there.ask(&ask('a', 20)).await;
    assert_eq!((status, &again), (200, &first));
    let (status, older) = here.ask(&ask('a', 45)).await;
    assert_eq!((status, &older["retry"]), (503, &json!(true)), "{older}");
    assert_eq!(world.secrets().len(), 1);
}

async fn an_unused_token_is_replaced_and_a_used_one_is_not(world: &World) {
    let [here, there] = &world.services;
    world.forget_all();
    let (person, id) = world.worker(2);
    let ask = |claim, ago| signed_ago(&person, &World::request(&id, claim), ago);
    let (_, first) = here.ask(&ask('a', 50)).await;
    let uid = world.secrets()[0]["metadata"]["uid"].clone();
    world.expire();
    assert!(world.who(first["token"].as_str().unwrap()).is_err());
    let (status, second) = there.ask(&ask('b', 40)).await;
    assert_eq!(status, 200, "{second}");
    assert_ne!(first["token"], second["token"]);
    assert!(world.who(second["token"].as_str().unwrap()).is_ok());
    assert_eq!(world.secrets().len(), 1);
    assert_ne!(world.secrets()[0]["metadata"]["uid"], uid, "a late deletion of the old one leaves it alone");

    // It joins, and its token expires.
    let provider = format!("aws:///eu-north-1a/{id}");
    let object = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": id}, "spec": {"providerID": provider}
    });
    world.apply(&object);
    let (status, back) = here.ask(&ask('b', 30)).await;
    assert_eq!((status, &back["token"]), (200, &second["token"]), "killed on its way into the cluster");
    world.expire();
    let (status, late) = here.ask(&ask('b', 20)).await;
    assert_eq!(status, 403);
    assert!(late["reason"].as_str().unwrap().contains(&format!("kubectl delete node {id}")), "{late}");
    world.kubectl(&["delete", "node", &id]);
    assert_eq!(there.ask(&ask('c', 10)).await.0, 200);
}

async fn of_two_control_planes_one_gives(world: &World) {
    for round in 0..5_u8 {
        world.forget_all();
        let (person, id) = world.worker(10 + round);
        let mut asked = tokio::task::JoinSet::new();
        // Eight that have the machine's credentials at the same time, each with a claim of its own.
        for (number, claim) in "abcdef01".chars().enumerate() {
            let service = world.services[number % 2].clone();
            let ago = 10 + i64::try_from(number).unwrap();
            let envelope = signed_ago(&person, &World::request(&id, claim), ago);
            asked.spawn(async move { service.ask(&envelope).await });
        }
        let answers = asked.join_all().await;
        let given: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
        assert_eq!(given.len(), 1, "{answers:?}");
        assert!(world.who(given[0].1["token"].as_str().unwrap()).is_ok());
        assert_eq!(world.secrets().len(), 1);
    }
}

async fn what_another_has_made_is_left_alone(world: &World) {
    world.forget_all();
    let (person, id) = world.worker(3);
    let ask = |ago| signed_ago(&person, &World::request(&id, 'a'), ago);
    assert_eq!(world.services[0].ask(&ask(30)).await.0, 200);
    let name = world.secrets()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world.kubectl(&[
        "label",
        "secret",
        "-n",
        "kube-system",
        &name,
        "--overwrite",
        "kcl.dev/instance=i-01234567",
    ]);
    let before = world.secrets();
    let (status, answer) = world.services[0].ask(&ask(20)).await;
    assert_eq!((status, &answer["retry"]), (503, &json!(true)), "{answer}");
    assert_eq!(world.secrets(), before);
}

fn no_right_is_missing_and_none_is_left_over(world: &World) {
    let can = |verb: &str, what: &str| {
        let args = ["auth", "can-i", verb, what, "-n", "kube-system", "--as", "kcl:join-service"];
        world.server.kubectl(&world.admin, &args).unwrap().code == 0
    };
    for (verb, what, wanted) in [
        ("get", "secrets", true),
        ("create", "secrets", true),
        ("update", "secrets", true),
        ("delete", "secrets", true),
        ("get", "nodes", true),
        ("list", "secrets", false),
        ("patch", "secrets", false),
        ("list", "nodes", false),
        ("create", "pods", false),
    ] {
        assert_eq!(can(verb, what), wanted, "{verb} {what}");
    }
}

#[tokio::test]
async fn a_control_plane_that_does_not_serve_yet_is_waited_for() {
    let mut world = World::start().await;
    world.server.kill_api_server();
    let (person, id) = world.worker(1);
    let ask = |ago| signed_ago(&person, &World::request(&id, 'a'), ago);
    let (log, _guard) = Log::begin();
    let (status, answer) = world.services[0].ask(&ask(20)).await;
    assert_eq!((status, &answer["retry"]), (503, &json!(true)), "{answer}");
    assert_eq!(answer["reason"], "the control plane could not ask its API server");
    assert!(log.last().contains("failed to read the secret bootstrap-token-"), "{}", log.last());
    let world = tokio::task::spawn_blocking(move || {
        world.server.start_again().unwrap();
        world
    });
    let world = world.await.unwrap();
    assert_eq!(world.services[0].ask(&ask(10)).await.0, 200);
}
