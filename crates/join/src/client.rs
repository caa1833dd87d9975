//! The worker's side: asks until it has a token, or is told that it will not get one.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use kcl_http::{Http, HttpError, Options, Signer, Tls, TlsError, chain, request};
use thiserror::Error;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::proof::{Proof, ProofError};
use crate::protocol::{
    CLAIM_DIGITS, Envelope, Grant, JoinRequest, MAX_BODY, NONCE_DIGITS, PATH, Refused, Token, is_hex,
};
use crate::tls;

/// How long one answer may take: longer than the service's judgement.
const ANSWER: Duration = Duration::from_secs(30);

/// The longest pause between two tries. A group of workers that all wait for a control plane must not hammer it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a machine shows that it is the one that asked before: 32 random bytes, made once and kept on its disk.
#[derive(Clone)]
pub struct Claim(Zeroizing<String>);

impl Claim {
    /// The claim in a file that only its owner may read; made if it is not there, or was cut short.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) if is_hex(text.trim_end(), CLAIM_DIGITS) => {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                return Ok(Self(Zeroizing::new(text.trim_end().to_owned())));
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
            Err(error) => return Err(error),
        }
        let claim = Self(Zeroizing::new(random_hex(CLAIM_DIGITS)?));
        // Whole or not at all, and on the disk before the service hears of it.
        let whole = path.with_extension("new");
        match std::fs::remove_file(&whole) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&whole)?;
        file.write_all(claim.0.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&whole, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(claim)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claim(not shown)")
    }
}

/// What a worker joins with.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The join service: `https://api.internal.<cluster>:3988`.
    pub url: String,
    /// The cluster's authorities (PEM), from the node configuration. The service's certificate has to be theirs.
    pub ca_pem: String,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's region.
    pub region: String,
    /// This machine's instance id, which it is to have as a node's name.
    pub instance_id: String,
    /// From this machine's disk.
    pub claim: Claim,
    /// This machine's own role.
    pub signer: Signer,
    /// How long to go on asking while it may help.
    pub give_up_after: Duration,
}

/// What `kubeadm join` needs.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The bootstrap token.
    pub token: Token,
    /// When it expires (RFC 3339).
    pub expires: String,
    /// What kubeadm knows the authorities by (`caCertHashes`), from [`ClientConfig::ca_pem`].
    pub ca_cert_hashes: Vec<String>,
    /// Host and port of the API server (`apiServerEndpoint`).
    pub api_endpoint: String,
}

/// Why a worker has no token.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The configuration's address or texts.
    #[error("failed to set up the join: {what}")]
    Config {
        /// What is wrong.
        what: &'static str,
    },
    /// The configuration's authorities.
    #[error("failed to set up the join")]
    Tls(#[from] TlsError),
    /// The request could not be signed.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// No randomness.
    #[error("failed to make a join request: the system gives no random bytes")]
    NoRandomness(#[source] io::Error),
    /// Whoever answers is not this cluster's.
    #[error(
        "failed to trust the join service at {url}: its certificate is not of this cluster's authorities: {why}"
    )]
    Untrusted {
        /// Where.
        url: String,
        /// What is wrong with the certificate.
        why: String,
    },
    /// The service says no, and waiting does not help.
    #[error("the join service refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("failed to join within {} seconds, in {tries} tries: {last}", after.as_secs())]
    GaveUp {
        /// How long it was tried.
        after: Duration,
        /// How often.
        tries: u32,
        /// What the last try came to.
        last: String,
    },
}

/// One try that came to nothing.
enum Failed {
    /// Waiting may help.
    Passing(String),
    /// It does not.
    For(JoinError),
}

impl<E: Into<JoinError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::For(error.into())
    }
}

