//! A withdrawal that falls between the question and the commit: whatever a sign-in asked for before it was withdrawn, and
//! whatever it has already proven, nothing of it is kept afterwards (ID-7).

use model::{Session, UserId, UserState};
use pip_identity::passkeys::PasskeyRefusal;
use pip_identity::passwords::{PairRefusal, Setter};
use pip_identity::people::LastAdmin;
use pip_identity::recovery_codes::CodeRefusal;
use pip_identity::sensitive::SensitiveRefusal;
use pip_identity::store::{DirectoryChange, DirectoryStore, Factors, NoticeRow, PasskeyRow};

use crate::device::Device;
use crate::passwords::App;
use crate::world::World;

const GOOD: &str = "ferry lantern quartz mild";
const OTHER: &str = "anvil marble tundra seven";

/// Everything of bob's that a withdrawn sign-in might have changed.
type Held = (Vec<PasskeyRow>, Factors, Vec<model::TokenHash>, Vec<NoticeRow>);

struct Bob {
    world: World,
    id: UserId,
    /// As the request holds it that was judged before the withdrawal.
    session: Session,
}

impl Bob {
    async fn new() -> Self {
        let (world, _, _) = World::with_admin().await;
        let (id, _) = world.add_enrolled("bob@corp.example").await;
        Self { session: world.session(id), world, id }
    }

    async fn with_pair() -> Self {
        let bob = Self::new().await;
        let code = bob.offered().await;
        bob.world.accounts.passwords.finish(&bob.session, GOOD, &code).await.unwrap();
        bob
    }

    /// Begins a pair; the code that would finish it.
    async fn offered(&self) -> String {
        let offer = self.world.accounts.passwords.start(Setter::Session(&self.session)).await.unwrap();
        App::scan(&offer.base32).code(&self.world)
    }

    async fn held(&self) -> Held {
        let store = &self.world.store;
        (
            store.passkeys_of(self.id).await.unwrap(),
            store.factors_of(self.id).await.unwrap(),
            store.recovery_codes_of(self.id).await.unwrap(),
            store.notices_of(self.id).await.unwrap(),
        )
    }

    /// Changes bob's row in the database and leaves this process's view of him as it was: the withdrawal is committed
    /// after the request looked, and before it commits.
    async fn meanwhile(&self, state: UserState, epoch: u64) {
        let rows = self.world.store.load().await.unwrap();
        let mut row = rows.users.into_iter().find(|row| row.id == self.id).unwrap();
        row.state = state;
        row.epoch = epoch;
        self.world.store.apply(Some(rows.version), vec![DirectoryChange::PutUser(row)]).await.unwrap();
    }
}

async fn passkey_added(bob: &Bob, withdraw: impl AsyncFnOnce(&Bob)) -> Option<PasskeyRefusal> {
    let options = bob.world.passkeys.start_registration(&bob.session).await.unwrap();
    let answer = Device::default().create(&options).await;
    withdraw(bob).await;
    let before = bob.held().await;
    let refused = bob.world.passkeys.finish_registration(&bob.session, &answer.json(), "Thief's").await.err();
    assert_eq!(bob.held().await, before);
    refused.map(|refusal| refusal.why)
}

#[tokio::test]
async fn a_passkey_of_a_sign_in_that_is_revoked_between_begin_and_finish_is_not_kept() {
    let revoke = async |bob: &Bob| drop(bob.world.people.end_sessions(bob.id).await.unwrap());
    assert_eq!(passkey_added(&Bob::new().await, revoke).await, Some(PasskeyRefusal::SignInEnded));
}

#[tokio::test]
async fn a_passkey_of_somebody_disabled_between_begin_and_commit_is_not_kept() {
    let disable = async |bob: &Bob| drop(bob.world.people.disable_user(bob.id, LastAdmin::Keep).await.unwrap());
    assert_eq!(passkey_added(&Bob::new().await, disable).await, Some(PasskeyRefusal::AccountDisabled));
    let late = async |bob: &Bob| bob.meanwhile(UserState::Disabled, 0).await;
    assert_eq!(passkey_added(&Bob::new().await, late).await, Some(PasskeyRefusal::SignInEnded));
}

