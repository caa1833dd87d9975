//! Gets the programs of a machine: in parallel, tried again, and used only if the hash is the promised one.
//!
//! A file is fetched into a folder of its own, checked, and then put in its place in one piece: whatever
//! happens, no part of a file is ever where a program is looked for. A note of what was installed from an
//! archive, by its hash, says that it need not be fetched again; an image may bring programs and notes with it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use futures::{StreamExt as _, TryStreamExt as _};
use hyper::StatusCode;
use hyper::header::LOCATION;
use kcl_http::{Body, Http, HttpError, Opened, redirected, request};
use kcl_node_config::{Asset, ConfigError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::retry::{Patience, retry};
use crate::system::{FOLDER, System, SystemError, replace};

/// How many at once: one does not fill a small machine's link, and more share it.
const AT_ONCE: usize = 4;
/// The largest asset is containerd with 40 MiB.
const LARGEST: u64 = 1 << 30;
/// dl.k8s.io and GitHub each send to another host, and that to no further one.
const REDIRECTS: usize = 5;

/// Why a program could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// No answer, or one cut short.
    #[error("failed to download {url}")]
    Http {
        /// What was asked for.
        url: String,
        /// Why.
        source: HttpError,
    },
    /// Another answer than the file.
    #[error("failed to download {url}: the server answered HTTP {status}\nhint: {hint}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// What to do about it.
        hint: &'static str,
    },
    /// Sent from one server to the next.
    #[error("failed to download {url}: {why}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too large to be right.
    #[error("failed to download {url}: it is larger than {LARGEST} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
    },
    /// It is something else than what was promised.
    #[error(
        "{url} has the sha256 {found}, and {wanted} was wanted; it was not used\nhint: the server, or a mirror or proxy on the way, gives another file than the one that was published"
    )]
    Hash {
        /// What was asked for.
        url: String,
        /// The promised hash.
        wanted: String,
        /// The file's.
        found: String,
    },
    /// The archive is not one, or lacks something.
    #[error("failed to unpack {name}: {why}")]
    Archive {
        /// The asset.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of this machine.
    #[error("failed to install {name}")]
    File {
        /// The asset.
        name: String,
        /// What failed.
        source: SystemError,
    },
    /// The asset itself.
    #[error("{0}")]
    Config(#[from] ConfigError),
}

impl DownloadError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Http { source, .. } => source.is_transient(),
            Self::Status { status, .. } => *status >= 500 || *status == 429 || *status == 408,
            _ => false,
        }
    }
}

/// What became of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there already.
    Kept,
    /// It was fetched and installed.
    Installed,
}

/// How programs are got.
#[derive(Clone, Debug)]
pub struct Downloads {
    /// The client.
    pub http: Http,
    /// How often each is tried.
    pub patience: Patience,
    /// The longest silence of a server.
    pub silence: Duration,
}

/// What was installed from an archive: paths and their hashes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    files: BTreeMap<String, String>,
}

impl Downloads {
    /// Installs assets, each from its URL; gives what became of each, by name. The first that fails ends it,
    /// and what others have installed by then stays.
    pub async fn install(
        &self,
        system: &System,
        assets: &[(Asset, String)],
    ) -> Result<BTreeMap<String, Outcome>, DownloadError> {
        // What a killed run left behind.
        drop(fs::remove_dir_all(system.path(FOLDER).join("downloads")));
        let one = |(asset, url): &(Asset, String)| {
            let (asset, url) = (asset.clone(), url.clone());
            async move { Ok((asset.name.clone(), self.one(system, &asset, &url).await?)) }
        };
        futures::stream::iter(assets.iter().map(one)).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn one(&self, system: &System, asset: &Asset, url: &str) -> Result<Outcome, DownloadError> {
        let (kept, place) = (asset.clone(), system.clone());
        // Hashing 100 MiB of programs takes a small machine a second.
        if blocking(asset, move || Ok(is_installed(&place, &kept))).await? {
            return Ok(Outcome::Kept);
        }
        let file =
            retry(self.patience, DownloadError::is_transient, || self.fetch(system, asset, url)).await?;
        let (asset, place) = (asset.clone(), system.clone());
        let of = asset.clone();
        blocking(&of, move || install(&place, &asset, file.path())).await?;
        Ok(Outcome::Installed)
    }

    /// Fetches into a file that is gone when it is dropped.
    async fn fetch(&self, system: &System, asset: &Asset, url: &str) -> Result<NamedTempFile, DownloadError> {
        let mut opened = self.open(url).await?;
        let broken = |source| DownloadError::Http { url: url.to_owned(), source };
        let folder = system.path(FOLDER).join("downloads");
        let failed = |what, path: &Path, source| {
            let source = SystemError::File { what, path: path.to_owned(), source };
            DownloadError::File { name: asset.name.clone(), source }
        };
        fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
        let mut file = NamedTempFile::new_in(&folder).map_err(|source| failed("create", &folder, source))?;
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        while let Some(data) = opened.next(self.silence).await.map_err(broken)? {
            size = size.saturating_add(data.len() as u64);
            if size > LARGEST {
                return Err(DownloadError::TooLarge { url: url.to_owned() });
            }
            hash.update(&data);
            file.write_all(&data).map_err(|source| failed("write", file.path(), source))?;
        }
        let found = hex::encode(hash.finalize());
        if found == asset.sha256 {
            return Ok(file);
        }
        Err(DownloadError::Hash { url: url.to_owned(), wanted: asset.sha256.clone(), found })
    }

    /// The answer, wherever it turns out to be.
    async fn open(&self, url: &str) -> Result<Opened, DownloadError> {
        let failed = |source| DownloadError::Http { url: url.to_owned(), source };
        let astray = |why: String| DownloadError::Redirect { url: url.to_owned(), why };
        let mut at = url.to_owned();
        for _ in 0..=REDIRECTS {
            let request = request("GET", &at, &[], Body::empty()).map_err(failed)?;
            let opened = self.http.open(request, self.silence).await.map_err(failed)?;
            let status = opened.status;
            if status == StatusCode::OK {
                return Ok(opened);
            }
            if !status.is_redirection() {
                return Err(refusal(url, status));
            }
            let to = opened.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            let to = to.ok_or_else(|| astray(format!("HTTP {} names no place", status.as_u16())))?;
            at = redirected(&at, to).ok_or_else(|| astray(format!("it was sent to `{to}`")))?;
        }
        Err(astray(format!("it was sent on more than {REDIRECTS} times")))
    }
}

fn refusal(url: &str, status: StatusCode) -> DownloadError {
    let hint = match status {
        StatusCode::NOT_FOUND => "there is no such file; a mirror needs the path of the original",
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "the server must give its files to anyone",
        _ => "it may pass",
    };
    DownloadError::Status { url: url.to_owned(), status: status.as_u16(), hint }
}

/// Does work that takes a while where it holds up nothing else.
async fn blocking<T: Send + 'static>(
    asset: &Asset,
    work: impl FnOnce() -> Result<T, DownloadError> + Send + 'static,
) -> Result<T, DownloadError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(DownloadError::Archive { name: asset.name.clone(), why: error.to_string() })
    })
}

