//! How the tests begin: a populated world in which everything runs.

use std::time::Duration;

use serde_json::Value;
use sluice_e2e::World;
use sluice_e2e::story::{Report, dev, push};
use sluice_e2e::world::Shop;

pub(crate) const SOON: Duration = sluice_e2e::story::SOON;

/// `sluice up` in a world with the shop's repositories.
pub(crate) async fn shop(name: &str) -> (World, Shop) {
    shop_with(name, serde_json::json!({})).await
}

pub(crate) async fn shop_with(name: &str, settings: Value) -> (World, Shop) {
    let mut world = World::new(name).await.unwrap();
    world.settings = settings;
    let shop = world.populate().await.unwrap();
    world.up().await.unwrap();
    (world, shop)
}

/// A change that is live on dev.
pub(crate) async fn on_dev(world: &World, shop: &Shop, version: &str) -> sluice_e2e::story::Chain {
    let report = Report::plain();
    let chain = push(world, shop, version, &report).await.unwrap();
    dev(world, shop, &chain, &report).await.unwrap();
    chain
}
