//! AWS calls over plain HTTP, as few lines as that takes.

#![expect(unreachable_pub, reason = "each test binary has its own copy of this module")]
#![expect(dead_code, reason = "not every test binary uses all of it")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use kcl_testkit::{Element, LocalAws};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The XML of a success.
    #[track_caller]
    pub fn ok(self) -> Element {
        assert!(self.status < 300, "{self:?}");
        Element::parse(&self.body)
    }

    /// The code of an error.
    #[track_caller]
    pub fn code(&self) -> String {
        assert!(self.status >= 400, "not an error: {self:?}");
        let after = self.body.split("<Code>").nth(1).unwrap_or_else(|| panic!("no code: {self:?}"));
        after.split("</Code>").next().unwrap_or_default().to_owned()
    }
}

/// Where to call, as whom.
pub struct Client {
    pub endpoint: String,
    pub account: String,
}

impl Client {
    pub fn new(endpoint: String) -> Self {
        Self { endpoint, account: String::new() }
    }

    /// A call of the query protocol: `"ec2 CreateVpc CidrBlock=10.0.0.0/16"`.
    pub fn call(&self, line: &str) -> Answer {
        let mut words = line.split_whitespace();
        let (service, action) = (words.next().unwrap(), words.next().unwrap());
        let params: Vec<(&str, &str)> = words.map(|word| word.split_once('=').expect(word)).collect();
        self.query(service, action, &params)
    }

    pub fn query(&self, service: &str, action: &str, params: &[(&str, &str)]) -> Answer {
        let version = match service {
            "elasticloadbalancing" => "2015-12-01",
            "autoscaling" => "2011-01-01",
            "iam" => "2010-05-08",
            _ => "2016-11-15",
        };
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let body = [("Action", action), ("Version", version)]
            .iter()
            .chain(params)
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        let form = "Content-Type: application/x-www-form-urlencoded";
        self.http("POST", "/", Some(service), &[form], &body)
    }

    /// Any request; signed for a service, or unsigned.
    pub fn http(
        &self,
        method: &str,
        path: &str,
        service: Option<&str>,
        headers: &[&str],
        body: &str,
    ) -> Answer {
        self.try_http(method, path, service, headers, body).expect("an answer")
    }

    /// Likewise; nothing when the connection is closed without an answer.
    pub fn try_http(
        &self,
        method: &str,
        path: &str,
        service: Option<&str>,
        headers: &[&str],
        body: &str,
    ) -> Option<Answer> {
        let address = self.endpoint.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let mut head = vec![
            format!("{method} {path} HTTP/1.1"),
            format!("Host: {address}"),
            "Connection: close".to_owned(),
            format!("Content-Length: {}", body.len()),
        ];
        head.extend(service.map(|service| {
            let scope = format!("20260101/eu-north-1/{service}/aws4_request");
            format!(
                "Authorization: AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders=host, Signature=0"
            )
        }));
        if !self.account.is_empty() {
            head.push(format!("x-moto-account-id: {}", self.account));
        }
        head.extend(headers.iter().map(|header| (*header).to_owned()));
        let head = head.join("\r\n") + "\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        let content_type = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map_or_else(String::new, |(_, value)| value.to_owned());
        Some(Answer { status, content_type, head: head.to_owned(), body: body.to_owned() })
    }

    /// A call that must succeed, and one value of its answer.
    #[track_caller]
    pub fn id(&self, line: &str, path: &str) -> String {
        let value = self.call(line).ok().value(path).to_owned();
        assert!(!value.is_empty(), "{line}: nothing at {path}");
        value
    }

    #[track_caller]
    pub fn vpc(&self) -> String {
        self.id("ec2 CreateVpc CidrBlock=10.0.0.0/16", "vpc/vpcId")
    }

    #[track_caller]
    pub fn subnet(&self, vpc: &str, number: u32) -> String {
        let zone = ["a", "b", "c"][number as usize % 3];
        self.id(
            &format!(
                "ec2 CreateSubnet VpcId={vpc} CidrBlock=10.0.{number}.0/24 AvailabilityZone=eu-north-1{zone}"
            ),
            "subnet/subnetId",
        )
    }

