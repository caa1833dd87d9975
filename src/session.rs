//! From what was typed to a cluster: reading files or the registered spec, the state store, the account.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kcl_aws::store::registration::{self, Registered, Registration};
use kcl_aws::store::{Location, Remembering, Store};
use kcl_aws::{Aws, ErrorKind};
use kcl_spec::{Cluster, Diagnostic, Loaded, Source};

use crate::cli::Named;
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
    /// The sources are the registered spec.
    registered: Option<Registered>,
    /// The Kubernetes objects that were registered with it, where they were read.
    objects: Option<Source>,
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
    /// The spec to register, or as it is registered.
    pub(crate) registration: Registration,
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
        Ok(Self { sources, expected: None, registered: None, objects: None, from_stdin })
    }

    /// Reads the registered spec of `name`, or of the only cluster in the store.
    pub(crate) async fn registered(name: Option<String>, settings: &Settings) -> Result<Self, CommandError> {
        let store = open_store(settings, None, "", None).await?.ok_or_else(no_store)?;
        let name = match name {
            Some(name) => name,
            None => only_cluster(store.as_ref()).await?,
        };
        let Some(input) = Self::registered_in(store.as_ref(), &name).await? else {
            return Err(unknown_cluster(&name, store.as_ref()).await);
        };
        Ok(input)
    }

    /// Reads the registered spec of `name` in `store`; `None` where it is not registered.
    pub(crate) async fn registered_in(store: &dyn Store, name: &str) -> Result<Option<Self>, CommandError> {
        let registered = registration::read(store, name).await?;
        Ok(registered.map(|registered| Self::of(store, name, registered)))
    }

    /// The registered spec of `name`, read from `store`.
    pub(crate) fn of(store: &dyn Store, name: &str, registered: Registered) -> Self {
        let place = format!("{}/{}", store.location(), registration::spec_key(name));
        Self {
            sources: vec![Source::new(place, registered.completed.clone())],
            expected: Some(name.to_owned()),
            registered: Some(registered),
            objects: None,
            from_stdin: false,
        }
    }

    /// The same input read again, if it is the registered spec: somebody may have registered another one meanwhile.
    pub(crate) async fn again(self, store: &dyn Store) -> Result<Self, CommandError> {
        match (&self.registered, &self.expected) {
            (Some(_), Some(name)) => match Self::registered_in(store, name).await? {
                Some(input) => Ok(input),
                None => Err(unknown_cluster(name, store).await),
            },
            _ => Ok(self),
        }
    }

    /// The same input with the Kubernetes objects that were registered with it. A file has its own.
    pub(crate) async fn with_objects(mut self, store: &dyn Store) -> Result<Self, CommandError> {
        if let (Some(registered), Some(name)) = (&self.registered, &self.expected) {
            let text = registration::read_objects(store, name, registered).await?;
            let place = format!("{}/{name}/{}", store.location(), registration::ADDITIONAL_OBJECTS);
            self.objects = Some(Source::new(place, text));
        }
        Ok(self)
    }

    /// The spec must be of the cluster `name`, if one is given.
    pub(crate) fn expect_cluster(mut self, name: Option<&str>) -> Self {
        self.expected = name.map(str::to_owned);
        self
    }

    /// Judges the spec, and keeps its documents.
    pub(crate) fn load(&self) -> Result<Loaded, CommandError> {
        let loaded = match &self.objects {
            Some(objects) => kcl_spec::load_with_objects(&self.sources, objects)?,
            None => kcl_spec::load(&self.sources)?,
        };
        let name = &loaded.cluster.name;
        if let Some(expected) = self.expected.as_ref().filter(|expected| *expected != name) {
            return Err(CommandError::usage(format!("the spec is of the cluster {name}, not of {expected}")));
        }
        Ok(loaded)
    }

    /// Judges the spec.
    pub(crate) fn validate(&self) -> Result<Validated, CommandError> {
        let loaded = self.load()?;
        let registration = match &self.registered {
            Some(registered) => registered.clone().into(),
            None => Registration::new(kcl_spec::complete(&loaded), kcl_spec::parts(&loaded)),
        };
        let Loaded { cluster, warnings, .. } = loaded;
        Ok(Validated { cluster, warnings, registration })
    }
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
pub(crate) fn cluster_name(words: Vec<String>, named: Named) -> Result<Option<String>, CommandError> {
    let mut words = words.into_iter().chain(named.name).peekable();
    if words.peek().is_some_and(|word| word == "cluster") {
        words.next();
    }
    let name = words.next();
    match words.next() {
        Some(extra) => Err(one_too_many(&extra)),
        None => name.map(checked_name).transpose(),
    }
}

