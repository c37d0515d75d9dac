//! `?filter=`: the part of Consul's filter language (go-bexpr) that people use on services.
//!
//! An expression is parsed, then checked against the fields of what it will judge, then applied to each entry in its JSON
//! form. Only `matches`, which needs regular expressions, is refused. Two rules of go-bexpr surprise and are kept: a list in
//! the middle of a path matches if any element does, and a key that is missing is unlike everything and in nothing.

pub mod fields;
mod parse;

use super::answer::Refusal;
use super::call::Call;
use fields::{Field, Fields};
use serde::Serialize;
use serde_json::Value;

/// A filter that fits what it is applied to.
#[derive(Debug, PartialEq, Eq)]
pub struct Filter(Expression);

/// A filter as it is written.
#[derive(Debug, PartialEq, Eq)]
enum Expression {
    /// All of them.
    And(Vec<Expression>),
    /// Any of them.
    Or(Vec<Expression>),
    /// Not this one.
    Not(Box<Expression>),
    /// One comparison; `value` is empty where the operator takes none.
    Match { path: Vec<String>, operator: Operator, value: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
    IsEmpty,
    IsNotEmpty,
    Matches,
    NotMatches,
}

impl Operator {
    /// The name that the errors give it.
    fn name(self) -> &'static str {
        match self {
            Self::Equal => "Equal",
            Self::NotEqual => "Not Equal",
            Self::In => "In",
            Self::NotIn => "Not In",
            Self::IsEmpty => "Is Empty",
            Self::IsNotEmpty => "Is Not Empty",
            Self::Matches => "Matches",
            Self::NotMatches => "Not Matches",
        }
    }

    /// What it says of something that is not there.
    fn of_nothing(self) -> bool {
        !matches!(self, Self::Equal | Self::In | Self::IsNotEmpty)
    }

    fn fits(self, field: Field) -> bool {
        match field {
            Field::Text => !matches!(self, Self::IsEmpty | Self::IsNotEmpty),
            Field::Number | Field::Flag => matches!(self, Self::Equal | Self::NotEqual),
            Field::Texts | Field::Pairs | Field::Records(_) => {
                matches!(self, Self::In | Self::NotIn | Self::IsEmpty | Self::IsNotEmpty)
            }
            Field::List(_) => matches!(self, Self::IsEmpty | Self::IsNotEmpty),
            Field::Record(_) => false,
        }
    }
}

impl Filter {
    /// Reads the `filter` of a call on entries with these fields; none if there is none.
    pub fn of(call: &Call, fields: Fields) -> Result<Option<Self>, Refusal> {
        let Some(text) = call.filled("filter") else {
            return Ok(None);
        };
        Self::parse(text, fields)
            .map(Some)
            .map_err(|error| Refusal::failed(&format!("Failed to create boolean expression evaluator: {error}")))
    }

    fn parse(text: &str, fields: Fields) -> Result<Self, String> {
        let expression = parse::parse(text)?;
        check(&expression, fields)?;
        Ok(Self(expression))
    }

    /// Whether this entry, as JSON, matches.
    pub fn matches(&self, entry: &Value) -> bool {
        holds(&self.0, entry)
    }

    /// Keeps the entries that match, in their JSON form.
    pub fn keep(&self, entries: impl Iterator<Item = impl Serialize>) -> Result<Vec<Value>, Refusal> {
        let mut kept = Vec::new();
        for entry in entries {
            let value = serde_json::to_value(entry).map_err(|error| Refusal::failed(&error.to_string()))?;
            if self.matches(&value) {
                kept.push(value);
            }
        }
        Ok(kept)
    }
}

fn check(expression: &Expression, fields: Fields) -> Result<(), String> {
    match expression {
        Expression::And(parts) | Expression::Or(parts) => parts.iter().try_for_each(|part| check(part, fields)),
        Expression::Not(inner) => check(inner, fields),
        Expression::Match { path, operator, value } => {
            let selector = path.join(".");
            let field = fields::find(fields, path)
                .map_err(|wrong| format!("Selector {:?} is not valid", path[..wrong].join(".")))?;
            if !operator.fits(field) {
                return Err(format!("Invalid match operator {:?} for selector {selector:?}", operator.name()));
            }
            if matches!(operator, Operator::Matches | Operator::NotMatches) {
                return Err("This registry does not know regular expressions".to_owned());
            }
            let function = match field {
                Field::Number if value.parse::<i64>().is_err() => "ParseInt",
                Field::Flag if super::call::flag(value).is_none() => "ParseBool",
                _ => return Ok(()),
            };
            Err(format!(
                "Failed to coerce value {value:?} for selector {selector:?}: \
                 strconv.{function}: parsing {value:?}: invalid syntax"
            ))
        }
    }
}

