//! `kcl restore`: takes the cluster's etcd back to a backup.
//!
//! kcl asks, and the control plane's own machines do it: they have etcd's volumes. What they write of it is shown
//! until all of them are done, or one has given up.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_aws::Aws;
use kcl_aws::store::{Store, reports};
use kcl_node_config::{Backup, RestoreProgress, RestoreRequest, RestoreState};
use kcl_spec::Cluster;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::Done;
use crate::cli::Restore;
use crate::error::{CommandError, Failure};
use crate::locked::Locked;
use crate::output::Printer;
use crate::session::{Input, connect, one_name, registered_name, unknown_cluster};
use crate::settings::Settings;

/// How often the machines' words are read. They look for requests every half minute.
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);

/// The word for the newest backup.
const LATEST: &str = "latest";

/// Runs the command.
pub(super) async fn run(args: Restore, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    let (store, name) =
        registered_name(one_name(args.cluster.clone(), args.named.clone())?, settings).await?;
    let Some(input) = Input::registered_in(store.as_ref(), &name).await? else {
        return Err(unknown_cluster(&name, store.as_ref()).await);
    };
    let cluster = input.validate()?.cluster;
    let backup = choose(reports::backups(store.as_ref(), &name).await?, &args.backup, &name)?;
    printer.say(&format!("{name} would go back to {}:", backup.name));
    printer.say(&format!(
        "  taken at {} from member {} ({}), {}",
        backup.taken_at,
        backup.member,
        backup.instance,
        size(backup.size)
    ));
    printer.say("  what was changed in Kubernetes since then is lost; what is in AWS stays");
    printer.say("  the API server stops for about a minute; pods that run go on");
    if backup.kubernetes_version != cluster.kubernetes_version.to_string() {
        let title = format!(
            "it was taken of Kubernetes {}, and {} is wanted",
            backup.kubernetes_version, cluster.kubernetes_version
        );
        printer
            .warning(&title, Some("an API server reads what an older release wrote, one minor version back"));
    }
    let asked = || settings.interactive && printer.confirm(&format!("Restore it? Type {name}"), &name);
    let confirmed = args.yes || asked();
    if !confirmed {
        printer.note("nothing was changed; the same command with --yes restores it");
        return Ok(Done::Pending);
    }
    let aws = connect(settings, &cluster.region).await?;
    let locked =
        Locked::take(&store, &name, "kcl restore", Some(&cluster.region), args.lock.options(), printer)
            .await?;
    let work = async |locked: &Locked| {
        let restoring = Restoring { store: store.as_ref(), cluster: &cluster, printer };
        // What asks for it is not cut short: only the waiting is.
        let id = restoring.ask(&aws, &backup).await?;
        tokio::select! {
            done = restoring.follow(&id, args.timeout) => done,
            () = locked.stop() => Err(CommandError::failed("stopped; the control plane goes on restoring")
                .hint("`kcl get instances` shows how far each machine is")),
        }
    };
    locked.run(printer, work).await
}

/// The backup that is meant.
fn choose(mut backups: Vec<Backup>, wanted: &str, cluster: &str) -> Result<Backup, CommandError> {
    let none = || {
        CommandError::failed(format!("{cluster} has no backup {wanted}"))
            .hint(format!("`kcl get backups --name {cluster}` lists them"))
    };
    if wanted == LATEST {
        return backups.pop().ok_or_else(|| {
            CommandError::failed(format!("{cluster} has no backup yet"))
                .hint("its control plane takes one every 15 minutes")
        });
    }
    backups.into_iter().find(|backup| backup.name == wanted).ok_or_else(none)
}

/// A size as people read it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let (mut whole, mut unit) = (bytes, 0);
    while whole >= 10 * 1024 && unit + 1 < UNITS.len() {
        (whole, unit) = (whole / 1024, unit + 1);
    }
    format!("{whole} {}", UNITS[unit])
}

struct Restoring<'a> {
    store: &'a dyn Store,
    cluster: &'a Cluster,
    printer: &'a Printer,
}

impl Restoring<'_> {
    /// Asks the control plane for it; gives the request's id.
    async fn ask(&self, aws: &Aws, backup: &Backup) -> Result<String, CommandError> {
        let by = format!("the account {}", aws.account);
        let request = RestoreRequest::new(OffsetDateTime::now_utc(), &backup.name, &by);
        reports::request_restore(self.store, &self.cluster.name, &request).await?;
        self.printer.note(&format!("asked for the restore {}; waiting for the control plane", request.id));
        Ok(request.id)
    }

    /// Shows what becomes of it until every member is done.
    async fn follow(&self, id: &str, patience: Duration) -> Result<Done, CommandError> {
        let main = self.cluster.etcd_clusters.iter().find(|etcd| etcd.name == kcl_model::MAIN_ETCD);
        let members = main.map_or(1, |etcd| etcd.members.len());
        let begun = Instant::now();
        let mut seen: BTreeMap<String, RestoreProgress> = BTreeMap::new();
        loop {
            self.store.forget_reads();
            for progress in reports::restore_progress(self.store, &self.cluster.name, id).await? {
                let before = seen.insert(progress.member.clone(), progress.clone());
                let said = |it: &RestoreProgress| (it.state, it.step.clone(), it.error.clone());
                if before.as_ref().map(said) != Some(said(&progress)) {
                    self.tell(&progress);
                }
            }
            let of = |state| seen.values().filter(|it| it.state == state).count();
            if of(RestoreState::Done) >= members {
                self.printer.note(&format!("{} is restored", self.cluster.name));
                return Ok(Done::Clean);
            }
            if let Some(failed) = seen.values().find(|it| it.state == RestoreState::Failed) {
                let why = failed.error.clone().unwrap_or_default();
                return Err(with_hints(
                    format!(
                        "the member {} ({}) gave up at {}: ",
                        failed.member, failed.instance, failed.step
                    ),
                    &why,
                ));
            }
            if begun.elapsed() > patience {
                let error = format!(
                    "{} of {members} members are restored after {} s",
                    of(RestoreState::Done),
                    begun.elapsed().as_secs()
                );
                return Err(CommandError { failure: Failure::Unhealthy, ..CommandError::failed(error) }
                    .hint("the control plane goes on: `kcl get instances` shows whether its machines run"));
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    fn tell(&self, progress: &RestoreProgress) {
        let RestoreProgress { member, instance, state, step, error, .. } = progress;
        let what = match (state, error) {
            (RestoreState::Done, _) => "done".to_owned(),
            (RestoreState::Failed, _) => format!("failed at {step}"),
            (RestoreState::Running, None) => step.clone(),
            (RestoreState::Running, Some(error)) => {
                format!("{step}, trying again: {}", error.lines().next().unwrap_or_default())
            }
        };
        self.printer.say(&format!("  {member} ({instance}): {what}"));
    }
}

/// An error of a machine: its hints are lines of their own.
fn with_hints(begins: String, error: &str) -> CommandError {
    let (why, hints) = kcl_node_config::with_hints(error);
    hints.into_iter().fold(CommandError::failed(begins + why), CommandError::hint)
}
