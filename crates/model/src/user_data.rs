//! What machines run first.
//!
//! A placeholder until the node agent is there: it leaves the names by which a machine finds its
//! configuration in `/etc/kcl/node.yaml`. Anyone who can describe launch templates can read user data, so
//! no secret ever stands in it.

use std::fmt::Write as _;

use kcl_spec::cluster::{InstanceGroup, Role};
use sha2::{Digest, Sha256};

use crate::builder::Builder;
use crate::error::ModelError;

/// EC2 takes 16 KiB, before base64 (EC2 documentation, "Run commands when you launch an EC2 instance").
const LIMIT: usize = 16 * 1024;

/// The user data of a group's machines.
pub(crate) fn of(builder: &Builder<'_>, group: &InstanceGroup) -> Result<String, ModelError> {
    let script = script(builder, group);
    let text = match group.additional_user_data.as_slice() {
        [] => script,
        further => {
            let own = Part { name: "kcl-node.sh", content_type: "text/x-shellscript", content: &script };
            let further = further.iter().map(|part| Part {
                name: &part.name,
                content_type: &part.content_type,
                content: &part.content,
            });
            multipart(&[own].into_iter().chain(further).collect::<Vec<_>>())
        }
    };
    if text.len() > LIMIT {
        return Err(ModelError::UserDataTooLong {
            group: group.name.clone(),
            size: text.len(),
            limit: LIMIT,
        });
    }
    Ok(text)
}

fn script(builder: &Builder<'_>, group: &InstanceGroup) -> String {
    let role = match group.role {
        Role::ControlPlane => "control-plane",
        Role::Node => "node",
        Role::Bastion => "bastion",
    };
    let mut config = String::new();
    let mut line = |key: &str, value: &str| {
        // A JSON string is a YAML string, whatever stands in it.
        let _ = writeln!(config, "{key}: {}", serde_json::Value::from(value));
    };
    line("cluster", builder.name());
    line("instanceGroup", &group.name);
    line("role", role);
    if let Some(store) = &builder.facts.store {
        line("configuration", &format!("s3://{}/{}", store.bucket, store.folder(builder.name())));
    }
    format!("#!/bin/sh\nset -eu\nmkdir -p /etc/kcl\ncat > /etc/kcl/node.yaml <<'END'\n{config}END\n")
}

struct Part<'a> {
    name: &'a str,
    content_type: &'a str,
    content: &'a str,
}

/// MIME multipart, as cloud-init reads it. The boundary comes from the content: the same parts give the
/// same text in every run, and no part can hold it.
fn multipart(parts: &[Part<'_>]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.content.as_bytes());
    }
    let boundary = format!("kcl-{}", &hex::encode(hash.finalize())[..24]);
    let mut text = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n");
    for part in parts {
        let encoding = if part.content.is_ascii() { "7bit" } else { "8bit" };
        let end = if part.content.ends_with('\n') { "" } else { "\n" };
        let _ = write!(
            text,
            "--{boundary}\nContent-Disposition: attachment; filename=\"{}\"\n\
             Content-Transfer-Encoding: {encoding}\nContent-Type: {}\nMIME-Version: 1.0\n\n{}{end}",
            part.name, part.content_type, part.content
        );
    }
    let _ = writeln!(text, "--{boundary}--");
    text
}
