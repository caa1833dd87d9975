//! Manifests from elsewhere, and images from elsewhere.

use super::check::Check;
use super::{Scope, document_name, syntax};
use crate::cluster::{ImageMirror, Manifest};
use crate::document::Spec;
use crate::schema::addons::AssetsSpec;
use crate::schema::manifest::ManifestSpec;
use crate::source::{Located, Place};

/// The manifests, by name.
pub(super) fn manifests(spec: &Spec, check: &mut Check) -> Vec<Located<Manifest>> {
    let mut names = Vec::new();
    let mut manifests = Vec::new();
    for (document, body) in spec.manifests() {
        let name = document_name(document, body.metadata.as_ref(), check);
        if let Some(name) = name.as_ref().filter(|name| !syntax::is_dns_name(&name.value)) {
            let title = format!("`{}` is not a Kubernetes name", name.value);
            check.hinted(&name.place, title, "lower-case letters, digits, `-` and dots");
        }
        let empty = ManifestSpec::default();
        let place = body.spec.as_ref().map_or(&document.place, |spec| &spec.place);
        let ManifestSpec { url, sha256 } = body.spec.as_ref().map_or(&empty, |spec| &spec.value);
        match url {
            Some(url) => self::url(url, &document.place, check),
            None => check.missing_named(place, "url", "spec.url"),
        }
        if let Some(sum) = sha256 {
            self::sha256(sum, check);
        } else {
            let hint = "what is applied is what you have seen: `sha256sum FILE` prints it";
            check.lacking(place, "sha256", "missing `spec.sha256`", hint);
        }
        let manifest = Manifest {
            name: name.as_ref().map_or_else(String::new, |name| name.value.clone()),
            url: url.as_ref().map_or_else(String::new, |url| url.value.clone()),
            sha256: sha256.as_ref().map_or_else(String::new, |sum| sum.value.to_ascii_lowercase()),
        };
        let place = name.as_ref().map_or(&document.place, |name| &name.place);
        manifests.push(Located::new(manifest, place.clone()));
        names.extend(name);
    }
    check.unique("manifest", &names);
    manifests.sort_by(|a: &Located<Manifest>, b| a.value.name.cmp(&b.value.name));
    manifests
}

/// A place that what is there can be trusted to come from. A password in it is not shown again, not even in its line.
fn url(url: &Located<String>, document: &Place, check: &mut Check) {
    let text = url.value.as_str();
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        let hint = "the spec is stored as it is: put the manifest where it needs no password, or in a file";
        check.hinted(document, "`spec.url` holds a password", hint);
    } else if text.starts_with("https://") {
        if host.is_empty() || !text.chars().all(|char| char.is_ascii_graphic()) {
            check.error(&url.place, format!("`{text}` is not an address"));
        }
    } else if !text.strip_prefix("file://").is_some_and(|path| path.starts_with('/') && path.len() > 1) {
        let title = format!("`{text}` is not the address of a manifest");
        check.hinted(&url.place, title, "write `https://...` or, with the whole path, `file:///...`");
    }
}

fn sha256(sum: &Located<String>, check: &mut Check) {
    if !syntax::is_sha256(&sum.value) {
        let title = format!("`{}` is not a SHA-256", sum.value);
        let hint = match sum.value.strip_prefix("sha256:").filter(|rest| syntax::is_sha256(rest)) {
            Some(rest) => format!("did you mean `{rest}`?"),
            None => "64 hexadecimal digits: `sha256sum FILE` prints them".to_owned(),
        };
        check.hinted(&sum.place, title, hint);
    }
}

/// Where release files come from in place of their own servers.
pub(super) fn file_repository(scope: &Scope<'_>, check: &mut Check) -> Option<String> {
    let field = scope.spec.assets.as_ref()?.value.file_repository.as_ref()?;
    let server = syntax::web_server(&field.value);
    if server.is_none() {
        let title = "`fileRepository` is not the address of a web server";
        check.hinted(&field.place, title, "like `https://files.example.com/mirror`, without a password");
    }
    server.map(str::to_owned)
}

/// Where images come from in place of their own registry.
pub(super) fn image_mirror(scope: &Scope<'_>, check: &mut Check) -> Option<ImageMirror> {
    let AssetsSpec { container_proxy, container_registry, file_repository: _ } =
        &scope.spec.assets.as_ref()?.value;
    for field in [container_proxy, container_registry].into_iter().flatten() {
        let text = field.value.trim_end_matches('/');
        if !syntax::is_registry(text) {
            let title = format!("`{}` is not the address of a registry", field.value);
            let hint = match text.split_once("://").filter(|(_, rest)| syntax::is_registry(rest)) {
                Some((_, rest)) => format!("did you mean `{rest}`?"),
                None => "a host, with port and path if need be: `registry.example.com/mirror`".to_owned(),
            };
            check.hinted(&field.place, title, hint);
        }
    }
    let address = |field: &Located<String>| field.value.trim_end_matches('/').to_owned();
    match (container_registry, container_proxy) {
        (Some(registry), Some(proxy)) => {
            let title = "`containerRegistry` and `containerProxy` exclude each other";
            check.hinted(&proxy.place, title, "keep one of them");
            Some(ImageMirror::Registry(address(registry)))
        }
        (Some(registry), None) => Some(ImageMirror::Registry(address(registry))),
        (None, Some(proxy)) => Some(ImageMirror::Proxy(address(proxy))),
        (None, None) => None,
    }
}
