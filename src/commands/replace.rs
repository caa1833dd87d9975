//! `kcl replace`: replaces the registered spec, and nothing else.

use kcl_aws::store::{Condition, spec_key};

use super::Done;
use crate::cli::Replace;
use crate::error::CommandError;
use crate::output::Printer;
use crate::session::{Input, Validated, store_of};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(args: Replace, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    let Validated { cluster, warnings, text } = Input::read(&args.files)?.validate()?;
    printer.warnings(&warnings);
    let store = store_of(&cluster, settings).await?;
    let key = spec_key(&cluster.name);
    let Some(old) = store.get(&key).await? else {
        let error = format!("{} is not registered in {}", cluster.name, store.location());
        return Err(CommandError::failed(error).hint("create it with `kcl create cluster -f FILE --yes`"));
    };
    if old.body == text.as_bytes() {
        printer.note(&format!("the registered spec of {} is the same already", cluster.name));
        return Ok(Done::Clean);
    }
    store.put(&key, text.into_bytes(), Condition::IfUnchanged(old.version)).await?;
    printer.note(&format!("replaced the spec of {} in {}", cluster.name, store.location()));
    printer.note("`kcl update` shows what it changes");
    Ok(Done::Clean)
}
