//! As much of YAML as map files are written in: keys at the left edge, each with a scalar or a
//! list. Unknown keys are left alone, with all that is indented below them.

/// A key's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    List(Vec<String>),
    Scalar(String),
}

/// What is wrong, and in which line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) what: String,
}

/// The keys of a map file in order; none twice.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Value)>, Fault> {
    let mut entries: Vec<(String, Value)> = Vec::new();
    let mut lines = text.lines().zip(1_usize..);
    while let Some((line, number)) = lines.next() {
        let fault = |what: &str| Fault { line: number, what: what.to_owned() };
        let line = line.trim_start_matches('\u{feff}');
        let content = uncommented(line).trim_end();
        if content.is_empty() || content == "---" || content.starts_with('%') {
            continue;
        }
        if content == "..." {
            break;
        }
        let item = content.trim_start().strip_prefix('-');
        if let Some(item) = item.filter(|item| item.is_empty() || item.starts_with(' ')) {
            // An item of the list of the key above.
            match entries.last_mut() {
                Some((_, Value::List(items))) => items.push(unquoted(item.trim())),
                Some((_, value)) if *value == Value::Scalar(String::new()) => {
                    *value = Value::List(vec![unquoted(item.trim())]);
                }
                _ => return Err(fault("a list item that belongs to no key")),
            }
            continue;
        }
        if content.starts_with([' ', '\t']) {
            if entries.is_empty() {
                return Err(fault("the first key is indented; write keys at the left edge"));
            }
            continue;
        }
        let Some((key, value)) = content.split_once(':') else {
            return Err(fault("neither `key: value` nor a comment"));
        };
        if !value.is_empty() && !value.starts_with([' ', '\t']) {
            return Err(fault("there is no space after the colon"));
        }
        let key = unquoted(key.trim());
        if entries.iter().any(|(known, _)| *known == key) {
            return Err(fault(&format!("`{key}` stands here a second time")));
        }
        let mut value = value.trim().to_owned();
        if value.starts_with('[') {
            // A list may go on over lines until its bracket.
            while !value.ends_with(']') {
                let Some((more, _)) = lines.next() else {
                    return Err(fault("a list without its closing bracket"));
                };
                value.push(' ');
                value.push_str(uncommented(more).trim());
            }
            let items = value[1..value.len() - 1].split(',').map(str::trim);
            let items: Vec<String> = items.filter(|item| !item.is_empty()).map(unquoted).collect();
            entries.push((key, Value::List(items)));
        } else {
            entries.push((key, Value::Scalar(unquoted(&value))));
        }
    }
    Ok(entries)
}

/// The line up to its comment: a `#` at its beginning or after a space, outside of quotes.
fn uncommented(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') if before.is_whitespace() => return &line[..at],
            (None, '"' | '\'') if before.is_whitespace() || before == '[' || before == ',' => {
                quote = Some(letter);
            }
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
        before = letter;
    }
    line
}

fn unquoted(text: &str) -> String {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> Value {
        Value::Scalar(text.to_owned())
    }

    fn list(items: &[&str]) -> Value {
        Value::List(items.iter().map(|item| (*item).to_owned()).collect())
    }

    #[test]
    fn keys_are_read_as_people_and_tools_write_them() {
        let text = "%YAML 1.2\n---\n# a map\nimage: \"my map #1.pgm\" # of the hall\nmode:\ttrinary\n\
                    origin: [-15.1, -25,\n   0.0]\nother:\n  deep: [1\n  - 2: x\nlist:\n- 1\n- -2\n\
                    negate: 0\n...\nrest";
        let entries = parse(text).unwrap();
        assert_eq!(entries[0], ("image".to_owned(), scalar("my map #1.pgm")));
        assert_eq!(entries[1], ("mode".to_owned(), scalar("trinary")));
        assert_eq!(entries[2], ("origin".to_owned(), list(&["-15.1", "-25", "0.0"])));
        assert_eq!(entries[4], ("list".to_owned(), list(&["1", "-2"])));
        assert_eq!(entries[5], ("negate".to_owned(), scalar("0")));
        assert_eq!(entries.len(), 6);
    }

    #[test]
    fn what_is_no_map_file_is_refused_with_its_line() {
        for (text, line, part) in [
            ("image: a\nimage: b", 2, "second time"),
            ("image a", 1, "neither"),
            ("image:a", 1, "space"),
            ("image: a\norigin: [1, 2", 2, "bracket"),
            ("image: a\n- 3", 2, "no key"),
            (" image: a", 1, "indented"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.line == line && fault.what.contains(part), "{text}: {fault:?}");
        }
    }
}
