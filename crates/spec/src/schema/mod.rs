//! The documents of a spec as they are written: every field that is known, and what kcl does with it.
//!
//! A new field is one line here, in the file of its document. `used` means that kcl acts on it,
//! `inert` that it has no effect anywhere, `unused` that it is read but not acted on yet, which is
//! a warning. A field that is not here is an error.

pub mod access_entry;
pub mod addons;
pub mod cluster;
pub mod ingress_controller;
pub mod instance_group;
pub mod manifest;
pub mod metadata;
pub mod namespace_defaults;
pub mod ssh_credential;
pub mod state_store;

pub use access_entry::AccessEntryDocument;
pub use cluster::ClusterDocument;
pub use ingress_controller::IngressControllerDocument;
pub use instance_group::InstanceGroupDocument;
pub use manifest::ManifestDocument;
pub use metadata::Metadata;
pub use namespace_defaults::NamespaceDefaultsDocument;
pub use ssh_credential::SshCredentialDocument;
pub use state_store::StateStoreDocument;
