//! The whole API by its own document: calls that are made from its schemas, with names that
//! earlier answers gave, right and wrong ones in turn. No answer is a failure of the cloud, none
//! has a status or a form that the document does not name, and nothing of one tenant comes to
//! another.
//!
//! The calls follow from a seed. `NOOTERRA_FUZZ_CALLS` says how many; `NOOTERRA_FUZZ_SEED` with
//! which. Streams without an end are left out, and the two figures of the process.

use super::rig::{Kind, Rig, RigOn, plan};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

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
    known: BTreeMap<String, Vec<Value>>,
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
        let words = self.known.get(name)?;
        Some(self.dice.of(words).clone())
    }

    fn value(&mut self, name: &str, schema: &Value, depth: u32) -> Value {
        if self.dice.one_in(12) {
            return self.junk();
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
            if (must && !self.dice.one_in(15)) || (!must && self.dice.one_in(2)) {
                object.insert(name.clone(), self.value(name, of, depth + 1));
            }
        }
        if self.dice.one_in(20) {
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
                        0 => self.junk(),
                        1 => json!("none"),
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
            0 => b"{\"a\":".to_vec(),
            1 => Vec::new(),
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
                    if matches!(of, "jobs" | "robots" | "tokens" | "webhooks" | "digest" | "cid")
                        && value.is_string()
                    {
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
    rig.enrol("amr-1");
    let skill = rig.publish_skill();
    let secret = rig.dispatch_job("amr-1").to_string();
    let families: Vec<_> = ["audit", "commands", "events", "jobs", "records", "robots", "skills"]
        .into_iter()
        .chain(["tokens", "webhooks"])
        .collect();
    let body = json!({ "families": families, "principal": "eve", "role": "admin",
        "tenant": "acme", "ttl_s": 86_400 });
    let acme = rig.post("/v1/tokens", body)["token"].as_str().unwrap().to_owned();
    let command = rig.get("/v1/robots/amr-1/commands")["commands"][0]["id"].clone();
    let mut known = BTreeMap::new();
    for (name, words) in [
        ("ask", vec![json!({ "type": "release_stop" }), json!({ "type": "veto", "reason": "x" })]),
        ("cid", vec![command]),
        ("digest", vec![skill["bundle"].clone()]),
        ("families", vec![json!(["jobs"]), json!(["robots", "tokens"])]),
        ("id", vec![json!("patrol")]),
        ("jobs", vec![json!(secret)]),
        ("labels", vec![json!(["dock"]), json!([])]),
        ("method", vec![json!("SMART_LOCK_CODE")]),
        ("plan", vec![plan(&skill)]),
        ("reason", vec![json!("because")]),
        ("robot", vec![json!("amr-1"), json!("acme-1"), json!("new-1")]),
        ("robots", vec![json!("amr-1")]),
        ("skill-rules", vec![json!("patrol")]),
        ("types", vec![json!(["BOOKED"])]),
        ("url", vec![json!("https://192.0.2.1/")]),
    ] {
        known.insert(name.to_owned(), words);
    }
    let seed = number("NOOTERRA_FUZZ_SEED", 0x6e6f_6f74).max(1);
    let mut maker = Maker { dice: Dice(seed), document: &document, known };
    let mut reached = BTreeSet::new();
    for call in 0..number("NOOTERRA_FUZZ_CALLS", CALLS) {
        let operation = maker.dice.of(&operations);
        let (target, body) = maker.call(operation);
        // A method of no route, now and then.
        let odd = maker.dice.one_in(40);
        let method = if odd { "PATCH" } else { operation.method.as_str() };
        let (token, tenant) = match maker.dice.below(10) {
            0 => (None, false),
            1..=3 => (Some(&acme), true),
            _ => (Some(&rig.token), false),
        };
        // What ends the robot for all that follows is left to other tests.
        if target.contains("/amr-1/revoke") || target.contains("/amr-1/quarantine") {
            continue;
        }
        let headers = token.map_or(String::new(), |it| format!("authorization: Bearer {it}\r\n"));
        let (status, head, answer) = rig.exchange(method, &target, &headers, body.clone(), None);
        let fault = if odd {
            (status != 405).then(|| "not 405".to_owned())
        } else {
            judge(&document, &operation.spec, status, &head, &answer)
        };
        let shown = String::from_utf8_lossy(&answer);
        let shown: String = shown.chars().take(2000).collect();
        let asked: String = String::from_utf8_lossy(body.as_deref().unwrap_or_default())
            .chars()
            .take(500)
            .collect();
        assert_eq!(
            fault, None,
            "seed {seed}, call {call}: {method} {target} {asked}\n{status} {shown}"
        );
        let leak = tenant && status < 300 && shown.contains(&secret);
        assert!(!leak, "seed {seed}, call {call}: {method} {target}\n{shown}");
        if status < 300 {
            reached.insert((operation.method.clone(), operation.path.clone()));
            let value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
            let family = operation.path.split('/').nth(2).unwrap_or_default();
            maker.learn(family, &value);
        }
    }
    println!("{} of {} routes were reached", reached.len(), operations.len());
    // It is no proof of anything where nothing is reached.
    assert!(
        reached.len() * 2 > operations.len(),
        "only {} of {} routes were reached: {reached:?}",
        reached.len(),
        operations.len()
    );
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
