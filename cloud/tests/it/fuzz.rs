//! The whole API by its own document: calls that are made from its schemas, with names that
//! earlier answers gave, right and wrong ones in turn. No answer is a failure of the cloud, none
//! has a status or a form that the document does not name, and nothing of one tenant comes to
//! another: there are two, each with something of everything ([`crate::world`]), and each asks for
//! what is the other's.
//!
//! The calls follow from a seed. `NOOTERRA_FUZZ_CALLS` says how many; `NOOTERRA_FUZZ_SEED` with
//! which. Streams without an end are left out, and the two figures of the process.

use super::rig::{Kind, Rig, RigOn};
use crate::world::{Tenant, Words, World};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What of an answer is asked with later: ids of these families, and properties.
const LEARNT: [&str; 9] =
    ["cid", "code", "digest", "jobs", "key_id", "robots", "rollouts", "tokens", "webhooks"];

/// Calls of a run, unless told otherwise.
const CALLS: u64 = 2000;

/// Numbers from a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap() % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

struct Operation {
    method: String,
    path: String,
    spec: Value,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, spec) in methods.as_object().unwrap() {
            let endless = spec["responses"]["200"]["content"]["text/event-stream"].is_object();
            let answers_json = !path.starts_with("/metrics") && !path.starts_with("/readyz");
            if !endless && answers_json {
                let (method, path) = (method.to_uppercase(), path.clone());
                all.push(Operation { method, path, spec: spec.clone() });
            }
        }
    }
    all
}

/// What calls are made of.
struct Maker<'a> {
    dice: Dice,
    document: &'a Value,
    /// Words that answers gave, by the name that they stood under.
    known: Words,
    /// The words of who asks, which are tried before all others.
    own: Words,
    /// Nothing of this call is wrong by its form.
    tidy: bool,
}

impl Maker<'_> {
    fn junk(&mut self) -> Value {
        let all = [
            json!(null),
            json!(true),
            json!(-1),
            json!(0),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("a"),
            json!("\u{0}\u{202e}é%2f../"),
            json!("x".repeat(5000)),
            json!([]),
            json!({}),
            json!([[[{}]]]),
        ];
        self.dice.of(&all).clone()
    }

    fn word(&mut self, name: &str) -> Option<Value> {
        let own = self.own.get(name).filter(|words| !words.is_empty());
        let words = match own {
            Some(own) if self.dice.below(4) > 0 => own,
            _ => self.known.get(name)?,
        };
        Some(self.dice.of(words).clone())
    }

    /// A word that may stand where `schema` is asked for.
    fn fitting_word(&mut self, name: &str, schema: &Value) -> Option<Value> {
        let fits = |word: &Value| fault(self.document, schema, word, "").is_none();
        for words in [self.own.get(name), self.known.get(name)].into_iter().flatten() {
            let fitting: Vec<&Value> = words.iter().filter(|it| fits(it)).collect();
            if !fitting.is_empty() && self.dice.below(4) > 0 {
                return Some((*self.dice.of(&fitting)).clone());
            }
        }
        None
    }

    fn value(&mut self, name: &str, schema: &Value, depth: u32) -> Value {
        if !self.tidy && self.dice.one_in(12) {
            return self.junk();
        }
        if self.tidy
            && let Some(word) = self.fitting_word(name, schema)
        {
            return word;
        }
        if self.dice.below(10) < 7
            && let Some(word) = self.word(name)
        {
            return word;
        }
        if let Some(target) = schema["$ref"].as_str() {
            let target = self.document.pointer(&target[1..]).unwrap().clone();
            return self.value(name, &target, depth);
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(all) = schema[choice].as_array() {
                let one = self.dice.of(all).clone();
                return self.value(name, &one, depth);
            }
        }
        if let Some(all) = schema["enum"].as_array() {
            return self.dice.of(all).clone();
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => vec!["null"],
        };
        match *self.dice.of(&kinds) {
            "array" => {
                let count = self.dice.below(3);
                (0..count).map(|_| self.value(name, &schema["items"], depth + 1)).collect()
            }
            "boolean" => json!(self.dice.one_in(2)),
            "integer" if self.tidy => json!(*self.dice.of(&[1_i64, 60, 1000])),
            "integer" => json!(*self.dice.of(&[0_i64, 1, 60, 1000, 30_000, -1, i64::MAX])),
            "number" => json!(*self.dice.of(&[0.0, 0.5, -1.0, 1e9])),
            "object" if depth < 5 => self.object(schema, depth),
            "string" => {
                json!(*self.dice.of(&["amr-1", "acme-1", "EUR", "alice", "x", "done", "9.9.9"]))
            }
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let mut object = Map::new();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let empty = Map::new();
        for (name, of) in schema["properties"].as_object().unwrap_or(&empty) {
            let must = required.iter().any(|it| it == name);
            let given = if must { self.tidy || !self.dice.one_in(15) } else { self.dice.one_in(2) };
            if given {
                object.insert(name.clone(), self.value(name, of, depth + 1));
            }
        }
        if !self.tidy && self.dice.one_in(20) {
            object.insert("more".to_owned(), self.junk());
        }
        Value::Object(object)
    }

    /// The target of a request, and its body.
    fn call(&mut self, operation: &Operation) -> (String, Option<Vec<u8>>) {
        let mut path = operation.path.clone();
        let mut query = Vec::new();
        let empty = Vec::new();
        for parameter in operation.spec["parameters"].as_array().unwrap_or(&empty) {
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str() {
                Some("path") => {
                    let family = operation.path.split('/').nth(2).unwrap();
                    let of = if name == "id" { family } else { name };
                    let word = match self.dice.below(10) {
                        0 if !self.tidy => self.junk(),
                        1 if !self.tidy => json!("none"),
                        _ => self.word(of).unwrap_or(json!("none")),
                    };
                    path = path.replace(&format!("{{{name}}}"), &encoded(&word));
                }
                Some("query") if self.dice.one_in(3) => {
                    let value = self.value(name, &parameter["schema"].clone(), 0);
                    query.push(format!("{name}={}", encoded(&value)));
                }
                _ => {}
            }
        }
        if !query.is_empty() {
            path.push_str(&format!("?{}", query.join("&")));
        }
        let schema = &operation.spec["requestBody"]["content"]["application/json"]["schema"];
        let body = (!schema.is_null()).then(|| match self.dice.below(25) {
            0 if !self.tidy => b"{\"a\":".to_vec(),
            1 if !self.tidy => Vec::new(),
            _ => self.value("", &schema.clone(), 0).to_string().into_bytes(),
        });
        (path, body)
    }

    /// Remembers the words of an answer.
    fn learn(&mut self, family: &str, answer: &Value) {
        match answer {
            Value::Array(items) => items.iter().for_each(|item| self.learn(family, item)),
            Value::Object(object) => {
                for (name, value) in object {
                    let of = if name == "id" { family } else { name };
                    if LEARNT.contains(&of) && value.is_string() {
                        let words = self.known.entry(of.to_owned()).or_default();
                        if words.len() < 50 && !words.contains(value) {
                            words.push(value.clone());
                        }
                    }
                    self.learn(family, value);
                }
            }
            _ => {}
        }
    }
}

