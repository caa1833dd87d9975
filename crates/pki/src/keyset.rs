//! Keysets: several keys with one primary, so that a key can be replaced without a moment in which something is
//! not trusted.
//!
//! The way of a key: it is added, and from then on trusted; once everybody who must trust it has it, it is
//! promoted to primary, and from then on signs; the one before it stays trusted until it is distrusted.

use std::fmt;

use time::OffsetDateTime;

use crate::authority::{Authority, Signer};
use crate::certificate::CaCertificate;
use crate::clock::whole_seconds;
use crate::entropy::{DRAW, Entropy, draw, fresh_key};
use crate::error::{EntropyError, KeysetError};
use crate::key::{PrivateKey, PublicKey};
use crate::layout::{KeysetName, KeysetType};
use crate::secret::SecretText;

/// Digits of an id: 16 for the time in nanoseconds, 8 at random.
const ID_DIGITS: usize = 24;

/// The id of a key within its keyset: 24 hexadecimal digits that sort by the time at which the key was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Reads an id as it is stored; nothing if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == ID_DIGITS && digits).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new id; nothing for a time that has no place in it.
    fn new(now: OffsetDateTime, random: [u8; DRAW]) -> Option<Self> {
        let nanoseconds = u64::try_from(now.unix_timestamp_nanos()).ok()?;
        let [a, b, c, d, ..] = random;
        Some(Self(format!("{nanoseconds:016x}{:08x}", u32::from_be_bytes([a, b, c, d]))))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// An authority's certificate.
    Certificate(CaCertificate),
    /// A bare public key.
    PublicKey(PublicKey),
}

impl Material {
    /// The public key in it.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Certificate(certificate) => certificate.public_key(),
            Self::PublicKey(key) => key,
        }
    }

    /// The certificate or public key as one PEM block.
    pub fn to_pem(&self) -> String {
        match self {
            Self::Certificate(certificate) => certificate.to_pem(),
            Self::PublicKey(key) => key.to_pem(),
        }
    }

    /// The name of its field in a stored index.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::PublicKey(_) => "publicKey",
        }
    }

    /// When it expires; nothing if it does not.
    fn expires(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Certificate(certificate) => Some(certificate.not_after()),
            Self::PublicKey(_) => None,
        }
    }
}

/// One key of a keyset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub(crate) id: KeyId,
    pub(crate) created: OffsetDateTime,
    pub(crate) distrusted: Option<OffsetDateTime>,
    pub(crate) material: Material,
    pub(crate) private: Option<PrivateKey>,
}

impl Key {
    /// Its id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// When it was made.
    pub fn created(&self) -> OffsetDateTime {
        self.created
    }

    /// Since when it is not trusted any more.
    pub fn distrusted(&self) -> Option<OffsetDateTime> {
        self.distrusted
    }

    /// Whether what it signed is to be believed.
    pub fn is_trusted(&self) -> bool {
        self.distrusted.is_none()
    }

    /// Its certificate or public key.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// Its private half, if that was made or attached here.
    pub fn private_key(&self) -> Option<&PrivateKey> {
        self.private.as_ref()
    }
}

/// What a list of keys shows of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its id.
    pub id: KeyId,
    /// Whether it is the one that signs.
    pub primary: bool,
    /// Whether what it signed is to be believed.
    pub trusted: bool,
    /// When it was made.
    pub created: OffsetDateTime,
    /// When its certificate expires; nothing for keys without one.
    pub expires: Option<OffsetDateTime>,
    /// Since when it is not trusted any more.
    pub distrusted: Option<OffsetDateTime>,
    /// Whether its private half is at hand.
    pub has_private_key: bool,
}

/// Keys for one purpose, of which one is the primary. It always has that one, and that one is always trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyset {
    name: KeysetName,
    /// In the order in which they were added.
    keys: Vec<Key>,
    /// The place of the primary key in `keys`.
    primary: usize,
}

