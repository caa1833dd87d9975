//! TODO
use crate::{Addon, nobody};
pub(crate) const ADDON: Addon =
    Addon { name: "access-entries", objects: |_| Ok(Vec::new()), identity: nobody };
