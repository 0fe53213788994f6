//! What a bundle's bill of materials says: the part of CycloneDX's JSON that is looked at.
//!
//! A robot checks only its hash. Whoever shows it to people (`skill inspect`, the registry) reads
//! it by [`Document`] and tells a [`Summary`]; other tools read the file itself.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The versions of CycloneDX that are read.
pub const SPEC_VERSIONS: [&str; 3] = ["1.4", "1.5", "1.6"];

/// The most components that are counted.
pub const MAX_COMPONENTS: usize = 10_000;

/// A document, as far as it is looked at. Keys that are not here are passed over.
#[derive(Clone, Debug, Deserialize)]
pub struct Document {
    #[serde(rename = "bomFormat")]
    bom_format: String,
    #[serde(default)]
    components: Vec<Component>,
    #[serde(rename = "specVersion")]
    spec_version: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Component {
    /// Those that it has in itself.
    #[serde(default)]
    components: Vec<Self>,
    /// What stands before its name, such as npm's scope.
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    licenses: Vec<Choice>,
    name: String,
    #[serde(default)]
    version: Option<String>,
}

/// An expression, or a licence by id or name.
#[derive(Clone, Debug, Deserialize)]
struct Choice {
    expression: Option<String>,
    license: Option<Licence>,
}

#[derive(Clone, Debug, Deserialize)]
struct Licence {
    id: Option<String>,
    name: Option<String>,
}

/// What is in a document, counted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// How many components.
    pub components: usize,
    /// How many of them are under which licence, as they state it; one under several of them by
    /// separate statements counts for their list.
    pub licences: BTreeMap<String, usize>,
    /// How many state none.
    pub unknown: usize,
}

/// Why a document is not one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SbomError {
    /// Without a name a component is nothing.
    #[error("it lists a component without a name")]
    Nameless,
    /// Another format, or a version of it that is not read.
    #[error("it is `{format}` {version}, and CycloneDX 1.4 to 1.6 is read")]
    Format {
        /// Its `bomFormat`.
        format: String,
        /// Its `specVersion`.
        version: String,
    },
    /// More than [`MAX_COMPONENTS`].
    #[error("it lists {0} components, at most {MAX_COMPONENTS} are counted")]
    Large(usize),
}

impl Document {
    /// Counts what is in it.
    ///
    /// # Errors
    /// [`SbomError`]
    pub fn summary(&self) -> Result<Summary, SbomError> {
        if self.bom_format != "CycloneDX" || !SPEC_VERSIONS.contains(&self.spec_version.as_str()) {
            let (format, version) = (shown(&self.bom_format), shown(&self.spec_version));
            return Err(SbomError::Format { format, version });
        }
        if self.components.len() > MAX_COMPONENTS {
            return Err(SbomError::Large(self.components.len()));
        }
        if self.components.iter().any(|component| component.name.is_empty()) {
            return Err(SbomError::Nameless);
        }
        let mut summary = Summary { components: self.components.len(), ..Summary::default() };
        for component in &self.components {
            let stated: Vec<_> = component.licenses.iter().filter_map(Choice::words).collect();
            if stated.is_empty() {
                summary.unknown += 1;
            } else {
                *summary.licences.entry(shown(&stated.join(", "))).or_default() += 1;
            }
        }
        Ok(summary)
    }
}

impl Document {
    /// The versions in which it lists a component of this name, or of this `group/name`, however
    /// deep; an empty one where it states none. Only the one that is asked for, where one is.
    pub fn versions<'d>(
        &'d self,
        name: &str,
        version: Option<&'d str>,
    ) -> impl Iterator<Item = &'d str> {
        let (mut found, mut open) = (Vec::new(), vec![self.components.iter()]);
        while let Some(level) = open.last_mut() {
            let Some(component) = level.next() else {
                open.pop();
                continue;
            };
            if component.is_called(name) {
                found.push(component.version.as_deref().unwrap_or_default());
            }
            open.push(component.components.iter());
        }
        found.into_iter().filter(move |found| version.is_none_or(|version| version == *found))
    }
}

impl Component {
    fn is_called(&self, name: &str) -> bool {
        let grouped = || {
            let rest = name.strip_prefix(self.group.as_deref()?)?;
            Some(rest.strip_prefix('/')? == self.name)
        };
        self.name == name || grouped() == Some(true)
    }
}

impl Choice {
    fn words(&self) -> Option<&str> {
        let by_name = || self.license.as_ref().and_then(|it| it.id.as_ref().or(it.name.as_ref()));
        let words = self.expression.as_ref().or_else(by_name)?.trim();
        (!words.is_empty()).then_some(words)
    }
}

/// A stranger's words on one short line.
fn shown(text: &str) -> String {
    text.chars().take(128).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(json: &str) -> Result<Summary, SbomError> {
        serde_json::from_str::<Document>(json).unwrap().summary()
    }

    #[test]
    fn licences_are_counted_however_they_are_stated() {
        let found = summary(
            r#"{"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 3, "components": [
                {"type": "library", "name": "a", "licenses": [{"expression": "MIT OR Apache-2.0"}]},
                {"type": "library", "name": "b", "licenses": [{"license": {"id": "MIT"}}]},
                {"type": "library", "name": "c", "licenses": [
                    {"license": {"id": "MIT"}}, {"license": {"name": "House\nrules"}}]},
                {"type": "library", "name": "d", "licenses": [{"license": {}}]},
                {"type": "library", "name": "e"}]}"#,
        )
        .unwrap();
        assert_eq!((found.components, found.unknown), (5, 2));
        let told: Vec<_> = found.licences.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(told, [("MIT", 1), ("MIT OR Apache-2.0", 1), ("MIT, House?rules", 1)]);
    }

    #[test]
    fn a_component_is_found_by_its_name_and_its_version() {
        let document: Document = serde_json::from_str(
            r#"{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [
                {"name": "serde", "version": "1.0.228"}, {"name": "serde", "version": "1.0.9"},
                {"name": "serde_json", "version": "1.0.9"}, {"name": "bare"},
                {"name": "way", "group": "@acme", "version": "3", "components": [
                    {"name": "deep", "version": "4"}]}]}"#,
        )
        .unwrap();
        let found = |name, version| document.versions(name, version).collect::<Vec<_>>();
        assert_eq!(found("serde", None), ["1.0.228", "1.0.9"]);
        assert_eq!(found("serde", Some("1.0.9")), ["1.0.9"]);
        assert_eq!(found("bare", None), [""]);
        assert_eq!((found("@acme/way", None), found("deep", None)), (vec!["3"], vec!["4"]));
        assert!(found("serde", Some("1.0")).is_empty() && found("serd", None).is_empty());
    }

    #[test]
    fn another_format_and_another_version_are_refused() {
        for (format, version) in [("SPDX", "1.6"), ("CycloneDX", "2.3"), ("", "")] {
            let json = format!(r#"{{"bomFormat": "{format}", "specVersion": "{version}"}}"#);
            assert!(matches!(summary(&json), Err(SbomError::Format { .. })), "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,64}", cut in 0_usize..200) {
            let good = format!(
                r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{{"name":{text:?},
                "licenses":[{{"expression":{text:?}}}]}}]}}"#
            );
            let cut = good.floor_char_boundary(cut);
            for json in [good.as_str(), &good[..cut], &text] {
                if let Ok(document) = serde_json::from_str::<Document>(json) {
                    let _ = document.summary();
                }
            }
        }
    }
}
