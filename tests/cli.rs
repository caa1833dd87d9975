//! The command line as people meet it: help, version, completion, schema, and what `get` and `replace` say.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use insta::assert_snapshot;
use kcl_testkit::{Redactor, Run, World, example, examples, run_without_cloud};
use serde::Deserialize as _;
use serde_json::Value;

const KCL: &str = env!("CARGO_BIN_EXE_kcl");

fn kcl(args: &[&str]) -> Run {
    run_without_cloud(KCL, args)
}

/// A world with the minimal cluster in it.
fn created() -> World {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    world
}

/// A run as it is compared: what is another one at each run has placeholders.
fn redacted(world: &World, run: &Run) -> String {
    redact(world, run, Redactor::new())
}

/// The same, with columns where they are.
fn redacted_table(world: &World, run: &Run) -> String {
    redact(world, run, Redactor::new().fixed_width())
}

fn redact(world: &World, run: &Run, redactor: Redactor) -> String {
    let folder = world.folder.path().display().to_string();
    redactor.with(folder, "[folder]").with(world.aws.account(), "[account]").redact(&run.all())
}

#[track_caller]
fn assert_fits_80_columns(text: &str) {
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}");
}

#[test]
fn help() {
    let commands: [&[&str]; 10] = [
        &[],
        &["create"],
        &["create", "cluster"],
        &["update"],
        &["delete"],
        &["replace"],
        &["get"],
        &["policy"],
        &["schema"],
        &["completion"],
    ];
    let mut text = String::new();
    for command in commands {
        let run = kcl(&[command, &["--help"]].concat()).expect(0);
        assert_eq!(run.stderr, "");
        assert_fits_80_columns(&run.stdout);
        text.push_str(&format!("$ kcl {}\n{}\n", [command, &["--help"]].concat().join(" "), run.stdout));
    }
    assert_snapshot!(text);
}

#[test]
fn short_and_long_help_are_the_same() {
    for command in ["create", "update", "delete", "replace", "get", "policy"] {
        assert_eq!(kcl(&[command, "-h"]).expect(0).stdout, kcl(&[command, "--help"]).expect(0).stdout);
    }
}

#[test]
fn usage_errors() {
    let lines: [&[&str]; 13] = [
        &[],
        &["frobnicate"],
        &["update", "--frobnicate"],
        &["create", "cluster"],
        &["create", "instancegroup", "-f", "x.yaml"],
        &["get"],
        &["get", "nodes"],
        &["get", "clusters", "-o", "xml"],
        &["update", "cluster", "a.example.com", "b.example.com"],
        &["update", "a.example.com", "b.example.com"],
        &["completion", "tcsh"],
        &["create", "cluster", "-f", "-", "-f", "-"],
        &["--color", "sometimes", "version"],
    ];
    let mut text = String::new();
    for line in lines {
        let run = kcl(line).expect(2);
        assert_eq!(run.stdout, "");
        assert_fits_80_columns(&run.stderr);
        text.push_str(&format!("$ kcl {}\n{}\n", line.join(" "), run.stderr));
    }
    assert_snapshot!(text);
}

#[test]
fn wrong_usage_is_not_taken_for_pending_changes() {
    kcl(&["update", "--detailed-exitcode", "--frobnicate"]).expect(1);
    kcl(&["update", "--detailed-exitcode"]).expect(1);
    kcl(&["update"]).expect(2);
}

