//! What can go wrong. No error holds private key material, nor text of a file that may hold some.

use time::OffsetDateTime;

use crate::clock::rfc3339;
use crate::key::Algorithm;
use crate::keyset::KeyId;
use crate::layout::{KeysetName, KeysetType};

/// Longest piece of somebody else's text that an error repeats, in characters.
const EXCERPT: usize = 60;

/// Longest message of the YAML parser that an error repeats, in characters.
const PARSER_WORDS: usize = 300;

/// Randomness that is missing or visibly wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntropyError {
    /// The source gave nothing.
    #[error("the source of randomness did not give {what}; nothing was made, try again on a healthy machine")]
    Unavailable {
        /// What was asked of it.
        what: &'static str,
    },
    /// The bytes are all the same.
    #[error("the source of randomness gave the same byte again and again, so its keys would be guessable")]
    NotRandom,
    /// It gave a key of another kind.
    #[error("the source of randomness gave an {found} key where an {expected} key was asked for")]
    WrongAlgorithm {
        /// What was asked for.
        expected: Algorithm,
        /// What it gave.
        found: Algorithm,
    },
    /// It gave what the keyset has already.
    #[error("the source of randomness gave {what} that the keyset {keyset} already has, so it is not random")]
    Repeats {
        /// `a key` or `an id`.
        what: &'static str,
        /// The keyset.
        keyset: KeysetName,
    },
}

/// Why a text is not the key it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// No PEM at all, cut short, or with other text around it.
    #[error("it is not one whole PEM block")]
    NotPem,
    /// More than one block.
    #[error("it is more than one PEM block")]
    SeveralBlocks,
    /// Another kind of PEM block.
    #[error("it is a PEM block of the kind `{found}`, not `{expected}`")]
    Label {
        /// The block's label.
        found: String,
        /// The label it should have.
        expected: String,
    },
    /// The block's content is not base64.
    #[error("its PEM block is not base64")]
    Base64,
    /// Not PKCS#8, or of another algorithm.
    #[error("it is not a PKCS#8 private key of ECDSA P-256, or of RSA with at least 2048 bits")]
    NotPrivateKey,
    /// Not a SubjectPublicKeyInfo in DER, or of another algorithm.
    #[error("it is not an RSA public key in DER")]
    NotPublicKey,
    /// An RSA key that can be broken.
    #[error("it is an RSA key of {bits} bits, and fewer than 2048 are not safe")]
    TooShort {
        /// Bits of its modulus.
        bits: usize,
    },
}

/// Why a certificate is not that of an authority of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFault {
    /// The text around it is wrong.
    #[error(transparent)]
    Pem(#[from] KeyFault),
    /// Not a certificate, or one with a broken part.
    #[error("it is not an X.509 certificate: {part} cannot be read")]
    NotX509 {
        /// Which part.
        part: &'static str,
    },
    /// An ordinary certificate.
    #[error("it is not the certificate of an authority: its basic constraints do not say CA:TRUE")]
    NotCa,
    /// An authority that may not sign certificates.
    #[error("its key usage does not allow it to sign certificates")]
    CannotSign,
    /// The certificate of something else.
    #[error("its subject is `{found}`, and `CN={expected}` is expected")]
    Subject {
        /// The subject it has.
        found: String,
        /// The common name it should have.
        expected: &'static str,
    },
    /// Not ECDSA P-256, not signed by itself, or changed after it was signed.
    #[error("it is not signed by its own key with ECDSA P-256 and SHA-256")]
    Signature,
    /// It begins after it ends, or has times that no certificate should have.
    #[error("the times between which it is valid make no sense")]
    Validity,
}

