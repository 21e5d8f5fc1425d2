//! A headless Chromium, driven over its debugging pipe.
//!
//! The pipe (file descriptors 3 and 4, messages ended by a zero byte) needs no port and no WebSocket. What
//! the page prints as errors, refused scripts included, is kept: a test asks for it at the end.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::until::until;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

pub struct Browser {
    pipe: AsyncMutex<(u64, ChildStdin)>,
    waiting: Waiting,
    complaints: Arc<Mutex<Vec<String>>>,
    _reader: JoinSet<()>,
    _child: Child,
}

/// A tab.
pub struct Page<'a> {
    browser: &'a Browser,
    session: String,
}

impl Browser {
    /// Starts a browser with an empty profile below `directory`.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        let profile = directory.join("chromium");
        std::fs::create_dir_all(&profile)?;
        let log = std::fs::File::create(directory.join("chromium.log"))?;
        let mut command = Command::new("sh");
        // The shell moves our pipes to the descriptors that Chromium expects.
        command.args(["-c", "exec chromium \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"]).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-pipe",
            "--window-size=1280,900",
        ]);
        command.arg(format!("--user-data-dir={}", profile.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().context("chromium cannot be started")?;
        let pipe = child.stdin.take().context("chromium's pipe")?;
        let mut lines = BufReader::new(child.stdout.take().context("chromium's pipe")?);
        let waiting: Waiting = Arc::default();
        let complaints: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut reader = JoinSet::new();
        let (answers, heard) = (Arc::clone(&waiting), Arc::clone(&complaints));
        reader.spawn(async move {
            let mut line = Vec::new();
            while lines.read_until(0, &mut line).await.is_ok_and(|n| n > 0) {
                line.pop_if(|byte| *byte == 0);
                let message: Value = serde_json::from_slice(&line).unwrap_or_default();
                line.clear();
                if let Some(id) = message["id"].as_u64() {
                    let asked = answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                    // Nobody waits any more when the call timed out.
                    asked.and_then(|asked| asked.send(message).ok());
                } else if let Some(text) = complaint(&message) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                }
            }
        });
        let pipe = AsyncMutex::new((0, pipe));
        Ok(Self { pipe, waiting, complaints, _reader: reader, _child: child })
    }

    /// Opens a tab.
    pub async fn open(&self, url: &str) -> anyhow::Result<Page<'_>> {
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call(None, "Target.attachToTarget", attach).await?;
        let session = session["sessionId"].as_str().context("a session")?.to_owned();
        let page = Page { browser: self, session };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({})).await?;
        }
        page.go(url).await?;
        Ok(page)
    }

    /// Errors that pages printed.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> anyhow::Result<Value> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut pipe = self.pipe.lock().await;
            pipe.0 += 1;
            let mut message = json!({"id": pipe.0, "method": method, "params": params});
            if let Some(session) = session {
                message["sessionId"] = json!(session);
            }
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(pipe.0, sender);
            let mut bytes = message.to_string().into_bytes();
            bytes.push(0);
            pipe.1.write_all(&bytes).await.context("chromium ended")?;
        }
        let answer = timeout(ANSWER_WITHIN, receiver).await.with_context(|| format!("chromium: {method}"))?;
        let answer = answer.context("chromium ended")?;
        if let Some(error) = answer.get("error") {
            bail!("chromium: {method}: {error}");
        }
        Ok(answer["result"].clone())
    }
}

impl Page<'_> {
    pub async fn go(&self, url: &str) -> anyhow::Result<()> {
        let result = self.call("Page.navigate", json!({"url": url})).await?;
        if let Some(error) = result["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'", ANSWER_WITHIN)
            .await
    }

    /// The value of an expression, awaited when it is a promise.
    pub async fn eval(&self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params).await?;
        if let Some(error) = result.get("exceptionDetails") {
            bail!("{expression}: {}", error["exception"]["description"]);
        }
        Ok(result["result"]["value"].clone())
    }

    /// Waits until an expression is true. A navigation in between is no error.
    pub async fn until(&self, expression: &str, within: Duration) -> anyhow::Result<()> {
        until(&format!("in the browser: {expression}"), within, async || match self.eval(expression).await {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(_) => Err(self.text().await.unwrap_or_default()),
            Err(error) => Err(format!("{error:#}")),
        })
        .await
    }

    /// What a reader sees.
    pub async fn text(&self) -> anyhow::Result<String> {
        let text = self.eval("location.href + '\\n' + document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// A real click in the middle of the element, which must be visible and enabled.
    pub async fn click(&self, selector: &str) -> anyhow::Result<()> {
        let quoted = json!(selector);
        let ready = format!(
            "(() => {{ const e = document.querySelector({quoted}); if (!e || e.disabled) return null; e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return r.width && r.height ? [r.x + r.width / 2, r.y + r.height / 2] : null }})()"
        );
        let at = until(&format!("{selector} can be clicked"), ANSWER_WITHIN, async || {
            let at = self.eval(&ready).await.map_err(|e| format!("{e:#}"))?;
            if at.is_array() { Ok(at) } else { Err(self.text().await.unwrap_or_default()) }
        })
        .await?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// Types into a field.
    pub async fn fill(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let quoted = json!(selector);
        self.until(&format!("!!document.querySelector({quoted})"), ANSWER_WITHIN).await?;
        self.eval(&format!("document.querySelector({quoted}).focus()")).await?;
        self.call("Input.insertText", json!({"text": text})).await?;
        Ok(())
    }

    /// Presses one key: a character, or a name such as `Enter`.
    pub async fn key(&self, key: &str) -> anyhow::Result<()> {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            _ => key.to_uppercase().chars().next().map_or(0, u32::from),
        };
        let text = if key == "Enter" {
            "\r"
        } else if key.len() == 1 {
            key
        } else {
            ""
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "text": if kind == "keyDown" { text } else { "" }, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// The window as a phone's, or as a desk's.
    pub async fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await?;
        Ok(())
    }

    /// A picture of what is visible, as PNG.
    pub async fn screenshot(&self, file: &Path) -> anyhow::Result<()> {
        let result = self.call("Page.captureScreenshot", json!({"format": "png"})).await?;
        let data = result["data"].as_str().context("a picture")?;
        std::fs::write(file, base64::engine::general_purpose::STANDARD.decode(data)?)?;
        Ok(())
    }

    async fn call(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.browser.call(Some(&self.session), method, params).await
    }
}

fn complaint(message: &Value) -> Option<String> {
    let params = &message["params"];
    match message["method"].as_str()? {
        "Log.entryAdded" if params["entry"]["level"] == "error" => Some(format!(
            "{} {}",
            params["entry"]["text"].as_str()?,
            params["entry"]["url"].as_str().unwrap_or_default()
        )),
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if params["type"] == "error" => Some(params["args"].to_string()),
        _ => None,
    }
}
