//! Previews: the golden plan of every example, and what a preview must never do.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use insta::assert_snapshot;
use kcl_testkit::{Redactor, Run, World, example};
use serde_json::Value;

const KCL: &str = env!("CARGO_BIN_EXE_kcl");

/// A world, and an example in it as `cluster.yaml`.
fn world_with(name: &str) -> (World, String) {
    let world = World::with_bucket(KCL);
    let spec = if name == "shared-vpc.yaml" { in_a_vpc_of_others(&world) } else { example(name) };
    let path = world.spec(&spec);
    (world, path)
}

/// The example in a shared VPC, with that VPC: ids come from whoever made it.
fn in_a_vpc_of_others(world: &World) -> String {
    let ec2 = |action: &str, params: &[(&str, &str)], id: &str| {
        world.aws.direct("ec2", action, params).unwrap().value(id).to_owned()
    };
    let vpc = ec2("CreateVpc", &[("CidrBlock", "10.100.0.0/16")], "vpc/vpcId");
    let subnet = |cidr: &str, zone: &str| {
        ec2(
            "CreateSubnet",
            &[("VpcId", &vpc), ("CidrBlock", cidr), ("AvailabilityZone", zone)],
            "subnet/subnetId",
        )
    };
    let (a, b) = (subnet("10.100.0.0/20", "eu-north-1a"), subnet("10.100.16.0/20", "eu-north-1b"));
    let spec = example("shared-vpc.yaml");
    let spec = spec.replace("subnet-0a1b2c3d4e5f60001", &a).replace("subnet-0a1b2c3d4e5f60002", &b);
    spec.replace("vpc-0a1b2c3d4e5f60718", &vpc)
}

fn redacted(world: &World, text: &str) -> String {
    let folder = world.folder.path().display().to_string();
    let text = Redactor::new().with(folder, "[folder]").with(world.aws.account(), "[account]").redact(text);
    without_hashes(&text)
}

/// What machines are told names the cluster's own authority, so its hash is another one in each run.
fn without_hashes(text: &str) -> String {
    let ends_word = |c: char| !c.is_ascii_hexdigit();
    let words = text.split_inclusive(ends_word).map(|piece| {
        let word = piece.trim_end_matches(ends_word);
        if word.len() == 64 { piece.replace(word, "[sha256]") } else { piece.to_owned() }
    });
    words.collect::<Vec<_>>().concat()
}

/// No line is wider than 80 columns, but where a single word is.
#[track_caller]
fn assert_fits_80_columns(text: &str) {
    let is_wide = |line: &&str| line.chars().count() > 80 && line.split_whitespace().count() > 3;
    let wide: Vec<&str> = text.lines().filter(is_wide).collect();
    assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}");
}

#[track_caller]
fn assert_nothing_was_changed(world: &World) {
    let calls: Vec<String> = world.aws.mutating_calls().iter().map(kcl_testkit::Call::name).collect();
    assert_eq!(calls, [""; 0]);
    assert_eq!(world.aws.unsupported(), [""; 0]);
}

/// `kcl` in the world's folder, so that messages name `cluster.yaml` wherever that folder is.
fn kcl(world: &World, args: &[&str]) -> Run {
    let output = world.command(args).current_dir(world.folder.path()).output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The preview of a new cluster, in all forms.
fn golden(name: &str) -> String {
    let (world, _) = world_with(name);
    let run = kcl(&world, &["create", "cluster", "-f", "cluster.yaml"]).expect(0);
    assert_fits_80_columns(&run.stdout);
    assert_fits_80_columns(&run.stderr);
    let full = kcl(&world, &["create", "cluster", "-f", "cluster.yaml", "--full"]).expect(0).stdout;
    assert!(full.len() > run.stdout.len());
    assert_holds_no_secret(&full);
    let colored = kcl(&world, &["create", "cluster", "-f", "cluster.yaml", "--color", "always"]).expect(0);
    assert!(colored.stdout.contains('\u{1b}'));
    assert_eq!(without_colour(&colored.stdout), run.stdout);
    assert_eq!(without_colour(&colored.stderr), run.stderr);
    let json = kcl(&world, &["create", "cluster", "-f", "cluster.yaml", "-o", "json"]).expect(0).stdout;
    assert_holds_no_secret(&json);
    check_json(&serde_json::from_str(&json).unwrap());
    assert_nothing_was_changed(&world);
    redacted(&world, &run.all())
}

/// What the JSON form of a new cluster's plan promises.
fn check_json(plan: &Value) {
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.len() > 20);
    for (index, step) in steps.iter().enumerate() {
        assert_eq!(step["action"], "create");
        assert!(step["id"]["kind"].is_string() && step["id"]["name"].is_string());
        assert_eq!(step["because"][0]["reason"], "missing");
        for after in step["after"].as_array().unwrap() {
            let after = usize::try_from(after.as_u64().unwrap()).unwrap();
            assert!(after < steps.len() && after != index);
        }
    }
}