impl Keyset {
    /// A new keyset with its first key, which is the primary one.
    ///
    /// Errors: no randomness, or a clock out of bounds.
    pub fn generate(
        name: KeysetName,
        entropy: &mut dyn Entropy,
        now: OffsetDateTime,
    ) -> Result<Self, KeysetError> {
        Ok(Self { name, keys: vec![new_key(name, entropy, now)?], primary: 0 })
    }

    /// A new keyset with its first key, which was made before, by somebody who did not come to list it: the private
    /// half that is stored under `id`, as one `PRIVATE KEY` block.
    ///
    /// Errors: a text that is no private key, or not of the kind that this keyset has; no randomness, or a clock out
    /// of bounds.
    pub fn adopt(
        name: KeysetName,
        id: KeyId,
        pem: &[u8],
        entropy: &mut dyn Entropy,
        now: OffsetDateTime,
    ) -> Result<Self, KeysetError> {
        let private = read_private(name, &id, pem)?;
        let (expected, found) = (name.keyset_type().algorithm(), private.algorithm());
        if found != expected {
            return Err(EntropyError::WrongAlgorithm { expected, found }.into());
        }
        Ok(Self { name, keys: vec![key_of(name, id, private, entropy, checked(now)?)?], primary: 0 })
    }

    /// A keyset from its parts, which the reader of the index has checked.
    pub(crate) fn from_parts(name: KeysetName, keys: Vec<Key>, primary: usize) -> Self {
        Self { name, keys, primary }
    }

    /// Adds a key. It is trusted but signs nothing yet, so that it can be distributed first.
    ///
    /// Errors: no randomness, or a clock out of bounds. The keyset is then as it was.
    pub fn add(&mut self, entropy: &mut dyn Entropy, now: OffsetDateTime) -> Result<KeyId, KeysetError> {
        let key = new_key(self.name, entropy, now)?;
        let repeated = |what| EntropyError::Repeats { what, keyset: self.name };
        if self.keys.iter().any(|other| other.id == key.id) {
            return Err(repeated("an id").into());
        }
        if self.keys.iter().any(|other| other.material.public_key() == key.material.public_key()) {
            return Err(repeated("a key").into());
        }
        let id = key.id.clone();
        self.keys.push(key);
        Ok(id)
    }

    /// Makes a key the primary one; the one before it stays trusted. Says whether anything changed.
    ///
    /// Errors: no such key, or one that is distrusted, expired, not yet valid, or without its private half.
    pub fn promote(&mut self, id: &KeyId, now: OffsetDateTime) -> Result<bool, KeysetError> {
        let place = self.place(id)?;
        let key = &self.keys[place];
        if let Some(distrusted) = key.distrusted {
            return Err(KeysetError::Distrusted { keyset: self.name, id: id.clone(), distrusted });
        }
        self.check_valid(key, now)?;
        self.private_of(key)?;
        let changed = self.primary != place;
        self.primary = place;
        Ok(changed)
    }

    /// Says that nothing this key signed is to be believed any more. There is no way back. Says whether anything
    /// changed: the time of the first call stays.
    ///
    /// Errors: no such key, the primary key, or a clock out of bounds.
    pub fn distrust(&mut self, id: &KeyId, now: OffsetDateTime) -> Result<bool, KeysetError> {
        let place = self.place(id)?;
        if place == self.primary {
            return Err(KeysetError::DistrustPrimary { keyset: self.name, id: id.clone() });
        }
        if self.keys[place].distrusted.is_some() {
            return Ok(false);
        }
        self.keys[place].distrusted = Some(checked(now)?);
        Ok(true)
    }

