//! Values that AWS refuses and moto takes.
//!
//! One is stricter than AWS on purpose: EC2 quietly clears the host bits of a CIDR, and who compares what
//! was asked for with what is there then sees a difference for ever. Here it is an error.

use std::net::IpAddr;

use base64::Engine as _;
use futures::future::{BoxFuture, FutureExt as _};

use super::{Decision, Rule, Verdict, decided, refusal};
use crate::call::Call;
use crate::upstream::Ask;

/// Before encoding: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html>.
const USER_DATA_LIMIT: usize = 16 * 1024;

pub(super) struct Validation;

impl Rule for Validation {
    fn before<'a>(&'a self, call: &'a Call, _ask: &'a Ask) -> BoxFuture<'a, Decision> {
        futures::future::ready(decided(check(call))).boxed()
    }
}

fn check(call: &Call) -> Verdict {
    match (call.service.as_str(), call.action.as_str()) {
        ("ec2", "CreateVpc" | "AssociateVpcCidrBlock") => cidr(call, "CidrBlock", "InvalidVpc.Range"),
        ("ec2", "CreateSubnet") => cidr(call, "CidrBlock", "InvalidSubnet.Range"),
        ("ec2", "CreateRoute" | "ReplaceRoute") => {
            cidr(call, "DestinationCidrBlock", "InvalidParameterValue")
        }
        ("ec2", action) if action.starts_with("AuthorizeSecurityGroup") => rules(call),
        ("ec2", "CreateSecurityGroup") => group_name(call),
        ("ec2", "CreateLaunchTemplate" | "CreateLaunchTemplateVersion") => {
            user_data(call, "LaunchTemplateData.UserData")
        }
        ("ec2", "RunInstances") => user_data(call, "UserData"),
        ("elasticloadbalancing", "CreateLoadBalancer" | "CreateTargetGroup") => name_of_32(call),
        ("iam", "CreateRole") => {
            at_most(call, "RoleName", 64)?;
            document(call, "AssumeRolePolicyDocument")
        }
        ("iam", "CreateInstanceProfile") => at_most(call, "InstanceProfileName", 128),
        ("iam", "UpdateAssumeRolePolicy" | "PutRolePolicy" | "CreatePolicy" | "CreatePolicyVersion") => {
            document(call, "PolicyDocument")
        }
        _ => Ok(()),
    }
}

/// A CIDR without host bits.
fn cidr(call: &Call, name: &str, code: &str) -> Verdict {
    let text = call.param(name);
    if text.is_empty() || is_network(text) {
        return Ok(());
    }
    Err(refusal(call, code, &format!("The CIDR '{text}' is invalid (host bits set, or no CIDR at all)")))
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    match address {
        IpAddr::V4(address) => {
            length <= 32 && address.to_bits() & u32::MAX.checked_shr(length).unwrap_or(0) == 0
        }
        IpAddr::V6(address) => {
            length <= 128 && address.to_bits() & u128::MAX.checked_shr(length).unwrap_or(0) == 0
        }
    }
}

/// Ports and CIDRs of security group rules.
fn rules(call: &Call) -> Verdict {
    for (name, value) in &call.params {
        let last = name.rsplit('.').next().unwrap_or_default();
        let bad = match last {
            "FromPort" | "ToPort" => !value.parse::<i64>().is_ok_and(|port| (-1..=65535).contains(&port)),
            "CidrIp" | "CidrIpv6" => !is_network(value),
            _ => false,
        };
        if bad {
            return Err(refusal(
                call,
                "InvalidParameterValue",
                &format!("Invalid value '{value}' for {name}"),
            ));
        }
    }
    Ok(())
}

fn group_name(call: &Call) -> Verdict {
    let name = call.param("GroupName");
    if name.starts_with("sg-") || name.len() > 255 {
        let message = format!("Value ({name}) for parameter GroupName is invalid");
        return Err(refusal(call, "InvalidParameterValue", &message));
    }
    Ok(())
}

fn user_data(call: &Call, name: &str) -> Verdict {
    let text = call.param(name);
    match base64::engine::general_purpose::STANDARD.decode(text) {
        Err(_) => Err(refusal(call, "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")),
        Ok(data) if data.len() > USER_DATA_LIMIT => {
            let message = format!("User data is limited to {USER_DATA_LIMIT} bytes, not {}", data.len());
            Err(refusal(call, "InvalidParameterValue", &message))
        }
        Ok(_) => Ok(()),
    }
}

/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html>.
fn name_of_32(call: &Call) -> Verdict {
    let name = call.param("Name");
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if name.len() <= 32
        && plain
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.starts_with("internal-")
    {
        return Ok(());
    }
    Err(refusal(
        call,
        "ValidationError",
        &format!("The name '{name}' is not valid: at most 32 letters, digits, dashes"),
    ))
}

fn at_most(call: &Call, name: &str, limit: usize) -> Verdict {
    let value = call.param(name);
    if value.len() <= limit {
        return Ok(());
    }
    let message = format!("1 validation error detected: Value '{value}' at '{name}' is longer than {limit}");
    Err(refusal(call, "ValidationError", &message))
}

fn document(call: &Call, name: &str) -> Verdict {
    let text = call.param(name);
    let is_policy =
        serde_json::from_str::<serde_json::Value>(text).is_ok_and(|json| json.get("Statement").is_some());
    if is_policy {
        return Ok(());
    }
    Err(refusal(call, "MalformedPolicyDocument", "This policy contains invalid Json"))
}

#[cfg(test)]
mod tests {
    use super::is_network;

    #[test]
    fn host_bits() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32", "::/0", "2001:db8::/56", "::1/128"] {
            assert!(is_network(good), "{good}");
        }
        for bad in ["10.0.0.1/8", "1.2.3.4", "1.2.3.4/33", "2001:db8::1/56", "x/8", "1.0.0.0/0", ""] {
            assert!(!is_network(bad), "{bad}");
        }
    }
}
