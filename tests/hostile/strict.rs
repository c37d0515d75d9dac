//! HTTP/1.1 read as strictly as its grammar (RFC 9112): whatever a proxy sends has to pass here, on either side. Nothing is
//! forgiven, so that two readers cannot disagree about what was read.

/// Fields in the order in which they came, names in lower case, one character a byte.
pub type Fields = Vec<(String, String)>;

/// A message: a request, or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub line: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

/// What bytes are.
#[derive(Debug)]
pub enum Read {
    /// A message, and how many bytes it took.
    Whole(Message, usize),
    /// The beginning of one; the head if that is there, and as much of the body.
    Part(Option<Message>),
    /// Nothing that anybody should send.
    Bad(String),
}

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    /// To a request with this method; `bool`: no more bytes will come.
    Answer {
        to_head: bool,
        closed: bool,
    },
}

enum Length {
    None,
    Exactly(usize),
    Chunked,
    UntilClose,
}

/// Fields of one connection, which a proxy must not pass on (RFC 9110 section 7.6.1).
pub const HOP_BY_HOP: &[&str] =
    &["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "http2-settings"];

impl Message {
    /// The first value of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// All values of that name.
    pub fn every(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The status of an answer, 0 for a request.
    pub fn status(&self) -> u16 {
        let digits = after_version(&self.line).and_then(|rest| rest.get(..3));
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// One character a byte.
    pub fn text(&self) -> String {
        latin1(&self.body)
    }
}

/// One character a byte, so that nothing is lost.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Reads the first message of these bytes.
pub fn read(bytes: &[u8], side: Side) -> Read {
    match head(bytes, side) {
        Ok(None) => Read::Part(None),
        Ok(Some((message, used))) => match length(&message, side) {
            Ok(length) => body(message, bytes, used, length, side),
            Err(wrong) => Read::Bad(wrong),
        },
        Err(wrong) => Read::Bad(wrong),
    }
}

fn head(bytes: &[u8], side: Side) -> Result<Option<(Message, usize)>, String> {
    let mut at = 0;
    let Some(first) = line(bytes, &mut at)? else { return Ok(None) };
    if side == Side::Request {
        request_line(&first)?
    } else {
        status_line(&first)?
    }
    let mut message = Message { line: first, ..Message::default() };
    let Some(fields) = fields(bytes, &mut at)? else { return Ok(None) };
    message.fields = fields;
    Ok(Some((message, at)))
}

/// The next line up to CRLF, without it; neither CR nor LF nor NUL may stand in it.
fn line(bytes: &[u8], at: &mut usize) -> Result<Option<String>, String> {
    let rest = &bytes[*at..];
    let end = rest.windows(2).position(|two| two == b"\r\n");
    let seen = &rest[..end.unwrap_or(rest.len())];
    let is_wrong = |(place, byte): (usize, &u8)| match byte {
        b'\r' => end.is_some() || place + 1 < seen.len(),
        b'\t' => false,
        byte => byte.is_ascii_control(),
    };
    if seen.iter().enumerate().any(is_wrong) {
        return Err(format!("a control character in {:?}", latin1(seen)));
    }
    *at += end.map_or(0, |end| end + 2);
    Ok(end.map(|_| latin1(seen)))
}

fn fields(bytes: &[u8], at: &mut usize) -> Result<Option<Fields>, String> {
    let mut fields = Fields::new();
    loop {
        let Some(line) = line(bytes, at)? else { return Ok(None) };
        if line.is_empty() {
            return Ok(Some(fields));
        }
        let (name, value) = line.split_once(':').ok_or(format!("no colon in {line:?}"))?;
        if !is_token(name) {
            return Err(format!("no name in {line:?}"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

fn is_token(text: &str) -> bool {
    let is_tchar = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
    !text.is_empty() && text.chars().all(is_tchar)
}

fn request_line(line: &str) -> Result<(), String> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("no request line: {line:?}")) };
    let is_visible = !target.is_empty() && target.chars().all(|char| char.is_ascii_graphic() && char != '#');
    let has_form = target.starts_with('/') || target == "*" && method == "OPTIONS";
    if is_token(method) && is_visible && has_form { Ok(()) } else { Err(format!("no request line: {line:?}")) }
}

fn status_line(line: &str) -> Result<(), String> {
    let wrong = || format!("no status line: {line:?}");
    let rest = after_version(line).ok_or_else(wrong)?;
    let (status, _reason) = rest.split_once(' ').ok_or_else(wrong)?;
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    if is_status && ("100".."600").contains(&status) { Ok(()) } else { Err(wrong()) }
}

/// Clients of HTTP/1.0 may be answered in their version.
fn after_version(line: &str) -> Option<&str> {
    line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))
}

fn length(message: &Message, side: Side) -> Result<Length, String> {
    let (lengths, codings) = (message.every("content-length"), message.every("transfer-encoding"));
    let status = message.status();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) if side == Side::Request => Ok(Length::None),
        ([_], []) | ([], ["chunked"]) | ([], []) => {
            let length = lengths.first().map(|length| digits(length)).transpose()?;
            let is_bodiless = matches!(side, Side::Answer { to_head: true, .. }) || matches!(status, 100..200 | 304);
            Ok(match length {
                _ if status == 204 || (100..200).contains(&status) => {
                    let framed = !lengths.is_empty() || !codings.is_empty();
                    return if framed { Err(format!("framing in a {status}")) } else { Ok(Length::None) };
                }
                _ if is_bodiless => Length::None,
                Some(length) => Length::Exactly(length),
                None if codings.is_empty() => Length::UntilClose,
                None => Length::Chunked,
            })
        }
        _ => Err(format!("two framings, or none that is known: {lengths:?} {codings:?}")),
    }
}

/// Digits, and no zero that could be read as the sign of another base.
fn digits(text: &str) -> Result<usize, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(format!("no length: {text:?}"))
}

