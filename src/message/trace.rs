//! `traceparent` and `tracestate` (W3C Trace Context): which trace a request belongs to, and names made by chance. Unless a request is
//! recorded here, a trace that may go on is passed on as it is.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::trust::only;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");
/// Of version 00: version, trace, parent and flags with dashes between them.
const LENGTH: usize = 55;
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Members of a `tracestate`, and how long their keys and values may be: section 3.3.1.
const MOST_MEMBERS: usize = 32;
const LONGEST_KEY: usize = 256;
const LONGEST_VALUE: usize = 256;

/// What a request says of the trace that it is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: u128,
    /// Whoever sent it, as a span of that.
    pub span: u64,
    /// Whether that is recorded.
    pub is_recorded: bool,
}

impl TraceParent {
    /// What the headers say; none if nothing, or nothing that is valid.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = only(headers, &PARENT).map(HeaderValue::as_bytes).filter(|parent| is_valid(parent))?;
        let number = |digits: &[u8]| digits.iter().fold(0, |number: u128, digit| number << 4 | hex(*digit) as u128);
        let is_recorded = hex(parent[54]) & 1 == 1;
        Some(TraceParent { trace: number(&parent[3..35]), span: number(&parent[36..52]) as u64, is_recorded })
    }

    /// The same as a header's value.
    pub fn value(self) -> HeaderValue {
        let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write(&mut parent[3..35], self.trace);
        write(&mut parent[36..52], u128::from(self.span));
        parent[54] = if self.is_recorded { b'1' } else { b'0' };
        HeaderValue::from_bytes(&parent).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Takes the trace out of the headers, for another that is sent in its place. Returns what goes with it.
pub fn take_trace(headers: &mut HeaderMap) -> Option<HeaderValue> {
    headers.remove(PARENT);
    only(headers, &STATE).cloned()
}

/// Has the trace that the headers name be one that is not recorded.
pub fn unrecord(headers: &mut HeaderMap) {
    if let Some(parent) = TraceParent::of(headers) {
        headers.insert(PARENT, TraceParent { is_recorded: false, ..parent }.value());
    }
}

/// Sees to it that a request which names a trace names one that may go on: a valid one from somebody who is believed, else a new one.
/// That is recorded if the old one was; a request that names none gets none, so that whoever serves it decides.
pub(super) fn settle(headers: &mut HeaderMap, is_trusted: bool, rng: &mut fastrand::Rng) {
    let valid = only(headers, &PARENT).map(HeaderValue::as_bytes).filter(|parent| is_valid(parent));
    if valid.is_some() && is_trusted {
        if !is_valid_state(headers) {
            headers.remove(STATE);
        }
        return;
    }
    let is_recorded = valid.is_some_and(|parent| hex(parent[54]) & 1 == 1);
    headers.remove(STATE);
    if headers.contains_key(PARENT) {
        headers.insert(PARENT, new(is_recorded, rng));
    }
}

fn is_valid(parent: &[u8]) -> bool {
    let Some((known, more)) = parent.split_at_checked(LENGTH) else { return false };
    let is_hex = |part: &[u8]| part.iter().all(|byte| DIGITS.contains(byte));
    let is_some = |part: &[u8]| is_hex(part) && part.iter().any(|byte| *byte != b'0');
    let dashes = [2, 35, 52].iter().all(|place| known[*place] == b'-');
    let version = &known[..2];
    // Later versions may have more behind it.
    let fits = more.is_empty() || version != b"00" && more[0] == b'-';
    let parts = is_some(&known[3..35]) && is_some(&known[36..52]) && is_hex(&known[53..]);
    dashes && fits && is_hex(version) && version != b"ff" && parts
}

/// True for a list of keys and values as section 3.3.1 has it, over however many lines; also for none.
fn is_valid_state(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(STATE).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut count = 0;
    for member in members.filter(|member| !member.is_empty()) {
        count += 1;
        let Some(equals) = member.iter().position(|byte| *byte == b'=') else { return false };
        let (key, value) = (&member[..equals], &member[equals + 1..]);
        let is_of_key = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
        let is_key = (1..=LONGEST_KEY).contains(&key.len()) && key.iter().all(is_of_key);
        let is_of_value = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'=';
        if !is_key || !(1..=LONGEST_VALUE).contains(&value.len()) || !value.iter().all(is_of_value) {
            return false;
        }
    }
    count <= MOST_MEMBERS
}

fn hex(digit: u8) -> usize {
    DIGITS.iter().position(|known| *known == digit).unwrap_or_default()
}

fn new(is_recorded: bool, rng: &mut fastrand::Rng) -> HeaderValue {
    // None of them may be zero altogether.
    TraceParent { trace: rng.u128(1..), span: rng.u64(1..), is_recorded }.value()
}

/// 128 random bits.
pub(super) fn new_id(rng: &mut fastrand::Rng) -> HeaderValue {
    let mut id = [0; 32];
    write(&mut id, rng.u128(..));
    // Hexadecimal digits are always a valid value.
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("0"))
}

