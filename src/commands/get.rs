//! `kcl get`: what there is.

use std::collections::BTreeMap;

use kcl_aws::store::registration::{self, Registered};
use kcl_aws::store::{Store, keysets, reports};
use kcl_aws::{Aws, Depth, ErrorKind, Scope};
use kcl_engine::{Owner, Wanted};
use kcl_node_config::{Status, with_hints};
use kcl_pki::KeysetName;
use kcl_spec::cluster::Role;
use kcl_spec::{Document, KCL_API, KOPS_API, Source};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Done;
use crate::cli::{Format, Get, What};
use crate::error::CommandError;
use crate::machines;
use crate::output::{Names, Printer, Table};
use crate::session::{
    Input, checked_name, connect, connect_unregistered, no_store, only_cluster, open_store, registered_name,
    unknown_cluster,
};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(args: Get, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    match args.what {
        What::Clusters => clusters(&args, settings, printer).await?,
        What::Instancegroups => instance_groups(&args, settings, printer).await?,
        What::Instances => instances(&args, settings, printer).await?,
        What::Keypairs => keypairs(&args, settings, printer).await?,
        What::Backups => backups(&args, settings, printer).await?,
        What::Resources => resources(&args, settings, printer).await?,
    }
    Ok(Done::Clean)
}

/// Prints rows the way that was asked for.
fn print(args: &Get, printer: &Printer, table: &Table, items: &[Value]) {
    match args.output {
        Format::Table if table.is_empty() && args.names.is_empty() => printer.say("nothing found"),
        Format::Table if table.is_empty() => {}
        Format::Table => printer.data(&table.render()),
        Format::Json => printer.json(&items),
        Format::Yaml => {
            // Plain data cannot fail to serialise.
            let documents: Vec<String> =
                items.iter().map(|item| serde_yaml::to_string(item).unwrap_or_default()).collect();
            printer.data(&documents.join("---\n"));
        }
    }
}

fn is_asked_for(args: &Get, name: &str) -> bool {
    args.names.is_empty() || args.names.iter().any(|asked| asked == name)
}

