//! What a listener takes for HTTP, and how much of it.

/// A listener's rules for what clients send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Whether clients may speak HTTP/2: by ALPN under TLS, by prior knowledge without.
    pub http2: bool,
    /// What becomes of paths that servers read in more than one way.
    pub paths: Paths,
    /// What becomes of headers with underscores in their names.
    pub underscores: Underscores,
    /// Whether `CONNECT` is taken.
    pub connect: bool,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Fields of a request's head.
    pub max_headers: usize,
    /// Bytes of a request's target.
    pub max_target: usize,
    /// Streams at once on an HTTP/2 connection.
    pub max_streams: u32,
}

/// What becomes of paths that servers read in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// They are refused, as far as it makes a difference.
    Strict,
    /// They go on as they are.
    Off,
}

/// What becomes of headers with underscores in their names, which some servers take for hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// They go on.
    Keep,
    /// They are left out.
    Drop,
    /// The request is refused.
    Refuse,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            http2: true,
            paths: Paths::Strict,
            underscores: Underscores::Keep,
            connect: false,
            max_head: 64 * 1024,
            max_headers: 100,
            max_target: 16 * 1024,
            max_streams: 128,
        }
    }
}
