//! The audit sees what is there, in its own account, and is not among the recorded calls.

use kcl_testkit::{LocalAws, audit};

#[test]
fn what_is_made_is_left_until_it_is_deleted() {
    let aws = LocalAws::shared().unwrap();
    let fresh = audit(&aws, aws.region()).unwrap();
    assert_eq!(fresh.leftovers(), Vec::<String>::new());
    assert_eq!(fresh.list("vpcs").len(), 1, "the default VPC is listed all the same");

    let tags = [
        ("TagSpecification.1.ResourceType", "vpc"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "a.example"),
        ("CidrBlock", "10.0.0.0/16"),
    ];
    let vpc = aws.direct("ec2", "CreateVpc", &tags).unwrap().value("vpc/vpcId").to_owned();
    let params = [("UserName", "somebody")];
    aws.direct("iam", "CreateUser", &params).unwrap();
    let audited = audit(&aws, aws.region()).unwrap();
    assert_eq!(audited.leftovers(), [format!("vpc {vpc} (a.example)"), "user somebody".to_owned()]);
    assert_eq!(audited.leftovers_of("a.example"), [format!("vpc {vpc} (a.example)")]);
    assert_eq!(audited.list("vpcs").iter().filter(|vpc| vpc["dnsSupport"] == true).count(), 2);

    let other = LocalAws::shared().unwrap();
    assert!(audit(&other, other.region()).unwrap().leftovers().is_empty(), "accounts are apart");
    aws.direct("ec2", "DeleteVpc", &[("VpcId", &vpc)]).unwrap();
    assert!(audit(&aws, aws.region()).unwrap().is_empty_of("a.example"));
    assert!(aws.calls().is_empty());
}
