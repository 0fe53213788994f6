//! Rules as text: read, named, and checked against the schema.

use cedar_policy::{
    Effect, Policy, PolicyId, PolicySet, Schema, ValidationError, ValidationMode, Validator,
};
use miette::Diagnostic;
use nooterra_protocol::grant::Action;
use std::collections::BTreeMap;
use std::str::FromStr as _;

/// The kinds of things that rules are about.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// The rules where the owner has signed none.
pub const DEFAULT: &str = include_str!("default.cedar");

/// The longest text of rules, bytes. It fits into a signed object.
pub const MAX_TEXT: usize = 128 * 1024;

/// The most rules.
pub const MAX_RULES: usize = 256;

/// What is wrong with rules, and where. Lines and columns count from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RulesError {
    /// Two rules have one name.
    #[error("{line}:1: a second rule is called `{id}`; give it another @id")]
    Duplicate {
        /// The name.
        id: String,
        /// Of one of the two.
        line: usize,
    },
    /// There is no rule, which would deny everything, silently.
    #[error("1:1: there is no rule; to deny everything, write a rule that forbids it")]
    Empty,
    /// A rule without a name: a refusal could not say why.
    #[error("{line}:1: the rule has no name; write @id(\"NAME\") before it")]
    Nameless {
        /// Where it begins.
        line: usize,
    },
    /// The schema in this program is not one. A fault of its release, which its tests show.
    #[error("the schema of this release: {0}")]
    Schema(String),
    /// Text that is not Cedar.
    #[error("{line}:{column}: {what}")]
    Syntax {
        /// Where.
        column: usize,
        /// Where.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A rule with blanks to fill in, which nobody here would.
    #[error("{line}:1: the rule has a slot (?principal or ?resource); name whom it is about")]
    Template {
        /// Where it begins.
        line: usize,
    },
    /// More text or rules than are handled.
    #[error("there are {found} {what}; at most {most} are handled")]
    TooMany {
        /// How many.
        found: usize,
        /// How many are handled.
        most: usize,
        /// Bytes or rules.
        what: &'static str,
    },
    /// A rule about something that does not exist, or that compares what cannot be compared.
    #[error("{line}:{column}: rule `{id}`: {what}")]
    Type {
        /// Where.
        column: usize,
        /// The rule.
        id: String,
        /// Where.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// A rule, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleInfo {
    /// It forbids; otherwise it permits.
    pub forbids: bool,
    /// Its name.
    pub id: String,
    /// Where it begins, from 1.
    pub line: usize,
    /// What it says to whoever was refused.
    pub say: Option<String>,
}

/// Rules that read, are named, and are about things that exist.
#[derive(Clone, Debug)]
pub struct Rules {
    infos: BTreeMap<String, RuleInfo>,
    pub(super) schema: Schema,
    pub(super) set: PolicySet,
    warnings: Vec<String>,
}

impl Rules {
    /// Reads and checks rules.
    ///
    /// # Errors
    /// The first [`RulesError`] in the text.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let too_many = |what, found, most| Err(RulesError::TooMany { found, most, what });
        if text.len() > MAX_TEXT {
            return too_many("bytes", text.len(), MAX_TEXT);
        }
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|error| RulesError::Schema(error.to_string()))?;
        let read = PolicySet::from_str(text).map_err(|errors| {
            let first = errors.iter().map(|error| (place(text, error), in_words(error))).min();
            let ((line, column), what) = first.unwrap_or(((1, 1), errors.to_string()));
            RulesError::Syntax { column, line, what }
        })?;
        if let Some(template) = read.templates().next() {
            return Err(RulesError::Template { line: line_of(text, &template.to_cedar()) });
        }
        if read.num_of_policies() == 0 {
            return Err(RulesError::Empty);
        }
        if read.num_of_policies() > MAX_RULES {
            return too_many("rules", read.num_of_policies(), MAX_RULES);
        }
        let (set, infos) = named(text, &read)?;
        let warnings = validate(text, &schema, &set)?;
        Ok(Self { infos, schema, set, warnings })
    }

    /// The rules where the owner has signed none.
    ///
    /// # Errors
    /// None in a release: a test reads them.
    pub fn built_in() -> Result<Self, RulesError> {
        Self::parse(DEFAULT)
    }

    /// The rules by their names.
    pub fn infos(&self) -> impl Iterator<Item = &RuleInfo> {
        self.infos.values()
    }

    /// What is in order and probably not meant, such as a rule that never applies.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn info(&self, id: &str) -> Option<&RuleInfo> {
        self.infos.get(id)
    }
}

