//! What a person sees on the three surfaces: pages of the web UI, output of the command, the chat.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sluice_e2e::cli::Cli;
use sluice_e2e::story::grant::transcript;
use sluice_e2e::{World, until};

/// Surfaces follow the bus by themselves; this is no work, only a way.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);

/// The admin with a terminal and a browser session.
pub(crate) struct Person {
    pub(crate) cli: Cli,
    /// `name=value` of the session.
    pub(crate) cookie: String,
    base: String,
    http: reqwest::Client,
}

/// What must be read: a file, a line in it (0: any) and words of the reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) file: &'a str,
    pub(crate) line: usize,
    pub(crate) words: &'a [&'a str],
}

impl Person {
    pub(crate) async fn admin(world: &World) -> anyhow::Result<Self> {
        let cli = Cli::admin(world).await?;
        let http =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        let base = world.api_url();
        let answer = http
            .post(format!("{base}/login"))
            .header("origin", &base)
            .form(&[("username", "admin"), ("password", &world.password()?), ("next", "/")])
            .send()
            .await?;
        let cookie = answer.headers().get("set-cookie").and_then(|v| v.to_str().ok());
        let cookie = cookie.and_then(|c| c.split(';').next()).map(str::to_owned);
        let cookie = cookie.with_context(|| format!("no session: {}", answer.status()))?;
        Ok(Self { cli, cookie, base, http })
    }

    /// Status and body of a page or call, as the session's browser gets them.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let answer =
            self.http.get(format!("{}{path}", self.base)).header("cookie", &self.cookie).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The text of a page.
    pub(crate) async fn page(&self, path: &str) -> anyhow::Result<String> {
        let (status, html) = self.get(path).await?;
        ensure!(status == 200, "{path}: {status}\n{}", text_of(&html));
        Ok(text_of(&html))
    }

    /// Waits until page `path`, the output of `command` and the chat all tell it. Answers the command's exit code.
    pub(crate) async fn reads(
        &self,
        world: &World,
        path: &str,
        command: &[&str],
        reading: Reading<'_>,
    ) -> anyhow::Result<i32> {
        self.sees("the page", reading, async || self.page(path).await).await?;
        let mut code = 0;
        self.sees("the command", reading, async || {
            let output = self.cli.run(command, "").await?;
            code = output.code;
            Ok(format!("{}{}", output.stdout, output.stderr))
        })
        .await?;
        self.sees("the chat", reading, async || Ok(transcript(world))).await?;
        Ok(code)
    }

    async fn sees(
        &self,
        what: &str,
        reading: Reading<'_>,
        mut look: impl AsyncFnMut() -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        until(&format!("{what} tells {reading:?}"), SHOWN_WITHIN, async || match look().await {
            Ok(text) if reading.is_in(&text) => Ok(()),
            Ok(text) => Err(text),
            Err(error) => Err(format!("{error:#}")),
        })
        .await
    }

    /// `sluice … -o json`.
    pub(crate) async fn json(&self, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let text = self.cli.ok(&[arguments, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// The command must fail with this exit code. Answers what it said.
    pub(crate) async fn fails(&self, arguments: &[&str], code: i32) -> anyhow::Result<String> {
        let output = self.cli.run(arguments, "").await?;
        let said = format!("{}{}", output.stdout, output.stderr);
        if output.code != code {
            bail!("sluice {}: {} instead of {code}\n{said}", arguments.join(" "), output.code);
        }
        Ok(said)
    }
}

impl Reading<'_> {
    /// File and line stand together, as `file:3` or `file, line 3`, and all words of the reason are there.
    fn is_in(&self, text: &str) -> bool {
        let Self { file, line, words } = self;
        let place = match line {
            0 => text.contains(file),
            line => [format!("{file}:{line}"), format!("{file}, line {line}")].iter().any(|place| {
                text.match_indices(place.as_str())
                    .any(|(at, _)| !text[at + place.len()..].starts_with(|c: char| c.is_ascii_digit()))
            }),
        };
        place && words.iter().all(|word| text.contains(word))
    }
}

/// The text of HTML: no tags, entities resolved.
pub(crate) fn text_of(html: &str) -> String {
    let mut text = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        rest = after.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    for (entity, character) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, character);
    }
    text
}
