//! The gate: whether an application may be written to without a person's grant.
//!
//! Invariant: once gated, an application stays gated whatever its spec says later, until a grant opens it. Gated-ness is
//! therefore a fold over what was remembered, not a property of the spec alone: whoever can edit the Application (a commit,
//! `kubectl`, a message) can switch automation on, but cannot thereby write. Called by the reconciler before every write.

use serde::{Deserialize, Serialize};

/// What the cluster says about an application now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `syncPolicy.automated` is there and not disabled.
    pub automated: bool,
    /// The Application carries `sluice.dev/gated: "true"`.
    pub by_application: bool,
    /// Its AppProject does.
    pub by_project: bool,
    /// Its destination is in the reconciler's list of gated destinations.
    pub by_destination: bool,
    /// Its AppProject could not be read: nobody knows whether it is gated.
    pub project_unknown: bool,
}

/// What is kept for ever, outside the Application: deleting and creating it anew changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The gate is shut until a grant opens it.
    pub shut: bool,
    /// The grant that last opened it for good.
    pub opened_by: Option<String>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub gated: bool,
    pub reason: String,
    /// Automation is asked for and held back: to be told to a person.
    pub automation_held: bool,
    /// What to remember from now on.
    pub memory: Memory,
}

/// Decides, from what is declared now and what was remembered (`None`: the application was never seen).
pub fn decide(declared: &Declared, remembered: Option<&Memory>) -> Gate {
    let mut memory = remembered.cloned().unwrap_or_default();
    let declared_gated = if declared.by_application {
        Some("the Application is declared gated (annotation sluice.dev/gated)")
    } else if declared.by_project {
        Some("its AppProject is declared gated (annotation sluice.dev/gated)")
    } else if declared.by_destination {
        Some("its destination is declared gated in the reconciler's configuration")
    } else if declared.project_unknown {
        Some("its AppProject does not exist, so it cannot be known whether it is gated")
    } else {
        None
    };
    if let Some(reason) = declared_gated {
        // An unreadable project is a passing doubt, not something to remember.
        memory.shut |= !declared.project_unknown || !declared.automated;
        return Gate { gated: true, reason: reason.to_owned(), automation_held: declared.automated, memory };
    }
    if !declared.automated {
        memory.shut = true;
        memory.opened_by = None;
        return Gate {
            gated: true,
            reason: "it has no syncPolicy.automated".to_owned(),
            automation_held: false,
            memory,
        };
    }
    if memory.shut {
        return Gate {
            gated: true,
            reason:
                "automation was switched on, but the application was gated before and no grant has opened it"
                    .to_owned(),
            automation_held: true,
            memory,
        };
    }
    Gate { gated: false, reason: "it is automated".to_owned(), automation_held: false, memory }
}

/// What a grant of scope `automation` does to the memory.
pub fn open(grant: &str) -> Memory {
    Memory { shut: false, opened_by: Some(grant.to_owned()) }
}

/// How to get a grant: the end of every refusal.
pub fn how_to_get_a_grant(app: &str) -> String {
    format!(
        "to sync it, a person confirms the preview: `sluice app sync {app}`, the SYNC button of its page, or /sync {app} in Telegram"
    )
}

/// The same for switching automation on.
pub fn how_to_open(app: &str) -> String {
    format!(
        "to let `{app}` sync by itself, a person grants its automation (a grant of scope `automation`, from its page or the API)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn automated() -> Declared {
        Declared { automated: true, ..Declared::default() }
    }

    #[test]
    fn the_table() {
        let shut = Memory { shut: true, opened_by: None };
        let opened = Memory { shut: false, opened_by: Some("g".into()) };
        let project = Declared { by_project: true, ..automated() };
        let table = [
            (automated(), None, false, false),
            (Declared::default(), None, true, false),
            (automated(), Some(&shut), true, true),
            (automated(), Some(&opened), false, false),
            (Declared::default(), Some(&opened), true, false),
            (project.clone(), None, true, true),
            (project, Some(&opened), true, true),
            (Declared { by_application: true, ..automated() }, None, true, true),
            (Declared { by_destination: true, ..automated() }, None, true, true),
            (Declared { project_unknown: true, ..automated() }, None, true, true),
        ];
        for (declared, remembered, gated, held) in table {
            let gate = decide(&declared, remembered);
            assert_eq!((gate.gated, gate.automation_held), (gated, held), "{declared:?} {remembered:?}");
        }
    }

    #[test]
    fn a_missing_project_is_not_held_against_an_automated_application_for_ever() {
        let gate = decide(&Declared { project_unknown: true, ..automated() }, None);
        assert!(!decide(&automated(), Some(&gate.memory)).gated);
    }

    proptest! {
        /// However the spec is flipped, a gated application is written to only after a grant.
        #[test]
        fn once_gated_only_a_grant_opens(flips in prop::collection::vec(any::<(bool, bool, bool, bool)>(), 1..20)) {
            let mut memory = decide(&Declared::default(), None).memory;
            for (automated, by_application, by_project, project_unknown) in flips {
                let declared = Declared { automated, by_application, by_project, project_unknown, by_destination: false };
                let gate = decide(&declared, Some(&memory));
                prop_assert!(gate.gated);
                memory = gate.memory;
            }
            prop_assert!(!decide(&automated(), Some(&open("g"))).gated);
        }
    }
}