/// The same rules under the names that they give themselves.
fn named(
    text: &str,
    read: &PolicySet,
) -> Result<(PolicySet, BTreeMap<String, RuleInfo>), RulesError> {
    let (mut set, mut infos) = (PolicySet::new(), BTreeMap::new());
    let mut policies: Vec<(usize, &Policy)> = read
        .policies()
        .map(|policy| (line_of(text, &policy.to_cedar().unwrap_or_default()), policy))
        .collect();
    policies.sort_by_key(|(line, _)| *line);
    for (line, policy) in policies {
        let id = policy.annotation("id").unwrap_or_default();
        if id.is_empty() || id.len() > 64 || id.chars().any(char::is_control) {
            return Err(RulesError::Nameless { line });
        }
        let info = RuleInfo {
            forbids: policy.effect() == Effect::Forbid,
            id: id.to_owned(),
            line,
            say: policy.annotation("say").map(str::to_owned),
        };
        if set.add(policy.new_id(PolicyId::new(id))).is_err() {
            return Err(RulesError::Duplicate { id: id.to_owned(), line });
        }
        infos.insert(id.to_owned(), info);
    }
    Ok((set, infos))
}

/// The warnings, when there is no error.
fn validate(text: &str, schema: &Schema, set: &PolicySet) -> Result<Vec<String>, RulesError> {
    let result = Validator::new(schema.clone()).validate(set, ValidationMode::Strict);
    let first = result
        .validation_errors()
        .map(|error| {
            let id = error.policy_id().to_string();
            let words = match error {
                // Of names that are equally near Cedar suggests now one, now another.
                ValidationError::UnrecognizedActionId(_) => nearest_action(&error.to_string()),
                _ => in_words(error),
            };
            (place(text, error), id.clone(), of_rule(&id, words))
        })
        .min();
    if let Some(((line, column), id, what)) = first {
        return Err(RulesError::Type { column, id, line, what });
    }
    let warning = |warning: &cedar_policy::ValidationWarning| {
        let (line, column) = place(text, warning);
        let id = warning.policy_id().to_string();
        let what = of_rule(&id, warning.to_string());
        (line, column, format!("{line}:{column}: rule `{id}`: {what}"))
    };
    let mut warnings: Vec<_> = result.validation_warnings().map(warning).collect();
    warnings.sort();
    Ok(warnings.into_iter().map(|(_, _, text)| text).collect())
}

/// What is wrong and, where Cedar knows it, what to write instead; on one line.
fn in_words(error: &(impl Diagnostic + ?Sized)) -> String {
    let mut words = error.to_string();
    if let Some(help) = error.help() {
        words = format!("{words}; {help}");
    }
    words.replace('\n', " ")
}

/// An unknown action and the nearest that there is.
fn nearest_action(words: &str) -> String {
    let unknown = words.split("Action::\"").nth(1).and_then(|rest| rest.split('"').next());
    let unknown = unknown.unwrap_or_default();
    let nearest = Action::ALL
        .into_iter()
        .min_by_key(|action| strsim::damerau_levenshtein(unknown, action.name()));
    match nearest {
        Some(action) => format!("{words}; did you mean `Action::\"{action}\"`?"),
        None => words.to_owned(),
    }
}