fn note_path(system: &System, asset: &Asset) -> PathBuf {
    system.path(FOLDER).join("assets").join(format!("{}.json", asset.sha256))
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

/// Whether every file of an asset is where it belongs, with the content and the permissions that it has there.
fn is_installed(system: &System, asset: &Asset) -> bool {
    let note = fs::read(note_path(system, asset)).ok();
    let note: Note = note.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default();
    asset.files.iter().all(|file| {
        // A file that is the asset itself needs no note.
        let wanted = if file.member.is_none() { Some(&asset.sha256) } else { note.files.get(&file.to) };
        let path = system.path(&file.to);
        let mode = fs::symlink_metadata(&path)
            .ok()
            .filter(fs::Metadata::is_file)
            .map(|found| std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o7777);
        mode.is_some() && mode == file.permissions().ok() && sha256(&path).ok().as_ref() == wanted
    })
}

/// Puts the files of a fetched and checked asset in their places, and notes those of an archive.
fn install(system: &System, asset: &Asset, fetched: &Path) -> Result<(), DownloadError> {
    let failed = |path: &Path, source| {
        let source = SystemError::File { what: "write", path: path.to_owned(), source };
        DownloadError::File { name: asset.name.clone(), source }
    };
    let source = fs::File::open(fetched).map_err(|error| failed(fetched, error))?;
    if let [file] = asset.files.as_slice()
        && file.member.is_none()
    {
        // Its own hash is note enough.
        let path = system.path(&file.to);
        let (mode, mut source) = (file.permissions()?, source);
        return replace(&path, mode, |to| io::copy(&mut source, to))
            .map(drop)
            .map_err(|error| failed(&path, error));
    }
    let note = unpack(system, asset, source)?;
    let path = note_path(system, asset);
    let text = serde_json::json!(note).to_string();
    replace(&path, 0o644, |to| to.write_all(text.as_bytes())).map_err(|error| failed(&path, error))
}

/// Copies, and hashes what it copies.
fn copy_hashed(from: &mut impl Read, to: &mut fs::File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
}

/// Takes the wanted members out of a gzipped tar archive; nothing else of it is looked at.
fn unpack(system: &System, asset: &Asset, source: fs::File) -> Result<Note, DownloadError> {
    let broken = |why: String| DownloadError::Archive { name: asset.name.clone(), why };
    let mut note = Note::default();
    let mut archive = tar::Archive::new(GzDecoder::new(io::BufReader::new(source)));
    let entries = archive.entries().map_err(|error| broken(error.to_string()))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| broken(error.to_string()))?;
        let path = entry.path().map_err(|error| broken(error.to_string()))?.into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path);
        let member = |file: &&kcl_node_config::AssetFile| {
            file.member.as_deref().is_some_and(|member| Path::new(member) == path)
        };
        let Some(file) = asset.files.iter().find(member) else { continue };
        if !entry.header().entry_type().is_file() {
            return Err(broken(format!("{} is not a file in it", path.display())));
        }
        let to = system.path(&file.to);
        let hash = replace(&to, file.permissions()?, |to| copy_hashed(&mut entry, to))
            .map_err(|error| broken(format!("{}: {error}", to.display())))?;
        note.files.insert(file.to.clone(), hash);
    }
    let missing = asset.files.iter().find(|file| !note.files.contains_key(&file.to));
    match missing.and_then(|file| file.member.as_deref()) {
        None => Ok(note),
        Some(member) => Err(broken(format!("it has no {member}"))),
    }
}
