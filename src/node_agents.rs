//! The builds of kcl-node that machines are given: found beside kcl, or where `--node-binary` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::CommandError;

/// Names of builds beside kcl. Which processor one is for stands in the file itself.
const NAMES: [&str; 3] = ["kcl-node", "kcl-node-linux-amd64", "kcl-node-linux-arm64"];

/// A file larger than this is no kcl-node; it is refused before it is read into memory.
const LARGEST: u64 = 256 * 1024 * 1024;

/// Builds by the kind of processor.
#[derive(Debug, Default)]
pub(crate) struct NodeAgents {
    /// The files.
    pub(crate) files: BTreeMap<String, PathBuf>,
    /// Their hashes.
    pub(crate) hashes: BTreeMap<String, String>,
}

impl NodeAgents {
    /// Those that are `needed`. Files that were `given` come before those beside kcl.
    pub(crate) fn find(given: &[PathBuf], needed: &BTreeSet<&str>) -> Result<Self, CommandError> {
        let mut found = Self::default();
        for file in given {
            let processor = processor(file).map_err(|error| unreadable(file, &error))?;
            let Some(processor) = processor else {
                let error = format!("{} is no program of Linux for amd64 or arm64", file.display());
                return Err(CommandError::usage(error).hint("--node-binary takes a build of kcl-node"));
            };
            found.files.entry(processor.to_owned()).or_insert_with(|| file.clone());
        }
        for file in beside_kcl() {
            if let Ok(Some(processor)) = processor(&file) {
                found.files.entry(processor.to_owned()).or_insert(file);
            }
        }
        found.files.retain(|processor, _| needed.contains(processor.as_str()));
        if let Some(missing) = needed.iter().find(|processor| !found.files.contains_key(**processor)) {
            let error = format!("there is no kcl-node for the cluster's {missing} machines");
            return Err(CommandError::usage(error)
                .hint("it comes with kcl: put it beside kcl, or say where it is with --node-binary FILE"));
        }
        for (processor, file) in &found.files {
            let body = read(file).map_err(|error| unreadable(file, &error))?;
            found.hashes.insert(processor.clone(), hex::encode(Sha256::digest(&body)));
        }
        Ok(found)
    }
}

fn beside_kcl() -> Vec<PathBuf> {
    let folder = std::env::current_exe().ok().and_then(|kcl| Some(kcl.parent()?.to_owned()));
    folder.map(|folder| NAMES.map(|name| folder.join(name)).to_vec()).unwrap_or_default()
}

fn unreadable(file: &Path, error: &io::Error) -> CommandError {
    CommandError::usage(format!("{} cannot be read: {error}", file.display()))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    File::open(file)?.take(LARGEST + 1).read_to_end(&mut body)?;
    if body.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 256 MiB, which no kcl-node is"));
    }
    Ok(body)
}

/// What a program is for, from its head (System V ABI, "ELF Header"): 64 bits, and `e_machine`.
fn processor(file: &Path) -> io::Result<Option<&'static str>> {
    let mut head = [0; 20];
    match File::open(file)?.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    Ok(match head {
        [0x7f, b'E', b'L', b'F', 2, .., 62, 0] => Some("amd64"),
        [0x7f, b'E', b'L', b'F', 2, .., 183, 0] => Some("arm64"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_what_it_is_for() {
        let own = std::env::current_exe().unwrap_or_default();
        let expected = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        assert_eq!(processor(&own).ok().flatten(), Some(expected));
        assert!(processor(Path::new("/nowhere")).is_err());
    }
}
