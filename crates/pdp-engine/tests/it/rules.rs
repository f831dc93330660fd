//! Simple rules: the Cedar they become agrees with a direct reading of them (PO-17), and attacks on them (ATK-34).
//!
//! The reader below knows nothing of Cedar: it takes each selector at its word, with three answers, and "not known" as
//! its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::access::{ADDRESS_KNOWN, AccessRules, CERTIFICATE_KNOWN, Cidr, HOURS_KNOWN, Hours, Rule, Selector};
use model::facts::{PostureFact, RequestFacts};
use model::{
    AccessRequest, Action, App, Directory, Effect, Facts, GroupId, PolicyDecisionPoint, Principal, Sensitivity,
    TimeZone, Timestamp, UserEntry, UserId,
};
use pdp_engine::{CompiledPolicies, Engine};

use crate::support::*;

/// How many (rules, facts) pairs are compared: a hundred thousand in an optimised build, fewer in others, which are some fifty
/// times slower. `COUNTERSIGN_RULE_CASES` says otherwise.
fn cases() -> usize {
    let asked = std::env::var("COUNTERSIGN_RULE_CASES").ok().and_then(|cases| cases.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) { 2_000 } else { 100_000 })
}

/// SplitMix64: the same cases on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// One or two of `from`.
    fn some(&mut self, from: &[&str]) -> BTreeSet<String> {
        (0..=self.below(2)).map(|_| self.pick(from).to_owned()).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.coin() { Some(make(self)) } else { None }
    }
}

const ADDRESSES: &[&str] = &["alice@example.com", "bob@example.com", "nobody@example.com"];
const DOMAINS: &[&str] = &["example.com", "corp.test"];
const GROUPS: &[&str] = &["staff", "engineering", "contractors", "admins"];
const METHODS: &[&str] = &["hwk", "otp", "local", "corp-idp"];
const NETWORKS: &[&str] = &["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"];
const TOKENS: &[&str] = &["nightly", "export"];
const WORKLOADS: &[&str] = &["spiffe://corp.test/batch", "spiffe://corp.test/mail"];
const NINE_HOURS: i32 = 9 * 3_600;
const COUNTRIES: &[&str] = &["DE", "KP", "US"];

