//! Source files as the house test reads them: code without comments, without the text of strings where that matters, and
//! without the parts that are for tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
pub struct Source {
    /// From the root of the project, with `/`.
    pub path: String,
    /// As it is written.
    pub text: String,
    /// Without comments and tests, and with empty strings. Lines are where they were.
    pub code: String,
    /// The same with the text of its strings.
    pub speech: String,
}

/// Every Rust file in these folders, in the order of their paths.
pub fn under(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| collect(&root.join(folder), &mut paths));
    paths.sort();
    assert!(!paths.is_empty(), "no source in {folders:?}");
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    paths.iter().map(|path| Source::new(name(path), fs::read_to_string(path).unwrap())).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.ends_with("target") {
            // What the fuzz targets were built to.
        } else if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let is_test = path.ends_with("/tests.rs") || path.starts_with("tests/") || path.contains("/tests/");
        let (code, speech) = if is_test { Default::default() } else { strip(&text) };
        Source { path, text, code, speech }
    }

    /// The top-level module that the file belongs to; none for the crate's root.
    pub fn room(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let room = below.split('/').next()?.trim_end_matches(".rs");
        (room != "lib").then_some(room)
    }

    /// The rooms that the code names from the crate's root, each with its line.
    pub fn rooms_named(&self) -> Vec<(String, usize)> {
        let mut rooms = Vec::new();
        // The binary is a crate of its own and names the library.
        for root in ["crate::", "lictor::"] {
            for (at, _) in self.code.match_indices(root).filter(|(at, _)| self.begins_word(*at)) {
                let rest = self.code[at + root.len()..].trim_start();
                let names = match rest.strip_prefix('{') {
                    Some(group) => members(group),
                    None => vec![identifier(rest)],
                };
                rooms.extend(names.into_iter().map(|name| (name.to_owned(), self.line(at))));
            }
        }
        rooms
    }

    /// The lines on which `super::` leads out of the room, by which a reference would escape [`Self::rooms_named`].
    pub fn climbs_to_the_root(&self) -> Vec<usize> {
        let below = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let depth = below.split('/').count();
        let climb = "super::".repeat(depth);
        let found = self.code.match_indices(&climb).filter(|(at, _)| self.begins_word(*at));
        found.map(|(at, _)| self.line(at)).collect()
    }

    /// The lines of code that hold this text.
    pub fn lines_with(&self, text: &str) -> Vec<usize> {
        self.code.match_indices(text).map(|(at, _)| self.line(at)).collect()
    }

    /// The lines of code that hold this word, which is not part of another and not a lifetime.
    pub fn words(&self, word: &str) -> Vec<usize> {
        let ends = |at: usize| !self.code[at + word.len()..].starts_with(is_word);
        let found = self.code.match_indices(word).map(|(at, _)| at);
        found.filter(|at| self.begins_word(*at) && ends(*at)).map(|at| self.line(at)).collect()
    }

    /// True if the item on this line, or on the one after an attribute, is the process's allocator.
    pub fn is_allocator(&self, line: usize) -> bool {
        let lines: Vec<&str> = self.code.lines().collect();
        lines[line.saturating_sub(2)..line].iter().any(|line| line.contains("#[global_allocator]"))
    }

    fn begins_word(&self, at: usize) -> bool {
        !self.code[..at].ends_with(|c| is_word(c) || matches!(c, '\'' | '$' | ':'))
    }

    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn identifier(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// The first identifier of each member of a `{…}` group, whose opening brace is gone.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(identifier(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The text without comments, strings and tests, and the same with its strings.
fn strip(text: &str) -> (String, String) {
    let text: Vec<char> = text.chars().collect();
    let (mut code, mut speech) = (text.clone(), text.clone());
    let mut at = 0;
    while at < text.len() {
        let (end, is_comment) = match text[at..] {
            ['/', '/', ..] => (find(&text, at, &['\n']), true),
            ['/', '*', ..] => (find(&text, at + 2, &['*', '/']) + 2, true),
            ['r', '#' | '"', ..] if at == 0 || !is_word(text[at - 1]) || text[at - 1] == 'b' => raw_string(&text, at),
            ['"', ..] => (quoted(&text, at, '"'), false),
            // A character, unless it is a lifetime.
            ['\'', '\\', ..] | ['\'', _, '\'', ..] => (quoted(&text, at, '\''), false),
            _ => (at, false),
        };
        let end = end.clamp(at + 1, text.len());
        if end > at + 1 {
            blank(&mut code[at..end]);
            if is_comment {
                blank(&mut speech[at..end]);
            }
        }
        at = end;
    }
    for (start, end) in tests(&code) {
        blank(&mut code[start..end]);
        blank(&mut speech[start..end]);
    }
    (code.into_iter().collect(), speech.into_iter().collect())
}

fn blank(part: &mut [char]) {
    part.iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
}

/// Where the pattern next begins, or the end.
fn find(text: &[char], from: usize, pattern: &[char]) -> usize {
    let windows = text.get(from..).unwrap_or_default().windows(pattern.len());
    windows.into_iter().position(|window| window == pattern).map_or(text.len(), |place| from + place)
}

/// Behind the closing quote.
fn quoted(text: &[char], from: usize, quote: char) -> usize {
    let mut at = from + 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Behind a raw string; the same place for a raw identifier.
fn raw_string(text: &[char], from: usize) -> (usize, bool) {
    let hashes = text[from + 1..].iter().take_while(|c| **c == '#').count();
    if text.get(from + 1 + hashes) != Some(&'"') {
        return (from, false);
    }
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    (find(text, from + 2 + hashes, &close) + close.len(), false)
}

/// The items under `#[cfg(test)]`, from the attribute to the end of the item.
fn tests(code: &[char]) -> Vec<(usize, usize)> {
    let attribute: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut parts = Vec::new();
    let mut from = find(code, 0, &attribute);
    while from < code.len() {
        let (mut end, mut braces, mut others) = (from + attribute.len(), 0, 0);
        while end < code.len() {
            match code[end] {
                '{' => braces += 1,
                '}' => braces -= 1,
                '(' | '[' => others += 1,
                ')' | ']' => others -= 1,
                _ => {}
            }
            end += 1;
            if braces == 0 && others == 0 && matches!(code[end - 1], '}' | ';') {
                break;
            }
        }
        parts.push((from, end));
        from = find(code, end, &attribute);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(path.to_owned(), text.to_owned())
    }

    #[test]
    fn comments_strings_and_tests_are_not_code() {
        let text = r###"//! crate::a
use crate::b; // crate::c
/* crate::d */ const E: &str = "crate::f \" crate::g"; const Q: char = '"';
const H: &str = r#"crate::i " "#; fn j<'a>(k: &'a str) -> crate::l::M { k }
#[cfg(test)]
fn n(o: [u8; 3]) { crate::p::q() }
#[cfg(test)]
mod tests;
use crate::r;
#[cfg(test)]
mod more { use crate::s; mod t { use crate::u; } }
"###;
        let source = source("src/x/y.rs", text);
        let named: Vec<(String, usize)> = source.rooms_named();
        let named: Vec<(&str, usize)> = named.iter().map(|(room, line)| (room.as_str(), *line)).collect();
        assert_eq!(named, [("b", 2), ("l", 4), ("r", 9)]);
        assert!(source.speech.contains("crate::f") && !source.speech.contains("crate::d"));
        assert_eq!(source.room(), Some("x"));
    }

    #[test]
    fn rooms_in_groups_are_found() {
        let source = source("src/x.rs", "use crate::{a, b::{self, c::D}, e::*,\n f as g};\nuse lictor::h;");
        let named: Vec<String> = source.rooms_named().into_iter().map(|(room, _)| room).collect();
        assert_eq!(named, ["a", "b", "e", "f", "h"]);
    }

    #[test]
    fn a_way_out_of_the_room_by_super_is_found() {
        for (path, lines) in [("src/x.rs", vec![1, 2]), ("src/x/mod.rs", vec![1, 2]), ("src/x/y.rs", vec![2])] {
            let source = source(path, "use super::a;\nuse super::super::b;");
            assert_eq!(source.climbs_to_the_root(), lines, "{path}");
        }
    }

    #[test]
    fn a_lifetime_is_not_a_static_and_the_allocator_may_be_one() {
        let text = "fn a() -> &'static str { b }\nstatic C: u8 = 0;\n#[global_allocator]\nstatic D: E = E;";
        let source = source("src/x.rs", text);
        assert_eq!(source.words("static"), [2, 4]);
        assert!(!source.is_allocator(2) && source.is_allocator(4));
    }
}
