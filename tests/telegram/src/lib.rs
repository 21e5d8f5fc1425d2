//! sluice-telegram-fake.
