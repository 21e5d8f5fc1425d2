//! What an AppProject permits: sources, destinations, kinds. Pure. Asked before anything is rendered or compared.

use sluice_gitops::{Gvk, ObjectKey};
use sluice_kubernetes::secrets::normalise_url;
use sluice_kubernetes::{AppDestination, AppProject, Application, GroupKind};

/// The one cluster that this reconciler writes to, as Applications call it.
const IN_CLUSTER: &str = "https://kubernetes.default.svc";

/// Everything that is wrong with an Application's spec, each with what to do.
pub(crate) fn violations(app: &Application, project: Option<&AppProject>) -> Vec<String> {
    let mut found = Vec::new();
    let sources = app.sources();
    match sources.as_slice() {
        [] => found.push("spec.source is missing: name the Git repository (repoURL) and the path".to_owned()),
        [source] if source.repo_url.is_empty() => found.push("spec.source.repoURL is empty".to_owned()),
        [_] => {}
        _ => found.push("several sources are not supported yet: use one spec.source".to_owned()),
    }
    let destination = &app.spec.destination;
    let server = destination.server.as_deref().unwrap_or(IN_CLUSTER).trim_end_matches('/');
    if server != IN_CLUSTER || destination.name.as_deref().is_some_and(|name| name != "in-cluster") {
        found.push(format!("the destination is another cluster; only {IN_CLUSTER} (`in-cluster`) is served"));
    }
    let Some(project) = project else {
        found.push(format!(
            "the AppProject `{}` does not exist: create it or change spec.project",
            app.spec.project
        ));
        return found;
    };
    for source in sources.iter().filter(|source| !permits_source(project, &source.repo_url)) {
        found.push(format!(
            "the AppProject `{}` does not permit the repository {}",
            project.name(),
            source.repo_url
        ));
    }
    if !permits_destination(project, destination, destination.namespace.as_deref().unwrap_or_default()) {
        let namespace = destination.namespace.as_deref().unwrap_or_default();
        found
            .push(format!("the AppProject `{}` does not permit the namespace `{namespace}`", project.name()));
    }
    found
}

/// Whether an object of this kind may go to this namespace; the reason when not.
pub(crate) fn permits_object(
    app: &Application,
    project: &AppProject,
    gvk: &Gvk,
    namespaced: bool,
    namespace: &str,
) -> Result<(), String> {
    let spec = &project.spec;
    let kind = format!("{}/{}", gvk.group, gvk.kind);
    if !namespaced {
        let permitted =
            listed(&spec.cluster_resource_whitelist, gvk) && !listed(&spec.cluster_resource_blacklist, gvk);
        return if permitted {
            Ok(())
        } else {
            Err(format!("the AppProject `{}` does not permit the cluster-wide kind {kind}", project.name()))
        };
    }
    let whitelist = &spec.namespace_resource_whitelist;
    if listed(&spec.namespace_resource_blacklist, gvk) || (!whitelist.is_empty() && !listed(whitelist, gvk)) {
        return Err(format!("the AppProject `{}` does not permit the kind {kind}", project.name()));
    }
    if !permits_destination(project, &app.spec.destination, namespace) {
        return Err(format!(
            "the AppProject `{}` does not permit the namespace `{namespace}`",
            project.name()
        ));
    }
    Ok(())
}

/// Sluice's own namespace holds the grant key and all credentials: whoever may commit to some application's directory must
/// not be able to replace them, nor run a pod beside them. Applications and AppProjects may lie there.
pub(crate) fn is_off_limits(own_namespace: &str, key: &ObjectKey) -> bool {
    let is_namespace = key.group.is_empty() && key.kind == "Namespace" && key.name == own_namespace;
    is_namespace || (key.namespace == own_namespace && key.group != "argoproj.io")
}

fn permits_source(project: &AppProject, url: &str) -> bool {
    let matches = |pattern: &str| {
        pattern == "*"
            || glob(pattern, url, Some('/'))
            || glob(&normalise_url(pattern), &normalise_url(url), Some('/'))
    };
    let denied = project.spec.source_repos.iter().filter_map(|it| it.strip_prefix('!')).any(matches);
    !denied && project.spec.source_repos.iter().filter(|it| !it.starts_with('!')).any(|it| matches(it))
}

fn permits_destination(project: &AppProject, destination: &AppDestination, namespace: &str) -> bool {
    let server = destination.server.as_deref().unwrap_or(IN_CLUSTER);
    let name = destination.name.as_deref().unwrap_or("in-cluster");
    let matches = |it: &AppDestination, negated: bool| {
        let pattern = |text: &Option<String>| text.clone().unwrap_or_default();
        let (it_server, it_name, it_namespace) =
            (pattern(&it.server), pattern(&it.name), pattern(&it.namespace));
        let strip =
            |text: &str| if negated { text.trim_start_matches('!').to_owned() } else { text.to_owned() };
        let place = (!it_server.is_empty() && glob(&strip(&it_server), server, None))
            || (!it_name.is_empty() && glob(&strip(&it_name), name, None));
        place && glob(&strip(&it_namespace), namespace, None)
    };
    let is_denial = |it: &&AppDestination| {
        [&it.server, &it.namespace].into_iter().flatten().any(|text| text.starts_with('!'))
    };
    let all = &project.spec.destinations;
    !all.iter().filter(is_denial).any(|it| matches(it, true))
        && all.iter().filter(|it| !is_denial(it)).any(|it| matches(it, false))
}

