//! The proof of who asks: the varying values of one presigned STS request.
//!
//! A client signs it, the service checks each value and puts it into the request that it sends to STS. Nothing
//! else of what the client sends reaches STS.

use std::fmt;
use std::time::{Duration as StdDuration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use crate::protocol::is_hex;
use crate::refusal::Refusal;
use crate::sts::sts_host;

/// The header that binds a proof to a request: the SHA-256 of its text.
pub(crate) const HASH_HEADER: &str = "x-kcl-join";

/// How long a proof of ours is valid, in seconds: an answer comes within seconds, and clocks differ by some.
const EXPIRES: u32 = 60;

/// The longest validity that the service takes.
const MAX_EXPIRES: u32 = 300;

/// How far ahead of ours a machine's clock may be.
const CLOCK_AHEAD: Duration = Duration::minutes(1);

/// The longest session token that is passed on. AWS gives no bound; they have one to two kilobytes.
const MAX_SECURITY_TOKEN: usize = 8 * 1024;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// What AWS leaves as it is in a query.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The values of a presigned `GetCallerIdentity`, named as in its query without `X-Amz-`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Access key and scope: `ASIA.../20300101/eu-north-1/sts/aws4_request`.
    pub credential: String,
    /// When it was signed: `20300101T000000Z`.
    pub date: String,
    /// For how many seconds it is valid.
    pub expires: u32,
    /// The session token of the role's credentials.
    pub security_token: String,
    /// The signature: 64 hexadecimal digits.
    pub signature: String,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("credential", &self.credential)
            .field("date", &self.date)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why a request could not be signed.
#[derive(Debug, Error)]
pub enum ProofError {
    /// Long-lived keys are no machine's.
    #[error("failed to sign the join request: the credentials have no session token, so they are no role's")]
    NoSessionToken,
    /// The signer did not take it.
    #[error("failed to sign the join request")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Proof {
    /// Signs the text of a request.
    pub fn sign(
        credentials: &Credentials,
        region: &str,
        request: &str,
        now: SystemTime,
    ) -> Result<Self, ProofError> {
        let security_token = credentials.session_token().ok_or(ProofError::NoSessionToken)?.to_owned();
        let identity = credentials.clone().into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(StdDuration::from_secs(EXPIRES.into()));
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("sts")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| ProofError::Sign(error.into()))?
            .into();
        let (host, hash) = (sts_host(region), hash(request));
        let headers = [("host", host.as_str()), (HASH_HEADER, hash.as_str())];
        let target = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
        let signable = SignableRequest::new("GET", target, headers.into_iter(), SignableBody::Bytes(&[]))
            .map_err(|error| ProofError::Sign(error.into()))?;
        let (instructions, signature) =
            sign(signable, &params).map_err(|error| ProofError::Sign(error.into()))?.into_parts();
        let value = |name: &str| {
            let found = instructions.params().iter().find(|(param, _)| *param == name);
            found.map(|(_, value)| value.clone().into_owned()).unwrap_or_default()
        };
        Ok(Self {
            credential: value("X-Amz-Credential"),
            date: value("X-Amz-Date"),
            expires: EXPIRES,
            security_token,
            signature,
        })
    }

    /// The proof, if it can be one for this text and is in time. Whether it is true, only STS can tell.
    pub(crate) fn check(&self, region: &str, request: &str, now: OffsetDateTime) -> Result<Checked, Refusal> {
        let Self { credential, date, expires, security_token, signature } = self;
        let malformed = |what| Refusal::Malformed { what };
        let signed = PrimitiveDateTime::parse(date, DATE)
            .map_err(|_| malformed("`date` is not a time of the form 20300101T000000Z"))?
            .assume_utc();
        let mut scope = credential.split('/');
        let key = scope.next().unwrap_or_default();
        if !is_access_key(key) {
            return Err(malformed("`credential` has no access key of a role"));
        }
        if scope.next() != date.get(..8) {
            return Err(malformed("`credential` and `date` are of different days"));
        }
        // A proof for another region would go to another region's STS.
        if scope.collect::<Vec<_>>() != [region, "sts", "aws4_request"] {
            return Err(Refusal::Scope);
        }
        if !is_hex(signature, 64) {
            return Err(malformed("`signature` is not 64 hexadecimal digits"));
        }
        if !is_security_token(security_token) {
            return Err(malformed("`security_token` is not a session token"));
        }
        if !(1..=MAX_EXPIRES).contains(expires) {
            return Err(malformed("`expires` is not within 1 to 300 seconds"));
        }
        if now >= signed + Duration::seconds((*expires).into()) || signed > now + CLOCK_AHEAD {
            return Err(Refusal::Time { signed });
        }
        Ok(Checked { query: self.query(), hash: hash(request), signed, digest: digest(signature.as_bytes()) })
    }

    /// The query of the presigned request.
    fn query(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        format!(
            "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}\
             &X-Amz-Date={}&X-Amz-Expires={}&X-Amz-SignedHeaders=host%3B{HASH_HEADER}&X-Amz-Security-Token={}\
             &X-Amz-Signature={}",
            encoded(&self.credential),
            encoded(&self.date),
            self.expires,
            encoded(&self.security_token),
            self.signature,
        )
    }
}

