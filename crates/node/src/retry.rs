//! Trying again: the one place that says how often and how long after.

use std::time::Duration;

/// How patient one is with what may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often something is tried in all; at least once.
    pub attempts: u32,
    /// The longest pause after the first failure; it doubles from there.
    pub first_pause: Duration,
    /// The longest pause of all.
    pub longest_pause: Duration,
}

impl Default for Patience {
    /// About two minutes in all: a machine that starts has nothing better to do, and DNS, routes and roles
    /// may be minutes younger than it is.
    fn default() -> Self {
        Self { attempts: 10, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(20) }
    }
}

/// Tries until it succeeds, fails for good, or patience ends; gives the last failure.
pub async fn retry<T, E, F>(
    patience: Patience,
    transient: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut tried = 1;
    loop {
        match attempt().await {
            Err(error) if tried < patience.attempts && transient(&error) => {
                tokio::time::sleep(pause(patience, tried)).await;
                tried += 1;
            }
            done => return done,
        }
    }
}

/// Anything between half of the doubled pause and all of it, so that machines started together come apart.
fn pause(patience: Patience, tried: u32) -> Duration {
    let doubled = patience.first_pause.saturating_mul(1 << (tried - 1).min(16));
    let longest = doubled.min(patience.longest_pause);
    // Without randomness, all of it.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    longest.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let patience = Patience::default();
        for tried in 1..100 {
            let pause = pause(patience, tried);
            assert!(
                pause >= patience.first_pause / 2 && pause <= patience.longest_pause,
                "{tried}: {pause:?}"
            );
        }
    }
}
