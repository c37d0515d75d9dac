//! The keys of balancing: what is refused and how that is said, and what a cluster takes over from the defaults.

use std::io::Write;

use super::*;

/// Whatever goes wrong, nobody may read this anywhere.
const SECRET: &str = "a-secret-that-must-not-be-shown";

/// What is said of a cluster with these keys.
fn said(own: &str) -> String {
    message(&format!("{MINIMAL}{own}"))
}

/// The balancing of the cluster with these keys, under these defaults.
fn balancing(own: &str, defaults: &str) -> Balancing {
    parse_file(&format!("{MINIMAL}{own}\n[defaults]\n{defaults}")).unwrap().clusters[0].balancing.clone()
}

fn sticky(own: &str, defaults: &str) -> Sticky {
    balancing(own, defaults).sticky.expect("clients are bound")
}

#[test]
fn what_cannot_be_balanced_by_is_refused_with_what_would_be_right() {
    for (own, line) in [
        (
            "hash = { keys = ['path', 'headers:x'] }",
            "clusters.web.hash.keys[1]: \"headers:x\" is not a key; use \"header:NAME\", \"cookie:NAME\", \"query:NAME\", \
             \"path\", \"client_address\" or \"identity\"",
        ),
        ("hash = { keys = [] }", "clusters.web.hash.keys: is empty; leave it out for the client's address"),
        (
            "hash = { load_factor = 0.5 }",
            "clusters.web.hash.load_factor: 0.5 is not a bound; use 1 to 100, such as 1.25, or 0 for none",
        ),
        (
            "policy = 'consistent_hash'\nsubset_size = 3",
            "clusters.web.subset_size: each process would hash over a subset of its own; use 0 here, or another policy",
        ),
        (
            "locality = { prefer = ['node', 'znoe'] }",
            "clusters.web.locality.prefer[1]: nothing to prefer by \"znoe\"; did you mean \"zone\"?",
        ),
        (
            "locality = { prefer = ['continent'] }",
            "clusters.web.locality.prefer[0]: nothing to prefer by \"continent\"; use \"node\", \"zone\" and \"datacenter\"",
        ),
        ("locality = { prefer = ['zone', 'zone'] }", "clusters.web.locality.prefer[1]: \"zone\" stands here twice"),
        (
            "locality = { prefer = ['zone'], prefer_rtt = ['1ms'] }",
            "clusters.web.locality.prefer_rtt: stands beside prefer; keep one of them",
        ),
        (
            "locality = { prefer_rtt = ['10ms', '1ms'] }",
            "clusters.web.locality.prefer_rtt: is not in order; name bounds from the nearest on: [\"1ms\", \"10ms\"]",
        ),
        (
            "locality = { overprovisioning = 0.9 }",
            "clusters.web.locality.overprovisioning: 0.9 is not a factor; use 1.0 to 100",
        ),
        ("panic_percent = 101", "clusters.web.panic_percent: 101 is not a percentage; use 0 to 100"),
        (
            "slow_start = { start_percent = 0 }",
            "clusters.web.slow_start.start_percent: 0 is not a share to begin with; use 1 to 100",
        ),
        ("ewma = { decay = '0s' }", "clusters.web.ewma.decay: is nothing at all; leave the key out for its default"),
    ] {
        let said = said(own);
        let (number, rest) = said.split_once(": ").unwrap();
        assert!(number.parse().is_ok_and(|number: usize| number > 10), "{said} has the line of the key");
        assert_eq!(rest, line, "{own}");
    }
}

#[test]
fn numbers_that_are_none_or_out_of_reach_are_refused() {
    for value in ["nan", "-nan", "inf", "-1.25", "0.999", "101.0"] {
        assert!(said(&format!("hash = {{ load_factor = {value} }}")).contains("load_factor: "), "{value}");
        assert!(
            said(&format!("locality = {{ overprovisioning = {value} }}")).contains("overprovisioning: "),
            "{value}"
        );
    }
    for (own, key) in [
        ("panic_percent = -1", "clusters.web.panic_percent"),
        ("panic_percent = 1.5", "clusters.web.panic_percent"),
        ("subset_size = -1", "clusters.web.subset_size"),
        ("slow_start = { start_percent = 101 }", "clusters.web.slow_start.start_percent"),
        ("slow_start = { window = 30 }", "clusters.web.slow_start.window"),
        ("locality = { prefer_rtt = ['0s', '1ms'] }", "clusters.web.locality.prefer_rtt"),
        ("locality = { prefer_rtt = ['1ms', '1ms'] }", "clusters.web.locality.prefer_rtt"),
        ("locality = { prefer_rtt = [1] }", "clusters.web.locality.prefer_rtt"),
        (
            "locality = { prefer_rtt = ['1ms', '2ms', '3ms', '4ms', '5ms', '6ms', '7ms', '8ms'] }",
            "clusters.web.locality.prefer_rtt",
        ),
    ] {
        assert!(said(own).contains(key), "{own}: {}", said(own));
    }
}

