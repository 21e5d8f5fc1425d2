//! Step 4: a person opens the gate, on each of the three surfaces.

use anyhow::Context;
use serde_json::Value;
use sluice_telegram_fake::{Message, State};

use super::{Report, SOON};
use crate::browser::Page;
use crate::cli::Cli;
use crate::shell;
use crate::until::until;
use crate::world::World;

/// Dana, who is linked to the account.
pub const DANA: i64 = 1001;
/// Oleg, who is linked to nobody.
pub const OLEG: i64 = 1002;

/// At a terminal: looks at what would change and types the name.
pub async fn by_cli(cli: &Cli, app: &str, report: &Report) -> anyhow::Result<String> {
    report.note(&format!("sluice app sync {app}, and {app} typed"));
    let shown = shell::run(cli.at_a_terminal(&["app", "sync", app]), &format!("{app}\n")).await?;
    shown.ok("sluice app sync")
}

/// In the browser: logs in.
pub async fn log_in(world: &World, page: &Page<'_>) -> anyhow::Result<()> {
    page.go(&format!("{}/login", world.api_url())).await?;
    page.fill("input[name=username]", "admin").await?;
    page.fill("input[name=password]", &world.password()?).await?;
    page.key("Enter").await?;
    page.until("!location.pathname.startsWith('/login') && document.readyState === 'complete'", SOON).await
}

/// In the browser: opens the sheet, reads it, types the name and presses SYNC.
pub async fn by_web(
    world: &World,
    page: &Page<'_>,
    app: &str,
    image: &str,
    report: &Report,
) -> anyhow::Result<()> {
    report.note(&format!("web: {}/apps/{app}/sync", world.api_url()));
    page.go(&format!("{}/apps/{app}", world.api_url())).await?;
    page.click(&format!("a[href='/apps/{app}/sync']")).await?;
    page.until("!!document.querySelector('dialog.sheet[open] #typed')", SOON).await?;
    let sheet = page.eval("document.querySelector('dialog.sheet').innerText").await?;
    let sheet = sheet.as_str().unwrap_or_default();
    let tag = image.rsplit(':').next().unwrap_or_default();
    report.expect("the sheet shows the image that will run", sheet.contains(tag))?;
    let invalid = page.eval("!document.querySelector('#sync-form').checkValidity()").await?;
    report.expect("nothing can be granted before the name is typed", invalid == true)?;
    page.fill("#typed", app).await?;
    page.click("#sync-form button.gate").await
}

/// In the chat: presses the button of the delivery, reads the question, and confirms it.
pub async fn by_button(world: &World, app: &str, tag: &str, report: &Report) -> anyhow::Result<()> {
    report.note("Telegram: the delivery's button, then Confirm");
    let card =
        wait_for_button(world, |m, label| m.text.contains(tag) && label.to_lowercase().starts_with("sync"))
            .await?;
    press(world, &card, DANA)?;
    confirm(world, app, report).await
}

/// In the chat: types `/sync`, reads the question, and confirms it.
pub async fn by_command(world: &World, app: &str, report: &Report) -> anyhow::Result<()> {
    report.note(&format!("Telegram: /sync {app}, then Confirm"));
    say(world, world.chat, DANA, &format!("/sync {app}"))?;
    confirm(world, app, report).await
}

async fn confirm(world: &World, app: &str, report: &Report) -> anyhow::Result<()> {
    let question = format!("Confirm sync {app}");
    let asked = wait_for_button(world, |_, label| label.starts_with(&question)).await?;
    report.note(&format!("  {}", asked.0.text.replace('\n', "\n    ")));
    report.expect("the question names an image", asked.0.text.contains("📦"))?;
    press(world, &asked, DANA)
}

/// Connects Dana's Telegram to the account of `cli`.
pub async fn link(world: &World, cli: &Cli) -> anyhow::Result<()> {
    let answer: Value =
        serde_json::from_str(&cli.ok(&["link", "-o", "json"]).await?).context("sluice link")?;
    let command = answer["command"].as_str().context("the link command")?;
    // The first seconds after a start, the bot may not be known to the API server yet, and says so.
    until("the bot links Dana to the account", SOON, async || {
        let before = world.telegram.read(|s| s.messages().len());
        say(world, DANA, DANA, command).map_err(|e| format!("{e:#}"))?;
        let answered = |s: &State| {
            let new = s.messages().iter().skip(before);
            new.filter(|m| m.chat_id == DANA && m.from.is_bot).map(|m| m.text.clone()).next()
        };
        let answer = world.telegram.wait(SOON, answered).await.ok_or("no answer to /link")?;
        if answer.contains("admin") { Ok(()) } else { Err(answer) }
    })
    .await
}

/// Types a line.
pub fn say(world: &World, chat: i64, user: i64, text: &str) -> anyhow::Result<()> {
    world.telegram.change(|s| s.say(chat, user, text)).context("nobody to say it")?;
    Ok(())
}

/// The newest message with a button that `look` accepts, and the button's `callback_data`.
pub async fn wait_for_button(
    world: &World,
    look: impl Fn(&Message, &str) -> bool,
) -> anyhow::Result<(Message, String)> {
    let find = |s: &State| {
        let shown = s.messages().iter().rev().filter(|m| !m.deleted && m.from.is_bot);
        shown
            .flat_map(|m| m.buttons().into_iter().map(move |b| (m, b)))
            .find_map(|(m, (label, data))| look(m, &label).then(|| (m.clone(), data)))
    };
    let found = world.telegram.wait(SOON, find).await;
    found.with_context(|| format!("no such button in the chat:\n{}", transcript(world)))
}

/// Presses a button.
pub fn press(world: &World, (message, data): &(Message, String), user: i64) -> anyhow::Result<()> {
    let pressed = world.telegram.change(|s| s.press(message.chat_id, message.message_id, user, data));
    pressed.map(drop).map_err(anyhow::Error::msg)
}

/// What the chats show now.
pub fn transcript(world: &World) -> String {
    world.telegram.read(|s| {
        let shown = s.messages().iter().filter(|m| !m.deleted);
        let line =
            |m: &Message| format!("[{} {}] {} {:?}", m.chat_id, m.from.first_name, m.text, m.buttons());
        shown.map(line).collect::<Vec<_>>().join("\n")
    })
}
