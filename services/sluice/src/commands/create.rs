//! `app create`.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::value::Fields;

pub(crate) async fn create(context: &Context, file: &Path, upsert: bool) -> Outcome {
    let text = read(file)?;
    let objects = documents(&text).map_err(|message| {
        Failure::usage(
            format_args!("{}: {message}", file.display()),
            "the file must hold `argoproj.io/v1alpha1` Applications",
        )
    })?;
    let client = context.client()?;
    for object in &objects {
        let made = client.post(&format!("/api/v1/applications?upsert={upsert}"), object).await.map_err(
            |failure| {
                let exists = failure.message.contains("exist");
                if exists && !upsert {
                    Failure { next: "change it with --upsert".to_owned(), ..failure }
                } else {
                    failure
                }
            },
        )?;
        if !context.output.record(&made)? {
            let name = object.text("metadata.name");
            context
                .output
                .line(format!("Application {name} is there. Watch it: `sluice app wait {name}`"))?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Outcome<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        return read.map(|_| text).map_err(|error| {
            Failure::usage(format_args!("standard input cannot be read: {error}"), "pipe a manifest in")
        });
    }
    std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format_args!("{} cannot be read: {error}", file.display()), "check the path")
    })
}

/// The Applications in a file of one or more YAML documents.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for object in serde_saphyr::from_multiple::<Value>(text).map_err(|error| error.to_string())? {
        if object.is_null() {
            continue;
        }
        let (version, kind) = (object.text("apiVersion"), object.text("kind"));
        if (version.as_str(), kind.as_str()) != ("argoproj.io/v1alpha1", "Application") {
            return Err(format!("`{version}` `{kind}` is not an Application; apply it with kubectl"));
        }
        found.push(object);
    }
    if found.is_empty() { Err("there is nothing in it".to_owned()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_are_read_and_others_named() {
        let app = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: shop\n";
        let found = documents(&format!("{app}---\n{app}")).expect("two");
        assert_eq!((found.len(), found[0].text("metadata.name")), (2, "shop".to_owned()));
        assert!(documents("apiVersion: v1\nkind: Service\n").expect_err("no").contains("Service"));
        assert!(documents("").is_err() && documents("a: [").is_err());
    }
}
