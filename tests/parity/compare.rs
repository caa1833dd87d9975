//! What is not the same on both sides, and which of it is on purpose.

use std::collections::BTreeSet;
use std::fmt;

use crate::neutral::Graph;

/// In place of an attribute: kOps has the resource and we have not.
pub(crate) const MISSING: &str = "(missing)";
/// In place of an attribute: we have the resource and kOps has not.
pub(crate) const EXTRA: &str = "(extra)";

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) scenario: String,
    pub(crate) resource: String,
    pub(crate) attribute: String,
    pub(crate) kops: Option<String>,
    pub(crate) ours: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, resource, attribute, kops, ours } = self;
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{scenario}: {resource}: {attribute}")?;
        match attribute.as_str() {
            MISSING | EXTRA => Ok(()),
            _ => write!(f, "\n    kOps: {}\n    ours: {}", side(kops), side(ours)),
        }
    }
}

/// A difference on purpose. The patterns are texts with `*` for anything.
#[derive(Debug)]
pub(crate) struct Deviation {
    pub(crate) scenario: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) attribute: &'static str,
    pub(crate) reason: &'static str,
}

impl Deviation {
    fn covers(&self, difference: &Difference) -> bool {
        // That a resource is missing or extra must be said: it is not an attribute among others.
        let whole = [MISSING, EXTRA].contains(&difference.attribute.as_str());
        let attribute = if whole {
            self.attribute == difference.attribute
        } else {
            matches(self.attribute, &difference.attribute)
        };
        attribute
            && matches(self.scenario, &difference.scenario)
            && matches(self.resource, &difference.resource)
    }
}

/// Whether a text is as a pattern has it.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Everything that differs.
pub(crate) fn differences(scenario: &str, kops: &Graph, ours: &Graph) -> Vec<Difference> {
    let resources: BTreeSet<&String> = kops.resources.keys().chain(ours.resources.keys()).collect();
    let mut differences = Vec::new();
    for resource in resources {
        let mut differs = |attribute: &str, kops: Option<&String>, ours: Option<&String>| {
            differences.push(Difference {
                scenario: scenario.to_owned(),
                resource: resource.clone(),
                attribute: attribute.to_owned(),
                kops: kops.cloned(),
                ours: ours.cloned(),
            });
        };
        match (kops.resources.get(resource), ours.resources.get(resource)) {
            (Some(kops), Some(ours)) => {
                for attribute in kops.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
                    let (kops, ours) = (kops.get(attribute), ours.get(attribute));
                    if kops != ours {
                        differs(attribute, kops, ours);
                    }
                }
            }
            (Some(_), None) => differs(MISSING, None, None),
            (None, ours) => {
                differs(EXTRA, None, None);
                // That it may be there does not mean that it may be anything.
                for (attribute, value) in ours.into_iter().flatten() {
                    differs(attribute, None, Some(value));
                }
            }
        }
    }
    differences
}

/// What is wrong: differences that nothing covers, and rows of the table that cover nothing.
pub(crate) fn judge(differences: &[Difference], table: &[Deviation]) -> Vec<String> {
    let uncovered = differences.iter().filter(|difference| !table.iter().any(|row| row.covers(difference)));
    let idle = table.iter().filter(|row| !differences.iter().any(|difference| row.covers(difference)));
    let idle = idle.map(|row| {
        let Deviation { scenario, resource, attribute, reason } = row;
        format!("a row of the table covers nothing: {scenario}: {resource}: {attribute} ({reason})")
    });
    uncovered.map(ToString::to_string).chain(idle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neutral::Attributes;

    fn graph(resources: &[(&str, &[(&str, &str)])]) -> Graph {
        let mut graph = Graph::default();
        for (name, attributes) in resources {
            let attributes: Attributes =
                attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            graph.add("vpc", name, attributes);
        }
        graph
    }

    const fn row(resource: &'static str, attribute: &'static str) -> Deviation {
        Deviation { scenario: "*", resource, attribute, reason: "so it is" }
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let kops = graph(&[("a", &[("x", "1"), ("y", "2")]), ("b", &[])]);
        let ours = graph(&[("a", &[("x", "1"), ("y", "3"), ("z", "4")]), ("c", &[("x", "5")])]);
        let found: Vec<String> = differences("s", &kops, &ours).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "s: vpc a: y\n    kOps: 2\n    ours: 3",
                "s: vpc a: z\n    kOps: nothing\n    ours: 4",
                "s: vpc b: (missing)",
                "s: vpc c: (extra)",
                "s: vpc c: x\n    kOps: nothing\n    ours: 5",
            ]
        );
    }

    #[test]
    fn the_table_covers_what_it_says_and_nothing_else() {
        let kops = graph(&[("a", &[("x", "1")]), ("b", &[])]);
        let ours = graph(&[("a", &[("x", "2")])]);
        let found = differences("s", &kops, &ours);
        assert_eq!(judge(&found, &[row("vpc *", "*")]), ["s: vpc b: (missing)"]);
        assert_eq!(judge(&found, &[row("vpc a", "x"), row("vpc b", MISSING)]), Vec::<String>::new());
        let idle = judge(&found, &[row("vpc a", "x"), row("vpc b", MISSING), row("vpc b", EXTRA)]);
        assert_eq!(idle, ["a row of the table covers nothing: *: vpc b: (extra) (so it is)"]);
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
