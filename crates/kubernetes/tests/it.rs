//! Against a real API server: `KUBECONFIG` of the test platform. Own namespaces; the CRDs are shared and idempotent.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use sluice_chassis::Secret;
use sluice_gitops::{Gvk, ObjectKey, tracking};
use sluice_kubernetes::applications::{ApplicationError, Change};
use sluice_kubernetes::apply::{Objects, Propagation};
use sluice_kubernetes::discovery::{Discovery, DiscoveryError};
use sluice_kubernetes::secrets::{RepositorySecret, SecretType};
use sluice_kubernetes::{AppProject, Application, ApplicationStatus, Cluster, Config, cache, connect};
use sluice_schemas::ids::RepoSlug;
use tokio::sync::mpsc;

async fn cluster(name: &str) -> Cluster {
    sluice_chassis::process::install_crypto();
    let namespace = format!("kubernetes-it-{name}-{}", std::process::id());
    let config = Config {
        namespace: namespace.clone(),
        applications_namespace: namespace.clone(),
        ..Config::default()
    };
    let cluster = connect(&config).await.expect("KUBECONFIG leads to a cluster; run `make up`");
    cluster.ensure_namespace(&namespace).await.expect("the namespace is created");
    cluster
}

async fn done(cluster: &Cluster) {
    let discovery = Discovery::new(cluster.client());
    let kind = discovery.resolve(&Gvk::new("", "v1", "Namespace")).await.expect("a kind");
    let objects = Objects::new(cluster.client());
    objects.delete(&kind, "", cluster.namespace(), None, Propagation::Background).await.expect("deleted");
}

#[tokio::test]
async fn applications_are_taken_whole() {
    let cluster = cluster("apps").await;
    cluster.install_crds().await.expect("the CRDs are installed");
    let mut changes = cluster.watch_declared::<Application>();
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop}\nspec:\n  project: default\n  destination: {server: https://kubernetes.default.svc, namespace: x}\n  source:\n    repoURL: https://host/o/deploy.git\n    path: prod\n    targetRevision: HEAD\n    directory: {recurse: true}\n    futureField: {a: [1]}\n  syncPolicy: null\n  anotherField: kept\n";
    let object = sluice_gitops::manifest::parse_value("app.yaml", text).expect("valid");
    cluster.apply_declared::<Application>(object).await.expect("accepted");
    let app = cluster.application("shop").await.expect("readable");
    assert!(app.automated().is_none());
    assert_eq!(app.sources()[0].path.as_deref(), Some("prod"));
    let raw = cluster.application_json("shop").await.expect("readable");
    assert_eq!(
        (&raw["spec"]["anotherField"], &raw["spec"]["source"]["futureField"]["a"][0]),
        (&json!("kept"), &json!(1))
    );

    cluster.request_refresh("shop", true).await.expect("annotated");
    let mut status = ApplicationStatus::default();
    status.sync.status = "OutOfSync".into();
    cluster.write_status("shop", None, &status, true, false).await.expect("written");
    let app = cluster.application("shop").await.expect("readable");
    assert_eq!(app.status.as_ref().map(|it| it.sync.status.as_str()), Some("OutOfSync"));
    assert_eq!(app.annotation("argocd.argoproj.io/refresh"), None);
    assert_eq!(cluster.application_json("shop").await.expect("readable")["spec"]["anotherField"], "kept");

    let missing = cluster.application("none").await.expect_err("missing");
    assert!(matches!(missing, ApplicationError::Missing { .. }), "{missing}");
    assert_eq!(cluster.project("default").await.expect("always there").name(), "default");
    assert!(cluster.project("none").await.is_err());
    let project = json!({"metadata": {"name": "p", "annotations": {"sluice.dev/gated": "true"}}, "spec": {"sourceRepos": ["*"]}});
    cluster.apply_declared::<AppProject>(project).await.expect("accepted");
    assert!(cluster.project("p").await.expect("there").declared_gated());

    let listed = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(change) = changes.next().await {
            if let Change::Listed { names } = change {
                return names;
            }
        }
        vec![]
    });
    assert_eq!(listed.await.expect("in time"), ["shop"]);
    cluster.delete_application("shop").await.expect("deleted");
    let gone = async {
        while let Some(change) = changes.next().await {
            if let Change::Gone(app) = change {
                return app.name().to_owned();
            }
        }
        String::new()
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), gone).await.expect("in time"), "shop");
    done(&cluster).await;
}

