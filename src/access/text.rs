//! Numbers, addresses and moments as text, right into a line's buffer: the machinery of `std::fmt` costs as much for one address as all
//! the rest of a line.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::endpoint::Address;

/// The numbers below a hundred, in two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// A number, in as many digits as it takes.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    match number {
        // Most are, in parts of addresses, in seconds and in counts.
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&PAIRS[number as usize]),
        _ => long(out, number),
    }
}

fn long(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [0; 20];
    let mut begin = text.len();
    while number >= 10 {
        begin -= 2;
        text[begin..begin + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if number > 0 {
        begin -= 1;
        text[begin] = b'0' + number as u8;
    }
    out.extend_from_slice(&text[begin..]);
}

/// A number below a million, in six digits.
pub(super) fn millionths(out: &mut Vec<u8>, number: u32) {
    let [first, second, third] =
        [number / 10_000 % 100, number / 100 % 100, number % 100].map(|pair| PAIRS[pair as usize]);
    out.extend_from_slice(&[first[0], first[1], second[0], second[1], third[0], third[1]]);
}

/// Where an endpoint serves. Hosts are checked when they are read: nothing in them has to be escaped.
pub(super) fn address(out: &mut Vec<u8>, address: &Address) {
    match address {
        Address::Ip(address) => socket(out, *address),
        Address::Name(host, of_host) => {
            out.extend_from_slice(host.as_bytes());
            port(out, *of_host);
        }
    }
}

/// An address with its port.
pub(super) fn socket(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => {
            v4(out, *address.ip());
            port(out, address.port());
        }
        SocketAddr::V6(address) => display(out, address),
    }
}

/// An address.
pub(super) fn ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => v4(out, address),
        IpAddr::V6(address) => display(out, address),
    }
}

fn v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (place, part) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        number(out, u64::from(part));
    }
}

fn port(out: &mut Vec<u8>, port: u16) {
    out.push(b':');
    number(out, u64::from(port));
}

/// The bytes of a number in hexadecimal digits.
pub(super) fn hexadecimal(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]));
}

/// What displays itself.
pub(super) fn display(out: &mut Vec<u8>, what: impl Display) {
    use std::io::Write as _;
    // Into memory, which does not fail.
    let _ = write!(out, "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_library_writes_them() {
        let around = (0..20).map(|power| 10_u64.pow(power)).flat_map(|ten| [ten - 1, ten, ten + 1]);
        for one in around.chain([u64::MAX, 42, 4_096]) {
            assert_eq!(written(|out| number(out, one)), one.to_string());
        }
        for one in [0, 7, 1_234, 56_789, 999_999] {
            assert_eq!(written(|out| millionths(out, one)), format!("{one:06}"));
        }
        assert_eq!(written(|out| hexadecimal(out, &0x0123_abcd_u32.to_be_bytes())), "0123abcd");
    }

    #[test]
    fn addresses_are_written_as_the_library_writes_them() {
        for text in ["0.0.0.0:0", "127.0.0.1:80", "255.10.9.100:65535", "[::1]:443", "[2001:db8::9]:8080"] {
            let known: SocketAddr = text.parse().unwrap();
            assert_eq!(written(|out| socket(out, known)), text);
            assert_eq!(written(|out| ip(out, known.ip())), known.ip().to_string());
            assert_eq!(written(|out| address(out, &Address::Ip(known))), text);
        }
        assert_eq!(written(|out| address(out, &Address::new("Db.internal", 5432))), "db.internal:5432");
    }
}
