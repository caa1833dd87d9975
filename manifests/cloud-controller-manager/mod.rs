//! TODO
use crate::{Addon, nobody};
pub(crate) const ADDON: Addon =
    Addon { name: "cloud-controller-manager", objects: |_| Ok(Vec::new()), identity: nobody };
