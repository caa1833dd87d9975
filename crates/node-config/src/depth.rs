//! Texts that would take the YAML parser very long.

/// More brackets open at once than any configuration has. The parser's time grows with their square.
const MAX_OPEN: usize = 1000;

/// Whether a text has so many brackets open at once. Quotes and comments are not looked at: a text that has so many of
/// them there is odd enough.
pub(crate) fn is_too_deep(text: &str) -> bool {
    let mut open = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > MAX_OPEN
    })
}

#[cfg(test)]
mod tests {
    use super::is_too_deep;

    #[test]
    fn brackets_that_are_closed_again_do_not_count() {
        assert!(!is_too_deep(&"[{}]".repeat(10_000)));
        assert!(is_too_deep(&"[".repeat(2000)));
        assert!(is_too_deep(&"{\"a\":".repeat(2000)));
    }
}
