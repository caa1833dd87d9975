//! The cluster's keys in the state store: made once, never overwritten, rotated; and the kubeconfig that they sign for.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kcl_pki::{CA_VALIDITY, Keyset, KeysetName, SystemEntropy};
use kcl_testkit::{World, example};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");
const CLUSTER: &str = "minimal.example.com";

/// A small cluster with its state in files.
fn minimal() -> (World, String) {
    let world = World::new(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    (world, path)
}

fn state(world: &World) -> PathBuf {
    world.folder.path().join("state").join(CLUSTER)
}

/// Every object of the cluster's state, by its path.
fn objects(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![state(world)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(state(world)).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found.retain(|name, _| !name.split('/').any(|part| part.starts_with('.')));
    found
}

fn is_private(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "key")
}

fn private_keys(world: &World) -> BTreeMap<String, Vec<u8>> {
    objects(world).into_iter().filter(|(name, _)| is_private(name)).collect()
}

/// The keys of a keyset as `kcl get` tells of them: id and state.
fn keys(world: &World, keyset: &str) -> Vec<(String, String)> {
    let listed = world.kcl(&["get", "keypairs", keyset, "-o", "json"]).expect(0).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let text = |key: &Value, field: &str| key[field].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|key| (text(key, "id"), text(key, "state"))).collect()
}

fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_a_cluster_keeps_and_where() {
    let (world, path) = minimal();
    let found = objects(&world);
    let mut names: Vec<&str> = found.keys().map(String::as_str).filter(|name| !is_private(name)).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cluster-completed.spec",
            "config",
            "instancegroup/control-plane",
            "instancegroup/nodes",
            "pki/issued/etcd-ca/bundle.pem",
            "pki/issued/front-proxy-ca/bundle.pem",
            "pki/issued/keysets.yaml",
            "pki/issued/kubernetes-ca/bundle.pem",
            "pki/issued/service-account/bundle.pem",
            "pki/private/etcd-ca/keyset.yaml",
            "pki/private/front-proxy-ca/keyset.yaml",
            "pki/private/kubernetes-ca/keyset.yaml",
            "pki/private/service-account/keyset.yaml",
        ]
    );
    assert_eq!(private_keys(&world).len(), 4);
    for name in private_keys(&world).keys() {
        let mode = std::fs::metadata(state(&world).join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // Private keys lie under names of their own alone.
    for (name, body) in &found {
        let holds_one = String::from_utf8_lossy(body).contains("PRIVATE KEY");
        assert_eq!(holds_one, is_private(name), "{name}");
    }
    // Once made, they stay.
    world.kcl(&["update", "-f", &path, "--yes", "--deep"]).expect(0);
    world.kcl(&["update", "--yes"]).expect(0);
    assert_eq!(objects(&world), found);

    world.kcl(&["delete", CLUSTER, "--yes"]).expect(0);
    assert!(!state(&world).exists(), "nothing of a cluster's state is left with it");
}

#[test]
fn keys_are_rotated_step_by_step() {
    let (world, _) = minimal();
    let first = private_keys(&world);
    let kept = |now: &BTreeMap<String, Vec<u8>>| first.iter().all(|(name, body)| now.get(name) == Some(body));
    let old = keys(&world, "kubernetes-ca")[0].0.clone();

    world.kcl(&["create", "keypair", "kubernetes-ca"]).expect(0);
    let both = keys(&world, "kubernetes-ca");
    assert_eq!(both.iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>(), ["primary", "trusted"]);
    assert!(kept(&private_keys(&world)));
    let bundle = String::from_utf8(objects(&world)["pki/issued/kubernetes-ca/bundle.pem"].clone()).unwrap();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2, "machines trust both");

    // What signs cannot be distrusted, and what is distrusted cannot sign again.
    let refused = world.kcl(&["distrust", "keypair", "kubernetes-ca", &old]).expect(1);
    assert!(refused.stderr.contains("primary"), "{}", refused.stderr);
    world.kcl(&["promote", "keypair", "kubernetes-ca"]).expect(0);
    assert_eq!(keys(&world, "kubernetes-ca")[0], (old.clone(), "trusted".to_owned()));
    world.kcl(&["distrust", "keypair", "kubernetes-ca"]).expect(0);
    assert_eq!(keys(&world, "kubernetes-ca")[0], (old.clone(), "distrusted".to_owned()));
    world.kcl(&["promote", "keypair", "kubernetes-ca", &old]).expect(1);
    let bundle = String::from_utf8(objects(&world)["pki/issued/kubernetes-ca/bundle.pem"].clone()).unwrap();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 1);
    assert!(kept(&private_keys(&world)), "no private key is ever overwritten");

    world.kcl(&["create", "keypair", "all", "--primary"]).expect(0);
    assert_eq!(keys(&world, "etcd-ca").last().unwrap().1, "primary");

    for (wrong, code) in [
        (&["create", "keypair", "kubelet-ca"][..], 2),
        (&["promote", "keypair", "etcd-ca", "17"], 2),
        (&["promote", "keypair", "etcd-ca", "000000000000000000000000"], 1),
        (&["promote", "keypair", "all", "000000000000000000000000"], 2),
        (&["create", "keypair", "etcd-ca", "--name", "other.example.com"], 1),
    ] {
        let before = objects(&world);
        let run = world.kcl(wrong).expect(code);
        assert!(run.stderr.contains("error: "), "{}", run.stderr);
        assert_eq!(objects(&world), before, "{wrong:?}");
    }
}

