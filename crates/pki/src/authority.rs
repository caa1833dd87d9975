//! An authority at work: the primary key of a keyset, at a time at which it is valid.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};
use time::{Duration, OffsetDateTime};

use crate::certificate::{CaCertificate, positive};
use crate::clock::{CLOCK_SKEW, whole_seconds};
use crate::entropy::{Entropy, draw, fresh_key};
use crate::error::{AuthorityError, CertificateFault, IssueError, KeyFault};
use crate::key::{Algorithm, PrivateKey};
use crate::layout::KeysetName;
use crate::pem;
use crate::profile::{Profile, Subject};

/// A certificate and the private key made for it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// One `CERTIFICATE` block.
    pub certificate_pem: String,
    /// The private key, which is nowhere else.
    pub private_key: PrivateKey,
    /// The last second in which the certificate is valid.
    pub not_after: OffsetDateTime,
}

/// A P-256 key as the encoder wants it. It signs with the random numbers of aws-lc itself: ECDSA takes no other.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    /// The signing form of a key; nothing if it is not on P-256.
    pub(crate) fn new(key: &PrivateKey) -> Option<Self> {
        key.p256_pair().map(Self)
    }
}

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature =
            self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// An authority that can sign now. [`crate::Keyset::authority`] makes one, and [`Authority::from_pem`].
pub struct Authority {
    keyset: KeysetName,
    certificate: CaCertificate,
    signer: Signer,
    now: OffsetDateTime,
}

impl Authority {
    /// An authority whose certificate was found valid at `now`, which is in whole seconds.
    pub(crate) fn new(
        keyset: KeysetName,
        certificate: CaCertificate,
        signer: Signer,
        now: OffsetDateTime,
    ) -> Self {
        Self { keyset, certificate, signer, now }
    }

    /// The authority of a control-plane machine's own files: its bundle of certificates, of which the first one is
    /// that of the key, and the private key.
    ///
    /// Errors: a text is not what it should be, they do not go together, or it has expired or is not valid yet.
    pub fn from_pem(
        keyset: KeysetName,
        bundle: &[u8],
        key: &[u8],
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let certificate = |fault| AuthorityError::Certificate { keyset, fault };
        let key_fault = |fault| AuthorityError::Key { keyset, fault };
        let common_name = keyset.common_name().ok_or(AuthorityError::NoAuthority { keyset })?;
        let first = pem::first(bundle).ok_or_else(|| certificate(KeyFault::NotPem.into()))?;
        let found = CaCertificate::from_pem(first, common_name).map_err(certificate)?;
        let private = PrivateKey::from_pem(key).map_err(key_fault)?;
        if private.public_key() != found.public_key() {
            return Err(AuthorityError::Mismatch { keyset });
        }
        let signer = Signer::new(&private).ok_or_else(|| key_fault(KeyFault::NotPrivateKey))?;
        let now = whole_seconds(now).ok_or_else(|| certificate(CertificateFault::Validity))?;
        if now < found.not_before() || now > found.not_after() {
            let (begins, ends) = (found.not_before(), found.not_after());
            return Err(AuthorityError::Time { keyset, begins, ends, now });
        }
        Ok(Self::new(keyset, found, signer, now))
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// How many whole days it can still sign for.
    pub fn remaining_days(&self) -> i64 {
        self.certificate.remaining_days(self.now)
    }

    /// Makes a key and signs a certificate for it. The certificate is valid from [`CLOCK_SKEW`] ago until
    /// `validity` from now, and neither before nor after its authority.
    ///
    /// Errors: another authority signs such certificates, a name in the profile cannot stand in a certificate,
    /// a validity of less than a second, no randomness.
    pub fn issue(
        &self,
        profile: &Profile,
        validity: Duration,
        entropy: &mut dyn Entropy,
    ) -> Result<Issued, IssueError> {
        if profile.authority() != self.keyset {
            return Err(IssueError::WrongAuthority {
                profile: profile.name(),
                expected: profile.authority(),
                found: self.keyset,
            });
        }
        let subject = profile.subject()?;
        let seconds = validity.whole_seconds();
        if seconds < 1 {
            return Err(IssueError::Validity { seconds });
        }
        let making = |reason: String| IssueError::Making { profile: profile.name(), reason };
        let mut params = subject_params(&subject).map_err(|error| making(error.to_string()))?;
        params.extended_key_usages = profile.usages();
        params.serial_number = Some(positive(draw(entropy)?));
        params.not_before = self.certificate.not_before().max(self.now - CLOCK_SKEW);
        params.not_after = self.end(seconds);
        let private_key = fresh_key(entropy, Algorithm::EcdsaP256)?;
        let signer =
            Signer::new(&private_key).ok_or_else(|| making("the key made for it is unusable".to_owned()))?;
        let issuer_params = self.certificate.issuer_params().map_err(making)?;
        let issuer = Issuer::from_params(&issuer_params, &self.signer);
        let made = params.signed_by(&signer, &issuer).map_err(|error| making(error.to_string()))?;
        if !self.certificate.issued(made.der()) {
            return Err(making("it does not name its authority as the authority names itself".to_owned()));
        }
        Ok(Issued {
            certificate_pem: pem::encode(pem::CERTIFICATE, made.der()).to_string(),
            private_key,
            not_after: params.not_after,
        })
    }

    /// The time so many seconds from now, but not after the authority's own end.
    fn end(&self, seconds: i64) -> OffsetDateTime {
        let own = self.certificate.not_after();
        self.now.checked_add(Duration::seconds(seconds)).map_or(own, |end| end.min(own))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("keyset", &self.keyset)
            .field("certificate", &self.certificate)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// What every certificate that is not an authority's has, for this subject.
fn subject_params(subject: &Subject<'_>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(organization) = subject.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, subject.common_name);
    for name in &subject.dns {
        params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
    }
    params.subject_alt_names.extend(subject.ips.iter().map(|ip| SanType::IpAddress(*ip)));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
