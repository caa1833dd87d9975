//! What machines run first, and what they say of themselves: the user data of the real plan, run by a real shell; and
//! the words that the node agent leaves in the state store, as kcl shows them.
//!
//! The script's own folders are laid over those of this machine in a mount namespace of its own, so nothing of it is
//! left; `systemctl` is a stand-in that writes down what it was asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use insta::assert_snapshot;
use kcl_testkit::World;
use kcl_testkit::imds::{Imds, Instance};
use sha2::{Digest, Sha256};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");
const CLUSTER: &str = "minimal.example.com";

/// Lays the script's folders over the machine's, and runs it.
const RUN: &str = r#"
set -eu
cd "$1"
mkdir -p etc etc-work bin units
mount -t overlay overlay -o lowerdir=/etc,upperdir="$1/etc",workdir="$1/etc-work" /etc
mkdir -p /etc/systemd/system
mount --bind "$1/units" /etc/systemd/system
mount --bind "$1/bin" /usr/local/bin
PATH="$1/stand-ins:$PATH" exec sh "$1/user-data"
"#;

/// The curl of Ubuntu 22.04: of all headers it signs two.
const OLD_CURL: &str = r#"#!/bin/sh
case "$*" in
--version) echo "curl 7.81.0 (x86_64-pc-linux-gnu) libcurl/7.81.0"; exit ;;
*--aws-sigv4*) echo "S3 refuses what this curl has signed" >&2; exit 22 ;;
esac
PATH=${PATH#*:}
exec curl "$@"
"#;

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = Sha256::new_with_prefix(pad(0x36)).chain_update(text).finalize();
    Sha256::new_with_prefix(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// The signature of a URL with these parameters (Amazon S3 API reference, "Authenticating Requests: Using Query
/// Parameters").
fn signature(path: &str, host: &str, params: &BTreeMap<String, String>) -> String {
    let others = params.iter().filter(|(name, _)| *name != "X-Amz-Signature");
    let query: Vec<String> =
        others.map(|(name, value)| format!("{name}={}", value.replace('/', "%2F"))).collect();
    let ask = format!("GET\n{path}\n{}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD", query.join("&"));
    let (_, scope) = params["X-Amz-Credential"].split_once('/').unwrap();
    let hash = hex::encode(Sha256::digest(ask));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", params["X-Amz-Date"]);
    let key = scope.split('/').fold(b"AWS4instance-role-secret".to_vec(), |key, part| hmac(&key, part));
    hex::encode(hmac(&key, &text))
}

/// The user data of the launch templates, by their names.
fn user_data(world: &World) -> BTreeMap<String, String> {
    let params = [("LaunchTemplateVersion.1", "$Latest")];
    let answer = world.aws.direct("ec2", "DescribeLaunchTemplateVersions", &params).unwrap();
    let versions = answer.all("launchTemplateVersionSet/item");
    versions
        .into_iter()
        .map(|version| {
            let text = STANDARD.decode(version.value("launchTemplateData/userData")).unwrap();
            (version.value("launchTemplateName").to_owned(), String::from_utf8(text).unwrap())
        })
        .collect()
}

/// A program that the script finds before the machine's own.
fn add_program(folder: &Path, name: &str, content: &str) {
    let path = folder.join("stand-ins").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a script in a folder.
fn run(folder: &Path, script: &str, endpoints: &[(&str, &str)]) -> Output {
    fs::create_dir_all(folder.join("etc")).unwrap();
    let lines: Vec<String> = endpoints.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(folder.join("etc/kcl-node.env"), lines.concat()).unwrap();
    let calls = folder.join("systemctl-calls");
    let stand_in = format!("#!/bin/sh\necho \"$*\" >> {}\n", calls.display());
    add_program(folder, "systemctl", &stand_in);
    // Nobody waits here between two tries.
    add_program(folder, "sleep", "#!/bin/sh\n");
    fs::write(folder.join("user-data"), script).unwrap();
    // The script itself never gives up.
    Command::new("timeout")
        .args(["300", "unshare", "--map-root-user", "--mount", "sh", "-c", RUN, "user-data"])
        .arg(folder)
        .output()
        .unwrap()
}

#[test]
fn user_data_fetches_the_node_agent_and_starts_it() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&kcl_testkit::example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let scripts = user_data(&world);
    let script = &scripts[&format!("nodes.{CLUSTER}")];
    assert!(script.len() < 4096, "{} bytes: it has to leave room for what the spec adds", script.len());

    let imds = Imds::start(Instance::new("i-0123456789abcdef0", "nodes")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (s3, metadata) = (world.aws.endpoint(), imds.endpoint());
    let endpoints =
        [("AWS_ENDPOINT_URL_S3", s3.as_str()), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str())];
    let output = run(folder.path(), script, &endpoints);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let program = fs::read(folder.path().join("bin/kcl-node")).unwrap();
    let hash = hex::encode(Sha256::digest(&program));
    assert!(script.contains(&format!("\nagent={hash}\n")), "what was fetched is what was promised");
    let mode = fs::metadata(folder.path().join("bin/kcl-node")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let unit = fs::read_to_string(folder.path().join("units/kcl-node.service")).unwrap();
    let configuration = script.lines().find_map(|line| line.strip_prefix("configuration=")).unwrap();
    let command = format!(
        "ExecStart=/usr/local/bin/kcl-node bootstrap --config \
         s3://{}/clusters/{CLUSTER}/node/nodes/{configuration}.yaml --sha256 {configuration}\n",
        world.bucket()
    );
    assert!(unit.contains(&command), "{unit}");
    let calls = fs::read_to_string(folder.path().join("systemctl-calls")).unwrap();
    assert_eq!(calls, "daemon-reload\nenable kcl-node.service\nstart --no-block kcl-node.service\n");

    // The configuration that the unit names is there, and is what its name says.
    let key = format!("clusters/{CLUSTER}/node/nodes/{configuration}.yaml");
    let url = format!("/{}/{key}", world.bucket());
    let answer = kcl_testkit::http(&s3, "GET", &url, Some("s3"), &[], "").unwrap();
    assert_eq!(hex::encode(Sha256::digest(answer.body.as_bytes())), configuration);

    // A curl that signs too little is not let do it, and what is signed otherwise is what S3 wants.
    let old = tempfile::tempdir().unwrap();
    add_program(old.path(), "curl", OLD_CURL);
    world.aws.take_calls();
    let output = run(old.path(), script, &endpoints);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(old.path().join("bin/kcl-node")).unwrap(), program);
    let calls = world.aws.take_calls();
    let asked: Vec<_> = calls.iter().filter(|call| call.path.ends_with(&hash)).collect();
    assert!(
        !asked.is_empty()
            && asked.iter().all(|call| !call.headers.keys().any(|key| key.as_str().starts_with("x-amz-")))
    );
    let (host, params) = (s3.trim_start_matches("http://"), &asked[0].params);
    assert_eq!(params["X-Amz-Security-Token"], "instance-role-session");
    assert_eq!(params["X-Amz-Signature"], signature(&asked[0].path, host, params));

    // No secret stands in user data, and a program that is not the promised one is never started.
    for script in scripts.values() {
        assert!(!script.contains("PRIVATE KEY") && !script.contains("AKIA"), "{script}");
    }
    let other = script.replacen(&format!("agent={hash}"), &format!("agent={}", "0".repeat(64)), 1);
    // It never gives up by itself.
    let other =
        other.replacen("tries=$((tries + 1))", "tries=$((tries + 1)); [ \"$tries\" -lt 3 ] || exit 1", 1);
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &other, &endpoints);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("try 2: kcl-node could not be fetched from s3://"), "{said}");
    assert!(!folder.path().join("bin/kcl-node").exists());
    assert!(!folder.path().join("systemctl-calls").exists());
}

