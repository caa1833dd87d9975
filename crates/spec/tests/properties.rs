//! Whatever is written, reading never panics, and what is reported stands where it is said to stand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use kcl_spec::{Diagnostics, Source, load};
use proptest::prelude::*;

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)).unwrap()
}

const EXAMPLES: [&str; 4] = ["karlaru.yaml", "minimal.yaml", "private-ha.yaml", "shared-vpc.yaml"];

/// Every place is inside the text, and the rendering is legible.
fn places_are_real(text: &str, found: &Diagnostics) {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    for diagnostic in found {
        if let Some(place) = &diagnostic.place {
            assert!((1..=lines.len()).contains(&place.line()), "{diagnostic}");
            assert_eq!(place.line_text(), lines[place.line() - 1]);
            assert!(place.column() >= 1 && place.width() >= 1, "{diagnostic}");
        }
        let rendered = diagnostic.to_string();
        assert!(rendered.lines().all(|line| line.chars().count() <= 80), "{rendered}");
        assert!(!rendered.chars().any(|char| char.is_control() && char != '\n'), "{rendered:?}");
    }
}

fn read(text: &str) {
    match load(&[Source::new("cluster.yaml", text)]) {
        Ok(loaded) => {
            let mut warnings = Diagnostics::default();
            warnings.extend(loaded.warnings);
            places_are_real(text, &warnings);
        }
        Err(errors) => {
            assert!(errors.has_errors());
            places_are_real(text, &errors);
        }
    }
}

/// Words that mean something somewhere in a spec.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("~".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("-1".to_owned()),
        Just("1.5".to_owned()),
        Just("true".to_owned()),
        Just("&a".to_owned()),
        Just("*a".to_owned()),
        Just("|-".to_owned()),
        Just("---".to_owned()),
        Just("<<".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        Just("255.255.255.255/32".to_owned()),
        Just("99999999999999999999".to_owned()),
        "[ -~]{0,12}",
        "\\PC{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_judged(text in "\\PC{0,200}") {
        read(&text);
    }

    #[test]
    fn arbitrary_lines_are_judged(lines in prop::collection::vec("[ ]{0,4}[a-z-]{0,6}[:]?[ ]?[\\[\\]{},|>&*!%#'\"0-9a-z\\r\\t]{0,8}", 0..20)) {
        read(&lines.join("\n"));
    }

    #[test]
    fn a_value_replaced_is_judged(index in 0..EXAMPLES.len(), at in any::<prop::sample::Index>(), with in word()) {
        let text = example(EXAMPLES[index]);
        let lines: Vec<&str> = text.split('\n').collect();
        let line = at.index(lines.len());
        let changed: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(index, text)| match text.split_once(": ") {
                Some((key, _)) if index == line => format!("{key}: {with}"),
                _ if index == line => format!("{text} {with}"),
                _ => (*text).to_owned(),
            })
            .collect();
        read(&changed.join("\n"));
    }

    #[test]
    fn a_piece_cut_out_is_judged(index in 0..EXAMPLES.len(), from in any::<prop::sample::Index>(), len in 1_usize..80) {
        let text = example(EXAMPLES[index]);
        let from = from.index(text.len());
        let to = (from + len).min(text.len());
        read(&format!("{}{}", &text[..from], &text[to..]));
    }

    #[test]
    fn lines_above_move_a_mistake_down(above in 0_usize..50, documents in 0_usize..3) {
        let text = example("minimal.yaml").replace("role: Node", "role: Worker");
        let line = text.lines().position(|line| line.contains("Worker")).unwrap() + 1;
        let object = "apiVersion: v1\nkind: Namespace\nmetadata: {generateName: a}\n---\n".repeat(documents);
        let text = format!("{}{object}{text}", "# above\n".repeat(above));
        let errors = load(&[Source::new("cluster.yaml", text)]).unwrap_err();
        let place = errors.iter().next().unwrap().place.clone().unwrap();
        prop_assert_eq!(place.line(), line + above + 4 * documents);
        prop_assert_eq!(place.column(), 9);
    }
}

#[test]
fn line_ends_of_windows_change_nothing() {
    for name in EXAMPLES {
        let text = example(name);
        let cluster = |text: String| load(&[Source::new(name, text)]).unwrap().cluster;
        assert_eq!(cluster(text.clone()), cluster(text.replace('\n', "\r\n")), "{name}");
    }
}

#[test]
fn documents_may_come_in_any_order_and_in_several_files() {
    for name in EXAMPLES {
        let text = example(name);
        let mut sources: Vec<Source> = text
            .split("---\n")
            .enumerate()
            .map(|(index, text)| Source::new(index.to_string(), text))
            .collect();
        sources.reverse();
        let apart = load(&sources).unwrap().cluster;
        let together = load(&[Source::new(name, text)]).unwrap().cluster;
        assert_eq!(apart, together, "{name}");
    }
}
