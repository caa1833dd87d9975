//! Who machines and pods are to AWS: roles, policies, instance profiles, the OIDC provider.

use std::collections::BTreeMap;

use kcl_engine::{Json, Ref, Resource, ResourceId, Set, Text};
use kcl_partition::Partition;
use kcl_spec::cluster::{Cluster, Role, ServiceAccountPermissions, ServiceAccountRole};
use serde_json::{Value, json};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::issuer::{self, DEFAULT_THUMBPRINTS, TOKEN_AUDIENCE};
use crate::resource::{Bucket, DiscoveryDocument, IamRole, InstanceProfile, OidcProvider};
use crate::{keys, kubernetes, names, permissions, policy};

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    for role in [Role::ControlPlane, Role::Node, Role::Bastion] {
        // A role whose every group brings a profile of its own has no machine left.
        if builder.cluster.groups(role).any(|group| group.iam_profile.is_none()) {
            machine_role(builder, role)?;
        }
    }
    let documents = discovery_documents(builder)?;
    service_accounts(builder, documents)
}

/// The instance profile of a group's machines: the role's, or the group's own.
pub(crate) fn instance_profile(cluster: &Cluster, role: Role, own: Option<&str>) -> Ref {
    match own {
        None => Ref::to(InstanceProfile::SCHEMA.kind, names::machine_role(role, &cluster.name), "name"),
        Some(arn) => {
            let name = arn.rsplit('/').next().unwrap_or(arn);
            Ref::id(InstanceProfile::SCHEMA.kind, "name", name)
        }
    }
}

fn machine_role(builder: &mut Builder<'_>, role: Role) -> Result<(), ModelError> {
    let name = names::machine_role(role, builder.name());
    let iam = &builder.cluster.iam;
    let own = match role {
        Role::ControlPlane => Some(permissions::control_plane(builder)),
        Role::Node => permissions::node(builder),
        Role::Bastion => None,
    };
    let mut inline: BTreeMap<String, Json> = own.into_iter().map(|own| (name.clone(), own)).collect();
    if let Some(statements) = iam.additional_policies.get(&role).filter(|all| !all.is_empty()) {
        inline.insert(format!("additional.{name}"), policy::document(statements));
    }
    let attached: Set<String> = iam.external_policies.get(&role).into_iter().flatten().cloned().collect();
    let service = Partition::named(&builder.facts.partition).ec2_service();
    let trust = json!({
        "Effect": "Allow",
        "Principal": { "Service": service },
        "Action": "sts:AssumeRole",
    });
    let tags = match role {
        // Seen from every region, too.
        Role::ControlPlane => builder.protecting_tags(&name),
        Role::Node | Role::Bastion => builder.tags(&name),
    };
    add_role(builder, &name, trust, inline, attached, tags)?;
    let profile = InstanceProfile {
        role: Some(Ref::to(IamRole::SCHEMA.kind, &name, "name")),
        tags: builder.tags(&name),
    };
    builder.add(&name, &profile)?;
    Ok(())
}

fn add_role(
    builder: &mut Builder<'_>,
    name: &str,
    trust: Value,
    inline_policies: BTreeMap<String, Json>,
    attached_policies: Set<String>,
    tags: crate::resource::Tags,
) -> Result<ResourceId, ModelError> {
    let role = IamRole {
        trust_policy: policy::document(&[trust]),
        inline_policies,
        attached_policies,
        permissions_boundary: builder.cluster.iam.permissions_boundary.clone(),
        tags,
    };
    builder.add(name, &role)
}

/// What lets anybody verify the tokens of the cluster's service accounts, where the issuer is a bucket. The bucket is
/// wanted only as long as they cannot be read there: one that works is used as it is.
fn discovery_documents(builder: &mut Builder<'_>) -> Result<Vec<ResourceId>, ModelError> {
    let cluster = builder.cluster;
    let Some(issuer) = &cluster.service_account_issuer else { return Ok(Vec::new()) };
    let Some(place) = &issuer.bucket else { return Ok(Vec::new()) };
    let url = issuer::issuer_url(cluster, issuer, builder.facts)?;
    let document = |path: &str, content_type: &str| DiscoveryDocument {
        bucket: place.name.clone(),
        key: place.key(path),
        content_type: content_type.to_owned(),
        content: None,
        keys: None,
        public: true,
    };
    let configuration = DiscoveryDocument {
        content: Some(Text::new(kcl_pki::openid_configuration(&url)?)),
        ..document(kcl_pki::OPENID_CONFIGURATION_PATH, "application/json")
    };
    let jwks = DiscoveryDocument {
        keys: Some(keys::token_keys()),
        ..document(kcl_pki::JWKS_PATH, "application/jwk-set+json")
    };
    let bucket = if builder.facts.discovery_is_public {
        None
    } else {
        let public_objects =
            [&configuration, &jwks].map(|document| document.key.clone()).into_iter().collect();
        let region = builder.facts.issuer_region.as_deref().unwrap_or(&cluster.region);
        Some(builder.add(&place.name, &Bucket::new(region, None, public_objects))?)
    };
    let mut documents = Vec::new();
    for (name, document) in [(kcl_pki::OPENID_CONFIGURATION_PATH, configuration), (kcl_pki::JWKS_PATH, jwks)]
    {
        let id = builder.add(name, &document)?;
        if let Some(bucket) = &bucket {
            builder.order(&id, bucket.clone());
        }
        documents.push(id);
    }
    Ok(documents)
}

