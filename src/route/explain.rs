//! Why a request takes its route, and why not the others. The route is the one that [`Routes::find`] finds; what is said of the others is
//! read off each of them alone, with the same predicates, and in the order in which the index would have come to them.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Misfit, Question, Route, Routes, bare, port};
use crate::config::{Ends, Host};

/// What is said of a request's way to its route.
#[derive(Debug)]
pub struct Explained<'a> {
    /// The route that it takes, if there is one.
    pub route: Option<&'a Arc<Route>>,
    /// Others, those that came nearest first.
    pub others: Vec<(&'a Arc<Route>, Miss<'a>)>,
    /// How many more there are.
    pub left_out: usize,
}

/// Why a route was not taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Miss<'a> {
    /// It takes such requests, and another goes before it for that.
    After(Lead),
    /// Host and path fit, and this does not.
    Misfit(Misfit<'a>),
    /// The host fits, and the path does not.
    Path,
    /// The host does not fit.
    Host,
}

/// What the route that is taken has before another that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// A more specific host.
    Host,
    /// A longer path.
    Path,
    /// More predicates.
    Predicates,
    /// An earlier place in the file.
    Place,
}

/// How particular a route's host is: the greater, the earlier it is asked.
type HostRank = (u8, usize);

/// The order among routes that take a request: the greatest is taken.
type Rank = (HostRank, (usize, bool), usize, Reverse<usize>);

impl Routes {
    /// Why the request takes its route, with at most so many of the others.
    pub fn explain(&self, host: &str, path: &str, asked: &Question<'_>, most: usize) -> Explained<'_> {
        let route = self.find(host, path, asked);
        let target = Target { name: bare(host).to_ascii_lowercase(), port: port(host), path };
        let taken = route.map(|route| rank(route));
        let is_other = |other: &&Arc<Route>| route.is_none_or(|route| route.index != other.index);
        // Those of names are not found by anything else.
        let found = self.all.len() - self.named.len();
        let others = self.all[..found].iter().filter(is_other);
        let mut others: Vec<_> = others.map(|other| (other, target.miss(other, taken, asked))).collect();
        let left_out = others.len().saturating_sub(most);
        others.sort_by_key(|(other, miss)| (miss.distance(), Reverse(rank(other)), other.index));
        others.truncate(most);
        Explained { route, others, left_out }
    }

    /// The route of that name, which is not in use by that.
    pub fn peek(&self, name: &str) -> Option<&Arc<Route>> {
        self.named.get(name).map(|(route, _)| route)
    }
}

/// What of a request every route has to fit.
struct Target<'a> {
    name: String,
    port: Option<u16>,
    path: &'a str,
}

impl Target<'_> {
    fn miss<'a>(&self, other: &'a Route, taken: Option<Rank>, asked: &Question<'_>) -> Miss<'a> {
        let settings = &other.settings;
        if !self.is_at(&settings.host, asked) {
            return Miss::Host;
        }
        if !self.begins_with(&settings.path, settings.ends) {
            return Miss::Path;
        }
        if let Some(misfit) = asked.misfit(&settings.predicates) {
            return Miss::Misfit(misfit);
        }
        let (host, path, predicates, _) = rank(other);
        Miss::After(match taken {
            Some(taken) if taken.0 != host => Lead::Host,
            Some(taken) if taken.1 != path => Lead::Path,
            Some(taken) if taken.2 != predicates => Lead::Predicates,
            _ => Lead::Place,
        })
    }

    fn is_at(&self, host: &Host, asked: &Question<'_>) -> bool {
        match host {
            Host::Any => true,
            Host::Exact(name) => self.name == *name,
            Host::At(name, port) => self.name == *name && self.port.unwrap_or_else(|| asked.usual_port()) == *port,
            Host::Below(domain) => {
                let above = self.name.strip_suffix(domain.as_str());
                above.is_some_and(|above| above.ends_with('.'))
            }
        }
    }

    fn begins_with(&self, prefix: &str, ends: Ends) -> bool {
        let rest = self.path.strip_prefix(prefix);
        rest.is_some_and(|rest| ends == Ends::Anywhere || prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }
}

fn rank(route: &Route) -> Rank {
    let settings = &route.settings;
    let host = match &settings.host {
        Host::At(..) => (3, 0),
        Host::Exact(_) => (2, 0),
        Host::Below(domain) => (1, domain.len()),
        Host::Any => (0, 0),
    };
    // A prefix that ends with a segment counts with the slash behind it.
    let path = match settings.ends {
        Ends::Segment => (settings.path.len() + 1, true),
        Ends::Anywhere => (settings.path.len(), false),
    };
    (host, path, settings.predicates.count(), Reverse(route.index))
}

impl Miss<'_> {
    /// The less, the nearer the route was to being taken.
    fn distance(&self) -> u8 {
        match self {
            Miss::After(_) => 0,
            Miss::Misfit(_) => 1,
            Miss::Path => 2,
            Miss::Host => 3,
        }
    }
}