/// What is wrong with a keyset, its stored texts, or with what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysetError {
    /// There is no keyset of this name.
    #[error(
        "there is no keyset `{name}`; a cluster has kubernetes-ca, etcd-ca, front-proxy-ca and service-account"
    )]
    NoSuchKeyset {
        /// The name.
        name: String,
    },
    /// Larger than anything that is ours.
    #[error("cannot read {path}: it has {size} bytes, more than the {limit} that such an object can have")]
    TooLarge {
        /// The object.
        path: String,
        /// Its size in bytes.
        size: usize,
        /// The largest size in bytes.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("cannot read {path}: it is not text; something else than kcl wrote it, put the right one back")]
    NotText {
        /// The object.
        path: String,
    },
    /// Nothing at all.
    #[error("cannot read {path}: it is empty; the write of it was cut short, put back the version before")]
    Blank {
        /// The object.
        path: String,
    },
    /// Not YAML, or not of the right shape.
    #[error("cannot read {path}: {reason}; put back the version of it that kcl wrote")]
    Yaml {
        /// The object.
        path: String,
        /// What the parser says, without the text it was about.
        reason: String,
    },
    /// An object of somebody else.
    #[error(
        "{path} is not a keyset but of the kind `{kind}`; it does not belong there, and is left as it is"
    )]
    Foreign {
        /// The object.
        path: String,
        /// The kind it says it is.
        kind: String,
    },
    /// A version this program does not know.
    #[error(
        "{path} is of the version `{found}`, and this kcl reads `{expected}`; use the kcl that wrote it or a newer one"
    )]
    Version {
        /// The object.
        path: String,
        /// Its `apiVersion`.
        found: String,
        /// The one that is read.
        expected: &'static str,
    },
    /// The index of another keyset.
    #[error("{path} says that it is the keyset `{found}`; the index of `{expected}` belongs there")]
    Name {
        /// The object.
        path: String,
        /// The name in it.
        found: String,
        /// The keyset it should be.
        expected: KeysetName,
    },
    /// An index of the other type.
    #[error("{path} says that it holds keys of the type `{found}`; `{expected}` is expected")]
    Type {
        /// The object.
        path: String,
        /// The type in it.
        found: String,
        /// The type it should have.
        expected: KeysetType,
    },
    /// Something that is no key id.
    #[error("{path} has the key id `{found}`; an id is 24 hexadecimal digits in lower case")]
    Id {
        /// The object.
        path: String,
        /// The id in it.
        found: String,
    },
    /// The same id twice.
    #[error("{path} lists the key {id} twice")]
    DuplicateId {
        /// The object.
        path: String,
        /// The id.
        id: KeyId,
    },
    /// The same key under two ids.
    #[error("{path} lists the same key as {first} and as {second}")]
    SameKeyTwice {
        /// The object.
        path: String,
        /// The id that comes first.
        first: KeyId,
        /// The other one.
        second: KeyId,
    },
    /// A time that cannot be read.
    #[error(
        "{path} has `{found}` as the time `{field}` of the key {id}; a time is written like 2030-01-01T00:00:00Z"
    )]
    Time {
        /// The object.
        path: String,
        /// The key.
        id: KeyId,
        /// The field's name.
        field: &'static str,
        /// What stands there.
        found: String,
    },
    /// The key's public half is missing, or there is a wrong one.
    #[error("{path} needs exactly the field `{field}` for the key {id}")]
    Material {
        /// The object.
        path: String,
        /// The key.
        id: KeyId,
        /// `certificate` or `publicKey`.
        field: &'static str,
    },
    /// A certificate that is not an authority's.
    #[error("{path} has no usable certificate for the key {id}: {fault}")]
    Certificate {
        /// The object.
        path: String,
        /// The key.
        id: KeyId,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// A public key that is none.
    #[error("{path} has no usable public key for the key {id}: {fault}")]
    PublicKey {
        /// The object.
        path: String,
        /// The key.
        id: KeyId,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// The primary key is not listed.
    #[error("{path} names {id} as the primary key, which is not among its keys")]
    PrimaryNotListed {
        /// The object.
        path: String,
        /// The id.
        id: KeyId,
    },
    /// The primary key is one that nobody may trust.
    #[error("{path} names {id} as the primary key, which is distrusted; promote another key")]
    PrimaryDistrusted {
        /// The object.
        path: String,
        /// The id.
        id: KeyId,
    },
    /// The index is there, the private key is not.
    #[error(
        "the keyset {keyset} is only half there: its index lists the primary key {id}, but {path} is missing; restore that object"
    )]
    HalfWritten {
        /// The keyset.
        keyset: KeysetName,
        /// The primary key.
        id: KeyId,
        /// The object that is missing.
        path: String,
    },
    /// The private key cannot be read.
    #[error("cannot use the private key {path}: {fault}; restore that object")]
    PrivateKey {
        /// The object.
        path: String,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// The private key is another one's.
    #[error(
        "the private key {path} does not belong to the {field} that {index_path} has for it; restore the one of them that was changed"
    )]
    Mismatch {
        /// The private key's object.
        path: String,
        /// `certificate` or `publicKey`.
        field: &'static str,
        /// The index.
        index_path: String,
    },
    /// The keyset has no such key.
    #[error("the keyset {keyset} has no key {id}; `kcl get keypairs` lists those it has")]
    NoSuchKey {
        /// The keyset.
        keyset: KeysetName,
        /// The id.
        id: KeyId,
    },
    /// A distrusted key cannot become the primary one.
    #[error(
        "cannot make {id} the primary key of {keyset}: it was distrusted at {}; create a new key", rfc3339(*.distrusted)
    )]
    Distrusted {
        /// The keyset.
        keyset: KeysetName,
        /// The key.
        id: KeyId,
        /// Since when.
        distrusted: OffsetDateTime,
    },
    /// The authority's time is over.
    #[error(
        "the certificate of {keyset}'s key {id} expired at {}, and now is {}; create and promote a new key, or set this machine's clock if it is wrong",
        rfc3339(*.expired), rfc3339(*.now)
    )]
    Expired {
        /// The keyset.
        keyset: KeysetName,
        /// The key.
        id: KeyId,
        /// When it expired.
        expired: OffsetDateTime,
        /// The time that was given.
        now: OffsetDateTime,
    },
    /// The authority was made in the future.
    #[error(
        "the certificate of {keyset}'s key {id} is not valid before {}, and now is {}; this machine's clock or that of the one that made it is wrong, set it right",
        rfc3339(*.begins), rfc3339(*.now)
    )]
    NotYetValid {
        /// The keyset.
        keyset: KeysetName,
        /// The key.
        id: KeyId,
        /// When it becomes valid.
        begins: OffsetDateTime,
        /// The time that was given.
        now: OffsetDateTime,
    },
    /// The private key is not at hand.
    #[error("the key {id} of {keyset} has no private key here: {path} was not read or does not exist")]
    NoPrivateKey {
        /// The keyset.
        keyset: KeysetName,
        /// The key.
        id: KeyId,
        /// Where it should be.
        path: String,
    },
    /// The primary key is in use.
    #[error("cannot distrust {id}: it is the primary key of {keyset}; promote another key first")]
    DistrustPrimary {
        /// The keyset.
        keyset: KeysetName,
        /// The key.
        id: KeyId,
    },
    /// A keyset of the other type was given.
    #[error("the keyset {keyset} holds keys of the type {found}; {needed} is needed here")]
    WrongType {
        /// The keyset.
        keyset: KeysetName,
        /// Its type.
        found: KeysetType,
        /// The type that is needed.
        needed: KeysetType,
    },
    /// Another keyset's index would be overwritten.
    #[error("the index of {new} cannot take the place of that of {old}")]
    OtherKeyset {
        /// The one in the store.
        old: KeysetName,
        /// The one to be written.
        new: KeysetName,
    },
    /// A key would be lost.
    #[error(
        "the new index of {keyset} does not have the key {id}, which the stored one has; somebody changed it in the meantime, start again"
    )]
    Lost {
        /// The keyset.
        keyset: KeysetName,
        /// The key.
        id: KeyId,
    },
    /// A key would be changed.
    #[error(
        "the new index of {keyset} has another `{field}` for the key {id} than the stored one; somebody changed it in the meantime, start again"
    )]
    Changed {
        /// The keyset.
        keyset: KeysetName,
        /// The key.
        id: KeyId,
        /// What differs.
        field: &'static str,
    },
    /// A clock that shows no time in which there are clusters.
    #[error("this machine's clock shows {now}, which no key or certificate can say; set it right")]
    Clock {
        /// What it shows.
        now: OffsetDateTime,
    },
    /// There was no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The authority's certificate could not be made.
    #[error("cannot make a certificate for {keyset}: {reason}")]
    Making {
        /// The keyset.
        keyset: KeysetName,
        /// What the encoder says.
        reason: String,
    },
}

