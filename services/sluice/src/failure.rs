//! What a command ends with when it does not succeed: an exit code, what happened, and what to do next.
//!
//! Invariant: the codes are a promise to scripts: 0 done, 1 failed or different, 2 wrong usage, 3 took too long, 4 not
//! logged in, 5 not allowed, 130 interrupted. Called by every command and by `main`.

use std::fmt;

/// Why a command did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It failed, or what was compared differs.
    Failed,
    /// The command line makes no sense here.
    Usage,
    /// It did not happen in time.
    Timeout,
    /// Nobody, or nobody known, is logged in.
    Auth,
    /// The person may not do this.
    Denied,
    /// Ctrl-C.
    Interrupted,
}

/// An unsuccessful end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// What happened, and why. Empty when the output has said it.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) next: String,
}

/// The result of every command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Kind {
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Timeout => 3,
            Self::Auth => 4,
            Self::Denied => 5,
            Self::Interrupted => 130,
        }
    }
}

macro_rules! constructors {
    ($($name:ident => $kind:ident;)*) => {
        impl Failure {$(
            pub(crate) fn $name(message: impl fmt::Display, next: impl Into<String>) -> Self {
                Self { kind: Kind::$kind, message: message.to_string(), next: next.into() }
            }
        )*}
    };
}
constructors! {
    failed => Failed;
    usage => Usage;
    timeout => Timeout;
    auth => Auth;
    denied => Denied;
}

impl Failure {
    /// The output has said everything: only the exit code is left.
    pub(crate) fn said() -> Self {
        Self { kind: Kind::Failed, message: String::new(), next: String::new() }
    }

    pub(crate) fn interrupted() -> Self {
        Self { kind: Kind::Interrupted, message: String::new(), next: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_promised_ones() {
        let codes = [Kind::Failed, Kind::Usage, Kind::Timeout, Kind::Auth, Kind::Denied, Kind::Interrupted];
        assert_eq!(codes.map(Kind::exit_code), [1, 2, 3, 4, 5, 130]);
    }
}
