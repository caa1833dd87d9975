//! `kcl unlock`: shows who is changing a cluster, and removes a lock that was left behind.

use kcl_aws::store::lock::{Options, Status, SystemClock, break_lock, status};

use super::Done;
use crate::cli::Unlock;
use crate::error::CommandError;
use crate::output::Printer;
use crate::session::{one_name, registered_name};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(args: Unlock, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    let (store, name) = registered_name(one_name(args.cluster, args.named)?, settings).await?;
    let found = status(store.as_ref(), &name, &Options::default(), &SystemClock::new()).await?;
    let (version, what) = match found {
        Status::Free => {
            printer.note(&format!("nobody holds the lock of {name}"));
            return Ok(Done::Clean);
        }
        Status::Held { lease, version, expired } => {
            let what = format!("the lock of {name}, held by {}", lease.describe());
            if !expired && !args.force {
                return Err(CommandError::failed(format!("{what}, was left as it is")).hint(
                    "a run that was killed loses it by itself within a minute or two; --force removes it at once, \
                     and whoever holds it stops",
                ));
            }
            (version, what)
        }
        Status::Unreadable { reason, version } => {
            let what = format!("the lock of {name}, which cannot be read ({reason})");
            if !args.force {
                return Err(CommandError::failed(format!("{what}, was left as it is"))
                    .hint("make sure that nobody is changing the cluster, then remove it with --force"));
            }
            (version, what)
        }
    };
    break_lock(store.as_ref(), &name, version).await?;
    printer.note(&format!("removed {what}"));
    Ok(Done::Clean)
}