    /// Gives a key its private half, as one `PRIVATE KEY` block.
    ///
    /// Errors: no such key, a text that is no private key, or another key's.
    pub fn attach(&mut self, id: &KeyId, pem: &[u8]) -> Result<(), KeysetError> {
        let place = self.place(id)?;
        let key = read_private(self.name, id, pem)?;
        let material = &self.keys[place].material;
        if key.public_key() != material.public_key() {
            let (path, index_path) = (self.name.private_key_path(id), self.name.index_path());
            return Err(KeysetError::Mismatch { path, field: material.field(), index_path });
        }
        self.keys[place].private = Some(key);
        Ok(())
    }

    /// Which keyset it is.
    pub fn name(&self) -> KeysetName {
        self.name
    }

    /// Its keys, in the order in which they were added.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key with this id.
    pub fn get(&self, id: &KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == *id)
    }

    /// The key that signs.
    pub fn primary(&self) -> &Key {
        &self.keys[self.primary]
    }

    /// The keys that are not distrusted, the primary one first, the others in the order in which they were added.
    pub fn trusted(&self) -> impl Iterator<Item = &Key> {
        let others = self.keys.iter().enumerate().filter(|(place, _)| *place != self.primary);
        let others = others.map(|(_, key)| key).filter(|key| key.is_trusted());
        std::iter::once(self.primary()).chain(others)
    }

    /// What a list shows of each key, in the order in which they were added.
    pub fn list(&self) -> Vec<KeyInfo> {
        let infos = self.keys.iter().enumerate().map(|(place, key)| KeyInfo {
            id: key.id.clone(),
            primary: place == self.primary,
            trusted: key.is_trusted(),
            created: key.created,
            expires: key.material.expires(),
            distrusted: key.distrusted,
            has_private_key: key.private.is_some(),
        });
        infos.collect()
    }

    /// What is stored at [`KeysetName::bundle_path`]: the certificates, or the public keys, of all trusted keys
    /// as PEM, the primary's first. The API server takes that of the service accounts as
    /// `--service-account-key-file`.
    pub fn trust_bundle(&self) -> String {
        self.trusted().map(|key| key.material.to_pem()).collect()
    }

    /// How many whole days the primary key's certificate is still valid, negative once it has expired; nothing
    /// for keys that do not expire. Under [`crate::EXPIRY_WARNING_DAYS`] its owner should hear of it.
    pub fn remaining_days(&self, now: OffsetDateTime) -> Option<i64> {
        match &self.primary().material {
            Material::Certificate(certificate) => Some(certificate.remaining_days(now)),
            Material::PublicKey(_) => None,
        }
    }

    /// The primary key's private half, as one `PRIVATE KEY` block.
    ///
    /// Errors: it is not at hand.
    pub fn primary_private_pem(&self) -> Result<SecretText, KeysetError> {
        Ok(self.private_of(self.primary())?.to_pem())
    }

    /// The authority that signs certificates at `now`.
    ///
    /// Errors: these keys sign no certificates, the primary one's certificate has expired or is not valid yet,
    /// or its private half is not at hand.
    pub fn authority(&self, now: OffsetDateTime) -> Result<Authority, KeysetError> {
        let key = self.primary();
        let wrong_type = || KeysetError::WrongType {
            keyset: self.name,
            found: self.name.keyset_type(),
            needed: KeysetType::Authority,
        };
        let Material::Certificate(certificate) = &key.material else {
            return Err(wrong_type());
        };
        let private = self.private_of(key)?;
        self.check_valid(key, now)?;
        let signer = Signer::new(private).ok_or_else(wrong_type)?;
        Ok(Authority::new(self.name, certificate.clone(), signer, checked(now)?))
    }

    /// Whether this may be written over `old`: every key of the old one is still there, with the same public
    /// half and time, and one that was distrusted stays so.
    ///
    /// Errors: what would be lost.
    pub fn is_successor_of(&self, old: &Self) -> Result<(), KeysetError> {
        if self.name != old.name {
            return Err(KeysetError::OtherKeyset { old: old.name, new: self.name });
        }
        for was in &old.keys {
            let is = self
                .get(&was.id)
                .ok_or_else(|| KeysetError::Lost { keyset: self.name, id: was.id.clone() })?;
            let changed = |field| KeysetError::Changed { keyset: self.name, id: was.id.clone(), field };
            if is.material != was.material {
                return Err(changed(was.material.field()));
            }
            if is.created != was.created {
                return Err(changed("created"));
            }
            if was.distrusted.is_some() && is.distrusted != was.distrusted {
                return Err(changed("distrusted"));
            }
        }
        Ok(())
    }

    /// Where the key with this id is.
    fn place(&self, id: &KeyId) -> Result<usize, KeysetError> {
        self.keys
            .iter()
            .position(|key| key.id == *id)
            .ok_or_else(|| KeysetError::NoSuchKey { keyset: self.name, id: id.clone() })
    }

    /// A key's private half, or where it should be.
    fn private_of<'a>(&self, key: &'a Key) -> Result<&'a PrivateKey, KeysetError> {
        key.private.as_ref().ok_or_else(|| KeysetError::NoPrivateKey {
            keyset: self.name,
            id: key.id.clone(),
            path: self.name.private_key_path(&key.id),
        })
    }

    /// A key with a certificate must be within its time.
    fn check_valid(&self, key: &Key, now: OffsetDateTime) -> Result<(), KeysetError> {
        let now = checked(now)?;
        let Material::Certificate(certificate) = &key.material else {
            return Ok(());
        };
        let (keyset, id) = (self.name, key.id.clone());
        if now > certificate.not_after() {
            return Err(KeysetError::Expired { keyset, id, expired: certificate.not_after(), now });
        }
        if now < certificate.not_before() {
            return Err(KeysetError::NotYetValid { keyset, id, begins: certificate.not_before(), now });
        }
        Ok(())
    }
}