fn cidr(text: &str) -> Cidr {
    let (network, prefix) = text.split_once('/').unwrap();
    Cidr { network: network.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

fn selector(random: &mut Random) -> Selector {
    match random.below(20) {
        0 => Selector::AnyServiceToken,
        1 => Selector::Authenticated,
        2 => Selector::Claim { idp: "corp".into(), name: "dept".into(), values: random.some(&["x", "y"]) },
        3 => Selector::ClientCert { spki: random.some(&["ab"]), san: random.some(&["host.test", "\"quoted\\"]) },
        4 => Selector::Country(random.some(COUNTRIES)),
        5 => Selector::Device {
            encrypted: Some(random.coin()),
            compliant: random.maybe(Random::coin),
            level: random.maybe(|random| 1 + random.below(3) as i64),
            max_age: random.maybe(|_| Duration::from_secs(3600)),
        },
        6 => Selector::Device { encrypted: None, compliant: None, level: Some(2), max_age: None },
        7 => Selector::DeviceManaged(random.coin()),
        8 => Selector::Email(random.some(ADDRESSES)),
        9 => Selector::EmailDomain(random.some(DOMAINS)),
        10 => Selector::IpRange(random.some(NETWORKS).iter().map(|text| cidr(text)).collect()),
        11 => Selector::LoginMethod(random.some(METHODS)),
        12 => Selector::Mfa {
            acr: random.maybe(|random| random.pick(&["phr", "phrh", "urn:countersign:acr:mfa"]).to_owned()),
            max_age: random.maybe(|_| Duration::from_secs(900)),
        },
        13 => Selector::RiskAtMost(random.pick(&[0, 40, 100])),
        14 => Selector::ServiceToken(random.some(TOKENS)),
        15 => Selector::SessionBound,
        16 => {
            let (from, to) = random.pick(&[(0, 1440), (540, 1020), (1320, 120)]);
            let days = (0..=random.below(6)).map(|_| 1 + random.below(7) as u8).collect();
            Selector::Time(Hours {
                zone: random.maybe(|_| TimeZone::new("Test/Nine", NINE_HOURS, Vec::new())),
                days,
                from,
                to,
            })
        }
        17 => Selector::TlsPq,
        18 => Selector::Workload(random.some(WORKLOADS)),
        // Groups most of all: without a group that lets somebody in, most answers are no.
        _ => Selector::Group(random.some(GROUPS).iter().map(|group| GroupId::new(group)).collect()),
    }
}

fn entries(random: &mut Random, least: usize, most: usize) -> Vec<Rule> {
    let count = least + random.below(most - least + 1);
    (0..count).map(|at| rule(selector(random), at)).collect()
}

pub(crate) fn rule(selector: Selector, at: usize) -> Rule {
    Rule { selector, declared_at: format!("apps.yaml:{}", 10 + at).into() }
}

fn rules(random: &mut Random, is_app: bool) -> AccessRules {
    let mut include = entries(random, usize::from(is_app), 3);
    if is_app && random.coin() {
        include.push(rule(random.pick(&[Selector::Everyone, Selector::Authenticated]), 9));
    }
    AccessRules { include, require: entries(random, 0, 2), exclude: entries(random, 0, 1) }
}

pub(crate) fn ruled_app(name: &str, access: AccessRules, on_route: Option<AccessRules>) -> Arc<App> {
    let mut app = App::clone(&app(name, Some(Sensitivity::Low), &["plain", "narrow"]));
    app.access = Some(Arc::new(access));
    for route in app.routes.iter_mut().filter(|route| route.name.as_str() == "narrow") {
        route.access = on_route.clone().map(Arc::new);
    }
    Arc::new(app)
}

/// The usual people; bob's address is not verified, carol has a claim.
fn people() -> Arc<Directory> {
    let mut people = Directory::clone(&directory());
    for user in people.users.values_mut() {
        let mut entry = UserEntry::clone(user);
        entry.is_email_verified = entry.name != "bob";
        if entry.name == "carol" {
            entry.tags.insert("claim:corp:dept".into(), BTreeSet::from(["x".into()]));
        }
        *user = Arc::new(entry);
    }
    Arc::new(people)
}

fn posture(random: &mut Random) -> PostureFact {
    let age_secs = random.pick(&[10, 3600, 3601, 86_400, 86_401]);
    let known = PostureFact { ok: random.coin(), age_secs, level: random.below(4) as i64 };
    random.pick(&[known, known, PostureFact::UNKNOWN])
}

fn facts(random: &mut Random) -> Facts {
    let mut facts = if random.below(8) == 0 { Facts::unknown() } else { signed_in() };
    facts.auth.amr = (0..random.below(3)).map(|_| random.pick(&["hwk", "otp"]).to_owned()).collect();
    facts.auth.idp = random.pick(&["", "local", "corp-idp"]).to_owned();
    facts.auth.acr = random.pick(&["", "phr", "phrh"]).to_owned();
    (facts.auth.mfa, facts.auth.phishing_resistant) = (random.coin(), random.coin());
    facts.auth.auth_age_secs = random.pick(&[0, 899, 900, 901, 100_000]);
    facts.device.known = random.coin();
    facts.device.key_level = random.below(4) as i64;
    (facts.device.managed, facts.device.encrypted) = (posture(random), posture(random));
    facts.device.compliant = posture(random);
    for label in [ADDRESS_KNOWN, CERTIFICATE_KNOWN] {
        if random.coin() {
            facts.net.zones.insert(label.to_owned());
            let labels: Vec<String> = match label == ADDRESS_KNOWN {
                true => NETWORKS.iter().map(|network| cidr(network).zone()).collect(),
                false => vec!["cert:spki:ab".into(), "cert:san:host.test".into(), "cert:san:\"quoted\\".into()],
            };
            facts.net.zones.insert(random.pick(&labels));
        }
    }
    facts.net.country_known = random.coin();
    facts.net.country = if facts.net.country_known { random.pick(COUNTRIES).to_owned() } else { String::new() };
    facts.risk.known = random.coin();
    facts.risk.points = random.pick(&[0, 40, 41, 100]);
    facts.session.bound = random.coin();
    facts.request.tls_pq = random.coin();
    facts.request.tls_version = random.pick(&["", "1.3"]).to_owned();
    facts.request.weekday = 1 + random.below(7) as i64;
    facts.request.minute_of_day = random.pick(&[0, 119, 120, 539, 540, 1019, 1020, 1319, 1320, 1439]);
    if random.below(10) == 0 {
        facts.request.epoch_secs = 0;
    }
    facts
}

/// The hours that rules name with a zone, at some time of some day.
fn tell_zoned(request: &mut RequestFacts, app: &App, random: &mut Random) {
    let (minute, weekday) = (request.minute_of_day, request.weekday);
    let minutes: i64 = random.pick(&[0, 119, 120, 539, 540, 1019, 1020, 1319, 1320, 1439]);
    let secs = (20_000 + random.below(7) as i64) * 86_400 + minutes * 60 - i64::from(NINE_HOURS);
    request.tell_time(Timestamp::from_unix_secs(secs), &TimeZone::utc(), Some(app));
    (request.minute_of_day, request.weekday) = (minute, weekday);
}

/// What a selector answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Unknown,
    Yes,
}

fn told(known: bool, holds: bool) -> Told {
    match (known, holds) {
        (false, _) => Told::Unknown,
        (true, false) => Told::No,
        (true, true) => Told::Yes,
    }
}

/// Who asks, as the rules see them.
struct Asker<'a> {
    user: Option<&'a UserEntry>,
    workload: Option<&'a str>,
}

