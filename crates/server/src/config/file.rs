//! The configuration file: flat TOML, each key from the table.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Draft, Error, Form, KEYS};

/// Applies a file and says which keys it had. `is_inside_data` when it was found in the data folder.
pub fn apply(
    draft: &mut Draft,
    path: &Path,
    text: &str,
    is_inside_data: bool,
) -> Result<Vec<String>, Error> {
    let at = |offset: usize, problem: String| {
        let (line, column) = place(text, offset);
        let path = path.to_owned();
        Error::File {
            path,
            line,
            column,
            problem,
        }
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        at(offset, error.message().to_owned())
    })?;
    let mut names = Vec::new();
    for (name, value) in table.get_ref() {
        let (from, name) = (name.span().start, name.get_ref().as_ref());
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let problem = format!("unknown key `{name}`; docs/configuration.md has all of them");
            return Err(at(from, problem));
        };
        if name == "data" && is_inside_data {
            let problem = "`data` cannot be in the file inside the data folder";
            return Err(at(from, problem.to_owned()));
        }
        let from = value.span().start;
        let text = as_text(value, key.form).map_err(|offset| {
            let offset = offset.unwrap_or(from);
            at(offset, format!("`{name}` takes {}", takes(key.form)))
        })?;
        (key.set)(draft, &text).map_err(|problem| at(from, format!("`{name}`: {problem}")))?;
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The value as the flag would have it; `Err` tells which part of it is of the wrong kind, if not all.
fn as_text(value: &Spanned<DeValue<'_>>, form: Form) -> Result<String, Option<usize>> {
    match (value.get_ref(), form) {
        (DeValue::String(text), Form::Text(_)) => Ok(text.to_string()),
        (DeValue::Boolean(on), Form::Switch) => Ok(on.to_string()),
        (DeValue::Integer(number), Form::Number) => Ok(number.to_string()),
        (DeValue::Table(table), Form::Map(_)) => {
            let pair = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let text = as_text(value, Form::Text("")).map_err(|_| Some(value.span().start))?;
                let name: &std::borrow::Cow<'_, str> = name.get_ref();
                Ok::<_, Option<usize>>(format!("{name}={text}"))
            };
            let pairs: Result<Vec<String>, Option<usize>> = table.iter().map(pair).collect();
            Ok(pairs?.join(","))
        }
        _ => Err(None),
    }
}

fn takes(form: Form) -> &'static str {
    match form {
        Form::Text(_) => "text in quotes",
        Form::Number => "a whole number",
        Form::Switch => "true or false",
        Form::Map(_) => "a table of text in quotes",
    }
}

/// Line and column of an offset, both from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}
