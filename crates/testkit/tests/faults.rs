//! Each fault, as a client meets it; and copies of an account.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::time::{Duration, Instant};

use common::{Client, through};
use kcl_testkit::{Fault, LocalAws, Moment, Point, When};

fn aws() -> LocalAws {
    LocalAws::shared().unwrap()
}

fn point(service: &str, action: &str, nth: usize) -> Point {
    Point { service: service.to_owned(), action: action.to_owned(), nth }
}

/// What comes of a call: its status; nothing where the connection ends.
fn status(client: &Client, action: &str) -> Option<u16> {
    let form = "Content-Type: application/x-www-form-urlencoded";
    let body = format!("Action={action}&Version=2016-11-15&CidrBlock=10.0.0.0%2F16");
    client.try_http("POST", "/", Some("ec2"), &[form], &body).map(|answer| answer.status)
}

fn vpcs(client: &Client) -> usize {
    client.call("ec2 DescribeVpcs").ok().all("vpcSet/item").len()
}

#[test]
fn the_nth_call_of_an_action_is_struck_and_no_other() {
    let aws = aws();
    let client = through(&aws);
    let strikes = aws.inject(Fault::Throttled, When::At(point("ec2", "DescribeVpcs", 2)), 0);
    let seen: Vec<_> = (0..3).map(|_| status(&client, "DescribeVpcs")).collect();
    assert_eq!(seen, [Some(200), Some(503), Some(200)]);
    assert_eq!(strikes.count(), 1);
    assert!(strikes.first().is_some());
    aws.clear_rules();
    aws.inject(Fault::Denied, When::ActionFrom(point("ec2", "DescribeVpcs", 2)), 0);
    let seen: Vec<_> = (0..3).map(|_| status(&client, "DescribeVpcs")).collect();
    assert_eq!(seen, [Some(200), Some(403), Some(403)]);
    assert_eq!(status(&client, "DescribeSubnets"), Some(200));
    aws.clear_rules();
    aws.inject(Fault::CredentialsExpired, When::From(point("ec2", "DescribeVpcs", 1)), 0);
    assert_eq!(status(&client, "DescribeSubnets"), Some(200));
    assert_eq!(client.call("ec2 DescribeVpcs").code(), "RequestExpired");
    assert_eq!(client.call("iam ListRoles").code(), "ExpiredToken", "and all that come later");
}

#[test]
fn a_share_follows_from_the_seed() {
    let struck = |seed: u64| {
        let aws = aws();
        let client = through(&aws);
        aws.inject(Fault::ServerError(502), When::Share(20), seed);
        (0..50).map(|_| status(&client, "DescribeVpcs") == Some(502)).collect::<Vec<_>>()
    };
    let first = struck(1);
    assert_eq!(first, struck(1));
    assert_ne!(first, struck(2));
    let count = first.iter().filter(|is_struck| **is_struck).count();
    assert!((4..=18).contains(&count), "{count} of 50");
}

#[test]
fn answers_that_are_lost_and_calls_that_are_not_made() {
    let aws = aws();
    let client = through(&aws);
    let before = vpcs(&client);
    for (fault, made) in [(Fault::ConnectionReset, 0), (Fault::ResponseLost, 1), (Fault::ResponseCut, 1)] {
        let now = vpcs(&client);
        aws.inject(fault, When::At(point("ec2", "CreateVpc", 1)), 0);
        match fault {
            // Half of it is there, and the connection ends.
            Fault::ResponseCut => {
                let form = "Content-Type: application/x-www-form-urlencoded";
                let body = "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0%2F16";
                let answer = client.try_http("POST", "/", Some("ec2"), &[form], body);
                assert!(answer.is_none_or(|answer| !answer.body.contains("</CreateVpcResponse>")));
            }
            _ => assert_eq!(status(&client, "CreateVpc"), None),
        }
        aws.clear_rules();
        assert_eq!(vpcs(&client), now + made, "{fault}");
    }
    assert_eq!(vpcs(&client), before + 2);
}

#[test]
fn what_is_new_is_not_seen_or_not_usable_at_first() {
    let aws = aws();
    let client = through(&aws);
    aws.inject(Fault::NotSeenYet { reads: 3 }, When::Always, 4);
    let vpc = client.vpc();
    let shown = |client: &Client| {
        let all = client.call("ec2 DescribeVpcs").ok();
        all.values("vpcSet/item/vpcId").contains(&vpc.as_str())
    };
    let looks = (0..4).take_while(|_| !shown(&client)).count();
    assert!((1..=3).contains(&looks), "{looks}");
    let subnet = client.subnet(&vpc, 1);
    let by_id = format!("ec2 DescribeSubnets SubnetId.1={subnet}");
    assert_eq!(client.call(&by_id).code(), "InvalidSubnetID.NotFound");
    aws.clear_rules();

    aws.inject(Fault::NotUsableYet { uses: 1 }, When::Always, 4);
    let group = client.group(&vpc, "g");
    let open = format!(
        "ec2 AuthorizeSecurityGroupIngress GroupId={group} IpPermissions.1.IpProtocol=tcp IpPermissions.1.FromPort=1 \
         IpPermissions.1.ToPort=1 IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8"
    );
    assert_eq!(client.call(&open).code(), "InvalidGroup.NotFound");
    client.call(&open).ok();
}