#[tokio::test]
async fn secrets_are_kept_key_by_key() {
    let cluster = cluster("secrets").await;
    let slug = RepoSlug::from_full_name("dev/shop-web");
    cluster.put_ci_secret(&slug, "A", Secret::new("one")).await.expect("written");
    cluster.put_ci_secret(&slug, "B_2", Secret::new("two")).await.expect("written");
    cluster.put_ci_secret(&slug, "A", Secret::new("three")).await.expect("written");
    let values = cluster.ci_secrets(&slug).await.expect("read");
    let seen: BTreeMap<_, _> = values.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(seen, BTreeMap::from([("A", "three"), ("B_2", "two")]));
    assert!(cluster.delete_ci_secret(&slug, "A").await.expect("changed"));
    assert_eq!(cluster.ci_secrets(&slug).await.expect("read").len(), 1);
    assert!(cluster.ci_secrets(&RepoSlug::from_full_name("dev/other")).await.expect("read").is_empty());

    // Another labelled Secret of the repository, made by hand, must not keep what was set anew or taken away.
    let labels = BTreeMap::from([("sluice.dev/repository".to_owned(), slug.to_string())]);
    let data = BTreeMap::from(["B_2", "C"].map(|name| (name.to_owned(), Secret::new("by hand"))));
    cluster
        .put_secret(SecretType::Ci, "zz-by-hand", &labels, &BTreeMap::new(), &data)
        .await
        .expect("written");
    cluster.put_ci_secret(&slug, "B_2", Secret::new("four")).await.expect("written");
    assert_eq!(cluster.ci_secrets(&slug).await.expect("read")["B_2"].expose(), "four");
    assert!(cluster.delete_ci_secret(&slug, "C").await.expect("changed"));
    assert!(!cluster.delete_ci_secret(&slug, "C").await.expect("unchanged"));
    assert_eq!(cluster.ci_secrets(&slug).await.expect("read").into_keys().collect::<Vec<_>>(), ["B_2"]);

    let repository = RepositorySecret {
        slug: slug.clone(),
        full_name: "dev/shop-web".into(),
        url: "http://host/dev/shop-web.git".into(),
        username: Some(Secret::new("u")),
        password: Some(Secret::new("p")),
        webhook_secret: Some(Secret::new("w")),
        webhook_secret_next: None,
    };
    cluster.put_repository(&repository).await.expect("written");
    let rotated =
        RepositorySecret { webhook_secret_next: Some(Secret::new("n")), password: None, ..repository };
    cluster.put_repository(&rotated).await.expect("written");
    let found = cluster.repository_by_url("http://HOST/dev/shop-web/").await.expect("read").expect("found");
    assert_eq!(found.slug, slug);
    assert_eq!(found.password.as_ref().map(Secret::expose), Some("p"));
    assert_eq!(found.webhook_secret_next.as_ref().map(Secret::expose), Some("n"));

    cluster
        .put_registry("https://Registry.example.com/", Secret::new("u"), Secret::new("old"))
        .await
        .expect("written");
    cluster
        .put_registry("registry.example.com", Secret::new("u"), Secret::new("new"))
        .await
        .expect("written");
    let registries = cluster.registries().await.expect("read");
    let seen: Vec<_> =
        registries.iter().map(|it| (it.host.as_str(), it.password.as_ref().map(Secret::expose))).collect();
    assert_eq!(seen, [("registry.example.com", Some("new"))]);
    assert!(!cluster.delete_registry("registry.example.com:5000").await.expect("read"));
    assert!(cluster.delete_registry("registry.example.com").await.expect("deleted"));
    assert!(cluster.registries().await.expect("read").is_empty());

    cluster.put_signing_public(Secret::new("PEM")).await.expect("written");
    assert_eq!(cluster.signing_public().await.expect("read").as_ref().map(Secret::expose), Some("PEM"));
    assert!(cluster.telegram().await.expect("read").is_empty());
    done(&cluster).await;
}

#[tokio::test]
async fn objects_are_applied_predicted_watched_and_deleted() {
    let cluster = cluster("objects").await;
    let namespace = cluster.namespace().to_owned();
    let discovery = Discovery::new(cluster.client());
    let objects = Objects::new(cluster.client());
    let kind = discovery.resolve(&Gvk::new("", "v1", "ConfigMap")).await.expect("a kind");
    // The first listing tells of every ConfigMap of the cluster, and nobody reads until it is through.
    let (changes, mut received) = mpsc::channel(4096);
    let (live, driver) = cache::new(cluster.client(), Arc::new(|_: &mut Value| ()), changes);
    let driving = tokio::spawn(driver.run());
    let key = ObjectKey::new("", "ConfigMap", &namespace, "web");
    live.want("shop", &HashSet::from([key.clone()]));
    live.track([kind.clone()]).await;
    assert!(live.is_ready("", "ConfigMap"));
    assert!(live.get(&key).is_none());

    let mut desired = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": namespace}, "data": {"a": "1"}});
    tracking::mark(&mut desired, "shop", &namespace);
    let predicted = objects.apply(&kind, &desired, true).await.expect("predicted");
    assert_eq!(predicted["data"]["a"], "1");
    assert_eq!(objects.get(&kind, &namespace, "web").await.expect("asked"), None, "a dry run writes nothing");
    objects.apply(&kind, &desired, false).await.expect("applied");
    // Other worlds' objects are in the cluster, too.
    loop {
        let change = tokio::time::timeout(Duration::from_secs(10), received.recv()).await.expect("in time");
        if change.expect("a change").key == key {
            break;
        }
    }
    let held = live.get(&key).expect("held");
    assert!(held["metadata"].get("managedFields").is_none());
    assert_eq!(tracking::owner(&held).as_deref(), Some("shop"));

    desired["data"] = json!({"b": "2"});
    let predicted = objects.apply(&kind, &desired, true).await.expect("predicted");
    assert_eq!(predicted["data"], json!({"b": "2"}), "a field that is no longer declared goes");

    let uid = held["metadata"]["uid"].as_str().expect("a uid");
    assert!(
        objects.delete(&kind, &namespace, "web", Some("another"), Propagation::Background).await.is_err()
    );
    assert!(
        objects.delete(&kind, &namespace, "web", Some(uid), Propagation::Background).await.expect("deleted")
    );
    assert!(!objects.delete(&kind, &namespace, "web", None, Propagation::Background).await.expect("asked"));
    loop {
        let change = tokio::time::timeout(Duration::from_secs(10), received.recv()).await.expect("in time");
        if change.is_some_and(|change| change.key == key && change.object.is_none()) {
            break;
        }
    }
    assert!(live.get(&key).is_none());

    let unknown =
        discovery.resolve(&Gvk::new("extensions", "v1beta1", "Ingress")).await.expect_err("gone since 1.22");
    assert!(matches!(unknown, DiscoveryError::UnknownKind { .. }));
    assert!(unknown.to_string().contains("networking.k8s.io/v1"), "{unknown}");
    driving.abort();
    done(&cluster).await;
}
