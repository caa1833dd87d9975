//! Which steps of a plan may run now.
//!
//! A state machine without time or tasks: whoever runs the steps says what became of each, and asks which
//! ones are ready. A step is ready the moment its own predecessors are done, whatever else is running.

use std::collections::BTreeSet;

use crate::plan::Plan;

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Waits for its predecessors.
    Waiting,
    /// May start.
    Ready,
    /// Started.
    Running,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Will never start: something it comes after failed (the index says which step is at the root of it).
    Skipped {
        /// The failed step.
        root: usize,
    },
}

/// The state of each step of one plan.
#[derive(Debug)]
pub struct Schedule {
    states: Vec<StepState>,
    missing: Vec<usize>,
    followers: Vec<Vec<usize>>,
    ready: BTreeSet<usize>,
}

impl Schedule {
    /// The start of `plan`: what comes after nothing is ready.
    pub fn new(plan: &Plan) -> Self {
        let mut followers = vec![Vec::new(); plan.steps.len()];
        for (index, step) in plan.steps.iter().enumerate() {
            for before in &step.after {
                followers[*before].push(index);
            }
        }
        let missing: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
        let ready: BTreeSet<usize> = (0..missing.len()).filter(|index| missing[*index] == 0).collect();
        let states =
            missing.iter().map(|n| if *n == 0 { StepState::Ready } else { StepState::Waiting }).collect();
        Self { states, missing, followers, ready }
    }

    /// Takes the steps that are ready; they count as running from now on.
    pub fn start_ready(&mut self) -> Vec<usize> {
        let started: Vec<usize> = std::mem::take(&mut self.ready).into_iter().collect();
        for index in &started {
            self.states[*index] = StepState::Running;
        }
        started
    }

    /// Step `index` was taken and has not begun: it is ready as before.
    pub fn put_back(&mut self, index: usize) {
        if self.states.get(index) == Some(&StepState::Running) {
            self.states[index] = StepState::Ready;
            self.ready.insert(index);
        }
    }

    /// Step `index` is done: what waited only for it is ready now.
    pub fn done(&mut self, index: usize) {
        if self.states.get(index) != Some(&StepState::Running) {
            return;
        }
        self.states[index] = StepState::Done;
        for follower in std::mem::take(&mut self.followers[index]) {
            self.missing[follower] -= 1;
            if self.missing[follower] == 0 && self.states[follower] == StepState::Waiting {
                self.states[follower] = StepState::Ready;
                self.ready.insert(follower);
            }
        }
    }

    /// Step `index` failed. Gives the steps that are skipped because of it.
    pub fn failed(&mut self, index: usize) -> Vec<usize> {
        if self.states.get(index) != Some(&StepState::Running) {
            return Vec::new();
        }
        self.states[index] = StepState::Failed;
        let mut skipped = Vec::new();
        let mut open = std::mem::take(&mut self.followers[index]);
        while let Some(follower) = open.pop() {
            if self.states[follower] == StepState::Waiting {
                self.states[follower] = StepState::Skipped { root: index };
                skipped.push(follower);
                open.extend(self.followers[follower].iter().copied());
            }
        }
        skipped.sort_unstable();
        skipped
    }

    /// Whether any step is ready.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How far each step is.
    pub fn states(&self) -> &[StepState] {
        &self.states
    }
}