/// The selectors at their word.
fn read(selector: &Selector, asker: &Asker<'_>, facts: &Facts) -> Told {
    let Facts { auth, device, net, request, risk, session } = facts;
    let verified = asker.user.filter(|user| user.is_email_verified).map(|user| user.email.as_str());
    let is_person = asker.workload.is_none();
    let of_person = |value: Option<bool>| match (is_person, value) {
        (false, _) => Told::No,
        (true, None) => Told::Unknown,
        (true, Some(holds)) => told(true, holds),
    };
    match selector {
        Selector::AnyServiceToken => match asker.workload {
            None => Told::No,
            Some(id) => told(id.starts_with("spiffe://"), false),
        },
        Selector::Authenticated => told(true, auth.authenticated),
        Selector::Claim { idp, name, values } => {
            let held = asker.user.and_then(|user| user.tags.get(&format!("claim:{idp}:{name}")));
            of_person(held.map(|held| !held.is_disjoint(values)))
        }
        Selector::ClientCert { spki, san } => {
            let shown = |kind: &str, value: &String| net.zones.contains(&format!("cert:{kind}:{value}"));
            let holds = spki.iter().any(|value| shown("spki", value)) || san.iter().any(|value| shown("san", value));
            told(net.zones.contains("cert:known"), holds)
        }
        Selector::Country(codes) => told(net.country_known, codes.contains(&net.country)),
        Selector::Device { encrypted: None, compliant: None, level, .. } => {
            told(device.known, device.key_level >= level.unwrap())
        }
        Selector::Device { encrypted, compliant, level, max_age } => {
            let age = max_age.map_or(86_400, |age| age.as_secs() as i64);
            let asked = [(encrypted, device.encrypted), (compliant, device.compliant)];
            let asked: Vec<_> = asked.into_iter().filter_map(|(wanted, fact)| wanted.map(|w| (w, fact))).collect();
            let holds = |(wanted, fact): &(bool, PostureFact)| {
                fact.ok == *wanted && level.is_none_or(|level| fact.level >= level)
            };
            told(asked.iter().all(|(_, fact)| fact.age_secs <= age), asked.iter().all(holds))
        }
        Selector::DeviceManaged(wanted) => told(device.managed.age_secs <= 86_400, device.managed.ok == *wanted),
        Selector::Email(addresses) => of_person(verified.map(|address| addresses.contains(address))),
        Selector::EmailDomain(domains) => {
            of_person(verified.map(|address| domains.contains(address.split_once('@').unwrap().1)))
        }
        Selector::Everyone => Told::Yes,
        Selector::Group(groups) => {
            told(true, asker.user.is_some_and(|user| user.groups.iter().any(|group| groups.contains(group))))
        }
        Selector::IpRange(networks) => {
            told(net.zones.contains("cidr:known"), networks.iter().any(|network| net.zones.contains(&network.zone())))
        }
        Selector::LoginMethod(methods) => {
            let known = auth.authenticated && !(auth.idp.is_empty() && auth.amr.is_empty());
            told(known, methods.contains(&auth.idp) || !methods.is_disjoint(&auth.amr))
        }
        Selector::Mfa { acr, max_age } => {
            let level = match acr.as_deref() {
                Some("phr") => auth.phishing_resistant,
                Some("phrh") => auth.acr == "phrh",
                _ => auth.mfa,
            };
            told(auth.authenticated, level && max_age.is_none_or(|age| auth.auth_age_secs <= age.as_secs() as i64))
        }
        Selector::RiskAtMost(points) => told(risk.known, risk.points <= i64::from(*points)),
        Selector::ServiceToken(names) => told(
            true,
            asker.workload.is_some_and(|id| names.iter().any(|name| id == format!("service-account:{name}"))),
        ),
        Selector::SessionBound => told(auth.authenticated, session.bound),
        Selector::Time(Hours { zone, days, from, to }) => {
            let local = request.epoch_secs + i64::from(NINE_HOURS);
            let (day, minute) = match zone {
                Some(_) => (((local.div_euclid(86_400) + 3) % 7 + 1) as u8, (local.rem_euclid(86_400) / 60) as u16),
                None => (request.weekday as u8, request.minute_of_day as u16),
            };
            let yesterday = if day == 1 { 7 } else { day - 1 };
            let holds = match from < to {
                true => days.contains(&day) && (*from..*to).contains(&minute),
                false => (days.contains(&day) && minute >= *from) || (days.contains(&yesterday) && minute < *to),
            };
            told(if zone.is_some() { request.hours.contains(HOURS_KNOWN) } else { request.epoch_secs > 0 }, holds)
        }
        Selector::TlsPq => told(!request.tls_version.is_empty(), request.tls_pq),
        Selector::Workload(ids) => told(true, asker.workload.is_some_and(|id| ids.contains(id))),
    }
}

