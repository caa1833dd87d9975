//! The Secret that is both a bootstrap token and the record that it was given; and what the record, the node and
//! the request together come to. Nothing here asks anybody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::kubernetes::{Metadata, Node, Secret};
use crate::proof::digest;
use crate::protocol::Token;
use crate::refusal::Refusal;

/// How long a token is valid.
const VALIDITY: Duration = Duration::minutes(15);

/// With less than this left, a machine gets a new token: kubeadm waits five minutes for the cluster's data to be
/// signed with a token.
const ENOUGH: Duration = Duration::minutes(5);

/// The type of a bootstrap token's Secret; its keys are in
/// <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>.
const KIND: &str = "bootstrap.kubernetes.io/token";

/// The group that kubeadm lets join.
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// Whose token it is.
const INSTANCE: &str = "kcl.dev/instance";
/// The SHA-256 of the claim of who got it.
const CLAIM: &str = "kcl.dev/join-claim";
/// When the newest proof that was taken was signed, in seconds since 1970.
const SIGNED: &str = "kcl.dev/join-signed-at";
/// The SHA-256 of its signature.
const PROOF: &str = "kcl.dev/join-proof";

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A machine that proved who it is, and what it asks for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) cluster: String,
    pub(crate) instance_id: String,
    /// SHA-256, in hexadecimal digits.
    pub(crate) claim: String,
    pub(crate) signed: OffsetDateTime,
    /// SHA-256, in hexadecimal digits.
    pub(crate) proof: String,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Give a new token; an old one has to go first.
    New,
    /// Give the one that is there.
    Same,
}

/// What was given.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) token: Token,
    pub(crate) expires: OffsetDateTime,
    claim: String,
    signed: i64,
    proof: String,
}

impl Ask {
    /// The id of the instance's token: six letters and digits, always the same ones.
    fn token_id(&self) -> String {
        let hash = digest(format!("{}/{}", self.cluster, self.instance_id).as_bytes());
        let mut number = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let mut id = String::new();
        for _ in 0..6 {
            id.push(char::from(ALPHABET[usize::try_from(number % 36).unwrap_or_default()]));
            number /= 36;
        }
        id
    }

    /// The name of its Secret.
    pub(crate) fn secret_name(&self) -> String {
        format!("bootstrap-token-{}", self.token_id())
    }

    /// What there is for it; nothing if what is there was made by somebody else, or was changed beyond reading.
    pub(crate) fn record(&self, secret: &Secret) -> Option<Record> {
        let Metadata { labels, annotations, .. } = &secret.metadata;
        if secret.kind != KIND || labels.get(INSTANCE) != Some(&self.instance_id) {
            return None;
        }
        let data = |key: &str| {
            let value = STANDARD.decode(secret.data.get(key)?).ok()?;
            String::from_utf8(value).ok()
        };
        let token = Token::from(format!("{}.{}", data("token-id")?, data("token-secret")?));
        token.is_token().then_some(Record {
            expires: OffsetDateTime::parse(&data("expiration")?, &Rfc3339).ok()?,
            claim: annotations.get(CLAIM)?.clone(),
            signed: annotations.get(SIGNED)?.parse().ok()?,
            proof: annotations.get(PROOF)?.clone(),
            token,
        })
    }

    /// Decides, by the table in the crate's documentation.
    pub(crate) fn decide(
        &self,
        record: Option<&Record>,
        node: Option<&Node>,
        now: OffsetDateTime,
    ) -> Result<Step, Refusal> {
        let owner = node.and_then(|node| node.spec.provider_id.rsplit('/').next()).unwrap_or_default();
        if !owner.is_empty() && owner != self.instance_id {
            return Err(Refusal::NodeOfAnother { node: self.instance_id.clone(), owner: owner.to_owned() });
        }
        if let Some(record) = record.filter(|record| record.proof == self.proof) {
            tracing::debug!(expires = %record.expires, "the proof is in the record");
            return Err(Refusal::Replayed);
        }
        if record.is_some_and(|record| self.signed.unix_timestamp() <= record.signed) {
            return Err(Refusal::Outdated);
        }
        match record.filter(|record| record.expires > now) {
            Some(record) if record.claim != self.claim => Err(Refusal::Given { until: record.expires }),
            Some(record) if record.expires - now < ENOUGH => Ok(Step::New),
            Some(_) => Ok(Step::Same),
            None if node.is_some() => Err(Refusal::Joined { node: self.instance_id.clone() }),
            None => Ok(Step::New),
        }
    }

    /// A new token, and its Secret.
    pub(crate) fn fresh(&self, now: OffsetDateTime) -> Result<(Record, Secret), Refusal> {
        let (id, secret) = (self.token_id(), random_secret()?);
        // Whole seconds, so that the answer and the Secret say the same.
        let expires = (now + VALIDITY).replace_nanosecond(0).unwrap_or(now);
        let data = [
            ("token-id", id.as_str()),
            ("token-secret", &secret),
            ("expiration", &rfc3339(expires)),
            ("usage-bootstrap-authentication", "true"),
            // kubeadm finds the authorities in the ConfigMap cluster-info, signed with the token.
            ("usage-bootstrap-signing", "true"),
            ("auth-extra-groups", GROUP),
            ("description", &format!("kcl: for the instance {} to join", self.instance_id)),
        ];
        let mut object = Secret {
            metadata: Metadata {
                name: self.secret_name(),
                labels: [(INSTANCE.to_owned(), self.instance_id.clone())].into(),
                ..Metadata::default()
            },
            kind: KIND.to_owned(),
            data: data.map(|(key, value)| (key.to_owned(), STANDARD.encode(value))).into(),
        };
        self.mark(&mut object);
        let record = Record {
            token: Token::from(format!("{id}.{secret}")),
            expires,
            claim: self.claim.clone(),
            signed: self.signed.unix_timestamp(),
            proof: self.proof.clone(),
        };
        Ok((record, object))
    }

