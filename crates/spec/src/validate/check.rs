//! The list of findings that every rule writes to.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{Located, Place};

/// Findings so far.
#[derive(Default)]
pub(super) struct Check {
    findings: Vec<Finding>,
}

struct Finding {
    diagnostic: Diagnostic,
    /// The field that is said to be missing. If it stands in the spec and only could not be read,
    /// that has been reported already, and this need not be.
    missing: Option<&'static str>,
}

impl Check {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.findings.push(Finding { diagnostic, missing: None });
    }

    pub(super) fn error(&mut self, place: &Place, title: impl Into<String>) {
        self.push(Diagnostic::error(place, title));
    }

    /// A mistake, and the way out.
    pub(super) fn hinted(&mut self, place: &Place, title: impl Into<String>, hint: impl Into<String>) {
        self.push(Diagnostic::error(place, title).hint(hint));
    }

    /// The same, where one rule meets a field several times.
    pub(super) fn hinted_once(&mut self, place: &Place, title: impl Into<String>, hint: impl Into<String>) {
        let diagnostic = Diagnostic::error(place, title).hint(hint);
        if !self.findings.iter().any(|finding| finding.diagnostic == diagnostic) {
            self.push(diagnostic);
        }
    }

    pub(super) fn warn(&mut self, place: &Place, title: impl Into<String>, hint: impl Into<String>) {
        self.push(Diagnostic::warning(place, title).hint(hint));
    }

    /// A field that has to be there is not.
    pub(super) fn missing(&mut self, place: &Place, field: &'static str) {
        self.missing_named(place, field, field);
    }

    /// The same, for a field that is better known by its path.
    pub(super) fn missing_named(&mut self, place: &Place, field: &'static str, path: &str) {
        let diagnostic = Diagnostic::error(place, format!("missing `{path}`"));
        self.findings.push(Finding { diagnostic, missing: Some(field) });
    }

    /// The same with a way out; the title is free.
    pub(super) fn lacking(
        &mut self,
        place: &Place,
        field: &'static str,
        title: impl Into<String>,
        hint: &str,
    ) {
        let diagnostic = Diagnostic::error(place, title).hint(hint);
        self.findings.push(Finding { diagnostic, missing: Some(field) });
    }

    /// Each of these stands once in its list.
    pub(super) fn unique<'a>(&mut self, what: &str, items: impl IntoIterator<Item = &'a Located<String>>) {
        let mut seen: Vec<&Located<String>> = Vec::new();
        for item in items {
            if let Some(first) = seen.iter().find(|first| first.value == item.value) {
                let hint = format!("first given at {}", first.place.seen_from(&item.place));
                self.hinted(&item.place, format!("{what} `{}` is given twice", item.value), hint);
            } else {
                seen.push(item);
            }
        }
    }

    /// All findings, but for fields that are missing only because they could not be read.
    pub(super) fn findings(self, lost_fields: &[String]) -> Diagnostics {
        let lost = |finding: &Finding| {
            finding.missing.is_some_and(|field| lost_fields.iter().any(|lost| lost == field))
        };
        let mut found = Diagnostics::default();
        found.extend(
            self.findings.into_iter().filter(|finding| !lost(finding)).map(|finding| finding.diagnostic),
        );
        found
    }
}
