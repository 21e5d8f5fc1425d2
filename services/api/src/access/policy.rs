//! Rules: who may do what to which object. Argo CD's model (`p` and `g` lines, globs, deny wins), deny by default.
//!
//! Invariant: [`Policy::authorize`] is the only place where a right is decided. Called through [`crate::Api::authorize`]
//! by REST, UI, streams and chat alike.

use std::collections::{BTreeMap, BTreeSet};

use sluice_schemas::ids::Person;

/// May everything.
pub(crate) const ROLE_ADMIN: &str = "role:admin";

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub(crate) enum $name { $($variant,)* }
        impl $name {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// As in rules.
            #[must_use]
            pub(crate) const fn as_str(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
            /// From a rule or a request.
            #[must_use]
            pub(crate) fn parse(text: &str) -> Option<Self> { Self::ALL.iter().copied().find(|it| it.as_str() == text) }
        }
    };
}
words! {
    /// What is acted on. Objects: applications `project/name`; runs, logs, promotions and secrets the repository's slug; registries the host.
    Resource {
        Applications = "applications", Projects = "projects", Runs = "runs", Logs = "logs", Promotions = "promotions",
        Secrets = "secrets", Registries = "registries", Audit = "audit", DeadLetters = "deadletters", Accounts = "accounts",
    }
}
words! {
    /// What is done.
    Action {
        Get = "get", Create = "create", Update = "update", Delete = "delete", Sync = "sync", Rerun = "rerun",
        Cancel = "cancel", Retry = "retry",
    }
}

const BUILT_IN: &str = "\
p, role:readonly, applications, get, *, allow
p, role:readonly, projects, get, *, allow
p, role:readonly, runs, get, *, allow
p, role:readonly, logs, get, *, allow
p, role:readonly, promotions, get, *, allow
p, role:admin, *, *, *, allow
g, admin, role:admin
";

/// A line of the policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("api.policy, line {line}: {problem}")]
pub(crate) struct PolicyError {
    line: usize,
    problem: String,
}

/// No.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "permission denied: {}, {}, {object}, sub: {person}; {why}. {}",
    resource.as_str(), action.as_str(), advice(may)
)]
pub(crate) struct Denied {
    /// Who asked.
    pub(crate) person: Person,
    /// For what.
    pub(crate) resource: Resource,
    /// To do what.
    pub(crate) action: Action,
    /// With which.
    pub(crate) object: String,
    /// The line that forbids, or that none allows.
    pub(crate) why: String,
    /// Roles that may.
    pub(crate) may: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    subject: String,
    resource: String,
    action: String,
    object: String,
    allow: bool,
    place: String,
}

/// The rules in force.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
    roles: BTreeMap<String, BTreeSet<String>>,
    default_role: Option<String>,
}

impl Policy {
    /// The built-in rules and those of the configuration.
    ///
    /// # Errors
    /// At the first line that is not understood: a policy is used whole or not at all.
    pub(crate) fn new(csv: &str, default_role: &str) -> Result<Self, PolicyError> {
        let mut policy = Self {
            rules: Vec::new(),
            roles: BTreeMap::new(),
            default_role: Some(default_role.to_owned()).filter(|role| !role.is_empty()),
        };
        policy.read(BUILT_IN, "built in")?;
        policy.read(csv, "api.policy")?;
        Ok(policy)
    }

