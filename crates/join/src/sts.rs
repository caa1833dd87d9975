//! STS says who signed a proof.

use kcl_http::xml::{child, child_text, error_code};
use kcl_http::{Body, Endpoint, Http, chain, host, is_throttling, request};

use crate::aws::{TIMEOUT, aws_failed};
use crate::proof::{Checked, HASH_HEADER};
use crate::refusal::Refusal;

/// The largest answer that is read: a real one has half a kilobyte.
const MAX_ANSWER: usize = 16 * 1024;

const NAME: &str = "STS";

/// The regional STS.
pub(crate) struct Sts {
    http: Http,
    endpoint: Endpoint,
    host: String,
}

/// The host of the region's STS.
pub fn sts_host(region: &str) -> String {
    host("sts", region)
}

/// Who somebody is to AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) account: String,
    pub(crate) arn: String,
    pub(crate) user_id: String,
}

impl Sts {
    pub(crate) fn new(http: Http, endpoint: Endpoint, region: &str) -> Self {
        Self { http, endpoint, host: sts_host(region) }
    }

    /// Sends the one request that there is, with the values of a proof.
    pub(crate) async fn identity(&self, proof: &Checked) -> Result<Identity, Refusal> {
        let url = format!("{}/?{}", self.endpoint.base(), proof.query);
        // The host that was signed, wherever the connection goes.
        let headers = [("host", self.host.as_str()), (HASH_HEADER, &proof.hash)];
        let request = request("GET", &url, &headers, Body::empty())
            .map_err(|_| aws_failed(NAME, "the request cannot be built"))?;
        let reply = self.http.send_bounded(request, MAX_ANSWER, TIMEOUT).await;
        let reply = reply.map_err(|error| aws_failed(NAME, chain(&error)))?;
        let text = String::from_utf8_lossy(&reply.body);
        if reply.status.is_success() {
            return Identity::parse(&text).ok_or_else(|| aws_failed(NAME, "its answer names nobody"));
        }
        match error_code(&text) {
            Some(code) if reply.status.is_client_error() && !is_throttling(&code) => {
                Err(Refusal::Unproven { code })
            }
            code => Err(aws_failed(NAME, format!("{} {}", reply.status, code.unwrap_or_default()))),
        }
    }
}

impl Identity {
    fn parse(xml: &str) -> Option<Self> {
        let document = roxmltree::Document::parse(xml).ok()?;
        let root = document.root_element();
        let result = child(root, "GetCallerIdentityResult")?;
        let text = |name| child_text(result, name).map(str::to_owned);
        Some(Self { account: text("Account")?, arn: text("Arn")?, user_id: text("UserId")? })
    }

    /// Whether this is the machine of one of the roles; else what speaks against it.
    pub(crate) fn fault(&self, account: &str, roles: &[String], instance_id: &str) -> Option<&'static str> {
        // arn:<partition>:sts::<account>:assumed-role/<role>/<session>
        let parts: Vec<&str> = self.arn.splitn(6, ':').collect();
        let ["arn", _, "sts", "", arn_account, resource] = parts[..] else {
            return Some("it is no role's session");
        };
        let Some(["assumed-role", role, session]) = three(resource) else {
            return Some("it is no role's session");
        };
        if self.account != account || arn_account != account {
            Some("it is of another account")
        } else if !roles.iter().any(|known| known == role) {
            Some("its role is not one of the cluster's nodes")
        } else if session != instance_id || self.user_id.split_once(':').map(|(_, s)| s) != Some(instance_id)
        {
            Some("its session is not the instance that it asks for")
        } else {
            None
        }
    }
}

/// The three parts between slashes, if there are three.
fn three(text: &str) -> Option<[&str; 3]> {
    let mut parts = text.split('/');
    let found = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "i-0123456789abcdef0";

    fn identity(arn: &str) -> Identity {
        let session = arn.rsplit('/').next().unwrap();
        Identity {
            account: "123456789012".to_owned(),
            arn: arn.to_owned(),
            user_id: format!("AROAEXAMPLE:{session}"),
        }
    }

    #[test]
    fn only_a_nodes_own_session_is_right() {
        let roles = ["nodes.k8s.example.com".to_owned(), "gpu".to_owned()];
        let fault = |arn: &str| identity(arn).fault("123456789012", &roles, ID);
        let role = "arn:aws:sts::123456789012:assumed-role";
        assert_eq!(fault(&format!("{role}/nodes.k8s.example.com/{ID}")), None);
        assert_eq!(fault(&format!("{role}/gpu/{ID}")), None);
        assert_eq!(fault(&format!("arn:aws-cn:sts::123456789012:assumed-role/gpu/{ID}")), None);
        for wrong in [
            format!("{role}/masters.k8s.example.com/{ID}"),
            format!("{role}/gpu/i-0123456789abcdef1"),
            format!("{role}/gpu/alice"),
            format!("{role}/path/gpu/{ID}"),
            format!("{role}/gpu"),
            format!("arn:aws:sts::210987654321:assumed-role/gpu/{ID}"),
            format!("arn:aws:sts::123456789012:federated-user/gpu/{ID}"),
            format!("arn:aws:iam::123456789012:assumed-role/gpu/{ID}"),
            "arn:aws:iam::123456789012:user/alice".to_owned(),
            "arn:aws:iam::123456789012:root".to_owned(),
            String::new(),
        ] {
            assert!(fault(&wrong).is_some(), "{wrong}");
        }
        let other = Identity { user_id: "AROAEXAMPLE:x".to_owned(), ..identity(&format!("{role}/gpu/{ID}")) };
        assert!(other.fault("123456789012", &roles, ID).is_some());
    }

    #[test]
    fn answers_that_name_nobody_are_none() {
        let answer = |result: &str| {
            Identity::parse(&format!(
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{result}\
                 </GetCallerIdentityResponse>"
            ))
        };
        let whole = "<GetCallerIdentityResult><Arn>a</Arn><UserId>u</UserId><Account>1</Account>\
                     </GetCallerIdentityResult>";
        assert_eq!(answer(whole).unwrap().arn, "a");
        assert!(answer("").is_none());
        assert!(answer("<GetCallerIdentityResult><Arn>a</Arn></GetCallerIdentityResult>").is_none());
        assert!(Identity::parse("<html>").is_none());
        let entities = format!(
            "<!DOCTYPE x [<!ENTITY a \"b\">]><GetCallerIdentityResponse>{whole}</GetCallerIdentityResponse>"
        );
        assert!(Identity::parse(&entities).is_none());
    }
}
