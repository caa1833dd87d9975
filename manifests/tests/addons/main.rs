//! What kcl puts into clusters, in several variants, by itself and on a real API server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first thing that is wrong")]

mod api_server;
mod each;
mod given;
mod pod_identity;
mod rollout;
mod rules;
mod server;
