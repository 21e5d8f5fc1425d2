//! Tables and properties of the planner.

use proptest::prelude::*;

use super::*;

fn object(kind: &str, name: &str, state: State) -> Compared {
    let group = match kind {
        "Deployment" => "apps",
        "Job" => "batch",
        "Widget" => "example.com",
        _ => "",
    };
    let namespace = if kind == "Namespace" { "" } else { "dev" };
    let gvk = Gvk::new(group, "v1", kind);
    let desired = (state != State::Extra).then(|| json!({ "kind": kind, "metadata": { "name": name } }));
    let key = ObjectKey::new(group, kind, namespace, name);
    Compared { key, gvk, desired, uid: Some("u".into()), state, options: SyncOptions::default() }
}

fn wave(mut object: Compared, wave: i32) -> Compared {
    object.options.wave = wave;
    object
}

fn hook(mut object: Compared, phase: Phase) -> Compared {
    object.options.hooks.insert(phase);
    object
}

fn names(plan: &Plan) -> Vec<String> {
    plan.tasks().map(|task| format!("{}/{}", task.key.kind, task.key.name)).collect()
}

#[test]
fn kinds_are_applied_in_argo_cds_order_and_deleted_in_reverse_at_the_end() {
    let objects = [
        object("Widget", "w", State::Missing),
        object("Deployment", "b", State::Missing),
        object("Deployment", "a", State::Differs),
        object("Service", "s", State::Missing),
        object("ConfigMap", "c", State::Missing),
        object("Namespace", "dev", State::Missing),
        object("ConfigMap", "old", State::Extra),
        object("Deployment", "old", State::Extra),
        object("Secret", "same", State::Same),
    ];
    let plan = plan(&objects, &Settings { prune: true, ..Settings::default() });
    assert_eq!(
        names(&plan),
        [
            "Namespace/dev",
            "ConfigMap/c",
            "Service/s",
            "Deployment/a",
            "Deployment/b",
            "Widget/w",
            "Deployment/old",
            "ConfigMap/old"
        ]
    );
    assert_eq!((plan.applies(), plan.prunes()), (6, 2));
    assert_eq!(plan.steps[0].groups[3].len(), 2, "Deployments are applied at the same time");
    assert!(plan.steps[1].wait_for.is_empty() && plan.steps[1].deletes);
}

#[test]
fn waves_wait_for_all_earlier_waves() {
    let objects = [
        wave(object("ConfigMap", "late", State::Missing), 2),
        wave(object("Deployment", "early", State::Same), -1),
        object("Deployment", "middle", State::Differs),
    ];
    let plan = plan(&objects, &Settings::default());
    assert_eq!(names(&plan), ["Deployment/middle", "ConfigMap/late"]);
    let waiting: Vec<_> = plan.steps.iter().map(|step| step.wait_for.len()).collect();
    assert_eq!(waiting, [1, 2]);
}

#[test]
fn hooks_run_in_their_phases_even_when_nothing_changed() {
    let objects = [
        hook(object("Job", "migrate", State::Missing), Phase::PreSync),
        object("Deployment", "web", State::Same),
        hook(object("Job", "smoke", State::Same), Phase::PostSync),
        hook(object("Job", "alarm", State::Missing), Phase::SyncFail),
    ];
    let plan = plan(&objects, &Settings::default());
    assert_eq!(names(&plan), ["Job/migrate", "Job/smoke"]);
    assert_eq!(plan.steps.last().map(|step| step.wait_for.len()), Some(1));
    assert_eq!(plan.on_failure.len(), 1);
}

#[test]
fn what_stays_is_said_and_what_is_broken_does_not_stop_the_rest() {
    let mut protected = object("ConfigMap", "protected", State::Extra);
    protected.options.no_prune = true;
    let own = object("Widget", "own", State::Extra);
    let objects = [
        protected,
        own.clone(),
        object("ConfigMap", "extra", State::Extra),
        object("Ingress", "old", State::Broken("no such kind".into())),
        object("Service", "web", State::Missing),
    ];
    let settings = Settings { prune: true, own: Some(own.key), ..Settings::default() };
    let with_prune = plan(&objects, &settings);
    assert_eq!(names(&with_prune), ["Service/web", "ConfigMap/extra"]);
    assert_eq!((with_prune.kept.len(), with_prune.refused.len()), (2, 1));
    let without = plan(&objects, &Settings::default());
    assert_eq!((without.prunes(), without.kept.len()), (0, 3));
}

#[test]
fn a_namespace_is_created_first_unless_it_is_declared() {
    let settings = Settings {
        create_namespace: Some(("dev".into(), json!({ "labels": { "a": "b" } }))),
        ..Settings::default()
    };
    let plan_with = plan(&[hook(object("Job", "j", State::Missing), Phase::PreSync)], &settings);
    assert_eq!(names(&plan_with), ["Namespace/dev", "Job/j"]);
    let declared = plan(&[object("Namespace", "dev", State::Missing)], &settings);
    assert_eq!(names(&declared), ["Namespace/dev"]);
}

fn any_object() -> impl Strategy<Value = Compared> {
    let kinds =
        prop::sample::select(vec!["Namespace", "ConfigMap", "Service", "Deployment", "Job", "Widget"]);
    let states = prop::sample::select(vec![
        State::Same,
        State::Differs,
        State::Missing,
        State::Extra,
        State::Broken("x".into()),
    ]);
    (
        kinds,
        "[a-c]{1,2}",
        states,
        -2i32..3,
        prop::option::of(prop::sample::select(vec![
            Phase::PreSync,
            Phase::Sync,
            Phase::PostSync,
            Phase::SyncFail,
        ])),
    )
        .prop_map(|(kind, name, state, at, phase)| {
            let object = wave(object(kind, &name, state), at);
            match phase {
                Some(phase) if kind == "Job" => hook(object, phase),
                _ => object,
            }
        })
}

proptest! {
    /// Whatever the input: every change is planned exactly once, phases never go back, deletions come after all writes of
    /// the Sync phase, and nothing is deleted that is not ours to delete.
    #[test]
    fn plans_are_complete_and_ordered(objects in prop::collection::vec(any_object(), 0..20), prune: bool) {
        let plan = plan(&objects, &Settings { prune, ..Settings::default() });
        let phases: Vec<_> = plan.steps.iter().map(|step| step.phase).collect();
        prop_assert!(phases.is_sorted());
        let sync: Vec<_> = plan.steps.iter().filter(|step| step.phase == Phase::Sync).collect();
        prop_assert!(sync.iter().map(|step| step.deletes).is_sorted());
        prop_assert!(sync.iter().filter(|step| !step.deletes).map(|step| step.wave).is_sorted());
        let changes = objects.iter().filter(|it| !it.options.is_hook() && matches!(it.state, State::Missing | State::Differs)).count();
        let planned = plan.tasks().filter(|it| matches!(it.action, Action::Create | Action::Update | Action::Replace)).count();
        prop_assert_eq!(changes, planned);
        let extra = objects.iter().filter(|it| !it.options.is_hook() && it.state == State::Extra).count();
        prop_assert_eq!(plan.prunes() + plan.kept.len(), extra);
        prop_assert!(prune || plan.prunes() == 0);
        for step in &plan.steps {
            for group in &step.groups {
                prop_assert!(!group.is_empty());
                prop_assert!(group.iter().all(|task| task.key.kind == group[0].key.kind));
            }
        }
    }
}
