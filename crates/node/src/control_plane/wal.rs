//! Whose etcd data it is, and how new: read from the data itself, without etcd.
//!
//! The write-ahead log is what a member knows of itself before it starts. Its records are protocol buffers behind a
//! length (etcd, `server/storage/wal`); of them this reads who the member is and which entry came last, and nothing
//! of what the entries hold.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use kcl_node_config::LastEntry;

use crate::etcd::{ClusterId, MemberId};

/// etcd's own bound on a request is 1.5 MiB; a record that says more is no record.
const LARGEST: u64 = 64 << 20;

/// Kinds of records (etcd, `server/storage/wal/wal.go`).
const METADATA: u64 = 1;
const ENTRY: u64 = 2;
const SNAPSHOT: u64 = 5;

/// What a log says of its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The member.
    pub member: MemberId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The newest entry.
    pub last: LastEntry,
}

/// Reads the log of etcd's data folder; nothing where there is none that names its member: etcd was ended before it
/// had begun.
pub(super) fn read(data: &Path) -> io::Result<Option<Log>> {
    let mut files = files(&data.join("member/wal"))?;
    let (mut identity, mut last) = (None, LastEntry::default());
    // The newest file may have been begun without an entry in it yet.
    while let Some(path) = files.pop() {
        let mut reader = BufReader::new(File::open(path)?);
        while let Some((kind, bytes)) = next(&mut reader)? {
            match kind {
                METADATA => identity = Some((field(&bytes, 1), field(&bytes, 2))),
                ENTRY => last = last.max(LastEntry { term: field(&bytes, 2), index: field(&bytes, 3) }),
                SNAPSHOT => last = last.max(LastEntry { term: field(&bytes, 2), index: field(&bytes, 1) }),
                _ => {}
            }
        }
        if identity.is_some() && last != LastEntry::default() {
            break;
        }
    }
    Ok(identity.map(|(member, cluster)| Log { member: MemberId(member), cluster: ClusterId(cluster), last }))
}

/// The files of the log, the oldest first: their names begin with their number in hexadecimal digits.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The next record: its kind and its data. Nothing at the end, which may be space that was only set aside, or a
/// record that a loss of power cut short.
fn next(reader: &mut impl Read) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut frame = [0; 8];
    if !fill(reader, &mut frame)? {
        return Ok(None);
    }
    let frame = u64::from_le_bytes(frame);
    // The highest byte says how many bytes fill up the last eight.
    let (length, padding) = (frame & !(0xff << 56), if frame >> 63 == 1 { (frame >> 56) & 0x7 } else { 0 });
    let size = usize::try_from(length + padding).ok().filter(|_| length > 0 && length <= LARGEST);
    let Some(size) = size else { return Ok(None) };
    let mut bytes = vec![0; size];
    if !fill(reader, &mut bytes)? {
        return Ok(None);
    }
    bytes.truncate(usize::try_from(length).unwrap_or(size));
    let data = fields(&bytes).find_map(|(number, value)| match value {
        Value::Bytes(data) if number == 3 => Some(data.to_vec()),
        _ => None,
    });
    Ok(Some((field(&bytes, 1), data.unwrap_or_default())))
}

/// Fills a buffer; false if there is not enough.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// A number of a message by its field; fields that are 0 may be left out.
fn field(message: &[u8], wanted: u64) -> u64 {
    let found = fields(message).find_map(|(number, value)| match value {
        Value::Number(value) if number == wanted => Some(value),
        _ => None,
    });
    found.unwrap_or_default()
}

/// The fields of a message of protocol buffers, as far as it can be read
/// (<https://protobuf.dev/programming-guides/encoding/>).
fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => Value::Bytes(take(&mut rest, 8)?),
            2 => {
                let length = varint(&mut rest)?;
                Value::Bytes(take(&mut rest, usize::try_from(length).ok()?)?)
            }
            5 => Value::Bytes(take(&mut rest, 4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message with numbers in the fields 1, 2 and so on.
    fn message(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, value) in (1..).zip(numbers) {
            put(&mut bytes, number << 3);
            put(&mut bytes, *value);
        }
        bytes
    }

    fn put(bytes: &mut Vec<u8>, mut value: u64) {
        while value > 0x7f {
            bytes.push(0x80 | u8::try_from(value & 0x7f).unwrap());
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
    }

    fn record(kind: u64, data: &[u8]) -> Vec<u8> {
        let mut bytes = message(&[kind, 7]);
        bytes.push(3 << 3 | 2);
        put(&mut bytes, data.len() as u64);
        bytes.extend_from_slice(data);
        let (length, padding) = (bytes.len() as u64, (8 - bytes.len() % 8) % 8);
        let filled = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
        let mut framed = (length | filled).to_le_bytes().to_vec();
        framed.extend(bytes);
        framed.extend(vec![0; padding]);
        framed
    }

    fn write(folder: &Path, name: &str, records: &[Vec<u8>]) {
        let wal = folder.join("member/wal");
        fs::create_dir_all(&wal).unwrap();
        fs::write(wal.join(name), records.concat()).unwrap();
    }

    #[test]
    fn the_newest_entry_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let identity = record(METADATA, &message(&[u64::MAX, 5]));
        let entry = |term, index| record(ENTRY, &message(&[0, term, index]));
        let first = [record(4, &[]), identity.clone(), entry(2, 8), entry(2, 9), vec![0; 64]];
        write(folder.path(), "0000000000000000-0000000000000000.wal", &first);
        let last = |term, index| {
            let last = LastEntry { term, index };
            Some(Log { member: MemberId(u64::MAX), cluster: ClusterId(5), last })
        };
        assert_eq!(read(folder.path()).unwrap(), last(2, 9));
        // Begun, and nothing in it yet.
        write(folder.path(), "0000000000000001-000000000000000a.wal", std::slice::from_ref(&identity));
        assert_eq!(read(folder.path()).unwrap(), last(2, 9));
        // Cut short by a loss of power.
        let torn = entry(3, 11)[..16].to_vec();
        let third = [identity, entry(3, 10), torn];
        write(folder.path(), "0000000000000002-000000000000000a.wal", &third);
        fs::write(folder.path().join("member/wal/1.tmp"), "set aside").unwrap();
        assert_eq!(read(folder.path()).unwrap(), last(3, 10));
    }

    proptest! {
        /// Damage is no reason to panic, nor to take memory for what is not there.
        #[test]
        fn anything_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), "0.wal", &[bytes]);
            let _ = read(folder.path());
        }
    }
}
