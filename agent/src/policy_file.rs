//! An owner's policy before it is signed: a file in TOML or JSON, by its extension.
//!
//! TOML can hold the reason for a number beside it; JSON is what programs write. Both are the
//! same document, and what is signed is neither text but its canonical CBOR.

use crate::config::explain;
use nooterra_policy::{DocumentError, check_room};
use nooterra_protocol::policy::PolicyDocument;
use std::path::{Path, PathBuf};

/// Why a file is not a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It reads, and its numbers make no sense.
    #[error("{}: {fault}", path.display())]
    Document {
        /// What is wrong with it.
        fault: DocumentError,
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{}: {fault}", path.display())]
    File {
        /// What the system says.
        fault: std::io::Error,
        /// The file.
        path: PathBuf,
    },
    /// Not TOML or JSON, an unknown or missing key, or a value of the wrong type.
    #[error("{}:{line}:{column}: {what}", path.display())]
    Syntax {
        /// Counted from 1.
        column: usize,
        /// Counted from 1.
        line: usize,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Reads and checks a policy: TOML where the file's name ends so, otherwise JSON.
///
/// # Errors
/// [`PolicyFileError`].
pub fn load(path: &Path) -> Result<PolicyDocument, PolicyFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|fault| PolicyFileError::File { fault, path: path.to_owned() })?;
    parse(&text, path)
}

/// Reads and checks a text; `path` tells the syntax, and is for messages.
///
/// # Errors
/// [`PolicyFileError::Syntax`] and [`PolicyFileError::Document`].
pub fn parse(text: &str, path: &Path) -> Result<PolicyDocument, PolicyFileError> {
    let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let document = if is_toml { from_toml(text) } else { from_json(text) };
    let document: PolicyDocument = document.map_err(|(line, column, what)| {
        PolicyFileError::Syntax { column, line, path: path.to_owned(), what }
    })?;
    check_room(&document)
        .map_err(|fault| PolicyFileError::Document { fault, path: path.to_owned() })?;
    Ok(document)
}

/// Line, column and message.
type Fault = (usize, usize, String);

fn from_toml(text: &str) -> Result<PolicyDocument, Fault> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        (line, column, explain(error.message()))
    })
}

fn from_json(text: &str) -> Result<PolicyDocument, Fault> {
    serde_json::from_str(text).map_err(|error| {
        let what = error.to_string();
        // serde_json ends its message with the place, which stands in front here.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = what.strip_suffix(&place).unwrap_or(&what);
        (error.line(), error.column(), explain(what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
id = "test"
version = 1
robot = "amr-1"
stop = "controlled_hold"

[footprint]
margin_m = 0.05
outline = [{ x = -0.3, y = -0.2 }, { x = 0.3, y = -0.2 }, { x = 0.3, y = 0.2 }]

[limits]
max_linear_mps = 1.5
max_reverse_mps = 0.3
max_angular_radps = 1.5
max_linear_accel_mps2 = 1.2
max_decel_mps2 = 1.4
max_angular_accel_radps2 = 4.0
reaction_ms = 120

[freshness]
command_ms = 400
odometry_ms = 200
journal_ms = 100

[[zones]]
id = "crossing"
rule = { type = "speed", max_linear_mps = 0.6 }
polygon = [{ x = 5, y = 5.6 }, { x = 7, y = 5.6 }, { x = 7, y = 7.9 }]
"#;

    fn error(text: &str, name: &str) -> String {
        parse(text, Path::new(name)).unwrap_err().to_string()
    }

    #[test]
    fn toml_and_json_are_the_same_document() {
        let document = parse(TOML, Path::new("policy.toml")).unwrap();
        assert_eq!(document.zones.len(), 1);
        let json = serde_json::to_string_pretty(&document).unwrap();
        assert_eq!(parse(&json, Path::new("policy.json")).unwrap(), document);
    }

    #[test]
    fn an_error_has_its_line_and_column_and_the_nearest_key() {
        let text = TOML.replace("max_reverse_mps", "max_revers_mps");
        assert_eq!(
            error(&text, "p.toml"),
            "p.toml:13:1: unknown key `max_revers_mps`; did you mean `max_reverse_mps`?"
        );
        let text = TOML.replace("= 1.4", "= fast");
        assert!(error(&text, "p.toml").starts_with("p.toml:16:18: "), "{}", error(&text, "p.toml"));
        let document = parse(TOML, Path::new("p.toml")).unwrap();
        let json = serde_json::to_string_pretty(&document).unwrap();
        let found = error(&json.replace("max_reverse_mps", "max_revers_mps"), "p.json");
        assert!(found.contains("did you mean `max_reverse_mps`?"), "{found}");
        let found = error(&json[..40], "p.json");
        assert!(found.starts_with("p.json:3:") && !found.contains("column"), "{found}");
    }

    #[test]
    fn a_number_that_is_none_is_refused_by_its_key() {
        let found = error(&TOML.replace("= 1.2", "= nan"), "p.toml");
        assert!(found.starts_with("p.toml: `limits.max_linear_accel_mps2` is NaN"), "{found}");
    }

    #[test]
    fn a_unit_that_nobody_knows_is_refused_where_it_stands() {
        let text = TOML.replace("max_linear_mps = 1.5", "max_linear_kmph = 5.4");
        assert_eq!(
            error(&text, "p.toml"),
            "p.toml:12:1: unknown key `max_linear_kmph`; did you mean `max_linear_mps`?"
        );
        let text = TOML.replace("= 1.5\nmax_reverse", "= \"1.5 m/s\"\nmax_reverse");
        assert!(error(&text, "p.toml").starts_with("p.toml:12:18: "), "{}", error(&text, "p.toml"));
    }

    #[test]
    fn every_shipped_policy_is_in_order() {
        let robots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots");
        let mut count = 0;
        for robot in std::fs::read_dir(robots).unwrap() {
            for name in ["policy.toml", "policy.json"] {
                let path = robot.as_ref().unwrap().path().join(name);
                if path.exists() {
                    load(&path).unwrap();
                    count += 1;
                }
            }
        }
        assert!(count >= 4, "{count}");
    }

    proptest::proptest! {
        #[test]
        fn no_mutation_brings_the_parser_down(
            at in 0..1000_usize, byte in proptest::prelude::any::<u8>(), cut in 0..1000_usize,
        ) {
            let mut bytes = TOML.as_bytes().to_vec();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            let text = String::from_utf8_lossy(&bytes);
            let _ = parse(&text, Path::new("p.toml"));
            let _ = parse(&text, Path::new("p.json"));
        }
    }
}