/// A time in whole seconds, or an error if the clock that gave it cannot be right.
fn checked(now: OffsetDateTime) -> Result<OffsetDateTime, KeysetError> {
    whole_seconds(now).ok_or(KeysetError::Clock { now })
}

/// A fresh key of the kind this keyset has.
fn new_key(name: KeysetName, entropy: &mut dyn Entropy, now: OffsetDateTime) -> Result<Key, KeysetError> {
    let created = checked(now)?;
    let id = KeyId::new(now, draw(entropy)?).ok_or(KeysetError::Clock { now })?;
    let private = fresh_key(entropy, name.keyset_type().algorithm())?;
    key_of(name, id, private, entropy, created)
}

/// The private half that is stored under `id`.
fn read_private(name: KeysetName, id: &KeyId, pem: &[u8]) -> Result<PrivateKey, KeysetError> {
    let path = name.private_key_path(id);
    if pem.len() > crate::MAX_OBJECT_BYTES {
        return Err(KeysetError::TooLarge { path, size: pem.len(), limit: crate::MAX_OBJECT_BYTES });
    }
    PrivateKey::from_pem(pem).map_err(|fault| KeysetError::PrivateKey { path, fault })
}

/// A key with the public half, or the certificate, that belongs to its private one.
fn key_of(
    name: KeysetName,
    id: KeyId,
    private: PrivateKey,
    entropy: &mut dyn Entropy,
    created: OffsetDateTime,
) -> Result<Key, KeysetError> {
    let making = |reason| KeysetError::Making { keyset: name, reason };
    let material = match name.common_name() {
        Some(common_name) => {
            let signer =
                Signer::new(&private).ok_or_else(|| making("the key made for it is unusable".to_owned()))?;
            let serial = draw(entropy)?;
            let certificate = CaCertificate::self_signed(common_name, &signer, serial, created);
            Material::Certificate(certificate.map_err(making)?)
        }
        None => Material::PublicKey(private.public_key().clone()),
    };
    Ok(Key { id, created, distrusted: None, material, private: Some(private) })
}
