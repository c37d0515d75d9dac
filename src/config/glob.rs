//! Patterns for names: `*` stands for any run of characters, everything else for itself, whatever its case. Enough for a list of what
//! is allowed, and no more than a reader takes in at a glance.

/// A pattern for names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// The pattern as it is written.
    pub fn new(written: &str) -> Self {
        Glob(written.to_ascii_lowercase().into())
    }

    /// Whether a name is one of those.
    pub fn fits(&self, name: &str) -> bool {
        // The last star may stand for more than it does so far; those before it need not, so this takes no longer than one
        // length times the other.
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut read, mut star) = (0, 0, None);
        while read < name.len() {
            if pattern.get(at) == Some(&b'*') {
                star = Some((at, read));
                at += 1;
            } else if pattern.get(at) == Some(&name[read].to_ascii_lowercase()) {
                at += 1;
                read += 1;
            } else if let Some((place, from)) = star {
                star = Some((place, from + 1));
                at = place + 1;
                read = from + 1;
            } else {
                return false;
            }
        }
        pattern[at..].iter().all(|rest| *rest == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_the_rest_for_itself() {
        for (pattern, fitting, others) in [
            ("*", &["", "a", "web.api"][..], &[][..]),
            ("web", &["web", "WEB"], &["", "we", "webb", "aweb"]),
            ("Team-*", &["team-", "team-a", "TEAM-b"], &["team", "a-team-b"]),
            ("*-api", &["-api", "shop-api", "api-api"], &["api", "shop-api2"]),
            ("a*b*c", &["abc", "aXbXc", "abbcbc"], &["ab", "acb", "xabc"]),
            ("**", &["", "a"], &[]),
            ("", &[""], &["a"]),
        ] {
            let glob = Glob::new(pattern);
            assert!(fitting.iter().all(|name| glob.fits(name)), "{pattern}");
            assert!(!others.iter().any(|name| glob.fits(name)), "{pattern}");
        }
        let dear = Glob::new(&"*a".repeat(50));
        assert!(!dear.fits(&"a".repeat(5000).replace("aaaaa", "aaaab")), "and that takes no time");
    }
}