#[test]
fn keys_that_are_not_as_they_were_written_are_not_used() {
    let (world, path) = minimal();
    let index = state(&world).join("pki/private/kubernetes-ca/keyset.yaml");
    let key = state(&world)
        .join(private_keys(&world).into_keys().find(|name| name.contains("kubernetes-ca")).unwrap());
    let sound = (std::fs::read_to_string(&index).unwrap(), std::fs::read(&key).unwrap());
    let kubeconfig = world.folder.path().join("kubeconfig").display().to_string();
    let refused = |what: &str| {
        let run = world.kcl(&["export", "kubeconfig", "--admin", "--kubeconfig", &kubeconfig]).expect(1);
        assert!(run.stderr.contains(what), "{what}: {}", run.stderr);
        assert!(!run.stderr.contains("PRIVATE KEY"), "{}", run.stderr);
        assert!(!Path::new(&kubeconfig).exists());
        world.kcl(&["create", "keypair", "kubernetes-ca"]).expect(1);
    };
    std::fs::write(&index, &sound.0[..sound.0.len() / 2]).unwrap();
    refused("pki/private/kubernetes-ca/keyset.yaml");
    std::fs::write(&index, "kind: ConfigMap\napiVersion: v1\n").unwrap();
    refused("ConfigMap");
    std::fs::write(&index, &sound.0).unwrap();
    std::fs::write(&key, "not a key").unwrap();
    refused(".key");
    std::fs::remove_file(&key).unwrap();
    let run = world.kcl(&["export", "kubeconfig", "--admin", "--kubeconfig", &kubeconfig]).expect(1);
    assert!(run.stderr.contains(".key"), "{}", run.stderr);
    std::fs::write(&key, &sound.1).unwrap();
    world.kcl(&["export", "kubeconfig", "--admin", "--kubeconfig", &kubeconfig]).expect(0);

    // A summary that was lost or spoilt is made again from the keysets.
    let summary = state(&world).join("pki/issued/keysets.yaml");
    let text = std::fs::read_to_string(&summary).unwrap();
    std::fs::remove_file(&summary).unwrap();
    world.kcl(&["update", "-f", &path, "--yes"]).expect(0);
    assert_eq!(std::fs::read_to_string(&summary).unwrap(), text);
}

/// Puts an authority that was made at another time in the place of the cluster's own.
fn replace_authority(world: &World, made: OffsetDateTime) {
    let name = KeysetName::KubernetesCa;
    let keyset = Keyset::generate(name, &mut SystemEntropy, made).unwrap();
    let write = |path: &str, text: &str| std::fs::write(state(world).join(path), text).unwrap();
    write(&name.private_key_path(keyset.primary().id()), keyset.primary_private_pem().unwrap().reveal());
    write(&name.index_path(), &keyset.index_yaml());
    let indices =
        KeysetName::ALL.map(|name| std::fs::read_to_string(state(world).join(name.index_path())).unwrap());
    write("pki/issued/keysets.yaml", &indices.join("---\n"));
}