fn holds(expression: &Expression, entry: &Value) -> bool {
    match expression {
        Expression::And(parts) => parts.iter().all(|part| holds(part, entry)),
        Expression::Or(parts) => parts.iter().any(|part| holds(part, entry)),
        Expression::Not(inner) => !holds(inner, entry),
        Expression::Match { path, operator, value } => compare(entry, path, *operator, value),
    }
}

fn compare(at: &Value, path: &[String], operator: Operator, value: &str) -> bool {
    if let Some((step, rest)) = path.split_first() {
        return match at {
            Value::Array(items) => items.iter().any(|item| compare(item, path, operator, value)),
            _ => match at.get(step) {
                Some(inner) => compare(inner, rest, operator, value),
                None => operator.of_nothing(),
            },
        };
    }
    match operator {
        Operator::Equal => equal(at, value),
        Operator::NotEqual => !equal(at, value),
        Operator::In => holds_value(at, value),
        Operator::NotIn => !holds_value(at, value),
        Operator::IsEmpty => is_empty(at),
        Operator::IsNotEmpty => !is_empty(at),
        // Refused when the filter was read.
        Operator::Matches | Operator::NotMatches => false,
    }
}

fn equal(at: &Value, value: &str) -> bool {
    match at {
        Value::String(text) => text == value,
        Value::Number(number) => number.as_i64().is_some_and(|number| value.parse() == Ok(number)),
        Value::Bool(flag) => super::call::flag(value) == Some(*flag),
        _ => false,
    }
}

fn holds_value(at: &Value, value: &str) -> bool {
    match at {
        Value::String(text) => text.contains(value),
        Value::Array(items) => items.iter().any(|item| item.as_str() == Some(value)),
        Value::Object(pairs) => pairs.contains_key(value),
        _ => false,
    }
}

fn is_empty(at: &Value) -> bool {
    match at {
        Value::Array(items) => items.is_empty(),
        Value::Object(pairs) => pairs.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::fields::HEALTH;
    use super::*;
    use serde_json::json;

    fn entry() -> Value {
        json!({
            "Node": {"Node": "n1", "Meta": {"zone": "a"}},
            "Service": {
                "ID": "web-1", "Tags": ["v1", "blue"], "Port": 80, "EnableTagOverride": false,
                "Meta": {"version": "1.2", "my-key": "x"}, "Weights": {"Passing": 5, "Warning": 1}
            },
            "Checks": [{"Status": "passing"}, {"Status": "critical"}]
        })
    }

    fn holds(text: &str) -> bool {
        Filter::parse(text, HEALTH).unwrap().matches(&entry())
    }

    #[test]
    fn what_is_true_of_an_instance_matches() {
        for text in [
            r#"Service.Meta.version == "1.2""#,
            r#""blue" in Service.Tags"#,
            "Service.Tags contains v1 and Service.Tags not contains v2",
            r#""v2" not in Service.Tags"#,
            "Service.Port == 80",
            "Service.Weights.Passing == 5",
            "Service.EnableTagOverride == false",
            r#"Service.Meta["my-key"] == `x`"#,
            "version in Service.Meta",
            "Service.Tags is not empty",
            "Node.Meta.zone == a",
            r#""eb" in Service.ID"#,
            r#"not (Node.Node == "n2" or Node.Node == "n3")"#,
            "Node.Node == n2 or Node.Node == n1 and Service.Port != 81",
        ] {
            assert!(holds(text), "{text}");
        }
    }

    #[test]
    fn any_check_that_matches_is_enough_as_in_consul() {
        assert!(holds(r#"Checks.Status == "critical""#));
        assert!(holds(r#"Checks.Status != "critical""#));
        assert!(!holds(r#"not Checks.Status == "critical""#));
        assert!(!holds("Checks.Status == warning"));
    }

    #[test]
    fn a_missing_key_is_unlike_everything() {
        assert!(holds("Service.Meta.none != x"));
        assert!(!holds("Service.Meta.none == x"));
        assert!(holds("x not in Service.Meta.none"));
        assert!(!holds("Service.Tags is empty"));
    }

    #[test]
    fn a_filter_that_does_not_fit_is_refused() {
        for (text, error) in [
            ("Foo == x", r#"Selector "Foo" is not valid"#),
            ("Service.Foo == x", r#"Selector "Service.Foo" is not valid"#),
            ("Service == x", r#"Invalid match operator "Equal" for selector "Service""#),
            (
                "Service.Port == x",
                r#"Failed to coerce value "x" for selector "Service.Port": strconv.ParseInt: parsing "x": invalid syntax"#,
            ),
            ("Service.Tags == x", r#"Invalid match operator "Equal" for selector "Service.Tags""#),
            ("Service.ID is empty", r#"Invalid match operator "Is Empty" for selector "Service.ID""#),
            ("Service.ID matches x", "This registry does not know regular expressions"),
        ] {
            assert_eq!(Filter::parse(text, HEALTH), Err(error.into()), "{text}");
        }
    }
}
