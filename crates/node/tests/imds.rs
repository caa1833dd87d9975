//! The metadata service, and what comes of one that is not there, or not as it should be.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{client, patience};
use kcl_http::chain;
use kcl_node::imds::{Imds, ImdsError};
use kcl_testkit::imds::{Imds as Service, Instance, Mode};
use kcl_testkit::kubernetes::free_port;

fn service() -> Service {
    Service::start(Instance::new("i-0123456789abcdef0", "nodes.karlaru.com")).unwrap()
}

fn client_of(service: &Service) -> Imds {
    Imds::new(client(), &service.endpoint(), patience())
}

/// What is said, without the port.
fn said(error: &ImdsError, endpoint: &str) -> String {
    chain(error).replace(endpoint, "ENDPOINT").replace(endpoint.trim_start_matches("http://"), "HOST")
}

#[tokio::test]
async fn it_tells_who_the_machine_is() {
    let service = service();
    let identity = client_of(&service).identity().await.unwrap();
    assert_eq!(identity.instance_id, "i-0123456789abcdef0");
    assert_eq!(
        (identity.region.as_str(), identity.availability_zone.as_str()),
        ("eu-north-1", "eu-north-1a")
    );
    assert_eq!(identity.private_ip.to_string(), "172.20.32.7");
}

/// One token serves for everything, and is renewed when it is refused.
#[tokio::test]
async fn a_token_is_used_until_it_is_refused() {
    let service = service();
    let imds = client_of(&service);
    imds.identity().await.unwrap();
    imds.identity().await.unwrap();
    let tokens = || service.requests().iter().filter(|request| request.starts_with("PUT")).count();
    assert_eq!(tokens(), 1);
    service.expire_tokens();
    imds.identity().await.unwrap();
    assert_eq!(tokens(), 2);
}

#[tokio::test]
async fn the_roles_credentials_are_never_shown() {
    let service = service();
    let imds = client_of(&service);
    let credentials = imds.credentials().await.unwrap();
    assert_eq!(credentials.session_token(), Some("instance-role-session"));
    assert!(credentials.expiry().is_some());
    let shown = format!("{credentials:?} {imds:?}");
    assert!(!shown.contains("instance-role-secret") && !shown.contains("instance-role-session"), "{shown}");
    service.set_credentials_expiry("soon");
    let error = chain(&imds.credentials().await.unwrap_err());
    assert!(error.contains("its end is no time") && !error.contains("secret"), "{error}");
}

/// IAM tells everybody of a new role within seconds, and the machine may be there before.
#[tokio::test]
async fn a_role_that_cannot_be_assumed_yet_is_waited_for() {
    let service = service();
    let imds = client_of(&service);
    service.refuse_role(2);
    assert!(imds.credentials().await.is_ok());
    service.refuse_role(u32::MAX);
    let error = chain(&imds.credentials().await.unwrap_err());
    assert!(error.contains("cannot assume the role nodes.karlaru.com"), "{error}");
    assert!(error.contains("AssumeRoleUnauthorizedAccess") && error.contains("hint"), "{error}");
}

#[tokio::test]
async fn what_it_does_not_have_is_nothing() {
    let service = service();
    let imds = client_of(&service);
    assert_eq!(imds.tag("Name").await.unwrap(), None, "tags are not shown");
    assert_eq!(imds.user_data().await.unwrap(), None);
    assert_eq!(imds.spot_action().await.unwrap(), None);
    let mut instance = Instance::new("i-0123456789abcdef0", "nodes.karlaru.com");
    instance.tags = Some(BTreeMap::from([("kops.k8s.io/instancegroup".to_owned(), "nodes".to_owned())]));
    instance.user_data = Some("#!/bin/sh\n".to_owned());
    instance.role = None;
    service.set_instance(instance);
    service.interrupt("2026-01-01T00:02:00Z");
    assert_eq!(imds.tag("kops.k8s.io/instancegroup").await.unwrap().as_deref(), Some("nodes"));
    assert_eq!(imds.user_data().await.unwrap().as_deref(), Some("#!/bin/sh\n"));
    assert_eq!(imds.spot_action().await.unwrap().unwrap().action, "terminate");
    assert!(matches!(imds.credentials().await.unwrap_err(), ImdsError::Missing { .. }));
}

#[tokio::test]
async fn what_is_wrong_with_it_is_said() {
    let service = service();
    let imds = client_of(&service).with_timeout(Duration::from_millis(300));
    let mut text = String::new();
    for mode in [Mode::V1Only, Mode::Disabled, Mode::HopLimit] {
        service.set_mode(mode);
        let error = imds.identity().await.unwrap_err();
        text += &format!("{mode:?}: {}\n", said(&error, &service.endpoint()));
    }
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let error = Imds::new(client(), &nobody, patience()).identity().await.unwrap_err();
    text += &format!("absent: {}\n", said(&error, &nobody));
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

/// Version 1 would answer; it is not asked.
#[tokio::test]
async fn version_1_is_never_used() {
    let service = service();
    service.set_mode(Mode::V1Only);
    client_of(&service).identity().await.unwrap_err();
    assert_eq!(service.requests(), ["PUT /latest/api/token"]);
}

/// What the stand-in refuses, so that the tests above mean something.
#[test]
fn the_stand_in_is_as_strict_as_the_real_one() {
    let service = service();
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        kcl_testkit::http(&service.endpoint(), method, path, None, headers, "").unwrap()
    };
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds";
    assert_eq!(ask("GET", "/latest/user-data", &[]).status, 401);
    assert_eq!(ask("PUT", "/latest/api/token", &[]).status, 400);
    assert_eq!(ask("PUT", "/latest/api/token", &[(ttl, "21601")]).status, 400);
    assert_eq!(ask("PUT", "/latest/api/token", &[(ttl, "60"), ("X-Forwarded-For", "1.2.3.4")]).status, 403);
    let token = ask("PUT", "/latest/api/token", &[(ttl, "60")]).body;
    assert_eq!(ask("GET", "/latest/user-data", &[("X-aws-ec2-metadata-token", &token)]).status, 404);
}
