//! The list of what kcl applied, as the ApplySet specification (KEP-3659) has it.

/// What the list is, and what it becomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlannedSet {}

impl PlannedSet {
    /// The list itself has to be written.
    pub(crate) fn changes(&self) -> bool {
        false
    }
}
