//! A package of Debian's, from the mirror this machine uses anyway and checked with the keys it trusts anyway, but with an apt whose
//! sources, lists and cache are its own: nothing of the system's is touched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

/// Downloads and unpacks a package of a Debian release under this directory; where its programs lie then.
pub(super) fn fetch(apt: &Path, (package, suite): (&str, &str)) -> io::Result<PathBuf> {
    fs::remove_dir_all(apt).ok();
    for directory in ["etc", "state/lists/partial", "cache/archives/partial", "deb", "root"] {
        fs::create_dir_all(apt.join(directory))?;
    }
    let source = source(suite).ok_or_else(|| io::Error::other("no source of Debian packages in /etc/apt"))?;
    fs::write(apt.join("etc").join(source.file), source.text)?;
    fs::write(apt.join("apt.conf"), config(apt)?)?;
    run("apt-get", apt, &["update", "-q"])?;
    run("apt-get", apt, &["download", "-q", package])?;
    let packages = fs::read_dir(apt.join("deb"))?.collect::<io::Result<Vec<_>>>()?;
    let archive = packages.first().ok_or_else(|| io::Error::other("apt-get download left no file"))?;
    run("dpkg", apt, &["-x", &archive.file_name().to_string_lossy(), "../root"])?;
    Ok(apt.join("root/usr/bin"))
}

fn run(program: &str, apt: &Path, arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(apt.join("deb")).env("APT_CONFIG", apt.join("apt.conf"));
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::other(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{program} {}: {}", arguments.join(" "), said.trim())))
}

/// Directories of its own, and how this machine reaches its mirrors (proxies, certificates) as it is configured. The
/// system's hooks are left out: they would clean up the system's cache.
fn config(apt: &Path) -> io::Result<String> {
    let own = ["etc", "state", "cache"].map(|directory| apt.join(directory).display().to_string());
    let [etc, state, cache] = own;
    let mut config = format!(
        r#"
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{etc}";
Dir::State "{state}";
Dir::State::Status "/dev/null";
Dir::Cache "{cache}";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
"#
    );
    let dump = Command::new("apt-config").arg("dump").output();
    let dump = dump.map_err(|error| io::Error::other(format!("apt-config: {error}")))?;
    for line in String::from_utf8_lossy(&dump.stdout).lines() {
        let is_transport = line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets");
        if is_transport && !line.starts_with("Acquire::Languages") && !line.starts_with("Acquire::Retries") {
            config += &format!("{line}\n");
        }
    }
    Ok(config)
}

/// A file for apt's list of sources.
struct Source {
    file: &'static str,
    text: String,
}

/// The machine's own source of Debian's main component, turned to another suite.
fn source(suite: &str) -> Option<Source> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|part| part.path()));
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(text.lines().filter_map(|line| one_line(line, (suite, codename)))),
            Some("sources") => {
                found.extend(text.split("\n\n").filter_map(|stanza| stanza_of(stanza, (suite, codename))))
            }
            _ => {}
        }
    }
    found.into_iter().min_by_key(|(rank, _)| *rank).map(|(_, source)| source)
}

/// How sure we are that it is Debian itself, 0 the surest: its path ends so, or it has this machine's release.
fn rank(uri: &str, mut suites: impl Iterator<Item: AsRef<str>>, codename: Option<&str>) -> Option<u8> {
    if uri.trim_end_matches('/').ends_with("/debian") {
        return Some(0);
    }
    suites.any(|suite| Some(suite.as_ref()) == codename).then_some(1)
}

/// `deb [options] uri suite component…`
fn one_line(line: &str, (wanted, codename): (&str, Option<&str>)) -> Option<(u8, Source)> {
    let line = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match line.strip_prefix('[') {
        Some(line) => line.split_once(']')?,
        None => ("", line),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    words.find(|component| *component == "main")?;
    let rank = rank(uri, [suite].into_iter(), codename)?;
    let text = format!("deb [{options}] {uri} {wanted} main\n").replace("[] ", "");
    Some((rank, Source { file: "debian.list", text }))
}

/// The same in many lines: kept as it is, keys included, but for what is to be had from there.
fn stanza_of(stanza: &str, (wanted, codename): (&str, Option<&str>)) -> Option<(u8, Source)> {
    let mut fields: Vec<String> = Vec::new();
    for line in stanza.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => *field += &format!("\n{line}"),
            _ => fields.push(line.to_owned()),
        }
    }
    let value = |name: &str| {
        let mut named = fields.iter().filter_map(|field| field.split_once(':'));
        named.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let has = |name, word| value(name).is_some_and(|value| value.split_whitespace().any(|part| part == word));
    if !has("Types", "deb") || !has("Components", "main") || has("Enabled", "no") {
        return None;
    }
    let suites = value("Suites")?.split_whitespace();
    let rank = rank(value("URIs")?.split_whitespace().next()?, suites, codename)?;
    let replaced = ["Types:", "Suites:", "Components:"];
    fields.retain(|field| !replaced.iter().any(|name| field.starts_with(name)));
    let text = format!("Types: deb\nSuites: {wanted}\nComponents: main\n{}\n", fields.join("\n"));
    Some((rank, Source { file: "debian.sources", text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_source_of_debian_is_turned_to_another_suite() {
        let line = |line: &str| one_line(line, ("bullseye", Some("trixie"))).map(|(rank, source)| (rank, source.text));
        let signed = "deb [signed-by=/k.gpg] http://m/debian/ trixie main contrib";
        assert_eq!(line(signed), Some((0, "deb [signed-by=/k.gpg] http://m/debian/ bullseye main\n".into())));
        assert_eq!(line("deb http://m/x trixie main"), Some((1, "deb http://m/x bullseye main\n".into())));
        assert_eq!(line("deb http://other/apt cloud-trixie main"), None);
        assert_eq!(line("deb http://m/debian trixie contrib"), None);
        assert_eq!(line("# deb http://m/debian trixie main"), None);

        let stanza = |stanza: &str| stanza_of(stanza, ("bullseye", Some("trixie"))).map(|(_, source)| source.text);
        let own = "Types: deb deb-src\n# a word\nURIs: mirror+file:/m\nSuites: trixie\n trixie-updates\nComponents: main\nSigned-By:\n key\n .\n";
        let ours = "Types: deb\nSuites: bullseye\nComponents: main\nURIs: mirror+file:/m\nSigned-By:\n key\n .\n";
        assert_eq!(stanza(own), Some(ours.into()));
        assert_eq!(stanza(&format!("Enabled: no\n{own}")), None);
        assert_eq!(
            stanza("Types: deb\nURIs: http://m/debian-security\nSuites: trixie-security\nComponents: main\n"),
            None
        );
    }
}
