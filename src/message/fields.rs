//! The fields of an answer's head. Most answers pass as they came, so what was read is kept as text, with the place of each line,
//! and written as it stands; it becomes a map for whoever wants to change it.

use std::convert::Infallible;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

use super::framing;
use super::headers::{end_to_end_of_answer, is_hop_by_hop};

/// The fields of a head: lines, or else a map.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    lines: Option<Lines>,
    map: Option<Box<HeaderMap>>,
}

/// Lines of a text: names in lower case, and values.
#[derive(Debug, Clone)]
pub struct Lines {
    text: Bytes,
    places: Vec<Place>,
}

/// Where the lines of a text stand.
#[derive(Debug)]
pub struct Places(Vec<Place>);

/// Where a line stands.
#[derive(Debug, Clone)]
struct Place {
    name: Range<u32>,
    value: Range<u32>,
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Fields { lines: None, map: Some(Box::new(map)) }
    }
}

impl From<Lines> for Fields {
    fn from(lines: Lines) -> Self {
        Fields { lines: Some(lines), map: None }
    }
}

impl Fields {
    /// The value of the first field of that name, which is in lower case.
    pub fn get<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        match &self.lines {
            Some(lines) => lines.find(name.as_bytes()),
            None => self.map.as_ref().and_then(|map| map.get(name)).map(HeaderValue::as_bytes),
        }
    }

    /// All values of that name, which is in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.lines.iter().flat_map(Lines::iter).filter(|(known, _)| *known == name.as_bytes());
        let map = self.map.iter().flat_map(move |map| map.get_all(name)).map(HeaderValue::as_bytes);
        lines.map(|(_, value)| value).chain(map)
    }

    /// True if there is a field of that name, which is in lower case.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// To be changed.
    pub fn map(&mut self) -> &mut HeaderMap {
        let lines = self.lines.take();
        self.map.get_or_insert_with(|| Box::new(lines.map(|lines| lines.to_map()).unwrap_or_default()))
    }

    /// As a map.
    pub fn into_map(mut self) -> HeaderMap {
        std::mem::take(self.map())
    }

    /// Takes out what is meant for one connection only (RFC 9110 section 7.6.1).
    pub fn end_to_end(&mut self) {
        let connection = CONNECTION.as_str().as_bytes();
        match &mut self.lines {
            // Most have none: to look costs less than to sort out.
            Some(lines) if !lines.iter().any(|(name, _)| name == connection || is_hop_by_hop(name)) => {}
            // One that names other fields takes those along.
            Some(lines) if lines.find(connection).is_none() => lines.retain(|name| !is_hop_by_hop(name)),
            _ => end_to_end_of_answer(self.map()),
        }
    }

    /// Takes out all fields of that name, which is in lower case.
    pub fn remove(&mut self, name: &str) {
        match &mut self.lines {
            Some(lines) if lines.find(name.as_bytes()).is_none() => {}
            Some(lines) => lines.retain(|known| known != name.as_bytes()),
            None => drop(self.map.as_mut().and_then(|map| map.remove(name))),
        }
    }

    /// The lines as they are sent.
    pub fn write(&self, out: &mut BytesMut) {
        self.lines.iter().for_each(|lines| lines.write(out));
        self.map.iter().for_each(|map| framing::fields(out, map.iter()));
    }

    /// Bytes that they take, about.
    pub fn size(&self) -> usize {
        self.lines.as_ref().map_or(0, |lines| lines.text.len()) + self.map.as_ref().map_or(0, |map| 48 * map.len())
    }
}

impl Places {
    /// With room for so many.
    pub fn new(room: usize) -> Self {
        Places(Vec::with_capacity(room))
    }

    /// One more line, by the places of its name and its value.
    pub fn push(&mut self, name: &Range<usize>, value: &Range<usize>) {
        // A head is far below 4 GiB, and what is outside of the text is empty.
        let short = |place: &Range<usize>| place.start as u32..place.end as u32;
        self.0.push(Place { name: short(name), value: short(value) });
    }

    /// The lines of a text that stand there; their names are put in lower case.
    pub fn of(self, mut text: BytesMut) -> Lines {
        for Place { name, .. } in &self.0 {
            if let Some(name) = text.get_mut(name.start as usize..name.end as usize) {
                name.make_ascii_lowercase();
            }
        }
        Lines { text: text.freeze(), places: self.0 }
    }
}

