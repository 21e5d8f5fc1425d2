//! What a delivery looks like: what was written, a line an application, mistakes, and the card with its buttons.

use sluice_schemas::Timestamp;
use sluice_schemas::events::{BumpKind, HealthStatus, SyncOutcome, SyncStatus};

use super::{AppLine, BumpLine, DeliveryStory, Syncing};
use crate::content::Content;
use crate::story::{Act, Button, Site, Story, count, duration, image_name};
use crate::text::Text;

/// Applications with buttons at once: more would hide the text.
const CARDS: usize = 3;
/// Mistakes that a message shows.
const MISTAKES_SHOWN: usize = 5;

impl DeliveryStory {
    pub(in crate::story) fn render(
        &self,
        story: &Story,
        key: &str,
        site: &Site,
        now: Timestamp,
        buttons: &mut Vec<Button>,
    ) -> Content {
        let mut text = self.header();
        for bump in &self.bumps {
            text = text.then(bump.text());
        }
        for line in &self.apps {
            text = text.line().then(line.text(site));
        }
        for mistake in self.mistakes.iter().take(MISTAKES_SHOWN) {
            text = text.line().say(format!("❌ {mistake}"));
        }
        if let Some(ask) = &self.ask {
            text = text.line().line().then(ask.text());
        }
        match self.ask.as_ref().filter(|ask| ask.is_open() && now < ask.expires_at) {
            Some(ask) => ask.buttons(story, key, buttons),
            None => self.cards(story, key, buttons),
        }
        Content::text(text)
    }

    fn header(&self) -> Text {
        let failed = |line: &AppLine| {
            let outcome = line.syncing.as_ref().and_then(|syncing| syncing.outcome);
            outcome.is_some_and(|outcome| outcome != SyncOutcome::Succeeded)
                || line.health == HealthStatus::Degraded
        };
        let icon = if self.bumps.iter().any(|bump| bump.failed.is_some())
            || !self.mistakes.is_empty()
            || self.apps.iter().any(failed)
        {
            "❌"
        } else if self.apps.iter().any(AppLine::waits) {
            "⏸"
        } else if self.is_terminal() {
            "✅"
        } else {
            "🚚"
        };
        let text = Text::new().say(format!("{icon} "));
        match (self.bumps.first(), self.apps.iter().find_map(|line| line.revision.as_ref())) {
            (Some(bump), _) => text.bold(format!("{} → {}", image_name(&bump.image), bump.directory)),
            (None, Some(revision)) => text.bold(format!("deploy {}", revision.short())),
            (None, None) => text.bold("deploy"),
        }
    }

    fn cards(&self, story: &Story, key: &str, buttons: &mut Vec<Button>) {
        for line in self.waiting().into_iter().take(CARDS) {
            let (Some(revision), Some(manifests)) = (&line.revision, &line.manifests) else { continue };
            let name = line.app.name();
            for (act, id, label) in
                [(Act::Diff, "diff", format!("Diff {name}")), (Act::Sync, "sync", format!("Sync {name}"))]
            {
                buttons.push(Button {
                    id: story.button_id(id, &line.app, revision),
                    label,
                    act,
                    story: key.to_owned(),
                    app: line.app.clone(),
                    project: line.project.clone(),
                    revision: revision.clone(),
                    manifests: manifests.clone(),
                    user: None,
                    expires_at: None,
                    used_by: None,
                });
            }
        }
    }
}

impl BumpLine {
    fn text(&self) -> Text {
        let by = self.person.as_ref().map(|person| format!(" by {person}")).unwrap_or_default();
        let what = match self.kind {
            BumpKind::Bump => "image written",
            BumpKind::Promotion => "promoted",
        };
        let text = Text::new().line();
        if let Some(reason) = &self.failed {
            return text.say(format!(
                "❌ {} was not written to {}: {reason}",
                image_name(&self.image),
                self.directory
            ));
        }
        let text = text.say(format!("📝 {what}{by}"));
        let text = text.when(self.commit.as_ref(), |text, commit| text.say(" ").code(commit.short()));
        text.when(self.places.first(), |text, place| {
            let more = self.places.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            text.say(format!(" {place}{more}"))
        })
    }
}