#[test]
fn every_bound_itself_is_fine() {
    for own in [
        "hash = { load_factor = 0 }",
        "hash = { load_factor = 1.0 }",
        "hash = { load_factor = 100 }",
        "panic_percent = 0",
        "panic_percent = 100",
        "slow_start = { start_percent = 1 }",
        "slow_start = { start_percent = 100 }",
        "locality = { prefer = [], prefer_rtt = ['1ms'] }",
        "policy = 'consistent_hash'\nsubset_size = 0",
    ] {
        assert!(parse_file(&format!("{MINIMAL}{own}")).is_ok(), "{own}: {}", said(own));
    }
}

#[test]
fn a_place_that_is_named_by_nothing_is_refused() {
    for key in ["node", "zone", "datacenter", "zone_key"] {
        let said = message(&format!("{MINIMAL}[place]\n{key} = ' '"));
        assert!(said.ends_with(&format!("place.{key}: is empty; leave the key out")), "{said}");
    }
    let endpoints = "endpoints = [\"127.0.0.1:1\", { address = \"127.0.0.1:2\", zone = \"\" }]";
    let said = message(&MINIMAL.replace("consul = { service = \"web\" }", endpoints));
    assert!(said.ends_with("clusters.web.endpoints[1].zone: is empty; leave the key out"), "{said}");
}

#[test]
fn hash_keys_are_read_in_their_order() {
    let keys = "keys = ['header:X-User', 'cookie:user', 'query:user', 'path', 'client_address', 'identity']";
    let hash = balancing(&format!("hash = {{ {keys} }}"), "").hash;
    let expected = [
        HashKey::Header(::http::HeaderName::from_static("x-user")),
        HashKey::Cookie("user".into()),
        HashKey::Query("user".into()),
        HashKey::Path,
        HashKey::ClientAddress,
        HashKey::Identity,
    ];
    assert_eq!(hash.keys, expected);
    for wrong in ["header:", "header:a b", "cookie:", "cookie:a=b", "query:", "path:", "client_address:x", "Path", ""] {
        assert!(said(&format!("hash = {{ keys = ['{wrong}'] }}")).contains("is not a key"), "{wrong}");
    }
}

#[test]
fn a_cookie_that_no_browser_would_keep_is_refused() {
    for (own, line) in [
        ("cookie = 'my cookie'", "cookie: \"my cookie\" is not a cookie's name; use letters, digits, '-', '_' and '.'"),
        ("cookie = ''", "cookie: \"\" is not a cookie's name; use letters, digits, '-', '_' and '.'"),
        ("cookie = 'a;b'", "cookie: \"a;b\" is not a cookie's name; use letters, digits, '-', '_' and '.'"),
        ("same_site = 'Laxx'", "same_site: \"Laxx\" is not known; use \"lax\", \"strict\" or \"none\""),
        ("same_site = 'none'", "same_site: \"none\" is refused by browsers without secure = true"),
        ("domain = 'a;b'", "domain: \"a;b\" is not a domain; use \"example.com\""),
        ("domain = '..example.com'", "domain: \"..example.com\" is not a domain; use \"example.com\""),
        ("path = '/a; Secure'", "path: \"/a; Secure\" is not a path; use \"/\" or \"/shop\""),
        ("path = '/;'", "path: \"/;\" is not a path; use \"/\" or \"/shop\""),
        ("path = 'shop'", "path: \"shop\" is not a path; use \"/\" or \"/shop\""),
        ("max_age = '0s'", "max_age: is less than a second; leave it out for a cookie of the session"),
        ("max_age = '900ms'", "max_age: is less than a second; leave it out for a cookie of the session"),
    ] {
        assert_eq!(said(&format!("sticky = {{ {own} }}")), format!("11: clusters.web.sticky.{line}"), "{own}");
        // A table that is off is read all the same: the mistake would wait for the day on which it is turned on.
        let off = said(&format!("sticky = {{ {own}, enabled = false }}"));
        assert_eq!(off, format!("11: clusters.web.sticky.{line}"), "{own}");
    }
    let line = "\\nSet-Cookie: evil=1";
    for key in ["cookie", "domain", "path", "same_site"] {
        assert!(said(&format!("sticky = {{ {key} = \"/{line}\" }}")).contains(&format!("sticky.{key}: ")), "{key}");
    }
}

