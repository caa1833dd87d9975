//! What containers in the namespace `default` are given that ask for nothing, as kOps has it.

use kcl_spec::cluster::LimitRange;
use serde::Serialize;
use serde_json::Value;

use crate::template::{self, Template, template};
use crate::{Addon, Error, Inputs, nobody};

pub(crate) const ADDON: Addon = Addon { name: "limit-range", objects, identity: nobody };

const LIMITS: Template = template!("limit-range/limits.yaml");

#[derive(Serialize)]
struct Values<'a> {
    namespace: &'a str,
    limits: &'a LimitRange,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    match &inputs.cluster.addons.limit_range {
        Some(limits) => of_namespace("default", limits),
        None => Ok(Vec::new()),
    }
}

/// The limits of a namespace.
pub(crate) fn of_namespace(namespace: &str, limits: &LimitRange) -> Result<Vec<Value>, Error> {
    template::objects(&LIMITS, &Values { namespace, limits })
}