fn lets_in(rules: &AccessRules, is_app: bool, asker: &Asker<'_>, facts: &Facts) -> bool {
    let ask = |rule: &Rule| read(&rule.selector, asker, facts);
    let included = rules.include.iter().any(|rule| ask(rule) == Told::Yes) || (!is_app && rules.include.is_empty());
    included
        && rules.require.iter().all(|rule| ask(rule) == Told::Yes)
        && rules.exclude.iter().all(|rule| ask(rule) == Told::No)
}

fn expected(app: &App, request: &AccessRequest, people: &Directory) -> bool {
    // Nobody has proven anything, whatever the door says beside it.
    let mut facts = request.facts.clone();
    if request.principal == Principal::Anonymous {
        facts.auth = Facts::unknown().auth;
    }
    let asker = Asker {
        user: match &request.principal {
            Principal::User(id) => people.users.get(id).map(Arc::as_ref),
            _ => None,
        },
        workload: match &request.principal {
            Principal::Workload(id) => Some(id),
            _ => None,
        },
    };
    let on_route = request.resource.route.as_ref().and_then(|name| app.routes.iter().find(|route| route.name == *name));
    // The built-in policy: whoever reaches something has signed in.
    facts.auth.authenticated
        && lets_in(app.access.as_ref().unwrap(), true, &asker, &facts)
        && on_route.and_then(|route| route.access.as_ref()).is_none_or(|rules| lets_in(rules, false, &asker, &facts))
}

fn engine_of(apps: &[Arc<App>], people: &Arc<Directory>) -> Engine {
    let policies = CompiledPolicies::compile_for(&[], apps).unwrap_or_else(|problems| panic!("{problems:#?}"));
    Engine::new(Arc::new(policies), apps, people.clone(), 1).unwrap()
}

