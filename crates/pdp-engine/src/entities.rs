//! The entities of one (principal, resource), small and immutable (PO-27).
//!
//! Invariants: stores are built with the schema, so action groups are always in them (T-2); groups are already closed;
//! facts that move (session, posture, risk, time) are never here, except `age_days`, which limits the store's life.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema};
use model::app::CONTROL_APP;
use model::decision::EntitySlice;
use model::ids::Digest32;
use model::{
    App, AppName, Directory, GroupId, Principal, ResourceRef, Sensitivity, ServiceEntry, Timestamp, UserEntry,
};

use crate::canonical::{CanonicalEntity, CanonicalValue, entity_bytes};
use crate::kernel::Name;

/// The tags of a person that hold their verified address and its domain.
/// What service accounts carry and no other workload.
const SERVICE_TAG: &str = "service_token";
pub(crate) const EMAIL_TAG: &str = "email";
pub(crate) const EMAIL_DOMAIN_TAG: &str = "email_domain";

const DAY: Duration = Duration::from_secs(86_400);

/// The kinds of entities scopes can name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Kind {
    App,
    Group,
    Route,
    User,
    Workload,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::App, Kind::Group, Kind::Route, Kind::User, Kind::Workload];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::App => "App",
            Kind::Group => "Group",
            Kind::Route => "Route",
            Kind::User => "User",
            Kind::Workload => "Workload",
        }
    }
}

/// An entity as scopes name it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Uid {
    pub(crate) kind: Kind,
    pub(crate) id: String,
}

impl Uid {
    pub(crate) fn new(kind: Kind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }

    fn cedar(&self) -> Option<EntityUid> {
        let name = EntityTypeName::from_str(self.kind.as_str()).ok()?;
        Some(EntityUid::from_type_name_and_id(name, EntityId::new(&self.id)))
    }

    fn text(&self) -> String {
        format!("{}::{:?}", self.kind.as_str(), self.id)
    }
}

/// The principal's entity.
pub(crate) fn principal_uid(principal: &Principal) -> Uid {
    match principal {
        Principal::Anonymous => Uid::new(Kind::User, "anonymous"),
        Principal::User(id) => Uid::new(Kind::User, id.to_string()),
        Principal::Workload(name) => Uid::new(Kind::Workload, &**name),
    }
}

/// The resource's own entity and, for a route, its app.
pub(crate) fn resource_uids(resource: &ResourceRef) -> (Uid, Option<Uid>) {
    let app = Uid::new(Kind::App, resource.app.as_str());
    match resource.route {
        Some(_) => (Uid::new(Kind::Route, resource.to_string()), Some(app)),
        None => (app, None),
    }
}

/// The apps of one version, by name. The built-in app is always among them.
pub(crate) struct Apps {
    by_name: HashMap<AppName, Arc<App>>,
}

impl Apps {
    /// Indexes `apps`; gives the name that occurs twice.
    pub(crate) fn new(apps: &[Arc<App>]) -> Result<Self, AppName> {
        let mut by_name = HashMap::with_capacity(apps.len());
        for app in apps {
            if by_name.insert(app.name.clone(), app.clone()).is_some() {
                return Err(app.name.clone());
            }
        }
        Ok(Self { by_name })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.by_name.values()
    }

    pub(crate) fn find(&self, name: &AppName) -> Option<&Arc<App>> {
        self.by_name.get(name)
    }

    /// Whether the resource exists.
    pub(crate) fn knows(&self, resource: &ResourceRef) -> bool {
        match (self.by_name.get(&resource.app), &resource.route) {
            (Some(_), None) => true,
            (Some(app), Some(name)) => app.routes.iter().any(|route| route.name == *name),
            (None, route) => resource.app.as_str() == CONTROL_APP && route.is_none(),
        }
    }
}

/// The entities of one (principal, resource).
pub(crate) struct EntityStore {
    pub(crate) entities: Entities,
    pub(crate) principal: EntityUid,
    pub(crate) resource: EntityUid,
    /// The same two, as questions take them.
    pub(crate) names: (Name, Name),
    pub(crate) pinned: Arc<EntitySlice>,
    /// While `age_days` is what it says.
    valid: Range<Timestamp>,
}

impl EntityStore {
    /// Whether the store still says the truth.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.valid.contains(&now)
    }

    /// From when on it does not.
    pub(crate) fn valid_until(&self) -> Timestamp {
        self.valid.end
    }
}