/// The roles of service accounts, and the trust in their issuer. That comes after its `documents`: where they cannot
/// be read, no role is to depend on them.
fn service_accounts(builder: &mut Builder<'_>, documents: Vec<ResourceId>) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    let issuer = cluster.service_account_issuer.as_ref();
    let Some(issuer) = issuer.filter(|issuer| issuer.enable_aws_oidc_provider) else {
        if !cluster.iam.service_accounts.is_empty() {
            builder.warn(
                "the roles of service accounts are not made: AWS trusts no issuer of theirs",
                "set `serviceAccountIssuerDiscovery` with `enableAWSOIDCProvider: true`",
            );
        }
        return Ok(());
    };
    let url = issuer::issuer_url(cluster, issuer, builder.facts)?;
    let host = url.trim_start_matches("https://");
    let audiences: Set<String> =
        [TOKEN_AUDIENCE.to_owned()].into_iter().chain(issuer.additional_audiences.iter().cloned()).collect();
    let thumbprints = match builder.facts.thumbprints.as_slice() {
        [] => DEFAULT_THUMBPRINTS.iter().map(ToString::to_string).collect(),
        given => given.iter().cloned().collect(),
    };
    let provider = OidcProvider {
        url: url.clone(),
        audiences: audiences.clone(),
        thumbprints,
        tags: builder.tags(builder.name()),
    };
    let provider = builder.add(host, &provider)?;
    for document in documents {
        builder.order(&provider, document);
    }
    let of_addons = kubernetes::roles(cluster, builder.facts);
    for account in cluster.iam.service_accounts.iter().chain(&of_addons) {
        let role = service_account(builder, account, host, &audiences)?;
        builder.order(&role, provider.clone());
    }
    Ok(())
}

fn service_account(
    builder: &mut Builder<'_>,
    account: &ServiceAccountRole,
    host: &str,
    audiences: &Set<String>,
) -> Result<ResourceId, ModelError> {
    let name = names::service_account_role(&account.name, &account.namespace, builder.name());
    let mut inline = BTreeMap::new();
    let attached = match &account.permissions {
        ServiceAccountPermissions::Managed(arns) => arns.iter().cloned().collect(),
        ServiceAccountPermissions::Inline(statements) => {
            inline.insert(name.clone(), policy::document(statements));
            Set::default()
        }
    };
    let mut tags = builder.tags(&name);
    tags.insert("service-account.kops.k8s.io/name".to_owned(), account.name.clone());
    tags.insert(
        "service-account.kops.k8s.io/namespace".to_owned(),
        names::spell_wildcard(&account.namespace),
    );
    let trust = trust_in(builder, account, host, audiences);
    add_role(builder, &name, trust, inline, attached, tags)
}

/// The service account's tokens, and only those made for AWS: without the audience, a token made for anyone
/// else would do as well.
fn trust_in(
    builder: &Builder<'_>,
    account: &ServiceAccountRole,
    host: &str,
    audiences: &Set<String>,
) -> Value {
    let audience = (format!("{host}:aud"), json!(audiences.iter().collect::<Vec<_>>()));
    let subject = (
        format!("{host}:sub"),
        json!(format!("system:serviceaccount:{}:{}", account.namespace, account.name)),
    );
    let object = |pairs: Vec<(String, Value)>| pairs.into_iter().collect::<Value>();
    let condition = if account.is_wildcard() {
        json!({ "StringEquals": object(vec![audience]), "StringLike": object(vec![subject]) })
    } else {
        json!({ "StringEquals": object(vec![audience, subject]) })
    };
    json!({
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {
            "Federated": format!(
                "arn:{}:iam::{}:oidc-provider/{host}",
                builder.facts.partition, builder.facts.account
            ),
        },
        "Condition": condition,
    })
}