#[test]
fn the_cedar_that_rules_become_agrees_with_a_direct_reading_of_them() {
    const APPS: usize = 25;
    const QUESTIONS: usize = 40;
    let people = people();
    let principals: Vec<Principal> = [user(ALICE), user(BOB), user(CAROL), Principal::Anonymous]
        .into_iter()
        .chain(WORKLOADS.iter().map(|id| Principal::Workload(Arc::from(*id))))
        .chain(TOKENS.iter().map(|name| Principal::Workload(format!("service-account:{name}").into())))
        .collect();
    let mut random = Random(34);
    let (mut compared, mut allowed) = (0, 0);
    while compared < cases() {
        let apps: Vec<Arc<App>> = (0..APPS)
            .map(|at| {
                let on_route = random.maybe(|random| rules(random, false));
                ruled_app(&format!("app-{at}"), rules(&mut random, true), on_route)
            })
            .collect();
        let engine = engine_of(&apps, &people);
        for app in &apps {
            for _ in 0..QUESTIONS {
                let place = random.pick(&["", "/plain", "/narrow"]);
                let who = random.pick(&principals);
                let mut request = ask(who, Action::HttpGet, &format!("{}{place}", app.name));
                request.facts = facts(&mut random);
                if random.below(4) > 0 {
                    tell_zoned(&mut request.facts.request, app, &mut random);
                }
                let answer = engine.decide(&request, NOW);
                let is_allowed = answer.effect == Effect::Allow;
                assert_eq!(
                    is_allowed,
                    expected(app, &request, &people),
                    "{} {} {request:#?}\n{:#?}\n{:#?}",
                    answer.effect,
                    answer.reason,
                    app.access,
                    app.routes
                );
                compared += 1;
                allowed += usize::from(is_allowed);
            }
        }
    }
    assert!(allowed * 40 > compared, "{allowed} of {compared} were let in: the cases say little");
}

/// The directory with one more person of this address.
fn with_address(address: &str, is_verified: bool) -> (Arc<Directory>, Principal) {
    let mut people = Directory::clone(&directory());
    let id = UserId(uuid::Uuid::from_u128(99));
    let mut entry = UserEntry::clone(people.users.values().next().unwrap());
    (entry.id, entry.email, entry.is_email_verified) = (id, address.to_owned(), is_verified);
    // What somebody wrote beside the address is not the address.
    entry.tags.insert("email".into(), BTreeSet::from(["ann@corp.com".into()]));
    entry.tags.insert("email_domain".into(), BTreeSet::from(["corp.com".into()]));
    entry.state = model::UserState::Active;
    people.users.insert(id, Arc::new(entry));
    (Arc::new(people), Principal::User(id))
}

