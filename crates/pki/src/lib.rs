//! Keys of a cluster: its authorities, the certificates they sign, the service-account keys, and what is made
//! of them for others to read (JWKS, discovery document, kubeconfig).
//!
//! Takes the clock (`time::OffsetDateTime`) and randomness ([`Entropy`]) as arguments and gives values and
//! text. It never reads or writes anything: a store keeps the texts, at the paths of [`layout`]. A private key
//! is in memory as a [`PrivateKey`] or a [`SecretText`]; both are overwritten when dropped and print nothing of
//! themselves, and no error of this crate holds any of it.
//!
//! The way from nothing to a certificate:
//!
//! ```
//! use kcl_pki::{KeysetName, Keyset, Profile, SystemEntropy};
//! use time::{Duration, macros::datetime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = datetime!(2030-01-01 00:00 UTC);
//! let keyset = Keyset::generate(KeysetName::KubernetesCa, &mut SystemEntropy, now)?;
//! let admin = Profile::ApiClient {
//!     user: "alice".to_owned(),
//!     group: Some("kubeadm:cluster-admins".to_owned()),
//! };
//! let issued = keyset.authority(now)?.issue(&admin, Duration::hours(18), &mut SystemEntropy)?;
//! assert!(issued.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
//! # Ok(())
//! # }
//! ```

mod authority;
mod certificate;
mod clock;
mod entropy;
mod error;
mod index;
mod jwks;
mod key;
mod keyset;
mod pem;
mod profile;
mod secret;
mod yaml;

pub mod kubeconfig;
pub mod layout;

pub use authority::{Authority, Issued};
pub use certificate::CaCertificate;
pub use clock::{CA_VALIDITY, CLOCK_SKEW, EXPIRY_WARNING_DAYS};
pub use entropy::{Entropy, SystemEntropy};
pub use error::{
    AuthorityError, CertificateFault, DiscoveryError, EntropyError, IssueError, KeyFault, KeysetError,
    KubeconfigError,
};
pub use index::MAX_OBJECT_BYTES;
pub use jwks::{JWKS_PATH, OPENID_CONFIGURATION_PATH, jwks, openid_configuration};
pub use key::{Algorithm, PrivateKey, PublicKey};
pub use keyset::{Key, KeyId, KeyInfo, Keyset, Material};
pub use layout::{KeysetName, KeysetType};
pub use profile::{Profile, SubjectAltNames};
pub use secret::SecretText;
