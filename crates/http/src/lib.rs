//! HTTP and signed requests to AWS, for programs that have to stay small: one client with a bound on everything,
//! and no SDK, which would be ten times the node agent.
//!
//! * [`Http`] sends a [`request`], and gives the whole [`Answer`] or one to be read piece by piece ([`Opened`]). What
//!   is sent is a [`Body`], in memory or from a file. [`Tls`] says whom it trusts and what it shows of itself.
//! * [`Signer`] signs a request for a service of AWS with what a [`CredentialsSource`] gives.
//! * [`AwsService`] asks a service that is no more than requests and XML, like EC2 and Route 53, and tells what went
//!   wrong from what may pass ([`AwsError`]). What is asked, and what the answers mean, is known by those who ask.
//!
//! Nothing is tried again, no redirect is followed, and neither the environment nor a file of the machine but its
//! trusted roots and what is sent from a file is read here.

mod body;
mod client;
mod endpoint;
mod error;
mod service;
mod sign;
mod tls;
pub mod xml;

pub use body::{Body, BodyError};
pub use client::{Answer, Http, Opened, Options, redirected, request};
pub use endpoint::{Endpoint, EndpointError, host, is_region, suffix};
pub use error::{HttpError, chain};
pub use service::{AwsError, AwsService, is_throttling};
pub use sign::{CredentialsError, CredentialsSource, SignError, Signer};
pub use tls::{Tls, TlsError, certificates, private_key};
