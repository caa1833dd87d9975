//! Takes out of a text what is another one at each run, so that whole outputs can be compared.
//!
//! Ids and the like become placeholders, numbered in the order in which they first stand in the text
//! (`vpc-1`, `vpc-2`): the same id is the same placeholder, and which ones are equal can still be seen. In
//! tables a placeholder can be padded to the width of what it replaces, so that columns stay where they are.

use std::collections::HashMap;
use std::sync::OnceLock;

use regex::Regex;

/// Replaces; keeps its numbering from text to text.
#[derive(Debug, Default)]
pub struct Redactor {
    seen: HashMap<String, String>,
    counts: HashMap<String, usize>,
    literals: Vec<(String, String)>,
    fixed_width: bool,
}

/// What is looked for. The groups: `kind` names the placeholder, `keep` stays as it is before it.
const PATTERNS: [(&str, &str); 8] = [
    // Times and durations first: they hold digits that the others would take.
    ("time", r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?"),
    ("uuid", r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    // EC2 ids: eight or seventeen hex digits.
    ("", r"\b(?P<kind>[a-z][a-z0-9]*(?:-[a-z]+)*)-(?:[0-9a-f]{17}|[0-9a-f]{8})\b"),
    // The last part of a load balancer's, target group's or listener's ARN.
    ("arn-id", r"(?P<keep>/)[0-9a-f]{16}\b"),
    ("account", r"\b\d{12}\b"),
    ("zone", r"\b(?P<keep>hostedzone/)?Z[A-Z0-9]{12,31}\b"),
    ("port", r"(?P<keep>(?:127\.0\.0\.1|localhost|\[::1\]):)\d{2,5}\b"),
    ("duration", r"\b\d+(?:\.\d+)?(?:ms|µs|us|ns|s)\b"),
];

impl Redactor {
    /// With nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pads placeholders to the width of what they replace (cutting none), for tables.
    #[must_use]
    pub fn fixed_width(mut self) -> Self {
        self.fixed_width = true;
        self
    }

    /// Replaces this very text too: a temporary folder, an endpoint, an account.
    #[must_use]
    pub fn with(mut self, text: impl Into<String>, placeholder: impl Into<String>) -> Self {
        self.literals.push((text.into(), placeholder.into()));
        // The longest first: one may be the beginning of another.
        self.literals.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        self
    }

    /// The text with placeholders.
    pub fn redact(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.literals {
            if !from.is_empty() {
                text = text.replace(from, &pad(to, from, self.fixed_width));
            }
        }
        for (name, pattern) in patterns() {
            text = self.replace(&text, name, pattern);
        }
        text
    }

    fn replace(&mut self, text: &str, name: &str, pattern: &Regex) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for found in pattern.captures_iter(text) {
            let Some(whole) = found.get(0) else { continue };
            let keep = found.name("keep").map_or("", |kept| kept.as_str());
            let kind = found.name("kind").map_or(name, |kind| kind.as_str());
            let old = &whole.as_str()[keep.len()..];
            let new = self.placeholder(kind, old);
            out.push_str(&text[at..whole.start()]);
            out.push_str(keep);
            out.push_str(&pad(&new, old, self.fixed_width));
            at = whole.end();
        }
        out.push_str(&text[at..]);
        out
    }

    fn placeholder(&mut self, kind: &str, old: &str) -> String {
        // Times differ from run to run in how many differ.
        if matches!(kind, "time" | "duration") {
            return format!("[{kind}]");
        }
        if let Some(known) = self.seen.get(old) {
            return known.clone();
        }
        let count = self.counts.entry(kind.to_owned()).or_insert(0);
        *count += 1;
        let new = format!("{kind}-{count}");
        self.seen.insert(old.to_owned(), new.clone());
        new
    }
}

fn pad(new: &str, old: &str, fixed_width: bool) -> String {
    if fixed_width { format!("{new:<width$}", width = old.chars().count()) } else { new.to_owned() }
}

fn patterns() -> &'static [(&'static str, Regex)] {
    static PATTERNS_READ: OnceLock<Vec<(&'static str, Regex)>> = OnceLock::new();
    // A pattern that is none is left out; the tests below would see it.
    PATTERNS_READ.get_or_init(|| {
        PATTERNS.iter().filter_map(|(name, text)| Some((*name, Regex::new(text).ok()?))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_identity() {
        assert_eq!(patterns().len(), PATTERNS.len());
        let text = "vpc-0a1b2c3d4e5f60001 subnet-0a1b2c3d4e5f60002 vpc-0a1b2c3d4e5f60003 vpc-0a1b2c3d4e5f60001\n\
                    arn:aws:iam::123456789012:role/nodes eipalloc-beec5c2beef26310b ami-12345678 rtbassoc-beec5c2beef26310b\n\
                    http://127.0.0.1:41234/x took 1.25s at 2026-11-21T00:51:35.000Z in /tmp/abc/d\n\
                    arn:aws:elasticloadbalancing:eu-north-1:123456789012:targetgroup/tcp-c-abc/fbe6dd3c292324f2 port 443\n\
                    /hostedzone/LWS8 hostedzone/Z0123456789ABCDEF t3.small eu-north-1a 10.0.0.0/16 api-c-q4ukp4";
        let mut redactor = Redactor::new().with("/tmp/abc", "[tmp]");
        assert_eq!(
            redactor.redact(text),
            "vpc-1 subnet-1 vpc-2 vpc-1\n\
             arn:aws:iam::account-1:role/nodes eipalloc-1 ami-1 rtbassoc-1\n\
             http://127.0.0.1:port-1/x took [duration] at [time] in [tmp]/d\n\
             arn:aws:elasticloadbalancing:eu-north-1:account-1:targetgroup/tcp-c-abc/arn-id-1 port 443\n\
             /hostedzone/LWS8 hostedzone/zone-1 t3.small eu-north-1a 10.0.0.0/16 api-c-q4ukp4"
        );
        // The numbering goes on.
        assert_eq!(redactor.redact("vpc-0a1b2c3d4e5f60003 vpc-0a1b2c3d4e5f60009"), "vpc-2 vpc-3");
    }

    #[test]
    fn tables_stay_aligned() {
        let mut redactor = Redactor::new().fixed_width();
        let redacted = redactor.redact("| sg-0a1b2c3d4e5f60001 | x |\n| sg-0a1b2c3d4e5f60002 | y |");
        assert_eq!(redacted, "| sg-1                 | x |\n| sg-2                 | y |");
    }
}
