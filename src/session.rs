//! From what was typed to a cluster: reading files or the registered spec, the state store, the account.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kcl_aws::store::{Location, Remembering, Store, spec_key};
use kcl_aws::{Aws, ErrorKind};
use kcl_spec::{Cluster, Diagnostic, Loaded, Source};

use crate::error::CommandError;
use crate::settings::Settings;

/// A file larger than this is no spec; it is refused before it is read into memory.
const LARGEST_SPEC: u64 = 4 * 1024 * 1024;

/// Spec text, from files or from the state store.
#[derive(Debug)]
pub(crate) struct Input {
    sources: Vec<Source>,
    /// The cluster must have this name.
    expected: Option<String>,
    /// Standard input is used up, so nobody can be asked.
    pub(crate) from_stdin: bool,
}

/// A sound spec.
#[derive(Debug)]
pub(crate) struct Validated {
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// What its owner should know.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The documents as they were given: what is registered.
    pub(crate) text: String,
}

impl Input {
    /// Reads files; `-` is standard input.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self, CommandError> {
        let mut sources = Vec::new();
        let mut from_stdin = false;
        for path in files {
            if path == Path::new("-") {
                if from_stdin {
                    return Err(CommandError::usage("standard input can be read only once"));
                }
                from_stdin = true;
                sources.push(Source::new("<stdin>", read_text("standard input", std::io::stdin())?));
            } else {
                let name = path.display().to_string();
                let file = std::fs::File::open(path)
                    .map_err(|error| CommandError::usage(format!("cannot read {name}: {error}")))?;
                sources.push(Source::new(name.clone(), read_text(&name, file)?));
            }
        }
        Ok(Self { sources, expected: None, from_stdin })
    }

    /// Reads the registered spec of `name`, or of the only cluster in the store.
    pub(crate) async fn registered(name: Option<String>, settings: &Settings) -> Result<Self, CommandError> {
        let store = open_store(settings, None, "").await?.ok_or_else(no_store)?;
        let name = match name {
            Some(name) => name,
            None => only_cluster(store.as_ref()).await?,
        };
        let Some(text) = store.get(&spec_key(&name)).await? else {
            return Err(unknown_cluster(&name, store.as_ref()).await);
        };
        let text = String::from_utf8(text.body).map_err(|_| {
            CommandError::failed(format!("the registered spec of {name} in {} is not text", store.location()))
        })?;
        let place = format!("{}/{}", store.location(), spec_key(&name));
        Ok(Self { sources: vec![Source::new(place, text)], expected: Some(name), from_stdin: false })
    }

    /// The spec must be of the cluster `name`, if one is given.
    pub(crate) fn expect_cluster(mut self, name: Option<&str>) -> Self {
        self.expected = name.map(str::to_owned);
        self
    }

    /// Judges the spec, and keeps its documents.
    pub(crate) fn load(&self) -> Result<Loaded, CommandError> {
        let loaded = kcl_spec::load(&self.sources)?;
        let name = &loaded.cluster.name;
        if let Some(expected) = self.expected.as_ref().filter(|expected| *expected != name) {
            return Err(CommandError::usage(format!("the spec is of the cluster {name}, not of {expected}")));
        }
        Ok(loaded)
    }

    /// Judges the spec.
    pub(crate) fn validate(&self) -> Result<Validated, CommandError> {
        let Loaded { cluster, warnings, .. } = self.load()?;
        Ok(Validated { cluster, warnings, text: join(&self.sources) })
    }
}

/// Several files as one, with document separators between them.
fn join(sources: &[Source]) -> String {
    let mut text = String::new();
    for source in sources {
        if !text.is_empty() {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str("---\n");
        }
        text.push_str(&source.text);
    }
    text
}

