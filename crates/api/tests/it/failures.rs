//! What must hold when a caller hangs up, a store fails or the log is full in the middle of an operation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use model::record::RecordType;
use model::seams::{Cause, ControlError, Revocation, Scope};
use model::session::StepUp;
use model::{BoxFuture, ReservedService, Session, SessionControl, SessionId, TokenHash, UserId, UserState};
use serde_json::{Value, json};
use testkit::FakeSessionControl;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::world::{ALICE, AUTH, CAROL, World, local_request};

/// A control of sessions whose ends wait until the test lets them go.
struct Held {
    inner: Arc<FakeSessionControl>,
    entered: Semaphore,
    may_go: Semaphore,
}

impl SessionControl for Held {
    fn open(&self, session: Session) -> BoxFuture<'_, Result<(), ControlError>> {
        self.inner.open(session)
    }

    fn bind_host(&self, session: SessionId, host: String, token: TokenHash) -> BoxFuture<'_, Result<(), ControlError>> {
        self.inner.bind_host(session, host, token)
    }

    fn step_up(
        &self,
        session: SessionId,
        step_up: StepUp,
        proof: Option<model::session::Proof>,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        self.inner.step_up(session, step_up, proof)
    }

    fn end(&self, session: SessionId, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        self.inner.end(session, cause)
    }

    fn end_all(&self, user: UserId, epoch: u64, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        Box::pin(async move {
            self.entered.add_permits(1);
            self.may_go.acquire().await.unwrap().forget();
            self.inner.end_all(user, epoch, cause).await
        })
    }

    fn reevaluate(&self, scope: Scope, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        self.inner.reevaluate(scope, cause)
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        self.inner.sessions()
    }
}

async fn held() -> (World, Arc<Held>) {
    let mut held = None;
    let world = World::with(|inner| {
        let made = Arc::new(Held { inner, entered: Semaphore::new(0), may_go: Semaphore::new(0) });
        held = Some(Arc::clone(&made));
        made
    })
    .await;
    (world, held.unwrap())
}

/// Waits for the condition, at most five seconds.
async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap();
}

#[tokio::test]
async fn hanging_up_on_the_local_socket_does_not_keep_a_change_out_of_the_record() {
    let (world, held) = held().await;
    let request = local_request("POST", "/api/v1/users/alice@corp.test/disable", &Value::Null);
    let call = world.local.clone().oneshot(request);
    tokio::select! {
        _ = call => panic!("it must wait for the sessions to end"),
        entered = held.entered.acquire() => entered.unwrap().forget(),
    }
    // The caller is gone; what began goes on.
    held.may_go.add_permits(1);
    until(|| world.recorder.of_type(RecordType::IdentityUserDisabled).len() == 1).await;
    assert!(held.inner.calls().iter().any(|call| matches!(call, testkit::ControlCall::EndAll(ALICE, ..))));
}

#[tokio::test]
async fn hanging_up_at_the_door_does_not_keep_a_change_out_of_the_record() {
    let (world, held) = held().await;
    let session = world.session(CAROL, 1);
    let mut request = Request::post("/api/v1/users/alice@corp.test/disable")
        .header("origin", "https://auth.test")
        .body(Bytes::new())
        .unwrap();
    request.extensions_mut().insert(world.context(AUTH, Some(&session), None));
    tokio::select! {
        _ = world.endpoints.call(request) => panic!("it must wait for the sessions to end"),
        entered = held.entered.acquire() => entered.unwrap().forget(),
    }
    held.may_go.add_permits(1);
    until(|| world.recorder.of_type(RecordType::IdentityUserDisabled).len() == 1).await;
}

#[tokio::test]
async fn a_store_that_fails_half_way_hides_neither_the_change_from_doors_nor_from_the_record() {
    let world = World::new().await;
    world.session(ALICE, 1);
    let published = world.doors.published().len();
    world.session_control.fail(Some(ControlError::Store("disk I/O error".to_owned())));
    let answer = world.local("POST", "/api/v1/users/alice@corp.test/disable", &Value::Null).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert_eq!(world.user_state(ALICE), UserState::Disabled);
    assert_eq!(world.doors.published().len(), published + 1, "doors refuse the person from now on");
    assert_eq!(world.recorder.of_type(RecordType::IdentityUserDisabled).len(), 1);
}

#[tokio::test]
async fn of_several_people_who_lose_access_one_failure_spares_nobody() {
    let world = World::new().await;
    world.session_control.fail(Some(ControlError::Stopping));
    let answer = world.local("DELETE", "/api/v1/groups/staff", &Value::Null).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    let kinds = world.kinds_since(0);
    for kind in ["identity.group_changed", "identity.membership_changed"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}

#[tokio::test]
async fn a_session_that_ends_while_the_store_fails_is_recorded() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.session_control.fail(Some(ControlError::Store("disk I/O error".to_owned())));
    let answer = world.local("POST", "/api/v1/sessions/revoke", &json!({ "session": session.id.to_string() })).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert_eq!(world.recorder.of_type(RecordType::SessionRevoked).len(), 1);
}

#[tokio::test]
async fn a_session_that_does_not_exist_leaves_no_record_of_an_end() {
    let world = World::new().await;
    let unknown = SessionId(uuid::Uuid::from_u128(99)).to_string();
    let answer = world.local("POST", "/api/v1/sessions/revoke", &json!({ "session": unknown })).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
    assert!(world.recorder.of_type(RecordType::SessionRevoked).is_empty());
}

#[tokio::test]
async fn a_change_whose_record_fails_says_so_and_is_published() {
    let world = World::new().await;
    let actor = api::Actor::local_operator(model::AccessId(uuid::Uuid::from_u128(1)));
    world.recorder.fail(true);
    let failure = world.control.create_group(&actor, "ops", "Ops").await.unwrap_err();
    assert!(matches!(failure, api::Failure::DoneUnrecorded(_)), "{failure:?}");
    assert!(world.control.published().directory.groups.contains_key(&model::GroupId::new("ops")));
}

#[tokio::test]
async fn a_stranger_does_not_read_what_is_wrong_with_our_disk() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let ticket = world.ticket("wiki.test", 1, "/");
    let sent = world.get(world.context(AUTH, Some(&session), Some(9)), &format!("/login?rt={ticket}")).await;
    let path = sent.location.strip_prefix("https://wiki.test").unwrap().to_owned();
    world.session_control.fail(Some(ControlError::Store("the store `/var/lib/x` is damaged".to_owned())));
    let answer = world.get(world.context("wiki.test", None, Some(1)), &path).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.sets_session && !answer.body.contains("/var/lib"), "{}", answer.body);
}
