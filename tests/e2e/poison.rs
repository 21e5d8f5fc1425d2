//! Nothing here: dead letters are in `dead_letters.rs`, planted values in `secrets.rs`.