#[test]
fn version() {
    let expected = format!("kcl {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(kcl(&["version"]).expect(0).stdout, expected);
    assert_eq!(kcl(&["--version"]).expect(0).stdout, expected);
}

#[test]
fn completion() {
    for shell in ["bash", "zsh", "fish"] {
        let run = kcl(&["completion", shell]).expect(0);
        assert_eq!(run.stderr, "");
        for word in ["create", "update", "delete", "replace", "get", "schema", "detailed-exitcode"] {
            assert!(run.stdout.contains(word), "{shell} lacks {word}");
        }
    }
}

#[test]
fn every_example_fits_the_printed_schema() {
    let run = kcl(&["schema"]).expect(0);
    assert_eq!(run.stderr, "");
    let schema: Value = serde_json::from_str(&run.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let document = Value::deserialize(document).unwrap();
            let problems: Vec<String> =
                validator.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
        }
    }
    let wrong = serde_json::json!({"apiVersion": "kops.k8s.io/v1alpha2", "kind": "Clutser"});
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn get_as_tables() {
    let world = created();
    world.aws.take_calls();
    let mut text = String::new();
    for what in ["clusters", "instancegroups", "instances", "resources"] {
        let run = world.kcl(&["get", what]).expect(0);
        assert_eq!(run.stderr, "");
        text.push_str(&format!("$ kcl get {what}\n{}\n", redacted_table(&world, &run)));
    }
    assert!(world.aws.mutating_calls().is_empty());
    // Machines' addresses are drawn at random; their columns are as wide as the widest.
    let addresses =
        [(r"(on-demand   )\S+ +\S+", "$1[ip] [ip]"), ("PRIVATE IP +PUBLIC IP", "PRIVATE IP PUBLIC IP")];
    insta::with_settings!({filters => addresses.to_vec()}, { assert_snapshot!(text); });
}

#[test]
fn get_as_documents() {
    let world = created();
    let mut text = String::new();
    for what in ["clusters", "instancegroups"] {
        let yaml = world.kcl(&["get", what, "-o", "yaml"]).expect(0);
        text.push_str(&format!("$ kcl get {what} -o yaml\n{}\n", yaml.stdout));
        let json = world.kcl(&["get", what, "-o", "json"]).expect(0);
        assert_eq!(documents(&yaml.stdout), serde_json::from_str::<Vec<Value>>(&json.stdout).unwrap());
    }
    assert_snapshot!(text);
    let nodes = world.kcl(&["get", "ig", "nodes", "-o", "json"]).expect(0);
    assert_eq!(documents(&nodes.stdout)[0][0]["metadata"]["name"], "nodes");
    for what in ["instances", "resources"] {
        let yaml = documents(&world.kcl(&["get", what, "-o", "yaml"]).expect(0).stdout);
        let json = world.kcl(&["get", what, "-o", "json"]).expect(0);
        let json: Vec<Value> = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(yaml, json);
        assert!(!json.is_empty(), "{what}");
    }
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml).map(|document| Value::deserialize(document).unwrap()).collect()
}

#[test]
fn get_what_is_not_there() {
    let world = created();
    let lines: [&[&str]; 6] = [
        &["get", "clusters", "other.example.com"],
        &["get", "instancegroups", "nodes", "workers"],
        &["get", "instancegroups", "--name", "other.example.com"],
        &["get", "instances", "i-00000000000000000"],
        &["get", "resources", "nothing"],
        &["get", "instances", "--name", "other.example.com"],
    ];
    let mut text = String::new();
    for line in lines {
        let run = world.kcl(line);
        text.push_str(&format!("$ kcl {}\n{}\n", line.join(" "), redacted(&world, &run)));
    }
    assert_snapshot!(text);
}

#[test]
fn no_state_store() {
    let mut text = String::new();
    let lines: [&[&str]; 6] = [
        &["get", "clusters"],
        &["get", "instances"],
        &["get", "resources", "--name", "a.example.com"],
        &["update"],
        &["update", "a.example.com"],
        &["delete", "cluster"],
    ];
    for line in lines {
        let run = kcl(line);
        assert_eq!(run.stdout, "");
        text.push_str(&format!("$ kcl {}\n{}\n", line.join(" "), run.all()));
    }
    assert_snapshot!(text);
}

#[test]
fn an_empty_store() {
    let world = World::with_bucket(KCL);
    let mut text = String::new();
    let lines: [&[&str]; 5] =
        [&["get", "clusters"], &["get", "instances"], &["update"], &["update", "a.example.com"], &["delete"]];
    for line in lines {
        let run = world.kcl(line);
        text.push_str(&format!("$ kcl {}\n{}\n", line.join(" "), redacted(&world, &run)));
    }
    assert!(world.aws.mutating_calls().is_empty());
    assert_snapshot!(text);
}

#[test]
fn several_clusters_in_the_store() {
    let world = created();
    let second = example("minimal.yaml").replace("minimal.example.com", "second.example.com");
    let path = world.spec(&second);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let mut text = String::new();
    for line in [&["get", "clusters"][..], &["get", "ig"], &["get", "resources"], &["update"], &["delete"]] {
        let run = world.kcl(line);
        text.push_str(&format!("$ kcl {}\n{}\n", line.join(" "), redacted(&world, &run)));
    }
    assert_snapshot!(text);
    world.kcl(&["update", "second.example.com", "--detailed-exitcode"]).expect(0);
    world.kcl(&["update", "cluster", "minimal.example.com", "--detailed-exitcode"]).expect(0);
    let only = world.kcl(&["get", "clusters", "second.example.com"]).expect(0).stdout;
    assert!(only.contains("second.example.com") && !only.contains("minimal.example.com"), "{only}");
}

