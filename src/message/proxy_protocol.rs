//! The PROXY protocol, versions 1 and 2: what a proxy says of a client before the client's own first byte
//! (haproxy.org, "The PROXY protocol", 2020/03/05; sections 2.1 and 2.2).
//!
//! Only the header itself: who may send one, and within which time, is the listener's business. Strict, since whoever can make
//! two readers disagree about where the header ends chooses what the second takes for the beginning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Longest header of version 1, with its line end.
const LONGEST_V1: usize = 107;
/// Longest header of version 2 that is taken. The specification asks for 536 bytes; TLVs with a certificate's names and the ids of
/// a cloud may take more.
pub const LONGEST: usize = 2048;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// A TLV that holds the header's CRC-32c.
const CHECKSUM: u8 = 3;

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client's.
    pub client: SocketAddr,
    /// The one that it connected to.
    pub local: SocketAddr,
}

/// What some bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header and nothing else.
    Partial,
    /// A header of this many bytes, with the ends of the connection that it speaks for; none if it speaks for itself, or for one that
    /// has no such addresses.
    Complete(usize, Option<Ends>),
    /// Not a header, for this reason.
    Malformed(&'static str),
}

/// Reads the header that the bytes begin with.
pub fn parse(bytes: &[u8]) -> Parsed {
    let parsed = if begins(bytes, SIGNATURE) {
        v2(bytes)
    } else if begins(bytes, b"PROXY ") {
        v1(bytes)
    } else {
        Err("neither version's beginning")
    };
    match parsed {
        Ok(Some((length, ends))) => Parsed::Complete(length, ends),
        Ok(None) => Parsed::Partial,
        Err(why) => Parsed::Malformed(why),
    }
}

/// The length of a header and what it says, or nothing while it is not whole.
type Header = Result<Option<(usize, Option<Ends>)>, &'static str>;

/// True if the bytes can go on to be that, or already have.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let length = bytes.len().min(with.len());
    bytes[..length] == with[..length]
}

fn v1(bytes: &[u8]) -> Header {
    let bounded = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = bounded.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if bytes.len() < LONGEST_V1 { Ok(None) } else { Err("a line that is too long") };
    };
    match bounded.get(end..end + 2) {
        Some(b"\r\n") => {}
        None if bounded[end] == b'\r' && bytes.len() < LONGEST_V1 => return Ok(None),
        _ => return Err("a line that does not end in CRLF"),
    }
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| "a line that is not text")?;
    let mut words = line.split(' ').skip(1);
    let ends = match words.next() {
        // Whatever else it says is to be ignored.
        Some("UNKNOWN") => return Ok(Some((end + 2, None))),
        Some("TCP4") => ends_v1::<Ipv4Addr>(&mut words),
        Some("TCP6") => ends_v1::<Ipv6Addr>(&mut words),
        _ => return Err("a protocol that there is not"),
    };
    match (ends, words.next()) {
        (Some(ends), None) => Ok(Some((end + 2, Some(ends)))),
        _ => Err("addresses that are none"),
    }
}

fn ends_v1<'a, A: FromStr + Into<IpAddr>>(words: &mut impl Iterator<Item = &'a str>) -> Option<Ends> {
    let mut address = || words.next()?.parse::<A>().ok().map(A::into);
    let (client, local) = (address()?, address()?);
    let mut port = || {
        let word = words.next()?;
        // No sign, and no zero in front that somebody could take for octal.
        let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        word.parse().ok().filter(|_| is_plain)
    };
    Some(Ends { client: SocketAddr::new(client, port()?), local: SocketAddr::new(local, port()?) })
}

