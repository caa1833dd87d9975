//! Sound input, made by those who write it for real: what is damaged should get past a reader's first look.

#![expect(clippy::expect_used, reason = "samples are there, or there is nothing to damage")]

use std::time::SystemTime;

use aws_credential_types::Credentials;
use kcl_engine::{Attrs, LiveNode, Options, Owner, Plan, Wanted};
use kcl_join::{Envelope, JoinRequest, Proof};
use kcl_model::{Facts, StoreLocation};
use kcl_node_config::{AUTHORITIES, LOAD_BALANCER};
use kcl_pki::{Keyset, KeysetName, SystemEntropy};
use kcl_spec::Source;
use time::{Duration, OffsetDateTime};

use crate::{KARLARU, MINIMAL, PRIVATE_HA};

/// The clusters of the examples.
pub(crate) fn specs() -> Vec<String> {
    [KARLARU, MINIMAL, PRIVATE_HA].map(str::to_owned).to_vec()
}

fn wanted(spec: &str) -> Wanted {
    let loaded = kcl_spec::load(&[Source::new("cluster.yaml", spec)]).expect("examples are sound");
    let store = StoreLocation { bucket: "state".to_owned(), prefix: String::new() };
    let facts = Facts::assumed(&loaded.cluster, Some(store));
    kcl_model::build(&loaded.cluster, &facts).expect("examples can be built").wanted
}

/// Lists of keys: one with a certificate, one with public keys, of which one is distrusted.
pub(crate) fn keysets() -> Vec<String> {
    let now = OffsetDateTime::now_utc();
    let certificate = Keyset::generate(KeysetName::KubernetesCa, &mut SystemEntropy, now).expect("a keyset");
    let mut public = Keyset::generate(KeysetName::ServiceAccount, &mut SystemEntropy, now).expect("a keyset");
    let later = now + Duration::hours(1);
    let second = public.add(&mut SystemEntropy, later).expect("another key");
    let first = public.primary().id().clone();
    public.promote(&second, later).expect("it is as good");
    public.distrust(&first, later).expect("it is not the primary one any more");
    [certificate, public].map(|keyset| keyset.index_yaml()).to_vec()
}

/// Plans: everything is made; some of it changes, is made anew, goes, is left alone, or is refused.
pub(crate) fn plans() -> Vec<String> {
    let catalogue = kcl_model::resource::catalogue();
    let before = wanted(MINIMAL);
    let live = |owner: fn(usize) -> Owner| -> Vec<LiveNode> {
        let nodes = before.nodes().enumerate();
        let nodes = nodes.map(|(number, (id, node))| LiveNode {
            id: id.clone(),
            fields: node.fields.clone(),
            attrs: Attrs::from([("id".to_owned(), format!("{}-{number}", id.kind.as_str()))]),
            owner: owner(number),
        });
        nodes.collect()
    };
    let of = |wanted: &Wanted, live, options| -> Plan {
        kcl_engine::plan(&catalogue, wanted, live, options).expect("a plan can be made")
    };
    let mine = |_| Owner::Cluster;
    let some = |number| if number % 2 == 0 { Owner::Cluster } else { Owner::Controller };
    let changed = MINIMAL.replace("t3.micro", "t3.large").replace("10.0.0.0/16", "10.1.0.0/16");
    let prune = Options { prune: true, ..Options::default() };
    [
        of(&before, Vec::new(), Options::default()),
        of(&wanted(&changed), live(mine), Options::default()),
        of(&wanted(KARLARU), live(some), prune),
        of(&Wanted::default(), live(some), Options { teardown: true, ..prune }),
    ]
    .map(|plan| serde_json::to_string(&plan).expect("plans are data"))
    .to_vec()
}

/// What the machines of the examples are told.
pub(crate) fn node_configurations() -> Vec<String> {
    let authority = Keyset::generate(KeysetName::KubernetesCa, &mut SystemEntropy, OffsetDateTime::now_utc());
    let authority = authority.expect("a keyset").trust_bundle();
    let documents = specs().into_iter().flat_map(|spec| {
        let wanted = wanted(&spec);
        let documents = wanted.nodes().filter(|(id, _)| id.kind.as_str() == "node-configuration");
        let texts =
            documents.filter_map(|(_, node)| node.fields["document"]["$text"].as_str().map(str::to_owned));
        texts.collect::<Vec<_>>()
    });
    let filled = documents.map(|text| {
        let endpoint = text.contains(LOAD_BALANCER).then_some("api.elb.eu-north-1.amazonaws.com");
        assert!(text.contains(AUTHORITIES), "the authorities are not known before there are keys");
        let config = kcl_node_config::NodeConfig::from_template(&text, endpoint, &authority);
        config.expect("templates can be filled").to_yaml().expect("it can be written")
    });
    filled.collect()
}

/// What the metadata service says: documents, the name of a role, and a whole answer.
pub(crate) fn metadata() -> Vec<String> {
    let identity = r#"{"instanceId": "i-0123456789abcdef0", "accountId": "123456789012", "region": "eu-north-1",
        "availabilityZone": "eu-north-1a", "instanceType": "t3.small", "architecture": "x86_64",
        "privateIp": "172.20.32.7", "imageId": "ami-0123456789abcdef0", "pendingTime": "2026-11-27T00:00:00Z"}"#;
    let credentials = r#"{"Code": "Success", "LastUpdated": "2026-11-27T00:00:00Z", "Type": "AWS-HMAC",
        "AccessKeyId": "ASIA0123456789ABCDEF", "SecretAccessKey": "secret", "Token": "token",
        "Expiration": "2026-11-27T06:00:00Z"}"#;
    let spot = r#"{"action": "terminate", "time": "2026-11-27T08:22:00Z"}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length";
    let answer = format!("{head}: {}\r\n\r\n{credentials}", credentials.len());
    [identity, credentials, spot, &answer].map(str::to_owned).to_vec()
}

/// A request to join that is in time; longer than those of machines, as there are many to be made of it.
pub(crate) fn envelopes() -> Vec<String> {
    let request = JoinRequest {
        cluster: "k8s.example.com".to_owned(),
        instance_id: "i-0123456789abcdef0".to_owned(),
        claim: "0123456789abcdef".repeat(4),
        nonce: "0123456789abcdef".repeat(2),
    };
    let request = serde_json::to_string(&request).expect("requests are data");
    let token = Some("IQoJb3JpZ2luX2VjEXAMPLE".to_owned());
    let credentials = Credentials::new("ASIA0000000000000000", "secret", token, None, "fuzz");
    let proof = Proof::sign(&credentials, "eu-north-1", &request, SystemTime::now());
    let proof = Proof { expires: 300, ..proof.expect("it can be signed") };
    vec![serde_json::to_string(&Envelope { request, proof }).expect("envelopes are data")]
}