#[test]
fn where_hashes_are_looked_up_is_the_command_lines_choice_before_the_specs() {
    let world = World::with_bucket(KCL);
    let spec = kcl_testkit::example("minimal.yaml");
    let spec = spec.replacen(
        "  networking:\n",
        "  assets: {fileRepository: 'http://127.0.0.1:1'}\n  networking:\n",
        1,
    );
    let path = world.spec(&spec);
    world.kcl(&["update", "-f", &path]).expect(0);
    let output = world.command(&["update", "-f", &path]).env_remove("KCL_FILE_REPOSITORY").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no answer from 127.0.0.1:1"), "{said}");
}

/// Writes an object of the cluster into a file store.
fn write(world: &World, key: &str, text: &str) {
    let path = world.folder.path().join("state").join(CLUSTER).join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn backup(time: &str, instance: &str, version: &str) -> (String, String) {
    let name = format!("{time}-{instance}");
    let text = format!(
        r#"{{"name":"{name}","member":"a","instance":"{instance}","takenAt":"{time}","size":20971552,
            "sha256":"{hash}","etcdRevision":4711,"kubernetesVersion":"{version}","etcdVersion":"3.6.8",
            "reason":"periodic"}}"#,
        hash = "0".repeat(64)
    );
    (name, text)
}

