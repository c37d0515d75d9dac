//! What a client's TLS greeting (ClientHello, RFC 8446 section 4.1.2) asks for, read without answering it: the connection is
//! somebody else's to encrypt.

use rustls::server::Acceptor;

/// The first byte of a TLS record that holds one.
const HANDSHAKE: u8 = 22;

/// A greeting as far as it has come.
#[derive(Default)]
pub struct Greeting {
    acceptor: Acceptor,
    begun: bool,
}

/// What has come so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Part of a greeting.
    Part,
    /// All of it, with the name of the server that is asked for, in lower case, if it asks for one.
    Whole(Option<String>),
    /// Something else.
    Foreign,
}

impl Greeting {
    /// Hears the next bytes.
    pub fn hear(&mut self, mut bytes: &[u8]) -> Heard {
        if !self.begun && bytes.first().is_some_and(|first| *first != HANDSHAKE) {
            return Heard::Foreign;
        }
        self.begun |= !bytes.is_empty();
        while !bytes.is_empty() {
            // Takes no more at once than it has room for.
            if !matches!(self.acceptor.read_tls(&mut bytes), Ok(1..)) {
                return Heard::Foreign;
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Heard::Whole(accepted.client_hello().server_name().map(str::to_ascii_lowercase));
                }
                Err(_) => return Heard::Foreign,
            }
        }
        Heard::Part
    }
}