fn body(mut message: Message, bytes: &[u8], used: usize, length: Length, side: Side) -> Read {
    let rest = &bytes[used..];
    match length {
        Length::None => Read::Whole(message, used),
        Length::Exactly(length) if rest.len() < length => {
            message.body = rest.to_vec();
            Read::Part(Some(message))
        }
        Length::Exactly(length) => {
            message.body = rest[..length].to_vec();
            Read::Whole(message, used + length)
        }
        Length::UntilClose => {
            message.body = rest.to_vec();
            let closed = matches!(side, Side::Answer { closed: true, .. });
            if closed { Read::Whole(message, bytes.len()) } else { Read::Part(Some(message)) }
        }
        Length::Chunked => match chunks(&mut message, rest) {
            Ok(Some(length)) => Read::Whole(message, used + length),
            Ok(None) => Read::Part(Some(message)),
            Err(wrong) => Read::Bad(wrong),
        },
    }
}

/// How long a chunked body is, once it is whole.
fn chunks(message: &mut Message, bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(size) = line(bytes, &mut at)? else { return Ok(None) };
        let is_hex = (1..=15).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size =
            usize::from_str_radix(&size, 16).ok().filter(|_| is_hex).ok_or(format!("no chunk size: {size:?}"))?;
        if size == 0 {
            let Some(trailers) = fields(bytes, &mut at)? else { return Ok(None) };
            let framing = ["content-length", "transfer-encoding", "host", "connection", "trailer", "te"];
            if trailers.iter().any(|(name, _)| framing.contains(&name.as_str())) {
                return Err(format!("trailers that no trailer may be: {trailers:?}"));
            }
            message.trailers = trailers;
            return Ok(Some(at));
        }
        let Some(data) = bytes.get(at..at + size) else {
            message.body.extend_from_slice(&bytes[at..]);
            return Ok(None);
        };
        message.body.extend_from_slice(data);
        at += size;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Err("a chunk does not end where it should".to_owned()),
            None => return Ok(None),
        }
    }
}

/// What is wrong with a request that lictor sends, beyond its grammar: nothing of the connection it came by may be left, and what
/// lictor says of its way has to be there.
pub fn faults_of_request(message: &Message) -> Option<String> {
    let text = |name: &str| message.every(name).join("|");
    let (connection, upgrade, te) = (text("connection"), text("upgrade"), text("te"));
    let leaked = HOP_BY_HOP.iter().find(|name| message.field(name).is_some());
    let named = matches!(connection.as_str(), "" | "te" | "upgrade" | "upgrade, te");
    if let Some(name) = leaked {
        return Some(format!("{name} is passed on"));
    }
    if !named || !matches!(te.as_str(), "" | "trailers") || (te.is_empty() == connection.contains("te")) {
        return Some(format!("connection {connection:?}, te {te:?}"));
    }
    if upgrade.is_empty() == connection.contains("upgrade") || upgrade.to_ascii_lowercase().contains("h2c") {
        return Some(format!("connection {connection:?}, upgrade {upgrade:?}"));
    }
    let hosts = message.every("host");
    if hosts.len() != 1 || hosts[0].is_empty() || hosts[0].contains([' ', ',', '@', '/', '\t']) {
        return Some(format!("host {hosts:?}"));
    }
    let ends = |name: &str, end: &str| message.every(name).len() == 1 && text(name).ends_with(end);
    let is_told = ends("x-forwarded-for", "127.0.0.1")
        && text("x-forwarded-proto") == "http"
        && text("x-forwarded-host") == hosts[0]
        && ends("via", " lictor")
        && ends("x-request-id", "")
        && !text("x-request-id").is_empty();
    (!is_told).then(|| format!("the way is not told: {:?}", message.fields))
}

/// What is wrong with an answer that lictor gives.
pub fn faults_of_answer(message: &Message) -> Option<String> {
    let leaked = HOP_BY_HOP.iter().chain(&["te", "trailer-encoding"]).find(|name| message.field(name).is_some());
    if let Some(name) = leaked {
        return Some(format!("{name} is passed on"));
    }
    let connection = message.every("connection").join(", ");
    let is_ours = matches!(connection.as_str(), "" | "close" | "keep-alive") || message.status() == 101;
    let upgrade = message.field("upgrade").is_some() && !matches!(message.status(), 101 | 426);
    (!is_ours || upgrade).then(|| format!("connection {connection:?}, upgrade: {upgrade}"))
}
