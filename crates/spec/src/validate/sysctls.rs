//! Kernel parameters: `name=value`, of the cluster and of its groups.

use std::collections::BTreeMap;

use super::Scope;
use super::check::Check;
use crate::read::List;
use crate::source::Located;

/// The cluster's, and over them the group's own.
///
/// What is wrong with one of the cluster's is said for each of its groups, at the same place: it is noted once.
pub(super) fn of(
    scope: &Scope<'_>,
    own: Option<&Located<List<String>>>,
    check: &mut Check,
) -> BTreeMap<String, String> {
    let lists = [scope.spec.sysctl_parameters.as_ref(), own].into_iter().flatten();
    lists.flat_map(|list| &list.value).filter_map(|field| parameter(field, check)).collect()
}

/// One parameter. It becomes a line of a file, so nothing that could begin another one is taken.
fn parameter(field: &Located<String>, check: &mut Check) -> Option<(String, String)> {
    let fits_name = |c: char| c.is_ascii_alphanumeric() || "._/-*".contains(c);
    let fits_value = |c: char| matches!(c, ' ' | '\t') || c.is_ascii_graphic();
    let parts = field.value.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
    match parts {
        Some((name, value))
            if !name.is_empty()
                && !value.is_empty()
                && name.chars().all(fits_name)
                && value.chars().all(fits_value) =>
        {
            Some((name.to_owned(), value.to_owned()))
        }
        _ => {
            let title = format!("`{}` is not a kernel parameter", field.value);
            check.hinted_once(&field.place, title, "write `name=value`: `net.core.somaxconn=1024`");
            None
        }
    }
}
