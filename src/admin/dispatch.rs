//! Which page a request is for. The pages are a table, each room of the window with its own rows: so what there is can be listed, held
//! against its description, and said to whoever asks for something else.

use std::pin::Pin;
use std::rc::Rc;

use http::header::{ALLOW, HeaderValue};
use http::{Method, StatusCode};

use super::Admin;
use super::answer::{Problem, Reply};
use super::ask::{Ask, Key, decoded};

/// One thing that can be asked for.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) verb: Verb,
    /// With `{name}` for a segment that may be anything.
    pub(super) path: &'static str,
    /// Query keys that it knows.
    pub(super) keys: &'static [Key],
    pub(super) opens: Opens,
    pub(super) handler: Handler,
}

/// What a page does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Shows.
    Get,
    /// Sets.
    Put,
    /// Does something, or adds.
    Post,
}

/// To whom a page opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opens {
    /// To everybody who can connect.
    ToAll,
    /// To those who are known, and to all if the configuration says so for figures.
    AsFigures,
    /// To those who are known.
    ToKnown,
}

/// What answers.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// At once, and nothing is different for it.
    Look(fn(&Admin, &Ask) -> Reply),
    /// Changes something, which is written down.
    Act(fn(Rc<Admin>, Ask) -> Acting),
}

/// What stands in a path for each `{name}` of its pattern, decoded.
pub(super) type Segments = Vec<(&'static str, String)>;

/// An answer that takes a moment.
pub(super) type Acting = Pin<Box<dyn Future<Output = Reply>>>;

impl Page {
    /// A page to look at.
    pub(super) const fn get(path: &'static str, look: fn(&Admin, &Ask) -> Reply) -> Page {
        Page { verb: Verb::Get, path, keys: &[], opens: Opens::ToKnown, handler: Handler::Look(look) }
    }

    /// A page that changes something.
    pub(super) const fn act(verb: Verb, path: &'static str, act: fn(Rc<Admin>, Ask) -> Acting) -> Page {
        Page { verb, path, keys: &[], opens: Opens::ToKnown, handler: Handler::Act(act) }
    }

    /// The same, with these query keys.
    pub(super) const fn with(self, keys: &'static [Key]) -> Page {
        Page { keys, ..self }
    }

    /// The same, open to others as well.
    pub(super) const fn opens(self, opens: Opens) -> Page {
        Page { opens, ..self }
    }
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Put => "PUT",
            Verb::Post => "POST",
        }
    }

    fn fits(self, method: &Method) -> bool {
        // What answers GET answers HEAD: the listener leaves the body out.
        method.as_str() == self.name() || self == Verb::Get && method == Method::HEAD
    }
}

/// The page for this, and what stands in its path for each name.
pub(super) fn find(method: &Method, path: &str) -> Result<(&'static Page, Segments), Problem> {
    let mut others = Vec::new();
    for page in pages() {
        let Some(segments) = fit(page.path, path) else { continue };
        if page.verb.fits(method) {
            return Ok((page, segments));
        }
        others.push(page.verb);
    }
    if others.is_empty() {
        return Err(Problem::missing(format!("nothing is at {path}; there is {}", listed())));
    }
    let names = others.iter().map(|verb| if *verb == Verb::Get { "GET, HEAD" } else { verb.name() });
    let allowed = names.collect::<Vec<_>>().join(", ");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} takes {allowed}"));
    // Names of methods are fit for a field.
    Err(problem.with(ALLOW, HeaderValue::from_str(&allowed).unwrap_or(HeaderValue::from_static("GET, HEAD"))))
}

/// Every page.
pub(super) fn pages() -> impl Iterator<Item = &'static Page> {
    super::PAGES.iter().flat_map(|pages| pages.iter())
}

/// What there is, in words.
pub(super) fn listed() -> String {
    let words = pages().map(|page| match page.verb {
        Verb::Get => page.path.to_owned(),
        other => format!("{} {}", other.name(), page.path),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What stands in a path for each name in a pattern; none if it is no such path.
fn fit(pattern: &'static str, path: &str) -> Option<Segments> {
    let (mut wanted, mut there) = (pattern.split('/'), path.split('/'));
    let mut segments = Vec::new();
    loop {
        match (wanted.next(), there.next()) {
            (None, None) => return Some(segments),
            (Some(wanted), Some(there)) => {
                let name = wanted.strip_prefix('{').and_then(|wanted| wanted.strip_suffix('}'));
                match name {
                    Some(name) => segments.push((name, decoded(there).filter(|value| !value.is_empty())?)),
                    None if wanted == there => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_a_pattern_segment_by_segment() {
        let fitted = |path| fit("/v1/clusters/{cluster}/endpoints/{address}", path);
        let both =
            |cluster: &str, address: &str| Some(vec![("cluster", cluster.to_owned()), ("address", address.to_owned())]);
        assert_eq!(fitted("/v1/clusters/web/endpoints/10.0.0.1:80"), both("web", "10.0.0.1:80"));
        assert_eq!(fitted("/v1/clusters/a%20b/endpoints/%5b::1%5d:80"), both("a b", "[::1]:80"));
        for other in [
            "/v1/clusters/web/endpoints",
            "/v1/clusters//endpoints/x",
            "/v1/clusters/web/endpoints/x/",
            "/v1/clusters/%zz/endpoints/x",
            "/v2/clusters/web/endpoints/x",
        ] {
            assert_eq!(fitted(other), None, "{other}");
        }
    }

    #[test]
    fn no_page_hides_another() {
        let all: Vec<&Page> = pages().collect();
        for (place, page) in all.iter().enumerate() {
            let hidden =
                all[..place].iter().find(|before| before.verb == page.verb && fit(before.path, page.path).is_some());
            assert!(hidden.is_none(), "{} is hidden by {}", page.path, hidden.map_or("", |before| before.path));
        }
    }
}
