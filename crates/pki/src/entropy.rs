//! Where randomness and fresh keys come from.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RsaKeyPair};
use zeroize::Zeroizing;

use crate::error::EntropyError;
use crate::key::{Algorithm, PrivateKey};

/// A source of randomness. Making keys is part of it, so that a test can hand out keys it knows.
///
/// What a source gives is checked: bytes that are all the same, a key of the wrong algorithm, and a key that a
/// keyset already has are errors.
pub trait Entropy {
    /// Fills `bytes` with random bytes.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError>;

    /// A fresh ECDSA key on the curve P-256.
    fn p256_key(&mut self) -> Result<PrivateKey, EntropyError>;

    /// A fresh RSA key of 2048 bits.
    fn rsa_2048_key(&mut self) -> Result<PrivateKey, EntropyError>;
}

/// The operating system's randomness, by way of aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| EntropyError::Unavailable { what: "random bytes" })
    }

    fn p256_key(&mut self) -> Result<PrivateKey, EntropyError> {
        let failed = EntropyError::Unavailable { what: "an ECDSA P-256 key" };
        let made = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .map(|document| Zeroizing::new(document.as_ref().to_vec()));
        match made.map(PrivateKey::from_pkcs8) {
            Ok(Ok(key)) => Ok(key),
            _ => Err(failed),
        }
    }

    fn rsa_2048_key(&mut self) -> Result<PrivateKey, EntropyError> {
        let failed = EntropyError::Unavailable { what: "an RSA key of 2048 bits" };
        let made = RsaKeyPair::generate(KeySize::Rsa2048).and_then(|pair| {
            let der: Pkcs8V1Der<'_> = pair.as_der()?;
            Ok(Zeroizing::new(der.as_ref().to_vec()))
        });
        match made.map(PrivateKey::from_pkcs8) {
            Ok(Ok(key)) => Ok(key),
            _ => Err(failed),
        }
    }
}

/// Bytes drawn at once: so many that a sound source does not give the same byte each time.
pub(crate) const DRAW: usize = 16;

/// Random bytes, or an error if the source is visibly not random.
pub(crate) fn draw(entropy: &mut dyn Entropy) -> Result<[u8; DRAW], EntropyError> {
    let mut bytes = [0; DRAW];
    entropy.fill(&mut bytes)?;
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Err(EntropyError::NotRandom);
    }
    Ok(bytes)
}

/// A fresh key of this algorithm, or an error if the source gives another one.
pub(crate) fn fresh_key(entropy: &mut dyn Entropy, algorithm: Algorithm) -> Result<PrivateKey, EntropyError> {
    let key = match algorithm {
        Algorithm::EcdsaP256 => entropy.p256_key()?,
        Algorithm::Rsa => entropy.rsa_2048_key()?,
    };
    if key.algorithm() != algorithm {
        return Err(EntropyError::WrongAlgorithm { expected: algorithm, found: key.algorithm() });
    }
    Ok(key)
}