#[test]
fn attributes_of_the_cookie_are_the_ones_that_are_written() {
    assert_eq!(sticky("sticky = {}", "").attributes, "; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(sticky("sticky = {}", "").cookie, "lictor-web");
    let own = "sticky = { path = '/shop', domain = '.example.com', max_age = '1h 1s 900ms', secure = true, \
               http_only = false, same_site = 'none', cookie = 'sid' }";
    let sticky = sticky(own, "");
    assert_eq!(sticky.cookie, "sid");
    assert_eq!(sticky.attributes, "; Path=/shop; Domain=.example.com; Max-Age=3601; Secure; SameSite=None");
}

#[test]
fn a_secret_has_a_length_and_may_be_in_a_file() {
    let short = said("sticky = { secret = '0123456789abcde' }");
    assert_eq!(
        short,
        "11: clusters.web.sticky.secret: has 15 characters; a secret has at least 16, better 32 at random"
    );
    let gone = said("sticky = { secret_file = '/nowhere/secret' }");
    assert!(gone.starts_with("11: clusters.web.sticky.secret_file: /nowhere/secret cannot be read: "), "{gone}");

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{SECRET}").unwrap();
    let path = file.path().display();
    let read = sticky(&format!("sticky = {{ secret_file = '{path}', secret = '0123456789abcdef' }}"), "").secret;
    assert_eq!(read.unwrap().reveal(), SECRET, "without the end of its line, and the file wins");
    file.as_file().set_len(3).unwrap();
    let short = said(&format!("sticky = {{ secret_file = '{path}' }}"));
    assert!(short.starts_with("11: clusters.web.sticky.secret_file: has 3 characters"), "{short}");
}

#[test]
fn a_secret_is_never_shown() {
    let config = parse_file(&format!("{MINIMAL}sticky = {{ secret = '{SECRET}' }}")).unwrap();
    assert_eq!(config.clusters[0].balancing.sticky.as_ref().unwrap().secret.as_ref().unwrap().reveal(), SECRET);
    assert!(!format!("{config:?}").contains(SECRET));

    for wrong in [
        format!("sticky = {{ secret = '{SECRET}', same_site = 'never' }}"),
        format!("sticky = {{ secret = '{SECRET}', secert = 1 }}"),
        format!("sticky = {{ secret = '{SECRET}' "),
        format!("sticky = {{ secret = '{SECRET} }}"),
        format!("sticky = {{ secret = ['{SECRET}'] }}"),
        format!("sticky = {{ secret = {{ value = '{SECRET}' }} }}"),
        format!("sticky = '{SECRET}'"),
        format!("sticky = ['{SECRET}']"),
    ] {
        let (own, defaults) = (said(&wrong), message(&format!("{MINIMAL}[defaults]\n{wrong}")));
        assert!(!own.contains(SECRET), "{own}");
        assert!(!defaults.contains(SECRET), "{defaults}");
    }
    // A number for a secret is a slip that is easily made, and is a secret all the same.
    let number = said("sticky = { secret = 4815162342481516 }");
    assert_eq!(number, "11: clusters.web.sticky.secret: a secret is a string");
    assert!(!message(&format!("{MINIMAL}[defaults.sticky]\nsecret = 4815162342481516")).contains("4815"));
}

#[test]
fn the_defaults_tables_are_inherited_key_by_key() {
    let defaults = "ewma = { decay = '1s', penalty = '2s' }\nhash = { keys = ['path'], load_factor = 2 }\n\
                    slow_start = { window = '30s', start_percent = 20 }\npanic_percent = 40\nsubset_size = 30\n\
                    locality = { prefer = ['zone'], overprovisioning = 1.4 }";
    let own = "ewma = { decay = '3s' }\nhash = { load_factor = 0 }\nslow_start = { start_percent = 50 }\n\
               locality = { overprovisioning = 1.5 }\nsubset_size = 0";
    let seconds = Duration::from_secs;
    let both = balancing(own, defaults);
    assert_eq!(both.ewma, Ewma { decay: seconds(3), penalty: seconds(2) });
    assert_eq!(both.hash, Hash { keys: vec![HashKey::Path], load_factor: 0.0 });
    assert_eq!(both.slow_start, SlowStart { window: seconds(30), start_percent: 50 });
    assert_eq!(both.locality, Locality { prefer: Prefer::Levels(vec![Level::Zone]), overprovisioning: 1.5 });
    assert_eq!((both.panic_percent, both.subset_size), (40, 0));

    let other =
        balancing("ewma = { penalty = '3s' }\nhash = { keys = ['query:q'] }\nslow_start = { window = '1s' }", defaults);
    assert_eq!(other.ewma, Ewma { decay: seconds(1), penalty: seconds(3) });
    assert_eq!(other.hash, Hash { keys: vec![HashKey::Query("q".into())], load_factor: 2.0 });
    assert_eq!(other.slow_start, SlowStart { window: seconds(1), start_percent: 20 });
    assert_eq!((other.locality.overprovisioning, other.subset_size), (1.4, 30));
}

#[test]
fn one_way_to_say_who_is_near_takes_the_place_of_the_other() {
    let (levels, bounds) = ("locality = { prefer = ['zone'] }", "locality = { prefer_rtt = ['1ms', '10ms'] }");
    let round_trips = Prefer::RoundTrip([1, 10].map(Duration::from_millis).to_vec());
    assert_eq!(balancing(bounds, levels).locality.prefer, round_trips);
    assert_eq!(balancing(levels, bounds).locality.prefer, Prefer::Levels(vec![Level::Zone]));
    assert!(balancing("locality = { prefer = [] }", bounds).locality.is_off());
    assert_eq!(balancing("locality = { overprovisioning = 2 }", bounds).locality.prefer, round_trips);
}

#[test]
fn clients_are_bound_where_there_is_a_table_and_it_is_not_turned_off() {
    let bound = |own: &str, defaults: &str| balancing(own, defaults).sticky.is_some();
    assert!(!bound("", ""));
    assert!(bound("sticky = {}", ""));
    assert!(bound("", "sticky = {}"));
    assert!(bound("sticky = {}", "sticky = { enabled = false }"));
    assert!(bound("sticky = { path = '/a' }", "sticky = { enabled = false }"));
    assert!(!bound("sticky = { enabled = false }", "sticky = {}"));
    assert!(!bound("", "sticky = { enabled = false }"));
}

#[test]
fn keys_of_the_cookie_are_inherited_and_its_name_is_the_clusters_own() {
    let defaults = format!(
        "sticky = {{ secret = '{SECRET}', path = '/a', domain = 'example.com', max_age = '1h', secure = true, \
         http_only = false, same_site = 'strict' }}"
    );
    let own = sticky("sticky = { path = '/b', http_only = true }", &defaults);
    assert_eq!(own.cookie, "lictor-web");
    assert_eq!(own.attributes, "; Path=/b; Domain=example.com; Max-Age=3600; Secure; HttpOnly; SameSite=Strict");
    assert_eq!(own.secret.unwrap().reveal(), SECRET);
    assert_eq!(sticky("", &defaults).cookie, "lictor-web", "not the defaults' name");
    assert_eq!(sticky("", "sticky = { cookie = 'all' }").cookie, "all");

    let other = sticky("sticky = { secret = 'another-secret-of-ours' }", &defaults).secret;
    assert_eq!(other.unwrap().reveal(), "another-secret-of-ours");
    let file = "sticky = { secret_file = '/nowhere/secret' }";
    let instead = sticky("sticky = { secret = 'another-secret-of-ours' }", "").secret;
    assert_eq!(instead.unwrap().reveal(), "another-secret-of-ours");
    let text = format!("{MINIMAL}{file}\n[defaults]\n{defaults}");
    assert!(
        message(&text).contains("clusters.web.sticky.secret_file: /nowhere/secret cannot be read"),
        "{}",
        message(&text)
    );
}

#[test]
fn what_is_wrong_in_the_defaults_is_said_once() {
    let text = format!(
        "{MINIMAL}panic_percent = 10\n[clusters.api]\nconsul = {{ service = 'api' }}\n[defaults]\npanic_percent = 200\nsticky = {{ max_age = '0s' }}"
    );
    let said = message(&text);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.lines().all(|line| line.contains(": defaults.")), "{said}");
}
