//! TODO
use crate::{Addon, nobody};
pub(crate) const ADDON: Addon = Addon { name: "external-dns", objects: |_| Ok(Vec::new()), identity: nobody };
