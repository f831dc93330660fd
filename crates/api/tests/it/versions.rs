//! Versions: what is the same, what an apply would do, who would be locked out, going back, and what a crash left.

use api::Actor;
use api::control::at_start;
use http::StatusCode;
use model::record::RecordType;
use model::{AccessId, Ids};
use serde_json::{Value, json};

use crate::world::{APPS, Answer, World};

fn body(files: &[(&str, &str)]) -> Value {
    let files: Vec<Value> = files.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    json!({ "files": files })
}

async fn apply(world: &World, files: &[(&str, &str)]) -> Answer {
    world.local("POST", "/api/v1/config/apply", &body(files)).await
}

/// The records since `from` that are neither decisions nor ends of accesses.
fn beside_ends(world: &World, from: usize) -> Vec<&'static str> {
    world.kinds_since(from).into_iter().filter(|kind| *kind != "access.completion").collect()
}

/// The usual files and one more.
fn with<'a>(extra: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    APPS.iter().copied().chain([extra]).collect()
}

async fn versions(world: &World) -> Vec<Value> {
    let answer = world.local("GET", "/api/v1/config", &Value::Null).await.json();
    answer["versions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_same_said_in_other_words_is_the_same_version() {
    let world = World::new().await;
    assert_eq!(apply(&world, APPS).await.json()["new"], true);
    let reformatted: Vec<(String, String)> = APPS
        .iter()
        .rev()
        .map(|(name, text)| {
            let text = match name.ends_with(".cedar") {
                true => format!("// for the staff\n{}", text.replace(", ", ",\n   ")),
                false => format!("# one of two\n{}", text.replace("[wiki.test]", "[ \"wiki.test\" ]")),
            };
            ((*name).to_owned(), text)
        })
        .collect();
    let reformatted: Vec<(&str, &str)> =
        reformatted.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let answer = apply(&world, &reformatted).await.json();
    assert_eq!((&answer["new"], &answer["version"]), (&json!(false), &json!(1)));
    assert_eq!(versions(&world).await.len(), 1);
    // And what says something else is another one.
    let group = ("g.yaml", "apiVersion: countersign/v1\nkind: Group\nmetadata:\n  name: ops\nspec: {}\n");
    let other = apply(&world, &with(group)).await;
    assert_eq!(other.json()["version"], 2);
    // Saying again what an older version said goes back to it instead of making a third.
    let again = apply(&world, APPS).await.json();
    assert_eq!((&again["new"], &again["version"], &again["before"]), (&json!(false), &json!(1), &json!(2)));
}

#[tokio::test]
async fn a_plan_tells_who_would_gain_and_lose_and_changes_nothing() {
    let world = World::new().await;
    apply(&world, APPS).await;
    let wiki_for_admins = (
        "wiki.cedar",
        "@id(\"staff\")\npermit (principal in Group::\"admins\", action in Action::\"read\", resource in App::\"wiki\");\n",
    );
    let files = [APPS[0], wiki_for_admins];
    let from = world.recorder.records().len();
    let plan = world.local("POST", "/api/v1/config/plan", &body(&files)).await.json();
    assert_eq!(plan["apps"]["removed"], json!(["vault"]), "{plan}");
    assert_eq!(plan["policies"]["changed"], json!(["wiki/staff"]), "{plan}");
    assert_eq!(plan["gained"], json!([{ "user": "carol@corp.test", "app": "wiki", "action": "read" }]));
    let lost = json!([
        { "user": "alice@corp.test", "app": "wiki", "action": "read" },
        { "user": "alice@corp.test", "app": "wiki", "action": "write" },
    ]);
    assert_eq!(plan["lost"], lost);
    assert_eq!((&plan["lockout"], &plan["unexamined"]), (&Value::Null, &json!(0)));
    assert!(beside_ends(&world, from).is_empty());
    assert_eq!(versions(&world).await.len(), 1);
    let applied = apply(&world, &files).await.json();
    assert_eq!((&applied["plan"]["lost"], &applied["plan"]["gained"]), (&plan["lost"], &plan["gained"]));
}

#[tokio::test]
async fn a_plan_and_a_way_back_tell_who_is_enabled_again_and_who_joins_and_leaves() {
    let world = World::new().await;
    let dora = |spec: &str| {
        format!(
            "apiVersion: countersign/v1\nkind: User\nmetadata: {{ name: dora@corp.test }}\nspec: {{ name: Dora, {spec} }}\n"
        )
    };
    let (here, gone) = (dora("groups: [staff]"), dora("disabled: true"));
    let here = with(("dora.yaml", &here));
    let gone = with(("dora.yaml", &gone));
    let first = apply(&world, &here).await.json();
    assert_eq!(first["plan"]["users"]["added"], json!(["dora@corp.test"]), "{first}");
    let membership = json!([{ "user": "dora@corp.test", "group": "staff" }]);
    assert_eq!(first["plan"]["joined"], membership);
    let second = apply(&world, &gone).await.json();
    assert_eq!(second["plan"]["users"]["removed"], json!(["dora@corp.test"]), "{second}");
    assert_eq!((&second["plan"]["left"], &second["plan"]["enabled"]), (&membership, &json!([])));

    let plan = world.local("POST", "/api/v1/config/plan", &body(&here)).await.json();
    let from = world.recorder.records().len();
    let back = world.local("POST", "/api/v1/config/rollback", &json!({})).await.json();
    for told in [&plan, &back["plan"]] {
        assert_eq!((&told["enabled"], &told["joined"]), (&json!(["dora@corp.test"]), &membership), "{told}");
        assert_eq!(told["users"], json!({ "added": [], "changed": [], "removed": [] }), "{told}");
    }
    let said: Vec<String> = world.recorder.records()[from..]
        .iter()
        .filter(|record| record.kind == RecordType::IdentityUserChanged)
        .filter_map(|record| record.change.change.as_deref().map(str::to_owned))
        .collect();
    assert_eq!(said, ["enabled again"]);
}

#[tokio::test]
async fn what_opens_only_at_the_right_place_and_hour_counts_as_open() {
    let world = World::new().await;
    let narrow = "@id(\"office\")\npermit (principal in Group::\"staff\", action in Action::\"read\", resource in App::\"vault\") when { context.net.zones.contains(\"office\") && context.request.weekday == 3 && context.device.state == \"trusted\" && context.device.encrypted.ok };\n";
    let plan = world.local("POST", "/api/v1/config/plan", &body(&with(("vault.cedar", narrow)))).await.json();
    assert_eq!(plan["gained"], json!([{ "user": "alice@corp.test", "app": "vault", "action": "read" }]), "{plan}");
}

const NOBODY: (&str, &str) =
    ("closed.cedar", "@id(\"people\")\nforbid (principal is User, action == Action::\"admin.write\", resource);\n");

#[tokio::test]
async fn a_policy_that_locks_everybody_out_is_refused_unless_asked_for_by_name() {
    let world = World::new().await;
    apply(&world, APPS).await;
    let refused = apply(&world, &with(NOBODY)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    assert!(refused.body.contains("--allow-lockout"), "{}", refused.body);
    assert_eq!(versions(&world).await.len(), 1, "nothing was kept");
    let plan = world.local("POST", "/api/v1/config/plan", &body(&with(NOBODY))).await.json();
    assert!(plan["lockout"].is_string(), "{plan}");
    let mut asked = body(&with(NOBODY));
    asked["allow_lockout"] = json!(true);
    let allowed = world.local("POST", "/api/v1/config/apply", &asked).await;
    assert_eq!(allowed.status, StatusCode::OK, "{}", allowed.body);
    // The way back is over the socket, which no such policy closes.
    let back = world.local("POST", "/api/v1/config/rollback", &json!({})).await;
    assert_eq!((back.status, &back.json()["version"]), (StatusCode::OK, &json!(1)));
}

#[tokio::test]
async fn a_check_foresees_a_lock_out_from_the_files_alone() {
    let world = World::new().await;
    let check = async |files: &[(&str, &str)]| {
        world.local("POST", "/api/v1/config/check", &body(files)).await.json()["warnings"].to_string()
    };
    assert!(!check(APPS).await.contains("lock everybody out"));
    assert!(check(&with(NOBODY)).await.contains("no member of `admins` or of another group could administer"));
    // Somebody at the right hour could, so this is none.
    let narrow = "@id(\"h\")\nforbid (principal is User, action == Action::\"admin.write\", resource) unless { context.request.weekday == 3 };\n";
    assert!(!check(&with(("hours.cedar", narrow))).await.contains("lock everybody out"));
}

#[tokio::test]
async fn a_plan_names_tests_and_remedies_that_change_and_nothing_else_does() {
    let world = World::new().await;
    let test = |want: &str| {
        format!(
            "apiVersion: countersign/v1\nkind: PolicyTest\nmetadata: {{ name: wiki }}\nspec:\n  table:\n    - {{ name: a, principal: {{ user: x }}, resource: {{ app: vault }}, want: {want} }}\n"
        )
    };
    let remedy = "apiVersion: countersign/v1\nkind: Remedy\nmetadata: { name: help_desk }\nspec: { cost: 4, kind: device, text: { en: Call, de: Rufen } }\n";
    let schema = "type Device = { @remedy_help_desk(\"ok=true,age_secs=0\") firewall: Posture };\n";
    let deny = test("DENY");
    let of = |files: &[(&'static str, &str)]| {
        APPS.iter()
            .copied()
            .map(|(name, text)| (name, text.to_owned()))
            .chain(files.iter().map(|(name, text)| (*name, (*text).to_owned())))
            .collect::<Vec<_>>()
    };
    let plan = async |files: Vec<(&'static str, String)>| {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        world.local("POST", "/api/v1/config/plan", &body(&files)).await.json()
    };
    apply(&world, APPS).await;
    let first = plan(of(&[("t.yaml", &deny), ("r.yaml", remedy), ("r.cedarschema", schema)])).await;
    assert_eq!(
        (&first["tests"]["added"], &first["remedies"]["added"]),
        (&json!(["wiki"]), &json!(["help_desk"])),
        "{first}"
    );
    assert_eq!(first["policies"]["changed"], json!([]));
    let files: Vec<(&'static str, String)> = of(&[("t.yaml", &deny), ("r.yaml", remedy), ("r.cedarschema", schema)]);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(apply(&world, &files).await.status, StatusCode::OK);
    let moved = format!("# moved\n{deny}");
    let again =
        plan(of(&[("t.yaml", &moved), ("r.yaml", &remedy.replace("Call", "Ring")), ("r.cedarschema", schema)])).await;
    assert_eq!(
        (&again["tests"]["changed"], &again["remedies"]["changed"]),
        (&json!([]), &json!(["help_desk"])),
        "{again}"
    );
    // A remedy nobody declared refuses the whole.
    let refused = world.local("POST", "/api/v1/config/plan", &body(&with(("r.cedarschema", schema)))).await;
    assert!(refused.body.contains("`help_desk` is not a remedy"), "{}", refused.body);
}

#[tokio::test]
async fn a_policy_that_closes_even_the_socket_is_refused() {
    let world = World::new().await;
    let all = ("closed.cedar", "@id(\"x\")\nforbid (principal, action == Action::\"admin.write\", resource);\n");
    let refused = apply(&world, &with(all)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    assert!(refused.body.contains("local operator"), "{}", refused.body);
}

#[tokio::test]
async fn a_condition_that_somebody_can_meet_is_no_lock_out() {
    let world = World::new().await;
    let strict = (
        "strict.cedar",
        "@id(\"x\")\nforbid (principal is User, action == Action::\"admin.write\", resource) unless { context.device.managed.ok && context.net.zones.contains(\"office\") && context.auth.auth_age_secs < 60 };\n",
    );
    let applied = apply(&world, &with(strict)).await;
    assert_eq!(applied.status, StatusCode::OK, "{}", applied.body);
}

#[tokio::test]
async fn the_last_who_may_administer_by_policy_is_kept_whatever_the_group_is_called() {
    let world = World::new().await;
    let duty = "@id(\"x\")\nforbid (principal is User, action == Action::\"admin.write\", resource) unless { principal in Group::\"duty\" };\n";
    assert_eq!(world.local("POST", "/api/v1/groups", &json!({ "id": "duty" })).await.status, StatusCode::CREATED);
    let put = |who: &'static str| format!("/api/v1/groups/duty/members/{who}@corp.test");
    assert_eq!(world.local("PUT", &put("carol"), &Value::Null).await.status, StatusCode::OK);
    assert_eq!(apply(&world, &with(("duty.cedar", duty))).await.status, StatusCode::OK);
    let removed = world.local("DELETE", &put("carol"), &Value::Null).await;
    assert_eq!(removed.status, StatusCode::CONFLICT, "carol would still be in admins: {}", removed.body);
    let disabled = world.local("POST", "/api/v1/users/carol@corp.test/disable", &Value::Null).await;
    assert_eq!(disabled.status, StatusCode::CONFLICT, "{}", disabled.body);
    let forced = world.local("DELETE", &format!("{}?force=true", put("carol")), &Value::Null).await;
    assert_eq!(forced.status, StatusCode::OK, "{}", forced.body);
}

#[tokio::test]
async fn going_back_says_what_it_did_and_is_recorded_once() {
    let world = World::new().await;
    for files in [APPS.to_vec(), APPS[..2].to_vec()] {
        apply(&world, &files).await;
    }
    let from = world.recorder.records().len();
    let back = world.local("POST", "/api/v1/config/rollback", &json!({ "reason": "too strict" })).await.json();
    assert_eq!((&back["version"], &back["before"]), (&json!(1), &json!(2)), "{back}");
    assert_eq!(back["plan"]["policies"]["added"], json!(["wiki/staff"]));
    assert!(back["ms"].is_u64(), "{back}");
    assert_eq!(beside_ends(&world, from), ["policy.rolled_back"]);
    let listed = versions(&world).await;
    assert_eq!((&listed[1]["live"], &listed[1]["runs_on"]), (&json!(true), &json!(["local"])));
    assert_eq!(world.control.published().config_version, 1);
    for (version, expected) in [(json!(1), StatusCode::CONFLICT), (json!(9), StatusCode::NOT_FOUND)] {
        let refused = world.local("POST", "/api/v1/config/rollback", &json!({ "version": version })).await;
        assert_eq!(refused.status, expected, "{}", refused.body);
    }
    let none = world.local("POST", "/api/v1/config/rollback", &json!({})).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND, "there is nothing below version 1");
}

#[tokio::test]
async fn a_reason_has_an_end_and_no_address_of_it_is_in_the_record() {
    let world = World::new().await;
    let mut long = body(APPS);
    long["reason"] = json!("x".repeat(1_001));
    let refused = world.local("POST", "/api/v1/config/apply", &long).await;
    assert!(refused.body.contains("1001"), "{}", refused.body);
    let mut told = body(APPS);
    told["reason"] = json!("alice@corp.test asked");
    world.local("POST", "/api/v1/config/apply", &told).await;
    assert_eq!(versions(&world).await[0]["reason"], "alice@corp.test asked");
    assert!(!crate::world::has_text(&world.recorder.records(), "@corp.test"));
}

#[tokio::test]
async fn a_configuration_refused_while_it_goes_live_is_not_live_at_the_next_start() {
    let world = World::new().await;
    apply(&world, APPS).await;
    world.people_store.fail(true);
    let people = "apiVersion: countersign/v1\nkind: Group\nmetadata:\n  name: ops\nspec: {}\n";
    let refused = apply(&world, &with(("ops.yaml", people))).await;
    assert!(!refused.status.is_success(), "{}", refused.body);
    world.people_store.fail(false);
    let found = at_start(world.store.as_ref()).await.unwrap();
    assert!(found.pending.is_none(), "given up");
    assert_eq!(found.live.unwrap().number, 1);
    assert_eq!(world.control.published().config_version, 1);
    assert_eq!(versions(&world).await.len(), 1);
}

#[tokio::test]
async fn what_a_crash_kept_from_being_recorded_is_recorded_at_the_next_start_and_only_once() {
    let world = World::new().await;
    // The decision is kept, the change is made, and then the log takes nothing more.
    world.recorder.fail_after(1);
    let half = world.local("PUT", "/api/v1/groups/staff/members/carol@corp.test", &Value::Null).await;
    assert!(!half.status.is_success(), "{}", half.body);
    world.recorder.fail(false);
    let actor = Actor::system(AccessId(world.ids.uuid_v7(world.control.now())));
    let from = world.recorder.records().len();
    world.control.resume(&actor, None).await.unwrap();
    assert_eq!(beside_ends(&world, from), ["identity.membership_changed"]);
    let record = world.recorder.records().last().unwrap().clone();
    let decision = world.recorder.records().iter().rev().nth(1).unwrap().clone();
    assert_eq!(record.access_id, decision.access_id, "joined with the decision that allowed it");
    assert_eq!(record.who.subject.as_deref(), Some("local-operator"), "and told of who asked");
    world.control.resume(&actor, None).await.unwrap();
    assert_eq!(beside_ends(&world, from).len(), 1, "once");
}

#[tokio::test]
async fn fail_open_rules_of_files_that_were_refused_once_are_not_lost_when_they_are_accepted() {
    let world = World::new().await;
    let app = "apiVersion: countersign/v1\nkind: App\nmetadata:\n  name: board\nspec:\n  title: Board\n  hosts: [board.test]\n  sensitivity: low\n  label: internal\n  upstreams:\n    main:\n      targets: [\"http://127.0.0.1:8083\"]\n  access:\n    include:\n      - authenticated: true\n    exclude:\n      - group: [suspended]\n";
    let permit = "@id(\"all\")\npermit (principal, action in Action::\"http\", resource in App::\"board\");\n";
    let files = [("board.yaml", app), ("board.cedar", permit)];
    // Refused: there is no group `suspended` yet. Then there is, and the very same files are sent again.
    let refused = apply(&world, &files).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.body);
    let made = world.local("POST", "/api/v1/groups", &json!({ "id": "suspended" })).await;
    assert!(made.status.is_success(), "{}", made.body);
    let applied = apply(&world, &files).await;
    assert_eq!(applied.status, StatusCode::OK, "{}", applied.body);
    let policies = world.local("GET", "/api/v1/policies", &Value::Null).await;
    assert!(policies.body.contains("app/board/exclude-1"), "the exclusion is in force: {}", policies.body);
}
