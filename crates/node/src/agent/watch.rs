//! Watches the machine's metadata for what is coming.

use std::convert::Infallible;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;

use super::notice::{self, Documents, LIFECYCLE, MAINTENANCE, Outlook, Policy, REBALANCE, SPOT};
use super::report::Report;
use super::supervise::Failure;
use crate::imds::{Imds, ImdsError};

/// What does not work when the metadata cannot be had.
pub(super) const METADATA: &str = "instance metadata";

/// Asks for all documents.
async fn documents(imds: &Imds) -> Result<Documents, ImdsError> {
    Ok(Documents {
        spot: imds.get(SPOT).await?,
        rebalance: imds.get(REBALANCE).await?,
        maintenance: imds.get(MAINTENANCE).await?,
        lifecycle: imds.get(LIFECYCLE).await?,
    })
}

/// What follows from what the metadata says now.
pub(super) async fn look(imds: &Imds, policy: Policy) -> Result<Outlook, ImdsError> {
    Ok(notice::outlook(&documents(imds).await?, policy, OffsetDateTime::now_utc()))
}

/// Looks again and again, and says what follows from what it sees.
pub(super) async fn watch(
    imds: &Imds,
    every: Duration,
    policy: Policy,
    report: &Report,
    outlook: &watch::Sender<Outlook>,
) -> Result<Infallible, Failure> {
    let mut announced = Vec::new();
    loop {
        let found = documents(imds).await?;
        report.works(METADATA);
        let now = notice::announced(&found, policy);
        for line in now.iter().filter(|line| !announced.contains(*line)) {
            report.tell(line);
        }
        announced = now;
        let next = notice::outlook(&found, policy, OffsetDateTime::now_utc());
        outlook.send_if_modified(|before| {
            let next = settled(before, next);
            let changed = *before != next;
            *before = next;
            changed
        });
        tokio::time::sleep(every).await;
    }
}

/// A cause that names no time of its own would come closer for ever: of the same cause, the first time counts, and
/// an earlier one of any cause.
fn settled(before: &Outlook, next: Outlook) -> Outlook {
    match (before, &next) {
        (Outlook::Leave { cause, at }, Outlook::Leave { cause: other, at: later })
            if cause == other && later > at =>
        {
            before.clone()
        }
        _ => next,
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::super::notice::Cause;
    use super::*;

    #[test]
    fn the_first_time_of_a_cause_counts() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let leave = |cause, seconds| Outlook::Leave { cause, at: now + Duration::seconds(seconds) };
        let group = |seconds| leave(Cause::Group, seconds);
        assert_eq!(settled(&Outlook::Stay, group(120)), group(120));
        assert_eq!(settled(&group(120), group(125)), group(120));
        assert_eq!(settled(&group(120), group(60)), group(60));
        let spot = leave(Cause::Spot("terminate".to_owned()), 130);
        assert_eq!(settled(&group(120), spot.clone()), spot, "what is announced now is what counts");
        assert_eq!(settled(&group(120), Outlook::Stay), Outlook::Stay);
    }
}
