//! What a spec says of the machines themselves: kernel parameters, memory, backups of etcd.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use kcl_spec::{Cluster, Source, load};

/// The smallest example with fields of the Cluster and of its groups put in.
fn read(cluster: &str, groups: &str) -> Result<Cluster, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let (first, rest) = text.split_once("kind: InstanceGroup").unwrap();
    let first = first.replacen("\nspec:\n", &format!("\nspec:\n{cluster}"), 1);
    let rest = rest.replace("\nspec:\n", &format!("\nspec:\n{groups}"));
    let loaded = load(&[Source::new("cluster.yaml", format!("{first}kind: InstanceGroup{rest}"))]);
    loaded.map(|loaded| loaded.cluster).map_err(|errors| errors.to_string())
}

#[test]
fn a_groups_kernel_parameters_win_over_the_clusters() {
    let cluster = read(
        "  sysctlParameters: [net.core.somaxconn=1024, 'vm.max_map_count = 262144']\n",
        "  sysctlParameters: [net.core.somaxconn=4096]\n",
    )
    .unwrap();
    for group in &cluster.instance_groups {
        let found: Vec<_> =
            group.sysctls.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("net.core.somaxconn", "4096"), ("vm.max_map_count", "262144")]);
    }
}

#[test]
fn a_kernel_parameter_is_one_line() {
    for wrong in ["net.core.somaxconn", "=1", "a=", r#""a=1\nb=2""#, "'a b=1'", "'a=$(reboot)é'"] {
        let error = read(&format!("  sysctlParameters: [{wrong}]\n"), "").unwrap_err();
        assert!(error.contains("is not a kernel parameter"), "{error}");
        assert_eq!(error.matches("is not a kernel parameter").count(), 1, "{error}");
    }
}

#[test]
fn memory_follows_from_the_machine_type() {
    let memory = |machine: &str| {
        let cluster = read("", &format!("  machineType: {machine}\n")).unwrap();
        cluster.instance_groups[0].memory_mib
    };
    assert_eq!(memory("t3.small"), Some(2048));
    assert_eq!(memory("u-6tb1.metal"), None, "what is not known is not guessed");
}

#[test]
fn backups_are_kept_for_90_days_or_as_long_as_the_spec_says() {
    let days = |manager: &str| {
        let member = "etcdMembers: [{name: a, instanceGroup: control-plane}]";
        let cluster = read(&format!("  etcdClusters: [{{name: main, {member}{manager}}}]\n"), "");
        cluster.map(|cluster| cluster.etcd_clusters[0].backup_retention_days)
    };
    assert_eq!(days(""), Ok(90));
    assert_eq!(days(", manager: {backupRetentionDays: 7}"), Ok(7));
    assert!(days(", manager: {backupRetentionDays: 0}").unwrap_err().contains("from 1 to 3650"));
}

#[test]
fn a_file_repository_is_a_web_server() {
    for wrong in ["x", "ftp://files.example.com", "https://", "'https://files.example.com/$(id)'"] {
        let error = read(&format!("  assets: {{fileRepository: {wrong}}}\n"), "").unwrap_err();
        assert!(error.contains("`fileRepository` is not the address of a web server"), "{error}");
    }
    assert!(read("  assets: {fileRepository: 'http://127.0.0.1:8000'}\n", "").is_ok());
}