/// The name of an argument, or of `--name`.
pub(crate) fn one_name(argument: Option<String>, named: Named) -> Result<Option<String>, CommandError> {
    match (argument, named.name) {
        (Some(_), Some(extra)) => Err(one_too_many(&extra)),
        (argument, named) => argument.or(named).map(checked_name).transpose(),
    }
}

fn one_too_many(extra: &str) -> CommandError {
    CommandError::usage(format!("`{extra}` is one argument too many"))
}

/// `name`, which becomes part of names and paths: nothing but a cluster's name will do.
pub(crate) fn checked_name(name: String) -> Result<String, CommandError> {
    if kcl_spec::is_cluster_name(&name) {
        return Ok(name);
    }
    Err(CommandError::usage(format!("`{name}` is no cluster's name"))
        .hint("it is a DNS name with a dot, as in the spec's metadata.name: k8s.example.com"))
}

/// Opens the state store: the option's, else that of the spec (`cluster` name and configBase). What is written to it
/// is encrypted with `kms_key`, if there is one.
pub(crate) async fn open_store(
    settings: &Settings,
    spec: Option<(&str, Option<&str>)>,
    region: &str,
    kms_key: Option<&str>,
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
    Ok(Some(Arc::new(Remembering::new(location.open(&aws, kms_key.map(str::to_owned)).await))))
}

/// Opens the state store that `cluster`'s spec is, or will be, registered in.
pub(crate) async fn store_of(cluster: &Cluster, settings: &Settings) -> Result<Arc<dyn Store>, CommandError> {
    let spec = Some((cluster.name.as_str(), cluster.config_base.as_deref()));
    let kms_key = cluster.state_store.kms_key.as_deref();
    let store = open_store(settings, spec, &cluster.region, kms_key).await?;
    store.ok_or_else(|| no_store().hint("or set `configBase` in the spec"))
}

/// There is no state store to work with.
pub(crate) fn no_store() -> CommandError {
    CommandError::usage("no state store is set")
        .hint("set --state or KCL_STATE_STORE to s3://bucket/prefix or file:///directory")
}

/// The state store, and the cluster in it that was named, or the only one.
pub(crate) async fn registered_name(
    given: Option<String>,
    settings: &Settings,
) -> Result<(Arc<dyn Store>, String), CommandError> {
    let store = open_store(settings, None, "", None).await?.ok_or_else(no_store)?;
    let name = match given {
        Some(name) => checked_name(name)?,
        None => only_cluster(store.as_ref()).await?,
    };
    Ok((store, name))
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

/// `name` is not registered.
pub(crate) async fn unknown_cluster(name: &str, store: &dyn Store) -> CommandError {
    let error = CommandError::failed(format!("{name} is not registered in {}", store.location()));
    match store.folders().await {
        Ok(clusters) if !clusters.is_empty() => {
            error.hint(format!("registered there: {}", clusters.join(", ")))
        }
        _ if [".yaml", ".yml"].iter().any(|ending| name.ends_with(ending)) => {
            error.hint(format!("a file with a spec is given with -f {name}"))
        }
        _ => error.hint(
            "nothing is registered there: look whether the name and --state are right, or create it with \
             `kcl create cluster -f FILE --yes`",
        ),
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
            let unknown = match registration::read(store, name).await? {
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
    cluster: &Cluster,
    registered: bool,
) -> Option<kcl_model::NewBucket> {
    let bucket = store.bucket().filter(|_| !registered)?;
    Some(kcl_model::NewBucket {
        name: bucket.to_owned(),
        region: cluster.region.clone(),
        kms_key: cluster.state_store.kms_key.clone(),
    })
}