    #[track_caller]
    pub fn group(&self, vpc: &str, name: &str) -> String {
        self.id(
            &format!("ec2 CreateSecurityGroup VpcId={vpc} GroupName={name} GroupDescription=d"),
            "groupId",
        )
    }

    /// Template and group of one machine; gives the template's id.
    #[track_caller]
    pub fn machines(&self, subnet: &str, security_group: &str, name: &str) -> String {
        let template = self.id(
            &format!(
                "ec2 CreateLaunchTemplate LaunchTemplateName={name} LaunchTemplateData.ImageId=ami-0a1b2c3d4e5f60001 \
                 LaunchTemplateData.InstanceType=t3.small LaunchTemplateData.NetworkInterface.1.DeviceIndex=0 \
                 LaunchTemplateData.NetworkInterface.1.SecurityGroupId.1={security_group}"
            ),
            "launchTemplate/launchTemplateId",
        );
        self.call(&format!(
            "autoscaling CreateAutoScalingGroup AutoScalingGroupName={name} MinSize=1 MaxSize=1 \
             VPCZoneIdentifier={subnet} LaunchTemplate.LaunchTemplateId={template} LaunchTemplate.Version=1"
        ))
        .ok();
        template
    }

    /// A target group, and an Auto Scaling group of one machine that is registered with it; gives their subnet, the
    /// target group's ARN, and the machine's id.
    #[track_caller]
    pub fn targets(&self, name: &str) -> (String, String, String) {
        let vpc = self.vpc();
        let (subnet, security_group) = (self.subnet(&vpc, 0), self.group(&vpc, name));
        let group = self.id(
            &format!("elasticloadbalancing CreateTargetGroup Name={name} Protocol=TCP Port=80 VpcId={vpc}"),
            "CreateTargetGroupResult/TargetGroups/member/TargetGroupArn",
        );
        self.machines(&subnet, &security_group, name);
        self.call(&format!(
            "autoscaling AttachLoadBalancerTargetGroups AutoScalingGroupName={name} TargetGroupARNs.member.1={group}"
        ))
        .ok();
        let machine = self.id(
            &format!("autoscaling DescribeAutoScalingGroups AutoScalingGroupNames.member.1={name}"),
            "DescribeAutoScalingGroupsResult/AutoScalingGroups/member/Instances/member/InstanceId",
        );
        (subnet, group, machine)
    }

    /// A network load balancer; gives its ARN.
    #[track_caller]
    pub fn balancer(&self, name: &str, subnet: &str, security_group: &str, scheme: &str) -> String {
        self.id(
            &format!(
                "elasticloadbalancing CreateLoadBalancer Name={name} Type=network Scheme={scheme} \
                 Subnets.member.1={subnet} SecurityGroups.member.1={security_group}"
            ),
            "CreateLoadBalancerResult/LoadBalancers/member/LoadBalancerArn",
        )
    }

    /// Makes a bucket; gives its path.
    #[track_caller]
    pub fn bucket(&self, name: &str) -> String {
        let body = "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint>\
                    </CreateBucketConfiguration>";
        let path = format!("/{name}");
        self.http("PUT", &path, Some("s3"), &[], body).ok();
        path
    }

    /// Makes a hosted zone; gives its id, `/hostedzone/...`.
    #[track_caller]
    pub fn zone(&self, name: &str) -> String {
        let body = format!(
            "<CreateHostedZoneRequest><Name>{name}</Name><CallerReference>x</CallerReference></CreateHostedZoneRequest>"
        );
        let made = self.http("POST", "/2013-04-01/hostedzone", Some("route53"), &[], &body).ok();
        made.value("HostedZone/Id").to_owned()
    }

    pub fn change_record(&self, zone: &str, action: &str, name: &str) -> Answer {
        let body = format!(
            "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch>\
             <Changes><Change><Action>{action}</Action><ResourceRecordSet><Name>{name}</Name><Type>A</Type><TTL>60</TTL>\
             <ResourceRecords><ResourceRecord><Value>1.2.3.4</Value></ResourceRecord></ResourceRecords>\
             </ResourceRecordSet></Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
        );
        self.http("POST", &format!("/2013-04-01{zone}/rrset"), Some("route53"), &[], &body)
    }
}

/// A client of the front.
pub fn through(aws: &LocalAws) -> Client {
    Client::new(aws.endpoint())
}
