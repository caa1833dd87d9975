//! `kcl export kubeconfig`: puts a cluster into a kubeconfig file, and with `--admin` a client certificate that is
//! signed on the spot.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kcl_aws::store::keysets;
use kcl_pki::kubeconfig::{Client, Entry, MAX_BYTES, merge};
use kcl_pki::{Issued, KeysetName};
use kcl_spec::Cluster;

use super::Done;
use crate::api::{ADMINS, admin_certificate};
use crate::cli::ExportKubeconfig;
use crate::error::CommandError;
use crate::output::Printer;
use crate::session::{Input, connect, one_name, registered_name, unknown_cluster};
use crate::settings::Settings;

/// What the API server lets do everything, whatever RBAC says.
const MASTERS: &str = "system:masters";

/// Runs the command.
pub(super) async fn run(
    args: ExportKubeconfig,
    settings: &Settings,
    printer: &Printer,
) -> Result<Done, CommandError> {
    let (store, name) =
        registered_name(one_name(args.cluster.clone(), args.named.clone())?, settings).await?;
    let Some(input) = Input::registered_in(store.as_ref(), &name).await? else {
        return Err(unknown_cluster(&name, store.as_ref()).await);
    };
    let cluster = input.validate()?.cluster;
    let path = target(args.kubeconfig.as_deref())?;
    // Looked at first: where it cannot be written, nothing need be signed.
    let existing = read(&path)?;

    let signing = keysets::signing(store.as_ref(), &name, KeysetName::KubernetesCa);
    let public = async {
        match args.admin {
            // Whoever signs nothing need not be allowed to read private keys.
            None => Ok(None),
            Some(_) => signing.await.map(Some),
        }
    };
    let published = keysets::published(store.as_ref(), &name);
    let (server, (authority, published)) =
        futures::join!(server(&cluster, settings), async { futures::join!(public, published) });
    let (server, authority, published) = (server?, authority?, published?);
    let Some(trusted) = published.get(&KeysetName::KubernetesCa).map(kcl_pki::Keyset::trust_bundle) else {
        return Err(CommandError::failed(format!("{name} has no keys in {} yet", store.location()))
            .hint(format!("`kcl update {name} --yes` makes them")));
    };
    let issued = match (args.admin, authority) {
        (Some(validity), Some(authority)) => {
            let validity = time::Duration::try_from(validity)
                .map_err(|_| CommandError::usage("--admin: that is longer than any certificate lasts"))?;
            let group = if args.break_glass { MASTERS } else { ADMINS };
            Some(admin_certificate(&authority, group, validity)?)
        }
        _ => None,
    };
    let private = issued.as_ref().map(|issued| issued.private_key.to_pem());
    let client = match (&issued, &private) {
        (Some(issued), Some(private)) => {
            Some(Client { certificate_pem: &issued.certificate_pem, private_key_pem: private })
        }
        _ => None,
    };
    let entry = Entry {
        name: &name,
        server: &server,
        certificate_authority_pem: &trusted,
        client,
        tls_server_name: None,
        namespace: None,
    };
    let text = merge(existing.as_deref(), &entry, true)
        .map_err(|error| failed(error).hint(format!("{} was left as it is", path.display())))?;
    write(&path, text.reveal()).map_err(|error| cannot("write", &path, &error))?;
    say(printer, &name, &server, &path, issued.as_ref(), args.break_glass);
    Ok(Done::Clean)
}

fn say(printer: &Printer, name: &str, server: &str, path: &Path, issued: Option<&Issued>, break_glass: bool) {
    printer
        .note(&format!("{} has the context {name} now, which is the current one: {server}", path.display()));
    match issued {
        None => printer.note("it has no credentials of ours; --admin signs a client certificate"),
        Some(issued) => {
            let format = time::format_description::well_known::Rfc3339;
            let until = issued.not_after.format(&format).unwrap_or_else(|_| issued.not_after.to_string());
            let group = if break_glass { MASTERS } else { ADMINS };
            printer.note(&format!("its client certificate, of the group {group}, is good until {until}"));
        }
    }
    if break_glass {
        printer.warning("nothing but the certificate's end takes its rights away again", None);
    }
}

fn failed(error: impl std::error::Error) -> CommandError {
    CommandError::failed(error.to_string())
}

/// Where clients reach the API server.
async fn server(cluster: &Cluster, settings: &Settings) -> Result<String, CommandError> {
    let url = if cluster.api.load_balancer.is_none() {
        kcl_model::api_url(cluster, &[], &BTreeMap::new())
    } else {
        let aws = connect(settings, &cluster.region).await?;
        kcl_aws::lookup::api_url(&aws, cluster).await?
    };
    url.ok_or_else(|| {
        CommandError::failed(format!("{} has no API load balancer yet", cluster.name))
            .hint(format!("`kcl update {} --yes` makes it", cluster.name))
    })
}

/// The file to write.
fn target(given: Option<&Path>) -> Result<PathBuf, CommandError> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    // As kubectl does: several files may be named, and the first one is written to.
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(first) = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty()) {
        return Ok(first);
    }
    match std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => Ok(home.join(".kube").join("config")),
        None => Err(CommandError::usage("there is no home directory to keep a kubeconfig in")
            .hint("name the file: --kubeconfig FILE")),
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> CommandError {
    CommandError::failed(format!("cannot {what} {}: {error}", path.display()))
        .hint("name another file: --kubeconfig FILE")
}

fn read(path: &Path) -> Result<Option<String>, CommandError> {
    let too_large = || io::Error::other("it is larger than any kubeconfig");
    match fs::metadata(path) {
        Ok(file) if file.len() > MAX_BYTES as u64 => return Err(cannot("read", path, &too_large())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", path, &error)),
    }
    fs::read_to_string(path).map(Some).map_err(|error| cannot("read", path, &error))
}

/// Writes the whole file or nothing, readable by its owner alone. A link stays a link.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => folder.to_owned(),
        None => PathBuf::from("."),
    };
    fs::create_dir_all(&folder)?;
    // Temporary files are their owner's alone, and this one keeps that when it takes the other's place.
    let mut half = tempfile::NamedTempFile::new_in(&folder)?;
    half.write_all(text.as_bytes())?;
    half.as_file().sync_all()?;
    half.persist(&path).map_err(|error| error.error)?;
    Ok(())
}