fn assert_holds_no_secret(text: &str) {
    for secret in ["PRIVATE KEY", "AKIDLOCALAWSTEST", "local-aws-secret", "AWS_SECRET", "password"] {
        assert!(!text.contains(secret), "holds {secret}");
    }
}

/// The text without escape sequences.
fn without_colour(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(char);
        }
    }
    plain
}

#[test]
fn minimal() {
    assert_snapshot!(golden("minimal.yaml"));
}

#[test]
fn karlaru() {
    assert_snapshot!(golden("karlaru.yaml"));
}

#[test]
fn private_ha() {
    assert_snapshot!(golden("private-ha.yaml"));
}

#[test]
fn shared_vpc() {
    assert_snapshot!(golden("shared-vpc.yaml"));
}

#[test]
fn in_full() {
    let (world, _) = world_with("minimal.yaml");
    let run = kcl(&world, &["create", "cluster", "-f", "cluster.yaml", "--full"]).expect(0);
    assert_snapshot!(redacted(&world, &run.stdout));
}

#[test]
fn exit_codes_and_words_from_create_to_delete() {
    let (world, _) = world_with("minimal.yaml");
    let create = ["create", "cluster", "-f", "cluster.yaml"];
    let preview = kcl(&world, &create).expect(0);
    assert!(preview.stderr.contains("--yes"), "{}", preview.stderr);
    kcl(&world, &[&create[..], &["--detailed-exitcode"]].concat()).expect(2);
    assert_nothing_was_changed(&world);

    kcl(&world, &[&create[..], &["--yes", "--detailed-exitcode"]].concat()).expect(0);
    world.aws.take_calls();
    // Without a file: the registered spec.
    let same = kcl(&world, &["update", "--detailed-exitcode"]).expect(0);
    assert_eq!(same.stdout, "");
    assert!(same.stderr.contains("minimal.example.com is in step with its spec"), "{}", same.stderr);
    kcl(&world, &["update", "minimal.example.com", "--detailed-exitcode"]).expect(0);
    kcl(&world, &["update", "cluster", "minimal.example.com", "-f", "cluster.yaml"]).expect(0);
    kcl(&world, &["update", "other.example.com", "--detailed-exitcode"]).expect(1);
    kcl(&world, &["update", "other.example.com", "-f", "cluster.yaml"]).expect(2);
    kcl(&world, &["delete", "--detailed-exitcode"]).expect(2);
    assert_nothing_was_changed(&world);

    kcl(&world, &["delete", "--yes", "--detailed-exitcode"]).expect(0);
    world.aws.take_calls();
    let gone =
        kcl(&world, &["delete", "minimal.example.com", "--region", "eu-north-1", "--detailed-exitcode"])
            .expect(0);
    assert!(gone.stderr.contains("nothing of minimal.example.com is left"), "{}", gone.stderr);
    assert!(gone.stderr.contains("not registered"), "{}", gone.stderr);
    assert_nothing_was_changed(&world);
}

