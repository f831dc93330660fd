//! Which app and route a canonical host and path belong to (GW-3, GW-5, GW-6; ). Pure.
//!
//! Invariants: no default app; an exact host wins over a wildcard, a longer prefix over a shorter; prefixes match
//! whole segments; a public path is an exact string and the query has no part in it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use http_gate::path::path_matches;
use model::app::{HostPattern, PathProfile, PathSettings};
use model::{App, Route, Upstream};

/// Paths under which our own endpoints live on every app host.
pub const RESERVED_PREFIX: &str = "/.countersign";

/// The reserved endpoints; those ending in `/` take exactly one more segment.
const RESERVED: &[&str] = &[
    "assets/",
    "client.js",
    "decision/",
    "handoff",
    "jwks.json",
    "link",
    "login",
    "logout",
    "renew",
    "renewed",
    "session",
    "step-up",
];

/// Hosts and paths of one configuration version.
#[derive(Debug, Default)]
pub struct RoutingTable {
    exact: HashMap<String, HostEntry>,
    wildcard: HashMap<String, HostEntry>,
}

/// Everything served under one host pattern.
#[derive(Debug)]
pub struct HostEntry {
    /// Every route of every app that names this host; longest prefix first.
    routes: Vec<RoutedRoute>,
    /// The app declared first: it speaks for the host where no route does.
    first: Arc<App>,
    /// How paths on this host are brought into their one form.
    path: PathSettings,
    /// Whether odd header names pass.
    passes_odd_header_names: bool,
    /// Whether a method override is judged.
    judges_method_override: bool,
    /// Names under which apps here are told who asks; no client may use them (GW-32).
    owned_names: Vec<String>,
}

/// A route with its app and upstream found.
#[derive(Clone, Debug)]
pub struct RoutedRoute {
    /// The app.
    pub app: Arc<App>,
    /// The route.
    pub route: Arc<Route>,
    /// Where it goes; `None` for the built-in app, which is served in process.
    pub upstream: Option<Arc<Upstream>>,
}

/// What a path on an app host means beside the app's own paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserved {
    /// The app's own.
    No,
    /// One of our endpoints.
    Known,
    /// In our name space, but nothing.
    Unknown,
}

impl RoutingTable {
    /// The table of `apps`.
    pub fn build(apps: &[Arc<App>]) -> Self {
        let mut table = Self::default();
        for app in apps {
            for host in &app.hosts {
                let (map, key) = match host {
                    HostPattern::Exact(host) => (&mut table.exact, host),
                    HostPattern::Wildcard(suffix) => (&mut table.wildcard, suffix),
                };
                map.entry(key.clone()).or_insert_with(|| HostEntry::new(app)).add(app);
            }
        }
        table
    }

    /// What is served under `host` (canonical, without port): the exact name, else a wildcard one label up.
    pub fn host(&self, host: &str) -> Option<&HostEntry> {
        if let Some(entry) = self.exact.get(host) {
            return Some(entry);
        }
        let (label, suffix) = host.split_once('.')?;
        if label.is_empty() {
            return None;
        }
        self.wildcard.get(suffix)
    }
}

impl HostEntry {
    fn new(app: &Arc<App>) -> Self {
        Self {
            routes: Vec::new(),
            first: Arc::clone(app),
            path: app.path.clone(),
            passes_odd_header_names: app.passes_odd_header_names,
            judges_method_override: app.judges_method_override,
            owned_names: Vec::new(),
        }
    }

    /// The gate reads a request before the path tells which app it is for, so apps on one host must be read alike;
    /// where they do not agree, the narrow reading holds for all of them.
    fn add(&mut self, app: &Arc<App>) {
        if self.path != app.path {
            self.path =
                PathSettings { profile: PathProfile::Strict, allow: BTreeSet::new(), is_case_insensitive: false };
        }
        self.passes_odd_header_names &= app.passes_odd_header_names;
        self.judges_method_override &= app.judges_method_override;
        // For all apps of the host: which one a request is for is known only after it was read.
        self.owned_names.extend(app.unsigned_headers.keys().cloned());
        self.routes.extend(app.routes.iter().map(|route| RoutedRoute {
            app: Arc::clone(app),
            upstream: app.upstreams.get(&route.upstream).cloned().map(Arc::new),
            route: Arc::new(route.clone()),
        }));
        // Stable: routes of one prefix keep the order in which they were declared.
        self.routes.sort_by_key(|routed| std::cmp::Reverse(prefix_length(&routed.route.path_prefix)));
    }

