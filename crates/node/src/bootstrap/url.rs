//! Where a node configuration is.

use kcl_node_config::NodeConfig;

use super::error::BootstrapError;
use crate::store::Location;

/// Where a node configuration is: in the cluster's folder of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigUrl {
    pub(super) url: String,
    pub(super) folder: Location,
    pub(super) key: String,
    pub(super) group: String,
}

impl ConfigUrl {
    /// `s3://bucket/cluster/node/GROUP/SHA256.yaml`. The hash in it is a name only: what is read there is held
    /// to the hash that the machine was started with.
    pub fn parse(url: &str) -> Result<Self, BootstrapError> {
        let broken = || BootstrapError::Url { url: url.to_owned() };
        let (folder, rest) = url.rsplit_once("/node/").ok_or_else(broken)?;
        let (group, hash) = rest.split_once('/').ok_or_else(broken)?;
        let hash = hash.strip_suffix(".yaml").ok_or_else(broken)?;
        let digits = hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        if group.is_empty() || hash.len() != 64 || !digits {
            return Err(broken());
        }
        let (key, group) = (NodeConfig::path(group, hash), group.to_owned());
        Ok(Self { url: url.to_owned(), folder: Location::parse(folder)?, key, group })
    }
}
