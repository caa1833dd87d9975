//! What the API server lets in, and what it writes down of it.

use serde_json::json;

use crate::error::ConfigError;
use crate::file::{self, File, paths};

/// The ciphers of TLS 1.2 that are still sound (Mozilla's intermediate set, as far as Go has it); TLS 1.3 has
/// none to choose.
pub(crate) const CIPHERS: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Where anyone may ask: kubelet's probes have no name.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// Nobody without a name gets further than the probes.
pub(crate) fn authentication() -> Result<File, ConfigError> {
    let conditions: Vec<_> = OPEN_PATHS.iter().map(|path| json!({"path": path})).collect();
    let document = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": conditions},
    });
    let text = file::yaml("the authentication configuration", &document)?;
    Ok(File::private(format!("{}/authentication.yaml", paths::API_SERVER), text))
}

/// Who did what, without the bodies, which may be secret; not what machines ask every few seconds.
pub(crate) fn audit_policy() -> Result<File, ConfigError> {
    let nothing_of = |what: serde_json::Value| {
        let mut rule = what;
        rule["level"] = "None".into();
        rule
    };
    let document = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // One entry per request, when it is answered.
        "omitStages": ["RequestReceived"],
        "rules": [
            nothing_of(json!({"nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version"]})),
            nothing_of(json!({"resources": [{"group": "", "resources": ["events"]},
                {"group": "events.k8s.io", "resources": ["events"]}]})),
            nothing_of(json!({
                "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"],
                "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
            })),
            nothing_of(json!({
                "users": ["system:kube-controller-manager", "system:kube-scheduler"],
                "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
            })),
            nothing_of(json!({
                "userGroups": ["system:nodes"],
                "verbs": ["get", "list", "watch", "patch"],
                "resources": [{"group": "", "resources": ["nodes", "nodes/status"]}],
            })),
            nothing_of(json!({
                "users": ["system:serviceaccount:kube-system:kube-proxy"],
                "verbs": ["watch"],
                "resources": [{"group": "", "resources": ["services", "endpoints"]},
                    {"group": "discovery.k8s.io", "resources": ["endpointslices"]}],
            })),
            {"level": "Metadata"},
        ],
    });
    let text = file::yaml("the audit policy", &document)?;
    Ok(File::private(format!("{}/audit-policy.yaml", paths::API_SERVER), text))
}
