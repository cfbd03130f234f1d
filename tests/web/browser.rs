//! A browser without a window, driven by chromedriver (WebDriver).

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::deadline::DEADLINE;

/// A browser, and its driver, which end with it.
pub(crate) struct Browser {
    runtime: Runtime,
    client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

/// Something that only this driver knows.
#[derive(Debug)]
struct DriverCommand(&'static str, Value);

impl WebDriverCompatibleCommand for DriverCommand {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/{}",
            session.unwrap_or_default(),
            self.0
        ))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.1.to_string()))
    }
}

impl Browser {
    pub(crate) fn open() -> Self {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn();
        let mut driver = driver.expect("chromedriver runs");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("it says its port").unwrap();
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // It goes on writing.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut arguments = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ];
        let folder = format!("--user-data-dir={}", profile.path().display());
        arguments.push(&folder);
        let mut capabilities = Map::new();
        capabilities.insert("goog:chromeOptions".into(), json!({"args": arguments}));
        capabilities.insert("goog:loggingPrefs".into(), json!({"browser": "ALL"}));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let mut builder =
                ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            builder
                .capabilities(capabilities)
                .connect(&format!("http://127.0.0.1:{port}"))
                .await
        });
        let client = client.expect("a browser opens");
        Browser {
            runtime,
            client,
            driver,
            _profile: profile,
        }
    }

    pub(crate) fn go(&self, address: &str) {
        self.runtime.block_on(self.client.goto(address)).unwrap();
    }

    /// Sets the size of the page, and whether it is dark.
    pub(crate) fn look_like(&self, (width, height): (u32, u32), is_dark: bool) {
        let scheme = if is_dark { "dark" } else { "light" };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        let call = json!({"cmd": command, "params": parameters});
        self.drive("goog/cdp/execute", call);
    }

    fn drive(&self, command: &'static str, body: Value) -> Value {
        let answer = self.client.issue_cmd(DriverCommand(command, body));
        self.runtime.block_on(answer).unwrap()
    }

    /// Returns what the console has said since the last call.
    pub(crate) fn console(&self) -> Vec<String> {
        let lines = self.drive("se/log", json!({"type": "browser"}));
        let lines = lines.as_array().unwrap().iter();
        lines.map(|line| line["message"].to_string()).collect()
    }

    pub(crate) fn run(&self, script: &str) -> Value {
        self.runtime
            .block_on(self.client.execute(script, Vec::new()))
            .unwrap()
    }

    /// Runs a script that ends when it calls its last argument.
    pub(crate) fn run_to_end(&self, script: &str) -> Value {
        self.runtime
            .block_on(self.client.execute_async(script, Vec::new()))
            .unwrap()
    }

    /// Presses what this selector finds. It may be replaced just then by what is true now.
    pub(crate) fn press(&self, selector: &str) {
        self.runtime.block_on(async {
            loop {
                let wait = self.client.wait().at_most(DEADLINE);
                let found = wait.for_element(Locator::Css(selector)).await;
                let found = found.unwrap_or_else(|error| panic!("{selector}: {error}"));
                match found.click().await {
                    Err(error) if error.is_stale_element_reference() => {}
                    pressed => return pressed.unwrap(),
                }
            }
        });
    }

    pub(crate) fn type_in(&self, selector: &str, text: &str) {
        self.runtime.block_on(async {
            let found = self
                .client
                .wait()
                .at_most(DEADLINE)
                .for_element(Locator::Css(selector));
            let found = found.await.unwrap();
            found.clear().await.unwrap();
            found.send_keys(text).await.unwrap();
        });
    }

    /// Presses a key where this has the focus. It may be replaced just then by what is true now.
    pub(crate) fn type_key(&self, selector: &str, key: &str) {
        loop {
            // While it is replaced it is absent for a moment.
            let focused = self.run(&format!(
                "const one = document.querySelector('{selector}');
                one?.focus({{focusVisible: true}});
                return one !== null;"
            ));
            if focused != Value::Bool(true) {
                continue;
            }
            let typed = self.runtime.block_on(async {
                let focused = self.client.active_element().await?;
                focused.send_keys(key).await
            });
            match typed {
                Err(error) if error.is_stale_element_reference() => {}
                typed => return typed.unwrap(),
            }
        }
    }

    /// Returns the text that is seen.
    pub(crate) fn seen(&self) -> String {
        let text = self.run("return document.body.innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until these words are seen.
    pub(crate) fn wait_for(&self, words: &str) {
        let began = Instant::now();
        while !self.seen().contains(words) {
            assert!(began.elapsed() < DEADLINE, "no {words:?}: {}", self.seen());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn shoot(&self, name: &str) {
        let picture = self.runtime.block_on(self.client.screenshot()).unwrap();
        let folder = folder().join("shots");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.client.clone().close());
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Returns the folder of what these tests need, and leave.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/web")
}

/// Returns axe-core, which says what is hard to use without eyes or a mouse.
pub(crate) fn axe() -> Option<String> {
    fs::read_to_string(folder().join("node_modules/axe-core/axe.min.js")).ok()
}