fn write(digits: &mut [u8], mut bits: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(bits & 15) as usize];
        bits >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn settled(parents: &[&str], is_trusted: bool) -> (Option<String>, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(STATE, HeaderValue::from_static("a=b"));
        for parent in parents {
            headers.append(PARENT, parent.parse().unwrap());
        }
        settle(&mut headers, is_trusted, &mut fastrand::Rng::with_seed(1));
        assert!(headers.get_all(PARENT).iter().count() <= 1);
        let parent = headers.get(PARENT).map(|parent| parent.to_str().unwrap().to_owned());
        (parent, headers.contains_key(STATE))
    }

    #[test]
    fn a_valid_trace_goes_on_where_its_sender_is_believed() {
        assert_eq!(settled(&[VALID], true), (Some(VALID.to_owned()), true));
        let later = format!("cc{}-what-ever", &VALID[2..]);
        assert_eq!(settled(&[&later], true), (Some(later), true));
    }

    #[test]
    fn any_other_is_replaced_by_a_new_one() {
        let (parent, has_state) = settled(&[VALID], false);
        let parent = parent.unwrap();
        assert!(is_valid(parent.as_bytes()) && parent[3..35] != VALID[3..35] && !has_state, "{parent}");
        assert!(parent.ends_with("-01"), "recorded, as the old one");
        let long = format!("{VALID}-x");
        let upper = VALID.to_uppercase();
        let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let forbidden = format!("ff{}", &VALID[2..]);
        for bad in [&[""][..], &["x"], &[&long], &[&upper], &[&zero], &[&forbidden], &[VALID, VALID]] {
            let (parent, has_state) = settled(bad, true);
            let parent = parent.unwrap();
            assert!(is_valid(parent.as_bytes()) && parent != VALID && !has_state, "{bad:?}: {parent}");
        }
    }

    #[test]
    fn a_trace_is_read_as_it_is_written() {
        let headers = HeaderMap::from_iter([(PARENT, HeaderValue::from_static(VALID))]);
        let parent = TraceParent::of(&headers).unwrap();
        assert_eq!((parent.trace, parent.span), (0x4bf92f3577b34da6a3ce929d0e0e4736, 0x00f067aa0ba902b7));
        assert!(parent.is_recorded && parent.value() == VALID);
    }

    #[test]
    fn a_state_that_is_none_is_left_out_and_its_trace_goes_on() {
        let state = |lines: &[&str]| {
            let mut headers = HeaderMap::from_iter([(PARENT, HeaderValue::from_static(VALID))]);
            for line in lines {
                headers.append(STATE, line.parse().unwrap());
            }
            settle(&mut headers, true, &mut fastrand::Rng::with_seed(1));
            assert_eq!(headers[PARENT], VALID);
            headers.contains_key(STATE)
        };
        let most = vec!["a=b"; MOST_MEMBERS].join(",");
        for good in [&["a=b"][..], &["1-_*/@x=y z , ,c=d"], &["a=b", "c=d"], &[""], &[&most]] {
            assert!(state(good), "{good:?}");
        }
        let (many, long) = (format!("{most},a=b"), format!("a={}", "b".repeat(LONGEST_VALUE + 1)));
        for bad in [&["a"][..], &["A=b"], &["=b"], &["a="], &["a=b=c"], &["a=b", "x"], &[&many], &[&long]] {
            assert!(!state(bad), "{bad:?}");
        }
    }

    #[test]
    fn whoever_names_no_trace_gets_none() {
        assert_eq!(settled(&[], true), (None, false));
    }
}