/// Why a machine's own files are no authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// These keys sign no certificates.
    #[error("{keyset} signs no certificates")]
    NoAuthority {
        /// The keyset.
        keyset: KeysetName,
    },
    /// The certificate.
    #[error("the first certificate of {keyset} is unusable: {fault}")]
    Certificate {
        /// The keyset.
        keyset: KeysetName,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// The private key.
    #[error("the private key of {keyset} is unusable: {fault}")]
    Key {
        /// The keyset.
        keyset: KeysetName,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// They are not of one pair.
    #[error("the private key of {keyset} is not that of its first certificate")]
    Mismatch {
        /// The keyset.
        keyset: KeysetName,
    },
    /// The certificate is not valid now.
    #[error("{keyset} is valid from {begins} until {ends}, and it is {now}")]
    Time {
        /// The keyset.
        keyset: KeysetName,
        /// The first second in which it is valid.
        begins: OffsetDateTime,
        /// The last one.
        ends: OffsetDateTime,
        /// What the clock says.
        now: OffsetDateTime,
    },
}

/// Why a certificate was not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// Another authority signs such certificates.
    #[error("{profile} certificates are signed by {expected}, not by {found}")]
    WrongAuthority {
        /// The profile's name.
        profile: &'static str,
        /// Who signs it.
        expected: KeysetName,
        /// Who was asked.
        found: KeysetName,
    },
    /// A name that a certificate cannot have.
    #[error("cannot issue an {profile} certificate: `{found}` cannot be {field}: {reason}")]
    Name {
        /// The profile's name.
        profile: &'static str,
        /// `a common name`, `an organization` or `a DNS name`.
        field: &'static str,
        /// The name.
        found: String,
        /// Why not.
        reason: &'static str,
    },
    /// A server without a name.
    #[error("cannot issue an {profile} certificate without a DNS name or an address to serve under")]
    NoAltNames {
        /// The profile's name.
        profile: &'static str,
    },
    /// A certificate that is never valid.
    #[error("cannot issue a certificate for {seconds} seconds; its validity must be at least a second")]
    Validity {
        /// The validity that was asked for.
        seconds: i64,
    },
    /// There was no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The certificate could not be made.
    #[error("cannot make an {profile} certificate: {reason}")]
    Making {
        /// The profile's name.
        profile: &'static str,
        /// What the encoder says.
        reason: String,
    },
}