fn texts(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn addresses_that_look_like_an_included_one_are_refused() {
    let by_domain = Selector::EmailDomain(texts(&["corp.com"]));
    let by_address = Selector::Email(texts(&["ann@corp.com"]));
    let enters = |selector: &Selector, address: &str, is_verified: bool| {
        let (people, who) = with_address(address, is_verified);
        let access = AccessRules { include: vec![rule(selector.clone(), 0)], ..AccessRules::default() };
        let engine = engine_of(&[ruled_app("crm", access, None)], &people);
        is_allowed(&engine, &ask(who, Action::HttpGet, "crm"))
    };
    assert!(enters(&by_domain, "ann@corp.com", true) && enters(&by_address, "Ann@corp.com", true));
    assert!(!enters(&by_domain, "ann@corp.com", false) && !enters(&by_address, "ann@corp.com", false), "not verified");
    for other in [
        "ann@corp.com@evil.test",
        "ann@evil.test@corp.com",
        "ann@evilcorp.com",
        "ann@sub.corp.com",
        "ann@corp.com.evil.test",
        "ann@corp.com.",
        "ann@.corp.com",
        "ann@cоrp.com",
        "@corp.com",
        "corp.com",
        "",
    ] {
        assert!(!enters(&by_domain, other, true), "{other}");
        assert!(!enters(&by_address, other, true), "{other}");
    }
}

#[test]
fn an_address_that_is_not_verified_does_not_get_around_an_exclusion() {
    let (people, who) = with_address("ann@corp.com", false);
    let access = AccessRules {
        include: vec![rule(Selector::Authenticated, 0)],
        exclude: vec![rule(Selector::EmailDomain(texts(&["evil.test"])), 1)],
        ..AccessRules::default()
    };
    let engine = engine_of(&[ruled_app("crm", access, None)], &people);
    assert_eq!(short(&decide(&engine, &ask(who, Action::HttpGet, "crm"))), "DENY deny.default app/crm/exclude-1");
}

#[test]
fn requirements_bind_hand_written_permits_of_the_app_too() {
    let access = AccessRules {
        include: vec![rule(Selector::Group([GroupId::new("admins")].into()), 0)],
        require: vec![rule(Selector::Mfa { acr: None, max_age: None }, 1)],
        exclude: Vec::new(),
    };
    let apps = [ruled_app("crm", access, None)];
    let text = "@id(\"all\") permit (principal, action in Action::\"door\", resource in App::\"crm\");";
    let policies = CompiledPolicies::compile_for(&[source(text)], &apps).unwrap();
    let engine = Engine::new(Arc::new(policies), &apps, directory(), 1).unwrap();
    let mut request = ask(user(ALICE), Action::HttpGet, "crm");
    assert_eq!(short(&decide(&engine, &request)), "ALLOW allow t/all");
    request.facts.auth.mfa = false;
    let answer = decide(&engine, &request);
    assert_eq!(short(&answer), "STEP_UP step_up.mfa app/crm/require-1", "whoever can change it is asked to");
}

#[test]
fn a_route_narrows_and_never_widens() {
    let group = |name: &str| rule(Selector::Group([GroupId::new(name)].into()), 0);
    let access = AccessRules { include: vec![group("engineering")], ..AccessRules::default() };
    let on_route = AccessRules { include: vec![group("contractors")], ..AccessRules::default() };
    let engine = engine_of(&[ruled_app("crm", access, Some(on_route))], &directory());
    let get = |who, place: &str| short(&decide(&engine, &ask(user(who), Action::HttpGet, place)));
    assert_eq!(get(ALICE, "crm/plain"), "ALLOW allow app/crm/include-1");
    assert_eq!(get(ALICE, "crm/narrow"), "DENY deny.default app/crm/narrow/include");
    assert_eq!(get(BOB, "crm/narrow"), "DENY deny.default", "the route lets in nobody whom the app keeps out");
}

#[test]
fn whoever_is_not_signed_in_is_asked_to_sign_in_whatever_the_rules_forbid() {
    let access = AccessRules {
        include: vec![rule(Selector::Group([GroupId::new("staff")].into()), 0)],
        require: vec![rule(Selector::Mfa { acr: None, max_age: None }, 1), rule(Selector::DeviceManaged(true), 2)],
        exclude: vec![rule(Selector::EmailDomain(texts(&["evil.test"])), 3)],
    };
    let engine = engine_of(&[ruled_app("crm", access, None)], &directory());
    let answer = decide(&engine, &ask(Principal::Anonymous, Action::HttpGet, "crm"));
    assert_eq!(answer.reason, model::Reason::LoginRequired);
}

#[test]
fn rules_are_part_of_the_policy_hash_and_keep_their_lines() {
    let with = |group: &str| {
        let access = AccessRules {
            include: vec![rule(Selector::Group([GroupId::new(group)].into()), 2)],
            ..AccessRules::default()
        };
        CompiledPolicies::compile_for(&[], &[ruled_app("crm", access, None)]).unwrap()
    };
    let (staff, admins) = (with("staff"), with("admins"));
    assert_ne!(staff.policy_hash(), admins.policy_hash());
    let listed = staff.policies().into_iter().find(|policy| &*policy.id == "app/crm/include-1").unwrap();
    assert_eq!(listed.declared_at, "apps.yaml:12");
    assert_eq!(
        listed.cedar,
        "@id(\"include-1\") permit (principal in Group::\"staff\", action in Action::\"door\", resource in App::\"crm\");"
    );
}

#[test]
fn a_file_cannot_take_the_place_of_a_rule() {
    let access = AccessRules { include: vec![rule(Selector::Authenticated, 0)], ..AccessRules::default() };
    let apps = [ruled_app("crm", access, None)];
    let file = pdp_engine::PolicySource {
        file: "app/crm.cedar".into(),
        text: "@id(\"include-1\") permit (principal, action, resource);".into(),
    };
    let policies = CompiledPolicies::compile_for(&[file], &apps).unwrap().policies();
    let ids: Vec<&str> = policies.iter().map(|policy| &*policy.id).filter(|id| !id.starts_with("builtin/")).collect();
    assert_eq!(ids, ["app/crm/include-1", "crm/include-1"]);
}
