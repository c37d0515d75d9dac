//! Patterns for names: `*` stands for any text, everything else for itself.

use std::fmt;

/// A pattern for names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The pattern as it is written. Every text is one.
    pub fn new(written: impl Into<String>) -> Self {
        Glob(written.into())
    }

    /// True if it stands for this name. Capitals count.
    pub fn fits(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return name.ends_with(part);
            }
            // The first place is as good as any: what is left of the name is the longest that way.
            let Some(at) = name.find(part) else { return false };
            name = &name[at + part.len()..];
        }
        true
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let fits = |pattern: &str, name: &str| Glob::new(pattern).fits(name);
        assert!(fits("*", "") && fits("*", "web") && fits("web", "web") && fits("", ""));
        assert!(
            fits("web-*", "web-1") && fits("web-*", "web-") && fits("*-api", "shop-api") && fits("a*b*c", "a-bb-c")
        );
        assert!(fits("*a*", "bab") && fits("**", "x") && fits("a*a", "aa") && fits("*ab", "aab"));
        assert!(!fits("web", "web-1") && !fits("web-*", "web") && !fits("*-api", "api") && !fits("a*a", "a"));
        assert!(!fits("", "a") && !fits("Web", "web") && !fits("a*b*c", "a-c-b"));
    }
}
