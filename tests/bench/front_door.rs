//! Webhook → accepted, against the rate at which the same broker acknowledges a publish of the same size.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use sluice_e2e::webhook::{Delivery, repository};
use sluice_e2e::world::READY_WITHIN;
use sluice_e2e::{World, seed};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::figure::{Figure, Samples};
use crate::report::Report;

/// Webhooks sent one after the other, and by the crowd.
const ALONE: usize = 200;
const CROWD: (usize, usize) = (8, 400);

/// A world in which only ingress runs, so that nothing else works on what was accepted.
pub(crate) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.note("webhooks against the broker's own rate (about 20 s)");
    let mut world = World::new("bench_front_door").await?;
    seed::empty(&world, "shop-web").await?;
    seed::empty(&world, "deploy").await?;
    world.start_service("ingress", &[]).await?.ready(READY_WITHIN).await?;
    let body = delivery(&world, 0).body.len();
    // Connections are open, the repository's secret is known.
    send(&world, 1, 20, "warm").await?;

    let broker = publish(&world, 1, ALONE, body).await?;
    let sent = send(&world, 1, ALONE, "alone").await?;
    let figure = Figure::new("webhook → accepted, one at a time", sent.each);
    report.add(figure.limit("acknowledged publish of that size", broker));

    let (senders, count) = CROWD;
    let broker = publish(&world, senders, count, body).await?;
    let sent = send(&world, senders, count, "crowd").await?;
    let per_webhook = sent.wall.as_secs_f64() * 1000.0 / count as f64;
    let figure = Figure::new(
        &format!("webhook → accepted, per webhook, {senders} senders"),
        [per_webhook].into_iter().collect(),
    );
    let per_publish: Samples = [broker.median() / senders as f64].into_iter().collect();
    report.add(figure.limit(&format!("acknowledged publish, {senders} publishers"), per_publish));
    Ok(())
}

struct Sent {
    each: Samples,
    wall: Duration,
}

/// Sends `count` different webhooks from `senders` connections; all must be accepted.
async fn send(world: &World, senders: usize, count: usize, seed: &str) -> anyhow::Result<Sent> {
    let salt = seed.bytes().fold(0_usize, |sum, byte| sum * 31 + usize::from(byte)) << 16;
    let deliveries: Arc<Vec<Delivery>> = Arc::new((0..count).map(|at| delivery(world, salt + at)).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..senders {
        let (deliveries, next, http) = (Arc::clone(&deliveries), Arc::clone(&next), world.http.clone());
        tasks.spawn(async move {
            let mut each = Vec::new();
            while let Some(delivery) = deliveries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let began = Instant::now();
                let (status, body) = delivery.send(&http).await?;
                ensure!(status == 202, "a webhook was answered {status}: {body}");
                each.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(each)
        });
    }
    let each = tasks.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Sent { each: each.into_iter().flatten().collect(), wall: began.elapsed() })
}

fn delivery(world: &World, at: usize) -> Delivery {
    let full_name = world.full_name("shop-web");
    let repository = repository(&full_name, &world.clone_url("shop-web"));
    let commit = |at: usize| format!("{at:040x}");
    let url = world.webhook_url();
    let mut push =
        Delivery::push(&url, &world.planted.webhook, &repository, &commit(at + 1), &commit(at + 2));
    push.delivery = format!("{at:08x}-0000-4000-8000-000000000000");
    push
}

/// Milliseconds a publish as the broker's own bench counts them: one value, the time that a publisher waits on average.
async fn publish(world: &World, clients: usize, count: usize, size: usize) -> anyhow::Result<Samples> {
    let file = world.directory.join("publish.csv");
    // The bench appends to the file of an earlier one.
    std::fs::remove_file(&file).ok();
    let (clients, count, size) = (clients.to_string(), count.to_string(), format!("{size}B"));
    let csv = file.to_string_lossy().into_owned();
    let arguments = [
        "bench",
        "js",
        "pub",
        "sync",
        "bench.limit",
        "--create",
        "--stream",
        "bench_limit",
        "--no-progress",
        "--clients",
        &clients,
        "--msgs",
        &count,
        "--size",
        &size,
        "--csv",
        &csv,
    ];
    world.nats.ok(&arguments).await?;
    let text = std::fs::read_to_string(&file)?;
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().context("the broker's figures")?.split(',').collect();
    let column =
        header.iter().position(|name| *name == "AvgLatencyMicroSecs").context("the broker's figures")?;
    let averages: Result<Vec<f64>, _> = lines
        .map(|line| {
            line.split(',').nth(column).unwrap_or_default().parse::<f64>().map(|micros| micros / 1000.0)
        })
        .collect();
    Ok(averages?.into_iter().collect())
}