#[test]
fn a_registered_spec_that_is_not_sound() {
    let world = World::new(KCL);
    let cluster = world.folder.path().join("state/old.example.com");
    std::fs::create_dir_all(&cluster).unwrap();
    std::fs::write(cluster.join("config"), "kind: Cluster\n").unwrap();
    let mut text = String::new();
    let lines: [&[&str]; 5] = [
        &["get", "clusters"],
        &["get", "ig"],
        &["update"],
        &["delete", "old.example.com"],
        &["delete", "old.example.com", "--region", "eu-north-1"],
    ];
    for line in lines {
        let run = world.kcl(line);
        text.push_str(&format!("$ kcl {}\n{}\n", line.join(" "), redacted(&world, &run)));
    }
    assert!(world.aws.mutating_calls().is_empty());
    assert_snapshot!(text);
}

#[test]
fn replace() {
    let world = World::with_bucket(KCL);
    let spec = example("minimal.yaml");
    let path = world.spec(&spec);
    let mut text = String::new();
    let mut see = |title: &str, run: Run| {
        text.push_str(&format!("# {title}\n{}\n", redacted(&world, &run)));
    };
    see("not registered", world.kcl(&["replace", "-f", &path]).expect(1));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    see("the same", world.kcl(&["replace", "-f", &path]).expect(0));
    world.spec(&spec.replace("role: Node", "role: Node\n  minSize: 3\n  maxSize: 3"));
    world.aws.take_calls();
    see("changed", world.kcl(&["replace", "-f", &path]).expect(0));
    let calls = world.aws.mutating_calls();
    let written = calls.iter().filter(|call| call.is("s3", "PutObject")).map(|call| call.bucket_and_key().1);
    let written: std::collections::BTreeSet<&str> =
        written.filter_map(|key| key.rsplit('/').next()).collect();
    let objects = ["cluster-completed.spec", "config", "control-plane", "lock", "nodes"];
    assert_eq!(written.into_iter().collect::<Vec<_>>(), objects);
    assert!(calls.iter().all(|call| call.service == "s3"));
    see("what it changes", world.kcl(&["update"]).expect(0));
    assert_snapshot!(text);
    world.kcl(&["update", "--detailed-exitcode"]).expect(2);
}

#[test]
fn the_name_may_be_given_as_kops_takes_it() {
    let world = created();
    let in_step =
        world.kcl(&["update", "cluster", "--name", "minimal.example.com", "--skip-bootstrap"]).expect(0);
    assert!(in_step.stderr.contains("minimal.example.com is in step"), "{}", in_step.stderr);
    for command in ["delete", "unlock"] {
        let both = kcl(&[command, "a.example.com", "--name", "b.example.com"]).expect(2);
        assert!(both.stderr.contains("`b.example.com` is one argument too many"), "{}", both.stderr);
    }
    // A word that some commands have before the name is nobody's name.
    let unlock = world.kcl(&["unlock", "cluster", "--force"]).expect(2);
    assert!(unlock.stderr.contains("`cluster` is no cluster's name"), "{}", unlock.stderr);
}

/// A disk that is full, and a reader that has seen enough.
#[test]
fn what_cannot_be_written_is_an_error_unless_nobody_wants_it() {
    let run = |to: std::process::Stdio| {
        let mut command = std::process::Command::new(KCL);
        command.arg("schema").stdout(to).stderr(std::process::Stdio::piped()).output().unwrap()
    };
    let full = run(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: the output could not be written: No space left on device"), "{said}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = run(writer.into());
    assert!(unread.status.success(), "{}", String::from_utf8_lossy(&unread.stderr));
}

#[test]
fn each_call_is_logged_and_nothing_of_the_sdks_own() {
    let world = created();
    let log = world.kcl(&["get", "resources", "-vv"]).expect(0).stderr;
    for call in ["GetCallerIdentity", "DescribeVpcs", "GetObject"] {
        assert!(log.lines().any(|line| line.contains(call) && line.contains("200")), "{call}: {log}");
    }
    assert!(!log.contains("phase"), "{log}");
    assert!(!world.kcl(&["get", "resources", "-v"]).expect(0).stderr.contains("DescribeVpcs"));
}
