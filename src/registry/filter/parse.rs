//! The grammar of filters: `or` binds weakest, then `and`, then `not`; a comparison is `selector operator value`,
//! `value in selector` or `selector is empty`.

use super::{Expression, Operator};

/// How deep parentheses and `not` may go: the parser calls itself.
const MAX_DEPTH: usize = 64;

/// Parses a filter; the error says where it went wrong, as `line:column (offset)`.
pub fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser { text, at: 0 };
    let expression = parser.any_of(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.error(&["and", "or", "end of filter"]));
    }
    Ok(expression)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// One side of a comparison: what it is as a selector, if it can be one, and as a value.
struct Side {
    path: Option<Vec<String>>,
    value: String,
}

impl Parser<'_> {
    fn any_of(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.all_of(depth)?];
        while self.word("or") {
            parts.push(self.all_of(depth)?);
        }
        Ok(single_or(parts, Expression::Or))
    }

    fn all_of(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.negated(depth)?];
        while self.word("and") {
            parts.push(self.negated(depth)?);
        }
        Ok(single_or(parts, Expression::And))
    }

    fn negated(&mut self, depth: usize) -> Result<Expression, String> {
        if depth >= MAX_DEPTH {
            return Err(format!("the filter is nested more than {MAX_DEPTH} deep"));
        }
        if self.word("not") {
            if !self.rest().starts_with([' ', '\t', '\r', '\n']) {
                return Err(self.error(&["space"]));
            }
            return Ok(Expression::Not(Box::new(self.negated(depth + 1)?)));
        }
        if self.sign("(") {
            let inner = self.any_of(depth + 1)?;
            if !self.sign(")") {
                return Err(format!("{}: rule \"grouping\": Unmatched parentheses", self.place()));
            }
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.side()?;
        let membership = if self.word("in") {
            Some(Operator::In)
        } else if self.words("not", "in") {
            Some(Operator::NotIn)
        } else {
            None
        };
        if let Some(operator) = membership {
            let start = self.at;
            let right = self.side()?;
            let Some(path) = right.path else {
                self.at = start;
                return Err(self.error(&["selector"]));
            };
            return Ok(Expression::Match { path, operator, value: left.value });
        }
        let Some(path) = left.path else {
            return Err(self.error(&["in", "not in"]));
        };
        let operator = self.operator()?;
        let value = match operator {
            Operator::IsEmpty | Operator::IsNotEmpty => String::new(),
            _ => self.side()?.value,
        };
        Ok(Expression::Match { path, operator, value })
    }

    fn operator(&mut self) -> Result<Operator, String> {
        if self.sign("==") {
            return Ok(Operator::Equal);
        }
        if self.sign("!=") {
            return Ok(Operator::NotEqual);
        }
        if self.word("is") {
            let found = match (self.word("not"), self.word("empty")) {
                (false, true) => Operator::IsEmpty,
                (true, true) => Operator::IsNotEmpty,
                _ => return Err(self.error(&["empty", "not empty"])),
            };
            return Ok(found);
        }
        let negated = self.word("not");
        match (self.word("contains"), negated) {
            (true, false) => return Ok(Operator::In),
            (true, true) => return Ok(Operator::NotIn),
            (false, _) => {}
        }
        match (self.word("matches"), negated) {
            (true, false) => Ok(Operator::Matches),
            (true, true) => Ok(Operator::NotMatches),
            (false, _) => Err(self.error(&["==", "!=", "in", "contains", "is", "matches"])),
        }
    }

    /// A quoted string, a number, or a name with steps.
    fn side(&mut self) -> Result<Side, String> {
        self.skip_space();
        match self.rest().chars().next() {
            Some('"' | '`') => Ok(Side { path: None, value: self.quoted()? }),
            Some('-' | '0'..='9') => Ok(Side { path: None, value: self.number()? }),
            Some(letter) if letter.is_ascii_alphabetic() => self.selector(),
            _ => Err(self.error(&["selector", "value"])),
        }
    }

    fn selector(&mut self) -> Result<Side, String> {
        let start = self.at;
        let mut path = vec![self.name()];
        loop {
            if self.rest().starts_with('.') {
                self.at += 1;
                let step = self.name();
                if step.is_empty() {
                    return Err(self.error(&["name"]));
                }
                path.push(step);
            } else if self.rest().starts_with('[') {
                self.at += 1;
                self.skip_space();
                path.push(self.quoted()?);
                if !self.sign("]") {
                    return Err(self.error(&["]"]));
                }
            } else {
                break;
            }
        }
        Ok(Side { path: Some(path), value: self.text[start..self.at].to_owned() })
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        self.at += end;
        name
    }

    fn number(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let part = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        if rest[..end].parse::<f64>().is_err() {
            return Err(self.error(&["number"]));
        }
        let number = rest[..end].to_owned();
        self.at += end;
        Ok(number)
    }

    /// A string in double quotes or backquotes; neither knows escapes.
    fn quoted(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '`')) else {
            return Err(self.error(&["string"]));
        };
        let Some(end) = rest[1..].find(quote) else {
            return Err(self.error(&["closing quote"]));
        };
        let inner = rest[1..=end].to_owned();
        self.at += end + 2;
        Ok(inner)
    }

    /// Takes a word that stands for itself.
    fn word(&mut self, word: &str) -> bool {
        let before = self.at;
        self.skip_space();
        if self.name() == word {
            return true;
        }
        self.at = before;
        false
    }

    fn words(&mut self, first: &str, second: &str) -> bool {
        let before = self.at;
        if self.word(first) && self.word(second) {
            return true;
        }
        self.at = before;
        false
    }

    fn sign(&mut self, sign: &str) -> bool {
        let before = self.at;
        self.skip_space();
        if self.rest().starts_with(sign) {
            self.at += sign.len();
            return true;
        }
        self.at = before;
        false
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, expected: &[&str]) -> String {
        let expected: Vec<String> = expected.iter().map(|what| format!("{what:?}")).collect();
        format!("{}: no match found, expected: {}", self.place(), expected.join(" or "))
    }

    /// Where we are, for people.
    fn place(&self) -> String {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = self.at - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        format!("{line}:{column} ({})", self.at)
    }
}

fn single_or(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return only;
    }
    join(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_refused_with_its_place() {
        for text in [
            "",
            "(",
            "a",
            "a ==",
            "a = b",
            "a == b c",
            "(a == b",
            "\"x\" == a",
            "x in \"y\"",
            "a. == b",
            "a[b] == c",
            "a == \"x",
            "a is x",
            "not",
            "a == 1.2.3",
            "\u{fc} == b",
            "a == b or",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("a == b\n or ?").unwrap_err();
        assert!(error.starts_with("2:5 (11): no match found"), "{error}");
    }

    #[test]
    fn a_filter_cannot_be_nested_without_end() {
        let deep = |n: usize| format!("{}a == b{}", "(".repeat(n), ")".repeat(n));
        assert!(parse(&deep(60)).is_ok());
        assert!(parse(&deep(10_000)).is_err());
        assert!(parse(&"not ".repeat(10_000)).is_err());
    }

    #[test]
    fn words_that_only_begin_like_operators_are_names() {
        assert!(parse("order == b").is_ok());
        assert!(parse("nothing in a").is_ok());
        assert!(parse("a == b andc == d").is_err());
    }
}
