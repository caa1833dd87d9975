//! The service against the local AWS' EC2: its answers are not this crate's own idea of them.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

mod support;

use kcl_join::{JoinRequest, Limits, ServiceConfig};
use kcl_testkit::LocalAws;
use support::*;

/// A machine of the local AWS, with these tags: its id.
fn machine(local: &LocalAws, tags: Vec<(String, String)>) -> String {
    let images = local.direct("ec2", "DescribeImages", &[]).unwrap();
    let image = images.value("imagesSet/item/imageId");
    let mut params = [
        ("ImageId", image),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("InstanceType", "t3.micro"),
        ("TagSpecification.1.ResourceType", "instance"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (number, (key, value)) in tags.into_iter().enumerate() {
        let tag = format!("TagSpecification.1.Tag.{}", number + 1);
        params.extend([(format!("{tag}.Key"), key), (format!("{tag}.Value"), value)]);
    }
    let params: Vec<(&str, &str)> =
        params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let made = local.direct("ec2", "RunInstances", &params).unwrap();
    made.value("instancesSet/item/instanceId").to_owned()
}

#[tokio::test]
async fn machines_are_known_by_what_ec2_says_of_them() {
    let local = tokio::task::spawn_blocking(|| LocalAws::shared().unwrap()).await.unwrap();
    assert_eq!(local.region(), REGION);
    let (first, second) = (machine(&local, tags(CLUSTER)), machine(&local, tags(CLUSTER)));
    let foreign = machine(&local, tags("other.example.com"));
    let (aws, memory) = (Aws::start().await, Memory::default());
    let config = ServiceConfig { ec2_endpoint: Some(local.endpoint()), ..service_config(&aws) };
    let service = listen_with(config, &Keys::fresh(), memory.clone(), Limits::default()).await;

    let ask = |id: &str| {
        let person = Person::session(ACCOUNT, ROLE, id);
        aws.know(&person);
        let request = JoinRequest { instance_id: id.to_owned(), ..request('a') };
        signed(&person, &request)
    };
    let (status, answer) = service.ask(&ask(&first)).await;
    assert_eq!(status, 200, "{answer}");

    let (status, answer) = service.ask(&ask(&foreign)).await;
    assert_eq!(status, 403);
    assert!(answer["reason"].as_str().unwrap().contains("KubernetesCluster"), "{answer}");
    let (status, answer) = service.ask(&ask("i-0123456789abcdef0")).await;
    assert_eq!((status, answer["reason"].as_str()), (503, Some("EC2 does not know the instance (yet)")));
    local.direct("ec2", "StopInstances", &[("InstanceId.1", &second)]).unwrap();
    let (status, answer) = service.ask(&ask(&second)).await;
    assert_eq!((status, answer["reason"].as_str()), (403, Some("the instance is \"stopped\"")));

    assert_eq!(memory.secrets().len(), 1);
    let calls = local.calls();
    assert_eq!(calls.len(), 4);
    assert!(
        calls.iter().all(|call| call.service == "ec2" && call.action == "DescribeInstances"),
        "{calls:?}"
    );
    assert!(local.unsupported().is_empty());
}
