//! What bodies hold: a line that names the request, who answered and what came with the request, and then bytes that follow from
//! the request's id. An answer of another request, one that was cut, and one with a foreign piece in it cannot be taken for right.

use xxhash_rust::xxh3::xxh3_64;

/// So many bytes that belong to this id and no other.
pub fn bytes(id: u64, length: usize) -> Vec<u8> {
    let mut chance = fastrand::Rng::with_seed(id);
    let mut bytes = vec![0; length];
    chance.fill(&mut bytes);
    bytes
}

/// The answer of the origin `name` to a request with this body, with so many bytes behind its first line.
pub fn answer(id: u64, name: &str, request: &[u8], length: usize) -> Vec<u8> {
    let mut body = format!("{id} {name} {:016x} {length}\n", xxh3_64(request)).into_bytes();
    body.extend(bytes(id, length));
    body
}

/// Who gave this answer, if it is the one to the request with this id and body.
pub fn check(id: u64, request: &[u8], length: usize, body: &[u8]) -> Result<String, String> {
    let end = body.iter().position(|byte| *byte == b'\n').ok_or("an answer without a first line")?;
    let first = std::str::from_utf8(&body[..end]).map_err(|_| "a first line that is no text")?;
    let name = first.split(' ').nth(1).unwrap_or_default();
    if body == answer(id, name, request, length) {
        return Ok(name.to_owned());
    }
    Err(format!("asked for {length} bytes with id {id} and got {} bytes: {first:?}", body.len() - end - 1))
}
