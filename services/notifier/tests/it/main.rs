//! The notifier against a real bus, a faithful fake of Telegram, and a stand-in for the API server.

mod cards;
mod commands;
mod faults;
mod notes;
mod stand_in;
mod stories;
mod world;
