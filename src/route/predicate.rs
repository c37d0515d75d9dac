//! What a request has to be beside its host and path: methods, headers, query, where its client stands, and who it is.

use http::header::HOST;
use http::{HeaderValue, request};

use super::misfit::{Lack, Misfit};
use crate::config::{Host, Match, Predicates, Principal, Spot};
use crate::message::{self, Sender};

/// A request, as far as routes go by it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Its head, as it came in.
    pub head: &'a request::Parts,
    /// Who sent it.
    pub sender: Sender<'a>,
}

impl Question<'_> {
    /// True if it is all of this.
    pub(super) fn fits(&self, predicates: &Predicates) -> bool {
        self.misfit(predicates).is_none()
    }

    /// What it is not of this, if there is anything. What costs least to know is asked first.
    pub(super) fn misfit<'a>(&self, predicates: &'a Predicates) -> Option<Misfit<'a>> {
        let Predicates { methods, headers, query, client_networks, server_names, identities, not_at } = predicates;
        let head = self.head;
        if !methods.is_empty() && !methods.contains(&head.method) {
            return Some(Misfit::Method);
        }
        if let Some(spot) = not_at.as_deref().filter(|spot| self.is_at(spot)) {
            return Some(Misfit::At(spot));
        }
        if !server_names.is_empty() && !self.asked_for_one_of(server_names) {
            return Some(Misfit::ServerName);
        }
        for (name, wanted) in headers {
            if !wanted.holds(head.headers.get_all(name).iter().map(HeaderValue::as_bytes)) {
                return Some(Misfit::Header(name, Lack::of(wanted, head.headers.contains_key(name))));
            }
        }
        for (name, wanted) in query {
            let values = || message::query_values(head.uri.query().unwrap_or_default(), name);
            if !wanted.holds(values()) {
                return Some(Misfit::Query(name, Lack::of(wanted, values().next().is_some())));
            }
        }
        if !identities.is_empty() && !self.is_one_of(identities) {
            return Some(Misfit::Identity);
        }
        if !client_networks.is_empty() {
            let client = self.sender.client(&head.headers);
            let is_within = client_networks.iter().any(|network| network.contains(&client));
            return (!is_within).then_some(Misfit::Network);
        }
        None
    }

    /// The port of its scheme.
    pub(super) fn usual_port(&self) -> u16 {
        if self.sender.scheme(&self.head.headers) == "https" { 443 } else { 80 }
    }

    /// True if that is where it came.
    fn is_at(&self, spot: &Spot) -> bool {
        let scheme = self.sender.scheme(&self.head.headers);
        let came_to = || {
            let host = self.head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let usual = if scheme == "https" { 443 } else { 80 };
            let end = host.rfind(']').map_or(0, |end| end + 1);
            let (name, port) = match host[end..].rsplit_once(':') {
                Some((name, port)) => (&host[..end + name.len()], port.parse().unwrap_or(usual)),
                None => (host, usual),
            };
            let is_host = |wanted: &String| name.trim_end_matches('.').eq_ignore_ascii_case(wanted);
            spot.host.as_ref().is_none_or(is_host) && port == spot.port.unwrap_or(usual)
        };
        spot.scheme.is_none_or(|wanted| scheme == wanted)
            && spot.path.as_ref().is_none_or(|path| self.head.uri.path() == path)
            && (spot.host.is_none() && spot.port.is_none() || came_to())
    }

    fn asked_for_one_of(&self, names: &[Host]) -> bool {
        let fits = |asked: &str| {
            names.iter().any(|name| match name {
                Host::Any => true,
                Host::Exact(name) | Host::At(name, _) => asked.eq_ignore_ascii_case(name),
                Host::Below(domain) => is_below(asked, domain),
            })
        };
        self.sender.downstream().server_name().is_some_and(fits)
    }

    fn is_one_of(&self, wanted: &[Principal]) -> bool {
        let fits = |proved: &str| {
            wanted.iter().any(|identity| match identity {
                Principal::Exact(name) => proved == name,
                Principal::Prefix(beginning) => proved.starts_with(beginning.as_str()),
            })
        };
        self.sender.downstream().identities().any(fits)
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    let dot = name.len().checked_sub(domain.len() + 1).filter(|dot| *dot > 0);
    dot.is_some_and(|dot| {
        let (name, domain) = (&name.as_bytes()[dot..], domain.as_bytes());
        name[0] == b'.' && name[1..].eq_ignore_ascii_case(domain)
    })
}