/// Why a discovery document was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The keyset does not sign tokens.
    #[error(transparent)]
    Keyset(#[from] KeysetError),
    /// A URL that no token verifier accepts.
    #[error("`{issuer}` cannot be a service-account issuer: {reason}")]
    Issuer {
        /// The URL.
        issuer: String,
        /// Why not.
        reason: &'static str,
    },
    /// The document could not be written.
    #[error("cannot write the {document}: {reason}")]
    Writing {
        /// Which one.
        document: &'static str,
        /// What the encoder says.
        reason: String,
    },
}

/// Why a kubeconfig was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// Larger than any kubeconfig.
    #[error("the kubeconfig has {size} bytes, more than the {limit} that are read; it is left as it is")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest size in bytes.
        limit: usize,
    },
    /// Not YAML.
    #[error("the kubeconfig cannot be read: {reason}; it is left as it is, repair it or name another file")]
    Yaml {
        /// What the parser says, without the text it was about.
        reason: String,
    },
    /// Another kind of file.
    #[error("the file is no kubeconfig, its `{field}` is `{found}`; it is left as it is, name another file")]
    Foreign {
        /// `apiVersion` or `kind`.
        field: &'static str,
        /// What it says.
        found: String,
    },
    /// A part that is not as kubectl has it.
    #[error("the kubeconfig's `{path}` is {found}, not {expected}; it is left as it is, repair it by hand")]
    Shape {
        /// The part: `clusters[2].name`.
        path: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Something that cannot be written back as it was.
    #[error("the kubeconfig has {what}, which would be lost; it is left as it is, take it out by hand")]
    Unwritable {
        /// What.
        what: &'static str,
    },
    /// A name that cannot be used.
    #[error("an entry of a kubeconfig needs a {field}")]
    Empty {
        /// `name` or `server`.
        field: &'static str,
    },
}

/// The beginning of somebody else's text, fit to be shown.
pub(crate) fn excerpt(text: &str) -> String {
    if text.contains("PRIVATE KEY") { "(not shown)".to_owned() } else { shown(text, EXCERPT) }
}

/// The first `limit` characters of a text, on one line.
fn shown(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for character in text.chars().take(limit) {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

/// What the YAML parser says, without the values it quotes: one of them may be a secret in the wrong place.
pub(crate) fn parser_words(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let text = match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…\"{}", &text[..first], &text[last + 1..]),
        _ => text,
    };
    let mut words = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            words.push('`');
        }
        // Every second part stands between backquotes, and names a field.
        let quoted = index % 2 == 1;
        if quoted && part.len() > EXCERPT {
            words.push('…');
        } else {
            words.push_str(part);
        }
    }
    shown(&words, PARSER_WORDS)
}
