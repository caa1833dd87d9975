//! `kcl policy`: the IAM policy that a cluster's keeper needs. Works from the spec alone and asks nothing of AWS,
//! unless the spec is the registered one in S3.

use kcl_aws::policy::{Document, MAX_CHARACTERS, documents};
use kcl_aws::store::Location;
use kcl_model::{Documents, Facts, NewBucket, StoreLocation};
use kcl_spec::Cluster;

use super::Done;
use crate::cli::Policy;
use crate::error::CommandError;
use crate::output::Printer;
use crate::session::{Input, Validated, one_name};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(args: Policy, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    let name = one_name(args.cluster, args.named)?;
    let input = if args.files.is_empty() {
        Input::registered(name, settings)
            .await
            .map_err(|error| error.hint("or give the spec with -f FILE, which needs no access to AWS"))?
    } else {
        Input::read(&args.files)?.expect_cluster(name.as_deref())
    };
    let Validated { cluster, warnings, .. } = input.validate()?;
    printer.warnings(&warnings);
    let store = settings.location(Some((cluster.name.as_str(), cluster.config_base.as_deref())))?;
    if store.is_none() {
        printer.warning(
            "no state store is known, so nothing is allowed on one",
            Some("set --state or KCL_STATE_STORE, or `configBase` in the spec"),
        );
    }
    print(&policy(&cluster, store.as_ref())?, printer);
    Ok(Done::Clean)
}

fn policy(cluster: &Cluster, store: Option<&Location>) -> Result<Vec<Document>, CommandError> {
    let place = match store {
        Some(Location::S3 { bucket, prefix, .. }) => {
            Some(StoreLocation { bucket: bucket.clone(), prefix: prefix.clone() })
        }
        Some(Location::File { .. }) | None => None,
    };
    let bucket = place.as_ref().map(|place| NewBucket {
        name: place.bucket.clone(),
        region: cluster.region.clone(),
        kms_key: cluster.state_store.kms_key.clone(),
    });
    let mut model = kcl_model::build(cluster, &Facts::assumed(cluster, place))?;
    let nothing = Documents { completed: "", objects: "" };
    kcl_model::add_state(&mut model.wanted, &cluster.name, bucket.as_ref(), &nothing)?;
    Ok(documents(cluster, &model.wanted, store))
}

fn print(documents: &[Document], printer: &Printer) {
    printer.json(&documents);
    if documents.len() > 1 {
        printer.note(&format!(
            "{} policies, as IAM takes {MAX_CHARACTERS} characters in each: attach all of them",
            documents.len()
        ));
    }
    if documents.iter().any(|document| document.characters() > MAX_CHARACTERS) {
        printer.warning(
            &format!("one of them has more than the {MAX_CHARACTERS} characters that IAM takes"),
            Some("put it into a role as an inline policy: a role takes 10,240 characters of those"),
        );
    }
}
