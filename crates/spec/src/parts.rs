//! A spec taken apart into what the state store keeps of it, as kOps does.

use std::collections::BTreeMap;

use crate::document::{Body, Document};
use crate::validate::Loaded;

/// The documents as they were given, comments included, by their place in the cluster's folder of
/// the state store: `config` is the Cluster, `instancegroup/<name>` each group, and
/// `additional-objects` everything else (the SSHCredential, documents of `kcl.dev`, Kubernetes
/// objects) in the order of the sources, where there is some.
///
/// Loading all of them again, each as a source of its own, gives the same cluster and the same
/// documents. A group's name is a DNS name by then, and leads nowhere else.
pub fn parts(loaded: &Loaded) -> BTreeMap<String, String> {
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    for document in loaded.spec.documents() {
        append(parts.entry(key(document)).or_default(), &document.text);
    }
    parts
}

fn key(document: &Document) -> String {
    match &document.body {
        Body::Cluster(_) => "config".to_owned(),
        Body::InstanceGroup(body) => {
            // Not the document's own `name`, which is none where a number was written.
            let name = body.metadata.as_ref().and_then(|metadata| metadata.value.name.as_ref());
            format!("instancegroup/{}", name.map_or("", |name| &name.value))
        }
        Body::SshCredential(_)
        | Body::IngressController(_)
        | Body::StateStore(_)
        | Body::AccessEntry(_)
        | Body::NamespaceDefaults(_)
        | Body::Manifest(_)
        | Body::Object => "additional-objects".to_owned(),
    }
}

/// Adds a document to others.
fn append(text: &mut String, document: &str) {
    if !text.is_empty() {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        // Directives (`%YAML 1.2`) stand where a document has ended, and before the marker that
        // begins the next.
        let ended = text.ends_with("\n...\n");
        let has_directive =
            document.lines().take_while(|line| !line.starts_with("---")).any(|line| line.starts_with('%'));
        match (has_directive, ended) {
            (true, true) => {}
            (true, false) => text.push_str("...\n"),
            (false, _) => text.push_str("---\n"),
        }
    }
    text.push_str(document);
}
