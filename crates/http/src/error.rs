//! Why there is no answer, and how errors with causes are told.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::CertificateError;

use crate::body::BodyError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The request could not be made.
    #[error("{url} is not a URL that can be asked: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection, or it broke.
    #[error("no answer from {host}: {why}")]
    Connection {
        /// Who was asked.
        host: String,
        /// The chain of causes.
        why: String,
    },
    /// The other side's certificate is not one of those that are trusted; nothing was sent.
    #[error("no answer from {host}: its certificate is not trusted: {why}")]
    Untrusted {
        /// Who was asked.
        host: String,
        /// What is wrong with the certificate.
        why: String,
        /// Whether it would do at another time: a machine's clock may be wrong when it boots.
        by_clock: bool,
    },
    /// Silence.
    #[error("no answer from {host} in {} s", after.as_secs_f32())]
    Timeout {
        /// Who was asked.
        host: String,
        /// How long.
        after: Duration,
    },
    /// The answer is larger than can be right.
    #[error("the answer of {host} has more than {largest} bytes")]
    TooLarge {
        /// Who was asked.
        host: String,
        /// So many would have been taken.
        largest: usize,
    },
    /// What was to be sent could not be read.
    #[error("failed to send to {host}: {why}")]
    Body {
        /// Who was asked.
        host: String,
        /// What was met.
        why: String,
    },
}

impl HttpError {
    /// Whether it may pass.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Timeout { .. } => true,
            Self::Untrusted { by_clock, .. } => *by_clock,
            Self::Url { .. } | Self::TooLarge { .. } | Self::Body { .. } => false,
        }
    }

    /// What went wrong below HTTP.
    pub(crate) fn below(host: &str, error: &(dyn StdError + 'static)) -> Self {
        let host = host.to_owned();
        if let Some(rustls::Error::InvalidCertificate(fault)) = cause(error) {
            return Self::Untrusted { host, why: fault.to_string(), by_clock: is_by_clock(fault) };
        }
        match cause::<BodyError>(error) {
            Some(error) => Self::Body { host, why: chain(error) },
            None => Self::Connection { host, why: chain(error) },
        }
    }
}

fn is_by_clock(fault: &CertificateError) -> bool {
    matches!(
        fault,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

/// An error of this type somewhere among an error's causes.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // An io::Error names as its source not what it wraps, but the source of that.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match wrapped {
        Some(inner) => cause(inner),
        None => error.source().and_then(cause),
    }
}

/// An error with its causes, as hyper's own words say little; hints at the end, whichever of them has one.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let (mut words, mut hints) = (String::new(), String::new());
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let (what, hint) = text.split_once("\nhint: ").map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        if !words.contains(what) {
            words = if words.is_empty() { what.to_owned() } else { format!("{words}: {what}") };
        }
        if let Some(hint) = hint.filter(|hint| !hints.contains(hint)) {
            hints = format!("{hints}\nhint: {hint}");
        }
        next = error.source();
    }
    words + &hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn hints_come_last_and_nothing_is_said_twice() {
        let lowest = Layer("refused\nhint: allow it", None);
        let middle = Layer("refused", Some(Box::new(lowest)));
        let top = Layer("failed to read\nhint: try again", Some(Box::new(middle)));
        assert_eq!(chain(&top), "failed to read: refused\nhint: try again\nhint: allow it");
    }

    #[test]
    fn distrust_is_found_below_other_errors() {
        let below = |fault| {
            let tls = io::Error::other(rustls::Error::InvalidCertificate(fault));
            HttpError::below("host", &io::Error::other(tls))
        };
        let stranger = below(CertificateError::UnknownIssuer);
        assert!(matches!(stranger, HttpError::Untrusted { by_clock: false, .. }), "{stranger}");
        assert!(!stranger.is_transient());
        let early = below(CertificateError::NotValidYet);
        assert!(matches!(early, HttpError::Untrusted { by_clock: true, .. }) && early.is_transient());
        let broken = HttpError::below("host", &io::Error::other("broken"));
        assert!(matches!(broken, HttpError::Connection { .. }), "{broken}");
    }
}
