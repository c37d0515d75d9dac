//! What a request's fields say that somebody has to look at more closely. Most requests have next to none of it, and one look at the
//! names costs less than asking for each of them.

use http::header::{HeaderMap, HeaderValue};

use super::forwarded::is_ours;
use super::headers::{is_hop_by_hop, is_of_grpc};

/// What there is among the fields of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Fields of one connection: `Connection`, and what belongs to it.
    pub hop_by_hop: bool,
    /// Something of the request's way so far.
    pub way: bool,
    /// `Expect`.
    pub expect: bool,
    /// `TE`.
    pub te: bool,
    /// `Upgrade`.
    pub upgrade: bool,
    /// A message of gRPC.
    pub grpc: bool,
}

impl Marks {
    /// Of these fields.
    pub fn of(headers: &HeaderMap) -> Self {
        let (mut marks, mut kind) = (Marks::default(), None);
        for (name, value) in headers {
            let name = name.as_str();
            match name {
                "host" | "user-agent" | "accept" | "content-length" => continue,
                "connection" => marks.hop_by_hop = true,
                "te" => (marks.te, marks.hop_by_hop) = (true, true),
                "upgrade" => (marks.upgrade, marks.hop_by_hop) = (true, true),
                "expect" => marks.expect = true,
                "content-type" => drop(kind.get_or_insert(value)),
                _ => {
                    marks.hop_by_hop |= is_hop_by_hop(name.as_bytes());
                    marks.way |= is_ours(name);
                }
            }
        }
        marks.grpc = is_of_grpc(kind.map(HeaderValue::as_bytes));
        marks
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn of(names: &[&'static str]) -> Marks {
        let value = HeaderValue::from_static("application/grpc");
        let headers: HeaderMap = names.iter().map(|name| (HeaderName::from_static(name), value.clone())).collect();
        Marks::of(&headers)
    }

    #[test]
    fn each_field_that_needs_a_look_is_marked() {
        let none = Marks::default();
        assert_eq!(of(&["host", "user-agent", "accept", "content-length", "cookie", "x-y"]), none);
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "http2-settings"] {
            assert_eq!(of(&[name]), Marks { hop_by_hop: true, ..none }, "{name}");
        }
        assert_eq!(of(&["te"]), Marks { te: true, hop_by_hop: true, ..none });
        assert_eq!(of(&["upgrade"]), Marks { upgrade: true, hop_by_hop: true, ..none });
        assert_eq!(of(&["expect"]), Marks { expect: true, ..none });
        assert_eq!(of(&["content-type"]), Marks { grpc: true, ..none });
        for name in ["via", "forwarded", "x-forwarded-for", "x-request-id", "traceparent"] {
            assert_eq!(of(&[name]), Marks { way: true, ..none }, "{name}");
        }
        assert_eq!(of(&["x_forwarded_for"]), Marks { way: true, ..none });
        assert_eq!(of(&["a_b"]), none);
    }
}