impl AppLine {
    fn text(&self, site: &Site) -> Text {
        let name = self.app.name();
        let text = Text::new().say(format!("{} ", self.icon()));
        let text = match site.page(&format!("/apps/{name}")) {
            Some(url) => text.link(name, url),
            None => text.bold(name),
        };
        let text = text.say(format!(" {}", self.state()));
        let text =
            self.image_changes().into_iter().fold(text, |text, change| text.line().say("   ").code(change));
        let text =
            text.when(self.syncing.as_ref(), |text, syncing| text.line().say("   ").then(syncing.text()));
        let text = text
            .when(self.refused.as_ref(), |text, reason| text.line().say(format!("   🔒 refused {reason}")));
        self.errors
            .iter()
            .take(MISTAKES_SHOWN)
            .fold(text, |text, error| text.line().say(format!("   ❌ {error}")))
    }

    fn icon(&self) -> &'static str {
        let outcome = self.syncing.as_ref().map(|syncing| syncing.outcome);
        match (outcome, self.sync, self.health) {
            _ if !self.errors.is_empty() => "❌",
            (Some(Some(SyncOutcome::Failed | SyncOutcome::Error)), ..) | (_, _, HealthStatus::Degraded) => {
                "❌"
            }
            (Some(None), ..) => "⏳",
            _ if self.waits() => "⏸",
            (_, SyncStatus::Synced, HealthStatus::Healthy | HealthStatus::Suspended) => "✅",
            _ => "⏳",
        }
    }

    fn state(&self) -> String {
        let health = match self.health {
            HealthStatus::Healthy => "healthy",
            HealthStatus::Suspended => "suspended",
            HealthStatus::Progressing => "rolling out",
            HealthStatus::Missing => "objects missing",
            HealthStatus::Degraded => "degraded",
            HealthStatus::Unknown => "health unknown",
        };
        let said = if self.health == HealthStatus::Degraded && !self.health_message.is_empty() {
            format!(" ({})", self.health_message)
        } else {
            String::new()
        };
        match self.sync {
            _ if self.superseded => "went on with a later commit".to_owned(),
            SyncStatus::OutOfSync if self.waits() => {
                format!(
                    "waits for a person: {} of {} differ",
                    self.out_of_sync,
                    count(self.objects, "object")
                )
            }
            SyncStatus::OutOfSync => {
                format!("{} of {} differ", self.out_of_sync, count(self.objects, "object"))
            }
            SyncStatus::Synced => format!("synced, {health}{said}"),
            SyncStatus::Unknown if self.errors.is_empty() => format!("{health}{said}"),
            SyncStatus::Unknown => "cannot be compared".to_owned(),
        }
    }

    /// `shop-web:aaaaaaaa → cccccccc` for images that differ.
    fn image_changes(&self) -> Vec<String> {
        if self.sync != SyncStatus::OutOfSync {
            return Vec::new();
        }
        let split = |image: &str| {
            let name = image_name(image);
            let (name, tag) = name.split_once([':', '@']).unwrap_or((name, "latest"));
            (name.to_owned(), tag.to_owned())
        };
        let live: Vec<_> = self.live_images.iter().map(|image| split(image)).collect();
        self.images
            .iter()
            .filter(|image| !self.live_images.contains(image))
            .map(|image| {
                let (name, tag) = split(image);
                match live.iter().find(|(other, _)| *other == name) {
                    Some((_, old)) => format!("{name}: {old} → {tag}"),
                    None => format!("{name}: {tag}"),
                }
            })
            .collect()
    }
}

