//! `bus`: provisioning and a look at the streams. An operator's command: it connects to NATS itself.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_bus::{Bus, BusConfig, StreamName};
use sluice_chassis::Process;

use crate::arguments::BusCommand;
use crate::context::{Context, load_config, section};
use crate::failure::{Failure, Outcome};
use crate::output::Table;
use crate::value::Fields;

/// The bus itself waits for its server for ever; a person does not.
const PATIENCE: Duration = Duration::from_secs(8);

pub(crate) async fn bus(context: &Context, command: BusCommand) -> Outcome {
    match command {
        BusCommand::Provision(arguments) => {
            let (bus, config) = connect(arguments.config.as_deref()).await?;
            if !config.provision {
                return Err(Failure::failed(
                    "bus.provision is off in this configuration",
                    "run it with SLUICE_BUS__PROVISION=true",
                ));
            }
            bus.provision()
                .await
                .map_err(|error| Failure::failed(error, "NATS 2.12 or newer is needed, with JetStream on"))?;
            let streams: Vec<&str> = StreamName::ALL.iter().map(|name| name.as_str()).collect();
            if !context.output.data(&json!({"url": config.url, "streams": streams}))? {
                context.output.line(format!(
                    "{} at {} is as it should be.",
                    streams.join(", "),
                    config.url
                ))?;
            }
            Ok(())
        }
        BusCommand::Status(arguments) => {
            let (bus, config) = connect(arguments.config.as_deref()).await?;
            let mut items = Vec::new();
            for name in StreamName::ALL {
                let last = bus.last_sequence(*name).await;
                items.push(match last {
                    Ok(sequence) => {
                        json!({"stream": name.as_str(), "lastSequence": sequence, "problem": null})
                    }
                    Err(error) => {
                        json!({"stream": name.as_str(), "lastSequence": null, "problem": error.to_string()})
                    }
                });
            }
            let missing = items.iter().any(|item| !item.at("problem").is_null());
            if !context
                .output
                .data(&json!({"url": config.url, "version": bus.server_version(), "streams": items}))?
            {
                context.output.line(format!("NATS {} at {}", bus.server_version(), config.url))?;
                show(context, &items)?;
            }
            if missing {
                return Err(Failure::failed("streams are missing", "`sluice bus provision` makes them"));
            }
            Ok(())
        }
    }
}

fn show(context: &Context, items: &[Value]) -> Outcome {
    let mut table = Table::new(&["STREAM", "LAST SEQUENCE", "PROBLEM"]);
    for item in items {
        table.row([item.text("stream"), item.text("lastSequence"), item.text("problem")]);
    }
    table.print(context.output)
}

/// The bus of the configuration.
pub(crate) async fn connect(config: Option<&std::path::Path>) -> Outcome<(Bus, BusConfig)> {
    let (file, _) = load_config(config)?;
    let mut bus_config: BusConfig = section(&file, "bus")?;
    if bus_config.url.is_empty() {
        bus_config.url = crate::up::running_bus().await.unwrap_or_default();
    }
    sluice_chassis::process::install_crypto();
    let service = Process::new(file).service("sluice");
    let connecting = Bus::connect(&service, &bus_config);
    let bus = tokio::time::timeout(PATIENCE, connecting).await.map_err(|_| {
        Failure::timeout(
            format_args!("NATS at {} did not answer within {} s", bus_config.url, PATIENCE.as_secs()),
            "check bus.url, and that the server runs",
        )
    })?;
    let bus = bus.map_err(|error| {
        Failure::failed(
            super::repo::chain(&error),
            "set bus.url in sluice.yaml or SLUICE_BUS__URL; `sluice up --data DIR` starts one, found here with SLUICE_DATA=DIR",
        )
    })?;
    Ok((bus, bus_config))
}