fn v2(bytes: &[u8]) -> Header {
    // What is wrong already need not be waited for.
    if bytes.get(12).is_some_and(|byte| !matches!(byte, 0x20 | 0x21)) {
        return Err("a version or command that there is not");
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > LONGEST {
        return Err("a header that is too long");
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    // A proxy that speaks for itself (LOCAL): its family is to be ignored, and all that follows with it.
    if fixed[12] == 0x20 {
        return Ok(Some((length, None)));
    }
    // Clients may have come to the other proxy by datagrams, as with QUIC.
    let (ends, tlvs) = match fixed[13] {
        0x00 => return Ok(Some((length, None))),
        0x11 | 0x12 => ends_v2::<4>(header).map(|(ends, tlvs)| (Some(ends), tlvs)),
        0x21 | 0x22 => ends_v2::<16>(header).map(|(ends, tlvs)| (Some(ends), tlvs)),
        0x31 | 0x32 => header.get(FIXED + 216..).map(|tlvs| (None, tlvs)),
        _ => return Err("a family that there is not"),
    }
    .ok_or("too short for its addresses")?;
    check(header, tlvs)?;
    Ok(Some((length, ends)))
}

/// Two addresses of `N` bytes, two ports, and what stands behind them.
fn ends_v2<const N: usize>(header: &[u8]) -> Option<(Ends, &[u8])>
where
    [u8; N]: Into<IpAddr>,
{
    let (client, rest) = header[FIXED..].split_first_chunk::<N>()?;
    let (local, rest) = rest.split_first_chunk::<N>()?;
    let (ports, tlvs) = rest.split_first_chunk::<4>()?;
    let client = SocketAddr::new((*client).into(), u16::from_be_bytes([ports[0], ports[1]]));
    let local = SocketAddr::new((*local).into(), u16::from_be_bytes([ports[2], ports[3]]));
    Some((Ends { client, local }, tlvs))
}

/// Sees to it that the TLVs fill their place, and that the checksum, if there is one, is right.
fn check(header: &[u8], mut tlvs: &[u8]) -> Result<(), &'static str> {
    while let [kind, high, low, rest @ ..] = tlvs {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest.split_at_checked(length).ok_or("a TLV that goes beyond the header")?;
        if *kind == CHECKSUM {
            let said = u32::from_be_bytes(value.try_into().map_err(|_| "a checksum that is none")?);
            let place = header.len() - rest.len() - length;
            let without = |(at, byte): (usize, &u8)| if (place..place + length).contains(&at) { 0 } else { *byte };
            if crc32c(header.iter().enumerate().map(without)) != said {
                return Err("a wrong checksum");
            }
        }
        tlvs = rest;
    }
    if tlvs.is_empty() { Ok(()) } else { Err("a TLV that goes beyond the header") }
}

/// Castagnoli's CRC, bit by bit: it is a few dozen bytes, once for each connection.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let byte = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    };
    !bytes.fold(u32::MAX, byte)
}

/// The header of version 1 that says this; none speaks for oneself, as probes do.
pub fn write_v1(ends: Option<Ends>) -> Vec<u8> {
    let Some(Ends { client, local }) = ends.map(alike) else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), local.ip(), client.port(), local.port()).into_bytes()
}

/// The header of version 2 that says this; none speaks for oneself.
pub fn write_v2(ends: Option<Ends>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some(Ends { client, local }) = ends.map(alike) else {
        header.extend([0x20, 0x00, 0, 0]);
        return header;
    };
    header.extend(if client.is_ipv4() { [0x21, 0x11, 0, 12] } else { [0x21, 0x21, 0, 36] });
    for end in [client, local] {
        match end.ip() {
            IpAddr::V4(address) => header.extend(address.octets()),
            IpAddr::V6(address) => header.extend(address.octets()),
        }
    }
    header.extend([client.port(), local.port()].map(u16::to_be_bytes).concat());
    header
}

