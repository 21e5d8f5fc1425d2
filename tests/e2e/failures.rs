//! What people break: each mistake is read where it was made, harms nothing, and the next good push flows.

use serde_json::Value;
use sluice_e2e::story::about;
use sluice_e2e::world::Shop;
use sluice_e2e::{Event, World};

use crate::eyes::{Person, Reading};
use crate::stage::{SOON, on_dev, shop};

const WORKFLOW: &str = ".github/workflows/build.yml";

/// A run that must fail, and what must be read of it.
struct Broken<'a> {
    /// The fact that ends it.
    end: &'a str,
    reading: Reading<'a>,
}

#[tokio::test]
async fn broken_builds_say_where_and_leave_dev_alone() {
    let (world, shop) = shop("failures_builds").await;
    let person = Person::admin(&world).await.unwrap();
    on_dev(&world, &shop, "2.0.0").await;
    let good = stand(&world).await;
    let since = world.witness().unwrap().now();

    let workflow = shop.web.read(WORKFLOW).unwrap();
    shop.web.write(WORKFLOW, &workflow.replace("needs: test", "needs: tset")).unwrap();
    let line = line_of(&workflow, "  build:");
    let reading = Reading { file: WORKFLOW, line, words: &["build", "tset"] };
    fails(&world, &shop, &person, "unknown need", Broken { end: "run.refused", reading }).await;

    let bracket = workflow.replace("branches: [ main ]\n  pull_request", "branches: [ main\n  pull_request");
    shop.web.write(WORKFLOW, &bracket).unwrap();
    let reading = Reading { file: WORKFLOW, line: line_of(&bracket, "pull_request:"), words: &[] };
    fails(&world, &shop, &person, "syntax", Broken { end: "run.refused", reading }).await;
    shop.web.write(WORKFLOW, &workflow).unwrap();

    let prices = "test/prices.sh:7: the bag costs 0.06, not 0.05";
    let tests = shop.web.read("test/run.sh").unwrap();
    shop.web.write("test/run.sh", &format!("echo '{prices}' >&2\nexit 3\n{tests}")).unwrap();
    let reading = Reading { file: "test/prices.sh", line: 7, words: &["the bag costs 0.06", "exit code 3"] };
    fails(&world, &shop, &person, "failing test", Broken { end: "run.finished", reading }).await;
    shop.web.write("test/run.sh", &tests).unwrap();

    let dockerfile = shop.web.read("Dockerfile").unwrap();
    let broken = dockerfile.replace(
        "EXPOSE 8080",
        "# A comment, and then:\nRUN echo no such tool >&2 && \\\n    exit 4\nEXPOSE 8080",
    );
    shop.web.write("Dockerfile", &broken).unwrap();
    let reading =
        Reading { file: "Dockerfile", line: line_of(&broken, "no such tool"), words: &["no such tool", "4"] };
    fails(&world, &shop, &person, "failing Dockerfile", Broken { end: "run.finished", reading }).await;
    shop.web.write("Dockerfile", &dockerfile.replace("EXPOSE", "EXPOES")).unwrap();
    let reading = Reading { file: "Dockerfile", line: line_of(&dockerfile, "EXPOSE"), words: &["EXPOES"] };
    fails(&world, &shop, &person, "Dockerfile that is none", Broken { end: "run.finished", reading }).await;
    shop.web.write("Dockerfile", &dockerfile).unwrap();

    person.cli.ok(&["secret", "rm", "shop-web", "IMAGE_PATH"]).await.unwrap();
    let reading = Reading {
        file: WORKFLOW,
        line: line_of(&workflow, "secrets.IMAGE_PATH"),
        words: &["IMAGE_PATH", "is not set", "sluice secret set"],
    };
    fails(&world, &shop, &person, "missing secret", Broken { end: "run.finished", reading }).await;
    let path = world.image_path();
    person
        .cli
        .run(&["secret", "set", "shop-web", "IMAGE_PATH"], &path)
        .await
        .unwrap()
        .ok("secret set")
        .unwrap();

    assert_eq!(stand(&world).await, good, "dev was touched");
    let events = world.witness().unwrap().events();
    let touched = ["bump.committed", "image.published", "sync.started"];
    assert!(
        !events.iter().any(|e| e.sequence > since && touched.contains(&e.kind().as_str())),
        "{}",
        world.witness().unwrap().story(since)
    );
    on_dev(&world, &shop, "2.0.1").await;
}