/// Asks the join service for a token.
pub async fn join(config: ClientConfig) -> Result<Joined, JoinError> {
    let ca_cert_hashes = tls::ca_cert_hashes(&config.ca_pem)?;
    let http = Http::new(Tls::of_cluster(&config.ca_pem, None)?, Options::default());
    let url = url(&config.url)?;
    let begun = Instant::now();
    let (mut tries, mut pause) = (0, Duration::from_secs(2));
    loop {
        tries += 1;
        let last = match Box::pin(ask(&config, &http, &url)).await {
            Ok(Grant { token, expires, api_endpoint }) => {
                return Ok(Joined { token, expires, ca_cert_hashes, api_endpoint });
            }
            Err(Failed::For(error)) => return Err(error),
            Err(Failed::Passing(why)) => why,
        };
        let wait = jittered(pause);
        if begun.elapsed() + wait >= config.give_up_after {
            return Err(JoinError::GaveUp { after: begun.elapsed(), tries, last });
        }
        tracing::info!(%url, tries, reason = %last, "not joined yet");
        sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks once, with a proof of its own.
async fn ask(config: &ClientConfig, http: &Http, url: &str) -> Result<Grant, Failed> {
    let credentials = config.signer.credentials().await;
    let credentials = credentials.map_err(|error| {
        Failed::Passing(format!("this machine has no role credentials: {}", chain(&error)))
    })?;
    let asked = JoinRequest {
        cluster: config.cluster.clone(),
        instance_id: config.instance_id.clone(),
        claim: config.claim.0.to_string(),
        nonce: random_hex(NONCE_DIGITS).map_err(JoinError::NoRandomness)?,
    };
    let unwritable = |_| JoinError::Config { what: "the request cannot be written" };
    let asked = serde_json::to_string(&asked).map_err(unwritable)?;
    let proof = Proof::sign(&credentials, &config.region, &asked, SystemTime::now())?;
    let body = serde_json::to_vec(&Envelope { request: asked, proof }).map_err(unwritable)?;
    let request = request("POST", url, &[("content-type", "application/json")], body)
        .map_err(|_| JoinError::Config { what: "the join service's address is not one" })?;
    let reply = match http.send_bounded(request, MAX_BODY, ANSWER).await {
        Ok(reply) => reply,
        // A clock that is wrong when a machine boots is set soon after.
        Err(HttpError::Untrusted { why, by_clock: false, .. }) => {
            return Err(JoinError::Untrusted { url: config.url.clone(), why }.into());
        }
        Err(error) => return Err(Failed::Passing(error.to_string())),
    };
    if reply.status.is_success() {
        let grant = serde_json::from_slice(&reply.body).ok().filter(|grant: &Grant| grant.token.is_token());
        return grant.ok_or_else(|| Failed::Passing("the answer has no token".to_owned()));
    }
    match serde_json::from_slice(&reply.body) {
        Ok(Refused { reason, retry: false }) => Err(JoinError::Refused { reason }.into()),
        Ok(Refused { reason, retry: true }) => Err(Failed::Passing(reason)),
        Err(_) => Err(Failed::Passing(format!("the answer is {}, and no join service's", reply.status))),
    }
}

/// Where to ask, from what the configuration says.
fn url(configured: &str) -> Result<String, JoinError> {
    let base = configured.trim_end_matches('/');
    if !base.starts_with("https://") || format!("{base}{PATH}").parse::<hyper::Uri>().is_err() {
        return Err(JoinError::Config {
            what: "the join service's address is not `https://` with host and port",
        });
    }
    Ok(format!("{base}{PATH}"))
}

/// Between half of it and all of it, at least a second: the service takes proofs in the order of their seconds.
fn jittered(pause: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without randomness machines only meet more often.
    let share = getrandom::fill(&mut bytes).map_or(u16::MAX, |()| u16::from_le_bytes(bytes));
    let half = pause / 2;
    half.max(Duration::from_secs(1)) + half * u32::from(share) / u32::from(u16::MAX)
}

fn random_hex(digits: usize) -> io::Result<String> {
    let mut bytes = Zeroizing::new(vec![0; digits / 2]);
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex::encode(&*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claim");
        let first = Claim::load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(*Claim::load_or_create(&path).unwrap().0 == *first.0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        // Killed while it was written, and damaged.
        std::fs::write(path.with_extension("new"), "ab").unwrap();
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        let second = Claim::load_or_create(&path).unwrap();
        assert!(*second.0 != *first.0 && is_hex(&second.0, CLAIM_DIGITS));
        assert!(*Claim::load_or_create(&path).unwrap().0 == *second.0);
        assert!(!format!("{second:?}").contains(second.0.as_str()));
    }

    #[test]
    fn pauses_are_at_least_a_second() {
        for seconds in [2, 4, 30] {
            let pause = Duration::from_secs(seconds);
            for _ in 0..100 {
                let wait = jittered(pause);
                assert!(wait >= Duration::from_secs(1) && wait >= pause / 2 && wait <= pause, "{wait:?}");
            }
        }
    }
}
