//! No value of a spec breaks out into shell, user data, IAM or Kubernetes objects.

use std::fmt::Write as _;

use kcl_fuzz::hostile::{HARMLESS, VALUES, scripts, shape, variants};
use kcl_fuzz::{KARLARU, MINIMAL, PRIVATE_HA};

const SPECS: [(&str, &str); 3] =
    [("karlaru.yaml", KARLARU), ("minimal.yaml", MINIMAL), ("private-ha.yaml", PRIVATE_HA)];

#[test]
fn a_value_stays_a_value() {
    let mut wrong = String::new();
    let (mut taken, mut tried, mut in_policies) = (0, 0, 0);
    for (name, spec) in SPECS {
        assert!(!scripts(spec).is_empty(), "{name}: its machines run something");
        for value in VALUES {
            for ((line, hostile), (_, harmless)) in variants(spec, value).zip(variants(spec, HARMLESS)) {
                tried += 1;
                let Some(found) = shape(&hostile, value) else { continue };
                taken += 1;
                let changed = hostile.lines().nth(line - 1).unwrap_or_default();
                in_policies += usize::from(changed.trim_start().starts_with('"'));
                // Only names get into what machines run, and those hold nothing that a shell would take for its own.
                if scripts(&hostile).iter().any(|script| script.contains(value)) {
                    writeln!(wrong, "{name}:{line}: {value:?} is in a script").expect("there is memory");
                }
                let expected = shape(&harmless, HARMLESS);
                if expected.as_ref() != Some(&found) {
                    let refused = if expected.is_none() { " (a harmless word is refused there)" } else { "" };
                    writeln!(wrong, "{name}:{line}: {value:?}{refused}").expect("there is memory");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(tried > 1000 && taken > 0, "{taken} of {tried} were taken");
    assert!(in_policies > 0, "no policy took any");
}