#[test]
fn what_takes_a_while_on_aws() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 0);
    aws.inject(Fault::InUse { tries: 2 }, When::Always, 0);
    let delete = format!("ec2 DeleteSubnet SubnetId={subnet}");
    assert_eq!(client.call(&delete).code(), "DependencyViolation");
    assert_eq!(client.call(&delete).code(), "DependencyViolation");
    client.call(&delete).ok();
    aws.clear_rules();

    aws.inject(Fault::ClockSkew(Duration::from_mins(20)), When::Always, 0);
    let old = client.http("GET", "/", Some("s3"), &["X-Amz-Date: 20200101T000000Z"], "");
    assert_eq!(old.code(), "RequestTimeTooSkewed");
    aws.clear_rules();

    let late = Duration::from_millis(60);
    aws.inject(Fault::Latency { least: late, jitter: Duration::from_millis(20) }, When::Always, 0);
    let begun = Instant::now();
    vpcs(&client);
    assert!(begun.elapsed() >= late);
}

#[test]
fn a_market_without_machines() {
    let aws = aws();
    let client = through(&aws);
    client.targets("workers");
    aws.inject(Fault::NoSpotCapacity, When::Always, 0);
    let groups = client.call("autoscaling DescribeAutoScalingGroups").ok();
    let group = "DescribeAutoScalingGroupsResult/AutoScalingGroups/member";
    assert_eq!(groups.value(&format!("{group}/DesiredCapacity")), "1");
    assert!(groups.all(&format!("{group}/Instances/member")).is_empty());
    let why = client.call("autoscaling DescribeScalingActivities AutoScalingGroupName=workers").ok();
    let why = why.value("DescribeScalingActivitiesResult/Activities/member/StatusMessage").to_owned();
    assert!(why.contains("UnfulfillableCapacity"), "{why}");
}

#[test]
fn a_call_is_held_and_then_cut_or_let_go() {
    let aws = aws();
    let client = through(&aws);
    let now = vpcs(&client);
    for (moment, goes_on, made) in [
        (Moment::BeforeForwarding, false, 0),
        (Moment::ResponseLost, false, 1),
        (Moment::BeforeForwarding, true, 2),
    ] {
        let halt = aws.halt(point("ec2", "CreateVpc", 1), moment);
        let answer = std::thread::scope(|scope| {
            let call = scope.spawn(|| status(&client, "CreateVpc"));
            assert!(halt.is_reached(Duration::from_mins(1)));
            if goes_on {
                halt.let_go();
            } else {
                halt.cut();
            }
            call.join().unwrap()
        });
        assert_eq!(answer.is_some(), goes_on);
        aws.clear_rules();
        assert_eq!(vpcs(&client), now + made);
    }
}

/// Who is killed while AWS does what it asked for does not undo that.
#[test]
fn a_call_is_done_though_its_caller_is_gone() {
    use std::io::Write as _;

    let aws = aws();
    let client = through(&aws);
    let now = vpcs(&client);
    let halt = aws.halt(point("ec2", "CreateVpc", 1), Moment::BeforeForwarding);
    let host = aws.endpoint().trim_start_matches("http://").to_owned();
    let body = "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0%2F16";
    let mut caller = std::net::TcpStream::connect(&host).unwrap();
    write!(
        caller,
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: \
         AWS4-HMAC-SHA256 Credential=TEST/20260101/eu-north-1/ec2/aws4_request, SignedHeaders=host, Signature=0\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    assert!(halt.is_reached(Duration::from_mins(1)));
    drop(caller);
    // The front has seen that it is gone once it has done what came after.
    for _ in 0..20 {
        vpcs(&client);
    }
    halt.let_go();
    let until = Instant::now() + Duration::from_secs(20);
    while vpcs(&client) == now && Instant::now() < until {}
    assert_eq!(vpcs(&client), now + 1);
}

#[test]
fn a_copy_has_what_the_original_had_and_goes_its_own_way() {
    let original = LocalAws::start().unwrap();
    let vpc = through(&original).vpc();
    let copy = original.copy().unwrap();
    assert_eq!(copy.account(), original.account());
    let find = format!("ec2 DescribeVpcs VpcId.1={vpc}");
    through(&copy).call(&find).ok();
    through(&copy).call(&format!("ec2 DeleteVpc VpcId={vpc}")).ok();
    through(&original).call(&find).ok();
    let other = original.copy().unwrap();
    drop(copy);
    through(&other).call(&find).ok();
    assert!(other.copy().is_err(), "only an original is copied");
}
