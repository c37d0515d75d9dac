//! What is asked for, and of whom: the four forms of a target (RFC 9112 section 3.2), its characters, and the Host. A path that two
//! readers take for two different ones would cross the boundary of a route.

use super::bed;
use super::row::{BAD, PASSED, Row, Seen, Verdict, field, head, line, raw, seen, target};

const LONG: Verdict = Verdict::Refused(&[400, 414, 431]);
const HOST_B: Seen = seen("GET /x HTTP/1.1").has(&["host: b", "x-forwarded-host: b"]);

const fn to(line: &'static str) -> Verdict {
    Verdict::Passed(seen(line))
}

const fn to_or_bad(line: &'static str) -> Verdict {
    Verdict::Either(&[400], seen(line))
}

const fn of_host(host: &'static [&'static str]) -> Verdict {
    Verdict::Passed(seen("GET / HTTP/1.1").has(host))
}

const fn of_host_or_bad(host: &'static [&'static str]) -> Verdict {
    Verdict::Either(&[400], seen("GET / HTTP/1.1").has(host))
}

#[rustfmt::skip] // one row, one line
const TARGETS: &[Row] = &[
    target("plain", "9112 3.2.1", b"/a/b?c=d", to("GET /a/b?c=d HTTP/1.1")),
    target("all that a path may have", "3986 3.3", b"/a-._~!$&'()*+,;=:@%41/?/?:@", to("GET /a-._~!$&'()*+,;=:@%41/?/?:@ HTTP/1.1")),
    target("empty query", "3986 3.4", b"/?", to("GET /? HTTP/1.1")),
    target("three dots", "3986 3.3", b"/.../.a/a./..b", to("GET /.../.a/a./..b HTTP/1.1")),
    target("dots and slashes in the query", "3986 3.4", b"/?a=/../b//c%2f%5c\\", to_or_bad("GET /?a=/../b//c%2f%5c\\ HTTP/1.1")),
    target("escapes in the query", "3986 2.1", b"/?a=%00%zz", to_or_bad("GET /?a=%00%zz HTTP/1.1")),
    target("UTF-8 escaped", "3986 2.1", b"/%C3%A9", to("GET /%C3%A9 HTTP/1.1")),
    target("absolute", "9112 3.2.2", b"http://a/x?y", to("GET /x?y HTTP/1.1")),
    target("absolute without a path", "9112 3.2.1", b"http://a", PASSED),
    target("absolute with only a query", "9112 3.2.1", b"http://a?y", to("GET /?y HTTP/1.1")),
    target("absolute, of another host", "9112 3.2.2", b"http://b/x", Verdict::Either(&[400, 421], HOST_B)),
    target("absolute, of another port", "9112 3.2.2", b"http://a:81/x", Verdict::Either(&[400, 421], seen("GET /x HTTP/1.1").has(&["host: a:81"]))),
    target("absolute in upper case", "9110 4.2.3", b"HTTP://A/x", to_or_bad("GET /x HTTP/1.1")),
    target("absolute, https", "9112 3.3", b"https://a/x", Verdict::Either(&[400, 403, 421], seen("GET /x HTTP/1.1").has(&["x-forwarded-proto: http"]))),
    target("absolute, ftp", "9112 3.2.2", b"ftp://a/x", Verdict::Refused(&[400, 421, 501])),
    target("absolute, file", "9112 3.2.2", b"file:///etc/passwd", BAD),
    target("absolute, javascript", "9112 3.2.2", b"javascript:alert(1)", BAD),
    target("absolute with a user", "9110 4.2.4", b"http://u:p@a/x", BAD),
    target("absolute with an empty user", "9110 4.2.4", b"http://@a/x", BAD),
    target("absolute without a host", "9110 4.2.1", b"http:///x", BAD),
    target("absolute with only a port", "9110 4.2.1", b"http://:80/x", BAD),
    target("absolute with one slash", "9112 3.2.2", b"http:/a/x", BAD),
    target("absolute without slashes", "9112 3.2.2", b"http:a/x", BAD),
    target("absolute with a bad port", "3986 3.2.3", b"http://a:x/x", BAD),
    target("absolute with a port beyond", "3986 3.2.3", b"http://a:65536/x", BAD),
    target("absolute with a negative port", "3986 3.2.3", b"http://a:-1/x", BAD),
    target("absolute with two ports", "3986 3.2", b"http://a:1:2/x", BAD),
    target("absolute with a backslash", "3986 3.2", b"http://a\\@b/x", BAD),
    target("absolute with a fragment", "9112 3.2", b"http://a/x#y", BAD),
    target("absolute with a comma in the host", "3986 3.2.2", b"http://a,b/x", BAD),
    target("authority for GET", "9112 3.2.3", b"a:80", BAD),
    target("a host for GET", "9112 3.2.3", b"a", BAD),
    target("asterisk for GET", "9112 3.2.4", b"*", BAD),
    target("asterisk and more", "9112 3.2.4", b"*/x", BAD),
    target("no slash first", "9112 3.2.1", b"x/y", BAD),
    target("a query first", "9112 3.2.1", b"?x", BAD),
    target("fragment", "9112 3.2", b"/x#y", BAD),
    target("empty fragment", "9112 3.2", b"/x#", BAD),
    target("fragment in the query", "9112 3.2", b"/x?y#z", BAD),
    target("space", "9112 3.2", b"/x y", BAD),
    target("tab", "9112 3.2", b"/x\ty", BAD),
    target("NUL", "9112 3.2", b"/x\0y", BAD),
    target("SOH", "9112 3.2", b"/x\x01y", BAD),
    target("DEL", "9112 3.2", b"/x\x7fy", BAD),
    target("bare CR", "9112 2.2", b"/x\ry", BAD),
    target("bare LF", "9112 2.2", b"/x\ny", BAD),
    target("bytes beyond ASCII", "3986 2", b"/caf\xe9", BAD),
    target("UTF-8", "3986 2", b"/caf\xc3\xa9", BAD),
    target("overlong UTF-8 slash", "3986 2", b"/\xc0\xafx", BAD),
    target("quotation mark", "3986 2", b"/\"x\"", to_or_bad("GET /\"x\" HTTP/1.1")),
    target("angle brackets", "3986 2", b"/<x>", to_or_bad("GET /<x> HTTP/1.1")),
    target("backslash", "3986 2", b"/x\\y", BAD),
    target("backslash first", "3986 2", b"\\x", BAD),
    target("backslash and dots", "3986 2", b"/x\\..\\y", BAD),
    target("two slashes first", "3986 3.3", b"//b/x", to_or_bad("GET //b/x HTTP/1.1")),
    target("two slashes within", "3986 3.3", b"/x//y", to_or_bad("GET /x//y HTTP/1.1")),
    target("two slashes last", "3986 3.3", b"/x//", to_or_bad("GET /x// HTTP/1.1")),
    target("one dot", "3986 5.2.4", b"/x/./y", BAD),
    target("two dots", "3986 5.2.4", b"/x/../y", BAD),
    target("two dots last", "3986 5.2.4", b"/x/..", BAD),
    target("two dots first", "3986 5.2.4", b"/../etc/passwd", BAD),
    target("two dots before a query", "3986 5.2.4", b"/x/..?y", BAD),
    target("two dots before a parameter", "3986 3.3", b"/x/..;/y", BAD),
    target("escaped dots", "3986 2.3", b"/x/%2e%2e/y", BAD),
    target("escaped dots in upper case", "3986 2.3", b"/x/%2E%2E/y", BAD),
    target("one escaped dot of two", "3986 2.3", b"/x/.%2e/y", BAD),
    target("one escaped dot", "3986 2.3", b"/x/%2e/y", BAD),
    target("escaped slash", "3986 2.2", b"/x%2fy", to_or_bad("GET /x%2fy HTTP/1.1")),
    target("escaped slash in upper case", "3986 2.2", b"/x%2Fy", to_or_bad("GET /x%2Fy HTTP/1.1")),
    target("escaped backslash", "3986 2.2", b"/x%5cy", BAD),
    target("escaped NUL", "3986 2.1", b"/x%00y", BAD),
    target("escaped CRLF", "3986 2.1", b"/x%0d%0ay", BAD),
    target("escaped DEL", "3986 2.1", b"/x%7fy", BAD),
    target("escape that is none", "3986 2.1", b"/x%zzy", BAD),
    target("escape cut short", "3986 2.1", b"/x%2", BAD),
    target("escape of nothing", "3986 2.1", b"/x%", BAD),
    target("escape by u", "3986 2.1", b"/x%u002fy", BAD),
    target("very long", "9110 15.5.15", b"/{{x*20000}}", LONG),
    target("very long query", "9110 15.5.15", b"/?{{x*20000}}", LONG),
    target("longer than any buffer", "9110 15.5.15", b"/{{x*200000}}", LONG),
    target("8 KiB", "9110 4.1", b"/{{x*8000}}", to("")),
    line("OPTIONS of the server", "9112 3.2.4", b"OPTIONS * HTTP/1.1", Verdict::Passed(seen("OPTIONS * HTTP/1.1"))),
    line("OPTIONS, absolute without a path", "9112 3.2.4", b"OPTIONS http://a HTTP/1.1", Verdict::Passed(seen("OPTIONS * HTTP/1.1"))),
    line("asterisk for POST", "9112 3.2.4", b"POST * HTTP/1.1", BAD),
    line("CONNECT", "9110 9.3.6", b"CONNECT a:80 HTTP/1.1", Verdict::Declined(&[405, 501])),
    line("CONNECT and bytes of a tunnel", "9110 9.3.6", b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\nGET /evil HTTP/1.1", Verdict::Refused(&[400, 405, 501])),
    line("CONNECT with a path", "9112 3.2.3", b"CONNECT /x HTTP/1.1", Verdict::Refused(&[400, 405, 501])),
    line("CONNECT without a port", "9112 3.2.3", b"CONNECT a HTTP/1.1", Verdict::Refused(&[400, 405, 501])),
    line("CONNECT, absolute", "9112 3.2.3", b"CONNECT http://a:80/ HTTP/1.1", Verdict::Refused(&[400, 405, 501])),
    line("CONNECT with a length", "9110 9.3.6", b"CONNECT a:80 HTTP/1.1\r\ncontent-length: 3", Verdict::Refused(&[400, 405, 501])),
    line("TRACE", "9110 9.3.8", b"TRACE / HTTP/1.1", Verdict::Either(&[405, 501], seen("TRACE / HTTP/1.1"))),
];

#[rustfmt::skip]
const HOSTS: &[Row] = &[
    head("name and port", "9110 7.2", b"host: shop.example.com:8080", of_host(&["host: shop.example.com:8080", "x-forwarded-host: shop.example.com:8080"])),
    head("IPv6", "3986 3.2.2", b"host: [::1]:80", of_host(&["host: [::1]:80"])),
    head("underscore", "3986 3.2.2", b"host: a_b", of_host_or_bad(&["host: a_b"])),
    head("empty port", "3986 3.2.3", b"host: a:", Verdict::Either(&[400], seen("GET / HTTP/1.1"))),
    head("escape", "3986 3.2.2", b"host: a%20b", of_host_or_bad(&["host: a%20b"])),
    head("none", "9112 3.2", b"x: y", BAD),
    head("twice, differing", "9112 3.2", b"host: a\r\nhost: b", BAD),
    head("twice, the same", "9112 3.2", b"host: a\r\nhost: a", BAD),
    head("twice, apart and in other case", "9112 3.2", b"Host: a\r\nx: y\r\nHOST: b", BAD),
    head("twice, one empty", "9112 3.2", b"host:\r\nhost: a", BAD),
    head("empty", "9110 7.2", b"host:", BAD),
    head("with a path", "9110 7.2", b"host: a/x", BAD),
    head("with a query", "9110 7.2", b"host: a?x", BAD),
    head("with a fragment", "9110 7.2", b"host: a#x", BAD),
    head("with a user", "9110 7.2", b"host: u@a", BAD),
    head("with a user and a password", "9110 7.2", b"host: u:p@a", BAD),
    head("with a scheme", "9110 7.2", b"host: http://a", BAD),
    head("a list", "9110 7.2", b"host: a, b", BAD),
    head("a list without a space", "9110 7.2", b"host: a,b", BAD),
    head("with a space", "9110 7.2", b"host: a b", BAD),
    head("with a tab", "9110 7.2", b"host: a\tb", BAD),
    head("with a semicolon", "9110 7.2", b"host: a;b", of_host_or_bad(&["host: a;b"])),
    head("with a backslash", "3986 3.2.2", b"host: a\\b", BAD),
    head("with quotes", "3986 3.2.2", b"host: \"a\"", BAD),
    head("with angle brackets", "3986 3.2.2", b"host: <a>", BAD),
    head("with a percent sign", "3986 3.2.2", b"host: a%zz", BAD),
    head("with NUL", "9110 5.5", b"host: a\0b", BAD),
    head("with DEL", "9110 5.5", b"host: a\x7f", BAD),
    head("beyond ASCII", "3986 3.2.2", b"host: caf\xe9", BAD),
    head("port not a number", "3986 3.2.3", b"host: a:x", BAD),
    head("port too large", "3986 3.2.3", b"host: a:65536", BAD),
    head("port far too large", "3986 3.2.3", b"host: a:4294967376", BAD),
    head("port negative", "3986 3.2.3", b"host: a:-1", BAD),
    head("port with a sign", "3986 3.2.3", b"host: a:+80", BAD),
    head("two ports", "3986 3.2.3", b"host: a:80:80", BAD),
    head("only a port", "3986 3.2.2", b"host: :80", BAD),
    head("IPv6 without brackets", "3986 3.2.2", b"host: ::1", BAD),
    head("IPv6 without its end", "3986 3.2.2", b"host: [::1", BAD),
    head("IPv6 without its beginning", "3986 3.2.2", b"host: ::1]", BAD),
    head("IPv6 that is none", "3986 3.2.2", b"host: [x]", BAD),
    head("IPv6 and text", "3986 3.2.2", b"host: [::1]x", BAD),
    head("IPv6 empty", "3986 3.2.2", b"host: []", BAD),
    head("very long", "3986 3.2.2", b"host: {{a*5000}}", Verdict::Either(&[400, 431], seen("GET / HTTP/1.1"))),
    field("space before the colon of a second one", "9112 5.1", b"host : b", BAD),
    field("a second one behind a bare LF", "9112 2.2", b"x: y\nhost: b", BAD),
    raw("HTTP/1.0 with Host", "9112 3.2", b"GET / HTTP/1.0\r\nhost: a\r\n\r\n", of_host(&["host: a"])),
    raw("HTTP/1.0 without Host", "9112 3.2", b"GET / HTTP/1.0\r\n\r\n", BAD),
    raw("HTTP/1.0 with two", "9112 3.2", b"GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", BAD),
    raw("HTTP/1.0 with an empty one", "9112 3.2", b"GET / HTTP/1.0\r\nhost:\r\n\r\n", BAD),
    raw("none, and an absolute target", "9112 3.2", b"GET http://a/ HTTP/1.1\r\n\r\n", BAD),
    raw("two, and an absolute target", "9112 3.2", b"GET http://a/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", BAD),
    raw("bad, and an absolute target", "9112 3.2", b"GET http://a/ HTTP/1.1\r\nhost: a b\r\n\r\n", BAD),
];

/// Targets of a listener behind which "/admin/" is somebody else's: read in another way they would be, or would not.
#[rustfmt::skip]
const ACROSS: &[Row] = &[
    target("plain", "9112 3.2.1", b"/x", to("GET /x HTTP/1.1")),
    target("two slashes that lead nowhere", "3986 3.3", b"/x//y", to("GET /x//y HTTP/1.1")),
    target("an escaped slash that leads nowhere", "3986 2.2", b"/x%2fy", to("GET /x%2fy HTTP/1.1")),
    target("two slashes first", "3986 3.3", b"//admin/x", Verdict::Declined(&[400])),
    target("three slashes first", "3986 3.3", b"///admin/x", Verdict::Declined(&[400])),
    target("an escaped slash first", "3986 2.2", b"/%2fadmin/x", Verdict::Declined(&[400])),
    target("an escaped slash behind it", "3986 2.2", b"/admin%2fx", Verdict::Declined(&[400])),
    target("an escaped slash behind it in upper case", "3986 2.2", b"/admin%2Fx", Verdict::Declined(&[400])),
    target("both", "3986 2.2", b"//admin%2f/x", Verdict::Declined(&[400])),
    target("two dots", "3986 5.2.4", b"/x/../admin/x", BAD),
    target("two escaped dots", "3986 5.2.4", b"/x/%2e%2e/admin/x", BAD),
    target("two dots and escaped slashes", "3986 5.2.4", b"/x%2f..%2fadmin%2fx", BAD),
    target("two dots with a parameter", "3986 3.3", b"/x/..;a=b/admin/x", BAD),
    target("a backslash", "3986 2", b"/x\\..\\admin", BAD),
    target("absolute, with two slashes", "9112 3.2.2", b"http://a//admin/x", Verdict::Declined(&[400])),
];

#[tokio::test]
async fn a_target_never_crosses_a_route_by_disagreement() {
    let private = "[[routes]]\npath = \"/admin/\"\ncluster = \"private\"\n\
                   [clusters.private]\nendpoints = [\"127.0.0.1:1\"]\n";
    bed::hold_behind("across", ACROSS, private).await;
}

#[tokio::test]
async fn a_target_means_one_thing() {
    bed::hold("targets", TARGETS).await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    bed::hold("hosts", HOSTS).await;
}