/// The groups of a person or service account, closed; empty for everyone else.
pub(crate) fn groups_of(principal: &Principal, directory: &Directory) -> Arc<[GroupId]> {
    match principal {
        Principal::User(id) => directory.users.get(id).map_or_else(|| Arc::from([]), |user| user.groups.clone()),
        Principal::Workload(name) => directory.service_of(name).map_or_else(|| Arc::from([]), |it| it.groups.clone()),
        Principal::Anonymous => Arc::from([]),
    }
}

/// Builds the store; `None` if Cedar refuses an entity, which the caller answers with DENY.
pub(crate) fn build(
    principal: &Principal,
    resource: &ResourceRef,
    apps: &Apps,
    directory: &Directory,
    schema: &Schema,
    now: Timestamp,
) -> Option<EntityStore> {
    let (resource_uid, _) = resource_uids(resource);
    let mut canonical = vec![principal_entity(principal, directory, now)];
    canonical.extend(group_entities(&groups_of(principal, directory), directory));
    canonical.extend(resource_entities(resource, apps));
    let entities: Option<Vec<Entity>> = canonical.iter().map(cedar_entity).collect();
    let entities = Entities::from_entities(entities?, Some(schema)).ok()?;
    let bytes = entity_bytes(&canonical);
    let (principal_uid, resource_uid) = (principal_uid(principal).cedar()?, resource_uid.cedar()?);
    Some(EntityStore {
        entities,
        names: (Name::new(&principal_uid), Name::new(&resource_uid)),
        principal: principal_uid,
        resource: resource_uid,
        pinned: Arc::new(EntitySlice { hash: Digest32::of(&bytes), bytes }),
        valid: day_of_life(principal, directory, now),
    })
}

fn principal_entity(principal: &Principal, directory: &Directory, now: Timestamp) -> CanonicalEntity {
    let uid = principal_uid(principal).text();
    let user = match principal {
        Principal::User(id) => directory.users.get(id),
        Principal::Anonymous | Principal::Workload(_) => None,
    };
    let groups = groups_of(principal, directory);
    let parents = groups.iter().map(|group| Uid::new(Kind::Group, group.as_str()).text()).collect();
    let attributes = match principal {
        Principal::Workload(name) => BTreeMap::from([
            ("selectors", CanonicalValue::Texts(BTreeSet::new())),
            ("trust_domain", CanonicalValue::Text(trust_domain(name).to_owned())),
        ]),
        // Whoever is not known counts as external and new.
        Principal::Anonymous | Principal::User(_) => BTreeMap::from([
            ("age_days", CanonicalValue::Long(user.map_or(0, |user| now.age_secs(user.created_at) / 86_400))),
            ("external", CanonicalValue::Bool(user.is_none_or(|user| user.is_external))),
        ]),
    };
    let tags = match (principal, user) {
        (Principal::Workload(name), _) => directory.service_of(name).map(|it| service_tags(it)).unwrap_or_default(),
        (_, user) => user.map(|user| tags_of(user)).unwrap_or_default(),
    };
    CanonicalEntity { uid, parents, attributes, tags }
}

/// What tells a service account from every other workload: only its token makes one of it.
fn service_tags(service: &ServiceEntry) -> BTreeMap<String, BTreeSet<String>> {
    BTreeMap::from([(SERVICE_TAG.to_owned(), BTreeSet::from([service.name.to_string()]))])
}

/// The directory's attributes, and the address as `email` and `email_domain` if it is verified (GW-23). The two names are
/// ours: an attribute of the same name is left out, so that nobody gets an address by having one written beside it.
fn tags_of(user: &UserEntry) -> BTreeMap<String, BTreeSet<String>> {
    let mut tags = user.tags.clone();
    tags.remove(EMAIL_TAG);
    tags.remove(EMAIL_DOMAIN_TAG);
    let address = user.email.to_ascii_lowercase();
    if let Some(domain) = Some(&address).filter(|_| user.is_email_verified).and_then(|address| domain_of(address)) {
        tags.insert(EMAIL_DOMAIN_TAG.to_owned(), BTreeSet::from([domain.to_owned()]));
        tags.insert(EMAIL_TAG.to_owned(), BTreeSet::from([address]));
    }
    tags
}

