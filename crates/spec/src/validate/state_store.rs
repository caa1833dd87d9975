//! The state store: the key its objects are encrypted with.

use super::check::Check;
use super::{Scope, syntax};
use crate::cluster::StateStore;
use crate::document::Spec;
use crate::source::Located;

/// What the StateStore document says; at most one.
pub(super) fn state_store(spec: &Spec, scope: &Scope<'_>, check: &mut Check) -> StateStore {
    let mut documents = spec.state_stores();
    let Some((first, body)) = documents.next() else { return StateStore::default() };
    for (document, _) in documents {
        let hint = format!("the first one is at {}", first.place.seen_from(&document.place));
        check.hinted(&document.place, "a second StateStore", hint);
    }
    let Some(field) = body.spec.as_ref().and_then(|spec| spec.value.kms_key_id.as_ref()) else {
        let place = body.spec.as_ref().map_or(&first.place, |spec| &spec.place);
        check.missing_named(place, "kmsKeyID", "spec.kmsKeyID");
        return StateStore::default();
    };
    kms_key(field, check);
    if scope.spec.config_base.as_ref().is_some_and(|base| base.value.starts_with("file://")) {
        let title = "`kmsKeyID` has no effect: the state store of this spec is a folder";
        check.warn(&field.place, title, "only objects in S3 are encrypted with a KMS key");
    }
    StateStore { kms_key: Some(field.value.clone()) }
}

/// The name of a key as S3 takes it.
fn kms_key(field: &Located<String>, check: &mut Check) {
    let text = field.value.as_str();
    let is_possible = match text.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "kms", region, account, resource] => {
            let is_account = account.len() == 12 && account.chars().all(|char| char.is_ascii_digit());
            let is_key = resource.strip_prefix("key/").is_some_and(is_key_id);
            let is_place = partition.starts_with("aws") && syntax::is_region(region) && is_account;
            is_place && (is_key || is_alias(resource))
        }
        _ => is_key_id(text) || is_alias(text),
    };
    if !is_possible {
        let is_name = is_alias(&format!("alias/{text}")) && !text.contains('/');
        // What begins as a UUID does was meant to be one.
        let hint = if is_name && !text.starts_with(|char: char| char.is_ascii_digit()) {
            format!("did you mean `alias/{text}`?")
        } else {
            "the key's id (a UUID, or `mrk-...`), `alias/...`, or an ARN as in \
             `arn:aws:kms:<region>:<account>:key/<id>`"
                .to_owned()
        };
        check.hinted(&field.place, format!("`{text}` does not name a KMS key"), hint);
    }
}

/// A key's id: a UUID, or that of a multi-Region key.
fn is_key_id(text: &str) -> bool {
    let is_hex = |text: &str| text.chars().all(|char| char.is_ascii_digit() || ('a'..='f').contains(&char));
    if let Some(id) = text.strip_prefix("mrk-") {
        return id.len() == 32 && is_hex(id);
    }
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.into_iter().all(is_hex)
}

/// KMS: 1 to 250 letters, digits, `/`, `_` and `-` after `alias/`.
fn is_alias(text: &str) -> bool {
    let is_known = |char: char| char.is_ascii_alphanumeric() || "/_-".contains(char);
    text.strip_prefix("alias/")
        .is_some_and(|name| (1..=250).contains(&name.len()) && name.chars().all(is_known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_ids_and_aliases() {
        for id in ["1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-1234abcd12ab34cd56ef1234567890ab"] {
            assert!(is_key_id(id), "{id}");
        }
        for id in [
            "",
            "mrk-",
            "mrk-12",
            "1234abcd",
            "1234abcd-12ab-34cd-56ef-1234567890aZ",
            "1234abcd12ab34cd56ef1234567890ab",
        ] {
            assert!(!is_key_id(id), "{id}");
        }
        assert!(is_alias("alias/kcl-state") && is_alias("alias/aws/s3"));
        assert!(!is_alias("alias/") && !is_alias("kcl") && !is_alias("alias/a b") && !is_alias("alias/a:b"));
    }
}