/// Both of one family.
fn alike(Ends { client, local }: Ends) -> Ends {
    let plain = |address: SocketAddr| address.ip().to_canonical();
    let (mut one, mut other) = (plain(client), plain(local));
    if one.is_ipv4() != other.is_ipv4() {
        let wide = |address| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().into(),
            wide @ IpAddr::V6(_) => wide,
        };
        (one, other) = (wide(one), wide(other));
    }
    Ends { client: SocketAddr::new(one, client.port()), local: SocketAddr::new(other, local.port()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(client: &str, local: &str) -> Ends {
        Ends { client: client.parse().unwrap(), local: local.parse().unwrap() }
    }

    /// A header of version 2 with this behind its signature, and its true length put in.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const FOUR: [u8; 12] = [10, 1, 2, 3, 10, 9, 9, 9, 0x1f, 0x90, 0, 80];

    #[test]
    fn what_is_written_is_read_again_and_nothing_behind_it() {
        let cases = [Some(ends("10.1.2.3:8080", "10.9.9.9:80")), Some(ends("[2001:db8::1]:1", "[::1]:65535")), None];
        for write in [write_v1, write_v2] {
            for said in cases {
                let header = write(said);
                let mut bytes = header.clone();
                bytes.extend(b"GET / HTTP/1.1\r\n\r\n");
                assert_eq!(parse(&bytes), Parsed::Complete(header.len(), said));
                for length in 0..header.len() {
                    assert_eq!(parse(&header[..length]), Parsed::Partial, "{length}");
                }
            }
        }
    }

    #[test]
    fn addresses_of_two_families_are_written_as_of_one() {
        let mapped = ends("[::ffff:10.1.2.3]:8080", "10.9.9.9:80");
        assert_eq!(write_v1(Some(mapped)), b"PROXY TCP4 10.1.2.3 10.9.9.9 8080 80\r\n");
        let mixed = ends("[2001:db8::1]:8080", "10.9.9.9:80");
        assert_eq!(write_v1(Some(mixed)), b"PROXY TCP6 2001:db8::1 ::ffff:10.9.9.9 8080 80\r\n");
        assert!(matches!(parse(&write_v2(Some(mixed))), Parsed::Complete(52, Some(_))));
    }

    #[test]
    fn what_version_1_may_say_besides_is_read() {
        let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(longest.len(), LONGEST_V1);
        for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN whatever \t this is\r\n", longest] {
            assert_eq!(parse(line.as_bytes()), Parsed::Complete(line.len(), None), "{line}");
        }
        let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\nPROXY ";
        assert_eq!(parse(line), Parsed::Complete(36, Some(ends("1.2.3.4:0", "5.6.7.8:65535"))));
    }

    #[test]
    fn what_is_not_quite_version_1_is_not_read() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!(long.len(), LONGEST_V1 + 1);
        let bad = [
            "GET / HTTP/1.1\r\n",
            "\r\nPROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            " PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8  1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
            "PROXY TCP4 1.2.3.4\r5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n",
            "PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP6 ::1 ::g 1 2\r\n",
            "PROXY TCP6 [::1] ::2 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
            "PROXY TCP4 example.com 5.6.7.8 1 2\r\n",
            &long,
            &long[..LONGEST_V1],
        ];
        for line in bad {
            assert!(matches!(parse(line.as_bytes()), Parsed::Malformed(_)), "{line:?}");
        }
        assert!(matches!(parse(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \xff\r\n"), Parsed::Malformed(_)));
        // 106 bytes may still end rightly, 107 without an end may not.
        assert_eq!(parse(&long.as_bytes()[..LONGEST_V1 - 1]), Parsed::Partial);
    }

    #[test]
    fn what_version_2_may_say_besides_is_read() {
        let of = |command, family, rest: &[u8]| parse(&header(command, family, rest));
        let told = Some(ends("10.1.2.3:8080", "10.9.9.9:80"));
        assert_eq!(of(0x21, 0x12, &FOUR), Parsed::Complete(28, told));
        let tlvs = [&FOUR[..], &[0x02, 0, 3, b'a', b'.', b'b', 0x04, 0, 0]].concat();
        assert_eq!(of(0x21, 0x11, &tlvs), Parsed::Complete(37, told));
        assert_eq!(of(0x20, 0x00, &[]), Parsed::Complete(16, None));
        assert_eq!(of(0x20, 0x11, &FOUR), Parsed::Complete(28, None), "a proxy's own, such as a probe");
        assert_eq!(of(0x20, 0xff, b"anything"), Parsed::Complete(24, None));
        assert_eq!(of(0x21, 0x00, b"anything"), Parsed::Complete(24, None));
        assert_eq!(of(0x21, 0x31, &[0; 216]), Parsed::Complete(232, None));
        let longest = [&FOUR[..], &[0x04, 0x07, 0xe1], &[0; 2017]].concat();
        assert_eq!(of(0x21, 0x11, &longest), Parsed::Complete(LONGEST, told));
    }

    #[test]
    fn what_is_not_quite_version_2_is_not_read() {
        let bad = |bytes: &[u8]| assert!(matches!(parse(bytes), Parsed::Malformed(_)), "{bytes:x?}");
        for command in [0x00, 0x01, 0x11, 0x22, 0x2f, 0x31, 0xff] {
            bad(&header(command, 0x11, &FOUR));
            bad(&header(command, 0x11, &FOUR)[..13]);
        }
        for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x23, 0x30, 0x33, 0x41, 0xff] {
            bad(&header(0x21, family, &[0; 216]));
        }
        bad(&header(0x21, 0x11, &FOUR[..11]));
        bad(&header(0x21, 0x11, &[]));
        bad(&header(0x21, 0x21, &[0; 35]));
        bad(&header(0x21, 0x31, &[0; 215]));
        for tlvs in [&[0x04][..], &[0x04, 0], &[0x04, 0, 1], &[0x04, 0, 0, 0x04], &[0x04, 0xff, 0xff, 0]] {
            bad(&header(0x21, 0x11, &[&FOUR[..], tlvs].concat()));
        }
        let mut long = header(0x21, 0x11, &FOUR);
        long[14..16].copy_from_slice(&2033_u16.to_be_bytes());
        bad(&long[..FIXED]);
        let mut signature = header(0x21, 0x11, &FOUR);
        signature[11] = b'\r';
        bad(&signature);
        bad(b"\r\n\r\n\0\r\nQUIX");
    }

    #[test]
    fn a_checksum_is_verified() {
        // The check value of the CRC catalogue.
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        let with = |sum: &[u8]| {
            let length = u8::try_from(sum.len()).unwrap();
            header(0x21, 0x11, &[&FOUR[..], &[CHECKSUM, 0, length], sum, &[0x04, 0, 0]].concat())
        };
        let mut bytes = with(&[0; 4]);
        let sum = crc32c(bytes.iter().copied()).to_be_bytes();
        bytes[31..35].copy_from_slice(&sum);
        assert!(matches!(parse(&bytes), Parsed::Complete(38, Some(_))));
        bytes[17] ^= 1;
        assert_eq!(parse(&bytes), Parsed::Malformed("a wrong checksum"));
        assert!(matches!(parse(&with(&[0; 4])), Parsed::Malformed(_)));
        assert!(matches!(parse(&with(&[0; 3])), Parsed::Malformed(_)));
    }

    proptest! {
        #[test]
        fn a_header_ends_in_one_place_however_its_bytes_come(
            begin in prop_oneof![Just(SIGNATURE.to_vec()), Just(b"PROXY ".to_vec()), Just(b"PROXY TCP4 1.2.3.4 ".to_vec())],
            fixed in proptest::option::of((prop_oneof![Just(0x20_u8), Just(0x21)], 0_u8..0x34, 0_u16..300)),
            rest in proptest::collection::vec(any::<u8>(), 0..400),
            line in "[0-9A-Z:. ]{0,60}(\r\n)?",
        ) {
            let fixed = fixed.map(|(command, family, length)| [&[command, family][..], &length.to_be_bytes()].concat());
            let bytes = [begin, fixed.unwrap_or_default(), line.into_bytes(), rest].concat();
            // As soon as it is decided, more bytes change nothing.
            let mut decided = None;
            for length in 0..=bytes.len() {
                match (parse(&bytes[..length]), decided) {
                    (Parsed::Complete(end, _), _) if end > length => prop_assert!(false, "{end} of {length}"),
                    (parsed, Some(before)) => prop_assert_eq!(parsed, before),
                    (Parsed::Partial, None) => {}
                    (parsed, None) => decided = Some(parsed),
                }
            }
        }
    }
}
