//! The first steps of a new install, each done or not by what is really there (UI-2).

use pages::Link;
use pages::console::FirstRunStep;

use crate::console::text::count;
use crate::console::visit::Visit;

/// The five steps; none once everything that can be done is done.
pub(super) fn steps(visit: &Visit<'_>) -> Vec<FirstRunStep> {
    let published = visit.published();
    let people = published.directory.users.values().filter(|user| user.state == model::UserState::Active).count();
    let apps: Vec<_> = published.apps.iter().filter(|app| !app.is_control_plane()).collect();
    let policies =
        published.policies.policies().into_iter().filter(|policy| !policy.id.starts_with("builtin/")).count();
    let rules = apps.iter().filter(|app| app.access.is_some()).count();
    let is_done = [people > 0, !apps.is_empty(), policies + rules > 0];
    if is_done.iter().all(|done| *done) {
        return Vec::new();
    }
    let step = |title: &str, state: String, is_done: bool, command: &str, link: Option<(&str, &str)>| FirstRunStep {
        title: title.to_owned(),
        state,
        is_done,
        command: command.to_owned(),
        link: link.map(|(text, url)| Link { text: text.to_owned(), url: url.to_owned() }),
    };
    let [has_people, has_apps, has_rules] = is_done;
    vec![
        step(
            "Sign-in",
            format!("{} can sign in.", count(people, "person", "people")),
            has_people,
            "countersign user add ada@example.org --name Ada && countersign invite ada@example.org",
            Some(("Invite somebody", "/console/people#invite")),
        ),
        step(
            "First app",
            format!("{} protected.", count(apps.len(), "app is", "apps are")),
            has_apps,
            "countersign apply -f config/",
            Some(("Apps", "/console/apps")),
        ),
        step(
            "First policy",
            format!("{} beside the built-in ones.", count(policies + rules, "rule", "rules")),
            has_rules,
            "countersign apply -f config/",
            Some(("Try a question", "/console/why")),
        ),
        step(
            "First device",
            "Devices cannot be enrolled in this version; what policies ask about them is unknown.".to_owned(),
            false,
            "countersign check -f config/",
            None,
        ),
        step(
            "First sink",
            "The record is kept on this machine; this version sends it nowhere, but you can take it along.".to_owned(),
            false,
            "countersign audit query --since 7d --csv > records.csv",
            None,
        ),
    ]
}
