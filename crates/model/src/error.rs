//! What can be wrong with a sound spec once the facts are known, and what its owner should hear of.

use kcl_engine::ResourceId;

/// Why a cluster cannot be modelled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A fact that [`crate::needed`] names is not among the facts given.
    #[error("the {what} `{name}` was not looked up")]
    MissingFact {
        /// What kind of thing: `image`, `subnet`...
        what: &'static str,
        /// Which one.
        name: String,
    },
    /// A shared VPC without an internet gateway, and subnets that need one.
    #[error("the VPC {vpc} has no internet gateway, which the public subnets of the cluster need")]
    NoInternetGateway {
        /// The VPC.
        vpc: String,
    },
    /// A shared subnet that is not what the spec says.
    #[error("the subnet {id} ({name}) is in {found}, the spec says {wanted}")]
    SubnetMismatch {
        /// The subnet's id.
        id: String,
        /// Its name in the spec.
        name: String,
        /// The zone or VPC it is in.
        found: String,
        /// The zone or VPC the spec says.
        wanted: String,
    },
    /// The issuer's URL is none that verifiers of tokens take.
    #[error(transparent)]
    Discovery(#[from] kcl_pki::DiscoveryError),
    /// An image for one processor architecture, a machine type of another.
    #[error(
        "the image of the instance group {group} is for {image}, its machine type {machine_type} is {machine}"
    )]
    Architecture {
        /// The instance group.
        group: String,
        /// The image's architecture.
        image: String,
        /// The machine type.
        machine_type: String,
        /// The machine type's architecture.
        machine: &'static str,
    },
    /// No NAT gateway can be placed.
    #[error("the zone {zone} has no utility or public subnet for the NAT gateway of its private subnets")]
    NoPlaceForNat {
        /// The zone.
        zone: String,
    },
    /// No load balancer can be placed.
    #[error("no zone has a public or utility subnet for the load balancer of the ingress controller {name}")]
    NoPlaceForIngress {
        /// The ingress controller.
        name: String,
    },
    /// Two ingress controllers that both want the node's ports.
    #[error("the ingress controllers {first} and {second} both want the ports 80 and 443 of every node")]
    TwoIngressControllers {
        /// One of them.
        first: String,
        /// The other one.
        second: String,
    },
    /// User data that EC2 would refuse.
    #[error("the user data of the instance group {group} is {size} bytes, EC2 takes {limit}")]
    UserDataTooLong {
        /// The instance group.
        group: String,
        /// Its size in bytes.
        size: usize,
        /// EC2's limit in bytes.
        limit: usize,
    },
    /// An SSH public key that is none.
    #[error("the SSH public key is not in OpenSSH format: {why}")]
    PublicKey {
        /// What is wrong with it.
        why: &'static str,
    },
    /// An OIDC provider for an issuer that AWS cannot reach.
    #[error("the discovery store {store} has no https URL, which an IAM OIDC provider needs")]
    DiscoveryStore {
        /// The store as the spec has it.
        store: String,
    },
    /// A folder of the state store that machines cannot be told of.
    #[error(
        "the state store's folder `{prefix}` has characters that cannot stand in user data: choose letters, digits, `-`, `.`, `_` and `/`"
    )]
    StorePrefix {
        /// The folder.
        prefix: String,
    },
    /// A node configuration that cannot be.
    #[error(transparent)]
    NodeConfiguration(#[from] kcl_node_config::ConfigError),
    /// Two resources that are both to have the same name.
    #[error("two parts of the spec both ask for {0}")]
    Conflict(ResourceId),
    /// An addon that cannot be.
    #[error(transparent)]
    Addon(#[from] kcl_manifests::Error),
    /// Two objects of one identity.
    #[error("{first} and {second} are both the {object}")]
    SameObject {
        /// Kind, namespace and name.
        object: String,
        /// Where it comes from.
        first: String,
        /// Where it comes from again.
        second: String,
    },
    /// An object of the spec that would be another one each time.
    #[error("an object of the spec has no `metadata.name`: a {kind}")]
    Unnamed {
        /// Its kind.
        kind: String,
    },
    /// An object of the spec that no API server could read.
    #[error("the {object} of the spec cannot be written as JSON")]
    Object {
        /// Kind and name.
        object: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A resource that cannot be written as JSON: a mistake in kcl.
    #[error("failed to serialise a resource")]
    Serialise(#[from] serde_json::Error),
}

impl ModelError {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoInternetGateway { .. } => {
                Some("attach an internet gateway to the VPC, or use private subnets")
            }
            Self::SubnetMismatch { .. } => Some("correct the subnet's zone or id in the spec"),
            Self::Architecture { .. } => Some("choose an image of the machine type's architecture"),
            Self::NoPlaceForNat { .. } => {
                Some("add a subnet of type Utility in this zone, or set the private subnets' egress")
            }
            Self::NoPlaceForIngress { .. } => Some("add a subnet of type Public or Utility"),
            Self::TwoIngressControllers { .. } => {
                Some("let `managedBy: service` make the second one's load balancer")
            }
            Self::UserDataTooLong { .. } => {
                Some("fetch the larger part from S3 in place of additionalUserData")
            }
            Self::PublicKey { .. } => Some("give the content of a .pub file: `ssh-ed25519 AAAA... comment`"),
            Self::Addon(kcl_manifests::Error::Version { .. }) => {
                Some("choose a newer `kubernetesVersion`, or leave out what needs it")
            }
            Self::SameObject { .. } => Some(
                "give the spec's object another name, or switch off the addon that has it, and keep your own",
            ),
            Self::Unnamed { .. } => {
                Some("give it a name: with `generateName` every run would make one more of it")
            }
            Self::DiscoveryStore { .. } => Some("use an S3 store: s3://bucket/prefix"),
            _ => None,
        }
    }
}

/// Something the owner of the spec should know. It does not keep the cluster from being built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// What is the case, as a lowercase fragment.
    pub title: String,
    /// What to do about it.
    pub hint: String,
}
