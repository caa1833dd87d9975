//! A snapshot of a member: its database, as it arrives, into a file.
//!
//! etcd sends lines of JSON with pieces in base64. The last 32 bytes are the hash of all that came before
//! (`etcdutl snapshot restore` looks at it too), which is checked while they pass by.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use kcl_http::request;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{Etcd, EtcdError, TIMEOUT, wire};

/// What etcd is asked.
const WHAT: &str = "send a snapshot";

/// How long etcd may be silent while it sends: a disk of the smallest machine may be busy.
const SILENCE: Duration = Duration::from_mins(1);

/// etcd's lines have 44 KiB.
const LONGEST_LINE: usize = 1 << 20;

/// Bytes of a SHA-256.
const HASH: usize = 32;

/// The largest answer that is no snapshot.
const LARGEST_REFUSAL: usize = 64 << 10;

/// What a file of a snapshot is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its bytes, with the hash at its end.
    pub size: u64,
    /// Their hash in hexadecimal digits, which is another one.
    pub sha256: String,
}

impl Etcd {
    /// Writes a snapshot of the member into a file, anew. Only pieces of it are in memory. It answers without the
    /// others.
    pub async fn snapshot(&self, to: &Path) -> Result<Snapshot, EtcdError> {
        let http = |source| EtcdError::Http { what: WHAT, source };
        let file = |what| move |source| EtcdError::File { what, path: to.to_owned(), source };
        let url = format!("{}/v3/maintenance/snapshot", self.endpoint);
        let headers = [("content-type", "application/json")];
        let request = request("POST", &url, &headers, "{}".to_owned()).map_err(http)?;
        let mut answer = self.http.open(request, TIMEOUT).await.map_err(http)?;
        if answer.status != StatusCode::OK {
            let answer = answer.whole(LARGEST_REFUSAL, TIMEOUT).await.map_err(http)?;
            return Err(self.refused(WHAT, answer.status, &answer.body));
        }
        let mut out = File::create(to).await.map_err(file("create"))?;
        let mut lines = Lines::default();
        let mut sum = Sum::default();
        while let Some(bytes) = answer.next(SILENCE).await.map_err(http)? {
            lines.push(&bytes);
            while let Some(line) = lines.next() {
                let piece = self.piece(&line)?;
                out.write_all(&piece).await.map_err(file("write"))?;
                sum.push(&piece);
            }
            if lines.left.len() > LONGEST_LINE {
                return Err(self.unreadable("a line of it has no end".to_owned()));
            }
        }
        out.sync_all().await.map_err(file("write"))?;
        sum.end().map_err(|why| EtcdError::Damaged { endpoint: self.endpoint.clone(), why })
    }

    /// The bytes in a line.
    fn piece(&self, line: &[u8]) -> Result<Vec<u8>, EtcdError> {
        let line: wire::Line =
            serde_json::from_slice(line).map_err(|error| self.unreadable(error.to_string()))?;
        if let Some(wire::Refusal { code, message }) = line.error {
            return Err(EtcdError::Refused { what: WHAT, endpoint: self.endpoint.clone(), code, message });
        }
        let piece = line.result.ok_or_else(|| self.unreadable("a line of it is empty".to_owned()))?;
        STANDARD.decode(piece.blob).map_err(|error| self.unreadable(error.to_string()))
    }

    fn unreadable(&self, why: String) -> EtcdError {
        EtcdError::Answer { what: WHAT, endpoint: self.endpoint.clone(), why }
    }
}

/// Bytes, line by line.
#[derive(Default)]
struct Lines {
    left: Vec<u8>,
    /// No line ends before this.
    searched: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.left.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.left[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.left.len();
            return None;
        };
        let rest = self.left.split_off(self.searched + end + 1);
        self.searched = 0;
        let mut line = std::mem::replace(&mut self.left, rest);
        line.pop();
        Some(line)
    }
}

/// Hashes bytes of which the last 32 are the hash of the others.
#[derive(Default)]
struct Sum {
    others: Sha256,
    whole: Sha256,
    /// What may be the hash: the last bytes so far.
    last: Vec<u8>,
    size: u64,
}

impl Sum {
    fn push(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.whole.update(bytes);
        self.last.extend_from_slice(bytes);
        let others = self.last.len().saturating_sub(HASH);
        self.others.update(&self.last[..others]);
        self.last.drain(..others);
    }

    fn end(self) -> Result<Snapshot, &'static str> {
        if self.last.len() < HASH || self.size == HASH as u64 {
            return Err("it was cut short");
        }
        if self.others.finalize().as_slice() != self.last {
            return Err("it has not the hash that etcd says it has; it may have been cut short");
        }
        Ok(Snapshot { size: self.size, sha256: hex::encode(self.whole.finalize()) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However it is cut into pieces.
        #[test]
        fn the_hash_at_the_end_is_checked(bytes in prop::collection::vec(any::<u8>(), 1..300), cut in 1..70_usize) {
            let mut whole = bytes.clone();
            whole.extend_from_slice(&Sha256::digest(&bytes));
            let end = |bytes: &[u8]| {
                let mut sum = Sum::default();
                bytes.chunks(cut).for_each(|piece| sum.push(piece));
                sum.end()
            };
            let snapshot = end(&whole).unwrap();
            prop_assert_eq!(snapshot.size, whole.len() as u64);
            prop_assert_eq!(snapshot.sha256, hex::encode(Sha256::digest(&whole)));
            prop_assert!(end(&whole[..whole.len() - 1]).is_err());
            whole[0] ^= 1;
            prop_assert!(end(&whole).is_err());
        }

        #[test]
        fn lines_are_found_however_they_arrive(
            lines in prop::collection::vec("[a-z]{0,20}", 0..10),
            cut in 1..30_usize,
        ) {
            let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
            let (mut found, mut reader) = (Vec::new(), Lines::default());
            for piece in text.as_bytes().chunks(cut) {
                reader.push(piece);
                while let Some(line) = reader.next() {
                    found.push(String::from_utf8(line).unwrap());
                }
            }
            prop_assert_eq!(found, lines);
            prop_assert!(reader.left.is_empty());
        }
    }
}
