//! Tests of the whole model: what each concern makes of a cluster, whole graphs as text, and properties that
//! hold for every cluster.

mod concerns;
mod examples;
mod fixture;
mod kubernetes;
mod properties;
mod text;
