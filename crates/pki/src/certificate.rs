//! The certificate of an authority: how it is made, and how one that was stored is read again.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, KeyUsagePurpose, SanType,
    SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use crate::authority::Signer;
use crate::clock::{CA_VALIDITY, CLOCK_SKEW, from_unix};
use crate::entropy::DRAW;
use crate::error::{CertificateFault, excerpt};
use crate::key::PublicKey;
use crate::pem;

/// A self-signed certificate of an authority, with an ECDSA P-256 key.
#[derive(Clone, PartialEq, Eq)]
pub struct CaCertificate {
    der: Vec<u8>,
    public: PublicKey,
    common_name: &'static str,
    /// Whether the common name is a `PrintableString`, as Go writes it, and not a `UTF8String`, as we do.
    /// A certificate must repeat its issuer's name byte by byte.
    printable: bool,
    /// The SubjectKeyIdentifier, by which certificates say which of several authorities of one name signed them.
    key_identifier: Vec<u8>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl CaCertificate {
    /// Reads one `CERTIFICATE` block with the certificate of an authority of this common name.
    pub(crate) fn from_pem(text: &[u8], common_name: &'static str) -> Result<Self, CertificateFault> {
        Self::from_der(pem::decode(pem::CERTIFICATE, text)?.to_vec(), common_name)
    }

    fn from_der(der: Vec<u8>, common_name: &'static str) -> Result<Self, CertificateFault> {
        let (rest, parsed) =
            X509Certificate::from_der(&der).map_err(|_| CertificateFault::NotX509 { part: "its DER" })?;
        if !rest.is_empty() {
            return Err(CertificateFault::NotX509 { part: "what comes after its end" });
        }
        check_purpose(&parsed)?;
        let printable = simple_subject(parsed.subject(), common_name).ok_or_else(|| {
            CertificateFault::Subject { found: excerpt(&parsed.subject().to_string()), expected: common_name }
        })?;
        check_signature(&parsed)?;
        let (not_before, not_after) = validity(&parsed)?;
        let key_identifier = key_identifier(&parsed)
            .ok_or(CertificateFault::NotX509 { part: "its subject key identifier" })?;
        let public = PublicKey::from_p256_spki(parsed.public_key().raw);
        Ok(Self { der, public, common_name, printable, key_identifier, not_before, not_after })
    }

    /// Makes the certificate that a new authority signs for itself, as kubeadm does: the common name is also a
    /// DNS name, and the key may sign certificates and serve TLS.
    pub(crate) fn self_signed(
        common_name: &'static str,
        signer: &Signer,
        serial: [u8; DRAW],
        now: OffsetDateTime,
    ) -> Result<Self, String> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(positive(serial));
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + CA_VALIDITY;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names =
            vec![SanType::DnsName(common_name.try_into().map_err(|error: rcgen::Error| error.to_string())?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        let made = params.self_signed(signer).map_err(|error| error.to_string())?;
        // Reading it back is the proof that a later run can read it too.
        Self::from_der(made.der().to_vec(), common_name).map_err(|fault| fault.to_string())
    }

    /// One `CERTIFICATE` block.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der).to_string()
    }

    /// The certificate's DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The first second in which it is valid.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// The last second in which it is valid.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// How many whole days it is still valid; negative once it has expired.
    pub fn remaining_days(&self, now: OffsetDateTime) -> i64 {
        (self.not_after.unix_timestamp() - now.unix_timestamp()).div_euclid(24 * 60 * 60)
    }

    /// What a certificate that this authority signs needs to say about it.
    pub(crate) fn issuer_params(&self) -> Result<CertificateParams, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = if self.printable {
            let text = self.common_name.try_into().map_err(|error: rcgen::Error| error.to_string())?;
            DnValue::PrintableString(text)
        } else {
            DnValue::Utf8String(self.common_name.to_owned())
        };
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(self.key_identifier.clone());
        Ok(params)
    }

    /// Whether a certificate names this authority, byte by byte, as its issuer.
    pub(crate) fn issued(&self, der: &[u8]) -> bool {
        let (Ok((_, own)), Ok((_, other))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(der))
        else {
            return false;
        };
        own.subject().as_raw() == other.issuer().as_raw()
    }
}

impl fmt::Debug for CaCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaCertificate")
            .field("common_name", &self.common_name)
            .field("public", &self.public)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A serial number that is positive and of the same length always, from random bytes.
pub(crate) fn positive(mut bytes: [u8; DRAW]) -> SerialNumber {
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// It must be an authority's certificate, and allow it to sign others.
fn check_purpose(parsed: &X509Certificate<'_>) -> Result<(), CertificateFault> {
    let constraints = parsed
        .basic_constraints()
        .map_err(|_| CertificateFault::NotX509 { part: "its basic constraints" })?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(CertificateFault::NotCa);
    }
    let usage = parsed.key_usage().map_err(|_| CertificateFault::NotX509 { part: "its key usage" })?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(CertificateFault::CannotSign);
    }
    Ok(())
}

/// Whether the one common name in `name` is a `PrintableString`; nothing if the name is another or has more parts.
fn simple_subject(name: &X509Name<'_>, common_name: &str) -> Option<bool> {
    let mut attributes = name.iter_attributes();
    let attribute = attributes.next()?;
    if attributes.next().is_some()
        || attribute.attr_type() != &OID_X509_COMMON_NAME
        || attribute.as_slice() != common_name.as_bytes()
    {
        return None;
    }
    match attribute.attr_value().tag() {
        Tag::PrintableString => Some(true),
        Tag::Utf8String => Some(false),
        _ => None,
    }
}

/// It must be signed by its own key: that shows damage, and that the key is on P-256.
fn check_signature(parsed: &X509Certificate<'_>) -> Result<(), CertificateFault> {
    if parsed.issuer().as_raw() != parsed.subject().as_raw() {
        return Err(CertificateFault::Signature);
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, parsed.public_key().raw)
        .verify(parsed.tbs_certificate.as_ref(), &parsed.signature_value.data)
        .map_err(|_| CertificateFault::Signature)
}

/// Its first and last second.
fn validity(parsed: &X509Certificate<'_>) -> Result<(OffsetDateTime, OffsetDateTime), CertificateFault> {
    let not_before = from_unix(parsed.validity().not_before.timestamp());
    let not_after = from_unix(parsed.validity().not_after.timestamp());
    match (not_before, not_after) {
        (Some(not_before), Some(not_after)) if not_before < not_after => Ok((not_before, not_after)),
        _ => Err(CertificateFault::Validity),
    }
}

/// Its SubjectKeyIdentifier.
fn key_identifier(parsed: &X509Certificate<'_>) -> Option<Vec<u8>> {
    parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}
