//! Tests of the whole model: what each concern makes of a cluster, whole graphs as text, and properties that
//! hold for every cluster.

mod concerns;
mod examples;
mod fixture;
mod properties;
mod text;