#[tokio::test]
async fn a_passkey_of_a_thief_does_not_survive_the_recovery_that_falls_into_its_ceremony() {
    // What a recovery leaves behind: active, in a higher epoch.
    let recovered = async |bob: &Bob| bob.meanwhile(UserState::Active, 1).await;
    assert_eq!(passkey_added(&Bob::new().await, recovered).await, Some(PasskeyRefusal::SignInEnded));
}

#[tokio::test]
async fn disabled_and_enabled_again_between_begin_and_commit_is_withdrawn_all_the_same() {
    let both = async |bob: &Bob| {
        bob.world.people.disable_user(bob.id, LastAdmin::Keep).await.unwrap();
        bob.world.people.enable_user(bob.id).await.unwrap();
    };
    assert_eq!(passkey_added(&Bob::new().await, both).await, Some(PasskeyRefusal::SignInEnded));
}

#[tokio::test]
async fn a_passkey_is_neither_renamed_nor_removed_by_a_withdrawn_sign_in() {
    let bob = Bob::with_pair().await;
    bob.meanwhile(UserState::Active, 1).await;
    let before = bob.held().await;
    let handle = bob.world.passkeys.list(bob.id).await.unwrap()[0].handle.clone();
    let renamed = bob.world.passkeys.rename(&bob.session, &handle, "Mine").await.unwrap_err();
    let removed = bob.world.passkeys.remove(&bob.session, &handle).await.unwrap_err();
    assert_eq!([renamed.why, removed.why], [PasskeyRefusal::SignInEnded, PasskeyRefusal::SignInEnded]);
    assert_eq!(bob.held().await, before);
}

#[tokio::test]
async fn password_and_codes_are_neither_set_changed_nor_removed_by_a_withdrawn_sign_in() {
    let ended = Err(PairRefusal::Sensitive(SensitiveRefusal::Ended));
    for state in [UserState::Active, UserState::Disabled] {
        let bob = Bob::new().await;
        let code = bob.offered().await;
        bob.meanwhile(state, 1).await;
        let before = bob.held().await;
        assert_eq!(bob.world.accounts.passwords.finish(&bob.session, GOOD, &code).await, ended);
        assert_eq!(bob.held().await, before, "set, {state:?}");

        let bob = Bob::with_pair().await;
        bob.meanwhile(state, 1).await;
        let before = bob.held().await;
        assert_eq!(bob.world.accounts.passwords.change_password(&bob.session, OTHER).await, ended);
        assert_eq!(bob.world.accounts.passwords.remove(&bob.session).await, ended);
        assert_eq!(bob.held().await, before, "changed or removed, {state:?}");
    }
}

#[tokio::test]
async fn recovery_codes_are_not_renewed_by_a_withdrawn_sign_in() {
    let bob = Bob::new().await;
    bob.meanwhile(UserState::Active, 1).await;
    let before = bob.held().await;
    let refused = bob.world.accounts.codes.regenerate(&bob.session).await.err();
    assert_eq!(refused, Some(CodeRefusal::Sensitive(SensitiveRefusal::Ended)));
    assert_eq!(bob.held().await, before);
}

#[tokio::test]
async fn a_sign_in_after_the_withdrawal_changes_what_it_likes() {
    let bob = Bob::new().await;
    bob.world.people.end_sessions(bob.id).await.unwrap();
    let session = bob.world.session(bob.id);
    bob.world.accounts.codes.regenerate(&session).await.unwrap();
    let options = bob.world.passkeys.start_registration(&session).await.unwrap();
    let answer = Device::default().create(&options).await;
    bob.world.passkeys.finish_registration(&session, &answer.json(), "Phone").await.unwrap();
}
