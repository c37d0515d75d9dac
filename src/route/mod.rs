//! Where a request belongs: from host and path to a route, and by that to what becomes of it.
//!
//! The most specific host that has a fitting path wins: the exact name with its port, the exact name, then wildcards from the
//! longest to the shortest, then routes without a host. Within a host the longest path prefix wins. All are hash look-ups, one for
//! each label of the host and each segment of the path, so a thousand routes cost what ten cost. Prefixes that may end within a
//! segment, as services claim them, cost one more for each length that such prefixes of the host have.
//!
//! Several routes may share host and path and differ in their predicates: the one with the most is asked first, among equals the
//! one that stands first in the file, and the one without any last. If none takes the request, the search goes on with the next
//! shorter path and the next less specific host. Predicates are looked at only where a route has some.

mod affinity;
mod explain;
mod misfit;
mod predicate;
mod redirect;
mod rewrite;
mod split;
mod used;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::config;
use crate::message::path;

pub use affinity::{key, session, value};
pub use explain::{Explained, Lead, Miss};
pub use misfit::{Lack, Misfit};
pub use predicate::Question;
pub use redirect::location;
pub use rewrite::{Unfit, rewrite};
pub use split::{choose, cohort, point};
pub use used::Used;

/// A path that belongs to one route as it is written, and to another as some endpoints read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

/// All routes, as an index.
#[derive(Debug, Default)]
pub struct Routes {
    /// By host and port.
    at: HashMap<Box<str>, Paths>,
    exact: HashMap<Box<str>, Paths>,
    below: HashMap<Box<str>, Paths>,
    any: Paths,
    named: HashMap<Box<str>, (Arc<Route>, Arc<Used>)>,
    all: Vec<Arc<Route>>,
    targets: usize,
}

/// A route and its place in the file.
#[derive(Debug)]
pub struct Route {
    /// Place in the file, from 0.
    pub index: usize,
    /// The place of its first target among those of all routes; that of its mirror is behind the last.
    pub first_target: usize,
    /// As it is meant.
    pub settings: Arc<config::Route>,
}

/// The paths of one host. Keys start with a slash.
#[derive(Debug, Default)]
struct Paths {
    /// Those that end with a segment; without a slash at the end.
    prefixes: HashMap<Box<str>, Choice>,
    longest: usize,
    /// Those that may end anywhere.
    texts: HashMap<Box<str>, Choice>,
    /// How long those are; each length once, the longest first.
    lengths: Vec<usize>,
}

/// The routes of one host and path.
#[derive(Debug, Default)]
struct Choice {
    /// Those with predicates, the most particular first.
    particular: Vec<Arc<Route>>,
    /// The one without.
    rest: Option<Arc<Route>>,
}

impl Routes {
    /// The index of a configuration's routes.
    pub fn new(config: &config::Config) -> Self {
        Routes::after(config, &Routes::default())
    }

    /// The same, which inherits what is known of names.
    pub fn after(config: &config::Config, previous: &Routes) -> Self {
        let mut index = Routes::default();
        for settings in &config.routes {
            let route = index.add(settings);
            let paths = match &settings.host {
                config::Host::Any => &mut index.any,
                config::Host::At(..) => index.at.entry(settings.host.to_string().into()).or_default(),
                config::Host::Exact(host) => index.exact.entry(host.as_str().into()).or_default(),
                config::Host::Below(domain) => index.below.entry(domain.as_str().into()).or_default(),
            };
            paths.insert(route);
        }
        for (name, settings) in &config.named {
            let route = index.add(settings);
            let used = previous.named.get(&**name).map(|(_, used)| Arc::clone(used)).unwrap_or_default();
            index.named.insert((**name).into(), (route, used));
        }
        index
    }

    fn add(&mut self, settings: &Arc<config::Route>) -> Arc<Route> {
        let (index, first_target) = (self.all.len(), self.targets);
        let route = Arc::new(Route { index, first_target, settings: Arc::clone(settings) });
        self.targets += route.targets();
        self.all.push(Arc::clone(&route));
        route
    }

    /// True if it is the index of these routes.
    pub fn is_of(&self, config: &config::Config) -> bool {
        let same = |(known, told): (&Arc<Route>, &Arc<config::Route>)| {
            Arc::ptr_eq(&known.settings, told) || known.settings == *told
        };
        let told = config.routes.iter().chain(config.named.values());
        let count = config.routes.len() + config.named.len();
        self.all.len() == count
            && self.all.iter().zip(told).all(same)
            && config.named.keys().all(|name| self.named.contains_key(&**name))
    }

    /// In the order of the file; behind them those that are found by a name.
    pub fn all(&self) -> &[Arc<Route>] {
        &self.all
    }

