//! `listeners.tls`, as it is written and as it is meant.

use super::*;

/// The listener of a file with these lines in `listeners.tls`, or what is wrong with them, less the place.
fn listener(lines: &str) -> Result<Listener, String> {
    let tls = format!("bind = \"127.0.0.1:0\"\n[listeners.tls]\n{lines}\n");
    let text = MINIMAL.replace("bind = \"127.0.0.1:0\"\n", &tls);
    let parsed = parse_file(&text).map(|config| config.listeners[0].clone());
    parsed.map_err(|error| error.to_string().split_once("listeners[0].tls").unwrap().1.to_owned())
}

const PAIR: &str = "certificates = [{ cert = 'a.pem', key = 'a.key' }]";

#[test]
fn a_listener_has_tls_with_every_default_where_it_names_a_certificate() {
    let meant = listener(PAIR).unwrap();
    let tls = meant.tls.unwrap();
    assert_eq!((tls.certificates.len(), tls.tls12, tls.strict_sni), (1, true, false));
    assert_eq!((tls.kv, tls.clients, meant.handshake), (None, None, Duration::from_secs(10)));
    assert!(listener("enabled = false\nclient_auth = 'x'").unwrap().tls.is_none(), "nothing is looked at then");
    assert_eq!(listener("kv = 'lictor/certificates'").unwrap().tls.unwrap().kv.unwrap(), "lictor/certificates/");
}

#[test]
fn what_is_wrong_with_a_listeners_tls_is_said_with_what_would_be_right() {
    for (lines, said) in [
        ("", ": has no certificate; add "),
        ("kv = '/a'", ".kv: \"/a\" is not a prefix; "),
        ("min_version = '1.1'", ".min_version: no version \"1.1\"; use \"1.2\" or \"1.3\""),
        ("client_auth = 'always'", ".client_auth: \"always\" is not known; use "),
        ("client_auth = 'required'", ".client_auth: needs client_ca, "),
        ("client_ca = 'ca.pem'", ".client_ca: is not used while nobody is asked; "),
    ] {
        let certificates = if lines.is_empty() || lines.starts_with("kv") { "" } else { PAIR };
        let wrong = listener(&format!("{certificates}\n{lines}")).unwrap_err();
        assert!(wrong.starts_with(said), "{lines}: {wrong}");
    }
    let wrong = listener("certificates = [{ cert = 'a.pem', key = 'a.key', names = ['*.*.example'] }]").unwrap_err();
    assert!(wrong.starts_with(".certificates[0].names: \"*.*.example\" is not a name"), "{wrong}");
}

#[test]
fn a_listener_can_go_on_with_other_certificates_and_with_nothing_else() {
    let of = |lines: &str| listener(&format!("{PAIR}\n{lines}")).unwrap();
    let now = of("");
    assert!(now.can_become(&of("strict_sni = true")) && now.can_become(&of("min_version = '1.3'")));
    assert!(!now.can_become(&of("kv = 'a'")), "which is followed from the start on");
    assert!(!now.can_become(&listener("enabled = false").unwrap()));
    assert!(!now.can_become(&Listener { idle: Duration::from_secs(1), ..now.clone() }));
}