#[tokio::test]
async fn broken_deliveries_say_where_and_keep_what_runs() {
    let (world, shop) = shop("failures_deliveries").await;
    let person = Person::admin(&world).await.unwrap();
    on_dev(&world, &shop, "3.0.0").await;
    a_tab(&world, &shop, &person).await;
    a_kind_that_is_not_there(&world, &shop, &person).await;
    a_person_races_a_bump(&world, &shop, &person).await;
}

/// A tab in a manifest: nothing is applied until it is gone, then everything at once.
async fn a_tab(world: &World, shop: &Shop, person: &Person) {
    let witness = world.witness().unwrap();
    let (good, since) = (stand(world).await, witness.now());
    let service = "dev/web/service.yaml";
    let manifest = shop.deploy.read(service).unwrap();
    let broken = manifest.replace("    targetPort", "\t  targetPort");
    shop.deploy.write(service, &broken).unwrap();
    shop.deploy.replace("dev/web/configmap.yaml", "STAGE: dev", "STAGE: dev\n  NEW: \"1\"").unwrap();
    shop.deploy.ship("a tab").await.unwrap();
    witness.wait_after(since, "render.failed", SOON, |e| about(e, "shop-dev")).await.unwrap();
    let reading = Reading { file: service, line: line_of(&broken, "targetPort"), words: &["tab"] };
    person.reads(world, "/apps/shop-dev", &["app", "get", "shop-dev"], reading).await.unwrap();
    let page = person.page("/apps/shop-dev").await.unwrap();
    assert!(page.contains("Healthy") && page.contains("Live objects are untouched"), "{page}");
    assert_eq!(stand(world).await, good, "what runs was touched");

    // What was good is still kept: a change by hand goes back.
    let dev = &world.names.dev;
    world.kube.ok(&["-n", dev, "scale", "deployment/web", "--replicas=0"]).await.unwrap();
    world
        .kube
        .wait(dev, "deployment/web", SOON, |d| (d["spec"]["replicas"] == 1).then_some(()))
        .await
        .unwrap();

    shop.deploy.write(service, &manifest).unwrap();
    let fixed = shop.deploy.ship("no tab").await.unwrap();
    let synced =
        witness.wait_after(since, "sync.finished", SOON, |e| of(e, "shop-dev", &fixed)).await.unwrap();
    assert_eq!(synced.data["outcome"], "Succeeded", "{}", synced.data);
    let map = world.kube.get(dev, "configmap/web").await.unwrap().unwrap();
    assert_eq!(map["data"]["NEW"], "1");
    person.cli.ok(&["app", "wait", "shop-dev", "--timeout", "60"]).await.unwrap();
    let page = person.page("/apps/shop-dev").await.unwrap();
    assert!(!page.contains("Not rendered"), "{page}");
}

/// An object of a kind that this cluster does not have: told by name, the other objects go on.
async fn a_kind_that_is_not_there(world: &World, shop: &Shop, person: &Person) {
    let witness = world.witness().unwrap();
    let since = witness.now();
    let dev = &world.names.dev;
    let ingress = format!(
        "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata:\n  name: web\n  namespace: {dev}\nspec:\n  backend:\n    serviceName: web\n    servicePort: 80\n"
    );
    shop.deploy.write("dev/web/ingress.yaml", &ingress).unwrap();
    shop.deploy.replace("dev/web/configmap.yaml", "NEW: \"1\"", "NEW: \"2\"").unwrap();
    let commit = shop.deploy.ship("an old kind").await.unwrap();
    let finished =
        witness.wait_after(since, "sync.finished", SOON, |e| of(e, "shop-dev", &commit)).await.unwrap();
    let reading = Reading { file: "Ingress", line: 0, words: &["extensions/v1beta1", "web"] };
    person.reads(world, "/apps/shop-dev", &["app", "get", "shop-dev"], reading).await.unwrap();
    let map = world.kube.get(dev, "configmap/web").await.unwrap().unwrap();
    assert_eq!(map["data"]["NEW"], "2", "the rest did not flow: {}", finished.data);
    let application =
        world.kube.get(&world.names.apps, "applications.argoproj.io/shop-dev").await.unwrap().unwrap();
    let resources = application["status"]["resources"].as_array().cloned().unwrap_or_default();
    assert!(
        resources.iter().any(|r| r["kind"] == "Deployment" && r["status"] == "Synced"),
        "{:#}",
        application["status"]
    );

    // Images flow on beside it.
    let before = witness.now();
    let chain = push(world, shop, "3.0.1").await;
    witness.wait_after(before, "sync.finished", SOON, |e| about(e, "shop-dev")).await.unwrap();
    world.kube.rolled_out(dev, "web", &chain.image, SOON).await.unwrap();
    shop.deploy.pull().await.unwrap();
    std::fs::remove_file(shop.deploy.path.join("dev/web/ingress.yaml")).unwrap();
    let commit = shop.deploy.ship("no old kind").await.unwrap();
    witness
        .wait_after(before, "app.compared", SOON, |e| {
            about(e, "shop-dev") && e.data["revision"] == commit.as_str() && e.data["sync"] == "Synced"
        })
        .await
        .unwrap();
    person.cli.ok(&["app", "wait", "shop-dev", "--timeout", "60"]).await.unwrap();
}

