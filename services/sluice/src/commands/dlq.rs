//! `dlq`: messages that could not be handled. Through the API as the person logged in, or with `--direct` from the bus,
//! for the hour in which the API itself is what does not work.

use serde_json::{Value, json};
use sluice_bus::Bus;

use super::bus::connect;
use crate::arguments::{DirectArgs, DlqCommand};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Table;
use crate::value::{Fields, segment};

/// Where the letters come from.
enum Source {
    Api(Client),
    Bus(Box<Bus>),
}

pub(crate) async fn dlq(context: &Context, command: DlqCommand) -> Outcome {
    match command {
        DlqCommand::Ls { direct } => ls(context, &Source::of(context, direct).await?).await,
        DlqCommand::Show { id, direct } => {
            let letter = Source::of(context, direct).await?.find(&id).await?;
            if context.output.data(&letter)? {
                return Ok(());
            }
            for field in ["id", "consumer", "subject", "stream", "sequence", "deliveries", "kind", "reason"] {
                context.output.line(format!("{field:<11} {}", letter.text(field)))?;
            }
            context.output.line(format!("\n{}", pretty(&letter.text("payload"))))
        }
        DlqCommand::Retry { id, all, direct } => {
            let source = Source::of(context, direct).await?;
            let letters = match id {
                Some(id) if !all => vec![source.find(&id).await?],
                _ => source.all().await?,
            };
            for letter in &letters {
                let id = letter.text("id");
                source.retry(&id).await?;
                if !context.output.record(&json!({"id": id, "consumer": letter.text("consumer")}))? {
                    context
                        .output
                        .line(format!("{id} is on its way to {} again.", letter.text("consumer")))?;
                }
            }
            if letters.is_empty() {
                context.output.note("There is no dead letter.");
            }
            Ok(())
        }
    }
}

async fn ls(context: &Context, source: &Source) -> Outcome {
    let letters = source.all().await?;
    if context.output.data(&json!({"items": letters}))? {
        return Ok(());
    }
    if letters.is_empty() {
        context.output.note("There is no dead letter.");
        return Ok(());
    }
    let mut table =
        Table::new(&["ID", "CONSUMER", "REASON", "DELIVERIES", "+SUBJECT", "+SEQUENCE", "+SINCE"]);
    for letter in &letters {
        let reason: String = letter.text("reason").chars().take(80).collect();
        table.row([
            letter.text("id"),
            letter.text("consumer"),
            reason,
            letter.text("deliveries"),
            letter.text("subject"),
            letter.text("sequence"),
            letter.text("buried_at"),
        ]);
    }
    table.print(context.output)
}

impl Source {
    async fn of(context: &Context, arguments: DirectArgs) -> Outcome<Self> {
        if arguments.direct {
            let (bus, _) = connect(arguments.config.config.as_deref()).await?;
            return Ok(Self::Bus(Box::new(bus)));
        }
        Ok(Self::Api(context.client()?))
    }

    async fn all(&self) -> Outcome<Vec<Value>> {
        match self {
            Self::Api(client) => Ok(client.get("/api/v1/dlq").await?.list("items").to_vec()),
            Self::Bus(bus) => {
                let letters = bus.dead_letters().await.map_err(|error| unreadable(&error))?;
                Ok(letters.iter().map(|letter| json!(letter)).collect())
            }
        }
    }

    /// The one letter whose id begins so.
    async fn find(&self, id: &str) -> Outcome<Value> {
        let found: Vec<Value> =
            self.all().await?.into_iter().filter(|letter| letter.text("id").starts_with(id)).collect();
        match <[Value; 1]>::try_from(found) {
            Ok([letter]) => Ok(letter),
            Err(found) if found.is_empty() => Err(Failure::failed(
                format_args!("there is no dead letter {id}"),
                "`sluice dlq ls` lists them",
            )),
            Err(found) => Err(Failure::usage(
                format_args!("{} dead letters begin with {id}", found.len()),
                "give more of the id",
            )),
        }
    }

    async fn retry(&self, id: &str) -> Outcome {
        match self {
            Self::Api(client) => {
                client.post(&format!("/api/v1/dlq/{}/retry", segment(id)), &json!({})).await.map(drop)
            }
            Self::Bus(bus) => bus.retry_dead_letter(id).await.map(drop).map_err(|error| unreadable(&error)),
        }
    }
}

fn pretty(payload: &str) -> String {
    let value: Result<Value, _> = serde_json::from_str(payload);
    value
        .ok()
        .and_then(|value| serde_json::to_string_pretty(&value).ok())
        .unwrap_or_else(|| payload.to_owned())
}

fn unreadable(error: &sluice_bus::DeadLetterError) -> Failure {
    Failure::failed(error, "is the bus up? `sluice bus status`")
}
