//! The documents of this command against the code: `docs/cli.md` is generated from the command line
//! (`SLUICE_UPDATE=1 cargo test -p sluice` writes it), `docs/configuration.md` must name every key.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use sluice_chassis::config::ConfigFile;

use crate::arguments::Cli;

const INTRODUCTION: &str = "\
# The command `sluice`

Everything that a person at a terminal does, and `sluice up`, which is every service in one process. Generated from the program:
`sluice help COMMAND` says the same.

* **Where it talks to**: the API server of the last `sluice login`, `--server URL` or `SLUICE_SERVER`; before any login
  `http://127.0.0.1:8080`. Tokens lie in `~/.config/sluice/logins.json`, mode 0600; `SLUICE_TOKEN` wins over them.
* **What it prints**: tables for people; `-o wide` has more columns; `-o json` and `-o yaml` are the API's answer as it is, one JSON document a
  line where results stream. Results go to standard output, remarks to standard error. `NO_COLOR` is honoured.
* **Exit codes**: 0 done, 1 failed or different, 2 wrong usage, 3 took too long, 4 not logged in, 5 not allowed, 130 Ctrl-C. Every error says what to do
  next.
* **Secrets are never arguments**: they come from a prompt without echo, from standard input, or from a file.
* `up`, `doctor`, `bus`, `repo` and `dlq --direct` are an operator's commands: they use [the configuration](configuration.md), bus and cluster
  themselves. Everything else is done by the API, with the rights of the person logged in.
";

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

#[test]
fn the_reference_of_commands_is_what_the_program_says() {
    let mut root = Cli::command().term_width(110);
    root.build();
    let mut text = INTRODUCTION.to_owned();
    describe(&mut text, &root, &[]);
    if std::env::var_os("SLUICE_UPDATE").is_some() {
        std::fs::write(document("cli.md"), &text).expect("written");
    }
    let found = std::fs::read_to_string(document("cli.md")).unwrap_or_default();
    assert!(found == text, "run `SLUICE_UPDATE=1 cargo test -p sluice`");
}

fn describe(text: &mut String, command: &clap::Command, above: &[&str]) {
    let mut path = above.to_vec();
    path.push(command.get_name());
    let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    if below.is_empty() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let mut help = command.clone();
        let usage = help.render_usage().to_string().replace("Usage: ", "");
        write!(text, "\n## {}\n\n{about}\n\n```\n{usage}\n```\n", path.join(" ")).expect("a string");
        arguments(text, command);
        if let Some(more) = command.get_after_help() {
            write!(text, "\n```\n{more}\n```\n").expect("a string");
        }
    }
    for command in below {
        describe(text, command, &path);
    }
}

fn arguments(text: &mut String, command: &clap::Command) {
    const GLOBAL: [&str; 5] = ["output", "server", "no_input", "help", "version"];
    let own: Vec<_> = command.get_arguments().filter(|it| !GLOBAL.contains(&it.get_id().as_str())).collect();
    if own.is_empty() {
        return;
    }
    text.push_str("\n| | |\n|---|---|\n");
    for argument in own {
        let name = argument.to_string().replace('|', "\\|");
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let default: Vec<_> =
            argument.get_default_values().iter().map(|it| it.to_string_lossy().into_owned()).collect();
        let takes_value = argument.get_action().takes_values();
        let default = if default.is_empty() || !takes_value {
            String::new()
        } else {
            format!(" (default `{}`)", default.join(" "))
        };
        writeln!(text, "| `{name}` | {help}{default} |").expect("a string");
    }
}

#[test]
fn every_key_of_the_configuration_is_documented_and_no_other() {
    let text = std::fs::read_to_string(document("configuration.md")).expect("the document");
    let mut known: Vec<String> = Vec::new();
    for section in sluice_chassis::config::SECTIONS {
        known.extend(keys(section).into_iter().map(|key| format!("{section}.{key}")));
    }
    let missing: Vec<_> = known.iter().filter(|key| !text.contains(&format!("| `{key}` |"))).collect();
    assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
    let documented = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let stale: Vec<_> =
        documented.filter(|key| key.contains('.') && !known.iter().any(|it| it == key)).collect();
    assert!(stale.is_empty(), "in docs/configuration.md, but not a key: {stale:?}");
}

/// The keys of a section: what the refusal of an unknown one lists.
fn keys(section: &str) -> Vec<String> {
    let file = ConfigFile::parse("x".into(), format!("{section}:\n  no_such_key: 1\n"), []).expect("parses");
    let failure = crate::up::services::check(&file).expect_err("an unknown key");
    let list = failure.message.rsplit("known: ").next().unwrap_or_default().to_owned();
    assert!(list != failure.message, "{}", failure.message);
    list.split(", ").map(str::to_owned).collect()
}
