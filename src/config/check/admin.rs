//! `[admin]`: where the operator's window is, and that nobody looks through it from elsewhere without being asked who they are.

use std::path::{Path, PathBuf};

use super::super::text::is_host_name;
use super::super::{Admin, AdminBind, Secret, raw};
use super::{Problems, socket, tls};

/// 128 bits, if they were drawn by chance: more than anybody can try.
const SHORTEST_TOKEN: usize = 16;
/// The owner reads and writes, which connecting needs, and nobody else.
const MODE: u32 = 0o600;
/// What a socket's path may have on Linux (`sun_path`), less the byte that ends it.
const LONGEST_PATH: usize = 107;

pub(super) fn check(written: raw::Admin, problems: &mut Problems) -> Option<Admin> {
    let bind = bind(&written, problems);
    let token = token(&written, problems);
    let names = names(written.names.unwrap_or_default(), problems);
    if written.tls.as_ref().is_some_and(|tls| tls.kv.is_some()) {
        problems.add("admin.tls.kv", "the operator's window shows certificates in files only; use certificates");
    }
    let tls = written.tls.and_then(|tls| tls::listener("admin", tls, problems));
    let is_unix = matches!(bind, Some(AdminBind::Unix { .. }));
    if is_unix && tls.is_some() {
        problems.add("admin.tls", "there is no TLS on a Unix socket: its file says who may connect");
    }
    let token_file = written.token_file.map(PathBuf::from);
    let anonymous_metrics = written.anonymous_metrics.unwrap_or(false);
    let admin = Admin { bind: bind?, token, token_file, names, anonymous_metrics, tls };
    if let Some(address) = admin.address().filter(|address| !address.ip().to_canonical().is_loopback())
        && !admin.asks()
        // What was given and is wrong has been said.
        && admin.token_file.is_none()
    {
        let advice = "add token_file, or tls with client_auth, so that not everybody there can use it; \
                      or bind \"127.0.0.1:9990\" or \"unix:/run/lictor/admin.sock\"";
        problems.add("admin.bind", format!("{address} can be reached from other machines: {advice}"));
    }
    Some(admin)
}

fn bind(written: &raw::Admin, problems: &mut Problems) -> Option<AdminBind> {
    let Some(path) = written.bind.strip_prefix("unix:") else {
        if written.mode.as_deref().is_some_and(|written| mode(Some(written), problems) != MODE) {
            problems.add("admin.mode", "is for the file of a Unix socket; bind is an address");
        }
        return socket("admin.bind", &written.bind, problems).map(AdminBind::Address);
    };
    if !path.starts_with('/') || path.ends_with('/') || path.len() > LONGEST_PATH {
        let advice = "use \"unix:/run/lictor/admin.sock\", with a path from the root of 107 bytes at most";
        problems.add("admin.bind", format!("\"{}\" is no place for a socket; {advice}", written.bind));
        return None;
    }
    Some(AdminBind::Unix { path: path.into(), mode: mode(written.mode.as_deref(), problems) })
}

fn mode(written: Option<&str>, problems: &mut Problems) -> u32 {
    let Some(written) = written else { return MODE };
    let mode = u32::from_str_radix(written, 8).ok().filter(|mode| (3..=4).contains(&written.len()) && *mode <= 0o777);
    match mode {
        // The next lictor asks there whether this one still listens.
        Some(mode) if mode & 0o200 == 0 => {
            problems.add(
                "admin.mode",
                format!("\"{written}\" keeps lictor itself from connecting; use \"0600\" or \"0660\""),
            );
            MODE
        }
        Some(mode) if mode & 0o007 == 0 => mode,
        Some(_) => {
            problems
                .add("admin.mode", format!("\"{written}\" lets everybody on the machine in; use \"0600\" or \"0660\""));
            MODE
        }
        None => {
            problems.add("admin.mode", format!("\"{written}\" are no rights of a file; use \"0600\" or \"0660\""));
            MODE
        }
    }
}

fn token(written: &raw::Admin, problems: &mut Problems) -> Option<Secret> {
    let given = written.token.as_deref().map(fit);
    if let Some(Err(what)) = &given {
        problems.add("admin.token", *what);
    }
    let given = given.and_then(Result::ok);
    let Some(file) = &written.token_file else { return given };
    match read_token(Path::new(file)) {
        Ok(token) => Some(token),
        // As long as it holds none, the other one counts.
        Err(_) if given.is_some() => given,
        Err(what) => {
            problems.add("admin.token_file", format!("{file}: {what}"));
            None
        }
    }
}

/// The token in a file, or why it is none; without a word of it.
pub fn read_token(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    fit(text.trim()).map_err(str::to_owned)
}

/// Without a word of it, if it is unfit.
fn fit(token: &str) -> Result<Secret, &'static str> {
    if token.len() < SHORTEST_TOKEN {
        return Err("the token has less than 16 characters, and could be guessed; draw one with: openssl rand -hex 32");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token has characters that cannot stand in a header; draw one with: openssl rand -hex 32");
    }
    Ok(Secret::new(token))
}

fn names(written: Vec<String>, problems: &mut Problems) -> Vec<String> {
    for name in written.iter().filter(|name| !is_host_name(name)) {
        problems
            .add("admin.names", format!("\"{name}\" is not a host's name; use \"lictor.internal\", without a port"));
    }
    written.into_iter().map(|name| name.to_ascii_lowercase()).collect()
}
