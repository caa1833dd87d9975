//! Machine images: how they are named, and which one is taken when none is.

use super::check::Check;
use super::syntax;
use crate::cluster::{Architecture, Image};
use crate::source::Located;
use crate::suggest;

/// Owners that kOps knows by a short name, and their accounts.
const IMAGE_OWNERS: &[(&str, &str)] = &[
    ("amazon", "amazon"),
    ("self", "self"),
    ("amazon.com", "137112412989"),
    ("aws-marketplace", "aws-marketplace"),
    ("centos", "125523088429"),
    ("debian", "136693071363"),
    ("flatcar", "075585003325"),
    ("redhat", "309956199498"),
    ("redhat.com", "309956199498"),
    ("ubuntu", "099720109477"),
];

/// Amazon Linux 2023, always the newest one.
fn default_image(architecture: Architecture) -> Image {
    let architecture = match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    };
    Image::SsmParameter(format!(
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
    ))
}

/// The machine image of a group.
pub(super) fn image(field: Option<&Located<String>>, architecture: Architecture, check: &mut Check) -> Image {
    let Some(field) = field else { return default_image(architecture) };
    let text = field.value.as_str();
    if let Some(parameter) = text.strip_prefix("ssm:") {
        if !parameter.starts_with('/') {
            let title = format!("`{parameter}` is not the path of an SSM parameter");
            check.hinted(&field.place, title, "it begins with a slash, as in `ssm:/aws/service/...`");
        }
        return Image::SsmParameter(parameter.to_owned());
    }
    if text.starts_with("ami-") {
        let _ = syntax::id(Some(field), "ami-", "an image", check);
        return Image::Id(text.to_owned());
    }
    let Some((owner, name)) =
        text.split_once('/').filter(|(owner, name)| !owner.is_empty() && !name.is_empty())
    else {
        let title = format!("`{text}` does not name a machine image");
        check.hinted(&field.place, title, "write `ami-...`, `owner/name` or `ssm:/path/of/a/parameter`");
        return default_image(architecture);
    };
    let account = IMAGE_OWNERS.iter().find(|(alias, _)| *alias == owner).map(|(_, account)| *account);
    let is_account = owner.len() == 12 && owner.chars().all(|char| char.is_ascii_digit());
    if account.is_none() && !is_account {
        let title = format!("unknown image owner `{owner}`");
        let hint = suggest::hint(owner, IMAGE_OWNERS.iter().map(|(alias, _)| *alias));
        check.hinted(&field.place, title, hint);
    }
    Image::Named { owner: account.unwrap_or(owner).to_owned(), name: name.to_owned() }
}
