//! Rules as operators write them, and what is refused.

use std::collections::BTreeSet;

use model::access::{AccessRules, Hours, Selector};

use crate::kinds::{Declared, Known, SourceFile, read};

/// An app whose rules begin in line 7.
fn app(access: &str) -> String {
    format!(
        "apiVersion: countersign/v1\nkind: App\nmetadata: {{ name: crm }}\nspec:\n  hosts: [crm.corp.test]\n  access:\n{access}\n  \
         upstreams: {{ web: {{ targets: ['http://127.0.0.1:9000'] }} }}\n  sensitivity: low\n---\napiVersion: countersign/v1\n\
         kind: Group\nmetadata: {{ name: staff }}\nspec: {{}}\n"
    )
}

fn try_read(text: &str) -> Result<Declared, String> {
    let files = [SourceFile { name: "crm.yaml".into(), text: text.to_owned() }];
    let known = Known {
        auth_host: "auth.corp.test",
        is_covered: &|_| true,
        is_certificate: &|_| true,
        groups: &BTreeSet::new(),
    };
    read(&files, &known).map_err(|problems| problems.to_string())
}

fn rules(access: &str) -> (AccessRules, Vec<String>) {
    let declared = try_read(&app(access)).unwrap_or_else(|problems| panic!("{problems}"));
    let warnings = declared.warnings.iter().map(ToString::to_string).collect();
    (AccessRules::clone(declared.apps[0].access.as_ref().unwrap()), warnings)
}

/// `access` is refused in these words.
fn refuses(access: &str, expected: &str) {
    let problems = try_read(&app(access)).err().unwrap_or_else(|| panic!("accepted:\n{access}"));
    assert!(problems.contains(expected), "expected `{expected}` in:\n{problems}");
}

