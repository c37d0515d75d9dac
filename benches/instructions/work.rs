//! What is asked: an item is one kind of request, asked again and again.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// An item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A small GET over HTTP/1.1.
    Get,
    /// The same with what a browser sends along.
    Browser,
    /// A small GET over HTTP/1.1 in TLS 1.3.
    Tls,
    /// A small GET over HTTP/2, which goes out over HTTP/1.1.
    Http2,
    /// A POST of 1 KiB over HTTP/1.1.
    Post,
    /// A small GET over HTTP/1.1, with a line in the access log.
    Logged,
}

const GET: &[(&str, &str)] = &[("user-agent", "instructions"), ("accept", "*/*")];
const POST: &[(&str, &str)] =
    &[("user-agent", "instructions"), ("accept", "*/*"), ("content-type", "application/octet-stream")];
const BROWSER: &[(&str, &str)] = &[
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://lictor.test/shop/shoes?page=2"),
    ("cookie", "session=4f1d0a8be67c4b55a0b3e1b9c4d2f677; theme=dark; consent=yes"),
    ("upgrade-insecure-requests", "1"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-user", "?1"),
    ("priority", "u=0, i"),
];

impl Work {
    /// In the order of the report.
    pub const ALL: [Work; 6] = [Work::Get, Work::Browser, Work::Tls, Work::Http2, Work::Post, Work::Logged];

    /// For whoever reads the report.
    pub fn describe(self) -> &'static str {
        match self {
            Work::Get => "small GET over HTTP/1.1",
            Work::Browser => "… with the headers of a browser",
            Work::Tls => "… in TLS 1.3",
            Work::Http2 => "… over HTTP/2, going out over HTTP/1.1",
            Work::Post => "POST of 1 KiB over HTTP/1.1",
            Work::Logged => "small GET over HTTP/1.1, with a line in the access log",
        }
    }

    pub fn method(self) -> &'static str {
        if self == Work::Post { "POST" } else { "GET" }
    }

    /// Without those of the framing and the host.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Work::Browser => BROWSER,
            Work::Post => POST,
            _ => GET,
        }
    }

    pub fn body(self) -> &'static [u8] {
        if self == Work::Post { &[b'x'; 1024] } else { &[] }
    }

    /// The whole request as HTTP/1.1 has it.
    pub fn http1(self) -> Vec<u8> {
        let mut text = format!("{} /shop/shoes?page=3 HTTP/1.1\r\nhost: lictor.test\r\n", self.method());
        for (name, value) in self.headers() {
            text += &format!("{name}: {value}\r\n");
        }
        if !self.body().is_empty() {
            text += &format!("content-length: {}\r\n", self.body().len());
        }
        text += "\r\n";
        [text.as_bytes(), self.body()].concat()
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Work::Get => "get",
            Work::Browser => "browser",
            Work::Tls => "tls",
            Work::Http2 => "http2",
            Work::Post => "post",
            Work::Logged => "logged",
        })
    }
}
