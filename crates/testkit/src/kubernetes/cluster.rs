//! [`Cluster`]: a real control plane whose machines are stand-ins.

use std::path::PathBuf;

use super::api_server::{ApiServer, ApiServerConfig};
use super::machines::{Machine, Machines};
use super::pki::Pki;
use crate::error::Error;
use crate::world::Run;

/// A running cluster; gone when dropped.
#[derive(Debug)]
pub struct Cluster {
    // Dropped before the server that they talk to.
    /// Its machines.
    pub machines: Machines,
    /// Its control plane.
    pub server: ApiServer,
    /// Its keys.
    pub pki: Pki,
    /// The kubeconfig of an administrator.
    pub admin: PathBuf,
}

impl Cluster {
    /// Starts one; `config` is [`ApiServerConfig::control_plane`] of the same keys, changed at will.
    pub fn start(config: ApiServerConfig, pki: Pki, machines: &[Machine]) -> Result<Self, Error> {
        let server = ApiServer::start(config)?;
        let admin = server.admin(&pki)?;
        let machines = Machines::start(&server, &admin, machines)?;
        Ok(Self { machines, server, pki, admin })
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl(&self, args: &[&str]) -> Result<Run, Error> {
        self.server.kubectl(&self.admin, args)
    }

    /// Likewise, with `input` on its standard input.
    pub fn kubectl_reads(&self, args: &[&str], input: &str) -> Result<Run, Error> {
        self.server.kubectl_reads(&self.admin, args, input)
    }

    /// Likewise, again and again until the run is as wanted.
    pub fn until(&self, args: &[&str], wanted: impl Fn(&Run) -> bool) -> Result<Run, Error> {
        self.server.until(&self.admin, args, wanted)
    }
}