fn read_text(name: &str, reader: impl Read) -> Result<String, CommandError> {
    let mut bytes = Vec::new();
    reader
        .take(LARGEST_SPEC + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CommandError::usage(format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > LARGEST_SPEC {
        return Err(CommandError::usage(format!("{name} is larger than 4 MiB, which no cluster spec is")));
    }
    String::from_utf8(bytes).map_err(|_| CommandError::usage(format!("{name} is not UTF-8 text")))
}

/// The name in `[cluster] NAME`.
pub(crate) fn cluster_name(words: Vec<String>) -> Result<Option<String>, CommandError> {
    let mut words = words.into_iter().peekable();
    if words.peek().is_some_and(|word| word == "cluster") {
        words.next();
    }
    let name = words.next();
    match words.next() {
        Some(extra) => Err(CommandError::usage(format!("`{extra}` is one argument too many"))),
        None => name.map(checked_name).transpose(),
    }
}

/// `name`, which becomes part of names and paths: nothing but a cluster's name will do.
pub(crate) fn checked_name(name: String) -> Result<String, CommandError> {
    if kcl_spec::is_cluster_name(&name) {
        return Ok(name);
    }
    Err(CommandError::usage(format!("`{name}` is no cluster's name"))
        .hint("it is a DNS name with a dot, as in the spec's metadata.name: k8s.example.com"))
}

/// Opens the state store: the option's, else that of the spec (`cluster` name and configBase).
pub(crate) async fn open_store(
    settings: &Settings,
    spec: Option<(&str, Option<&str>)>,
    region: &str,
) -> Result<Option<Arc<dyn Store>>, CommandError> {
    let Some(location) = settings.location(spec)? else { return Ok(None) };
    let mut aws = settings.aws.clone();
    if aws.region.is_none() && !region.is_empty() {
        aws.region = Some(region.to_owned());
    }
    if let (Location::S3 { .. }, None) = (&location, &aws.region) {
        // Where no region is known yet (the spec that names it lies in this very store), any will do for S3
        // to say where the bucket is; the standard variables still come first.
        let unset = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().all(|name| std::env::var_os(name).is_none());
        if unset && aws.profile.is_none() {
            aws.region = Some("us-east-1".to_owned());
        }
    }
    Ok(Some(Arc::new(Remembering::new(location.open(&aws, None).await))))
}

/// Opens the state store that `cluster`'s spec is, or will be, registered in.
pub(crate) async fn store_of(cluster: &Cluster, settings: &Settings) -> Result<Arc<dyn Store>, CommandError> {
    let spec = Some((cluster.name.as_str(), cluster.config_base.as_deref()));
    let store = open_store(settings, spec, &cluster.region).await?;
    store.ok_or_else(|| no_store().hint("or set `configBase` in the spec"))
}

/// There is no state store to work with.
pub(crate) fn no_store() -> CommandError {
    CommandError::usage("no state store is set")
        .hint("set --state or KCL_STATE_STORE to s3://bucket/prefix or file:///directory")
}

/// The only cluster in a store.
pub(crate) async fn only_cluster(store: &dyn Store) -> Result<String, CommandError> {
    let mut clusters = store.folders().await?;
    match clusters.len() {
        1 => Ok(clusters.remove(0)),
        0 => Err(CommandError::failed(format!("there is no cluster in {}", store.location()))
            .hint("name the cluster, or create one with `kcl create cluster -f FILE --yes`")),
        _ => Err(CommandError::usage(format!("there are several clusters in {}", store.location()))
            .hint(format!("name one: {}", clusters.join(", ")))),
    }
}

async fn unknown_cluster(name: &str, store: &dyn Store) -> CommandError {
    let error = CommandError::failed(format!("{name} is not registered in {}", store.location()));
    match store.folders().await {
        Ok(clusters) if !clusters.is_empty() => {
            error.hint(format!("registered there: {}", clusters.join(", ")))
        }
        _ => error.hint("`kcl create cluster -f FILE --yes` registers and creates it"),
    }
}

/// Connects to the account in the region of the options or the environment: all that is known of a cluster whose
/// spec is not in `store`.
pub(crate) async fn connect_unregistered(
    settings: &Settings,
    name: &str,
    store: Option<&dyn Store>,
) -> Result<Aws, CommandError> {
    match (Aws::connect(&settings.aws).await, store) {
        (Ok(aws), _) => Ok(aws),
        (Err(error), Some(store)) if error.kind == ErrorKind::NoRegion => {
            let unknown = match store.get(&spec_key(name)).await? {
                Some(_) => CommandError::failed(format!(
                    "the registered spec of {name} is not sound, so its region is not known"
                )),
                None => unknown_cluster(name, store).await,
            };
            Err(unknown.hint("say in which region to look for it: --region REGION"))
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Connects to the account in the cluster's region.
pub(crate) async fn connect(settings: &Settings, region: &str) -> Result<Aws, CommandError> {
    let mut aws = settings.aws.clone();
    match &aws.region {
        Some(given) if given != region => {
            return Err(CommandError::usage(format!(
                "the cluster's zones are in {region}, but --region says {given}"
            )));
        }
        _ => aws.region = Some(region.to_owned()),
    }
    Ok(Aws::connect(&aws).await?)
}

/// The state store's bucket, as long as nothing is registered in it: a plan makes it where it is missing.
pub(crate) fn bucket_to_make(
    store: &dyn Store,
    region: &str,
    registered: bool,
) -> Option<kcl_model::NewBucket> {
    let bucket = store.bucket().filter(|_| !registered)?;
    Some(kcl_model::NewBucket {
        name: bucket.to_owned(),
        region: region.to_owned(),
        ..kcl_model::NewBucket::default()
    })
}
