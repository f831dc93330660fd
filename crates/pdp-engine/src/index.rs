//! Which policies can apply to a question, found by scope: resource, then principal, then action (PO-29).
//!
//! Invariant: the candidates of a question are exactly the policies whose scope covers it; a full scan gives the same
//! verdict, the same determining policies and the same errors (property test in [`crate::engine`]).

use std::collections::HashMap;

use cedar_policy::pst::{
    ActionConstraint, EntityOrSlot, EntityType, EntityUID, PrincipalConstraint, ResourceConstraint, Template,
};
use model::{Action, ResourceRef};

use crate::entities::{Kind, Uid, resource_uids};
use crate::problem::nearest;
use crate::schema::{BuiltinSchema, bit};

/// The principal or resource part of a scope.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Part {
    Any,
    Eq(Uid),
    In(Uid),
    Is(Kind),
    IsIn(Kind, Uid),
}

impl Part {
    /// Whether an entity with these ancestors is covered.
    fn covers(&self, uid: &Uid, is_ancestor: impl Fn(&Uid) -> bool) -> bool {
        match self {
            Part::Any => true,
            Part::Eq(named) => named == uid,
            Part::In(named) => named == uid || is_ancestor(named),
            Part::Is(kind) => *kind == uid.kind,
            Part::IsIn(kind, named) => *kind == uid.kind && (named == uid || is_ancestor(named)),
        }
    }

    /// The entity it names, if any.
    pub(crate) fn named(&self) -> Option<&Uid> {
        match self {
            Part::Any | Part::Is(_) => None,
            Part::Eq(uid) | Part::In(uid) | Part::IsIn(_, uid) => Some(uid),
        }
    }

    fn key(&self) -> Key {
        match self {
            Part::Any => Key::Any,
            Part::Is(kind) => Key::Kind(*kind),
            Part::Eq(uid) | Part::In(uid) | Part::IsIn(_, uid) => Key::Entity(uid.clone()),
        }
    }
}

/// The scope of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PolicyScope {
    pub(crate) principal: Part,
    pub(crate) resource: Part,
    /// Bits of the actions covered.
    pub(crate) actions: u32,
}

/// Why a scope was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ScopeError {
    #[error("templates are not supported; write the principal or resource out instead of `?principal` or `?resource`")]
    Template,
    #[error("`{0}` is not an entity type; there are `App`, `Group`, `Route`, `User` and `Workload`")]
    UnknownKind(String),
}

impl ScopeError {
    /// The nearest valid word.
    pub(crate) fn nearest(&self) -> Option<String> {
        match self {
            ScopeError::Template => None,
            ScopeError::UnknownKind(name) => nearest(name, Kind::ALL.map(Kind::as_str)).map(str::to_owned),
        }
    }
}

impl PolicyScope {
    /// Reads the scope of a parsed policy.
    pub(crate) fn of(policy: &Template, schema: &BuiltinSchema) -> Result<Self, ScopeError> {
        let principal = match &policy.principal {
            PrincipalConstraint::Any => Part::Any,
            PrincipalConstraint::Eq(entity) => Part::Eq(uid(entity)?),
            PrincipalConstraint::In(entity) => Part::In(uid(entity)?),
            PrincipalConstraint::Is(kind) => Part::Is(self::kind(kind)?),
            PrincipalConstraint::IsIn(kind, entity) => Part::IsIn(self::kind(kind)?, uid(entity)?),
        };
        let resource = match &policy.resource {
            ResourceConstraint::Any => Part::Any,
            ResourceConstraint::Eq(entity) => Part::Eq(uid(entity)?),
            ResourceConstraint::In(entity) => Part::In(uid(entity)?),
            ResourceConstraint::Is(kind) => Part::Is(self::kind(kind)?),
            ResourceConstraint::IsIn(kind, entity) => Part::IsIn(self::kind(kind)?, uid(entity)?),
        };
        let actions = match &policy.action {
            ActionConstraint::Any => u32::MAX,
            ActionConstraint::Eq(action) => exactly(action),
            ActionConstraint::In(actions) => {
                actions.iter().fold(0, |mask, action| mask | schema.covers(action.eid.as_str()))
            }
        };
        Ok(Self { principal, resource, actions })
    }

    /// Whether the question is covered. `Group` is the only kind a person or workload is in, `App` the only one a
    /// route is in.
    pub(crate) fn covers(&self, question: &Question) -> bool {
        self.actions & bit(question.action) != 0
            && self.principal.covers(&question.principal, |uid| question.groups.contains(uid))
            && self.resource.covers(&question.resource, |uid| question.app.as_ref() == Some(uid))
    }
}

fn exactly(action: &EntityUID) -> u32 {
    action.eid.parse::<Action>().map_or(0, bit)
}

fn uid(entity: &EntityOrSlot) -> Result<Uid, ScopeError> {
    match entity {
        EntityOrSlot::Entity(uid) => Ok(Uid::new(kind(&uid.ty)?, uid.eid.as_str())),
        EntityOrSlot::Slot(_) => Err(ScopeError::Template),
    }
}

fn kind(entity_type: &EntityType) -> Result<Kind, ScopeError> {
    let name = entity_type.0.to_string();
    Kind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(ScopeError::UnknownKind(name))
}

/// A question as scopes see it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Question {
    pub(crate) principal: Uid,
    pub(crate) groups: Vec<Uid>,
    pub(crate) resource: Uid,
    pub(crate) app: Option<Uid>,
    pub(crate) action: Action,
}

impl Question {
    pub(crate) fn new(principal: Uid, groups: &[model::GroupId], resource: &ResourceRef, action: Action) -> Self {
        let (own, app) = resource_uids(resource);
        let groups = groups.iter().map(|group| Uid::new(Kind::Group, group.as_str())).collect();
        Self { principal, groups, resource: own, app, action }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    Any,
    Entity(Uid),
    Kind(Kind),
}

/// Positions of policies by the keys of their scopes.
#[derive(Default)]
pub(crate) struct Index {
    by_resource: HashMap<Key, HashMap<Key, Vec<usize>>>,
}

impl Index {
    /// Indexes scopes by their position.
    pub(crate) fn new<'a>(scopes: impl Iterator<Item = &'a PolicyScope>) -> Self {
        let mut index = Self::default();
        for (at, scope) in scopes.enumerate() {
            let by_principal = index.by_resource.entry(scope.resource.key()).or_default();
            by_principal.entry(scope.principal.key()).or_default().push(at);
        }
        index
    }

    /// Positions of the policies that can cover the question, ascending; the caller narrows them with
    /// [`PolicyScope::covers`].
    pub(crate) fn candidates(&self, question: &Question) -> Vec<usize> {
        let principals = keys(&question.principal, &question.groups);
        let mut found = Vec::new();
        for resource in keys(&question.resource, question.app.as_slice()) {
            let Some(by_principal) = self.by_resource.get(&resource) else { continue };
            for principal in &principals {
                found.extend(by_principal.get(principal).into_iter().flatten().copied());
            }
        }
        found.sort_unstable();
        found
    }
}

/// Itself, its ancestors, its kind, any.
fn keys(uid: &Uid, ancestors: &[Uid]) -> Vec<Key> {
    let mut keys = vec![Key::Any, Key::Kind(uid.kind), Key::Entity(uid.clone())];
    keys.extend(ancestors.iter().cloned().map(Key::Entity));
    keys
}