fn listed(list: &[GroupKind], gvk: &Gvk) -> bool {
    list.iter().any(|it| glob(&it.group, &gvk.group, None) && glob(&it.kind, &gvk.kind, None))
}

/// `*` matches anything (but the separator, if there is one), `**` everything, `?` one character.
pub(crate) fn glob(pattern: &str, text: &str, separator: Option<char>) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let mut next = vec![false; text.len() + 1];
        if pattern[at] == '*' {
            let crosses = pattern.get(at + 1) == Some(&'*') || separator.is_none();
            while pattern.get(at) == Some(&'*') {
                at += 1;
            }
            let mut open = false;
            for (index, slot) in next.iter_mut().enumerate() {
                open = reachable[index]
                    || (open && (crosses || index == 0 || Some(text[index - 1]) != separator));
                *slot = open;
            }
        } else {
            for index in 0..text.len() {
                next[index + 1] = reachable[index] && (pattern[at] == '?' || pattern[at] == text[index]);
            }
            at += 1;
        }
        reachable = next;
    }
    reachable[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_kubernetes::{ApplicationSpec, Source};

    fn app(url: &str, namespace: &str) -> Application {
        Application {
            spec: ApplicationSpec {
                project: "p".into(),
                source: Some(Source { repo_url: url.into(), ..Source::default() }),
                destination: AppDestination {
                    namespace: Some(namespace.into()),
                    ..AppDestination::default()
                },
                ..ApplicationSpec::default()
            },
            ..Application::default()
        }
    }

    fn project(repos: &[&str], namespaces: &[&str]) -> AppProject {
        let mut project = AppProject::permissive("p");
        project.spec.source_repos = repos.iter().map(|it| (*it).to_owned()).collect();
        project.spec.destinations = namespaces
            .iter()
            .map(|it| AppDestination {
                server: Some("*".into()),
                name: None,
                namespace: Some((*it).to_owned()),
            })
            .collect();
        project
    }

    #[test]
    fn globs() {
        let table = [
            ("*", "anything", None, true),
            ("dev-*", "dev-1", None, true),
            ("dev-*", "prod", None, false),
            ("https://h/o/*", "https://h/o/r", Some('/'), true),
            ("https://h/*", "https://h/o/r", Some('/'), false),
            ("https://h/**", "https://h/o/r", Some('/'), true),
            ("a?c", "abc", None, true),
            ("", "", None, true),
            ("", "x", None, false),
        ];
        for (pattern, text, separator, expected) in table {
            assert_eq!(glob(pattern, text, separator), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn sources_and_destinations_are_checked() {
        let good = app("https://h/o/r.git", "dev");
        assert_eq!(violations(&good, Some(&AppProject::permissive("default"))), Vec::<String>::new());
        assert_eq!(violations(&good, Some(&project(&["https://h/o/*"], &["dev"]))), Vec::<String>::new());
        assert_eq!(violations(&good, Some(&project(&["*", "!https://h/o/r"], &["dev"]))).len(), 1);
        assert_eq!(violations(&good, Some(&project(&["*"], &["prod", "!dev"]))).len(), 1);
        assert_eq!(violations(&good, None).len(), 1);
        let mut elsewhere = good.clone();
        elsewhere.spec.destination.server = Some("https://other".into());
        assert!(violations(&elsewhere, Some(&AppProject::permissive("p")))[0].contains("another cluster"));
    }

    #[test]
    fn the_keys_are_out_of_reach() {
        let off = |group, kind, namespace, name| {
            is_off_limits("sluice", &ObjectKey::new(group, kind, namespace, name))
        };
        assert!(off("", "Secret", "sluice", "sluice-signing-grants-public"));
        assert!(off("apps", "Deployment", "sluice", "spy"));
        assert!(off("", "Namespace", "", "sluice"));
        assert!(!off("argoproj.io", "Application", "sluice", "shop"));
        assert!(!off("", "Secret", "dev", "s"));
    }

    #[test]
    fn kinds_are_checked() {
        let mut restricted = project(&["*"], &["dev"]);
        restricted.spec.cluster_resource_whitelist = vec![];
        restricted.spec.namespace_resource_blacklist =
            vec![GroupKind { group: String::new(), kind: "ResourceQuota".into(), name: None }];
        let app = app("https://h/o/r", "dev");
        let check = |gvk, namespaced, namespace| {
            permits_object(&app, &restricted, &gvk, namespaced, namespace).is_ok()
        };
        assert!(check(Gvk::new("apps", "v1", "Deployment"), true, "dev"));
        assert!(!check(Gvk::new("apps", "v1", "Deployment"), true, "prod"));
        assert!(!check(Gvk::new("", "v1", "ResourceQuota"), true, "dev"));
        assert!(!check(Gvk::new("", "v1", "Namespace"), false, ""));
    }
}
