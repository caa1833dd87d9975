//! The crate as its users see it, checked by programs and libraries that are not ours.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first thing that is wrong")]

mod certificates;
mod hostile;
mod kubeconfig;
mod rotation;
mod stored;
mod support;
mod tokens;
