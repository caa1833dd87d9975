//! The proofs that this service took, while they are still valid.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

use crate::refusal::Refusal;

/// So many are kept. They are of machines with a node's role only, and one leaves after minutes.
const MOST: usize = 4096;

/// A proof that can still be valid after this time was not signed yet: the longest validity, and how far ahead
/// a clock may be.
const KEPT: Duration = Duration::minutes(6);

/// Proofs by their digest, with the time until which they are kept.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<[u8; 32], OffsetDateTime>>);

impl Seen {
    /// Takes a proof, once.
    pub(crate) fn take(&self, digest: [u8; 32], now: OffsetDateTime) -> Result<(), Refusal> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, until| *until > now);
        if seen.contains_key(&digest) {
            return Err(Refusal::Replayed);
        }
        if seen.len() >= MOST {
            return Err(Refusal::Busy { why: "too many machines ask" });
        }
        seen.insert(digest, now + KEPT);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn once_and_never_without_bound() {
        let (seen, now) = (Seen::default(), datetime!(2030-01-01 00:00 UTC));
        seen.take([1; 32], now).unwrap();
        assert!(matches!(seen.take([1; 32], now + Duration::minutes(5)), Err(Refusal::Replayed)));
        for number in 0..MOST - 1 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            seen.take(digest, now).unwrap();
        }
        assert!(matches!(seen.take([2; 32], now), Err(Refusal::Busy { .. })));
        seen.take([2; 32], now + KEPT).unwrap();
        assert_eq!(seen.0.lock().unwrap().len(), 1);
    }
}
