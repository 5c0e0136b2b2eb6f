//! A headless Chromium, told what to do over its debugging pipe: messages are JSON with a zero byte after each.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

/// Names under which Chromium is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The switches of every run: headless, alone, and without anything that would reach for the network.
const SWITCHES: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1366,900",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub struct Browser {
    process: Child,
    commands: File,
    answers: BufReader<File>,
    session: Option<String>,
    count: u64,
    /// Errors on the console, and requests other than for the page itself.
    pub complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts the browser.
    pub fn start() -> Browser {
        let found = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
        let name = NAMES.into_iter().find(|name| found(&name)).expect("Chromium is missing: `./do test` installs it");
        let profile = tempfile::tempdir().unwrap();
        let [input, output] = ["in", "out"].map(|name| profile.path().join(name));
        for pipe in [&input, &output] {
            mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }
        // The browser reads commands from descriptor 3 and answers on descriptor 4.
        let process = Command::new("sh")
            .args(["-c", "input=$1; output=$2; shift 2; exec \"$@\" 3<\"$input\" 4>\"$output\"", "sh"])
            .args([&input, &output])
            .arg(name)
            .args(SWITCHES)
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = OpenOptions::new().write(true).open(&input).unwrap();
        let answers = BufReader::new(File::open(&output).unwrap());
        let (session, complaints) = (None, Vec::new());
        let mut browser = Browser { process, commands, answers, session, count: 0, complaints, _profile: profile };
        let target = browser.tell("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.tell("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.tell(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a page and waits until it has loaded.
    pub fn open(&mut self, file: &Path, hash: &str) {
        let url = format!("file://{}{hash}", file.display());
        self.tell("Page.navigate", json!({"url": url}));
        while self.next()["method"] != "Page.loadEventFired" {}
    }

    /// The value of an expression on the page, of a promise when it is kept.
    pub fn value(&mut self, expression: &str) -> Value {
        let answer = self
            .tell("Runtime.evaluate", json!({"expression": expression, "returnByValue": true, "awaitPromise": true}));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Its text.
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.value(expression);
        value.as_str().unwrap_or_else(|| panic!("{expression} is {value}")).to_owned()
    }

    /// Its number.
    pub fn number(&mut self, expression: &str) -> f64 {
        let value = self.value(expression);
        value.as_f64().unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.tell("Input.dispatchKeyEvent", json!({"type": kind, "key": key}));
        }
    }

    /// Sends a command and waits for its answer.
    pub fn tell(&mut self, method: &str, parameters: Value) -> Value {
        self.count += 1;
        let mut message = json!({"id": self.count, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.next();
            if answer["id"] == self.count {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The next message; what it complains of is kept.
    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.answers.read_until(0, &mut bytes).unwrap();
        assert!(bytes.pop().is_some(), "the browser has ended");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        let parameters = &message["params"];
        let complains = match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => true,
            "Log.entryAdded" => true,
            "Network.requestWillBeSent" => {
                !parameters["request"]["url"].as_str().is_some_and(|url| url.starts_with("file://"))
            }
            _ => false,
        };
        if complains {
            self.complaints.push(parameters.to_string());
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
