//! `kcl validate`: tells whether a cluster is healthy.

use kcl_kube::Connection;
use kcl_model::kubernetes::system_namespaces;

use super::Done;
use crate::api;
use crate::bootstrap::wait_ready;
use crate::cli::{HealthFormat, Validate};
use crate::error::{CommandError, Failure};
use crate::health::{self, Subject};
use crate::output::{Printer, health_text};
use crate::session::{Input, cluster_name, connect, store_of};
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(
    args: Validate,
    settings: &Settings,
    printer: &Printer,
) -> Result<Done, CommandError> {
    let input = Input::registered(cluster_name(args.cluster, args.named)?, settings).await?;
    let cluster = input.validate()?.cluster;
    let store = store_of(&cluster, settings).await?;
    let aws = connect(settings, &cluster.region).await?.with_state(store.clone(), &cluster.name);
    let own_url = async {
        match (&args.ways.kubeconfig, &args.ways.api_server) {
            (None, None) => Ok(kcl_aws::lookup::own_api_url(&aws, &cluster).await?),
            _ => Ok::<_, CommandError>(None),
        }
    };
    let access = api::access(&args.ways, store.as_ref(), &cluster.name, own_url.await?).await?;
    let Some(access) = access else {
        let error = format!("{} has no API server yet", cluster.name);
        let error = CommandError { failure: Failure::Unreachable, ..CommandError::failed(error) };
        return Err(error.hint(format!("`kcl update {} --yes` makes it", cluster.name)));
    };
    let connection = Connection::open(&access).await?;
    match args.wait {
        // Else each part of the look would tell the same by itself.
        None => drop(connection.version().await?),
        Some(timeout) => wait_ready(&connection, timeout, printer, None).await?,
    }
    let namespaces = system_namespaces(&cluster);
    let subject = Subject {
        aws: &aws,
        cluster: &cluster,
        connection: &connection,
        namespaces: &namespaces,
        connect_to: args.ways.connect_to.as_ref(),
    };
    let health = match args.wait {
        Some(timeout) => health::wait(&subject, timeout, printer).await?,
        None => health::look(&subject).await?,
    };
    match args.output {
        HealthFormat::Json => printer.json(&health),
        HealthFormat::Table => printer.data(&health_text(&health)),
    }
    if health.healthy { Ok(Done::Clean) } else { Ok(Done::Unhealthy) }
}
