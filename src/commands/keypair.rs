//! `kcl create|promote|distrust keypair`: the steps by which a key is replaced without a moment in which something is
//! not trusted.
//!
//! They change the keysets in the state store alone. Machines and published documents follow with `kcl update`.

use kcl_aws::store::keysets;
use kcl_pki::{KeyId, Keyset, KeysetError, KeysetName, SystemEntropy};
use time::OffsetDateTime;

use super::Done;
use crate::cli::{CreateKeypair, DistrustKeypair, KeyOptions, PromoteKeypair};
use crate::error::CommandError;
use crate::locked::Locked;
use crate::output::Printer;
use crate::session::{Input, registered_name, store_of, unknown_cluster};
use crate::settings::Settings;

/// Adds a key to each keyset.
pub(super) async fn create(
    args: CreateKeypair,
    settings: &Settings,
    printer: &Printer,
) -> Result<Done, CommandError> {
    let add = |keyset: &mut Keyset, now| {
        let id = keyset.add(&mut SystemEntropy, now)?;
        if args.primary {
            keyset.promote(&id, now)?;
        }
        let name = keyset.name();
        let state =
            if args.primary { "it signs from now on" } else { "it is trusted, and signs nothing yet" };
        Ok(vec![format!("added the key {id} to {name}; {state}")])
    };
    let made = change(&args.options, "kcl create keypair", &args.keysets.0, settings, printer, add);
    let done = Box::pin(made).await?;
    printer.note(if args.primary {
        "`kcl update --yes` publishes it"
    } else {
        "`kcl update --yes` publishes it; once every machine trusts it, `kcl promote keypair` signs with it"
    });
    Ok(done)
}

/// Makes a key of each keyset the primary one.
pub(super) async fn promote(
    args: PromoteKeypair,
    settings: &Settings,
    printer: &Printer,
) -> Result<Done, CommandError> {
    if args.id.is_some() && args.keysets.0.len() > 1 {
        return Err(CommandError::usage("a key's id belongs to one keyset: name that in place of `all`"));
    }
    let promote = |keyset: &mut Keyset, now: OffsetDateTime| {
        let id = args.id.clone().unwrap_or_else(|| newest_trusted(keyset));
        let name = keyset.name();
        let state = if keyset.promote(&id, now)? {
            ": it signs from now on; the one before stays trusted"
        } else {
            " already"
        };
        Ok(vec![format!("{id} is the primary key of {name}{state}")])
    };
    let done =
        Box::pin(change(&args.options, "kcl promote keypair", &args.keysets.0, settings, printer, promote))
            .await?;
    printer.note(
        "machines sign with it once they are replaced; when nothing that the old key signed is in use any more, \
         `kcl distrust keypair` ends it",
    );
    Ok(done)
}

/// Distrusts keys of each keyset.
pub(super) async fn distrust(
    args: DistrustKeypair,
    settings: &Settings,
    printer: &Printer,
) -> Result<Done, CommandError> {
    if !args.ids.is_empty() && args.keysets.0.len() > 1 {
        return Err(CommandError::usage("a key's id belongs to one keyset: name that in place of `all`"));
    }
    let distrust = |keyset: &mut Keyset, now: OffsetDateTime| {
        let name = keyset.name();
        let ids = if args.ids.is_empty() { older_than_primary(keyset) } else { args.ids.clone() };
        if ids.is_empty() {
            return Ok(vec![format!("{name} has no trusted key that is older than its primary one")]);
        }
        let distrusted = ids.iter().map(|id| {
            let state = if keyset.distrust(id, now)? { "" } else { ", and was not before" };
            Ok(format!("the key {id} of {name} is not trusted any more{state}"))
        });
        distrusted.collect()
    };
    let done =
        Box::pin(change(&args.options, "kcl distrust keypair", &args.keysets.0, settings, printer, distrust))
            .await?;
    printer.note("`kcl update --yes` publishes that");
    Ok(done)
}

fn newest_trusted(keyset: &Keyset) -> KeyId {
    let newest = keyset.trusted().map(kcl_pki::Key::id).max();
    newest.unwrap_or_else(|| keyset.primary().id()).clone()
}

fn older_than_primary(keyset: &Keyset) -> Vec<KeyId> {
    let primary = keyset.primary().id();
    keyset.trusted().map(kcl_pki::Key::id).filter(|id| *id < primary).cloned().collect()
}

/// Changes each of `names` under the cluster's lock, and says what became of it.
async fn change(
    options: &KeyOptions,
    command: &str,
    names: &[KeysetName],
    settings: &Settings,
    printer: &Printer,
    change: impl Fn(&mut Keyset, OffsetDateTime) -> Result<Vec<String>, KeysetError>,
) -> Result<Done, CommandError> {
    let (store, cluster) = registered_name(options.cluster.clone(), settings).await?;
    let Some(input) = Input::registered_in(store.as_ref(), &cluster).await? else {
        return Err(unknown_cluster(&cluster, store.as_ref()).await);
    };
    // The same store, but writing as the spec says: its keys may be encrypted with one of the owner's.
    let store = store_of(&input.validate()?.cluster, settings).await?;
    let work = async |_: &Locked| {
        for name in names {
            for line in keysets::change(store.as_ref(), &cluster, *name, &change).await? {
                printer.note(&line);
            }
        }
        Ok(Done::Clean)
    };
    let locked = Locked::take(&store, &cluster, command, None, options.lock.options(), printer).await?;
    locked.run(printer, work).await
}
