//! Documents as they may be shown.

/// `text` without what lies in Kubernetes Secrets: each such document is one line that says so. For plans, which
/// end up in the logs of CI. Works on text, so that it also holds for documents that are not sound; rather a
/// document too many is left out than one too few.
pub fn redact(text: &str) -> String {
    let mut shown = String::new();
    let mut document = String::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            shown.push_str(&redact_document(&document));
            document.clear();
            shown.push_str(if holds_secret(line) { "---\n" } else { line });
        } else {
            document.push_str(line);
        }
    }
    shown + &redact_document(&document)
}

fn redact_document(document: &str) -> String {
    if holds_secret(document) {
        "# a Secret, whose contents are not shown\n".to_owned()
    } else {
        document.to_owned()
    }
}

/// Whether a document says that it, or an item in it, is a Secret. Comments count too.
fn holds_secret(document: &str) -> bool {
    document.lines().any(|line| {
        line.split_once("kind").is_some_and(|(_, rest)| rest.contains("Secret"))
            || line.contains("stringData")
    })
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn secrets_are_not_shown() {
        let spec =
            "kind: Cluster\nname: a\n---\nkind: Secret\nstringData:\n  password: hunter2\n---\nkind: Pod\n";
        assert_eq!(
            redact(spec),
            "kind: Cluster\nname: a\n---\n# a Secret, whose contents are not shown\n---\nkind: Pod\n"
        );
        for secret in [
            "{\"kind\": \"Secret\", \"data\": {\"p\": \"hunter2\"}}",
            "kind: List\nitems:\n- kind: Secret\n  data: {p: hunter2}\n",
            "kind:   'Secret'\ndata: {p: hunter2}",
            "--- {kind: Secret, data: {p: hunter2}}\n",
        ] {
            assert!(!redact(secret).contains("hunter2"), "{secret}");
        }
        assert_eq!(redact("kind: SSHCredential\n"), "kind: SSHCredential\n");
    }
}
