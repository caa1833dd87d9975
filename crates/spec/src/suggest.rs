//! The nearest known name to one that is not known.

/// How alike two names must be to be worth a suggestion (0 to 1, 1 being equal).
const LIKENESS: f64 = 0.75;

/// The candidate that `name` most likely stands for, if any comes near.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (likeness(&name, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Typing errors and swapped letters count by edit distance; shared beginnings count for more.
fn likeness(a: &str, b: &str) -> f64 {
    let edits = strsim::normalized_damerau_levenshtein(a, b);
    let prefix = strsim::jaro_winkler(a, b);
    if edits < 0.5 { 0.0 } else { f64::midpoint(edits, prefix) }
}

/// `did you mean X?`, or the list of what is possible.
pub(crate) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(name, candidates.clone()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => one_of(candidates),
    }
}

/// `one of a, b, c`.
pub(crate) fn one_of<'a>(candidates: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<&str> = candidates.into_iter().collect();
    match list.as_slice() {
        [] => "there is none".to_owned(),
        [only] => format!("only `{only}` is possible"),
        many => {
            format!("one of {}", many.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised() {
        let fields = ["machineType", "maxSize", "minSize", "maxPrice", "role", "subnets", "zones"];
        let nearest = |name| nearest(name, fields);
        assert_eq!(nearest("machinetype"), Some("machineType"));
        assert_eq!(nearest("maxsise"), Some("maxSize"));
        assert_eq!(nearest("subnet"), Some("subnets"));
        assert_eq!(nearest("sbunets"), Some("subnets"));
        assert_eq!(nearest("instanceType"), None);
        assert_eq!(nearest("flavour"), None);
    }
}
