//! From sources to a [`Spec`]: the documents of all files, each read as what its kind says.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Chunk, Node, Value};
use crate::read::{Read as _, Reader};
use crate::schema::{
    AccessEntryDocument, ClusterDocument, IngressControllerDocument, InstanceGroupDocument, ManifestDocument,
    NamespaceDefaultsDocument, SshCredentialDocument, StateStoreDocument,
};
use crate::source::{Place, Source};
use crate::suggest;

/// kOps' group and version.
pub const KOPS_API: &str = "kops.k8s.io/v1alpha2";
/// kcl's own group and version.
pub const KCL_API: &str = "kcl.dev/v1alpha1";
/// The kinds that kcl reads of kOps' group.
pub(crate) const KOPS_KINDS: &[&str] = &["Cluster", "InstanceGroup", "SSHCredential"];
/// The kinds of kcl's own group.
pub(crate) const KCL_KINDS: &[&str] =
    &["AccessEntry", "IngressController", "Manifest", "NamespaceDefaults", "StateStore"];

/// The largest source that is read. Manifests of whole applications fit; a disk image does not.
const MAX_SOURCE_BYTES: usize = 8 * 1024 * 1024;

/// The most documents of one source. Each mistake is shown with its line, which is looked for from the source's
/// beginning, so that a million of them would take hours to report.
const MAX_DOCUMENTS: usize = 5000;

/// Everything that was written, read but not yet judged.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    documents: Vec<Document>,
    warnings: Diagnostics,
}

/// One document of a spec.
#[derive(Clone, Debug)]
pub struct Document {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: Option<String>,
    /// The text as it stands in its source, comments included, without the `---` before it and with
    /// plain line ends.
    pub text: String,
    /// The same as a tree.
    pub value: serde_yaml::Value,
    /// Where it begins.
    pub place: Place,
    /// What it was read as.
    pub body: Body,
}

/// What a document was read as.
#[derive(Clone, Debug)]
pub enum Body {
    /// `kops.k8s.io/v1alpha2` Cluster.
    Cluster(Box<ClusterDocument>),
    /// `kops.k8s.io/v1alpha2` InstanceGroup.
    InstanceGroup(Box<InstanceGroupDocument>),
    /// `kops.k8s.io/v1alpha2` SSHCredential.
    SshCredential(Box<SshCredentialDocument>),
    /// `kcl.dev/v1alpha1` IngressController.
    IngressController(Box<IngressControllerDocument>),
    /// `kcl.dev/v1alpha1` StateStore.
    StateStore(Box<StateStoreDocument>),
    /// `kcl.dev/v1alpha1` AccessEntry.
    AccessEntry(Box<AccessEntryDocument>),
    /// `kcl.dev/v1alpha1` NamespaceDefaults.
    NamespaceDefaults(Box<NamespaceDefaultsDocument>),
    /// `kcl.dev/v1alpha1` Manifest.
    Manifest(Box<ManifestDocument>),
    /// Any other Kubernetes object, to be applied to the cluster as it stands.
    Object,
}

impl Spec {
    /// All documents, in the order of the sources.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// What was found worth a word while reading: fields that are not acted on yet.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// Takes the Kubernetes objects of `other` in, and nothing else of it.
    pub(crate) fn adopt_objects(&mut self, other: Self) {
        self.documents
            .extend(other.documents.into_iter().filter(|document| matches!(document.body, Body::Object)));
    }

    pub(crate) fn clusters(&self) -> impl Iterator<Item = (&Document, &ClusterDocument)> {
        self.documents.iter().filter_map(|document| match &document.body {
            Body::Cluster(body) => Some((document, &**body)),
            _ => None,
        })
    }

    pub(crate) fn instance_groups(&self) -> impl Iterator<Item = (&Document, &InstanceGroupDocument)> {
        self.documents.iter().filter_map(|document| match &document.body {
            Body::InstanceGroup(body) => Some((document, &**body)),
            _ => None,
        })
    }

    pub(crate) fn ssh_credentials(&self) -> impl Iterator<Item = (&Document, &SshCredentialDocument)> {
        self.documents.iter().filter_map(|document| match &document.body {
            Body::SshCredential(body) => Some((document, &**body)),
            _ => None,
        })
    }

    pub(crate) fn ingress_controllers(
        &self,
    ) -> impl Iterator<Item = (&Document, &IngressControllerDocument)> {
        self.documents.iter().filter_map(|document| match &document.body {
            Body::IngressController(body) => Some((document, &**body)),
            _ => None,
        })
    }

    pub(crate) fn state_stores(&self) -> impl Iterator<Item = (&Document, &StateStoreDocument)> {
        self.documents.iter().filter_map(|document| match &document.body {
            Body::StateStore(body) => Some((document, &**body)),
            _ => None,
        })
    }

    pub(crate) fn access_entries(&self) -> impl Iterator<Item = (&Document, &AccessEntryDocument)> {
        self.documents.iter().filter_map(|document| match &document.body {
            Body::AccessEntry(body) => Some((document, &**body)),
            _ => None,
        })
    }