    /// How many targets all of them have.
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// The route of that name, which is in use now.
    pub fn named(&self, name: &str, now: Instant) -> Option<&Arc<Route>> {
        let (route, used) = self.named.get(name)?;
        used.touch(now);
        Some(route)
    }

    /// True if there is a route of that name.
    pub fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// When that name was last in use, if ever.
    pub fn used(&self, name: &str) -> Option<Instant> {
        self.named.get(name)?.1.last()
    }

    /// The route of a request. `host` may carry a port, a final dot and capitals; `path` is without its query.
    pub fn find(&self, host: &str, path: &str, asked: &Question<'_>) -> Option<&Arc<Route>> {
        if self.exact.is_empty() && self.below.is_empty() && self.at.is_empty() {
            return self.any.find(path, asked);
        }
        let (host, port) = (bare(host), port(host));
        let lower;
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            lower.as_str()
        } else {
            host
        };
        if let Some(route) = self.find_at((host, port), path, asked) {
            return Some(route);
        }
        let exact = self.exact.get(host).and_then(|paths| paths.find(path, asked));
        exact.or_else(|| self.find_below(host, path, asked)).or_else(|| self.any.find(path, asked))
    }

    /// The same, where a path that endpoints may read in another way has to come to the same route in that way too.
    pub fn find_strictly(
        &self,
        host: &str,
        path: &str,
        asked: &Question<'_>,
    ) -> Result<Option<&Arc<Route>>, Ambiguous> {
        let route = self.find(host, path, asked);
        if path::reading(path) == path::Reading::Odd {
            // An endpoint that merges or decodes slashes must not let in what a route keeps out.
            let elsewhere = self.find(host, &path::normal(path), asked);
            if elsewhere.map(|route| route.index) != route.map(|route| route.index) {
                return Err(Ambiguous);
            }
        }
        Ok(route)
    }

    fn find_at(&self, (host, port): (&str, Option<u16>), path: &str, asked: &Question<'_>) -> Option<&Arc<Route>> {
        if self.at.is_empty() {
            return None;
        }
        let port = port.unwrap_or_else(|| asked.usual_port());
        let key = config::Host::At(host.to_owned(), port).to_string();
        self.at.get(key.as_str())?.find(path, asked)
    }

    fn find_below(&self, host: &str, path: &str, asked: &Question<'_>) -> Option<&Arc<Route>> {
        if self.below.is_empty() {
            return None;
        }
        let domains = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        domains.filter_map(|domain| self.below.get(domain)).find_map(|paths| paths.find(path, asked))
    }
}

/// A host without its port, its brackets, and the final dot of a fully qualified name.
fn bare(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    let name = host.split(':').next().unwrap_or_default();
    name.strip_suffix('.').unwrap_or(name)
}

/// The port that a host is given with.
fn port(host: &str) -> Option<u16> {
    let behind = host.rfind(']').map_or(host, |end| &host[end..]);
    behind.rsplit_once(':')?.1.parse().ok()
}

impl Paths {
    fn insert(&mut self, route: Arc<Route>) {
        let path = &route.settings.path;
        let choice = match route.settings.ends {
            config::Ends::Segment => {
                self.longest = self.longest.max(path.len());
                self.prefixes.entry(path.as_str().into())
            }
            config::Ends::Anywhere => {
                let place = self.lengths.partition_point(|length| *length > path.len());
                if self.lengths.get(place) != Some(&path.len()) {
                    self.lengths.insert(place, path.len());
                }
                self.texts.entry(path.as_str().into())
            }
        };
        choice.or_default().insert(route);
    }

    fn find(&self, path: &str, asked: &Question<'_>) -> Option<&Arc<Route>> {
        if self.lengths.is_empty() {
            return self.find_segment(path, asked).map(|(route, _)| route);
        }
        let found = self.find_segment(path, asked);
        // A prefix that ends with a segment counts with the slash behind it.
        let least = found.map_or(1, |(_, end)| end + 2);
        let longer = self.lengths.iter().take_while(|length| **length >= least);
        let text = |length: &usize| self.texts.get(path.get(..*length)?)?.find(asked);
        longer.filter_map(text).next().or(found.map(|(route, _)| route))
    }

    /// The route with the longest prefix that ends with a segment, and where that ends.
    fn find_segment(&self, path: &str, asked: &Question<'_>) -> Option<(&Arc<Route>, usize)> {
        if self.prefixes.is_empty() {
            return None;
        }
        let mut end = path.len();
        // No prefix is longer than the longest, so a path of ten thousand slashes costs no more than that.
        loop {
            if end <= self.longest
                && let Some(choice) = self.prefixes.get(&path[..end])
                && let Some(route) = choice.find(asked)
            {
                return Some((route, end));
            }
            if end == 0 {
                return None;
            }
            let window = end.min(self.longest + 1);
            end = path.as_bytes()[..window].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        }
    }
}