#[test]
fn changes() {
    let (world, _) = world_with("minimal.yaml");
    kcl(&world, &["create", "cluster", "-f", "cluster.yaml", "--yes"]).expect(0);
    let spec = example("minimal.yaml")
        .replace("203.0.113.0/24", "198.51.100.0/24")
        .replace("role: Node\n", "role: Node\n  machineType: t3.large\n  minSize: 2\n  maxSize: 5\n")
        .replace("  networking:\n", "  additionalPolicies:\n    node: |\n      [{\"Effect\": \"Allow\", \"Action\": \"s3:GetObject\", \"Resource\": \"*\"}]\n  networking:\n");
    world.spec(&spec);
    world.aws.take_calls();
    let run = kcl(&world, &["update", "-f", "cluster.yaml"]).expect(0);
    assert_fits_80_columns(&run.stdout);
    assert_snapshot!("changes", redacted(&world, &run.all()));
    let pruned = kcl(&world, &["update", "-f", "cluster.yaml", "--prune"]).expect(0);
    assert_snapshot!("changes_with_prune", redacted(&world, &pruned.stdout));
    let colored = kcl(&world, &["update", "-f", "cluster.yaml", "--color", "always"]).expect(0);
    assert_eq!(without_colour(&colored.stdout), run.stdout);
    assert_nothing_was_changed(&world);
}

#[test]
fn deletion() {
    let (world, _) = world_with("minimal.yaml");
    kcl(&world, &["create", "cluster", "-f", "cluster.yaml", "--yes"]).expect(0);
    world.aws.take_calls();
    let run = kcl(&world, &["delete", "cluster", "minimal.example.com"]).expect(0);
    assert_fits_80_columns(&run.stdout);
    assert_snapshot!(redacted(&world, &run.all()));
    let json = kcl(&world, &["delete", "-f", "cluster.yaml", "-o", "json"]).expect(0).stdout;
    let plan: Value = serde_json::from_str(&json).unwrap();
    assert!(plan["steps"].as_array().unwrap().iter().all(|step| step["action"] == "delete"));
    kcl(&world, &["delete", "--purge-state"]).expect(0);
    assert_nothing_was_changed(&world);
}

#[test]
fn a_protected_cluster_is_not_deleted() {
    let world = World::with_bucket(KCL);
    let spec = example("minimal.yaml");
    let protected =
        spec.replacen("metadata:\n", "metadata:\n  annotations:\n    kcl.dev/protect: \"true\"\n", 1);
    world.spec(&protected);
    kcl(&world, &["create", "cluster", "-f", "cluster.yaml", "--yes"]).expect(0);
    world.aws.take_calls();
    let refused = kcl(&world, &["delete", "--yes"]).expect(1);
    assert_snapshot!(redacted(&world, &refused.all()));
    kcl(&world, &["delete", "-f", "cluster.yaml", "--yes"]).expect(1);
    // What is registered counts, whatever the file says.
    world.spec(&spec);
    kcl(&world, &["delete", "-f", "cluster.yaml", "--yes"]).expect(1);
    assert_nothing_was_changed(&world);
    kcl(&world, &["replace", "-f", "cluster.yaml"]).expect(0);
    kcl(&world, &["delete", "-f", "cluster.yaml"]).expect(0);
}

#[test]
fn a_spec_from_standard_input_and_from_several_files() {
    let world = World::with_bucket(KCL);
    let spec = example("minimal.yaml");
    world.spec(&spec);
    let from_file = kcl(&world, &["create", "cluster", "-f", "cluster.yaml"]).expect(0);
    let from_stdin = world.kcl_reads(&["create", "cluster", "-f", "-"], &spec).expect(0);
    assert_eq!(from_stdin.stdout, from_file.stdout);
    let mistaken = world.kcl_reads(&["create", "cluster", "-f", "-"], &spec.replace("flannel:", "flanel:"));
    assert!(mistaken.stderr.contains("--> <stdin>:13:5"), "{}", mistaken.stderr);

    let (cluster, groups) = spec.split_once("---\n").unwrap();
    std::fs::write(world.folder.path().join("cluster.yaml"), cluster).unwrap();
    std::fs::write(world.folder.path().join("groups.yaml"), groups).unwrap();
    let two = ["create", "cluster", "-f", "cluster.yaml", "-f", "groups.yaml"];
    assert_eq!(kcl(&world, &two).expect(0).stdout, from_file.stdout);
    assert_nothing_was_changed(&world);
    kcl(&world, &[&two[..], &["--yes"]].concat()).expect(0);
    kcl(&world, &["update", "--detailed-exitcode"]).expect(0);
}