#[test]
fn an_authority_that_ends_is_told_of_in_time() {
    let (world, path) = minimal();
    let kubeconfig = world.folder.path().join("kubeconfig").display().to_string();
    let export = ["export", "kubeconfig", "--admin", "--kubeconfig", &kubeconfig];
    let run = world.kcl(&["update", "-f", &path]).expect(0);
    assert!(!run.stderr.contains("authority"), "{}", run.stderr);

    let now = OffsetDateTime::now_utc();
    replace_authority(&world, now - CA_VALIDITY + Duration::days(30));
    let run = world.kcl(&["update", "-f", &path]).expect(0);
    assert!(run.stderr.contains("the authority kubernetes-ca expires in"), "{}", run.stderr);
    assert!(run.stderr.contains("kcl create keypair kubernetes-ca"), "{}", run.stderr);
    world.kcl(&export).expect(0);

    replace_authority(&world, now - CA_VALIDITY - Duration::days(1));
    let run = world.kcl(&["update", "-f", &path]).expect(0);
    assert!(run.stderr.contains("the authority kubernetes-ca has expired"), "{}", run.stderr);
    let run = world.kcl(&export).expect(1);
    assert!(run.stderr.contains("expired"), "{}", run.stderr);

    // From the future: whose clock is wrong is not known, but one is.
    replace_authority(&world, now + Duration::days(2));
    let run = world.kcl(&export).expect(1);
    assert!(run.stderr.contains("clock"), "{}", run.stderr);
}

#[test]
fn private_keys_stand_nowhere_but_in_the_store() {
    let world = World::new(KCL);
    let path = world.spec(&example("minimal.yaml"));
    let mut said = String::new();
    for more in [
        &["create", "cluster", "--yes", "-vvv"][..],
        &["update", "-o", "json", "-vvv"],
        &["update", "--full"],
    ] {
        said.push_str(&world.kcl(&[more, &["-f", &path]].concat()).expect(0).all());
    }
    said.push_str(&world.kcl(&["create", "keypair", "all", "-vvv"]).expect(0).all());
    said.push_str(&world.kcl(&["get", "keypairs", "-o", "yaml", "-vvv"]).expect(0).all());
    let kubeconfig = world.folder.path().join("kubeconfig").display().to_string();
    said.push_str(
        &world.kcl(&["export", "kubeconfig", "--admin", "--kubeconfig", &kubeconfig, "-vvv"]).expect(0).all(),
    );
    said.push_str(&world.kcl(&["delete", CLUSTER, "-o", "json", "-vvv"]).expect(0).all());
    let keys = private_keys(&world);
    assert_eq!(keys.len(), 8);
    for (name, key) in keys {
        let key = String::from_utf8(key).unwrap();
        for line in key.lines().filter(|line| !line.starts_with("-----")) {
            assert!(!said.contains(line), "{name} stands in the output");
        }
    }
}

#[test]
fn a_key_of_ones_own_encrypts_the_state() {
    let world = World::with_bucket(KCL);
    let key = "arn:aws:kms:eu-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let store =
        "apiVersion: kcl.dev/v1alpha1\nkind: StateStore\nmetadata: {name: state}\nspec:\n  kmsKeyID: ";
    let path = world.spec(&format!("{}\n---\n{store}{key}\n", example("minimal.yaml")));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    world.kcl(&["update", "-f", &path, "--detailed-exitcode", "--deep"]).expect(0);
    world.kcl(&["create", "keypair", "etcd-ca"]).expect(0);
    let calls = world.aws.calls();
    let writes: Vec<_> = calls.iter().filter(|call| call.is("s3", "PutObject")).collect();
    assert!(writes.len() > 20);
    for write in writes {
        let (_, object) = write.bucket_and_key();
        let header = write.headers.get("x-amz-server-side-encryption-aws-kms-key-id");
        // The lock says nothing about the cluster, and is there before its spec is known.
        assert!(header.is_some_and(|header| header == key) || object.ends_with("/lock"), "{object}");
    }
}