    /// Decides. `roles` are those of the person's account.
    ///
    /// # Errors
    /// When no rule allows it, or one forbids it.
    pub(crate) fn authorize(
        &self,
        person: &Person,
        roles: &[String],
        resource: Resource,
        action: Action,
        object: &str,
    ) -> Result<(), Denied> {
        let subjects = self.subjects(person, roles);
        let fits = |rule: &&Rule| {
            subjects.contains(&rule.subject)
                && glob(&rule.resource, resource.as_str())
                && glob(&rule.action, action.as_str())
                && glob(&rule.object, object)
        };
        let why = match self.rules.iter().filter(fits).find(|rule| !rule.allow) {
            Some(deny) => format!("{} forbids it", deny.place),
            None if self.rules.iter().any(|rule| fits(&rule)) => return Ok(()),
            None => {
                let held: Vec<&str> =
                    subjects.iter().map(String::as_str).filter(|s| s.contains(':')).collect();
                match held.is_empty() {
                    true => format!("no rule allows it, and {person} has no role"),
                    false => format!("no rule allows it for {}", held.join(", ")),
                }
            }
        };
        let may = self.roles_that_may(resource, action, object);
        Err(Denied { person: person.clone(), resource, action, object: object.to_owned(), why, may })
    }

    /// All roles of a person, own and inherited: shown by `userinfo`.
    #[must_use]
    pub(crate) fn roles_of(&self, person: &Person, roles: &[String]) -> Vec<String> {
        self.subjects(person, roles).into_iter().filter(|subject| subject != person.as_str()).collect()
    }

    fn roles_that_may(&self, resource: Resource, action: Action, object: &str) -> Vec<String> {
        let may: BTreeSet<&String> = self
            .rules
            .iter()
            .filter(|rule| rule.allow && rule.subject.starts_with("role:"))
            .filter(|rule| {
                glob(&rule.resource, resource.as_str())
                    && glob(&rule.action, action.as_str())
                    && glob(&rule.object, object)
            })
            .map(|rule| &rule.subject)
            .collect();
        may.into_iter().cloned().collect()
    }

    fn subjects(&self, person: &Person, roles: &[String]) -> BTreeSet<String> {
        let mut found = BTreeSet::from([person.to_string()]);
        // An account's own roles must be roles: a value like `admin` must not make somebody that person.
        let own = roles.iter().filter(|role| role.starts_with("role:"));
        let mut open: Vec<String> = own.cloned().chain(self.default_role.clone()).collect();
        open.extend(self.roles.get(person.as_str()).into_iter().flatten().cloned());
        while let Some(role) = open.pop() {
            if found.insert(role.clone()) {
                open.extend(self.roles.get(&role).into_iter().flatten().cloned());
            }
        }
        found
    }

    fn read(&mut self, csv: &str, place: &str) -> Result<(), PolicyError> {
        for (index, text) in csv.lines().enumerate() {
            let line = index + 1;
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = text.split(',').map(|field| field.trim().trim_matches('"')).collect();
            let problem = |problem: String| PolicyError { line, problem };
            match fields.as_slice() {
                ["p", subject, resource, action, object, effect] => {
                    let allow = match *effect {
                        "allow" => true,
                        "deny" => false,
                        other => {
                            return Err(problem(format!("the effect is `{other}`; write `allow` or `deny`")));
                        }
                    };
                    if !resource.contains('*') && Resource::parse(resource).is_none() {
                        let known: Vec<_> = Resource::ALL.iter().map(|it| it.as_str()).collect();
                        return Err(problem(format!(
                            "no resource `{resource}`; known: {}",
                            known.join(", ")
                        )));
                    }
                    if !action.contains('*') && Action::parse(action).is_none() {
                        let known: Vec<_> = Action::ALL.iter().map(|it| it.as_str()).collect();
                        return Err(problem(format!("no action `{action}`; known: {}", known.join(", "))));
                    }
                    self.rules.push(Rule {
                        subject: (*subject).to_owned(),
                        resource: (*resource).to_owned(),
                        action: (*action).to_owned(),
                        object: (*object).to_owned(),
                        allow,
                        place: format!("{place}, line {line}"),
                    });
                }
                ["g", member, role] => {
                    self.roles.entry((*member).to_owned()).or_default().insert((*role).to_owned());
                }
                _ => {
                    let form = "`p, subject, resource, action, object, allow` or `g, person, role`";
                    return Err(problem(format!("`{text}` is not of the form {form}")));
                }
            }
        }
        Ok(())
    }
}

