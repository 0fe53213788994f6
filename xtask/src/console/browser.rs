//! A real browser without a screen, driven over the DevTools protocol.
//!
//! It talks through a pair of pipes (`--remote-debugging-pipe`): no port is opened on the
//! machine, the browser ends when we do, and no library stands between. Messages are JSON, each
//! ended by a zero byte.

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// For the browser to answer; a loaded machine starts it slowly.
const PATIENCE: Duration = Duration::from_secs(180);

/// See [`Browser::click_until`].
const CLICKS: u32 = 6;

/// Between two looks at the page.
const LOOK: Duration = Duration::from_millis(100);

/// Messages that wait for us; the browser waits when there are more.
const MESSAGES: usize = 4096;

/// Where Debian and others put it.
const PROGRAMS: [&str; 3] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// Chromium's own descriptors of the pipes are 3 and 4.
const ON_PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

/// A browser with one page open. It ends with this value.
#[derive(Debug)]
pub(crate) struct Browser {
    child: Child,
    from: Receiver<Value>,
    next: u64,
    session: Option<String>,
    to: ChildStdin,
    /// What the page and the browser complained about.
    trouble: Vec<String>,
}

impl Browser {
    /// Starts the browser, which trusts what `spki` names (base64 of a key's SHA-256) and
    /// writes nowhere but under `dir`.
    pub(crate) fn start(spki: &str, dir: &Path) -> Result<Self> {
        let program = PROGRAMS.into_iter().find(|program| Path::new(program).exists());
        let program = program.context("no Chromium here; apt-get install chromium")?;
        let log = std::fs::File::create(dir.join("chromium.log"))
            .with_context(|| format!("cannot write in {}", dir.display()))?;
        let profile = dir.join("profile");
        let mut command = Command::new("sh");
        command
            .args(["-c", ON_PIPES, program, "--headless=new", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--ignore-certificate-errors-spki-list={spki}"))
            .args(["--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--no-first-run", "--no-default-browser-check", "--no-proxy-server"])
            .args(["--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-GB"]);
        if nix::unistd::geteuid().is_root() {
            // Its sandbox refuses to run as root; it opens our own page only.
            command.arg("--no-sandbox");
        }
        command
            .arg("about:blank")
            .env("HOME", dir)
            .env("LANG", "C.UTF-8")
            .env("XDG_CACHE_HOME", dir.join("cache"))
            .env("XDG_CONFIG_HOME", dir.join("config"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0);
        let mut child = command.spawn().context("cannot start the browser")?;
        let to = child.stdin.take().context("the browser has no input")?;
        let out = child.stdout.take().context("the browser has no output")?;
        let (tell, from) = sync_channel(MESSAGES);
        std::thread::spawn(move || {
            let mut messages = BufReader::new(out).split(0);
            while let Some(Ok(bytes)) = messages.next() {
                let message = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { child, from, next: 0, session: None, to, trouble: Vec::new() };
        browser.open_page()?;
        Ok(browser)
    }

    fn open_page(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attached = self.call(
            "Target.attachToTarget",
            &json!({ "targetId": target["targetId"], "flatten": true }),
        )?;
        let session = attached["sessionId"].as_str().context("the browser opened no page")?;
        self.session = Some(session.to_owned());
        for domain in ["Page", "Runtime", "Log", "Audits"] {
            self.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(())
    }

    /// One call of the protocol, and its result.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).with_context(|| format!("{method}: the browser is gone"))?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.from.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout => anyhow!("{method}: the browser does not answer"),
                RecvTimeoutError::Disconnected => anyhow!("{method}: the browser ended"),
            })?;
            if answer["id"] != json!(id) {
                self.note(&answer);
            } else if answer["error"].is_null() {
                return Ok(answer["result"].clone());
            } else {
                bail!("{method}: {}", answer["error"]);
            }
        }
    }

    /// Keeps what is a complaint.
    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let said = match event["method"].as_str().unwrap_or_default() {
            "Runtime.consoleAPICalled"
                if matches!(params["type"].as_str(), Some("error" | "warning" | "assert")) =>
            {
                params["args"].to_string()
            }
            "Runtime.exceptionThrown" => params["exceptionDetails"].to_string(),
            "Log.entryAdded"
                if matches!(params["entry"]["level"].as_str(), Some("error" | "warning")) =>
            {
                let entry = &params["entry"];
                format!("{}: {} {}", entry["source"], entry["text"], entry["url"])
            }
            "Audits.issueAdded" if params["issue"]["code"] == "ContentSecurityPolicyIssue" => {
                params["issue"].to_string()
            }
            "Inspector.targetCrashed" => "the page crashed".to_owned(),
            _ => return,
        };
        self.trouble.push(said);
    }

    /// What was complained about since the last time.
    pub(crate) fn trouble(&mut self) -> Result<Vec<String>> {
        // What happened before this was told before its answer.
        self.evaluate("1")?;
        Ok(std::mem::take(&mut self.trouble))
    }

    /// Goes to an address, and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", &json!({ "url": url }))?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        self.until("the page to be loaded", "document.readyState === 'complete'").map(drop)
    }

    /// The value of an expression on the page; what it throws is an error.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &params)?;
        if !answer["exceptionDetails"].is_null() {
            bail!("{expression}: {}", answer["exceptionDetails"]["exception"]["description"]);
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Looks at an expression until it is true, and returns it; an error when that takes long.
    pub(crate) fn until(&mut self, what: &str, expression: &str) -> Result<Value> {
        if let Some(value) = self.shows(expression, PATIENCE)? {
            return Ok(value);
        }
        let page = self.evaluate("document.body.innerText.slice(0, 2000)")?;
        bail!("waited for {what}, in vain; the page says: {page}");
    }

    /// The expression when it is true within `patience`.
    pub(crate) fn shows(&mut self, expression: &str, patience: Duration) -> Result<Option<Value>> {
        let end = Instant::now() + patience;
        loop {
            let value = self.evaluate(expression)?;
            let is_false = matches!(&value, Value::Null | Value::Bool(false)) || value == "";
            if !is_false {
                return Ok(Some(value));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Clicks until what the click is for shows: a list that grows can move from under the mouse,
    /// and a person would press again.
    pub(crate) fn click_until(&mut self, selector: &str, what: &str, shown: &str) -> Result<()> {
        for _ in 0..CLICKS {
            self.click(selector)?;
            if self.shows(shown, PATIENCE / CLICKS)?.is_some() {
                return Ok(());
            }
        }
        self.until(what, shown).map(drop)
    }

    /// Presses the mouse in the middle of what `selector` finds first, as a person does: what
    /// lies above it would take it.
    pub(crate) fn click(&mut self, selector: &str) -> Result<()> {
        let find = format!(
            "(() => {{ const it = document.querySelector({});
                if (!it) return null;
                it.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const box = it.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let place = self.until(&format!("{selector} to be there"), &find)?;
        for (kind, buttons) in [("mousePressed", 1), ("mouseReleased", 0)] {
            let params = json!({
                "type": kind, "x": place[0], "y": place[1], "button": "left",
                "buttons": buttons, "clickCount": 1,
            });
            self.call("Input.dispatchMouseEvent", &params)?;
        }
        Ok(())
    }

    /// Puts text where the focus is, in the place of what is selected.
    pub(crate) fn insert(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", &json!({ "text": text })).map(drop)
    }

    /// Presses a key that has a name, such as `Tab` or `Enter`.
    pub(crate) fn key(&mut self, name: &str, code: u32) -> Result<()> {
        for kind in ["rawKeyDown", "char", "keyUp"] {
            if kind == "char" && name != "Enter" {
                continue;
            }
            let mut params = json!({
                "type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code,
            });
            if name == "Enter" {
                params["text"] = json!("\r");
            }
            self.call("Input.dispatchKeyEvent", &params)?;
        }
        Ok(())
    }

    /// The window's size in CSS pixels, and the colours that its user likes.
    pub(crate) fn look_like(&mut self, width: u32, height: u32, dark: bool) -> Result<()> {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 }),
        )?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features })).map(drop)
    }

    /// A picture of the window.
    pub(crate) fn picture(&mut self, file: &Path) -> Result<()> {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }))?;
        let data = answer["data"].as_str().context("the browser made no picture")?;
        let bytes = STANDARD.decode(data).context("the picture is not base64")?;
        std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With all that it started. It is gone already when this fails.
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
