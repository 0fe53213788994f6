//! The program: what it prints, how it ends, and that kill -9 loses nothing.

use crate::rig::{Rig, dial, tls_config_with};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"))
}

struct Running {
    child: Child,
    ready: Value,
}

impl Running {
    fn start(data: &Path) -> Self {
        let mut child = program()
            .args(["serve", "--json", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { ready: serde_json::from_str(&line).unwrap(), child }
    }

    fn signal(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        self.child.wait().unwrap().code()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let file = self.ready["admin_token_file"].as_str().unwrap();
        let token = std::fs::read_to_string(file).unwrap();
        let root = std::fs::read_to_string(Path::new(file).with_file_name("ca.pem")).unwrap();
        let address = self.ready["http"].as_str().unwrap().strip_prefix("https://").unwrap();
        let mut tls = dial(address.parse().unwrap(), &tls_config_with(&root, None));
        let body = body.to_string();
        write!(
            tls,
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
             content-length: {}\r\n\r\n{body}",
            token.trim(),
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer);
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }
}

fn run(args: &[&str], data: &Path) -> Output {
    program().args(args).arg("--data").arg(data).output().unwrap()
}

#[test]
fn the_ready_line_says_where_and_sigterm_ends_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&dir.path().join("data"));
    assert_eq!(running.ready["ready"], true);
    assert_eq!(running.ready["root_sha256"].as_str().unwrap().len(), 64);
    assert!(running.ready["mqtt"].as_str().unwrap().starts_with("127.0.0.1:"));
    for file in std::fs::read_dir(dir.path().join("data")).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        let name = file.file_name().into_string().unwrap();
        assert!(mode == 0o600 || name == "lock", "{name} has mode {mode:o}");
    }
    assert_eq!(running.signal(Signal::SIGTERM), Some(0));
}

#[test]
fn sigterm_ends_a_start_in_order_that_waits_for_a_server_which_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/nothing", silent.local_addr().unwrap());
    let mut child = program()
        .args(["serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--store", &url])
        .arg("--data")
        .arg(dir.path().join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It has asked, and waits.
    let _asked = silent.accept().unwrap();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_was_confirmed_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let running = Running::start(&data);
    let root = running.ready["root_sha256"].clone();
    let codes: Vec<_> = (0..5)
        .map(|i| running.post("/v1/claim-codes", &json!({ "robot": format!("amr-{i}") })))
        .collect();
    assert_eq!(running.signal(Signal::SIGKILL), None);
    let running = Running::start(&data);
    assert_eq!(running.ready["root_sha256"], root);
    for code in codes {
        let key = rcgen::KeyPair::generate().unwrap();
        let body = json!({ "code": code["code"], "csr_pem": crate::rig::csr(&key) });
        assert_eq!(running.post("/v1/enrolments", &body)["robot"], code["robot"]);
    }
    assert_eq!(running.signal(Signal::SIGINT), Some(0));
}

#[test]
fn a_port_in_use_is_one_clear_line_and_exit_code_4() {
    let rig = Rig::new();
    let dir = tempfile::tempdir().unwrap();
    for (flag, address) in [("--http", rig.http), ("--mqtt", rig.mqtt)] {
        let other = if flag == "--http" { "--mqtt" } else { "--http" };
        let address = address.to_string();
        let output = run(&["serve", flag, &address, other, "127.0.0.1:0"], dir.path());
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{line}");
        let last = line.lines().last().unwrap();
        assert!(last.starts_with("nooterra-cloud: cannot listen") && last.contains(&address));
        assert!(last.contains(flag), "{last}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_data_directory_that_is_in_use_or_unusable_is_exit_code_3() {
    let rig = Rig::new();
    let output = run(&["serve"], &rig.dir.path().join("cloud"));
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("in use by another"));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(run(&["serve"], &file).status.code(), Some(3));
    std::fs::write(dir.path().join("ca_key.pem"), "not a key").unwrap();
    let output = run(&["serve"], dir.path());
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("ca_key.pem"));
}

#[test]
fn a_host_that_no_certificate_can_carry_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--host", "ü b"];
    let output = run(&args, dir.path());
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("ü b"));
}

#[test]
fn help_completions_and_the_openapi_document_are_printed() {
    let help = program().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Exit codes:") && help.contains("completions"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let output = program().args(["completions", shell]).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains("nooterra-cloud"));
    }
    let document = program().arg("openapi").output().unwrap();
    assert_eq!(document.stdout, include_bytes!("../../openapi.json"));
    assert_eq!(program().output().unwrap().status.code(), Some(2));
    assert_eq!(program().args(["serve"]).output().unwrap().status.code(), Some(2));
}
