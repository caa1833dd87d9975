//! Applying a plan.
//!
//! Chooses nothing: every decision was taken in the plan. Each step starts the moment its own predecessors are
//! done; there are no waves. Steps of one kind that become ready together and share a batch key run as one
//! call. Each lane runs so many steps at a time, fewer while the cloud is throttling. A failed step skips what
//! comes after it, the independent rest goes on, and the [`Report`] names root causes only. When `stop` fires,
//! what runs is finished, and nothing else starts.

mod executor;
mod limiter;
mod provider;
mod report;

pub use executor::{Event, apply};
pub use provider::{Lane, Provider, Resolved};
pub use report::{Applied, Failure, Outcome, Report};
