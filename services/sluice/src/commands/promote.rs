//! `promote`: the image that dev proved goes into prod's directory. Whether it runs there is a person's decision.

use serde_json::json;

use crate::arguments::PromoteArgs;
use crate::context::{Context, until};
use crate::failure::{Failure, Outcome};
use crate::value::{Fields, segment};

/// Writing one line into a Git repository.
const PATIENCE: u64 = 120;

pub(crate) async fn promote(context: &Context, arguments: PromoteArgs) -> Outcome {
    let (repo, in_image) = service(&arguments.what);
    let tag = arguments.tag.or(in_image);
    let (client, output) = (context.client()?, context.output);
    let at = format!("/api/v1/promotions/{}", segment(&repo));
    let plan = client.get(&at).await?;
    let wanted = tag.as_ref().is_none_or(|tag| *tag == plan.text("tag"));
    if !plan.is("ready") && wanted {
        return Err(Failure::failed(
            format_args!("{repo} cannot be promoted: {}", plan.text("reason")),
            "see where it stands: `sluice app ls`",
        ));
    }
    let body = tag.map_or_else(|| json!({}), |tag| json!({"tag": tag}));
    let asked = client.post_once(&at, &body).await?;
    if output.for_people() {
        output.line(format!(
            "Promoting {}:{}  {}",
            asked.text("image"),
            asked.text("tag"),
            asked.text("digest")
        ))?;
    }
    if arguments.no_wait {
        return output.data(&asked).map(drop);
    }
    let bump = asked.text("bump");
    let ended = until(&format!("promotion {bump}"), PATIENCE, async || {
        let bump = client.get(&format!("{at}/{}", segment(&bump))).await?;
        Ok((bump.text("state") != "pending").then_some(bump))
    })
    .await?;
    if ended.text("state") == "failed" {
        output.data(&ended)?;
        return Err(Failure::failed(
            format_args!("the promotion of {repo} failed: {}", ended.text("reason")),
            "mend what it names and promote again",
        ));
    }
    if output.data(&ended)? {
        return Ok(());
    }
    for change in ended.list("changes") {
        let place = format!("{}:{}", change.text("path"), change.text("line"));
        output.line(format!("  {place}  {} → {}", change.text("from"), change.text("to")))?;
    }
    if ended.text("state") == "unchanged" {
        return output.line("It is there already: nothing to commit.");
    }
    let prod = plan.at("prod").as_str().unwrap_or("NAME");
    output.line(format!(
        "Committed as {}. Nothing runs yet: look at it and grant it with `sluice app sync {prod}`",
        ended.short("commit"),
    ))
}

/// The repository and tag that a person means: `shop-web`, `dev/shop-web`, or an image `host/path/shop-web:tag`.
fn service(what: &str) -> (String, Option<String>) {
    let (name, tag) = match what.rsplit_once(':') {
        // A colon before the last slash is a registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
        _ => (what, None),
    };
    let host = name.split('/').next().unwrap_or_default();
    let is_image = name.contains('/') && (host.contains(['.', ':']) || host == "localhost");
    let repo = if is_image { name.rsplit('/').next().unwrap_or(name) } else { name };
    (repo.to_owned(), tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_repository_or_image() {
        let named = |what, repo: &str, tag: Option<&str>| {
            assert_eq!(service(what), (repo.to_owned(), tag.map(str::to_owned)), "{what}");
        };
        named("shop-web", "shop-web", None);
        named("dev/shop-web", "dev/shop-web", None);
        named("shop-web:cc846571", "shop-web", Some("cc846571"));
        named("127.0.0.1:5000/dev/shop-web:cc846571", "shop-web", Some("cc846571"));
        named("127.0.0.1:5000/dev/shop-web", "shop-web", None);
        named("registry.example.com/shop/web:v1", "web", Some("v1"));
    }
}