fn advice(may: &[String]) -> String {
    match may {
        [] => "No role has this right yet; add a line to api.policy".to_owned(),
        roles => format!("{} may; ask somebody who has it, or for a line in api.policy", roles.join(", ")),
    }
}

/// `*` stands for any text, `/` included.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// May look at everything but the audit log and dead letters.
    const ROLE_READONLY: &str = "role:readonly";

    const CSV: &str = "\
# Release people sync prod, nobody touches the vault.
p, role:release, applications, sync, default/*-prod, allow
p, role:release, promotions, create, *, allow
p, role:release, applications, sync, default/vault-prod, deny
g, ada, role:release
g, role:release, role:readonly
";

    fn policy() -> Policy {
        Policy::new(CSV, "").expect("valid")
    }

    fn allowed(person: &str, roles: &[&str], resource: Resource, action: Action, object: &str) -> bool {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        policy().authorize(&Person::from_text(person), &roles, resource, action, object).is_ok()
    }

    #[test]
    fn the_whole_matrix_of_the_built_in_roles() {
        for resource in Resource::ALL {
            for action in Action::ALL {
                assert!(allowed("admin", &[], *resource, *action, "default/x"));
                assert!(!allowed("nobody", &[], *resource, *action, "default/x"), "{resource:?} {action:?}");
                let readable = matches!(
                    resource,
                    Resource::Applications
                        | Resource::Projects
                        | Resource::Runs
                        | Resource::Logs
                        | Resource::Promotions
                );
                let reads = readable && *action == Action::Get;
                assert_eq!(allowed("eve", &[ROLE_READONLY], *resource, *action, "default/x"), reads);
            }
        }
    }

    #[test]
    fn rules_are_bound_to_objects_and_deny_wins() {
        let sync =
            |person: &str, object: &str| allowed(person, &[], Resource::Applications, Action::Sync, object);
        assert!(sync("ada", "default/shop-prod"));
        assert!(!sync("ada", "default/shop-dev"));
        assert!(!sync("ada", "other/shop-prod"));
        assert!(!sync("ada", "default/vault-prod"));
        assert!(sync("admin", "default/vault-prod"));
        assert!(!sync("bob", "default/shop-prod"));
    }

    #[test]
    fn roles_are_inherited() {
        assert!(allowed("ada", &[], Resource::Runs, Action::Get, "dev_shop-web"));
        assert!(!allowed("ada", &[], Resource::Audit, Action::Get, "*"));
    }

    #[test]
    fn an_accounts_roles_cannot_name_a_person() {
        assert!(!allowed("eve", &["admin"], Resource::Applications, Action::Sync, "default/shop-prod"));
        assert!(allowed("eve", &[ROLE_ADMIN], Resource::Applications, Action::Sync, "default/shop-prod"));
    }

    #[test]
    fn a_refusal_says_which_right_and_who_has_it() {
        let person = Person::from_text("bob");
        let denied = policy()
            .authorize(
                &person,
                &[ROLE_READONLY.to_owned()],
                Resource::Applications,
                Action::Sync,
                "default/shop-prod",
            )
            .expect_err("denied")
            .to_string();
        assert!(denied.contains("applications, sync, default/shop-prod, sub: bob"), "{denied}");
        assert!(denied.contains("role:release") && denied.contains("role:admin"), "{denied}");
    }

    #[test]
    fn a_bad_line_is_named() {
        let error =
            Policy::new("p, a, applications, snyc, *, allow", "").expect_err("bad action").to_string();
        assert!(error.contains("line 1") && error.contains("snyc"), "{error}");
        assert!(Policy::new("p, a, applications, sync, *, maybe", "").is_err());
        assert!(Policy::new("x", "").is_err());
    }

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("*", "a/b", true),
            ("default/*", "default/x", true),
            ("default/*", "defaultx", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-x", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
