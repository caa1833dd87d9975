//! What client and service say to each other, and the shapes that are let through.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::proof::Proof;

/// The port of the join service, behind the API's load balancer.
pub const PORT: u16 = 3988;

/// The path that machines ask at.
pub const PATH: &str = "/v1/join";

/// The path that load balancers ask at whether somebody is there.
pub const HEALTH_PATH: &str = "/healthz";

/// The largest body of a request, in bytes. A role's session token has one to two kilobytes; STS reserves the
/// right to make them larger.
pub const MAX_BODY: usize = 16 * 1024;

/// The longest DNS name, in bytes.
const MAX_DNS_NAME: usize = 253;

/// A secret in hexadecimal digits has so many of them: 32 bytes.
pub(crate) const CLAIM_DIGITS: usize = 64;

/// So many digits has what only has to differ: 16 bytes.
pub(crate) const NONCE_DIGITS: usize = 32;

/// What a machine asks for. Its text, as it is sent, is what the proof signs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The cluster's name.
    pub cluster: String,
    /// The machine's instance id, which is also its name as a node.
    pub instance_id: String,
    /// What the machine proves with that it is the one that asked before: 64 hexadecimal digits.
    pub claim: String,
    /// Other ones in each request, so that no two proofs are equal: 32 hexadecimal digits.
    pub nonce: String,
}

impl JoinRequest {
    /// What is wrong with its shape.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if !is_dns_name(&self.cluster) {
            Some("`cluster` is not a cluster's name")
        } else if !is_instance_id(&self.instance_id) {
            Some("`instance_id` is not an instance id")
        } else if !is_hex(&self.claim, CLAIM_DIGITS) {
            Some("`claim` is not 64 hexadecimal digits")
        } else if !is_hex(&self.nonce, NONCE_DIGITS) {
            Some("`nonce` is not 32 hexadecimal digits")
        } else {
            None
        }
    }
}

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest")
            .field("cluster", &self.cluster)
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}

/// A request and its proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The text of a [`JoinRequest`], exactly as it was signed.
    pub request: String,
    /// Who asks.
    pub proof: Proof,
}

/// The answer to a machine that may join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The bootstrap token.
    pub token: Token,
    /// When it expires (RFC 3339).
    pub expires: String,
    /// Host and port of the API server, as kubeadm wants them.
    pub api_endpoint: String,
}

/// The answer to any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why, for the person at the machine.
    pub reason: String,
    /// Whether asking again later may help.
    pub retry: bool,
}

/// A bootstrap token, `<id>.<secret>`. It prints nothing of itself, and is overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Token(Zeroizing<String>);

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Token {
    /// The token itself: for kubeadm, and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it has a bootstrap token's form.
    pub(crate) fn is_token(&self) -> bool {
        let part = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        self.0.split_once('.').is_some_and(|(id, secret)| part(id, 6) && part(secret, 16))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

/// `i-` and 8 or 17 hexadecimal digits: so it can also be a node's name, and stand in a path as it is.
pub(crate) fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|digits| is_hex(digits, 8) || is_hex(digits, 17))
}

/// So many hexadecimal digits, in lower case.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A DNS name in lower case, which a cluster's name is.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= MAX_DNS_NAME && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_narrow() {
        for id in ["i-0123456789abcdef0", "i-01234567"] {
            assert!(is_instance_id(id), "{id}");
        }
        for id in ["", "i-", "i-0123456789ABCDEF0", "i-0123456789abcdef01", "mi-01234567", "i-0123456\n"] {
            assert!(!is_instance_id(id), "{id}");
        }
        assert!(is_dns_name("k8s.example.com"));
        for name in ["", ".", "a..b", "a/b", "A", "-a", "a-", "a\n", "..", "a%2f"] {
            assert!(!is_dns_name(name), "{name}");
        }
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let request = JoinRequest {
            cluster: "c".to_owned(),
            instance_id: "i-01234567".to_owned(),
            claim: "5ec4e7".to_owned(),
            nonce: "nonce".to_owned(),
        };
        let grant = Grant {
            token: Token::from("abcdef.0123456789abcdef".to_owned()),
            expires: String::new(),
            api_endpoint: String::new(),
        };
        assert!(grant.token.is_token());
        let shown = format!("{request:?} {grant:?}");
        assert!(!shown.contains("5ec4e7") && !shown.contains("0123456789abcdef"), "{shown}");
    }
}