#[test]
fn a_kubeconfig_is_merged_and_its_certificate_signed_on_the_spot() {
    let (world, _) = minimal();
    let file = world.folder.path().join("kubeconfig");
    let other = "apiVersion: v1\nkind: Config\ncurrent-context: other\nclusters:\n- name: other\n  cluster:\n    server: https://other.example.com\ncontexts:\n- name: other\n  context: {cluster: other, user: other}\nusers:\n- name: other\n  user: {token: hunter2}\n";
    std::fs::write(&file, other).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let path = file.display().to_string();
    let run = world.kcl(&["export", "kubeconfig", CLUSTER, "--admin=2h", "--kubeconfig", &path]).expect(0);
    assert!(!run.all().contains("PRIVATE KEY") && !run.all().contains("hunter2"), "{}", run.all());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let config: Value = read_yaml(&file);
    assert_eq!(config["current-context"], CLUSTER);
    assert_eq!(config["users"][0]["user"]["token"], "hunter2");
    assert_eq!(config["clusters"][1]["cluster"]["server"], format!("https://api.{CLUSTER}"));

    let certificate = client_certificate(&world, &config);
    let bundle = state(&world).join("pki/issued/kubernetes-ca/bundle.pem").display().to_string();
    openssl(&["verify", "-CAfile", &bundle, "-purpose", "sslclient", &certificate]);
    let subject = openssl(&["x509", "-in", &certificate, "-noout", "-subject", "-nameopt", "RFC2253"]);
    assert!(subject.contains("O=kubeadm:cluster-admins"), "{subject}");
    // Good for two hours, and no longer.
    openssl(&["x509", "-in", &certificate, "-noout", "-checkend", "7000"]);
    let later =
        Command::new("openssl").args(["x509", "-in", &certificate, "-noout", "-checkend", "7300"]).output();
    assert!(!later.unwrap().status.success());

    world.kcl(&["export", "kubeconfig", "--admin", "--break-glass", "--kubeconfig", &path]).expect(0);
    let certificate = client_certificate(&world, &read_yaml(&file));
    let subject = openssl(&["x509", "-in", &certificate, "-noout", "-subject", "-nameopt", "RFC2253"]);
    assert!(subject.contains("O=system:masters"), "{subject}");

    // Without a zone for the API's name its load balancer's own name is the address.
    let balanced = example("minimal.yaml").replace(
        "  networking:\n",
        "  api:\n    loadBalancer: {class: Network, type: Public}\n  networking:\n",
    );
    world.kcl(&["update", "-f", &world.spec(&balanced), "--yes"]).expect(0);
    world.kcl(&["export", "kubeconfig", "--kubeconfig", &path]).expect(0);
    let server = read_yaml(&file)["clusters"][1]["cluster"]["server"].as_str().unwrap().to_owned();
    assert!(server.starts_with("https://api-minimal-example-com") && server.contains(".elb."), "{server}");
    world.make_zone("example.com");
    world.kcl(&["export", "kubeconfig", "--kubeconfig", &path]).expect(0);
    assert_eq!(read_yaml(&file)["clusters"][1]["cluster"]["server"], format!("https://api.{CLUSTER}"));

    // Without --admin nothing is signed, and no private key is read.
    let empty = world.folder.path().join("empty").display().to_string();
    world.kcl(&["export", "kubeconfig", "--kubeconfig", &empty]).expect(0);
    assert!(!std::fs::read_to_string(&empty).unwrap().contains("client-key"));
    world.kcl(&["export", "kubeconfig", "--break-glass", "--kubeconfig", &empty]).expect(2);

    // A file that is none is left as it is.
    std::fs::write(&file, "- a\n- list\n").unwrap();
    let run = world.kcl(&["export", "kubeconfig", "--kubeconfig", &path]).expect(1);
    assert!(run.stderr.contains("was left as it is"), "{}", run.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "- a\n- list\n");
}

fn read_yaml(path: &Path) -> Value {
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The cluster's user's certificate, in a file.
fn client_certificate(world: &World, config: &Value) -> String {
    let users = config["users"].as_array().unwrap();
    let user = users.iter().find(|user| user["name"] == CLUSTER).unwrap();
    let data = user["user"]["client-certificate-data"].as_str().unwrap();
    let path = world.folder.path().join("client.crt");
    std::fs::write(path.with_extension("b64"), data).unwrap();
    let encoded = path.with_extension("b64").display().to_string();
    openssl(&["base64", "-d", "-A", "-in", &encoded, "-out", &path.display().to_string()]);
    path.display().to_string()
}
