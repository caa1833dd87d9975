//! Text that nobody may see by accident.

use std::fmt;

use zeroize::Zeroizing;

/// A text that holds private key material. It prints nothing of itself, and is overwritten when dropped.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over a text; the caller's buffer is the one that is overwritten later.
    pub(crate) fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text itself: for writing it to the one place it is meant for, and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(not shown)")
    }
}