/// A proof whose values are what they have to be.
pub(crate) struct Checked {
    /// The query to send to STS.
    pub(crate) query: String,
    /// The value of the header to send with it.
    pub(crate) hash: String,
    /// When it was signed.
    pub(crate) signed: OffsetDateTime,
    /// What to know it by.
    pub(crate) digest: [u8; 32],
}

/// SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn hash(text: &str) -> String {
    hex::encode(digest(text.as_bytes()))
}

/// Access keys of temporary credentials begin so; long-lived ones belong to people.
fn is_access_key(text: &str) -> bool {
    text.starts_with("ASIA")
        && (16..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Base64 of either alphabet.
fn is_security_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b);
    (1..=MAX_SECURITY_TOKEN).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2030-01-01 00:00:30 UTC);

    fn proof() -> Proof {
        Proof {
            credential: "ASIAEXAMPLEEXAMPLE00/20300101/eu-north-1/sts/aws4_request".to_owned(),
            date: "20300101T000000Z".to_owned(),
            expires: 60,
            security_token: "IQoJ/token+of/it==".to_owned(),
            signature: "0123456789abcdef".repeat(4),
        }
    }

    fn checked(proof: &Proof) -> Option<String> {
        proof.check("eu-north-1", "{}", NOW).ok().map(|checked| checked.query)
    }

    #[test]
    fn a_query_is_what_aws_makes_of_a_presigned_request() {
        let wanted = format!(
            "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=ASIAEXAMPLEEXAMPLE00%2F20300101%2Feu-north-1%2Fsts%2Faws4_request\
             &X-Amz-Date=20300101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-kcl-join\
             &X-Amz-Security-Token=IQoJ%2Ftoken%2Bof%2Fit%3D%3D&X-Amz-Signature={}",
            proof().signature
        );
        assert_eq!(checked(&proof()), Some(wanted));
    }

    /// Texts that would change a request if they got into it, and any other.
    fn hostile() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            "ASIAEXAMPLEEXAMPLE00/20300101/eu-north-1/sts/aws4_request&Action=AssumeRole",
            "ASIAEXAMPLEEXAMPLE00/20300101/eu-north-1/sts/aws4_request/../..",
            "20300101T000000Z&Action=AssumeRole",
            "20300101T000000Z\r\nHost: evil.example",
            "http://169.254.169.254/latest/meta-data/",
            "@evil.example/",
            "?Action=AssumeRole#",
            "%26Action%3DAssumeRole",
            "",
        ]);
        prop_oneof![known.prop_map(str::to_owned), ".{0,80}", "[A-Za-z0-9+/=&?#%@:._-]{0,80}"]
    }

    proptest! {
        #[test]
        fn nothing_but_its_values_gets_into_a_query(
            text in hostile(),
            field in 0..4_usize,
            expires in any::<u32>(),
        ) {
            let mut proof = proof();
            proof.expires = expires;
            *[&mut proof.credential, &mut proof.date, &mut proof.security_token, &mut proof.signature]
                [field] = text;
            if let Some(query) = checked(&proof) {
                let names: Vec<&str> =
                    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name).collect();
                prop_assert_eq!(names, [
                    "Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
                    "X-Amz-SignedHeaders", "X-Amz-Security-Token", "X-Amz-Signature",
                ]);
                prop_assert!(query.bytes().all(|b| b.is_ascii_alphanumeric() || b"&=%-_.~".contains(&b)));
                prop_assert!(expires <= MAX_EXPIRES);
            }
        }
    }
}
