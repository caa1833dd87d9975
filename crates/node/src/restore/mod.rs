//! A backup becomes etcd's data: on a blank volume ([`newest`], [`requested`]), or in the place of what there is,
//! because somebody asked for it ([`serve`]).
//!
//! A request is served by every machine of the control plane for itself. They agree on the snapshot and on who is a
//! member by a plan in the store, which the first of them writes; a cluster's id follows from that, so those who have
//! restored and those who have not never take each other for members of one cluster. What a machine has done is
//! seen in its files; it may be killed anywhere, and comes to the same end when [`serve`] is called again.

mod data;
mod documents;
mod error;
mod etcdutl;
mod steps;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use kcl_http::chain;
use kcl_node_config::{Backup, BackupReason, RestoreRequest, RestoreState};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use error::RestoreError;
pub use etcdutl::{Etcdutl, Image};

use crate::backup::{self, BackupError, Source};
use crate::manifests::Place;
use data::{Membership, Volume};

/// How long the progress that others read may hold up the work.
const PROGRESS: Duration = Duration::from_secs(10);

/// The machine whose etcd gets other data.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its member, and the store.
    pub source: Source,
    /// All members that the cluster should have.
    pub members: Vec<String>,
    /// Where the others reach this machine.
    pub address: IpAddr,
    /// What makes data of a snapshot.
    pub etcdutl: Etcdutl,
    /// How long it waits.
    pub waits: Waits,
}

/// How long is waited for etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Until it has ended.
    pub stop: Duration,
    /// Until it answers: in a cluster of several, until most of them have restored.
    pub start: Duration,
    /// Between two looks.
    pub pause: Duration,
}

impl Default for Waits {
    /// The kubelet looks at its manifests within 20 s, and gives a pod 30 s to end.
    fn default() -> Self {
        Self { stop: Duration::from_mins(3), start: Duration::from_mins(10), pause: Duration::from_secs(1) }
    }
}

/// What is done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// What is to come of it.
    Plan,
    /// The backup is fetched, and looked at.
    Fetch,
    /// The API server ends, so that nothing is changed any more.
    StopApiServer,
    /// A backup of what is there.
    Snapshot,
    /// etcd ends.
    StopEtcd,
    /// The backup becomes data.
    Make,
    /// The data comes into its place.
    Swap,
    /// etcd and the API server begin again.
    Start,
    /// etcd answers.
    Wait,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Plan,
        Self::Fetch,
        Self::StopApiServer,
        Self::Snapshot,
        Self::StopEtcd,
        Self::Make,
        Self::Swap,
        Self::Start,
        Self::Wait,
    ];

    /// Its name, as in the progress.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Fetch => "fetch",
            Self::StopApiServer => "stop-api-server",
            Self::Snapshot => "snapshot",
            Self::StopEtcd => "stop-etcd",
            Self::Make => "make-data",
            Self::Swap => "swap-data",
            Self::Start => "start",
            Self::Wait => "wait-for-etcd",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is told while it works.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step begins.
    Begins(Step),
    /// There will be no backup of what was there before, for this reason; the data itself is kept on the volume.
    NoSnapshot(&'a str),
    /// The progress could not be written, for this reason; the work goes on.
    ProgressNotWritten(&'a str),
}

/// Who is told.
pub type Tell<'a> = &'a (dyn Fn(&Event<'_>) + Sync);

/// What came of looking for a request.
#[derive(Debug)]
pub enum Served {
    /// There is none that is not served, or it is not for this machine.
    Nothing,
    /// This machine runs with the restored data now.
    Done(RestoreRequest),
    /// It has given up, for good, and runs with the data that it had.
    Failed(RestoreRequest, RestoreError),
}

/// Restores what somebody asked for, if there is such a request that this machine has not served. What may pass is an
/// error; the next call goes on where this one was.
pub async fn serve(site: &Site, tell: Tell<'_>) -> Result<Served, RestoreError> {
    let (source, store) = (&site.source, &site.source.store);
    let Some(request) = documents::request(store).await? else { return nothing(site) };
    let progress = documents::progress(store, &request.id, &source.member).await?;
    if progress.is_some_and(|progress| progress.state != RestoreState::Running) {
        return nothing(site);
    }
    let mut at = At { site, id: &request.id, step: Step::Plan, tell };
    match steps::all(&mut at, &request).await {
        Ok(None) => nothing(site),
        Ok(Some(cluster)) => {
            Volume::of(&source.system).clean(&request.id)?;
            documents::tell(site, &request.id, (RestoreState::Done, at.step.as_str()), None, Some(cluster))
                .await?;
            Ok(Served::Done(request))
        }
        Err(error) if error.is_transient() => {
            at.write(Some(chain(&error))).await;
            Err(error)
        }
        Err(error) => {
            Place::Restoring.put_back(&source.system)?;
            Volume::of(&source.system).give_up()?;
            let state = (RestoreState::Failed, at.step.as_str());
            documents::tell(site, &request.id, state, Some(chain(&error)), None).await?;
            Ok(Served::Failed(request, error))
        }
    }
}

/// A request that is gone, or was replaced by one that is served, may have left etcd stopped.
fn nothing(site: &Site) -> Result<Served, RestoreError> {
    Place::Restoring.put_back(&site.source.system)?;
    Ok(Served::Nothing)
}

/// Where a restore is.
struct At<'a> {
    site: &'a Site,
    id: &'a str,
    step: Step,
    tell: Tell<'a>,
}

impl At<'_> {
    async fn begin(&mut self, step: Step) {
        self.step = step;
        (self.tell)(&Event::Begins(step));
        self.write(None).await;
    }

    /// That nobody can read how far it is stops no restore.
    async fn write(&self, error: Option<String>) {
        let state = (RestoreState::Running, self.step.as_str());
        let write = documents::tell(self.site, self.id, state, error, None);
        let why = match tokio::time::timeout(PROGRESS, write).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer in {} s", PROGRESS.as_secs()),
        };
        (self.tell)(&Event::ProgressNotWritten(&why));
    }
}