#[test]
fn every_selector_is_read_with_its_line() {
    let (rules, warnings) = rules(
        "    include:
      - authenticated
      - { group: staff }
      - { email: [Ann@corp.test, bob@corp.test] }
      - { email_domain: corp.test }
      - { login_method: hwk }
      - any_service_token
      - { service_token: nightly }
      - { workload: spiffe://corp.test/batch }
      - { claim: { idp: corp, name: dept, value: [x] } }
    require:
      - mfa
      - { mfa: { acr: phr, max_age: 15m } }
      - { device_managed: true }
      - { device: { encrypted: true, compliant: true, level: 2, max_age: 1h } }
      - { risk_at_most: 40 }
      - { tls: { pq: true } }
      - { time: { zone: UTC, days: [mon-fri], from: '09:00', to: '17:00' } }
      - session_bound
    exclude:
      - { country: [KP] }
      - { ip_range: [10.0.0.0/8, '2001:db8::/32'] }
      - { client_cert: { san: [host.test] } }",
    );
    let lines: Vec<&str> = rules.entries().map(|rule| &*rule.declared_at).collect();
    let told: Vec<String> = (8..=16).chain(18..=25).chain(27..=29).map(|line| format!("crm.yaml:{line}")).collect();
    assert_eq!(lines, told);
    let days: BTreeSet<u8> = (1..=5).collect();
    assert_eq!(
        rules.require[6].selector,
        Selector::Time(Hours { zone: Some(model::TimeZone::utc()), days, from: 540, to: 1020 })
    );
    assert!(matches!(&rules.include[2].selector, Selector::Email(all) if all.contains("ann@corp.test")));
    let told = |line: u64, words: &str| {
        let start = format!("crm.yaml:{line}:");
        warnings.iter().any(|warning| warning.starts_with(&start) && warning.contains(words))
    };
    assert!(!told(13, "") && !told(14, ""), "service tokens decide: {warnings:#?}");
    assert!(told(15, "nothing brings workload identities yet, so this lets nobody in"), "{warnings:#?}");
    assert!(told(20, "nothing brings facts about devices yet"), "{warnings:#?}");
    assert!(told(27, "this keeps everybody out"), "{warnings:#?}");
    assert_eq!(warnings.len(), 8, "{warnings:#?}");
}

#[test]
fn what_lets_nobody_or_everybody_in_is_refused() {
    refuses("    include: []", "`include` is empty");
    refuses("    require: [mfa]", "`access` has no `include`");
    refuses("    include: [everyone]", "add `accept_public: true`");
    refuses("    include: [authenticated]\n    require: [everyone]", "`everyone` requires nothing");
    refuses("    include: [authenticated]\n    exclude: [authenticated]", "keeps everybody out");
    refuses("    include: [{ authenticated: false }]", "only `true` is valid here");
    let (_, warnings) = rules("    include: [everyone]\n    accept_public: true");
    assert!(warnings[0].contains("builtin/identity"), "{warnings:?}");
}

#[test]
fn slips_name_their_line_and_what_is_valid() {
    refuses("    include: [{ gruop: staff }]", "crm.yaml:7:");
    refuses("    include: [{ gruop: staff }]", "did you mean `group`?");
    refuses("    include: [authentcated]", "did you mean `authenticated`?");
    refuses("    inclde: [authenticated]", "did you mean `include`?");
    refuses("    include: [{ group: stuff }]", "crm.yaml:7: error: a rule of app `crm` names the group `stuff`");
    refuses("    include: [{ group: stuff }]", "did you mean `staff`?");
    refuses("    include: [{ group: staff, email: a@b.test }]", "exactly one selector");
    refuses("    include: [{}]", "exactly one selector");
    refuses("    include: [{ group: [] }]", "1 to 256 values");
    refuses("    include: [{ email: a@corp.test@evil.test }]", "is not an e-mail address");
    refuses("    include: [{ email_domain: Corp.test }]", "its one form is `corp.test`");
    refuses("    include: [{ email_domain: corp.test. }]", "leave the dot at its end out");
    refuses("    include: [{ ip_range: 10.0.0.1/8 }]", "first address");
    refuses("    include: [{ ip_range: 10.0.0.0/33 }]", "is not an address block");
    refuses("    include: [{ country: kp }]", "ISO 3166");
    refuses("    include: [{ risk_at_most: 101 }]", "from 0 to 100");
    refuses("    include: [{ mfa: { acr: phs } }]", "did you mean `phr`?");
    refuses("    include: [{ mfa: { max_age: 0s } }]", "never holds");
    refuses("    include: [{ time: { zone: Europe/Berlim } }]", "did you mean `Europe/Berlin`?");
    refuses("    include: [{ time: { from: '09:00', to: '09:00' } }]", "leave no time between them");
    refuses("    include: [{ device: {} }]", "`device` asks for nothing");
}

#[test]
fn entries_that_can_never_hold_together_are_refused() {
    let require = |entries: &str, expected: &str| {
        refuses(&format!("    include: [authenticated]\n    require:{entries}"), expected);
    };
    let never = "can never hold together";
    require(
        "\n      - { country: DE }\n      - { country: US }",
        "crm.yaml:10: error: this entry of `require` and the one in line 9",
    );
    require(" [{ email: a@corp.test }, { email_domain: other.test }]", never);
    require(" [{ device_managed: true }, { device_managed: false }]", never);
    require(" [{ ip_range: 10.0.0.0/8 }, { ip_range: 192.0.2.0/24 }]", never);
    require(" [{ time: { days: sat } }, { time: { days: mon } }]", never);
    require(" [{ email: a@corp.test }, any_service_token]", never);
    require(" [{ group: staff }]\n    exclude: [{ group: staff }]", "keeps out whoever `require`");
    refuses("    include: [{ group: staff }]\n    exclude: [{ group: staff }]", "everybody whom `include` lets in");
    let fine = "    include: [{ group: staff }, authenticated]\n    require: [{ country: [DE, US] }, { country: US }]";
    assert!(try_read(&app(fine)).is_ok());
    let nights = "    include: [{ time: { days: fri, from: '22:00', to: '02:00' } }]\n    require: [{ time: { days: sat, to: '01:00' } }]";
    assert!(try_read(&app(nights)).is_ok(), "friday night reaches into saturday");
}

#[test]
fn routes_may_narrow_and_nothing_else() {
    let with = |access: &str| {
        app("    include: [authenticated]").replace(
            "  upstreams:",
            &format!("  routes: [{{ path: /, upstream: web, access: {access} }}]\n  upstreams:"),
        )
    };
    let declared = try_read(&with("{ require: [mfa] }")).unwrap();
    assert!(declared.apps[0].routes[0].access.as_ref().unwrap().include.is_empty());
    for (access, expected) in [
        ("{}", "says nothing"),
        ("{ include: [] }", "`include` is empty"),
        ("{ include: [everyone], accept_public: true }", "narrows nothing"),
    ] {
        let problems = try_read(&with(access)).unwrap_err();
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn lists_have_a_cap() {
    let many = |count: usize| vec!["{ group: staff }"; count].join(", ");
    assert!(try_read(&app(&format!("    include: [{}]", many(64)))).is_ok());
    refuses(&format!("    include: [{}]", many(65)), "at most 64 entries");
    let codes: Vec<String> = (0..257).map(|n| format!("a{n}@corp.test")).collect();
    refuses(&format!("    include: [{{ email: [{}] }}]", codes.join(", ")), "1 to 256 values");
}
