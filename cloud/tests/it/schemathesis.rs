//! The whole API asked by schemathesis, which knows nothing of us but the document: operation by
//! operation, and in chains in which an answer's ids are what the next is asked with. It asks as
//! two tenants who may see nothing of each other. The document that it is given has words beside
//! the schemas of ours, so that it asks for what is there ([`crate::world`]).
//!
//! `cargo xtask prove api` installs it and runs this. `NOOTERRA_SCHEMATHESIS` names the program, and
//! nothing is asked where it is not set, whatever is on the path; `NOOTERRA_SCHEMATHESIS_S` says how
//! long it asks, in seconds, and `NOOTERRA_SCHEMATHESIS_SEED` with which seed.

use crate::rig::Rig;
use crate::world::{Tenant, World};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is left out: streams without an end, and what takes a tenant's own token away, after which
/// nothing would be asked.
const LEFT_OUT: [&str; 3] = ["follow_events", "watch_robot", "revoke_token"];

/// What no schema says: which ids there are, what a base64 holds, which state a job is in. Whatever
/// fits the schema may be refused.
const UNCHECKED: &str = "positive_data_acceptance";

/// A check beside its own, and a list of what was done.
const HOOKS: &str = r#"
import json
import schemathesis

WHO = json.load(open("who.json"))


@schemathesis.check
def nothing_of_another_tenant(ctx, response, case):
    asked = response.request.headers.get("Authorization", "")
    mine = next((secret for token, secret in WHO.items() if token in asked), None)
    for secret in WHO.values():
        if secret != mine and secret.encode() in response.content:
            raise AssertionError("it holds " + secret)
    with open("seen.txt", "a") as seen:
        seen.write(f"{response.status_code} {case.operation.label}\n")
"#;

fn program() -> Option<String> {
    if let Ok(program) = std::env::var("NOOTERRA_SCHEMATHESIS") {
        return Some(program);
    }
    let line = "\nSKIPPED: schemathesis: it was not asked for: cargo xtask prove api does\n";
    // Past the harness, which keeps to itself what a test prints that passes.
    let _ = std::io::stdout().write_all(line.as_bytes());
    None
}

/// Each property and parameter of a name for which there are words is one of those, or as it was.
fn tell(schema: &mut Value, known: &BTreeMap<String, Vec<Value>>) {
    let Some(object) = schema.as_object_mut() else {
        if let Some(all) = schema.as_array_mut() {
            all.iter_mut().for_each(|it| tell(it, known));
        }
        return;
    };
    for (name, of) in object.iter_mut() {
        tell(of, known);
        if name == "properties" {
            let properties = of.as_object_mut().into_iter().flatten();
            for (name, of) in properties.filter(|(name, _)| known.contains_key(*name)) {
                *of = among(&known[name], of);
            }
        }
    }
}

fn among(words: &[Value], schema: &Value) -> Value {
    json!({ "anyOf": [{ "enum": words }, schema] })
}

fn document(world: &World) -> Value {
    let mut document: Value =
        serde_json::from_str(&nooterra_cloud::api::openapi_json().unwrap()).unwrap();
    // Requests only: an answer has to be as it is said, and nothing else.
    let mut requests = BTreeSet::new();
    for (path, methods) in document["paths"].as_object_mut().unwrap() {
        for spec in methods.as_object_mut().unwrap().values_mut() {
            let body = &spec["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            requests.extend(body.as_str().map(str::to_owned));
            let parameters = spec.get_mut("parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let of = if name == "id" { path.split('/').nth(2).unwrap() } else { name };
                if parameter["in"] == "path"
                    && let Some(words) = world.known.get(of)
                {
                    parameter["schema"] = among(words, &parameter["schema"]);
                }
            }
        }
    }
    for request in requests {
        tell(document.pointer_mut(&request[1..]).unwrap(), &world.known);
    }
    document
}

fn write(path: &Path, value: &Value) {
    std::fs::write(path, serde_json::to_vec(value).unwrap()).unwrap();
}

#[test]
fn schemathesis_finds_no_failure_no_answer_beside_the_document_and_nothing_of_another_tenant() {
    let Some(program) = program() else { return };
    let rig = Rig::with(|config| config.api_per_s = 1_000_000);
    let world = World::new(&rig);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(&at("openapi.json"), &document(&world));
    let who: Map<_, _> =
        world.tenants.iter().map(|it| (it.token.clone(), json!(it.secret))).collect();
    write(&at("who.json"), &Value::Object(who));
    let user = |it: &Tenant| {
        let header = json!({ "name": "Authorization", "value": format!("Bearer {}", it.token) });
        json!({ "name": it.secret, "fixedHeaders": [header] })
    };
    write(
        &at("users.json"),
        &json!({ "auth": world.tenants.iter().map(user).collect::<Vec<_>>() }),
    );
    std::fs::write(at("hooks.py"), HOOKS).unwrap();
    std::fs::write(at("ca.pem"), &rig.root_pem).unwrap();
    let [one, two] = &world.tenants;
    let config = format!(
        "hooks = \"hooks.py\"\n[auth.wfc]\npath = \"users.json\"\npeers = [\"{}\", \"{}\"]\n",
        one.secret, two.secret
    );
    std::fs::write(at("schemathesis.toml"), config).unwrap();

    let seconds = std::env::var("NOOTERRA_SCHEMATHESIS_S").unwrap_or_else(|_| "60".to_owned());
    let mut command = Command::new(program);
    command.current_dir(dir.path()).env("PYTHONPATH", dir.path()).stdin(Stdio::null());
    command.args(["run", "openapi.json", "--tls-verify", "ca.pem", "--no-color"]);
    command.args(["--url", &format!("https://{}", rig.http), "--max-time", &seconds]);
    command.args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "20"]);
    command.args(["--checks", "all", "--exclude-checks", UNCHECKED, "--continue-on-failure"]);
    command.args(["--warnings", "off", "--generation-database", "none"]);
    if let Ok(seed) = std::env::var("NOOTERRA_SCHEMATHESIS_SEED") {
        command.args(["--seed", &seed]);
    }
    for name in LEFT_OUT {
        command.args(["--exclude-operation-id", name]);
    }
    let said = command.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    println!("{text}{}", String::from_utf8_lossy(&said.stderr));
    let seen = std::fs::read_to_string(at("seen.txt")).unwrap_or_default();
    let answers = seen.lines().count();
    let done = seen.lines().filter(|line| line.starts_with('2'));
    let done: BTreeSet<_> = done.filter_map(|line| line.split_once(' ')).map(|it| it.1).collect();
    println!("{answers} answers; done at least once: {}: {done:?}", done.len());
    assert!(said.status.success(), "schemathesis found something; it is above");
    // It is no proof of anything where nothing is reached; a busy machine asks little in its time.
    assert!(done.len() >= 20, "only {} operations were done: {done:?}", done.len());
}