/// On a blank volume: makes the data that a request wants here, if there is one that was not served and has this
/// member in its plan. It is not told as done: [`serve`] does that once etcd runs.
pub async fn requested(site: &Site) -> Result<Option<RestoreRequest>, RestoreError> {
    let store = &site.source.store;
    let Some(request) = documents::request(store).await? else { return Ok(None) };
    let progress = documents::progress(store, &request.id, &site.source.member).await?;
    if progress.is_some_and(|progress| progress.state != RestoreState::Running) {
        return Ok(None);
    }
    let plan = documents::plan(site, &request).await?;
    let Some(membership) = Membership::of(&plan, &site.source.member) else { return Ok(None) };
    let backup = steps::wanted(site, &request).await?;
    make(site, &backup, &membership, &request.id).await?;
    Ok(Some(request))
}

/// On a blank volume: makes data of the newest backup, for a cluster that has this machine as its only member. Gives
/// the backup; nothing where there is none.
pub async fn newest(site: &Site) -> Result<Option<Backup>, RestoreError> {
    let Some(backup) = last_state(site).await? else { return Ok(None) };
    let id = format!("newest-{}", site.source.instance);
    let membership = Membership::alone(&site.source.instance, site.address, &format!("kcl-{id}"));
    make(site, &backup, &membership, &id).await?;
    Ok(Some(backup))
}

/// The backup that is the nearest to what the cluster was last. One of before a restore is not, and as long as there
/// is none of after it, the one that was restored is.
async fn last_state(site: &Site) -> Result<Option<Backup>, RestoreError> {
    let store = &site.source.store;
    let listing = backup::list(store).await?;
    let (mut newest, mut before) = (None, None);
    for name in listing.backups.iter().rev() {
        match backup::read(store, name).await? {
            Some(found) if found.reason == BackupReason::BeforeRestore => before = before.or(Some(found)),
            Some(found) => {
                newest = Some((name.at(), found));
                break;
            }
            None => {}
        }
    }
    if let Some(request) = documents::request(store).await? {
        let progress = documents::progress(store, &request.id, &site.source.member).await?;
        let failed = progress.is_some_and(|progress| progress.state == RestoreState::Failed);
        let asked = OffsetDateTime::parse(&request.requested_at, &Rfc3339).ok();
        let later = newest.as_ref().is_none_or(|(at, _)| asked.is_some_and(|asked| asked > *at));
        if later && !failed {
            match steps::wanted(site, &request).await {
                Ok(wanted) => return Ok(Some(wanted)),
                // Only one that is surely none: what is of before it is not what was last, and a store that does not
                // answer now may do so later.
                Err(RestoreError::Backup(BackupError::Missing { .. } | BackupError::Unreadable { .. })) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(newest.map(|(_, backup)| backup).or(before))
}

/// Makes data of a backup where there is none.
async fn make(site: &Site, backup: &Backup, membership: &Membership, id: &str) -> Result<(), RestoreError> {
    let (system, volume) = (&site.source.system, Volume::of(&site.source.system));
    if volume.is_restored(id) {
        return Ok(());
    }
    steps::fetch(site, backup).await?;
    volume.make(system, &site.etcdutl, membership, (id, &backup.name)).await?;
    volume.swap(id)?;
    volume.give_up()
}
