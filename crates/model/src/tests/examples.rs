//! Whole graphs as text: each file of `examples/` gives the cluster that its snapshot shows.

use std::path::Path;

use kcl_spec::cluster::{Architecture, Cluster, SubnetOrigin};
use kcl_spec::{Source, load};

use super::text::of_model;
use crate::{Facts, HostedZone, ImageFacts, StoreLocation, SubnetFacts, VpcFacts, build, needed};

/// Facts for any example: made up where AWS would be asked.
fn facts(cluster: &Cluster) -> Facts {
    let needs = needed(cluster);
    let images = cluster.instance_groups.iter().map(|group| {
        let architecture = match group.architecture {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        };
        let facts = ImageFacts {
            id: "ami-0123456789abcdef0".to_owned(),
            root_device: "/dev/xvda".to_owned(),
            architecture: architecture.to_owned(),
        };
        (group.image.clone(), facts)
    });
    let vpc = needs.vpc.map(|id| VpcFacts {
        id,
        cidrs: vec![cluster.network.cidr],
        internet_gateway: Some("igw-0123456789abcdef0".to_owned()),
    });
    let subnets = cluster.network.subnets.iter().filter_map(|subnet| {
        let SubnetOrigin::Shared { id, cidr } = &subnet.origin else { return None };
        let vpc = vpc.as_ref()?.id.clone();
        Some((id.clone(), SubnetFacts { vpc, zone: subnet.zone.clone(), cidr: (*cidr)? }))
    });
    let zone = |id: &str, name: &str| HostedZone { id: id.to_owned(), name: name.to_owned(), private: false };
    Facts {
        partition: "aws".to_owned(),
        account: "123456789012".to_owned(),
        images: images.collect(),
        zones: vec![zone("Z0EXAMPLE", "example.com."), zone("Z0KARLARU", "karlaru.com.")],
        subnets: subnets.collect(),
        vpc,
        store: Some(StoreLocation { bucket: "state".to_owned(), prefix: String::new() }),
        node_agents: needs.node_agents.iter().map(|kind| ((*kind).to_owned(), "a".repeat(64))).collect(),
        asset_hashes: needs.assets.iter().map(|url| (url.clone(), "b".repeat(64))).collect(),
        ..Facts::default()
    }
}

fn snapshot(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let loaded = load(&[Source::new(file, text)]).unwrap();
    of_model(&build(&loaded.cluster, &facts(&loaded.cluster)).unwrap())
}

/// A new example must get a snapshot.
#[test]
fn every_example_is_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let specs = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut names: Vec<String> =
        specs.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["karlaru.yaml", "minimal.yaml", "private-ha.yaml", "shared-vpc.yaml"]);
}

#[test]
fn karlaru() {
    insta::assert_snapshot!(snapshot("karlaru.yaml"));
}

#[test]
fn minimal() {
    insta::assert_snapshot!(snapshot("minimal.yaml"));
}

#[test]
fn private_ha() {
    insta::assert_snapshot!(snapshot("private-ha.yaml"));
}

#[test]
fn shared_vpc() {
    insta::assert_snapshot!(snapshot("shared-vpc.yaml"));
}
