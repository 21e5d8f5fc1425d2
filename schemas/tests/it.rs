//! The checked-in JSON Schemas and examples are the wire: a change of a type shows up as a change of a file.
//! `SLUICE_UPDATE=1 cargo test -p sluice-schemas` writes them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sluice_schemas::catalogue::{self, Class};
use sluice_schemas::{Event, Subject};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn golden(folder: &Path, stem: &str, value: &serde_json::Value) -> bool {
    let file = folder.join(format!("{stem}.json"));
    let text = format!("{}\n", serde_json::to_string_pretty(value).expect("JSON prints"));
    if std::env::var_os("SLUICE_UPDATE").is_some() {
        std::fs::create_dir_all(folder).expect("the folder can be made");
        std::fs::write(&file, &text).expect("the file can be written");
    }
    std::fs::read_to_string(&file).is_ok_and(|found| found == text)
}

#[test]
fn schemas_and_examples_are_checked_in() {
    let mut stale = Vec::new();
    let mut stems = BTreeSet::new();
    for entry in catalogue::all() {
        assert!(stems.insert(format!("{}.json", entry.file_stem())), "two types are called {}", entry.kind);
        for (name, value) in [("json", &entry.schema), ("examples", &entry.example)] {
            if !golden(&folder(name), entry.file_stem(), value) {
                stale.push(format!("{name}/{}", entry.file_stem()));
            }
        }
    }
    for name in ["json", "examples"] {
        for file in std::fs::read_dir(folder(name)).expect("the folder exists") {
            let file = file.expect("a directory entry").file_name().to_string_lossy().into_owned();
            if !stems.contains(&file) {
                stale.push(format!("{name}/{file} (no such type any more)"));
            }
        }
    }
    assert!(stale.is_empty(), "run `SLUICE_UPDATE=1 cargo test -p sluice-schemas`: {stale:#?}");
}

#[test]
fn every_example_satisfies_its_schema_and_subject() {
    for entry in catalogue::all() {
        let validator = jsonschema::validator_for(&entry.schema).expect("a valid JSON Schema");
        let errors: Vec<_> = validator.iter_errors(&entry.example).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", entry.kind);
        let subject: Subject = entry.subject.parse().expect("a subject");
        let is_fact = matches!(subject, Subject::Fact { .. });
        assert_eq!(is_fact, entry.class == Class::Fact, "{}", entry.kind);
    }
}

#[test]
fn readers_know_every_fact_and_ignore_new_fields() {
    for entry in catalogue::all().into_iter().filter(|e| e.class == Class::Fact) {
        let mut payload = entry.example.clone();
        payload["field_of_tomorrow"] = serde_json::json!(1);
        let event = Event::decode(entry.kind, payload.to_string().as_bytes()).expect("decodes");
        assert_eq!(event.kind(), entry.kind);
        assert_eq!(event.payload(), entry.example);
    }
}

#[test]
fn an_unknown_type_is_no_error() {
    let event = Event::decode("dev.sluice.run.dreamt.v9", b"{}").expect("skipped");
    assert_eq!(event, Event::Unknown("dev.sluice.run.dreamt.v9".to_owned()));
}

/// `docs/events.md` is written from the catalogue, so that it cannot lie.
#[test]
fn the_reference_of_events_is_current() {
    let mut page = String::from(
        "# Events and commands\n\n\
         Every message is JSON on a NATS subject, with CloudEvents 1.0 attributes as headers (`ce-id`, `ce-type`, `ce-source`,\n\
         `ce-time`, `ce-subject`, `ce-dataschema`) and two extensions: `ce-correlationid`, one for the whole chain from commit to\n\
         pod, and `ce-causationid`, the message that led to this one. `Nats-Msg-Id` equals `ce-id` and is deterministic: a handler\n\
         that runs twice publishes the same id twice. Readers ignore fields that they do not know.\n\n\
         This page is generated from the types: `SLUICE_UPDATE=1 cargo test -p sluice-schemas`.\n\n\
         ```sh\nnats sub 'evt.>' --stream EVENTS --all            # the whole log, then live\n\
         nats stream view EVENTS --subject 'evt.run.dev_shop-web.42.*'   # one run\n```\n",
    );
    for (class, title) in [
        (Class::Fact, "Facts (stream `EVENTS`)"),
        (Class::Command, "Commands (stream `WORK`)"),
        (Class::Inbox, "Inbox (stream `INBOX`)"),
    ] {
        page.push_str(&format!("\n## {title}\n"));
        for entry in catalogue::all().into_iter().filter(|entry| entry.class == class) {
            let stem = entry.file_stem();
            page.push_str(&format!("\n### `{}`\n\nExample subject: `{}`", entry.kind, entry.subject));
            page.push_str(&format!(
                " · [schema](../schemas/json/{stem}.json) · [example](../schemas/examples/{stem}.json)\n"
            ));
            if let Some(description) = entry.schema["description"].as_str() {
                page.push_str(&format!("\n{description}\n"));
            }
            page.push_str("\n| field | meaning |\n|---|---|\n");
            let properties = entry.schema["properties"].as_object().expect("an object");
            for (name, property) in properties {
                let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ");
                page.push_str(&format!("| `{name}` | {meaning} |\n"));
            }
        }
    }
    let file = folder("../docs").join("events.md");
    if std::env::var_os("SLUICE_UPDATE").is_some() {
        std::fs::create_dir_all(folder("../docs")).expect("the folder can be made");
        std::fs::write(&file, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == page, "run `SLUICE_UPDATE=1 cargo test -p sluice-schemas`");
}
