//! Objects that are too large for memory, as files; and what there is.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use hyper::StatusCode;
use kcl_http::xml;
use roxmltree::Document;
use sha2::{Digest as _, Sha256};

use super::s3::{Ask, Content, TIMEOUT, code};
use super::{Location, Store, StoreError, folder};
use crate::retry::retry;

/// How long S3 may be silent while it sends.
const SILENCE: Duration = Duration::from_secs(30);

/// The slowest link that is waited for when a file is sent: a MiB in a second, of which the smallest machines have
/// several.
const SLOWEST: u64 = 1 << 20;

/// The permissions of what is fetched.
const MODE: u32 = 0o600;

/// A file of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its bytes.
    pub size: u64,
    /// Their hash in hexadecimal digits.
    pub sha256: String,
}

impl Store {
    /// The keys that begin with a prefix, in their order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        const WHAT: &str = "list";
        if let Location::File { folder } = &self.location {
            let failed = |source| StoreError::File { what: WHAT, object: self.object(prefix), source };
            return folder::list(folder, prefix).map_err(failed);
        }
        let (mut keys, mut next) = (Vec::new(), None);
        loop {
            let page = retry(self.access.patience, StoreError::is_transient, || {
                self.list_s3(prefix, next.as_deref())
            });
            let (found, more) = page.await?;
            keys.extend(found);
            match more {
                // One that repeats itself would never end.
                Some(more) if next.as_ref() != Some(&more) => next = Some(more),
                _ => return Ok(keys),
            }
        }
    }

    /// Some keys, and where the next begin.
    async fn list_s3(
        &self,
        prefix: &str,
        next: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), StoreError> {
        let whole = self.whole_key(prefix);
        let mut query = vec![("list-type", "2"), ("prefix", &whole)];
        query.extend(next.map(|next| ("continuation-token", next)));
        let text = self.ask_bucket(prefix, &query).await?;
        let document = Document::parse(&text).map_err(|_| self.strange(prefix))?;
        let root = document.root_element();
        let above = self.whole_key("");
        let keys = root.children().filter(|child| child.tag_name().name() == "Contents");
        let keys = keys.filter_map(|object| xml::child_text(object, "Key")?.strip_prefix(&above));
        let more = xml::child_text(root, "NextContinuationToken").map(str::to_owned);
        Ok((keys.map(str::to_owned).collect(), more))
    }

    /// What the bucket answers about keys that begin with a prefix.
    async fn ask_bucket(&self, prefix: &str, query: &[(&str, &str)]) -> Result<String, StoreError> {
        let ask = Ask { bucket: true, query, ..Ask::object("list", "GET", prefix) };
        let answer = self.ask(&ask).await?;
        if answer.status != StatusCode::OK {
            return Err(self.failure(&ask, &answer));
        }
        String::from_utf8(answer.body.to_vec()).map_err(|_| self.strange(prefix))
    }

    fn strange(&self, prefix: &str) -> StoreError {
        StoreError::Strange { object: self.object(prefix) }
    }

    /// Deletes an object, where there is one, with everything that it was before: kcl's buckets keep old versions,
    /// which cost as much as new ones.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match &self.location {
            Location::File { folder } => folder::remove(&folder.join(key))
                .map_err(|source| StoreError::File { what: "delete", object: self.object(key), source }),
            Location::S3 { .. } => {
                retry(self.access.patience, StoreError::is_transient, || self.delete_s3(key)).await
            }
        }
    }

    /// The oldest version first: as long as the last is there, the object is seen, and deleted the next time.
    async fn delete_s3(&self, key: &str) -> Result<(), StoreError> {
        let whole = self.whole_key(key);
        let versions = [("versions", ""), ("prefix", &whole)];
        let text = self.ask_bucket(key, &versions).await?;
        let document = Document::parse(&text).map_err(|_| self.strange(key))?;
        let own = document.root_element().children().filter(|version| {
            let kind = matches!(version.tag_name().name(), "Version" | "DeleteMarker");
            kind && xml::child_text(*version, "Key") == Some(&whole)
        });
        let ids: Vec<&str> = own.filter_map(|version| xml::child_text(version, "VersionId")).collect();
        // S3 tells the newest first.
        for id in ids.into_iter().rev() {
            let ask = Ask { query: &[("versionId", id)], ..Ask::object("delete", "DELETE", key) };
            let answer = self.ask(&ask).await?;
            let gone = matches!(code(&answer).as_str(), "NoSuchKey" | "NoSuchVersion");
            if !answer.status.is_success() && !gone {
                return Err(self.failure(&ask, &answer));
            }
        }
        Ok(())
    }

    /// Writes an object from a file with this sha256, whatever is there. The store takes no other content. Pieces of
    /// it are in memory.
    pub async fn put_file(&self, key: &str, path: &Path, sha256: &str) -> Result<(), StoreError> {
        const WHAT: &str = "write";
        let failed = |source| StoreError::File { what: WHAT, object: self.object(key), source };
        match &self.location {
            Location::File { folder } => folder::copy_in(path, &folder.join(key)).map_err(failed),
            Location::S3 { .. } => {
                let size = path.metadata().map_err(failed)?.len();
                let timeout = TIMEOUT + Duration::from_secs(size / SLOWEST);
                let content = Content::File(path, sha256);
                let ask = Ask { content, timeout, ..Ask::object(WHAT, "PUT", key) };
                retry(self.access.patience, StoreError::is_transient, || self.put_file_s3(&ask)).await
            }
        }
    }

    async fn put_file_s3(&self, ask: &Ask<'_>) -> Result<(), StoreError> {
        let answer = self.ask(ask).await?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(self.failure(ask, &answer)) }
    }

    /// Writes a file, anew, from an object; nothing where there is none. What it is, is for the caller to look at.
    /// Pieces of it are in memory. What fails leaves a file that is not whole.
    pub async fn get_file(&self, key: &str, path: &Path) -> Result<Option<Fetched>, StoreError> {
        const WHAT: &str = "read";
        match &self.location {
            Location::File { folder } => {
                let failed = |source| StoreError::File { what: WHAT, object: self.object(key), source };
                let from = folder.join(key);
                if !from.exists() {
                    return Ok(None);
                }
                let mut from = File::open(from).map_err(failed)?;
                let mut to = Hashed::create(path).map_err(failed)?;
                let mut piece = vec![0; 64 << 10];
                loop {
                    match from.read(&mut piece).map_err(failed)? {
                        0 => return to.end().map(Some).map_err(failed),
                        read => to.write(&piece[..read]).map_err(failed)?,
                    }
                }
            }
            Location::S3 { .. } => {
                let ask = Ask::object(WHAT, "GET", key);
                let attempt = || self.get_file_s3(&ask, path);
                retry(self.access.patience, StoreError::is_transient, attempt).await
            }
        }
    }

    async fn get_file_s3(&self, ask: &Ask<'_>, path: &Path) -> Result<Option<Fetched>, StoreError> {
        let (what, object) = (ask.what, || self.object(ask.key));
        let mut opened = self.open(ask).await?;
        if opened.status != StatusCode::OK {
            let answer = self.whole(ask, opened).await?;
            let missing = answer.status == StatusCode::NOT_FOUND && code(&answer) != "NoSuchBucket";
            return if missing { Ok(None) } else { Err(self.failure(ask, &answer)) };
        }
        let failed = |source| StoreError::File { what, object: object(), source };
        let mut file = Hashed::create(path).map_err(failed)?;
        loop {
            let piece = opened.next(SILENCE).await;
            match piece.map_err(|source| StoreError::Http { what, object: object(), source })? {
                Some(piece) => file.write(&piece).map_err(failed)?,
                None => return file.end().map(Some).map_err(failed),
            }
        }
    }
}

/// A file that is hashed while it is written.
struct Hashed {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Hashed {
    /// What is fetched may be etcd's whole content: it is for its owner alone, also where a file was there before.
    fn create(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
        file.set_permissions(Permissions::from_mode(MODE))?;
        Ok(Self { file, hash: Sha256::new(), size: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// On the disk.
    fn end(self) -> std::io::Result<Fetched> {
        self.file.sync_all()?;
        Ok(Fetched { size: self.size, sha256: hex::encode(self.hash.finalize()) })
    }
}