/// A value as a part of a path or a query; never more than one part.
fn encoded(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = if text.is_empty() { "_".to_owned() } else { text };
    let bytes = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// What of `value` is not as `schema` says; the part of JSON Schema that the document uses.
fn fault(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(target) = schema["$ref"].as_str() {
        return fault(document, document.pointer(&target[1..]).unwrap(), value, at);
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(all) = schema[choice].as_array() {
            let fits = all.iter().any(|one| fault(document, one, value, at).is_none());
            return (!fits).then(|| format!("{at}: none of {choice}: {value}"));
        }
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().find_map(|one| fault(document, one, value, at));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Some(format!("{at}: not of the enumeration: {value}"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let is = |kind: &&str| match *kind {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        _ => false,
    };
    if !kinds.iter().any(is) {
        return Some(format!("{at}: not {kinds:?}: {value}"));
    }
    if let Some(items) = value.as_array() {
        let of = &schema["items"];
        return items
            .iter()
            .enumerate()
            .find_map(|(n, it)| fault(document, of, it, &format!("{at}/{n}")));
    }
    let object = value.as_object()?;
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let missing =
        required.iter().filter_map(Value::as_str).find(|name| !object.contains_key(*name));
    if let Some(name) = missing {
        return Some(format!("{at}: lacks {name}"));
    }
    let known = schema["properties"].as_object()?;
    object.iter().find_map(|(name, value)| match known.get(name) {
        Some(of) => fault(document, of, value, &format!("{at}/{name}")),
        None => Some(format!("{at}: {name} is not in the document")),
    })
}

/// What is wrong with an answer, by the document.
fn judge(document: &Value, spec: &Value, status: u16, head: &str, body: &[u8]) -> Option<String> {
    if status >= 500 {
        return Some("a failure of the cloud".to_owned());
    }
    let range = format!("{}XX", status / 100);
    let responses = &spec["responses"];
    let said = [status.to_string(), range].into_iter().find(|it| responses[it].is_object());
    // Whoever is not let in is told so on every route.
    let Some(said) = said else {
        let known = matches!(status, 404 | 405 | 408 | 413);
        return (!known).then(|| "a status that the document does not name".to_owned());
    };
    let content = responses[&said]["content"].as_object()?;
    let (media, of) = content.iter().next()?;
    if !head.contains(&format!("content-type: {media}")) {
        return Some(format!("not {media}"));
    }
    if !media.contains("json") {
        return None;
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Some("no JSON".to_owned());
    };
    if media.contains("problem") && !value["code"].is_string() {
        return Some("a refusal without a code".to_owned());
    }
    fault(document, &of["schema"], &value, "")
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_is_asked_of_the_api_is_answered_as_its_document_says() {
    let rig = Rig::with(|config| config.api_per_s = 1_000_000);
    drive(&rig);
}

fn drive(rig: &RigOn<impl Kind>) {
    let document: Value =
        serde_json::from_str(&nooterra_cloud::api::openapi_json().unwrap()).unwrap();
    let operations = operations(&document);
    let World { known, tenants } = World::new(rig);
    let seed = number("NOOTERRA_FUZZ_SEED", 0x6e6f_6f74).max(1);
    let (own, tidy) = (Words::new(), true);
    let mut maker = Maker { dice: Dice(seed), document: &document, known, own, tidy };
    let mut reached = BTreeSet::new();
    for call in 0..number("NOOTERRA_FUZZ_CALLS", CALLS) {
        let operation = maker.dice.of(&operations);
        // What only robots may ask is asked by robots, often.
        let who = maker.dice.below(if operation.path.ends_with("/certificate") { 4 } else { 18 });
        let tenant = tenants.get(who % 3);
        let (token, device) = match (who, tenant) {
            (0 | 1, Some(tenant)) => (None, Some(&tenant.device)),
            (3, _) => (None, None),
            (_, Some(tenant)) => (Some(&tenant.token), None),
            (_, None) => (Some(&rig.token), None),
        };
        maker.own = tenant.map(|it| it.known.clone()).unwrap_or_default();
        maker.tidy = maker.dice.below(3) > 0;
        let (target, body) = maker.call(operation);
        // A method of no route, now and then.
        let odd = maker.dice.one_in(40);
        let method = if odd { "PATCH" } else { operation.method.as_str() };
        if ends_the_asking(&target, &tenants) {
            continue;
        }
        let headers = token.map_or(String::new(), |it| format!("authorization: Bearer {it}\r\n"));
        let (status, head, answer) = rig.exchange(method, &target, &headers, body.clone(), device);
        let fault = if odd {
            (status != 405).then(|| "not 405".to_owned())
        } else {
            judge(&document, &operation.spec, status, &head, &answer)
        };
        let said = String::from_utf8_lossy(&answer);
        let shown: String = said.chars().take(2000).collect();
        let asked: String = String::from_utf8_lossy(body.as_deref().unwrap_or_default())
            .chars()
            .take(500)
            .collect();
        assert_eq!(
            fault, None,
            "seed {seed}, call {call}: {method} {target} {asked}\n{status} {shown}"
        );
        let foreign = |of: &&Tenant| tenant.is_some_and(|it| it.secret != of.secret);
        for of in tenants.iter().filter(foreign) {
            let leak = said.contains(&of.secret);
            assert!(!leak, "seed {seed}, call {call}: {method} {target}\n{said}");
        }
        if status < 300 {
            reached.insert((operation.method.clone(), operation.path.clone()));
            let value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
            let family = operation.path.split('/').nth(2).unwrap_or_default();
            maker.learn(family, &value);
        }
    }
    let all = operations.iter().map(|it| (it.method.clone(), it.path.clone()));
    let missed: BTreeSet<_> = all.filter(|it| !reached.contains(it)).collect();
    println!("{} of {} routes were reached; not {missed:?}", reached.len(), operations.len());
    // It is no proof of anything where nothing is reached.
    assert!(
        reached.len() * 4 > operations.len() * 3,
        "only {} of {} routes were reached; not {missed:?}",
        reached.len(),
        operations.len()
    );
}

/// After it nobody of a tenant would be let in; that is left to other tests.
fn ends_the_asking(target: &str, tenants: &[Tenant]) -> bool {
    let ends = ["/revoke", "/quarantine"].into_iter().any(|end| target.ends_with(end));
    let own = |it: &Tenant| {
        target.contains(&format!("/{}/", it.device.robot)) || target.contains(&it.token_id)
    };
    ends && (target.contains("/robots/amr-1/") || tenants.iter().any(own))
}

#[test]
fn an_answer_that_is_not_as_the_document_says_is_noticed() {
    let document = json!({ "components": { "schemas": { "A": {
        "type": "object", "required": ["n"],
        "properties": { "n": { "type": "integer" }, "of": { "type": ["array", "null"],
            "items": { "oneOf": [{ "type": "null" }, { "type": "string", "enum": ["x"] }] } } },
    } } } });
    let of = json!({ "$ref": "#/components/schemas/A" });
    for good in
        [json!({ "n": 1 }), json!({ "n": 1, "of": null }), json!({ "n": 1, "of": ["x", null] })]
    {
        assert_eq!(fault(&document, &of, &good, ""), None);
    }
    for bad in [
        json!([]),
        json!({}),
        json!({ "n": 1.5 }),
        json!({ "n": 1, "more": 1 }),
        json!({ "n": 1, "of": ["y"] }),
    ] {
        assert!(fault(&document, &of, &bad, "").is_some(), "{bad}");
    }
    let spec =
        json!({ "responses": { "200": { "content": { "application/json": { "schema": of } } } } });
    let head = "content-type: application/json\r\n";
    assert_eq!(judge(&document, &spec, 200, head, b"{\"n\":1}"), None);
    for (status, head, body) in [
        (500, head, &b"{\"n\":1}"[..]),
        (201, head, b"{\"n\":1}"),
        (200, "content-type: text/plain", b"{\"n\":1}"),
        (200, head, b"{"),
        (200, head, b"{}"),
    ] {
        assert!(judge(&document, &spec, status, head, body).is_some(), "{status} {head}");
    }
}
