//! This client beside `cloud/openapi.json`: nothing too many, nothing too few.

use crate::operations::{OPERATIONS, Operation};
use crate::types::{
    AuditQuery, EventQuery, Family, ListQuery, NamedQuery, RecordQuery, Role, RolloutQuery,
    STRUCTURES, SkillQuery, StreamQuery, Structure,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Operations that the client has not, and why not.
const LEFT_OUT: [(&str, &str); 0] = [];

/// Schemas that are no structure here, and what stands for them.
const OTHERWISE: [(&str, &str); 3] = [
    ("Family", "an enumeration, compared below"),
    ("Problem", "types::Problem, which takes what other servers leave out"),
    ("Role", "an enumeration, compared below"),
];

fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).unwrap()
}

/// Of the document: method, path and the operation, by its name.
fn operations(document: &Value) -> BTreeMap<String, (String, String, Value)> {
    let mut all = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            all.insert(name, (method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

/// The schema's name, through `oneOf` with null.
fn reference(schema: &Value) -> Option<&str> {
    let of = |schema: &'_ Value| {
        let text = schema["$ref"].as_str()?;
        let start = schema["$ref"].as_str()?.rfind('/')? + 1;
        Some(text[start..].to_owned())
    };
    let all = ["oneOf", "anyOf", "allOf"];
    let inner = all.iter().filter_map(|kind| schema[kind].as_array()).flatten();
    let found = std::iter::once(schema).chain(inner).find(|schema| of(schema).is_some())?;
    found["$ref"].as_str()?.rsplit('/').next()
}

#[test]
fn the_client_has_every_operation_of_the_document_and_no_other() {
    let document = operations(&document());
    assert!(document.len() >= 71, "the document has {} operations", document.len());
    for (name, (method, path, _)) in &document {
        let left_out = LEFT_OUT.iter().find(|(of, _)| of == name);
        let Some(found) = find(name) else {
            assert!(
                left_out.is_some(),
                "{name} ({method} {path}) is no operation of the client: add it to the table in \
                 operations.rs, or to LEFT_OUT with the reason"
            );
            continue;
        };
        assert!(left_out.is_none(), "{name} is left out and there");
        assert_eq!((found.method, found.path), (method.as_str(), path.as_str()), "{name}");
    }
    for operation in OPERATIONS {
        assert!(document.contains_key(operation.name), "{} is gone", operation.name);
    }
    assert_eq!(document.len(), OPERATIONS.len() + LEFT_OUT.len());
}

#[test]
fn an_operation_takes_and_answers_what_the_document_says() {
    for (name, (_, _, spec)) in operations(&document()) {
        let Some(operation) = find(&name) else { continue };
        let body = &spec["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(reference(body).unwrap_or_default(), operation.body, "{name} takes");
        let responses = spec["responses"].as_object().unwrap();
        let (_, good) = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap();
        let (media, content) = good["content"].as_object().unwrap().iter().next().unwrap();
        let expected = match (media.as_str(), reference(&content["schema"])) {
            (_, Some(schema)) => schema,
            // The latter has a hash, which JSON that is read and written does not keep.
            ("application/octet-stream" | "application/vnd.cyclonedx+json", None) => "Vec<u8>",
            ("application/json", None) => "Value",
            ("text/event-stream", None) => operation.answer,
            (_, None) => "String",
        };
        assert_eq!(operation.answer, expected, "{name} answers");
    }
}

#[test]
fn every_structure_has_the_fields_of_its_schema_and_knows_which_may_be_missing() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let structures: BTreeMap<&str, Structure> =
        STRUCTURES.iter().flat_map(|all| all.iter()).map(|it| (it.0, *it)).collect();
    for (name, schema) in schemas {
        if OTHERWISE.iter().any(|(of, _)| of == name) {
            continue;
        }
        let Some((_, fields)) = structures.get(name.as_str()) else {
            panic!("{name} is no structure in types/: add it, or to OTHERWISE with the reason");
        };
        let properties = schema["properties"].as_object().unwrap();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let wire = |field: &str| match field {
            "kind" if !properties.contains_key("kind") => "type".to_owned(),
            field => field.to_owned(),
        };
        for (field, of) in *fields {
            let field = wire(field);
            let property = properties.get(&field);
            let property = property.unwrap_or_else(|| panic!("{name}.{field} is gone"));
            let null = |schema: &Value| schema["type"] == "null";
            let nullable =
                property["type"].as_array().is_some_and(|of| of.contains(&"null".into()))
                    || ["oneOf", "anyOf"].iter().any(|kind| {
                        property[kind].as_array().is_some_and(|of| of.iter().any(null))
                    });
            let optional = of.replace(' ', "").starts_with("Option<");
            assert!(!nullable || optional, "{name}.{field} may be null, and is {of}");
            let must = required.contains(&field.clone().into());
            assert!(!(must && !nullable && optional), "{name}.{field} is always there, not {of}");
        }
        for property in properties.keys() {
            let there = fields.iter().any(|(field, _)| wire(field) == *property);
            assert!(there, "{name}.{property} is new: add it in types/");
        }
    }
    for name in structures.keys() {
        assert!(schemas.contains_key(*name), "{name} is no schema any more");
    }
}

#[test]
fn every_query_has_the_parameters_of_its_operation() {
    let list = ListQuery::FIELDS;
    let queries: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("follow_events", EventQuery::FIELDS),
        ("list_audit", AuditQuery::FIELDS),
        ("list_dead_letters", list),
        ("list_events", EventQuery::FIELDS),
        ("list_job_events", StreamQuery::FIELDS),
        ("list_jobs", list),
        ("list_records", RecordQuery::FIELDS),
        ("list_robot_events", StreamQuery::FIELDS),
        ("list_robot_skills", NamedQuery::FIELDS),
        ("list_robots", NamedQuery::FIELDS),
        ("list_rollout_events", StreamQuery::FIELDS),
        ("list_rollout_jobs", list),
        ("list_rollouts", RolloutQuery::FIELDS),
        ("list_skill_robots", NamedQuery::FIELDS),
        ("list_skills", SkillQuery::FIELDS),
        ("list_tokens", list),
        ("list_verdicts", RecordQuery::FIELDS),
        ("read_skill_trust", StreamQuery::FIELDS),
    ]);
    for (name, (_, _, spec)) in operations(&document()) {
        let all = spec["parameters"].as_array().cloned().unwrap_or_default();
        let named = all.iter().filter(|it| it["in"] == "query").map(|it| it["name"].as_str());
        let mut expected: Vec<_> = named.map(Option::unwrap).collect();
        let fields = queries.get(name.as_str()).copied().unwrap_or_default();
        // `type` is no name of a field.
        let wire = |field: &&'static str| match *field {
            "kind" if !expected.contains(&"kind") => "type",
            field => field,
        };
        let mut found: Vec<_> = fields.iter().map(wire).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_word_of_an_enumeration_is_there() {
    let document = document();
    let words = |name: &str| document["components"]["schemas"][name]["enum"].clone();
    assert_eq!(serde_json::to_value(Family::ALL).unwrap(), words("Family"));
    assert_eq!(serde_json::to_value(Role::ALL).unwrap(), words("Role"));
}
