//! A node configuration before everything is known: what AWS and the cluster's keys will say is left open.
//!
//! A plan is made before there is a load balancer to name or an authority to trust. What it shows is the document
//! with two gaps; they are filled when it is written, and opened again when it is read to be compared.

use crate::document::NodeConfig;
use crate::error::ConfigError;
use crate::file;
use crate::validate;

/// Stands where the certificates of the cluster's authority will.
pub const AUTHORITIES: &str = "@authorities@";
/// Stands where the load balancer's own name will, if that is what machines reach the API by.
pub const LOAD_BALANCER: &str = "@load-balancer@";

/// Something sound to put into a gap, so that everything around it can be checked.
const SOME_AUTHORITIES: &str = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
const SOME_NAME: &str = "load-balancer";

impl NodeConfig {
    /// The document with gaps as YAML; everything else in it is checked.
    pub fn to_template(&self) -> Result<String, ConfigError> {
        let mut whole = self.clone();
        whole.fill(Some(SOME_NAME), SOME_AUTHORITIES);
        validate::check(&whole)?;
        file::yaml("the node configuration", self)
    }

    /// Reads a document with gaps and fills them; `endpoint` only where that is one.
    pub fn from_template(text: &str, endpoint: Option<&str>, authorities: &str) -> Result<Self, ConfigError> {
        let mut config: Self = serde_yaml::from_str(text).map_err(|error| ConfigError::syntax(&error))?;
        config.fill(endpoint, authorities);
        validate::check(&config)?;
        Ok(config)
    }

    /// The document with gaps, and what stood in them: the endpoint and the authorities. The endpoint is only taken
    /// out where it is a load balancer's.
    pub fn into_template(mut self, by_load_balancer: bool) -> Result<(String, String, String), ConfigError> {
        let authorities = std::mem::replace(&mut self.api.ca_bundle, AUTHORITIES.to_owned());
        let endpoint = self.api.endpoint.clone();
        if by_load_balancer {
            LOAD_BALANCER.clone_into(&mut self.api.endpoint);
        }
        Ok((file::yaml("the node configuration", &self)?, endpoint, authorities))
    }

    fn fill(&mut self, endpoint: Option<&str>, authorities: &str) {
        if let Some(endpoint) = endpoint.filter(|_| self.api.endpoint == LOAD_BALANCER) {
            endpoint.clone_into(&mut self.api.endpoint);
        }
        if self.api.ca_bundle == AUTHORITIES {
            authorities.clone_into(&mut self.api.ca_bundle);
        }
    }
}
