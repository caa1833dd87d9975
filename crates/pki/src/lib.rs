//! Keys of a cluster.
