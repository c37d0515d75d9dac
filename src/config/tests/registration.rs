//! `[registration]`, as it is written and as it is meant.

use super::*;

/// What is meant by these lines behind `[registration]`, or what is wrong with them.
fn registration(lines: &str) -> Result<Registration, String> {
    let parsed = parse_file(&format!("{MINIMAL}\n[admin]\nbind = \"127.0.0.1:0\"\n[registration]\n{lines}\n"));
    parsed.map(|config| config.registration.unwrap()).map_err(|error| error.to_string())
}

fn neighbour(lines: &str) -> Result<Service, String> {
    let registration = registration(&format!("[[registration.services]]\nname = \"billing\"\n{lines}"))?;
    Ok(registration.services.into_iter().next().unwrap())
}

#[test]
fn a_name_is_all_it_takes() {
    let registration = registration("name = \"edge\"").unwrap();
    let own = registration.own.unwrap();
    assert_eq!((own.listener.as_deref(), &*own.service.name), (Some("edge"), "edge"));
    assert_eq!((own.service.id, own.service.address, own.service.port), (None, None, None));
    assert_eq!(own.service.deregister_critical_after, Some(Duration::from_secs(600)));
    let kinds: Vec<CheckKind> = own.service.checks.into_iter().map(|check| check.kind).collect();
    assert_eq!(kinds, [CheckKind::Ttl(Duration::from_secs(15))]);
    assert_eq!(parse_file(MINIMAL).unwrap().registration, None, "and without one nobody is entered");
}

#[test]
fn a_neighbour_with_a_port_is_connected_to_unless_something_else_is_said() {
    let kinds = |lines: &str| neighbour(lines).unwrap().checks.into_iter().map(|check| check.kind).collect::<Vec<_>>();
    assert_eq!(kinds("port = 9000"), [CheckKind::Tcp(None)]);
    assert_eq!(kinds(""), [], "there is nothing to connect to");
    assert_eq!(kinds("port = 9000\nchecks = []"), []);
    let each = "checks = [{ url = \"/health\" }, { command = [\"/bin/true\"] }, { ttl = \"1m\" }, { kind = \"grpc\" }]";
    let grpc = CheckKind::Grpc { address: None, service: String::new(), tls: false };
    assert_eq!(
        kinds(&format!("port = 9000\n{each}")),
        [
            CheckKind::Http(Some("/health".into())),
            CheckKind::Command(vec!["/bin/true".into()]),
            CheckKind::Ttl(Duration::from_secs(60)),
            grpc
        ],
        "what is given says of which kind it is"
    );
}

#[test]
fn lictor_may_be_left_out_of_it() {
    let registration = registration("[[registration.services]]\nname = \"billing\"").unwrap();
    assert!(registration.own.is_none() && registration.services.len() == 1);
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    for (lines, said) in [
        ("", "registration: enters nobody; "),
        ("tags = [\"a\"]\n[[registration.services]]\nname = \"b\"", "registration.tags: is about lictor itself, "),
        ("name = \"..\"", "registration.name: a service's name has "),
        (
            "name = \"edge\"\nlistener = \"egde\"",
            "registration.listener: no listener \"egde\" that others could come in by; did you mean \"edge\"?",
        ),
        ("name = \"edge\"\nid = \"a//b\"", "registration.id: is sent in a path, which Consul clears of empty segments"),
        ("name = \"edge\"\naddress = \"0.0.0.0\"", "registration.address: \"0.0.0.0\" is not an address"),
        ("name = \"edge\"\nport = 0", "registration.port: 0 is not a port"),
        ("name = \"edge\"\ntags = [\"\"]", "registration.tags[0]: a tag's name has "),
        ("name = \"edge\"\nweights = { passing = 0 }", "registration.weights.passing: 0 is not a weight; use 1 to"),
        ("name = \"edge\"\nmeta = { \"consul-x\" = \"y\" }", "registration.meta.consul-x: a key of metadata has"),
        ("name = \"edge\"\nderegister_critical_after = \"5s\"", "registration.deregister_critical_after: is shorter"),
        ("name = \"edge\"\nchecks = []", "registration.checks: is empty; lictor would pass though it is dead"),
        ("name = \"edge\"\nchecks = [{ kind = \"htpp\" }]", "checks[0].kind: no kind of check \"htpp\"; did you mean"),
        ("name = \"edge\"\nchecks = [{ kind = \"ttl\", ttl = \"10ms\" }]", "checks[0].ttl: is shorter than 1s"),
        ("name = \"edge\"\nchecks = [{ kind = \"ttl\", fall = 3 }]", "checks[0].fall: is for kind = \"http\" or "),
        ("name = \"edge\"\nchecks = [{ kind = \"http\", url = \"x\" }]", "checks[0].url: \"x\" is neither a path"),
        (
            "name = \"edge\"\nchecks = [{ kind = \"tcp\", address = \"x\" }]",
            "checks[0].address: \"x\" is not an address",
        ),
    ] {
        let wrong = registration(lines).unwrap_err();
        assert!(wrong.contains(said), "{lines}: {wrong}");
    }
    for (lines, said) in [
        ("checks = [{ kind = \"http\" }]", "services[0].checks[0].url: is missing; "),
        ("checks = [{ url = \"/health\" }]", "services[0].checks[0].url: is a path, and the service has no port"),
        ("checks = [{ kind = \"tcp\" }]", "services[0].checks[0].address: is missing, and the service has no port"),
        ("checks = [{ kind = \"command\" }]", "services[0].checks[0].command: is missing; use [\"/usr"),
        ("checks = [{ command = [\"check\"] }]", "services[0].checks[0].command: \"check\" is not a whole path"),
        ("[[registration.services]]\nname = \"billing\"", "registration.services[1].id: another instance has the same"),
        ("colour = 1", "registration.services[0].colour: unknown key; known here: "),
    ] {
        let wrong = neighbour(lines).unwrap_err();
        assert!(wrong.contains(said), "{lines}: {wrong}");
    }
}

#[test]
fn where_the_agent_asks_the_window_there_has_to_be_one() {
    let lines = "[registration]\nname = \"edge\"\nchecks = [{ kind = \"http\" }]";
    assert!(message(&format!("{MINIMAL}\n{lines}")).contains("registration.checks: the agent asks /readyz"));
    assert!(registration("name = \"edge\"\nchecks = [{ kind = \"http\" }]").is_ok());
}

#[test]
fn one_listener_of_several_has_to_be_named() {
    let two = format!("{MINIMAL}\n[[listeners]]\nname = \"inner\"\nbind = \"127.0.0.1:0\"\n[registration]\n");
    let wrong = message(&format!("{two}name = \"edge\""));
    assert!(wrong.contains("registration: say which listener is entered; there are edge, inner"), "{wrong}");
    assert!(parse_file(&format!("{two}name = \"edge\"\nlistener = \"inner\"")).is_ok());
    assert!(parse_file(&format!("{two}name = \"edge\"\nport = 80")).is_ok());
    let inner = "name = \"inner\"\n";
    let one = two.replace(inner, &format!("{inner}egress = true\n"));
    let meant = parse_file(&format!("{one}name = \"edge\"")).unwrap().registration.unwrap();
    assert_eq!(meant.own.unwrap().listener.as_deref(), Some("edge"), "the other is for applications beside us");
}