    pub(crate) fn namespace_defaults(&self) -> impl Iterator<Item = (&Document, &NamespaceDefaultsDocument)> {
        self.documents.iter().filter_map(|document| match &document.body {
            Body::NamespaceDefaults(body) => Some((document, &**body)),
            _ => None,
        })
    }

    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&Document, &ManifestDocument)> {
        self.documents.iter().filter_map(|document| match &document.body {
            Body::Manifest(body) => Some((document, &**body)),
            _ => None,
        })
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Document> {
        self.documents.iter().filter(|document| matches!(document.body, Body::Object))
    }
}

/// What reading gave, mistakes and all.
pub(crate) struct Parsed {
    pub(crate) spec: Spec,
    pub(crate) errors: Diagnostics,
    /// Every document was recognised: what is missing now is really missing.
    pub(crate) complete: bool,
    /// Names of fields that stand in the spec but could not be read.
    pub(crate) lost_fields: Vec<String>,
}

/// Reads all documents of all sources. All mistakes are reported at once.
pub fn parse(sources: &[Source]) -> Result<Spec, Diagnostics> {
    let parsed = read_all(sources);
    if parsed.errors.is_empty() { Ok(parsed.spec) } else { Err(parsed.errors) }
}

pub(crate) fn read_all(sources: &[Source]) -> Parsed {
    let mut documents = Vec::new();
    let mut reader = Reader::default();
    let mut complete = true;
    for source in sources {
        complete &= read_source(&Arc::new(with_plain_lines(source)), &mut documents, &mut reader);
    }
    let Reader { diagnostics, lost_fields, .. } = reader;
    let (mut errors, mut warnings) = (Diagnostics::default(), Diagnostics::default());
    for diagnostic in diagnostics {
        let list = if diagnostic.is_error() { &mut errors } else { &mut warnings };
        list.push(diagnostic);
    }
    errors.sort();
    warnings.sort();
    Parsed { spec: Spec { documents, warnings }, errors, complete, lost_fields }
}

/// YAML's three kinds of line end, as one: else lines would be counted differently here and there.
fn with_plain_lines(source: &Source) -> Source {
    let text = source.text.replace("\r\n", "\n").replace('\r', "\n");
    Source { name: source.name.clone(), text }
}

/// Reads one source; says whether all of its documents were recognised.
fn read_source(source: &Arc<Source>, documents: &mut Vec<Document>, reader: &mut Reader) -> bool {
    if source.text.len() > MAX_SOURCE_BYTES {
        let place = Place::new(source, 1, 1, 1);
        let title = format!("source is larger than {} MiB", MAX_SOURCE_BYTES / 1024 / 1024);
        reader.note(Diagnostic::error(&place, title));
        return false;
    }
    let chunks = split(source);
    if let Some(surplus) = chunks.get(MAX_DOCUMENTS) {
        let place = Place::new(source, surplus.first_line, 1, 1);
        reader.note(Diagnostic::error(&place, format!("source has more than {MAX_DOCUMENTS} documents")));
        return false;
    }
    let mut complete = true;
    for chunk in chunks {
        let nodes = match chunk.parse() {
            Ok(nodes) => nodes,
            Err(diagnostic) => {
                reader.note(diagnostic);
                complete = false;
                continue;
            }
        };
        for node in nodes {
            match document(&node, chunk.text, reader) {
                Some(document) => documents.push(document),
                None => complete = false,
            }
        }
    }
    complete
}

/// Cuts a source at its document markers, so that a mistake in one document hides nothing in the
/// others. YAML allows `---` and `...` at the beginning of a line nowhere else, not even in a block
/// of text. What has no content (a comment above the first marker) goes with what follows.
fn split(source: &Arc<Source>) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut first_line, mut has_content) = (0, 1, false);
    let mut offset = 0;
    for (index, line) in source.text.split_inclusive('\n').enumerate() {
        let begins = is_marker(line, "---");
        if begins && has_content {
            chunks.push(Chunk { source, text: &source.text[start..offset], first_line });
            (start, first_line, has_content) = (offset, index + 1, false);
        }
        offset += line.len();
        let rest = if begins { &line[3..] } else { line };
        let rest = rest.trim();
        has_content |= !(rest.is_empty() || rest.starts_with('#') || (!begins && line.starts_with('%')));
        if is_marker(line, "...") {
            chunks.push(Chunk { source, text: &source.text[start..offset], first_line });
            (start, first_line, has_content) = (offset, index + 2, false);
        }
    }
    if has_content {
        chunks.push(Chunk { source, text: &source.text[start..], first_line });
    }
    chunks
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n']))
}