impl std::fmt::Display for Miss<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Miss::After(Lead::Host) => f.write_str("it fits, and the one that is taken has a more specific host"),
            Miss::After(Lead::Path) => f.write_str("it fits, and the one that is taken has a longer path"),
            Miss::After(Lead::Predicates) => f.write_str("it fits, and the one that is taken asks for more"),
            Miss::After(Lead::Place) => f.write_str("it fits, and the one that is taken stands before it"),
            Miss::Misfit(misfit) => write!(f, "host and path fit; {misfit}"),
            Miss::Path => f.write_str("the host fits; the path does not"),
            Miss::Host => f.write_str("the host does not fit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::config;
    use crate::message::Downstream;

    const HOSTS: [&str; 7] = ["", "a.test", "b.test", "*.test", "*.b.test", "a.test:8080", "c.b.test"];
    const PATHS: [&str; 7] = ["", "/a", "/a/b", "/ab", "/a/", "/b", "/a/b/c"];

    #[derive(Debug, Clone)]
    struct Written {
        host: usize,
        path: usize,
        anywhere: bool,
        predicates: usize,
    }

    fn written() -> impl Strategy<Value = Written> {
        let all = (0..HOSTS.len(), 0..PATHS.len(), any::<bool>(), 0..5_usize);
        all.prop_map(|(host, path, anywhere, predicates)| Written { host, path, anywhere, predicates })
    }

    fn predicates(which: usize) -> config::Predicates {
        let mut predicates = config::Predicates::default();
        if which & 1 != 0 {
            predicates.methods = vec![http::Method::GET];
        }
        if which & 2 != 0 {
            predicates.headers = vec![("x-team".parse().unwrap(), config::Match::Value("a".to_owned()))];
        }
        if which & 4 != 0 {
            predicates.query = vec![("k".to_owned(), config::Match::Absent)];
        }
        predicates
    }

    /// Routes as a checked configuration may have them: none twice.
    fn routes(written: &[Written]) -> Routes {
        let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[[routes]]\nrespond={}\n";
        let mut config = config::parse(text, &config::Environment::default()).unwrap();
        let plain = config.routes.remove(0);
        let mut seen = std::collections::BTreeSet::new();
        for one in written {
            let ends = if one.anywhere && one.path > 0 { Ends::Anywhere } else { Ends::Segment };
            // Without a slash at the end, unless it is just a text.
            let path = if ends == Ends::Segment { PATHS[one.path].trim_end_matches('/') } else { PATHS[one.path] };
            if !seen.insert((one.host, path, ends == Ends::Anywhere, one.predicates)) {
                continue;
            }
            let host = if one.host == 0 { Host::Any } else { Host::parse(HOSTS[one.host]).unwrap() };
            let (path, predicates) = (path.to_owned(), predicates(one.predicates));
            config.routes.push(Arc::new(config::Route { host, path, ends, predicates, ..(*plain).clone() }));
        }
        Routes::new(&config)
    }

    proptest! {
        /// What is said of each route alone, and the index, agree on who is taken: whoever fits and is asked first.
        #[test]
        fn explanation_and_finding_never_disagree(
            all in prop::collection::vec(written(), 0..24),
            host in prop::sample::select(vec!["a.test", "B.test:80", "c.b.test.", "a.test:8080", "x.c.b.test", "test", "a.test:81", "[::1]"]),
            path in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/abc/a", "//a", "/b/a", "*", "/a/b/c/d"]),
            (get, team, key) in any::<(bool, bool, bool)>(),
        ) {
            let routes = routes(&all);
            let query = if key { "?k" } else { "" };
            let uri = if path == "*" { path.to_owned() } else { format!("{path}{query}") };
            let request = Request::builder().method(if get { "GET" } else { "POST" }).uri(uri);
            let request = if team { request.header("x-team", "a") } else { request };
            let (head, ()) = request.body(()).unwrap().into_parts();
            let client = Downstream::plain([127, 0, 0, 1].into());
            let asked = Question { head: &head, sender: (&client).into() };
            let explained = routes.explain(host, path, &asked, usize::MAX);
            let found = routes.find(host, path, &asked).map(|route| route.index);
            prop_assert_eq!(explained.route.map(|route| route.index), found);
            let fits = |(route, miss): &(&Arc<Route>, Miss<'_>)| matches!(miss, Miss::After(_)).then(|| rank(route));
            let next = explained.others.iter().filter_map(fits).max();
            match explained.route {
                None => prop_assert!(next.is_none(), "none is taken, and yet one fits: {:?}", explained.others),
                Some(route) => prop_assert!(next.is_none_or(|next| next < rank(route)), "{:?}", explained.others),
            }
            let taken = explained.route.map(|route| {
                let target = Target { name: bare(host).to_ascii_lowercase(), port: port(host), path };
                target.miss(route, None, &asked)
            });
            prop_assert!(taken.is_none_or(|miss| matches!(miss, Miss::After(_))), "what is taken fits: {:?}", taken);
            prop_assert_eq!(explained.others.len() + usize::from(found.is_some()), routes.all().len());
        }
    }

    #[test]
    fn each_route_says_why_it_was_not_taken_and_the_nearest_come_first() {
        let one = |host, path, predicates| Written { host, path, anywhere: false, predicates };
        let routes = routes(&[one(2, 0, 0), one(1, 5, 0), one(1, 1, 2), one(0, 0, 0), one(1, 0, 0), one(1, 1, 0)]);
        let (head, ()) = Request::get("/a/x").body(()).unwrap().into_parts();
        let client = Downstream::plain([127, 0, 0, 1].into());
        let asked = Question { head: &head, sender: (&client).into() };
        let explained = routes.explain("a.test", "/a/x", &asked, 4);
        assert_eq!(explained.route.map(|route| route.index), Some(5));
        let said: Vec<(usize, String)> =
            explained.others.iter().map(|(route, miss)| (route.index, miss.to_string())).collect();
        let expected = [
            (4, "it fits, and the one that is taken has a longer path"),
            (3, "it fits, and the one that is taken has a more specific host"),
            (2, "host and path fit; header x-team is not there"),
            (1, "the host fits; the path does not"),
        ];
        assert_eq!(said, expected.map(|(index, words)| (index, words.to_owned())));
        assert_eq!(explained.left_out, 1);
    }
}