/// What Cedar says of a rule, without the rule's name, which stands in front here.
fn of_rule(id: &str, words: String) -> String {
    let named = words.strip_prefix(&format!("for policy `{id}`"));
    named.map_or(words.clone(), |rest| rest.trim_start_matches([',', ':', ' ']).to_owned())
}

/// The line and column where an error says that it is.
fn place(text: &str, error: &(impl Diagnostic + ?Sized)) -> (usize, usize) {
    let at = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let before = text.get(..at).unwrap_or(text);
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// The line where a part of a text begins.
fn line_of(text: &str, part: &str) -> usize {
    let at = text.find(part.trim()).unwrap_or(0);
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    fn refused(text: &str) -> String {
        Rules::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_rules_of_this_release_are_in_order_and_named() {
        let rules = Rules::built_in().unwrap();
        assert_eq!(rules.warnings(), [""; 0]);
        assert!(rules.infos().count() >= 10);
        for info in rules.infos().filter(|info| info.forbids) {
            assert!(info.say.is_some(), "`{}` refuses without a word", info.id);
        }
        let veto = rules.info("a-veto-holds").unwrap();
        let line = DEFAULT.lines().nth(veto.line - 1).unwrap();
        assert!(line.contains("a-veto-holds"), "{line}");
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        let rule = |text: &str| format!("// Ours.\n@id(\"ours\")\n{text}\n");
        for (text, part) in [
            ("permit (principal, action, resource)", "3:37: unexpected end of input"),
            (
                "permit (principal, action == Action::\"dirve\", resource);",
                "3:30: rule `ours`: unrecognized action `Action::\"dirve\"`; did you mean \
                 `Action::\"drive\"`?",
            ),
            ("permit (principal is Oparator, action, resource);", "Oparator"),
            (
                "permit (principal, action, resource) when { context.mod == 1 };",
                "3:45: rule `ours`",
            ),
            (
                "forbid (principal, action, resource)\nwhen { context.mode == Mode::\"manua\" };",
                "4:",
            ),
            ("permit (principal, action, resource) when { context.now < 5 };", "3:"),
            ("permit (principal, action, resource) when { context.zones.isEmpty() };", "3:"),
            ("permit (principal == ?principal, action, resource);", "has a slot"),
        ] {
            let text = rule(text);
            assert!(refused(&text).contains(part), "{text}{}", refused(&text));
        }
        assert_eq!(
            refused("\npermit (principal, action, resource);"),
            "2:1: the rule has no name; write @id(\"NAME\") before it"
        );
        let twice = "@id(\"a\") permit (principal, action, resource);\n\
                     @id(\"a\") forbid (principal, action, resource);";
        assert!(refused(twice).contains("2:1: a second rule is called `a`"), "{}", refused(twice));
        assert!(refused("// nothing").contains("there is no rule"));
        assert!(refused(&" ".repeat(MAX_TEXT + 1)).contains("bytes"));
    }

    #[test]
    fn a_rule_that_never_applies_is_a_warning() {
        let rules =
            Rules::parse("@id(\"never\") permit (principal, action, resource) when { 1 == 2 };");
        assert!(rules.unwrap().warnings()[0].starts_with("1:"));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let deep = format!("permit(principal, action, resource) when {{ {}1", "(".repeat(60_000));
        assert!(Rules::parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn no_mutation_makes_it_panic(
            at in any::<prop::sample::Index>(), letters in "[\\PC\n]{0,4}",
            keep in any::<prop::sample::Index>(),
        ) {
            let mut text = DEFAULT.to_owned();
            let at = at.index(text.len());
            text.replace_range(at..=at, &letters);
            let _ = Rules::parse(&text);
            let _ = Rules::parse(&String::from_utf8_lossy(&text.as_bytes()[..keep.index(text.len())]));
        }
    }
}
