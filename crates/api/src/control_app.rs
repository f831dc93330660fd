//! The built-in app `countersign`: pages and API on the auth host, decided like any app. Its routes
//! say which action a path is, because for the control plane the method alone does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Action;
use model::app::{
    App, AppName, AssertionBinding, AssertionSettings, CONTROL_APP, Explain, HostPattern, PathProfile, PathSettings,
    Route, RouteName, Sensitivity, UpstreamName,
};

/// Path prefix, route name, methods (empty: all), action. Longest prefix first, narrower methods first.
const ROUTES: &[(&str, &str, &[&str], Action)] = &[
    ("/.well-known/countersign", "well-known", &["GET", "HEAD"], Action::PortalSignin),
    ("/console/access/export", "console-export", &["GET", "HEAD"], Action::AuditExport),
    ("/.well-known/webauthn", "related-origins", &["GET", "HEAD"], Action::PortalSignin),
    ("/.countersign/assets", "assets", &["GET", "HEAD"], Action::PortalSignin),
    ("/api/v1/audit/export", "api-audit-export", &["GET", "HEAD"], Action::AuditExport),
    ("/console/access", "console-access", &["GET", "HEAD"], Action::AuditRead),
    ("/api/v1/audit", "api-audit", &["GET", "HEAD"], Action::AuditRead),
    ("/console", "console-read", &["GET", "HEAD"], Action::AdminRead),
    ("/console", "console-write", &[], Action::AdminWrite),
    ("/recover", "recover", &["GET", "HEAD", "POST"], Action::PortalRecover),
    ("/step-up", "step-up", &["GET", "HEAD", "POST"], Action::PortalSignin),
    ("/api/v1", "api-read", &["GET", "HEAD"], Action::AdminRead),
    ("/api/v1", "api-write", &[], Action::AdminWrite),
    ("/invite", "invite", &["GET", "HEAD"], Action::PortalEnrol),
    ("/logout", "logout", &["GET", "HEAD", "POST"], Action::PortalSignin),
    ("/enrol", "enrol", &["GET", "HEAD", "POST"], Action::PortalEnrol),
    ("/login", "login", &["GET", "HEAD", "POST"], Action::PortalSignin),
    ("/setup", "setup", &["GET", "HEAD"], Action::PortalEnrol),
    ("/me", "account", &["GET", "HEAD", "POST"], Action::PortalRequest),
    ("/", "home", &[], Action::PortalRequest),
];

/// The app for the auth host.
pub fn control_app(auth_host: &str) -> App {
    let routes = ROUTES.iter().map(|(prefix, name, methods, action)| Route {
        name: RouteName::new(name),
        path_prefix: (*prefix).to_owned(),
        methods: (!methods.is_empty()).then(|| methods.iter().map(|method| (*method).to_owned()).collect()),
        upstream: UpstreamName::new("in-process"),
        rewrite: None,
        max_body_bytes: None,
        action: Some(*action),
        access: None,
        cors: None,
        refuses_cross_site_writes: None,
    });
    App {
        name: AppName::new(CONTROL_APP),
        title: "Countersign".to_owned(),
        hosts: vec![HostPattern::Exact(auth_host.to_owned())],
        routes: routes.collect(),
        public_paths: BTreeSet::new(),
        upstreams: BTreeMap::new(),
        sensitivity: Some(Sensitivity::Critical),
        label: "restricted".to_owned(),
        is_requestable: false,
        labels: BTreeMap::new(),
        explain: Explain::Reason,
        assertion: AssertionSettings {
            is_enabled: false,
            groups: Vec::new(),
            binding: AssertionBinding { binds_target: true },
        },
        path: PathSettings { profile: PathProfile::Strict, allow: BTreeSet::new(), is_case_insensitive: false },
        websocket_origins: BTreeSet::new(),
        cors: Arc::default(),
        passes_odd_header_names: false,
        judges_method_override: false,
        sends_forwarded: false,
        unsigned_headers: BTreeMap::new(),
        context_headers: BTreeSet::new(),
        refuses_cross_site_writes: true,
        clears_site_data: false,
        access: None,
        sends_hsts: true,
        max_staleness: model::app::MAX_STALENESS_DEFAULT,
        declared_at: "built in".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changing_route_of_the_api_is_an_administrative_write() {
        for route in control_app("auth.test").routes {
            let may_change = route.methods.as_ref().is_none_or(|methods| methods.contains("POST"));
            if route.path_prefix.starts_with("/api") && may_change {
                assert_eq!(route.action, Some(Action::AdminWrite), "{}", route.name);
            }
        }
    }

    #[test]
    fn longer_prefixes_come_first() {
        let lengths: Vec<usize> = ROUTES.iter().map(|(prefix, ..)| prefix.len()).collect();
        assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    }
}
