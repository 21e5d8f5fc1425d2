//! Helpers that let users' files say `null` where they mean "nothing".
//!
//! `syncPolicy: null` or `syncOptions: null` stand in real Applications; refusing them would refuse the user's file.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