/// Names that were asked for and are not there are an error, after what is there was printed.
fn check_missing(args: &Get, found: &[String]) -> Result<(), CommandError> {
    let missing: Vec<&str> =
        args.names.iter().filter(|name| !found.contains(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CommandError::failed(format!("not found: {}", missing.join(", "))))
}

async fn clusters(args: &Get, settings: &Settings, printer: &Printer) -> Result<(), CommandError> {
    let store = open_store(settings, None, "", None).await?.ok_or_else(no_store)?;
    let names: Vec<String> =
        store.folders().await?.into_iter().filter(|name| is_asked_for(args, name)).collect();
    let registered = names.iter().map(|name| registration::read(store.as_ref(), name));
    let registered = futures::future::join_all(registered).await;
    let mut table = Table::new(&["NAME", "REGION", "VERSION", "CONTROL PLANE", "NODES", "ZONES"]);
    let mut items = Vec::new();
    for (name, registered) in names.iter().zip(registered) {
        let loaded = match registered {
            Ok(None) => continue,
            Ok(Some(registered)) => {
                if args.output != Format::Table {
                    items.extend(
                        documents(store.as_ref(), name, &registered, |it| it.kind == "Cluster").await?,
                    );
                }
                Input::of(store.as_ref(), name, registered).load().ok()
            }
            // What lies there is no registered spec.
            Err(error) if error.kind == ErrorKind::Refused => None,
            Err(error) => return Err(error.into()),
        };
        match loaded {
            Some(loaded) => {
                let cluster = &loaded.cluster;
                let size = |role| cluster.groups(role).map(|group| group.min_size).sum::<u32>().to_string();
                table.row(vec![
                    name.clone(),
                    cluster.region.clone(),
                    cluster.kubernetes_version.to_string(),
                    size(Role::ControlPlane),
                    size(Role::Node),
                    cluster.zones().join(","),
                ]);
            }
            None => table.row(vec![name.clone(), "(the registered spec is not sound)".to_owned()]),
        }
    }
    print(args, printer, &table, &items);
    check_missing(args, &names)
}

/// The documents of our own kinds that `wanted` picks, as they were given, as data.
async fn documents(
    store: &dyn Store,
    cluster: &str,
    registered: &Registered,
    wanted: impl Fn(&Document) -> bool,
) -> Result<Vec<Value>, CommandError> {
    let parts = registration::read_parts(store, cluster, registered).await?;
    let sources: Vec<Source> =
        parts.into_iter().map(|(part, text)| Source::new(format!("{cluster}/{part}"), text)).collect();
    let spec = kcl_spec::parse(&sources)?;
    let ours = spec.documents().iter();
    let ours = ours.filter(|document| [KOPS_API, KCL_API].contains(&document.api_version.as_str()));
    let picked = ours.filter(|document| wanted(document));
    Ok(picked.map(|document| serde_json::to_value(&document.value).unwrap_or_default()).collect())
}

async fn instance_groups(args: &Get, settings: &Settings, printer: &Printer) -> Result<(), CommandError> {
    let (store, cluster) = registered_name(args.cluster.clone(), settings).await?;
    let Some(registered) = registration::read(store.as_ref(), &cluster).await? else {
        return Err(unknown_cluster(&cluster, store.as_ref()).await);
    };
    let loaded = Input::of(store.as_ref(), &cluster, registered.clone()).load()?;
    let mut table = Table::new(&["NAME", "ROLE", "MACHINE TYPE", "MIN", "MAX", "SUBNETS"]);
    let mut found = Vec::new();
    for group in loaded.cluster.instance_groups.iter().filter(|group| is_asked_for(args, &group.name)) {
        found.push(group.name.clone());
        table.row(vec![
            group.name.clone(),
            group.role.as_str().to_owned(),
            group.machine_type.clone(),
            group.min_size.to_string(),
            group.max_size.to_string(),
            group.subnets.join(","),
        ]);
    }
    let is_found = |document: &Document| {
        document.kind == "InstanceGroup" && document.name.as_ref().is_some_and(|name| found.contains(name))
    };
    let items = match args.output {
        Format::Table => Vec::new(),
        Format::Yaml | Format::Json => documents(store.as_ref(), &cluster, &registered, is_found).await?,
    };
    print(args, printer, &table, &items);
    check_missing(args, &found)
}

/// The cluster that was named, and its account. Only the region is taken from the registered spec, so this works
/// without one where the region is given.
async fn target(args: &Get, settings: &Settings) -> Result<(String, Aws), CommandError> {
    let store = open_store(settings, None, "", None).await?;
    let name = match (&args.cluster, &store) {
        (Some(name), _) => checked_name(name.clone())?,
        (None, Some(store)) => only_cluster(store.as_ref()).await?,
        (None, None) => {
            return Err(no_store().hint("or name the cluster and its region: --name NAME --region REGION"));
        }
    };
    if settings.aws.region.is_none()
        && let Some(store) = &store
        && is_registered(store.as_ref(), &name).await?
    {
        let cluster = Input::registered(Some(name.clone()), settings).await?.validate()?.cluster;
        return Ok((name, connect(settings, &cluster.region).await?));
    }
    let aws = connect_unregistered(settings, &name, store.as_deref()).await?;
    Ok((name, aws))
}

async fn is_registered(store: &dyn Store, name: &str) -> Result<bool, CommandError> {
    Ok(registration::read(store, name).await?.is_some())
}

async fn instances(args: &Get, settings: &Settings, printer: &Printer) -> Result<(), CommandError> {
    let (cluster, aws) = target(args, settings).await?;
    let rows = kcl_aws::lookup::instances(&aws, &cluster).await?;
    let rows: Vec<_> = rows.into_iter().filter(|row| is_asked_for(args, &row.id)).collect();
    let said = match open_store(settings, None, &aws.region, None).await? {
        Some(store) => {
            let ids = rows.iter().map(|row| row.id.as_str());
            reports::statuses_of(store.as_ref(), &cluster, ids).await?
        }
        None => Vec::new(),
    };
    let said: BTreeMap<&str, &Status> =
        said.iter().map(|status| (status.instance.as_str(), status)).collect();
    let mut table =
        Table::new(&["ID", "GROUP", "TYPE", "ZONE", "STATE", "STEP", "BOUGHT", "PRIVATE IP", "PUBLIC IP"]);
    let dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    for row in &rows {
        table.row(vec![
            row.id.clone(),
            dash(&row.group),
            row.machine_type.clone(),
            row.zone.clone(),
            row.state.clone(),
            said.get(row.id.as_str()).map_or_else(|| "-".to_owned(), |status| machines::word(status)),
            row.lifecycle.to_owned(),
            dash(&row.private_ip),
            dash(&row.public_ip),
        ]);
    }
    let found: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let items: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut item = json!(row);
            item["status"] = json!(said.get(row.id.as_str()));
            item
        })
        .collect();
    print(args, printer, &table, &items);
    for status in said.values() {
        if let Some(error) = &status.error {
            let (why, hints) = with_hints(error);
            let hint = (!hints.is_empty()).then(|| hints.join("; "));
            let title = format!("{} stopped at {}: {why}", status.instance, status.step);
            printer.warning(&title, hint.as_deref());
        }
    }
    check_missing(args, &found)
}

