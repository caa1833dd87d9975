//! `kcl replace`: replaces the registered spec, and nothing else.

use kcl_aws::store::registration;

use super::Done;
use crate::cli::Replace;
use crate::error::CommandError;
use crate::locked::Locked;
use crate::output::Printer;
use crate::session::{Input, Validated, store_of};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(args: Replace, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    let Validated { cluster, warnings, registration } = Input::read(&args.files)?.validate()?;
    printer.warnings(&warnings);
    let store = store_of(&cluster, settings).await?;
    let name = &cluster.name;
    let not_registered = || {
        let error = format!("{name} is not registered in {}", store.location());
        CommandError::failed(error).hint("create it with `kcl create cluster -f FILE --yes`")
    };
    // Where there is nothing to replace there may be no bucket for a lock either.
    if registration::read(store.as_ref(), name).await?.is_none() {
        return Err(not_registered());
    }
    let work = async |locked: &Locked| {
        store.forget_reads();
        let Some(old) = locked.reading(async { Ok(registration::read(store.as_ref(), name).await?) }).await?
        else {
            return Err(not_registered());
        };
        if old.digest == registration.digest && old.completed == registration.completed {
            printer.note(&format!("the registered spec of {name} is the same already"));
            return Ok(Done::Clean);
        }
        registration.write(store.as_ref(), name).await?;
        printer.note(&format!("replaced the spec of {name} in {}", store.location()));
        printer.note("`kcl update` shows what it changes");
        Ok(Done::Clean)
    };
    let locked = Locked::take(&store, name, "kcl replace", None, args.lock.options(), printer).await?;
    locked.run(printer, work).await
}
