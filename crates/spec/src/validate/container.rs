//! What ends up in the manifests of components: images, resources, annotations.

use std::collections::BTreeMap;

use super::check::Check;
use super::{syntax, texts, value};
use crate::cluster::Container;
use crate::read::{Dict, Scalar};
use crate::source::Located;

/// The fields of a component that are its container's; not every component has every one.
#[derive(Default)]
pub(super) struct ContainerFields<'a> {
    pub(super) image: Option<&'a Located<String>>,
    pub(super) version: Option<&'a Located<String>>,
    pub(super) cpu_request: Option<&'a Located<Scalar>>,
    pub(super) memory_request: Option<&'a Located<Scalar>>,
    pub(super) cpu_limit: Option<&'a Located<Scalar>>,
    pub(super) memory_limit: Option<&'a Located<Scalar>>,
}

impl ContainerFields<'_> {
    pub(super) fn container(&self, check: &mut Check) -> Container {
        if let Some(image) = self.image.filter(|image| !syntax::is_image(&image.value)) {
            let title = format!("`{}` is not an image", image.value);
            check.hinted(&image.place, title, "write it as in `registry.example.com/path/name:v1.2.3`");
        }
        if let Some(version) = self.version.filter(|version| !syntax::is_tag(&version.value)) {
            let title = format!("`{}` is not the tag of an image", version.value);
            check.hinted(&version.place, title, "write it as in `v1.2.3`");
        }
        for (request, limit) in [(self.cpu_request, self.cpu_limit), (self.memory_request, self.memory_limit)]
        {
            if let (Some(request), Some(limit)) = (request, limit) {
                within_limit(request, limit, check);
            }
        }
        Container {
            image: value(self.image),
            version: value(self.version),
            cpu_request: syntax::quantity_field(self.cpu_request, check),
            memory_request: syntax::quantity_field(self.memory_request, check),
            cpu_limit: syntax::quantity_field(self.cpu_limit, check),
            memory_limit: syntax::quantity_field(self.memory_limit, check),
        }
    }
}

/// Kubernetes refuses containers that ask for more than they may have.
pub(super) fn within_limit(request: &Located<Scalar>, limit: &Located<Scalar>, check: &mut Check) {
    let values = (syntax::quantity_value(&request.value.0), syntax::quantity_value(&limit.value.0));
    if let (Some(asked), Some(allowed)) = values
        && asked > allowed
    {
        let title = format!("the request {} is more than the limit {}", request.value.0, limit.value.0);
        check.hinted(&request.place, title, "a request is at most as large as its limit");
    }
}

/// Annotations of pods.
pub(super) fn annotations(
    dict: Option<&Located<Dict<String>>>,
    check: &mut Check,
) -> BTreeMap<String, String> {
    for (key, _) in dict.map_or(&[][..], |dict| &dict.value.0) {
        if !syntax::is_qualified_name(&key.value.to_ascii_lowercase()) {
            let title = format!("`{}` is not the key of an annotation", key.value);
            let hint = "a name of at most 63 characters, with a DNS prefix if you like: `example.com/name`";
            check.hinted(&key.place, title, hint);
        }
    }
    texts(dict)
}