/// The backups of the cluster's etcd.
async fn backups(args: &Get, settings: &Settings, printer: &Printer) -> Result<(), CommandError> {
    let (store, cluster) = registered_name(args.cluster.clone(), settings).await?;
    let found = reports::backups(store.as_ref(), &cluster).await?;
    let found: Vec<_> = found.into_iter().filter(|backup| is_asked_for(args, &backup.name)).collect();
    let mut table = Table::new(&["NAME", "SIZE", "REASON", "KUBERNETES"]);
    for backup in &found {
        let reason = json!(backup.reason).as_str().unwrap_or_default().to_owned();
        table.row(vec![
            backup.name.clone(),
            super::restore::size(backup.size),
            reason,
            backup.kubernetes_version.clone(),
        ]);
    }
    print(args, printer, &table, &found.iter().map(|backup| json!(backup)).collect::<Vec<_>>());
    check_missing(args, &found.iter().map(|backup| backup.name.clone()).collect::<Vec<_>>())
}

/// The keys of the cluster, but for the keys themselves.
async fn keypairs(args: &Get, settings: &Settings, printer: &Printer) -> Result<(), CommandError> {
    let (store, cluster) = registered_name(args.cluster.clone(), settings).await?;
    let names: Vec<KeysetName> =
        KeysetName::ALL.into_iter().filter(|name| is_asked_for(args, name.as_str())).collect();
    let lists = names.iter().map(|name| keysets::list(store.as_ref(), &cluster, *name));
    let lists = futures::future::try_join_all(lists).await?;
    let mut table = Table::new(&["KEYSET", "ID", "STATE", "EXPIRES"]);
    let mut items = Vec::new();
    let moment = |time: Option<OffsetDateTime>| time.and_then(|time| time.format(&Rfc3339).ok());
    for (name, key) in
        names.iter().zip(lists).flat_map(|(name, keys)| keys.into_iter().map(move |key| (name, key)))
    {
        let state = match (key.primary, key.trusted) {
            (true, _) => "primary",
            (false, true) => "trusted",
            (false, false) => "distrusted",
        };
        let (created, expires) = (moment(Some(key.created)), moment(key.expires));
        // In 80 columns; when a key was made is in the data.
        table.row(vec![
            name.to_string(),
            key.id.to_string(),
            state.to_owned(),
            expires.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
        items.push(json!({
            "keyset": name.as_str(),
            "id": key.id.as_str(),
            "state": state,
            "created": created,
            "expires": expires,
            "distrusted": moment(key.distrusted),
            "hasPrivateKey": key.has_private_key,
        }));
    }
    print(args, printer, &table, &items);
    check_missing(args, &names.iter().map(ToString::to_string).collect::<Vec<_>>())
}

async fn resources(args: &Get, settings: &Settings, printer: &Printer) -> Result<(), CommandError> {
    let (cluster, aws) = target(args, settings).await?;
    let wanted = Wanted::default();
    let mut live = kcl_aws::observe(&Scope::new(&aws, &cluster, &wanted, Depth::Everything)).await?;
    let catalogue = kcl_model::resource::catalogue();
    // People read and type names without the cluster's own.
    let names = Names::new(&cluster);
    live.retain(|node| is_asked_for(args, &node.id.name) || is_asked_for(args, &names.short(&node.id.name)));
    live.sort_by_cached_key(|node| (catalogue.rank(node.id.kind.as_str()), node.id.name.clone()));
    let mut table = Table::new(&["KIND", "NAME", "ID", "OWNER"]);
    for node in &live {
        let owner = match node.owner {
            Owner::Cluster => "cluster",
            Owner::Controller => "controller",
        };
        table.row(vec![
            node.id.kind.to_string(),
            names.short(&node.id.name),
            // An ARN says no more than kind and name do, in four times the width.
            node.attrs.get("id").cloned().unwrap_or_else(|| "-".to_owned()),
            owner.to_owned(),
        ]);
    }
    let found = live.iter().flat_map(|node| [node.id.name.clone(), names.short(&node.id.name)]);
    let found: Vec<String> = found.collect();
    print(args, printer, &table, &live.iter().map(|node| json!(node)).collect::<Vec<_>>());
    check_missing(args, &found)
}
