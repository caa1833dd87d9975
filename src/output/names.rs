//! Resource names as people read them: without the cluster's own name at their end.

/// Shortens names of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    cluster: String,
}

impl Names {
    /// Names in `cluster`.
    pub(crate) fn new(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned() }
    }

    /// `name` with every `.cluster` taken out where it ends a word: `masters.k8s.example.com in tcp 22` is
    /// `masters in tcp 22`. The cluster's own name stays.
    pub(crate) fn short(&self, name: &str) -> String {
        let suffix = format!(".{}", self.cluster);
        let mut short = String::new();
        let mut rest = name;
        while let Some(at) = rest.find(&suffix) {
            let after = &rest[at + suffix.len()..];
            let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '.' || c == '-' || c == '_');
            short.push_str(&rest[..at]);
            if !ends {
                short.push_str(&suffix);
            }
            rest = after;
        }
        short.push_str(rest);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn short_names() {
        let names = Names::new("k8s.example.com");
        let short = |name| names.short(name);
        assert_eq!(
            short("masters.k8s.example.com in tcp 443 from api-elb.k8s.example.com"),
            "masters in tcp 443 from api-elb"
        );
        assert_eq!(short("k8s.example.com"), "k8s.example.com");
        assert_eq!(short("a.k8s.example.community"), "a.k8s.example.community");
        assert_eq!(short("k8s.example.com 0.0.0.0/0"), "k8s.example.com 0.0.0.0/0");
    }
}