    /// Marks a Secret with this request.
    pub(crate) fn mark(&self, secret: &mut Secret) {
        let marks = [
            (CLAIM, self.claim.clone()),
            (SIGNED, self.signed.unix_timestamp().to_string()),
            (PROOF, self.proof.clone()),
        ];
        secret.metadata.annotations.extend(marks.map(|(key, value)| (key.to_owned(), value)));
    }
}

/// A time in UTC and whole seconds.
pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

/// Sixteen letters and digits, each as likely as any other.
fn random_secret() -> Result<String, Refusal> {
    // The largest multiple of 36 in a byte: what is above would favour the first digits.
    const FAIR: u8 = 252;
    let mut secret = String::new();
    while secret.len() < 16 {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| Refusal::NoRandomness)?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        let digits = fair.map(|byte| char::from(ALPHABET[usize::from(byte % 36)]));
        secret.extend(digits.take(16 - secret.len()));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::kubernetes::NodeSpec;

    const NOW: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);
    const ID: &str = "i-0123456789abcdef0";

    fn ask(claim: &str, signed: OffsetDateTime) -> Ask {
        Ask {
            cluster: "c.example".to_owned(),
            instance_id: ID.to_owned(),
            claim: claim.to_owned(),
            signed,
            proof: format!("{claim}{signed}"),
        }
    }

    fn node(provider_id: &str) -> Node {
        Node { metadata: Metadata::default(), spec: NodeSpec { provider_id: provider_id.to_owned() } }
    }

    /// The decision for a claim, so long after a token was given to the claim `a`.
    fn after(passed: Duration, claim: &str, node: Option<&Node>) -> String {
        let (record, _) = ask("a", NOW).fresh(NOW).unwrap();
        match ask(claim, NOW + passed).decide(Some(&record), node, NOW + passed) {
            Ok(step) => format!("{step:?}"),
            Err(refusal) => format!("{refusal:?}").split([' ', '(']).next().unwrap().to_owned(),
        }
    }

    #[test]
    fn the_table() {
        let (ours, theirs, new) =
            (node(&format!("aws:///eu-north-1a/{ID}")), node("aws:///eu-north-1a/i-2"), node(""));
        assert_eq!(ask("a", NOW).decide(None, None, NOW).unwrap(), Step::New);
        assert!(matches!(ask("a", NOW).decide(None, Some(&ours), NOW), Err(Refusal::Joined { .. })));
        assert!(matches!(ask("a", NOW).decide(None, Some(&new), NOW), Err(Refusal::Joined { .. })));
        assert!(matches!(ask("a", NOW).decide(None, Some(&theirs), NOW), Err(Refusal::NodeOfAnother { .. })));

        let (soon, late, expired) = (Duration::minutes(1), Duration::minutes(11), Duration::minutes(15));
        for node in [None, Some(&ours), Some(&new)] {
            assert_eq!(after(soon, "a", node), "Same");
            assert_eq!(after(late, "a", node), "New");
            assert_eq!(after(soon, "b", node), "Given");
            assert_eq!(after(late, "b", node), "Given");
        }
        for claim in ["a", "b"] {
            assert_eq!(after(expired, claim, None), "New");
            assert_eq!(after(expired, claim, Some(&ours)), "Joined");
            assert_eq!(after(soon, claim, Some(&theirs)), "NodeOfAnother");
        }
    }

    #[test]
    fn proofs_are_taken_in_the_order_that_they_were_signed() {
        let (record, _) = ask("a", NOW).fresh(NOW).unwrap();
        let decide = |ask: Ask| ask.decide(Some(&record), None, NOW);
        assert!(matches!(decide(ask("a", NOW)), Err(Refusal::Replayed)));
        assert!(matches!(decide(ask("a", NOW - Duration::seconds(9))), Err(Refusal::Outdated)));
        let mut other = ask("a", NOW);
        other.proof = "another nonce".to_owned();
        assert!(matches!(decide(other), Err(Refusal::Outdated)));
        assert_eq!(decide(ask("a", NOW + Duration::seconds(1))).unwrap(), Step::Same);
    }

    #[test]
    fn a_record_is_read_back_from_its_secret() {
        let (given, mut secret) = ask("a", NOW).fresh(NOW).unwrap();
        let read = ask("b", NOW).record(&secret).unwrap();
        assert!(read.token == given.token && read.token.is_token());
        assert_eq!((read.expires, read.claim, read.signed), (given.expires, given.claim, given.signed));

        let mut other = ask("a", NOW);
        other.instance_id = "i-01234567".to_owned();
        assert!(other.record(&secret).is_none());
        assert_ne!(other.secret_name(), ask("a", NOW).secret_name());
        secret.data.insert("expiration".to_owned(), STANDARD.encode("soon"));
        assert!(ask("a", NOW).record(&secret).is_none());
    }

    #[test]
    fn secrets_differ() {
        let made: std::collections::BTreeSet<String> = (0..100).map(|_| random_secret().unwrap()).collect();
        assert_eq!(made.len(), 100);
    }
}