/// The domain of an address in its one form: exactly one `@`, ASCII, no dot at either end.
fn domain_of(address: &str) -> Option<&str> {
    let (local, domain) = address.split_once('@')?;
    let is_plain = domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    let is_one = !local.is_empty() && !domain.is_empty() && is_plain && local.is_ascii();
    (is_one && !domain.starts_with('.') && !domain.ends_with('.')).then_some(domain)
}

fn trust_domain(name: &str) -> &str {
    name.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

fn group_entities(groups: &[GroupId], directory: &Directory) -> Vec<CanonicalEntity> {
    let entity = |group: &GroupId| CanonicalEntity {
        uid: Uid::new(Kind::Group, group.as_str()).text(),
        parents: directory
            .groups
            .get(group)
            .map(|entry| entry.parents.iter().map(|parent| Uid::new(Kind::Group, parent.as_str()).text()).collect())
            .unwrap_or_default(),
        attributes: BTreeMap::new(),
        tags: BTreeMap::new(),
    };
    groups.iter().map(entity).collect()
}

fn resource_entities(resource: &ResourceRef, apps: &Apps) -> Vec<CanonicalEntity> {
    let app = apps.find(&resource.app);
    let attributes = BTreeMap::from([
        ("label", CanonicalValue::Text(app.map_or("internal", |app| &app.label).to_owned())),
        ("requestable", CanonicalValue::Bool(app.is_some_and(|app| app.is_requestable))),
        (
            "sensitivity",
            CanonicalValue::Text(
                app.map_or(Sensitivity::Critical, |app| app.effective_sensitivity()).as_str().to_owned(),
            ),
        ),
    ]);
    let tags: BTreeMap<String, BTreeSet<String>> = app
        .map(|app| app.labels.iter().map(|(key, value)| (key.clone(), BTreeSet::from([value.clone()]))).collect())
        .unwrap_or_default();
    let (own, parent) = resource_uids(resource);
    let entity = |uid: &Uid, parents: BTreeSet<String>| CanonicalEntity {
        uid: uid.text(),
        parents,
        attributes: attributes.clone(),
        tags: tags.clone(),
    };
    let mut entities = vec![entity(&own, parent.iter().map(Uid::text).collect())];
    entities.extend(parent.iter().map(|parent| entity(parent, BTreeSet::new())));
    entities
}

fn cedar_entity(entity: &CanonicalEntity) -> Option<Entity> {
    let uid = EntityUid::from_str(&entity.uid).ok()?;
    let parents: Option<HashSet<EntityUid>> =
        entity.parents.iter().map(|parent| EntityUid::from_str(parent).ok()).collect();
    let attributes: HashMap<String, RestrictedExpression> =
        entity.attributes.iter().map(|(name, value)| ((*name).to_owned(), expression(value))).collect();
    let tags: Vec<_> = entity.tags.iter().map(|(name, values)| (name.clone(), texts(values))).collect();
    Entity::new_with_tags(uid, attributes, parents?, tags).ok()
}

fn expression(value: &CanonicalValue) -> RestrictedExpression {
    match value {
        CanonicalValue::Bool(value) => RestrictedExpression::new_bool(*value),
        CanonicalValue::Long(value) => RestrictedExpression::new_long(*value),
        CanonicalValue::Text(text) => RestrictedExpression::new_string(text.clone()),
        CanonicalValue::Texts(values) => texts(values),
    }
}

fn texts(values: &BTreeSet<String>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.iter().map(|value| RestrictedExpression::new_string(value.clone())))
}

/// The stretch of time around `now` in which `age_days` of the principal stays the same.
fn day_of_life(principal: &Principal, directory: &Directory, now: Timestamp) -> Range<Timestamp> {
    let user = match principal {
        Principal::User(id) => directory.users.get(id),
        Principal::Anonymous | Principal::Workload(_) => None,
    };
    let Some(user) = user else { return Timestamp(i64::MIN)..Timestamp(i64::MAX) };
    let days = u32::try_from(now.since(user.created_at).as_secs() / DAY.as_secs()).unwrap_or(u32::MAX);
    let start = if days == 0 { Timestamp(i64::MIN) } else { user.created_at + DAY.saturating_mul(days) };
    start..user.created_at + DAY.saturating_mul(days.saturating_add(1))
}