impl Choice {
    fn insert(&mut self, route: Arc<Route>) {
        let count = route.settings.predicates.count();
        if count == 0 {
            self.rest = Some(route);
            return;
        }
        let place = self.particular.partition_point(|other| other.settings.predicates.count() >= count);
        self.particular.insert(place, route);
    }

    fn find(&self, asked: &Question<'_>) -> Option<&Arc<Route>> {
        // Most have none, and pay nothing for those that have.
        let particular = self.particular.iter().find(|route| asked.fits(&route.settings.predicates));
        particular.or(self.rest.as_ref())
    }
}

impl Route {
    /// The target of that place, of which the mirror has the last.
    pub fn target(&self, place: usize) -> Option<&config::Target> {
        let config::Action::Forward(forward) = &self.settings.action else { return None };
        let mirror = || forward.mirror.as_ref().filter(|_| place == forward.targets.len()).map(|mirror| &mirror.target);
        forward.targets.get(place).or_else(mirror)
    }

    fn targets(&self) -> usize {
        match &self.settings.action {
            config::Action::Forward(forward) => forward.targets.len() + usize::from(forward.mirror.is_some()),
            config::Action::Redirect(_) | config::Action::Respond(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::message::Downstream;

    fn find(routes: &[(&str, &str)], host: &str, path: &str) -> Option<usize> {
        let mut text =
            "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.c]\nendpoints=['127.0.0.1:1']\n".to_owned();
        for (host, path) in routes {
            let host = if host.is_empty() { String::new() } else { format!("host='{host}'\n") };
            text += &format!("[[routes]]\n{host}path='{path}'\ncluster='c'\n");
        }
        let config = config::parse(&text, &config::Environment::default()).unwrap();
        asking(Request::builder().uri(path), |asked| {
            Routes::new(&config).find(host, path, asked).map(|route| route.index)
        })
    }

    fn asking<T>(request: http::request::Builder, ask: impl FnOnce(&Question<'_>) -> T) -> T {
        let (head, ()) = request.body(()).unwrap().into_parts();
        let client = Downstream::plain([127, 0, 0, 1].into());
        ask(&Question { head: &head, sender: (&client).into() })
    }

    #[test]
    fn a_prefix_ends_on_a_segment_boundary_and_the_longest_wins() {
        let routes = [("", "/api/"), ("", "/api/v2"), ("", "/")];
        assert_eq!(find(&routes, "x", "/api"), Some(0));
        assert_eq!(find(&routes, "x", "/api/"), Some(0));
        assert_eq!(find(&routes, "x", "/api/v2/users"), Some(1));
        assert_eq!(find(&routes, "x", "/api/v21"), Some(0));
        assert_eq!(find(&routes, "x", "/apis"), Some(2));
        assert_eq!(find(&routes[..2], "x", "/apis"), None);
        assert_eq!(find(&routes, "x", "*"), Some(2), "OPTIONS * belongs to the whole host");
    }

    #[test]
    fn the_most_specific_host_with_a_fitting_path_wins() {
        let routes = [("shop.example.com", "/api"), ("*.example.com", "/"), ("*.eu.example.com", "/"), ("", "/")];
        assert_eq!(find(&routes, "shop.example.com", "/api/1"), Some(0));
        assert_eq!(find(&routes, "shop.example.com", "/other"), Some(1));
        assert_eq!(find(&routes, "a.eu.example.com", "/"), Some(2));
        assert_eq!(find(&routes, "a.b.example.com", "/"), Some(1));
        assert_eq!(find(&routes, "example.com", "/"), Some(3), "a wildcard does not take the domain itself");
    }

    #[test]
    fn ports_capitals_and_a_final_dot_do_not_matter() {
        let routes = [("shop.example.com", "/"), ("[::1]", "/")];
        for host in ["shop.example.com:8080", "SHOP.Example.com", "shop.example.com.", "shop.example.com.:80"] {
            assert_eq!(find(&routes, host, "/"), Some(0), "{host}");
        }
        assert_eq!(find(&routes, "[::1]:8080", "/"), Some(1));
    }

    /// Which of these routes takes a request: hosts, paths, and where those may end.
    fn claimed(routes: &[(&str, &str, config::Ends)], host: &str, path: &str) -> Option<usize> {
        let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[[routes]]\nrespond={}\n";
        let mut config = config::parse(text, &config::Environment::default()).unwrap();
        let plain = config.routes.remove(0);
        for (host, path, ends) in routes {
            let host = if host.is_empty() { config::Host::Any } else { config::Host::parse(host).unwrap() };
            let route = config::Route { host, path: (*path).to_owned(), ends: *ends, ..(*plain).clone() };
            config.routes.push(Arc::new(route));
        }
        asking(Request::builder().uri(path), |asked| {
            Routes::new(&config).find(host, path, asked).map(|route| route.index)
        })
    }

    #[test]
    fn a_prefix_that_may_end_anywhere_is_a_text_and_one_that_ends_a_segment_goes_before_it() {
        use config::Ends::{Anywhere, Segment};
        let routes =
            [("", "/foo", Anywhere), ("", "/foo/bar/", Anywhere), ("", "", Segment), ("", "/foo/bar", Segment)];
        let find = |path: &str| claimed(&routes, "x", path);
        assert_eq!((find("/foo"), find("/foobar"), find("/foo/x")), (Some(0), Some(0), Some(0)));
        assert_eq!((find("/fo"), find("/"), find("*")), (Some(2), Some(2), Some(2)));
        assert_eq!((find("/foo/bar"), find("/foo/bar/x"), find("/foo/bars")), (Some(3), Some(3), Some(0)));
        let routes = [("", "/a/b", Anywhere), ("", "/a", Segment), ("", "/a/bc", Anywhere)];
        let find = |path: &str| claimed(&routes, "x", path);
        assert_eq!((find("/a/b"), find("/a/bcd"), find("/a/x"), find("/ab")), (Some(0), Some(2), Some(1), None));
        let many = [("", "/é", Anywhere), ("", "/", Anywhere)];
        assert_eq!(claimed(&many, "x", &"/".repeat(60_000)), Some(1));
    }

    #[test]
    fn a_host_with_its_port_goes_before_the_host_and_takes_who_comes_to_that_port() {
        use config::Ends::Segment;
        let routes =
            [("shop:8080", "", Segment), ("shop:80", "", Segment), ("shop", "/deep", Segment), ("shop", "", Segment)];
        let find = |host: &str, path: &str| claimed(&routes, host, path);
        assert_eq!((find("shop:8080", "/deep"), find("SHOP:8080", "/")), (Some(0), Some(0)));
        assert_eq!((find("shop", "/deep"), find("shop:80", "/")), (Some(1), Some(1)), "the scheme's own port");
        assert_eq!((find("shop:443", "/deep"), find("shop:81", "/")), (Some(2), Some(3)));
        assert_eq!(claimed(&[("[::1]:8080", "", Segment)], "[::1]:8080", "/"), Some(0));
        assert_eq!(claimed(&[("[::1]:8080", "", Segment)], "[::1]", "/"), None);
    }

    #[test]
    fn a_path_of_many_slashes_is_found_like_any_other() {
        let path = "/".repeat(60_000);
        assert_eq!(find(&[("", "/a"), ("", "/")], "x", &path), Some(1));
    }

    #[test]
    fn the_most_particular_route_wins_and_what_none_takes_goes_on() {
        let rule = |place: &str, predicates: &str| format!("[[routes]]\n{place}\n{predicates}\ncluster='c'\n");
        let [get, team, key] =
            ["methods=['GET']", "headers=[{name='x-team',value='a'}]", "query=[{name='k',present=true}]"];
        let text = [
            rule("host='shop'\npath='/api'", get),
            rule("host='shop'\npath='/api'", ""),
            rule("host='shop'\npath='/api'", team),
            rule("host='shop'\npath='/api'", &format!("{get}\n{team}")),
            rule("host='shop'\npath='/api/v2'", key),
            rule("host='*.shop'", get),
            rule("path='/'", ""),
        ];
        let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.c]\nendpoints=['127.0.0.1:1']\n".to_owned()
            + &text.concat();
        let routes = Routes::new(&config::parse(&text, &config::Environment::default()).unwrap());
        let find = |host: &str, request: http::request::Builder| {
            asking(request, |asked| routes.find(host, asked.head.uri.path(), asked).map(|route| route.index))
        };
        let team = |request: http::request::Builder| request.header("x-team", "a");
        assert_eq!(find("shop", Request::get("/api")), Some(0));
        assert_eq!(find("shop", team(Request::get("/api"))), Some(3), "more predicates");
        assert_eq!(find("shop", team(Request::post("/api"))), Some(2));
        assert_eq!(find("shop", Request::post("/api")), Some(1), "none of them, last");
        assert_eq!(find("shop", Request::get("/api/v2?k")), Some(4), "the longer path, however many predicates");
        assert_eq!(find("shop", Request::post("/api/v2")), Some(1), "the next shorter path");
        assert_eq!(find("a.shop", Request::get("/")), Some(5));
        assert_eq!(find("a.shop", Request::post("/")), Some(6), "the next less specific host");
    }
}
