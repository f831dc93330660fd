//! The record through the console: the same rows as the command line has, page by page, taken along, followed.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{StatusCode, header};
use serde_json::Value;

use super::{Page, Reader, put_record};
use crate::world::{ALICE, APPS, CAROL, World};

/// The requests a page lists.
fn listed(page: &Page) -> Vec<String> {
    let rows = page.body.split("<th scope=\"row\"><a href=\"/console/access/").skip(1);
    rows.filter_map(|row| row.split('"').next()).map(str::to_owned).collect()
}

fn next(page: &Page) -> Option<String> {
    let link = page.body.split("rel=\"next\" href=\"").nth(1)?;
    Some(link.split('"').next()?.replace("&#38;", "&"))
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended_and_lose_nothing() {
    let world = World::new().await;
    let put: BTreeSet<String> = (0..130).map(|_| put_record(&world, |_| {}).to_string()).collect();
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let mut target = "/console/access?type=access.decision".to_owned();
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = carol.get(&target).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let rows = listed(&page);
        sizes.push(rows.len());
        seen.extend(rows);
        // Something new at the top moves no page.
        put_record(&world, |record| record.what.app = Some(Arc::from("late")));
        match next(&page) {
            Some(older) => target = older,
            None => break,
        }
    }
    assert_eq!(sizes, [50, 50, 30]);
    assert_eq!(seen.len(), put.len(), "no row twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), put);
}

#[tokio::test]
async fn every_filter_gives_the_rows_that_the_command_line_gives() {
    let world = World::new().await;
    for n in 0..6u128 {
        put_record(&world, |record| {
            record.who.subject_id = Some(if n % 2 == 0 { ALICE } else { CAROL });
            record.who.session_id = Some(model::SessionId(uuid::Uuid::from_u128(n % 3)));
            record.decision.policies = vec![Arc::from(if n < 3 { "wiki/staff" } else { "vault/none" })];
            record.decision.effect = Some(if n % 2 == 0 { model::Effect::Allow } else { model::Effect::StepUp });
            record.trace_id = Some(Arc::from("0af7651916cd43dd8448eb211c80319c"));
        });
    }
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let session = model::SessionId(uuid::Uuid::from_u128(1)).to_string();
    for (filter, rows) in [
        ("who=alice@corp.test".to_owned(), 3),
        ("what=wiki".to_owned(), 6),
        ("action=http.get".to_owned(), 6),
        ("effect=step_up".to_owned(), 3),
        ("reason=deny.default".to_owned(), 6),
        ("app=wiki".to_owned(), 6),
        ("door=http".to_owned(), 6),
        (format!("session={session}"), 2),
        ("policy=wiki".to_owned(), 3),
        ("trace=0af7651916cd43dd8448eb211c80319c".to_owned(), 6),
        ("type=access.decision&since=7d".to_owned(), 6),
        ("before=3".to_owned(), 3),
        ("label=internal".to_owned(), 0),
        ("credential=none".to_owned(), 0),
    ] {
        let page = carol.get(&format!("/console/access?{filter}")).await;
        assert_eq!(page.status, StatusCode::OK, "{filter}: {}", page.body);
        let api = world.local("GET", &format!("/api/v1/audit/records?{filter}"), &Value::Null).await.json();
        let api = api["records"].as_array().unwrap().clone();
        let expected: Vec<String> = api.iter().map(|row| row["access_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listed(&page), expected, "{filter}");
        assert_eq!(expected.len(), rows, "{filter}");
    }
}

#[tokio::test]
async fn reads_of_our_own_files_are_left_out_of_the_list_unless_asked_for_and_never_of_an_export() {
    let world = World::new().await;
    let page_read = put_record(&world, |_| {}).to_string();
    let style = put_record(&world, |record| {
        record.what.method = Some(Arc::from("GET"));
        record.what.url_path = Some(Arc::from(pages::assets::path("console.css")));
        record.decision.effect = Some(model::Effect::Allow);
    })
    .to_string();
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let page = carol.get("/console/access?type=access.decision").await;
    assert_eq!(listed(&page), std::slice::from_ref(&page_read));
    assert!(page.body.contains("1 reads of our own files left out"), "{}", page.body);
    assert!(page.body.contains("/api/v1/audit/records?type=access.decision&#38;limit=50&#38;all=no"), "{}", page.body);
    let page = carol.get("/console/access?type=access.decision&all=yes").await;
    assert_eq!(listed(&page), [style.clone(), page_read]);
    assert!(page.body.contains(" --all"), "the command of the page says so");
    for all in ["no", "yes"] {
        let export = carol.get(&format!("/console/access/export?format=jsonl&all={all}")).await;
        assert!(export.body.contains(&style), "{all}");
        let export = world.local("GET", &format!("/api/v1/audit/export?all={all}"), &Value::Null).await;
        assert!(export.body.contains(&style), "{all}");
    }
    let api = world.local("GET", "/api/v1/audit/records?type=access.decision", &Value::Null).await.json();
    assert_eq!(api["records"].as_array().unwrap().len(), 2, "scripts get everything unless they say so");
}

#[tokio::test]
async fn a_value_that_is_not_understood_comes_back_at_its_field_and_asks_nothing() {
    let world = World::new().await;
    put_record(&world, |_| {});
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    for (target, field, typed) in [
        ("/console/access?since=7+days&who=alice@corp.test", "since", "alice@corp.test"),
        ("/console/access?who=nobody@corp.test", "who", "nobody@corp.test"),
        ("/console/access?effect=maybe", "effect", "maybe"),
        ("/console/access?limit=5000", "limit", "5000"),
        ("/console/access?since=1h&until=2h", "since", "2h"),
        ("/console/why?ask=yes&who=nobody@corp.test&app=wiki&action=http.get&path=/", "who", "nobody@corp.test"),
        ("/console/why?ask=yes&who=alice@corp.test&app=wiki&auth_age=soon", "auth_age", "soon"),
        ("/console/why?request=nonsense", "request", "nonsense"),
        ("/console/sessions?older=long", "older", "long"),
        ("/console/sessions?user=nobody@corp.test", "user", "nobody@corp.test"),
    ] {
        let asked = world.recorder.records().len();
        let page = carol.get(target).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{target}: {}", page.body);
        assert!(page.body.contains(&format!("href=\"#f-{field}\"")), "{target}: the summary leads to the field");
        assert!(page.body.contains(&format!("id=\"f-{field}\"")), "{target}: and the field is there");
        assert!(page.body.contains(typed), "{target}: what was typed is kept");
        assert_eq!(world.recorder.records().len(), asked, "{target}: nothing was asked of the record");
    }
}

#[tokio::test]
async fn an_export_has_exactly_the_filter_and_no_formula() {
    let world = World::new().await;
    put_record(&world, |record| record.what.url_path = Some(Arc::from("=cmd|'/c calc'!A1")));
    put_record(&world, |record| record.what.app = Some(Arc::from("other")));
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let csv = carol.get("/console/access/export?app=wiki&format=csv").await;
    assert_eq!(csv.header(header::CONTENT_TYPE), "text/csv; charset=utf-8");
    assert_eq!(csv.header(header::CONTENT_DISPOSITION), "attachment; filename=\"countersign-records.csv\"");
    assert_eq!(csv.body.lines().count(), 2, "a head and one record: {}", csv.body);
    assert!(csv.body.contains(",'=cmd|"), "{}", csv.body);
    let lines = carol.get("/console/access/export?app=other").await;
    let row: Value = serde_json::from_str(lines.body.trim()).unwrap();
    assert_eq!(row["app"], "other");
    let asked = world.recorder.of_type(model::record::RecordType::AuditQuery);
    let is_export = |record: &model::record::AuditRecord| {
        record.change.change.as_deref().is_some_and(|text| text.starts_with("query [export app=wiki"))
    };
    assert!(asked.iter().any(is_export), "an export is recorded as one: {asked:?}");
}

#[tokio::test]
async fn one_access_is_told_in_full_and_unknown_ids_are_not_found() {
    let world = World::new().await;
    let id = put_record(&world, |record| record.decision.policies = vec![Arc::from("wiki/staff")]);
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let page = carol.get(&format!("/console/access/{id}")).await;
    for text in [
        "✕ DENY",
        "deny.default",
        "No rule lets you do this",
        "wiki/staff",
        "refused; nothing went through",
        "Find similar",
    ] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    for unknown in ["nonsense", "aaaaaaaaaaaaaaaaaaaaaaaaaa", "%2e%2e"] {
        let page = carol.get(&format!("/console/access/{unknown}")).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{unknown}");
    }
}

#[tokio::test]
async fn the_live_tail_goes_on_where_it_was_and_ends_with_the_session() {
    let world = World::new().await;
    put_record(&world, |_| {});
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    put_record(&world, |record| record.what.url_path = Some(Arc::from("/console/access/live")));
    let wanted = put_record(&world, |record| record.what.url_path = Some(Arc::from("/<b>\n\ndata: x")));
    let events = carol.get("/console/access/live?from=1").await;
    assert_eq!(events.header(header::CONTENT_TYPE), "text/event-stream");
    assert_eq!(events.body.matches("event: record\n").count(), 1, "its own polls are not news: {}", events.body);
    assert!(events.body.contains(&wanted.to_string()));
    assert!(!events.body.contains("\ndata: x"), "a line end in a record ends no event: {}", events.body);
    assert!(events.body.contains("id: 3\n"), "{}", events.body);
    let cause = model::seams::Cause::SessionRevoked;
    model::SessionControl::end(&*world.session_control, carol.session.id, cause).await.unwrap();
    put_record(&world, |_| {});
    let over = carol.get("/console/access/live?from=3").await;
    assert!(over.body.contains("event: end\n") && !over.body.contains("event: record"), "{}", over.body);
}

#[tokio::test]
async fn what_is_wrong_with_the_record_is_told_on_every_page_while_it_is_wrong() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    assert!(!carol.get("/console").await.body.contains("file deleted"));
    world.log.alerts().raise(audit::AlertKind::FileDeleted, "<b>log-7</b> is gone");
    for path in ["/console", "/console/people"] {
        let page = carol.get(path).await;
        assert!(page.body.contains("The record, file deleted: ") && page.body.contains("audit verify"), "{path}");
        assert!(!page.body.contains("<b>log-7"), "{path}: text from a disk is text");
    }
    world.log.alerts().clear(audit::AlertKind::FileDeleted);
    assert!(!carol.get("/console").await.body.contains("file deleted"));
}

#[tokio::test]
async fn console_doctor_and_explain_mean_the_same_by_who_gets_in_now() {
    let world = World::new().await;
    // At best alice gets in; now, on a device nothing is known of, nobody does.
    let rule =
        "@id(\"managed\")\nforbid (principal, action, resource in App::\"wiki\") unless { context.device.managed.ok };";
    for (policies, now) in [("", "1"), (rule, "0")] {
        let mut files: Vec<_> =
            APPS.iter().map(|(name, text)| serde_json::json!({ "name": name, "text": text })).collect();
        files.push(serde_json::json!({ "name": "more.cedar", "text": policies }));
        let applied = world.local("POST", "/api/v1/config/apply", &serde_json::json!({ "files": files })).await;
        assert_eq!(applied.status, StatusCode::OK, "{}", applied.body);
        let rights = world.local("GET", "/api/v1/rights", &Value::Null).await.json();
        let wiki = rights["apps"].as_array().unwrap().iter().find(|app| app["app"] == "wiki").unwrap().clone();
        assert_eq!((wiki["now"].to_string().as_str(), &wiki["readers"]), (now, &Value::from(1)), "{rights:#}");
        let words = rights["facts"]["now"].as_str().unwrap();
        let carol = Reader::at(&world, world.session(CAROL, 1)).await;
        let apps = carol.get("/console/apps").await.body;
        let row = apps.split("<tr><th scope=\"row\"><a href=\"/console/apps/wiki\"").nth(1).unwrap();
        let row = row.split("</tr>").next().unwrap();
        assert!(row.contains(&format!("<td class=\"number\">{now}</td>")), "{row}");
        assert!(apps.contains(words), "{apps}");
        let app = carol.get("/console/apps/wiki").await.body;
        assert_eq!((app.matches("✓ ALLOW").count().to_string().as_str(), app.contains(words)), (now, true), "{app}");
        assert!(carol.get(&format!("/console/people/{ALICE}")).await.body.contains(words));
        let explain = "/api/v1/apps/wiki/explain?user=alice@corp.test";
        let told = world.local("GET", explain, &Value::Null).await.json();
        assert_eq!((told["verdict"] == "ALLOW", told["asked"].as_str()), (now == "1", Some(words)), "{told:#}");
        let nowhere = world.local("GET", &format!("{explain}&route=nowhere"), &Value::Null).await;
        assert_eq!(nowhere.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", nowhere.body);
    }
}

/// The way of a page to take its list along as `format`.
fn way(page: &Page, format: &str) -> String {
    let links = page.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut found = links.filter(|link| link.starts_with("/console/export/") && link.ends_with(format));
    found.next().unwrap_or_else(|| panic!("no export: {}", page.body)).replace("&#38;", "&")
}

#[tokio::test]
async fn every_list_is_taken_along_whole_with_exactly_its_filter_and_no_formula() {
    let world = World::new().await;
    for n in 0..60 {
        let new = serde_json::json!({ "email": format!("p{n}@corp.test"), "name": "=1+1,\"x\"" });
        assert_eq!(world.local("POST", "/api/v1/users", &new).await.status, StatusCode::CREATED);
    }
    world.session(ALICE, 7);
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    for (page, name, head, rows, some) in [
        (
            "/console/people?q=corp.test&state=invited",
            "people",
            "id,email,name,state,groups,sessions",
            60,
            "p59@corp.test",
        ),
        ("/console/people", "people", "id,email,name,state,groups,sessions", 62, "alice@corp.test"),
        ("/console/apps", "apps", "name,title,hosts,sensitivity,label,owner,get_in_now,declared_at", 2, "wiki.test"),
        (
            "/console/sessions?user=alice@corp.test",
            "sessions",
            "id,person,browser,network,since,last_used,ends,proof",
            1,
            "alice@corp.test",
        ),
        ("/console/sessions", "sessions", "id,person,browser,network,since,last_used,ends,proof", 2, "carol@corp.test"),
    ] {
        let shown = carol.get(page).await;
        let csv = carol.get(&way(&shown, "csv")).await;
        assert_eq!(csv.header(header::CONTENT_TYPE), "text/csv; charset=utf-8", "{page}: {}", csv.body);
        let file = format!("attachment; filename=\"countersign-{name}.csv\"");
        assert_eq!(csv.header(header::CONTENT_DISPOSITION), file);
        assert_eq!(csv.body.lines().next(), Some(head), "{page}");
        assert_eq!(csv.body.lines().count(), rows + 1, "{page}: every page of it, not the one shown");
        assert!(csv.body.contains(some), "{page}: {}", csv.body);
        assert!(!csv.body.contains(",=1+1") && !csv.body.contains(",\"=1+1"), "{page}: {}", csv.body);
        let lines = carol.get(&way(&shown, "jsonl")).await;
        let read: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), rows, "{page}");
        let keys: BTreeSet<&str> = read[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, head.split(',').collect(), "{page}");
    }
    let wrong = carol.get("/console/export/sessions?older=long&format=csv").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "a filter that is not understood takes nothing along");
    for unknown in ["secrets", "access", ""] {
        assert_eq!(carol.get(&format!("/console/export/{unknown}")).await.status, StatusCode::NOT_FOUND, "{unknown}");
    }
}

#[tokio::test]
async fn an_empty_list_says_why_and_what_to_do_next() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    for (target, why, next) in [
        ("/console/people?q=nobody+at+all", "Nobody matches.", "href=\"/console/people\""),
        ("/console/sessions?network=203.0.113", "Sessions that ended are in the record.", "href=\"/console/sessions\""),
        ("/console/sessions?app=vault", "let into it in the last day", "href=\"/console/sessions\""),
        ("/console/sessions?older=long", "Nothing was asked.", "href=\"#f-older\""),
        ("/console/access?app=vault", "No record matches.", "href=\"/console/access\""),
    ] {
        let page = carol.get(target).await;
        assert!(page.body.contains(why) && page.body.contains(next), "{target}: {}", page.body);
        assert!(!page.body.contains("<tbody></tbody>"), "{target}: no empty table");
    }
}