/// Reads a document as what its `apiVersion` and `kind` say; `None` when that is not known.
fn document(node: &Node, text: &str, reader: &mut Reader) -> Option<Document> {
    let Value::Map(_) = &node.value else {
        let title = format!("expected a document with `apiVersion` and `kind`, found {}", node.describe());
        reader.note(Diagnostic::error(&node.place, title));
        return None;
    };
    let kind = header(node, "kind", reader);
    let api_version = header(node, "apiVersion", reader);
    let (kind, api_version) = (kind?, api_version?);
    let body = body(node, &api_version, &kind, reader)?;
    let metadata = node.entry("metadata").map(|entry| &entry.node);
    let meta = |key| metadata.and_then(|node| node.text_of(key)).map(str::to_owned);
    let (namespace, name) = (meta("namespace"), meta("name"));
    if matches!(body, Body::Object)
        && name.is_none()
        && meta("generateName").is_none()
        && node.entry("items").is_none()
    {
        let place = node.entry("kind").map_or(&node.place, |entry| &entry.key_place);
        let title = format!("{kind} without a name");
        reader.note(Diagnostic::error(place, title).hint("give it one in `metadata.name`"));
    }
    let text = text.strip_prefix("---\n").unwrap_or(text);
    Some(Document {
        api_version,
        kind,
        namespace,
        name,
        text: text.to_owned(),
        value: node.to_yaml(),
        place: node.place.clone(),
        body,
    })
}

/// `apiVersion` or `kind`, which every document has.
fn header(node: &Node, key: &str, reader: &mut Reader) -> Option<String> {
    let Some(entry) = node.entry(key).filter(|entry| !entry.node.is_null()) else {
        let hint = "every document says what it is: `apiVersion` and `kind`";
        reader.note(Diagnostic::error(&node.place, format!("document without `{key}`")).hint(hint));
        return None;
    };
    String::read(&entry.node, reader)
}

fn body(node: &Node, api_version: &str, kind: &str, reader: &mut Reader) -> Option<Body> {
    let group = api_version.split('/').next().unwrap_or_default();
    match (api_version, group, kind) {
        (KOPS_API, _, "Cluster") => read(node, reader).map(Body::Cluster),
        (KOPS_API, _, "InstanceGroup") => read(node, reader).map(Body::InstanceGroup),
        (KOPS_API, _, "SSHCredential") => read(node, reader).map(Body::SshCredential),
        (KOPS_API, _, _) => unknown_kind(node, kind, KOPS_KINDS, reader),
        (KCL_API, _, "IngressController") => read(node, reader).map(Body::IngressController),
        (KCL_API, _, "StateStore") => read(node, reader).map(Body::StateStore),
        (KCL_API, _, "AccessEntry") => read(node, reader).map(Body::AccessEntry),
        (KCL_API, _, "NamespaceDefaults") => read(node, reader).map(Body::NamespaceDefaults),
        (KCL_API, _, "Manifest") => read(node, reader).map(Body::Manifest),
        (KCL_API, _, _) => unknown_kind(node, kind, KCL_KINDS, reader),
        (_, "kops.k8s.io" | "kops", _) => unknown_version(node, api_version, KOPS_API, reader),
        (_, "kcl.dev", _) => unknown_version(node, api_version, KCL_API, reader),
        _ => Some(Body::Object),
    }
}

fn read<T: crate::read::Read>(node: &Node, reader: &mut Reader) -> Option<Box<T>> {
    T::read(node, reader).map(Box::new)
}

fn unknown_kind(node: &Node, kind: &str, known: &[&str], reader: &mut Reader) -> Option<Body> {
    let place = node.entry("kind").map_or(&node.place, |entry| &entry.node.place);
    let hint = suggest::hint(kind, known.iter().copied());
    reader.note(Diagnostic::error(place, format!("unknown kind `{kind}`")).hint(hint));
    None
}

fn unknown_version(node: &Node, found: &str, known: &str, reader: &mut Reader) -> Option<Body> {
    let place = node.entry("apiVersion").map_or(&node.place, |entry| &entry.node.place);
    let title = format!("apiVersion `{found}` is not supported");
    reader.note(Diagnostic::error(place, title).hint(format!("kcl reads `{known}`")));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, String)> {
        let source = Arc::new(Source::new("x.yaml", text));
        split(&source).into_iter().map(|chunk| (chunk.first_line, chunk.text.to_owned())).collect()
    }

    #[test]
    fn documents_are_cut_at_their_markers() {
        assert_eq!(lines("a: 1\n---\nb: 2\n"), [(1, "a: 1\n".into()), (2, "---\nb: 2\n".into())]);
        assert_eq!(lines("---\n\n---\n# x\n---\na: 1"), [(1, "---\n\n---\n# x\n---\na: 1".into())]);
        assert_eq!(lines("a: 1\n...\n---\nb: 2\n"), [(1, "a: 1\n...\n".into()), (3, "---\nb: 2\n".into())]);
        assert_eq!(lines("--- {a: 1}\n"), [(1, "--- {a: 1}\n".into())]);
        assert_eq!(lines("# nothing\n---\n"), []);
        assert_eq!(lines("a: |\n  ---\n  b\n"), [(1, "a: |\n  ---\n  b\n".into())]);
        assert_eq!(lines("a: ---b\n----\n"), [(1, "a: ---b\n----\n".into())]);
    }
}
