//! Single keys: their public half, their private half, and their texts.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::KeyFault;
use crate::pem;
use crate::secret::SecretText;

/// Bytes of the shortest RSA modulus that is accepted: 2048 bits.
const MIN_RSA_BYTES: usize = 256;

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on the curve P-256: authorities and certificates.
    EcdsaP256,
    /// RSA of at least 2048 bits: service-account tokens, which are signed with RS256.
    Rsa,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::Rsa => "RSA",
        })
    }
}

/// A public key, kept as the DER of its SubjectPublicKeyInfo.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    spki: Vec<u8>,
}

impl PublicKey {
    /// Reads an RSA public key from one `PUBLIC KEY` block. Its DER must be the one encoding there is of this
    /// key, because the key's id is a hash of it.
    pub fn from_rsa_pem(text: &[u8]) -> Result<Self, KeyFault> {
        let spki = pem::decode(pem::PUBLIC_KEY, text)?.to_vec();
        let key = rsa::PublicKey::from_der(&spki).map_err(|_| KeyFault::NotPublicKey)?;
        if key.modulus_len() < MIN_RSA_BYTES {
            return Err(KeyFault::TooShort { bits: key.modulus_len() * 8 });
        }
        let canonical: PublicKeyX509Der<'_> = key.as_der().map_err(|_| KeyFault::NotPublicKey)?;
        if canonical.as_ref() != spki {
            return Err(KeyFault::NotPublicKey);
        }
        Ok(Self { algorithm: Algorithm::Rsa, spki })
    }

    /// A P-256 key from the SubjectPublicKeyInfo of a certificate whose signature was checked with it.
    pub(crate) fn from_p256_spki(spki: &[u8]) -> Self {
        Self { algorithm: Algorithm::EcdsaP256, spki: spki.to_vec() }
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The DER of its SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// One `PUBLIC KEY` block.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::PUBLIC_KEY, &self.spki).to_string()
    }

    /// The id that a Kubernetes API server writes as `kid` into the tokens it signs with this key: the SHA-256
    /// of the SubjectPublicKeyInfo, in base64url without padding.
    pub fn key_id(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.spki))
    }

    /// Modulus and exponent of an RSA key, each in base64url without padding; nothing for another kind.
    pub(crate) fn rsa_components(&self) -> Option<(String, String)> {
        if self.algorithm != Algorithm::Rsa {
            return None;
        }
        let key = rsa::PublicKey::from_der(&self.spki).ok()?;
        let modulus = URL_SAFE_NO_PAD.encode(key.modulus().big_endian_without_leading_zero());
        let exponent = URL_SAFE_NO_PAD.encode(key.exponent().big_endian_without_leading_zero());
        Some((modulus, exponent))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

/// A private key, kept as PKCS#8 that is overwritten when dropped. It prints its public half only, and two are
/// equal when their public halves are.
#[derive(Clone)]
pub struct PrivateKey {
    public: PublicKey,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Reads one `PRIVATE KEY` block: PKCS#8 without a passphrase, ECDSA P-256 or RSA of at least 2048 bits.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyFault> {
        Self::from_pkcs8(pem::decode(pem::PRIVATE_KEY, text)?)
    }

    /// Takes over the DER of a PKCS#8 private key.
    pub(crate) fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyFault> {
        let public = p256_public(&pkcs8).or_else(|| rsa_public(&pkcs8)).ok_or(KeyFault::NotPrivateKey)?;
        Ok(Self { public, pkcs8 })
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm
    }

    /// Its public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// One `PRIVATE KEY` block.
    pub fn to_pem(&self) -> SecretText {
        SecretText::new(pem::encode(pem::PRIVATE_KEY, &self.pkcs8))
    }

    /// The key in the form that signs certificates; nothing if it is not an ECDSA key.
    pub(crate) fn p256_pair(&self) -> Option<EcdsaKeyPair> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8).ok()
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public half of a PKCS#8 key on P-256.
fn p256_public(pkcs8: &[u8]) -> Option<PublicKey> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).ok()?;
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    Some(PublicKey::from_p256_spki(spki.as_ref()))
}

/// The public half of a PKCS#8 RSA key that is long enough.
fn rsa_public(pkcs8: &[u8]) -> Option<PublicKey> {
    let pair = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
    if pair.public_modulus_len() < MIN_RSA_BYTES {
        return None;
    }
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    Some(PublicKey { algorithm: Algorithm::Rsa, spki: spki.as_ref().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::{Entropy as _, SystemEntropy};

    #[test]
    fn a_private_key_is_read_back_and_never_printed() {
        let key = SystemEntropy.p256_key().unwrap();
        let text = key.to_pem();
        let again = PrivateKey::from_pem(text.reveal().as_bytes()).unwrap();
        assert_eq!(again, key);
        assert_eq!(again.to_pem().reveal(), text.reveal());
        let body: String = text.reveal().lines().skip(1).take(1).collect();
        for shown in [format!("{key:?}"), format!("{text:?}")] {
            assert!(!shown.contains(&body) && !shown.contains("BEGIN"), "{shown}");
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let text = pem::encode(pem::PRIVATE_KEY, b"nothing of the kind");
        assert!(matches!(PrivateKey::from_pem(text.as_bytes()), Err(KeyFault::NotPrivateKey)));
        let text = pem::encode(pem::PUBLIC_KEY, b"nothing of the kind");
        assert!(matches!(PublicKey::from_rsa_pem(text.as_bytes()), Err(KeyFault::NotPublicKey)));
        let curve = SystemEntropy.p256_key().unwrap().public_key().to_pem();
        assert!(matches!(PublicKey::from_rsa_pem(curve.as_bytes()), Err(KeyFault::NotPublicKey)));
    }
}