impl Syncing {
    /// One line; more when objects were refused.
    pub(in crate::story) fn text(&self) -> Text {
        let by = &self.by;
        let text = match self.outcome {
            None => Text::new().say(format!("⏳ syncing {by}")),
            Some(SyncOutcome::Succeeded) => {
                Text::new().say(format!("✅ synced {by} in {}", duration(self.duration_ms)))
            }
            Some(SyncOutcome::Failed | SyncOutcome::Error) => {
                Text::new().say(format!("❌ sync {by} failed: {}", self.message))
            }
        };
        self.failures.iter().fold(text, |text, failure| text.line().say(format!("   {failure}")))
    }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::Message;
    use sluice_schemas::events::{AppCompared, BumpCommitted, RenderFailed, SyncFinished, SyncStarted};
    use sluice_schemas::ids::Correlation;

    use super::*;
    use crate::story::{Rendered, Tale};

    fn render(delivery: &DeliveryStory) -> Rendered {
        let tale = Tale::Delivery(Box::new(delivery.clone()));
        let at = Timestamp::from_unix_millis(1_790_000_000_000);
        Story::new(Correlation::from_text("c"), at, "n".to_owned(), tale).render(
            "delivery-c",
            &Site::default(),
            at,
        )
    }

    fn committed() -> DeliveryStory {
        let mut delivery = DeliveryStory::default();
        delivery.committed(&BumpCommitted::example());
        delivery
    }

    #[test]
    fn a_gated_application_that_differs_gets_a_card() {
        let mut delivery = committed();
        delivery.compared(&AppCompared::example());
        let rendered = render(&delivery);
        let plain = rendered.content.text.plain();
        assert!(plain.starts_with("⏸ web:cccccccc → dev"), "{plain}");
        assert!(plain.contains("waits for a person: 1 of 4 objects differ"), "{plain}");
        assert!(plain.contains("web: aaaaaaaa → cccccccc"), "{plain}");
        let acts: Vec<_> = rendered.buttons.iter().map(|button| button.act.clone()).collect();
        assert_eq!(acts, [Act::Diff, Act::Sync]);
        assert!(rendered.buttons.iter().all(|button| button.id.len() <= 64));
    }

    #[test]
    fn nobody_is_asked_while_dev_is_not_healthy() {
        let mut delivery = committed();
        delivery.compared(&AppCompared::example());
        let mut dev =
            AppCompared { gated: false, health: HealthStatus::Progressing, ..AppCompared::example() };
        dev.app.app = sluice_schemas::ids::AppId::from_name("shop-dev");
        dev.sync = SyncStatus::Synced;
        delivery.compared(&dev);
        assert!(render(&delivery).buttons.is_empty());
        delivery.compared(&AppCompared { health: HealthStatus::Healthy, ..dev });
        assert_eq!(render(&delivery).buttons.len(), 2);
    }

    #[test]
    fn a_sync_takes_the_buttons_away_and_its_end_is_told() {
        let mut delivery = committed();
        delivery.compared(&AppCompared::example());
        delivery.sync_started(&SyncStarted::example());
        assert!(render(&delivery).buttons.is_empty());
        delivery.sync_finished(&SyncFinished::example());
        let once = delivery.clone();
        delivery.sync_started(&SyncStarted::example());
        assert_eq!(delivery, once, "a fact that comes late changes nothing");
        delivery.compared(&AppCompared {
            sync: SyncStatus::Synced,
            out_of_sync: 0,
            ..AppCompared::example()
        });
        let plain = render(&delivery).content.text.plain();
        assert!(plain.contains("✅ synced by ada (web) in 0.0 s"), "{plain}");
        assert!(delivery.is_terminal());
    }

    #[test]
    fn a_later_delivery_takes_the_buttons_away() {
        let mut delivery = committed();
        delivery.compared(&AppCompared::example());
        assert!(delivery.supersede(&AppCompared::example().app.app));
        assert!(render(&delivery).buttons.is_empty());
    }

    #[test]
    fn a_mistake_in_a_manifest_names_file_and_line() {
        let mut delivery = DeliveryStory::default();
        delivery.not_rendered(&RenderFailed::example());
        delivery.not_rendered(&RenderFailed::example());
        let plain = render(&delivery).content.text.plain();
        assert_eq!(plain.matches("dev/service.yaml:4:3: a tab is not allowed here").count(), 1, "{plain}");
    }
}