    /// How paths on this host are brought into their one form.
    pub fn path_settings(&self) -> &PathSettings {
        &self.path
    }

    /// Whether odd header names pass on this host.
    pub fn passes_odd_header_names(&self) -> bool {
        self.passes_odd_header_names
    }

    /// Whether a method override is judged on this host.
    pub fn judges_method_override(&self) -> bool {
        self.judges_method_override
    }

    /// Names no client may use on this host, beside ours.
    pub fn owned_names(&self) -> &[String] {
        &self.owned_names
    }

    /// The app that speaks for the host where no route does.
    pub fn first_app(&self) -> &Arc<App> {
        &self.first
    }

    /// The route of a canonical path: longest prefix first, then the method among routes of that prefix. A method
    /// that the longest prefix does not list falls to no shorter one: that would judge it by another rule.
    pub fn route(&self, path: &str, method: &str) -> Option<&RoutedRoute> {
        let longest = self.routes.iter().find(|routed| path_matches(&routed.route.path_prefix, path))?;
        let length = prefix_length(&longest.route.path_prefix);
        self.routes
            .iter()
            .filter(|routed| prefix_length(&routed.route.path_prefix) == length)
            .filter(|routed| path_matches(&routed.route.path_prefix, path))
            .find(|routed| routed.route.methods.as_ref().is_none_or(|methods| methods.contains(method)))
    }
}

fn prefix_length(prefix: &str) -> usize {
    prefix.trim_end_matches('/').len()
}

/// Whether anyone may have this: an exact public path by GET or HEAD (GW-6).
pub fn is_public(app: &App, method: &str, path: &str) -> bool {
    matches!(method, "GET" | "HEAD") && app.public_paths.contains(path)
}

/// Whether a canonical path on an app host is ours.
pub fn reserved(path: &str) -> Reserved {
    if !path_matches(RESERVED_PREFIX, &path.to_ascii_lowercase()) {
        return Reserved::No;
    }
    let Some(rest) = path.strip_prefix(RESERVED_PREFIX).and_then(|rest| rest.strip_prefix('/')) else {
        return Reserved::Unknown;
    };
    let is_known = RESERVED.iter().any(|name| match name.strip_suffix('/') {
        Some(folder) => rest
            .strip_prefix(folder)
            .and_then(|leaf| leaf.strip_prefix('/'))
            .is_some_and(|leaf| !leaf.is_empty() && !leaf.contains('/')),
        None => rest == *name,
    });
    if is_known { Reserved::Known } else { Reserved::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_endpoints_are_ours() {
        for (path, expect) in [
            ("/", Reserved::No),
            ("/.countersignal", Reserved::No),
            ("/x/.countersign/login", Reserved::No),
            ("/.countersign", Reserved::Unknown),
            ("/.countersign/", Reserved::Unknown),
            ("/.countersign/login/", Reserved::Unknown),
            ("/.countersign/login/x", Reserved::Unknown),
            ("/.countersign/Login", Reserved::Unknown),
            ("/.COUNTERSIGN/login", Reserved::Unknown),
            ("/.countersign/metrics", Reserved::Unknown),
            ("/.countersign/login", Reserved::Known),
            ("/.countersign/handoff", Reserved::Known),
            ("/.countersign/assets/0011.css", Reserved::Known),
            ("/.countersign/decision/abc", Reserved::Known),
            ("/.countersign/decision/", Reserved::Unknown),
        ] {
            assert_eq!(reserved(path), expect, "{path}");
        }
    }
}
