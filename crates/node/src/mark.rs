//! The mark that says whether there is a cluster ([`Mark`]), and that only one machine ever begins one.
//!
//! It is written conditionally only. A store that takes such a write whatever its condition would let two machines
//! begin two clusters, so it is tried out before it is relied upon.

use kcl_node_config::{ConfigError, Mark, MarkState};

use crate::store::{Condition, Store, StoreError, Written};

/// Where is tried out whether conditions are kept.
const TRIAL: &str = "control-plane/conditions";

/// Why it is not known whether there is a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mark cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ConfigError),
    /// The store takes a write whose condition does not hold.
    #[error(
        "{store} takes writes whose conditions do not hold, so that two machines could begin two clusters\nhint: the state store has to be S3, or to keep `If-None-Match` and `If-Match` as S3 does"
    )]
    NoConditions {
        /// The store.
        store: String,
    },
    /// Somebody else changed it meanwhile.
    #[error(
        "{path} was changed by another machine while this one began the cluster\nhint: run this again; it goes on from what is there"
    )]
    Changed {
        /// Where.
        path: &'static str,
    },
}

/// What the mark means to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no cluster, and nobody begins one.
    Absent,
    /// This member has begun one; maybe another machine did, that was this member before.
    Mine {
        /// The mark.
        mark: Mark,
        /// Its entity tag.
        etag: String,
    },
    /// Another member has begun one.
    Others(Mark),
    /// There is a cluster.
    Initialized,
}

/// Who would begin the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// The etcd member.
    pub member: &'a str,
    /// Its volume.
    pub volume: &'a str,
    /// The machine.
    pub instance: &'a str,
}

impl Claimant<'_> {
    fn mark(&self, state: MarkState) -> Mark {
        Mark {
            state,
            member: self.member.to_owned(),
            volume: self.volume.to_owned(),
            instance: self.instance.to_owned(),
            at: crate::now(),
        }
    }
}

/// What the store says.
pub async fn look(store: &Store, member: &str) -> Result<Standing, MarkError> {
    let Some(object) = store.get(Mark::PATH).await? else { return Ok(Standing::Absent) };
    let mark = Mark::read(&object.bytes)?;
    Ok(match mark.state {
        MarkState::Initialized => Standing::Initialized,
        MarkState::Initializing if mark.member == member => Standing::Mine { mark, etag: object.etag },
        MarkState::Initializing => Standing::Others(mark),
    })
}

/// Claims the mark for this machine. Gives what the store says then, which is [`Standing::Mine`] with this machine's
/// own mark, or that somebody else was faster.
pub async fn claim(store: &Store, own: Claimant<'_>) -> Result<Standing, MarkError> {
    try_out(store, own.instance).await?;
    let before = look(store, own.member).await?;
    let condition = match &before {
        Standing::Absent => Condition::Absent,
        Standing::Mine { mark, .. } if mark.instance == own.instance => return Ok(before),
        // Whoever was this member before does not have the volume any more.
        Standing::Mine { etag, .. } => Condition::Unchanged(etag),
        Standing::Others(_) | Standing::Initialized => return Ok(before),
    };
    let text = own.mark(MarkState::Initializing).to_json()?;
    store.put(Mark::PATH, text.as_bytes(), condition).await?;
    // Whatever came of it: a write whose answer was lost fails the second time against itself.
    let after = look(store, own.member).await?;
    match &after {
        Standing::Absent => Err(MarkError::Changed { path: Mark::PATH }),
        Standing::Mine { mark, .. } if mark.instance != own.instance => {
            Err(MarkError::Changed { path: Mark::PATH })
        }
        _ => Ok(after),
    }
}

/// Says that there is a cluster now. Only who has the claim may.
pub async fn finish(store: &Store, own: Claimant<'_>) -> Result<(), MarkError> {
    let etag = match look(store, own.member).await? {
        Standing::Mine { mark, etag } if mark.instance == own.instance => etag,
        Standing::Initialized => return Ok(()),
        _ => return Err(MarkError::Changed { path: Mark::PATH }),
    };
    let text = own.mark(MarkState::Initialized).to_json()?;
    store.put(Mark::PATH, text.as_bytes(), Condition::Unchanged(&etag)).await?;
    match look(store, own.member).await? {
        Standing::Initialized => Ok(()),
        _ => Err(MarkError::Changed { path: Mark::PATH }),
    }
}

/// Refuses a store that does not keep conditions: what is there cannot be written as if it were not.
pub(crate) async fn try_out(store: &Store, instance: &str) -> Result<(), MarkError> {
    let path = format!("{TRIAL}/{instance}");
    let refused = || MarkError::NoConditions { store: store.location().to_string() };
    let mut writes = Vec::new();
    for condition in [Condition::Always, Condition::Absent, Condition::Unchanged("\"another\"")] {
        match store.put(&path, b"kcl-node tries out conditions here\n", condition).await {
            Ok(written) => writes.push(written != Written::ConditionFailed),
            // It does not know them.
            Err(StoreError::Refused { status: 501 | 400, .. }) => return Err(refused()),
            Err(error) => return Err(error.into()),
        }
    }
    // It has said what it is for. One that stays, since the role may not delete it, is in nobody's way.
    drop(store.delete(&path).await);
    if writes == [true, false, false] { Ok(()) } else { Err(refused()) }
}