impl Match {
    /// True if one of these values is what is wanted, or none is there and none is wanted.
    fn holds<V: AsRef<[u8]>>(&self, mut values: impl Iterator<Item = V>) -> bool {
        match self {
            Match::Present => values.next().is_some(),
            Match::Absent => values.next().is_none(),
            Match::Value(wanted) => values.any(|value| value.as_ref() == wanted.as_bytes()),
            Match::Prefix(wanted) => values.any(|value| value.as_ref().starts_with(wanted.as_bytes())),
            Match::Regex(wanted, _) => values.any(|value| wanted.is_match(value.as_ref())),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::config;
    use crate::message::{Downstream, Trusted};
    use crate::route::Routes;

    /// The routes that take a request, by the place in the file of the first, for each of these predicates alone.
    fn takes(predicates: &str, request: http::request::Builder, downstream: &Downstream) -> bool {
        let text = format!(
            "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[clusters.c]\nendpoints=['127.0.0.1:1']\n\
             [[routes]]\ncluster='c'\n{predicates}"
        );
        let config = config::parse(&text, &config::Environment::default()).unwrap();
        let (head, ()) = request.body(()).unwrap().into_parts();
        let trusted = Trusted::new(&["10.0.0.0/8".parse().unwrap()]);
        let asked = Question { head: &head, sender: Sender::new(downstream, &trusted) };
        Routes::new(&config).find("shop", "/", &asked).is_some()
    }

    fn plain() -> Downstream {
        Downstream::plain([192, 0, 2, 1].into())
    }

    #[test]
    fn headers_are_matched_by_presence_value_beginning_and_pattern() {
        let takes = |predicates: &str| {
            let request = Request::get("/").header("x-team", "shop").header("x-team", "cart-17").header("x-empty", "");
            takes(&format!("headers = [{predicates}]"), request, &plain())
        };
        assert!(takes("{name='X-Team',value='shop'}") && takes("{name='x-team',value='cart-17'}"), "either line");
        assert!(!takes("{name='x-team',value='Shop'}") && !takes("{name='x-team',value='cart'}"));
        assert!(takes("{name='x-team',prefix='cart-'}") && !takes("{name='x-team',prefix='art'}"));
        assert!(takes("{name='x-team',regex='cart-\\d+'}") && !takes("{name='x-team',regex='art-\\d'}"), "all of it");
        assert!(!takes("{name='x-team',regex='x|cart'}"), "both sides of a bar");
        assert!(takes("{name='x-empty',present=true}") && takes("{name='x-none',present=false}"));
        assert!(!takes("{name='x-none',present=true}") && !takes("{name='x-team',present=false}"));
        assert!(!takes("{name='x-team',value='shop'},{name='x-none',present=true}"), "all of them");
    }

    #[test]
    fn query_parameters_are_matched_decoded() {
        let takes = |predicates: &str| {
            takes(&format!("query = [{predicates}]"), Request::get("/?team=a%20b&debug&team=c"), &plain())
        };
        assert!(takes("{name='team',value='a b'}") && takes("{name='team',value='c'}"));
        assert!(takes("{name='debug',present=true}") && takes("{name='debug',value=''}"));
        assert!(takes("{name='bug',present=false}") && !takes("{name='TEAM',present=true}"));
    }

    #[test]
    fn methods_are_matched_as_they_are() {
        let predicates = "methods=['GET','PURGE']";
        assert!(takes(predicates, Request::get("/"), &plain()));
        assert!(takes(predicates, Request::builder().method("PURGE"), &plain()));
        assert!(!takes(predicates, Request::head("/"), &plain()) && !takes(predicates, Request::post("/"), &plain()));
    }

    #[test]
    fn a_client_is_where_it_is_and_behind_a_trusted_peer_where_that_says() {
        let predicates = "client_networks=['192.0.2.0/24','2001:db8::/32']";
        let forwarded = |list: &str| Request::get("/").header("x-forwarded-for", list);
        assert!(takes(predicates, forwarded("1.1.1.1"), &plain()));
        let balancer = Downstream::plain([10, 0, 0, 1].into());
        assert!(takes(predicates, forwarded("192.0.2.77"), &balancer));
        assert!(takes(predicates, forwarded("2001:db8::1"), &balancer));
        assert!(!takes(predicates, forwarded("192.0.2.77, 1.1.1.1"), &balancer));
        assert!(!takes(predicates, Request::get("/"), &balancer));
    }

    #[test]
    fn who_a_client_is_and_whom_it_asked_for_come_from_its_handshake() {
        let identities = vec!["spiffe://example.com/cart".into(), "cart.internal".into()];
        let client = Downstream::plain([192, 0, 2, 1].into()).encrypted(Some("api.example.com".into()), identities);
        let takes = |predicates: &str| takes(predicates, Request::get("/"), &client);
        assert!(takes("server_names=['api.example.com']") && takes("server_names=['*.example.com']"));
        assert!(!takes("server_names=['example.com','*.api.example.com']"));
        assert!(takes("identities=['spiffe://example.com/*']") && takes("identities=['cart.internal']"));
        assert!(!takes("identities=['spiffe://example.com/']") && !takes("identities=['spiffe://example.org/*']"));
        for predicates in ["server_names=['*.example.com']", "identities=['*']"] {
            assert!(!super::tests::takes(predicates, Request::get("/"), &plain()), "{predicates}");
        }
    }

    #[test]
    fn a_redirect_to_another_scheme_is_for_those_who_came_by_another_one() {
        let text = |action: &str| format!("[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[[routes]]\n{action}");
        let (head, ()) = Request::get("/").body(()).unwrap().into_parts();
        let encrypted = Downstream::plain([192, 0, 2, 1].into()).encrypted(None, Vec::new());
        for (action, is_taken) in [("scheme='https'", false), ("scheme='https',host='www'", true)] {
            let text = text(&format!("redirect={{{action}}}"));
            let routes = Routes::new(&config::parse(&text, &config::Environment::default()).unwrap());
            let find =
                |from: &Downstream| routes.find("x", "/", &Question { head: &head, sender: from.into() }).is_some();
            assert_eq!((find(&plain()), find(&encrypted)), (true, is_taken), "{action}");
        }
    }
}
