//! Two configurations that differ in everything a configuration can change: how the app is called, what of it is public,
//! who may see which part, and how a group is called. A mixture of both is a half-applied configuration.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// Applies so far.
static ROUND: AtomicU64 = AtomicU64::new(0);

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    A,
    B,
}

/// Public under one side, unknown to nobody under the other.
pub(super) const PUBLIC: [&str; 2] = ["/public-a", "/public-b"];
/// Visible to engineers under one side only.
pub(super) const ROOMS: [&str; 2] = ["/room-a", "/room-b"];

impl Side {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    fn letter(self) -> char {
        match self {
            Side::A => 'a',
            Side::B => 'b',
        }
    }

    /// The title of app and group.
    pub(super) fn title(self) -> String {
        format!("Side {}", self.letter())
    }

    /// The body of an apply. Each has a label of its own: what says the same is no new version.
    pub(super) fn files(self, app_port: u16) -> Value {
        let round = ROUND.fetch_add(1, Ordering::Relaxed);
        let (title, here, other) = (self.title(), self.letter(), self.other().letter());
        let groups = format!(
            "apiVersion: countersign/v1\nkind: Group\nmetadata:\n  name: engineering\nspec:\n  title: {title}\n  \
             membership: external\n"
        );
        let app = format!(
            "apiVersion: countersign/v1\nkind: App\nmetadata:\n  name: wiki\nspec:\n  title: {title}\n  \
             hosts: [wiki.localhost]\n  labels: {{ round: \"{round}\" }}\n  sensitivity: low\n  public_paths: [/public-{here}]\n  routes:\n    \
             - {{ name: room-a, path: /room-a, upstream: main }}\n    \
             - {{ name: room-b, path: /room-b, upstream: main }}\n    \
             - {{ name: rest, path: /, upstream: main }}\n  \
             upstreams:\n    main:\n      targets: [\"http://127.0.0.1:{app_port}\"]\n"
        );
        let policies = format!(
            "@id(\"engineers\")\npermit (principal in Group::\"engineering\", action in Action::\"http\", resource in \
             App::\"wiki\");\n@id(\"closed-room\")\nforbid (principal, action in Action::\"http\", resource == \
             Route::\"wiki/room-{other}\");\n"
        );
        json!({
            "reason": title,
            "files": [
                { "name": "groups.yaml", "text": groups },
                { "name": "wiki.yaml", "text": app },
                { "name": "wiki.cedar", "text": policies },
            ],
        })
    }
}
