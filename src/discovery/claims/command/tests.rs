//! Commands as Fabio's documentation writes them, and what is none.

use super::*;
use crate::config::Host;

fn read_text(text: &str) -> Result<Vec<Ordered>, Malformed> {
    read(&BTreeMap::from([("fabio/config".to_owned(), text.to_owned())]))
}

fn one(line: &str) -> Command {
    let mut all = read_text(line).unwrap_or_else(|why| panic!("{line}: {why}"));
    assert_eq!(all.len(), 1);
    all.remove(0).command
}

fn web(host: &str, path: &str) -> Place {
    let host = if host.is_empty() { Host::Any } else { Host::parse(host).unwrap() };
    Place::Web { host, path: path.to_owned() }
}

#[test]
fn a_route_is_added_with_weight_tags_and_options_in_this_order() {
    let Command::Add { service, claim, address, tags } = one("route add product-svc /product http://1.2.3.4:8000")
    else {
        panic!()
    };
    assert_eq!(
        (service.as_str(), &claim.place, claim.weight, tags.len()),
        ("product-svc", &web("", "/product"), 0.0, 0)
    );
    assert_eq!(address, Some(("1.2.3.4".into(), 8000)));
    let line = "route  add svc www.Example.com/a\thttps://[::1]/ weight 0.25 tags \"a, b\" opts \"strip=/a tlsskipverify=true\"";
    let Command::Add { claim, address, tags, .. } = one(line) else { panic!() };
    assert_eq!((claim.place, claim.weight, address), (web("www.example.com", "/a"), 0.25, Some(("::1".into(), 443))));
    assert_eq!(tags, [Arc::from("a"), Arc::from("b")]);
    assert_eq!(
        (claim.terms.rewrite.strip.as_str(), claim.terms.speech.tls, claim.terms.speech.skip_verify),
        ("/a", Some(true), true)
    );
    let Command::Add { claim, address, .. } =
        one("route add svc example.com:80/ https://example.com/ opts \"redirect=301\"")
    else {
        panic!()
    };
    assert_eq!((claim.place, address), (web("example.com:80", "/"), None));
    assert_eq!(claim.terms.elsewhere.unwrap().redirect().host.as_deref(), Some("example.com"));
    let Command::Add { claim, address, .. } = one("route add db :5432 tcp://10.0.0.1:5433") else { panic!() };
    assert_eq!((claim.place, address), (Place::Port(5432), Some(("10.0.0.1".into(), 5433))));
    let Command::Add { claim, .. } = one("route add db db.example.com/ tcp://10.0.0.1:5433") else { panic!() };
    assert_eq!(claim.place, Place::Name(Host::Exact("db.example.com".into())));
}

#[test]
fn routes_are_deleted_by_service_place_target_and_tags() {
    let del = |line: &str| match one(line) {
        Command::Del { who, place, address } => (who.service, who.tags.len(), place.map(|(web, _)| web), address),
        other => panic!("{other:?}"),
    };
    let product = || Some("product-svc".to_owned());
    let (place, address) = (Some(web("", "/path")), Some(("1.2.3.4".to_owned(), 8000)));
    assert_eq!(del("route del product-svc"), (product(), 0, None, None));
    assert_eq!(del("route del product-svc /path"), (product(), 0, place.clone(), None));
    assert_eq!(del("route del product-svc /path http://1.2.3.4:8000"), (product(), 0, place, address));
    assert_eq!(del("route del product-svc tags \"green\""), (product(), 1, None, None));
    assert_eq!(del("route del tags \"yesterday,green\""), (None, 2, None, None));
}

#[test]
fn weights_are_for_a_service_a_place_and_tags() {
    let weigh = |line: &str| match one(line) {
        Command::Weigh { who, place: (web, _), weight } => (who.service, who.tags.len(), web, weight),
        other => panic!("{other:?}"),
    };
    let product = |name: &str| Some(name.to_owned());
    let path = || web("", "/path");
    let green = "route weight product-svc /path weight .05 tags \"green\"";
    assert_eq!(weigh(green), (product("product-svc"), 1, path(), 0.05));
    assert_eq!(weigh("route weight /path weight .05 tags \"lang=go\""), (None, 1, path(), 0.05));
    assert_eq!(weigh("route weight product-svc-go /path weight .05"), (product("product-svc-go"), 0, path(), 0.05));
    let vault = "route weight vault vault.company.com weight 1.00 tags \"active\"";
    assert_eq!(weigh(vault), (product("vault"), 1, web("vault.company.com", "/"), 1.0));
    assert_eq!(weigh("route weight svc /path weight -1").3, 0.0);
}

#[test]
fn keys_are_read_in_their_order_and_comments_are_not() {
    let all = BTreeMap::from([
        ("fabio/config/b".to_owned(), "# not me\n\n// nor me\n  route del two  \n".to_owned()),
        ("fabio/config/a".to_owned(), "route del one".to_owned()),
    ]);
    let all = read(&all).unwrap();
    let origins: Vec<&str> = all.iter().map(|ordered| &*ordered.origin).collect();
    assert_eq!(origins, ["fabio/config/a, line 1", "fabio/config/b, line 4"]);
}

#[test]
fn one_wrong_line_is_said_and_nothing_of_the_text_counts() {
    for line in [
        "route",
        "rout add a /b http://c:1",
        "route add a /b",
        "route add a /b c",
        "route add a /b http://1.2.3.4:99999/ weight",
        "route add a /b http://1.2.3.4:1/ weight x",
        "route add a /b http://1.2.3.4:1/ opts \"strip=x\"",
        "route add a /b http://1.2.3.4:1/ opts \"auth=x\"",
        "route add a /b ws://1.2.3.4:1/",
        "route add a /b http://1.2.3.4:1/ opts \"strip=/x",
        "route add a :80 http://1.2.3.4:1/",
        "route del",
        "route del tags \"\"",
        "route del a /b nowhere",
        "route weight a /b",
        "route weight /b weight 0.5",
        "route weight a /b weight 0.5 tags",
        "route weight a /b weight nan",
    ] {
        let why = read_text(&format!("route del x\n{line}\n")).unwrap_err().to_string();
        assert!(why.starts_with("fabio/config, line 2: "), "{line}: {why}");
    }
}
