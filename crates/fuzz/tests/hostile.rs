//! No value of a spec breaks out into shell, user data, IAM or Kubernetes objects.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use kcl_fuzz::hostile::{HARMLESS, VALUES, scripts, shape, variants};
use kcl_fuzz::{KARLARU, MINIMAL, PRIVATE_HA};

const SPECS: [(&str, &str); 3] =
    [("karlaru.yaml", KARLARU), ("minimal.yaml", MINIMAL), ("private-ha.yaml", PRIVATE_HA)];

#[test]
fn a_value_stays_a_value() {
    let mut wrong = String::new();
    let (mut taken, mut tried) = (0, 0);
    for (name, spec) in SPECS {
        for value in VALUES {
            for ((line, hostile), (_, harmless)) in variants(spec, value).zip(variants(spec, HARMLESS)) {
                tried += 1;
                let Some(found) = shape(&hostile, value) else { continue };
                taken += 1;
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
}

/// What machines run is sound shell, whatever it is made of, and runs nothing of a value.
#[test]
fn scripts_run_nothing_of_a_value() {
    let mark = Path::new("/tmp/kcl-was-here");
    let folder = std::env::temp_dir().join(format!("kcl-hostile-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut seen = std::collections::BTreeSet::new();
    for (name, spec) in SPECS {
        for value in VALUES.iter().filter(|value| value.contains("kcl-was-here")) {
            for (line, hostile) in variants(spec, value) {
                for script in scripts(&hostile).into_iter().filter(|script| script.contains("kcl-was-here")) {
                    if !seen.insert(script.clone()) {
                        continue;
                    }
                    let path = folder.join("script.sh");
                    std::fs::write(&path, &script).expect("a file");
                    let sound = Command::new("sh").arg("-n").arg(&path).status().expect("a shell");
                    assert!(sound.success(), "{name}:{line}: {value:?} breaks the script:\n{script}");
                    // Every command is a no-op there: what still leaves the mark got out.
                    let run = Command::new("bash")
                        .args(["--restricted", "--noprofile", "--norc"])
                        .arg(&path)
                        .current_dir(&folder)
                        .env_clear()
                        .env("PATH", &folder)
                        .output()
                        .expect("a shell");
                    let said = String::from_utf8_lossy(&run.stderr).into_owned();
                    assert!(
                        !mark.exists() && !said.contains("touch"),
                        "{name}:{line}: {value:?} was run:\n{said}"
                    );
                }
            }
        }
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}