impl Lines {
    /// Keeps those for which that is said of their name and value, unless something is wrong with one.
    pub fn try_retain<E>(&mut self, mut stays: impl FnMut(&[u8], &[u8]) -> Result<bool, E>) -> Result<(), E> {
        let mut wrong = Ok(());
        let text = &self.text;
        let at = |place: &Range<u32>| text.get(place.start as usize..place.end as usize).unwrap_or_default();
        self.places.retain(|place| {
            wrong.is_err()
                || stays(at(&place.name), at(&place.value)).unwrap_or_else(|error| {
                    wrong = Err(error);
                    true
                })
        });
        wrong
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|place| (self.at(&place.name), self.at(&place.value)))
    }

    /// The value of the first line of that name.
    fn find(&self, name: &[u8]) -> Option<&[u8]> {
        let is_it = |place: &&Place| place.name.len() == name.len() && self.at(&place.name) == name;
        self.places.iter().find(is_it).map(|place| self.at(&place.value))
    }

    fn at(&self, place: &Range<u32>) -> &[u8] {
        self.text.get(place.start as usize..place.end as usize).unwrap_or_default()
    }

    fn retain(&mut self, stays: impl Fn(&[u8]) -> bool) {
        let Ok(()) = self.try_retain(|name, _| Ok::<bool, Infallible>(stays(name)));
    }

    /// What was parsed once is what a map takes.
    fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.places.len());
        for place in &self.places {
            let value = self.text.slice_ref(self.at(&place.value));
            let name = HeaderName::from_bytes(self.at(&place.name));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) {
                map.append(name, value);
            }
        }
        map
    }

    /// Lines that stand one behind the other, as they are to be written, go in one piece.
    fn write(&self, out: &mut BytesMut) {
        let mut piece = 0..0;
        for Place { name, value } in &self.places {
            let is_plain = name.end + 2 == value.start && self.at(&(name.end..value.start)) == b": ";
            if is_plain && piece.end == name.start && piece.start < piece.end {
                piece.end = value.end + 2;
                continue;
            }
            self.put(out, &piece);
            piece = if is_plain { name.start..value.end + 2 } else { 0..0 };
            if !is_plain {
                [self.at(name), b": ", self.at(value), b"\r\n"].iter().for_each(|part| out.put_slice(part));
            }
        }
        self.put(out, &piece);
    }

    /// A piece whose last two bytes may be something else than the end of a line, such as white space before it.
    fn put(&self, out: &mut BytesMut, piece: &Range<u32>) {
        if let Some(text) = self.at(piece).get(..(piece.len().saturating_sub(2))).filter(|text| !text.is_empty()) {
            out.put_slice(text);
            out.put_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a head with these lines, each up to its end.
    fn read(lines: &str) -> Fields {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let text = BytesMut::from(&format!("{lines}\r\n")[..]);
        let base = text.as_ptr().addr();
        let place = |part: &[u8]| part.as_ptr().addr() - base..part.as_ptr().addr() - base + part.len();
        let (_, found) = httparse::parse_headers(&text, &mut fields).unwrap().unwrap();
        let mut places = Places::new(found.len());
        found.iter().for_each(|field| places.push(&place(field.name.as_bytes()), &place(field.value)));
        places.of(text).into()
    }

    fn written(fields: &Fields) -> String {
        let mut out = BytesMut::new();
        fields.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn lines_go_out_as_they_came_but_for_white_space_and_case() {
        let mut fields =
            read("Server: x\r\nX-A:1\r\nX-B:  2 \t\r\nX-C: \r\nX-D: 4\r\nContent-Type: text/plain; a=b\r\n");
        let plain = "server: x\r\nx-a: 1\r\nx-b: 2\r\nx-c: \r\nx-d: 4\r\ncontent-type: text/plain; a=b\r\n";
        assert_eq!(written(&fields), plain);
        fields.map();
        assert_eq!(written(&fields), plain, "a map says the same");
        assert_eq!(written(&Fields::default()), "");
    }

    #[test]
    fn what_is_of_one_connection_ends_here() {
        let mut fields = read("A: 1\r\nKeep-Alive: 5\r\nB: 2\r\nTransfer-Encoding: chunked\r\nC: 3\r\n");
        fields.end_to_end();
        assert_eq!(written(&fields), "a: 1\r\nb: 2\r\nc: 3\r\n");
        let mut named = read("A: 1\r\nConnection: close, B\r\nB: 2\r\nContent-Length: 3\r\n");
        named.end_to_end();
        assert_eq!(written(&named), "a: 1\r\ncontent-length: 3\r\n");
    }

    #[test]
    fn fields_are_found_by_name_and_taken_out() {
        for as_map in [false, true] {
            let mut fields = read("Set-Cookie: a\r\nDate: now\r\nSet-Cookie: b\r\n");
            if as_map {
                fields.map();
            }
            assert_eq!((fields.get("date"), fields.get("age")), (Some(&b"now"[..]), None));
            assert_eq!(fields.all("set-cookie").collect::<Vec<_>>(), [b"a", b"b"]);
            assert!(fields.has("set-cookie") && !fields.has("age"));
            fields.remove("set-cookie");
            assert_eq!(written(&fields), "date: now\r\n");
            assert_eq!(fields.into_map()["date"], "now");
        }
    }
}
