//! The API's names in a local Route53, as three machines of a control plane keep them.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::net::IpAddr;

use common::client;
use common::etcd::folder_store;
use kcl_http::{AwsService, Signer};
use kcl_node::agent::dns::Names;
use kcl_node::agent::members::{self, Here, MembersError, Presence};
use kcl_node::store::{Condition, Store};
use kcl_node_config::{ControlPlane, Dns, DnsAddress, DnsName, Etcd, MemberRecord};
use kcl_testkit::{Element, LocalAws};

const PRIVATE: &str = "api.internal.k8s.example.com";
const PUBLIC: &str = "api.k8s.example.com";

struct World {
    aws: LocalAws,
    zone: String,
    route53: AwsService,
    store: Store,
    _folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let aws = LocalAws::shared().unwrap();
        let zone = kcl_testkit::make_zone(&aws, "example.com").unwrap();
        let credentials = aws_credential_types::Credentials::new("AKIDTEST", "secret", None, None, "test");
        let (signer, endpoint) = (Signer::new(credentials), aws.endpoint());
        let route53 = AwsService::global(client(), signer, "route53", "eu-north-1", Some(&endpoint)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = folder_store(folder.path());
        Self { aws, zone, route53, store, _folder: folder }
    }

    fn told(&self, member: &str) -> ControlPlane {
        let name = |name: &str, address| DnsName { name: name.to_owned(), address };
        let names = vec![name(PRIVATE, DnsAddress::Private), name(PUBLIC, DnsAddress::Public)];
        ControlPlane {
            node_roles: Vec::new(),
            etcd: Etcd {
                member: member.to_owned(),
                members: ["a", "b", "c"].map(str::to_owned).to_vec(),
                backup_retention_days: 90,
            },
            dns: vec![Dns { zone: self.zone.clone(), names }],
        }
    }

    async fn publish(&self, member: &str, here: &Here, presence: Presence) -> Result<Names, MembersError> {
        members::publish(&self.store, &self.route53, &self.told(member), here, presence, None).await
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        let path = format!("/2013-04-01/hostedzone/{}/rrset", self.zone);
        let answer =
            kcl_testkit::http(&self.aws.direct_endpoint(), "GET", &path, Some("route53"), &[], "").unwrap();
        let answer = Element::parse(&answer.body);
        let sets = answer.all("ResourceRecordSets/ResourceRecordSet");
        let set = sets.into_iter().find(|set| set.value("Name").trim_end_matches('.') == name);
        let records = set.map(|set| set.all("ResourceRecords/ResourceRecord")).unwrap_or_default();
        records.into_iter().map(|record| record.value("Value").to_owned()).collect()
    }

    fn changes(&self) -> usize {
        self.aws.count("route53", "ChangeResourceRecordSets")
    }
}

fn here(instance: &str, address: &str, public: Option<&str>) -> Here {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    Here { instance: instance.to_owned(), address: ip(address), public_address: public.map(ip) }
}

#[tokio::test]
async fn names_follow_the_machines_that_are_alive() {
    let world = tokio::task::spawn_blocking(World::start).await.unwrap();
    let [a, b] = [here("i-a", "10.0.0.1", Some("198.51.100.1")), here("i-b", "10.0.0.2", None)];

    // The first, as bootstrap does it before there is a cluster; then another, which waits until it has the API.
    let first = async |member: &str, here: &Here| {
        members::publish_first(&world.store, &world.route53, &world.told(member), here).await.unwrap();
        world.addresses(PRIVATE)
    };
    assert_eq!(first("a", &a).await, ["10.0.0.1"]);
    assert_eq!(world.store.get(&MemberRecord::path("a")).await.unwrap(), None, "that is bootstrap's to say");
    world.publish("a", &a, Presence::Stays).await.unwrap();
    assert_eq!(first("b", &b).await, ["10.0.0.1"]);
    let both = world.publish("b", &b, Presence::Stays).await.unwrap();
    assert_eq!(world.addresses(PRIVATE), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(world.addresses(PUBLIC), ["10.0.0.2", "198.51.100.1"]);

    // Nothing is asked for that is so already.
    let before = world.changes();
    let told = world.told("b");
    let again = members::publish(&world.store, &world.route53, &told, &b, Presence::Stays, Some(&both)).await;
    assert_eq!((again.unwrap(), world.changes()), (both, before));

    // One goes; the other one's names stay what they are.
    world.publish("b", &b, Presence::Goes).await.unwrap();
    assert_eq!(world.addresses(PRIVATE), ["10.0.0.1"]);

    // A member's place is taken over by another machine once the old one's record is old.
    let successor = here("i-b2", "10.0.0.9", None);
    let error = world.publish("b", &successor, Presence::Stays).await.unwrap_err();
    assert!(matches!(&error, MembersError::Replaced { instance, .. } if instance == "i-b"), "{error}");
    let path = MemberRecord::path("b");
    let object = world.store.get(&path).await.unwrap().unwrap();
    let mut old = MemberRecord::read("b", &object.bytes).unwrap();
    "2026-01-01T00:00:00Z".clone_into(&mut old.at);
    world.store.put(&path, old.to_json().unwrap().as_bytes(), Condition::Always).await.unwrap();
    world.publish("a", &a, Presence::Stays).await.unwrap();
    assert_eq!(world.addresses(PRIVATE), ["10.0.0.1"], "the dead one's address is gone");
    world.publish("b", &successor, Presence::Stays).await.unwrap();
    assert_eq!(world.addresses(PRIVATE), ["10.0.0.1", "10.0.0.9"]);
    let error = world.publish("b", &b, Presence::Stays).await.unwrap_err();
    assert!(matches!(error, MembersError::Replaced { .. }), "{error}");

    // The last one's address is not taken away.
    let before = world.changes();
    world.store.put(&MemberRecord::path("b"), b"{}", Condition::Always).await.unwrap();
    world.publish("a", &a, Presence::Goes).await.unwrap_err();
    assert_eq!(world.changes(), before, "what cannot be read changes no name");
    assert!(world.aws.unsupported().is_empty());
}