#[test]
fn what_machines_say_is_shown() {
    let world = World::new(KCL);
    let path = world.spec(&kcl_testkit::example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let json = world.kcl(&["get", "instances", "-o", "json"]).expect(0).stdout;
    let machines: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let said = [
        r#""state":"done","step":"ready""#,
        r#""state":"running","step":"programs""#,
        r#""state":"failed","step":"join","error":"the join service refused: it is of another cluster\nhint: look at its tags""#,
    ];
    for (machine, said) in machines.iter().zip(said) {
        let id = machine["id"].as_str().unwrap();
        let status = format!(r#"{{"instance":"{id}","version":"0.1.0",{said},"at":"2026-11-27T03:15:00Z"}}"#);
        write(&world, &format!("status/{id}"), &status);
    }
    let mut shown = world.kcl(&["get", "instances"]).expect(0).all();
    for (nth, machine) in machines.iter().enumerate() {
        shown = shown.replace(machine["id"].as_str().unwrap(), &format!("i-{nth}"));
        for address in ["private_ip", "public_ip"] {
            shown = shown.replace(machine[address].as_str().unwrap_or("-"), "[ip]");
        }
    }
    assert_snapshot!(shown);
    let json = world.kcl(&["get", "instances", "-o", "json"]).expect(0).stdout;
    let machines: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(machines[2]["status"]["state"], "failed");
}

#[test]
fn a_backup_is_chosen_and_the_control_plane_asked() {
    let world = World::new(KCL);
    let path = world.spec(&kcl_testkit::example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let none = world.kcl(&["restore", "--backup", "latest"]).expect(1);
    let mut shown = format!("$ kcl restore --backup latest\n{}", none.stderr);

    let older = backup("2026-11-27T03:00:00Z", "i-0123456789abcdef0", "1.35.2");
    let newer = backup("2026-11-27T03:15:00Z", "i-0123456789abcdef0", "1.36.4");
    for (name, text) in [&older, &newer] {
        write(&world, &format!("backups/etcd/main/{name}/backup.json"), text);
    }
    // One that was cut short is none.
    write(&world, "backups/etcd/main/2026-11-27T03:30:00Z-i-0123456789abcdef0/etcd.db", "half");
    for arguments in [
        ["get", "backups"].as_slice(),
        &["restore", "--backup", "latest"],
        &["restore", "--backup", &older.0],
        &["restore", "--backup", "2026-11-27T03:30:00Z-i-0123456789abcdef0"],
    ] {
        let run = world.kcl(arguments);
        shown += &format!("$ kcl {}\n{}\n", arguments.join(" "), run.all());
    }
    let request = world.folder.path().join("state").join(CLUSTER).join("control-plane/restore.json");
    assert!(!request.exists(), "nothing is asked without a yes");

    // The control plane's part: it serves the request that it finds, and says so.
    let state = world.folder.path().join("state").join(CLUSTER);
    let control_plane = std::thread::spawn(move || {
        let request = loop {
            match fs::read_to_string(state.join("control-plane/restore.json")) {
                Ok(text) => break serde_json::from_str::<serde_json::Value>(&text).unwrap(),
                Err(_) => std::thread::yield_now(),
            }
        };
        let id = request["id"].as_str().unwrap().to_owned();
        let folder = state.join("control-plane/restores").join(&id);
        fs::create_dir_all(&folder).unwrap();
        let done = format!(
            r#"{{"id":"{id}","member":"a","instance":"i-0123456789abcdef0","state":"done","step":"ready","at":"t"}}"#
        );
        fs::write(folder.join("a.json"), done).unwrap();
        (id, request["backup"].as_str().unwrap().to_owned())
    });
    let run = world.kcl(&["restore", "--backup", "latest", "--yes"]).expect(0);
    let (id, asked) = control_plane.join().unwrap();
    assert_eq!(asked, newer.0);
    shown += &format!("$ kcl restore --backup latest --yes\n{}", run.all().replace(&id, "[id]"));
    assert_snapshot!(shown);
}

#[test]
fn what_stopped_a_machine_is_said_while_it_is_waited_for() {
    let world = World::new(KCL).with_bootstrap();
    let path = world.spec(&kcl_testkit::example("minimal.yaml"));
    // A machine's part: it says why it stops, as soon as there is a cluster.
    let state = world.folder.path().join("state").join(CLUSTER);
    let machine = std::thread::spawn(move || {
        while !state.join("pki/issued/keysets.yaml").exists() {
            std::thread::yield_now();
        }
        let now = time::OffsetDateTime::now_utc() + time::Duration::minutes(10);
        let at = now.format(&time::format_description::well_known::Rfc3339).unwrap();
        let status = format!(
            r#"{{"instance":"i-0123456789abcdef0","instanceGroup":"control-plane","version":"0.1.0","state":"failed",
                "step":"programs","error":"containerd has another sha256\nhint: is the mirror whole?","at":"{at}"}}"#
        );
        fs::create_dir_all(state.join("status")).unwrap();
        fs::write(state.join("status/i-0123456789abcdef0"), status).unwrap();
    });
    let mut command =
        world.command(&["create", "cluster", "-f", &path, "--yes", "--timeout", "12s", "--api-server"]);
    let output = command.arg("https://127.0.0.1:1").output().unwrap();
    machine.join().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = "i-0123456789abcdef0 (control-plane): stopped at programs: containerd has another sha256; is the mirror whole?";
    assert_eq!(said.matches(line).count(), 2, "while it waits, and in the end: {said}");
    assert!(said.contains("hint: `kcl get instances` shows how far each machine is"), "{said}");
}

#[test]
fn what_machines_cannot_be_given_is_refused_before_anything_is_made() {
    let world = World::with_bucket(KCL);
    let minimal = kcl_testkit::example("minimal.yaml");
    let refused = |spec: &str, name: &str, value: &str| {
        let path = world.spec(spec);
        let mut command = world.command(&["create", "cluster", "-f", &path, "--yes"]);
        let output = command.env(name, value).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        format!("exit code {}\n{said}\n", output.status.code().unwrap())
    };
    let arm = minimal.replace("  role: Node", "  role: Node\n  machineType: t4g.small");
    let no_program = world.folder.path().join("notes.txt");
    fs::write(&no_program, "not a program, and longer than the head of one").unwrap();
    let amd64 = world.folder.path().join("kcl-node-amd64");
    let mut shown = refused(&arm, "KCL_NODE_BINARY", amd64.to_str().unwrap());
    shown += &refused(&minimal, "KCL_NODE_BINARY", no_program.to_str().unwrap());
    shown += &refused(&minimal, "KCL_FILE_REPOSITORY", "http://127.0.0.1:1/mirror");
    shown += &refused(&minimal, "KCL_FILE_REPOSITORY", "https://me:secret@files.example.com");
    let folder = world.folder.path().display().to_string();
    assert_snapshot!(shown.replace(&folder, "[folder]"));
    // The lock was looked for in a bucket that is not there.
    let made = world.aws.mutating_calls().into_iter().map(|call| call.name());
    assert_eq!(made.filter(|name| !name.starts_with("s3")).collect::<Vec<_>>(), [""; 0]);
}