/// A person's commit lands while ours is made: both are there, nobody's work is lost.
async fn a_person_races_a_bump(world: &World, shop: &Shop, person: &Person) {
    let witness = world.witness().unwrap();
    let since = witness.now();
    // Nobody is told of this commit, so the publisher makes its own on top of an old one and loses the race.
    world.unhook("deploy").await.unwrap();
    let file = "dev/web/deployment.yaml";
    shop.deploy.replace(file, "memory: \"16Mi\"", "memory: \"17Mi\"").unwrap();
    let human = shop.deploy.ship("a little more memory").await.unwrap();
    world.hook("deploy").await.unwrap();
    let chain = push(world, shop, "3.0.2").await;
    let ours = |e: &Event| e.correlation() == chain.correlation;
    let bumped = witness.wait_after(since, "bump.committed", SOON, ours).await.unwrap();
    assert!(bumped.data["retries"].as_u64().is_some_and(|n| n > 0), "there was no race: {}", bumped.data);
    let commit = bumped.data["commit"].as_str().unwrap().to_owned();
    shop.deploy.pull().await.unwrap();
    assert_eq!(shop.deploy.git(&["rev-parse", &format!("{commit}^")]).await.unwrap(), human);
    let text = shop.deploy.read(file).unwrap();
    assert!(text.contains("17Mi") && text.contains(&chain.image), "{text}");
    world.kube.rolled_out(&world.names.dev, "web", &chain.image, SOON).await.unwrap();
    let live = world.kube.get(&world.names.dev, "deployment/web").await.unwrap().unwrap();
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"], "17Mi");
    let reading = Reading { file, line: line_of(&text, &chain.image), words: &[&chain.tag] };
    let page = format!("/deliveries/{}", chain.correlation);
    person.reads(world, &page, &["trace", &chain.commit], reading).await.unwrap();
}

/// Pushes what is in the working copy; the run must fail and say so everywhere.
async fn fails(world: &World, shop: &Shop, person: &Person, what: &str, broken: Broken<'_>) {
    let witness = world.witness().unwrap();
    let since = witness.now();
    let commit = shop.web.ship(what).await.unwrap();
    let end = witness.wait_after(since, broken.end, SOON, |e| e.data["run"]["sha"] == commit.as_str()).await;
    let end = end.unwrap_or_else(|error| panic!("{what}: {error:#}"));
    if broken.end == "run.finished" {
        assert_eq!(end.data["conclusion"], "failure", "{what}: {}", end.data);
    }
    let number = end.data["run"]["number"].as_u64().unwrap();
    let page = format!("/runs/{}/{number}", world.slug("shop-web"));
    let run = format!("shop-web#{number}");
    let code = person.reads(world, &page, &["run", "watch", &run], broken.reading).await;
    let code = code.unwrap_or_else(|error| panic!("{what}: {error:#}"));
    assert_eq!(code, 1, "{what}");
}

/// A good change, up to its image.
async fn push(world: &World, shop: &Shop, version: &str) -> sluice_e2e::story::Chain {
    sluice_e2e::story::push(world, shop, version, &sluice_e2e::story::Report::silent()).await.unwrap()
}

/// What runs on dev: a change of any object shows in its generation or data.
async fn stand(world: &World) -> Vec<Value> {
    let objects = world.kube.list(&world.names.dev, "deployments,services,configmaps").await.unwrap();
    let of = |o: &Value| {
        serde_json::json!([o["metadata"]["uid"], o["metadata"]["generation"], o["spec"], o["data"]])
    };
    objects.iter().map(of).collect()
}

fn of(event: &Event, app: &str, revision: &str) -> bool {
    about(event, app) && event.data["sync"]["revision"] == revision
}

/// The number of the first line that holds `words`.
fn line_of(text: &str, words: &str) -> usize {
    text.lines().position(|line| line.contains(words)).map_or(0, |at| at + 1)
}
