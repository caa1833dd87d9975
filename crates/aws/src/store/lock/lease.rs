//! The lease: the object that says who is changing a cluster.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::store::Object;

/// Who holds a lock: for people, never compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The user's name.
    pub user: String,
    /// The machine's.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// What it runs: `kcl update`. Without anything secret: everybody who may read the store can read it.
    pub command: String,
    /// The cluster's region: who deletes a cluster, and is killed once its spec is gone, leaves nothing else that says
    /// where to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, pid, command, region: _ } = self;
        write!(f, "{user}@{host} (process {pid}, `{command}`)")
    }
}

/// A lock as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Random, and no other lock's.
    pub id: String,
    /// Who holds it.
    pub holder: Holder,
    /// Since when, by the holder's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub acquired: OffsetDateTime,
    /// When it runs out unless it is renewed, by the holder's clock: for people.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// For how many seconds it is good each time that it is written: what counts.
    pub seconds: u64,
    /// How often it was renewed.
    pub sequence: u64,
}

impl Lease {
    /// For how long it is good each time that it is written.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// `t@h (process 1, ...) since 2026-11-21T10:00:00Z, until 2026-11-21T10:01:00Z unless it is renewed`.
    pub fn describe(&self) -> String {
        let Self { holder, acquired, expires, .. } = self;
        format!("{holder} since {}, until {} unless it is renewed", moment(*acquired), moment(*expires))
    }

    pub(super) fn body(&self) -> Result<Vec<u8>, crate::Error> {
        Ok(serde_json::to_vec_pretty(self)?)
    }
}

fn moment(time: OffsetDateTime) -> String {
    let seconds = time.replace_nanosecond(0).unwrap_or(time);
    seconds.format(&Rfc3339).unwrap_or_else(|_| seconds.to_string())
}

/// What a lock is replaced by where it cannot be deleted.
pub(super) const RELEASED: &[u8] = b"{\"released\":true}";

/// What a lock's object says.
#[derive(Debug)]
pub(super) enum Content {
    /// It is nobody's any more.
    Released,
    /// Somebody's.
    Lease(Lease),
    /// Half-written, or no lock at all.
    Unreadable(String),
}

impl Content {
    pub(super) fn of(object: &Object) -> Self {
        if object.body == RELEASED {
            return Self::Released;
        }
        match serde_json::from_slice(&object.body) {
            Ok(lease) => Self::Lease(lease),
            // Not the error's own words: they quote what is stored.
            Err(error) => Self::Unreadable(
                match error.classify() {
                    Category::Eof => "it ends in the middle",
                    Category::Syntax => "it is not JSON",
                    Category::Data | Category::Io => "it lacks what a lock has",
                }
                .to_owned(),
            ),
        }
    }
}
