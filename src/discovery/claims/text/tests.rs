//! Claims as Fabio's documentation writes them, and what is none.

use super::*;
use crate::config::{NewHost, NewPath, Redirect, Rewrite};
use crate::discovery::claims::terms::{Access, Proto};

const LIGHT: Light<'_> = Light { datacenter: Some("dc1") };

fn read(text: &str) -> Claim {
    claim(text, LIGHT).unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn why(text: &str) -> String {
    claim(text, LIGHT).map_or_else(|why| why.to_string(), |claim| panic!("{text}: {claim:?}"))
}

fn web(host: &str, path: &str) -> Place {
    let host = if host.is_empty() { Host::Any } else { Host::parse(host).unwrap() };
    Place::Web { host, path: path.to_owned() }
}

#[test]
fn a_place_is_a_host_and_a_path_or_a_port() {
    for (text, place) in [
        ("/css", web("", "/css")),
        ("i.com/static", web("i.com", "/static")),
        ("mysite.com/", web("mysite.com", "/")),
        ("/", web("", "/")),
        ("*/", web("", "/")),
        (" /foo ", web("", "/foo")),
        ("bar/foo/foo", web("bar", "/foo/foo")),
        ("WWW.BAR.COM/Foo", web("www.bar.com", "/Foo")),
        ("*.example.com/foo/", web("*.example.com", "/foo/")),
        ("www.bar.com:80/foo", web("www.bar.com:80", "/foo")),
        ("[::1]:8080/", web("[::1]:8080", "/")),
        ("$DC.example.com/${DC}x", web("dc1.example.com", "/dc1x")),
        (":3306 proto=tcp", Place::Port(3306)),
        ("foo.com/ proto=tcp", Place::Name(Host::Exact("foo.com".into()))),
        ("*.foo.com/ proto=tcp+sni", Place::Name(Host::Below("foo.com".into()))),
        ("/my.service/Method proto=grpc", web("", "/my.service/Method")),
    ] {
        assert_eq!(read(text).place, place, "{text}");
    }
}

#[test]
fn options_are_those_of_the_documentation() {
    let rewrite = |text: &str| read(text).terms.rewrite;
    assert_eq!(rewrite("/foo/bar strip=/foo"), Rewrite { strip: "/foo".into(), ..Rewrite::default() });
    assert_eq!(rewrite("/bar prepend=/foo"), Rewrite { prepend: "/foo".into(), ..Rewrite::default() });
    let both = Rewrite { strip: "/foo".into(), prepend: "/baz".into(), host: NewHost::Endpoint };
    assert_eq!(rewrite("/bar prepend=/baz/ strip=/foo host=dst"), both);
    assert_eq!(rewrite("/ host=api.internal:81").host, NewHost::Named("api.internal:81".into()));
    let speech = |text: &str| {
        let terms = read(text).terms;
        (terms.proto, terms.speech.tls, terms.speech.http2)
    };
    assert_eq!(speech("/"), (Proto::Http, None, false));
    assert_eq!(speech("/ proto=https"), (Proto::Https, Some(true), false));
    assert_eq!(speech("/my.service proto=grpc"), (Proto::Grpc, Some(false), true));
    assert_eq!(speech("/my.service proto=grpcs"), (Proto::Grpcs, Some(true), true));
    assert_eq!(speech(":3306 proto=tcp"), (Proto::Tcp, Some(false), false));
    assert!(read("/foo proto=https tlsskipverify=true").terms.speech.skip_verify);
    assert!(!read("/foo tlsskipverify=true").terms.speech.skip_verify, "nothing is encrypted");
    assert!(read(":3306 proto=tcp pxyproto=true").terms.speech.proxy_protocol);
    let named = read("/my.service proto=grpcs grpcservername=my.service").terms.speech.server_name;
    assert_eq!(named.as_deref(), Some("my.service"));
    assert_eq!(read("/ weight=0.05").weight, 0.05);
    assert_eq!(read("/ weight=-1").weight, 0.0);
    assert_eq!(read("/ register=shop fancy=1 loud").terms.ignored, ["fancy", "loud", "register"]);
}

#[test]
fn who_may_come_is_understood_or_the_claim_is_none() {
    let access = |text: &str| read(text).terms.access;
    let networks = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
    assert_eq!(access("/ allow=ip:10.0.0.0/8,ip:fe80::/10"), Access::Only(networks(&["10.0.0.0/8", "fe80::/10"])));
    let both = networks(&["fe80::1234/128", "100.123.0.0/16"]);
    assert_eq!(access("/ deny=ip:fe80::1234,100.123.0.0/16"), Access::AllBut(both), "as the documentation writes it");
    for text in ["/ allow=ip:10.0.0.0/33", "/ deny=ip:", "/ allow=", "/ allow=ip:1.2.3.4 deny=ip:1.2.3.4", "/ auth=me"]
    {
        assert!(claim(text, LIGHT).is_err(), "{text}");
    }
}

#[test]
fn a_redirect_keeps_the_path_only_where_it_says_so() {
    let to = |text: &str| read(text).terms.elsewhere.unwrap().redirect();
    let google = to("/path redirect=301,https://www.google.com/");
    assert_eq!(
        (google.scheme, google.host.as_deref(), google.status.as_u16()),
        (Some("https"), Some("www.google.com"), 301)
    );
    assert_eq!(google.path, Some(NewPath::Target("/".into())));
    let foo = to("/path redirect=303,https://www.foo.com$path");
    assert_eq!((foo.host.as_deref(), foo.path), (Some("www.foo.com"), None));
    let own = |strip: &str, prepend: &str| Some(NewPath::Own { strip: strip.into(), prepend: prepend.into() });
    assert_eq!(to("/a redirect=302,http://b.com:8080/new/$path strip=/a").path, own("/a", "/new"));
    assert_eq!(to("/a redirect=302,http://b.com:8080/$path").port, Some(8080));
    assert_eq!(to("/a redirect=302,/b?c=d").path, Some(NewPath::Target("/b?c=d".into())));
    let Redirect { scheme, host, path, .. } = to("a.com:80/ redirect=308,https://$host$path");
    assert_eq!((scheme, host, path), (Some("https"), None, None));
    assert_eq!(to("/a redirect=307,https://b.com").path, Some(NewPath::Target("/".into())));
    assert_eq!(read("/a redirect=302,/b?c=d").terms.elsewhere.unwrap().spot(&Host::Any).unwrap().to_string(), "/b");
    assert!(read("/a redirect=302,/b$path").terms.elsewhere.unwrap().spot(&Host::Any).is_none());
    let loops = read("a.com:80/ redirect=301,https://a.com$path").terms.elsewhere.unwrap();
    let (at, other) = (Host::At("a.com".into(), 80), Host::Exact("b.com".into()));
    assert_eq!(loops.spot(&at).unwrap().to_string(), "https://a.com", "not to where it already is");
    assert!(loops.spot(&other).is_none() && loops.spot(&Host::Below("com".into())).is_some());
    for text in [
        "/ redirect=301",
        "/ redirect=200,https://a.com/",
        "/ redirect=304,https://a.com/",
        "/ redirect=x,https://a.com/",
        "/ redirect=301,ftp://a.com/",
        "/ redirect=301,//a.com/",
        "/ redirect=301,https:///x",
        "/ redirect=301,https://*.a.com/",
        "/ redirect=301,https://a.com/$path/x",
        "/ redirect=301,$path",
    ] {
        assert!(claim(text, LIGHT).is_err(), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (text, part) in [
        ("", "says nothing"),
        ("foo", "has no slash"),
        ("127.0.0.1:1234 proto=tcp", "nothing to listen on"),
        (":3306", "proto=tcp"),
        (":0 proto=tcp", "not a port"),
        (":x proto=tcp", "not a port"),
        ("/a proto=tcp", "proto=tcp takes a port"),
        ("foo.com/x proto=tcp", "proto=tcp takes a port"),
        ("foo_.*com/", "not a host"),
        ("foo*.com/", "not a host"),
        ("/a*", "not a path"),
        ("/a?b", "not a path"),
        ("/$HOME", "stands for nothing"),
        ("/${DC", "no end"),
        ("/ weight=a", "not a number"),
        ("/ weight=NaN", "not a number"),
        ("/ proto=ftp", "proto=ftp"),
        ("/ strip=foo", "strip=foo"),
        ("/ prepend=//evil.test", "prepend"),
        ("/ host=a/b", "host=a/b"),
        ("/ pxyproto=true", "proto=tcp"),
        (":1 proto=tcp strip=/a", "proto=tcp has none"),
    ] {
        assert!(why(text).contains(part), "{text}: {}", why(text));
    }
    assert!(why(&format!("/{}", "a".repeat(255))).contains("256 bytes"));
    assert!(claim("/$DC", Light::default()).is_err(), "nobody knows where that is");
}
