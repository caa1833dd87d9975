//! The join service of this control-plane machine, with the API server's own certificate.
//!
//! It asks the API server of this machine, as a user of its own with the few rights of [`kcl_join::RBAC`]; those
//! are applied first. Certificates are looked at now and then: when they were renewed ([`super::renew`]), or the service's
//! own is half over, the service begins anew on the same port while what was begun is ended.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kcl_join::{ApiServer, ApiServerConfig, Limits, RBAC, Server, ServerTls, Service, ServiceConfig};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::certificate::{self, API_SERVER_CERTIFICATE, API_SERVER_KEY, CA_CERTIFICATE, CertificateError};
use super::rights;
use super::supervise::{Failure, Said};
use crate::system::System;

/// The user that the rights are bound to.
const USER: &str = "kcl:join-service";

/// How long the service's own certificate is good; it is renewed when half of that is over.
const VALIDITY: Duration = Duration::from_hours(24);

/// What the service is served with.
#[derive(Clone)]
pub struct JoinSettings {
    /// Whom it lets in, and whom it asks.
    pub service: ServiceConfig,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The API server of this machine: `https://address:port`.
    pub server: String,
    /// How often the certificates are looked at.
    pub reload_every: Duration,
}

/// What a generation of the service is made of.
#[derive(PartialEq)]
struct Files {
    authorities: Zeroizing<String>,
    certificate: Zeroizing<String>,
    key: Zeroizing<String>,
}

impl Files {
    fn read(system: &System) -> Result<Self, CertificateError> {
        Ok(Self {
            authorities: certificate::read(system, CA_CERTIFICATE)?,
            certificate: certificate::read(system, API_SERVER_CERTIFICATE)?,
            key: certificate::read(system, API_SERVER_KEY)?,
        })
    }
}

/// Serves for ever; `well` is called whenever the service is up.
pub async fn serve(
    system: System,
    settings: JoinSettings,
    well: Arc<dyn Fn() + Send + Sync>,
) -> Result<Infallible, Failure> {
    rights::apply(&system, &settings.server, RBAC).await?;
    let JoinSettings { service, listen, server, reload_every } = settings;
    let listener = std::net::TcpListener::bind(listen)
        .map_err(|error| Said(format!("the join service cannot listen on {listen}: {error}")))?;
    listener.set_nonblocking(true)?;
    let mut serving = JoinSet::new();
    loop {
        let files = Files::read(&system)?;
        let own = certificate::user(&system, &server, USER, None, time::Duration::try_from(VALIDITY)?)?;
        let renew = Instant::now() + VALIDITY / 2;
        let api_server = ApiServer::new(&ApiServerConfig {
            url: server.clone(),
            ca_pem: own.authorities,
            certificate_pem: own.certificate,
            key_pem: own.key.to_string(),
        })?;
        let service = Service::new(service.clone(), api_server)?;
        let tls = ServerTls::new(&files.certificate, &files.key)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        serving.spawn(Server::new(service, tls, Limits::default()).serve(listener, async {
            // A sender that is gone means the same.
            drop(stopped.await);
        }));
        well();
        loop {
            tokio::time::sleep(reload_every).await;
            while serving.try_join_next().is_some() {}
            if serving.is_empty() {
                return Err(Said("the join service ended".to_owned()).into());
            }
            // Files that are being written are read again the next time.
            let changed = Files::read(&system).is_ok_and(|now| now != files && is_pair(&now));
            if changed || Instant::now() >= renew {
                break;
            }
        }
        drop(stop);
    }
}

/// Whether certificate and key go together: both are renewed, one after the other.
fn is_pair(files: &Files) -> bool {
    ServerTls::new(&files.certificate, &files.key).is_ok()
}
