//! Which app and route a host and path belong to (GW-3, GW-6).

use std::sync::Arc;

use model::App;
use model::app::{PathOpening, PathProfile};
use pep_gateway::RoutingTable;

use super::world::{app, route};

fn table(apps: Vec<App>) -> RoutingTable {
    let apps: Vec<Arc<App>> = apps.into_iter().map(Arc::new).collect();
    RoutingTable::build(&apps)
}

fn company() -> RoutingTable {
    let mut shop = app("shop", &["shop.test"]);
    let only = |methods: &[&str]| Some(methods.iter().map(|method| (*method).to_owned()).collect());
    shop.routes = vec![
        model::Route { methods: only(&["GET"]), ..route("api-read", "/api") },
        model::Route { methods: only(&["POST"]), ..route("api-write", "/api") },
        route("admin", "/admin"),
        route("web", "/"),
    ];
    let mut reports = app("reports", &["shop.test"]);
    reports.routes = vec![route("reports", "/api/reports")];
    table(vec![shop, reports, app("sites", &["*.sites.test"]), app("one", &["one.sites.test"])])
}

fn check(host: &str, method: &str, path: &str, expect: Option<&str>) {
    let table = company();
    let found = table.host(host).and_then(|entry| entry.route(path, method));
    let found = found.map(|routed| format!("{}/{}", routed.app.name, routed.route.name));
    assert_eq!(found.as_deref(), expect, "{method} {host}{path}");
}

#[test]
fn the_exact_host_wins_and_a_wildcard_covers_one_label() {
    check("one.sites.test", "GET", "/", Some("one/web"));
    check("two.sites.test", "GET", "/", Some("sites/web"));
    check("a.two.sites.test", "GET", "/", None);
    check("sites.test", "GET", "/", None);
    check(".sites.test", "GET", "/", None);
    check("evilsites.test", "GET", "/", None);
    check("shop.test.evil.test", "GET", "/", None);
}

#[test]
fn the_longest_prefix_by_whole_segments_wins_then_the_method() {
    check("shop.test", "GET", "/", Some("shop/web"));
    check("shop.test", "GET", "/admin", Some("shop/admin"));
    check("shop.test", "GET", "/admin/x", Some("shop/admin"));
    check("shop.test", "GET", "/administrator", Some("shop/web"));
    check("shop.test", "GET", "/api/x", Some("shop/api-read"));
    check("shop.test", "POST", "/api/x", Some("shop/api-write"));
    check("shop.test", "POST", "/api/reports/7", Some("reports/reports"));
    check("shop.test", "GET", "/api/reportsx", Some("shop/api-read"));
}

#[test]
fn a_method_that_the_longest_prefix_does_not_list_falls_to_no_shorter_rule() {
    check("shop.test", "DELETE", "/api/x", None);
    check("shop.test", "HEAD", "/api/x", None);
    check("shop.test", "DELETE", "/x", Some("shop/web"));
}

#[test]
fn apps_on_one_host_that_read_paths_differently_are_both_read_strictly() {
    let mut lax = app("lax", &["shop.test"]);
    lax.path.profile = PathProfile::DecodeAndMergeSlashes;
    lax.path.allow.insert(PathOpening::EncodedSlash);
    lax.judges_method_override = true;
    lax.passes_odd_header_names = true;
    for apps in [vec![lax.clone(), app("strict", &["shop.test"])], vec![app("strict", &["shop.test"]), lax.clone()]] {
        let table = table(apps);
        let entry = table.host("shop.test").unwrap();
        assert_eq!(entry.path_settings().profile, PathProfile::Strict);
        assert!(entry.path_settings().allow.is_empty());
        assert!(!entry.judges_method_override() && !entry.passes_odd_header_names());
    }
    let alone = table(vec![lax]);
    assert!(alone.host("shop.test").unwrap().judges_method_override());
}
