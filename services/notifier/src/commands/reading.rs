//! Reading a line as a command, and lists as text. No I/O.

use crate::api::{AppSummary, RunSummary};
use crate::text::Text;

/// What there is, as Telegram offers it.
pub(crate) const COMMANDS: &[(&str, &str)] = &[
    ("apps", "all applications"),
    ("status", "what is not in order; /status APP for one application"),
    ("sync", "/sync APP: see what would change, confirm, and it is done"),
    ("runs", "the latest workflow runs"),
    ("link", "/link CODE: connect your Telegram to your account"),
    ("whoami", "which account you are"),
    ("help", "this list"),
];

/// Lines of a list; the rest is counted.
const LISTED: usize = 40;

/// A line that a person typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed<'a> {
    /// No command, or one for another bot.
    Nothing,
    /// A command.
    Command { name: &'static str, arguments: &'a str },
    /// A command that there is not.
    Unknown { typed: &'a str, nearest: Option<&'static str> },
}

/// Reads a line. `bot` is our user name: `/sync@otherbot` is for somebody else.
#[must_use]
pub(crate) fn read<'a>(line: &'a str, bot: &str) -> Typed<'a> {
    let Some(rest) = line.trim().strip_prefix('/') else { return Typed::Nothing };
    let (word, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (word, addressed) = word.split_once('@').map_or((word, None), |(word, to)| (word, Some(to)));
    if addressed.is_some_and(|to| !to.eq_ignore_ascii_case(bot)) || word.is_empty() {
        return Typed::Nothing;
    }
    let lower = word.to_ascii_lowercase();
    // `/start` is what Telegram sends when a person opens the chat.
    let known = COMMANDS.iter().map(|(name, _)| *name).chain(["start"]);
    if let Some(name) = known.clone().find(|name| *name == lower) {
        return Typed::Command { name, arguments: arguments.trim() };
    }
    let nearest = known.map(|name| (strsim::damerau_levenshtein(name, &lower), name)).min();
    Typed::Unknown {
        typed: word,
        nearest: nearest.filter(|(distance, _)| *distance <= 2).map(|(_, name)| name),
    }
}

pub(super) fn apps(apps: &[AppSummary]) -> Text {
    if apps.is_empty() {
        return Text::plain_text("There are no applications that you may see.");
    }
    list(Text::new().bold(format!("{} applications", apps.len())), apps, line)
}

pub(super) fn status(apps: &[AppSummary]) -> Text {
    let troubled: Vec<_> =
        apps.iter().filter(|app| app.sync != "Synced" || app.health != "Healthy").cloned().collect();
    if troubled.is_empty() {
        return Text::plain_text(format!("✅ All {} applications are synced and healthy.", apps.len()));
    }
    let header = format!("{} of {} applications are not in order", troubled.len(), apps.len());
    list(Text::new().bold(header), &troubled, line)
}

pub(super) fn application(app: &AppSummary) -> Text {
    let text = line(Text::new(), app);
    let text =
        text.when(app.revision.as_ref(), |text, revision| text.line().say("at ").code(revision.clone()));
    let text = app.images.iter().fold(text, |text, image| text.line().say("📦 ").code(image.clone()));
    let text = app.conditions.iter().fold(text, |text, condition| text.line().say(format!("❌ {condition}")));
    if app.sync == "OutOfSync" {
        text.line().say("To sync it: ").code(format!("/sync {}", app.name))
    } else {
        text
    }
}

pub(super) fn runs(runs: &[RunSummary]) -> Text {
    if runs.is_empty() {
        return Text::plain_text("No workflow has run yet, or none that you may see.");
    }
    list(Text::new().bold("Latest runs"), runs, |text, run| {
        let icon = match run.state.as_str() {
            "success" => "✅",
            "failure" => "❌",
            "cancelled" => "⛔",
            "skipped" => "⏭",
            _ => "⏳",
        };
        text.say(format!("{icon} {} #{} {} {}", run.repository, run.number, run.state, run.title))
    })
}

fn line(text: Text, app: &AppSummary) -> Text {
    let icon = match (app.sync.as_str(), app.health.as_str()) {
        (_, "Degraded") => "❌",
        ("Synced", "Healthy" | "Suspended") => "✅",
        ("OutOfSync", _) if app.gated => "⏸",
        _ => "⏳",
    };
    let gate = if app.gated { ", needs a grant" } else { "" };
    text.say(format!("{icon} ")).bold(app.name.clone()).say(format!(" {}, {}{gate}", app.sync, app.health))
}

fn list<T>(text: Text, items: &[T], mut line: impl FnMut(Text, &T) -> Text) -> Text {
    let text = items.iter().take(LISTED).fold(text, |text, item| line(text.line(), item));
    if items.len() > LISTED {
        text.line().say(format!("… and {} more", items.len() - LISTED))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_read_with_their_arguments() {
        assert_eq!(
            read("  /Sync@Sluice_bot  shop-prod ", "sluice_bot"),
            Typed::Command { name: "sync", arguments: "shop-prod" }
        );
        assert_eq!(read("/sync@otherbot shop-prod", "sluice_bot"), Typed::Nothing);
        assert_eq!(read("hello /sync", "sluice_bot"), Typed::Nothing);
    }

    #[test]
    fn an_unknown_command_gets_the_nearest() {
        assert_eq!(read("/snyc x", "b"), Typed::Unknown { typed: "snyc", nearest: Some("sync") });
        assert_eq!(read("/frobnicate", "b"), Typed::Unknown { typed: "frobnicate", nearest: None });
    }

    proptest! {
        #[test]
        fn any_line_can_be_read(line in "(?s).*") {
            let typed = read(&line, "b");
            prop_assert_eq!(typed == Typed::Nothing, !line.trim().starts_with('/') || matches!(typed, Typed::Nothing));
        }
    }
}
