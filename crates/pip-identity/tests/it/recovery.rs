//! Getting back in (ID-5, ID-6): with two proofs, and in no other way.

use model::{GroupId, TokenHash, UserId};
use pip_identity::Accounts;
use pip_identity::links::LinkRefusal;
use pip_identity::passkeys::{Enrolled, Keep, PasskeyRefusal, Refusal};
use pip_identity::people::LastAdmin;
use pip_identity::recovery::{Approver, CASE_LIFETIME, COOL_DOWN, CaseRefusal, Opened, RecoveryRefusal, Running};
use pip_identity::recovery_codes::CodeRefusal;
use pip_identity::store::{DirectoryChange, DirectoryStore, NoticeKind, RecoveryRow, RecoveryState};

use crate::device::Device;
use crate::world::{HOME, World, rules, sealer};

const BOB: &str = "bob@corp.example";

struct Lost {
    world: World,
    bob: UserId,
    carol: UserId,
    codes: Vec<String>,
    old: Device,
}

/// bob, who has ten codes and has lost his device.
async fn lost() -> Lost {
    let (world, _, carol) = World::with_admin().await;
    let (bob, old) = world.add_enrolled(BOB).await;
    let codes =
        world.accounts.codes.regenerate(&world.session(bob)).await.unwrap().iter().map(|code| code.expose()).collect();
    Lost { world, bob, carol: carol.signed_in.user, codes, old }
}

impl Lost {
    async fn open(&self, code: usize) -> Opened {
        self.world.accounts.recovery.open(BOB, &self.codes[code], HOME, None).await.unwrap()
    }

    fn carol(&self) -> Approver {
        Approver { name: "carol@corp.example".into(), user: Some(self.carol) }
    }

    async fn enrol(&self, secret: &str, keep: &Keep) -> Result<(Enrolled, Device), Refusal> {
        let mut device = Device::default();
        let options = self.world.passkeys.start_enrolment(secret, None).await?;
        let answer = device.create(&options).await;
        let enrolled = self.world.passkeys.finish_recovery(secret, &answer.json(), "New", keep).await?;
        Ok((enrolled, device))
    }
}

fn operator() -> Approver {
    Approver { name: "local-operator".into(), user: None }
}

#[tokio::test]
async fn a_code_and_an_administrator_who_vouches_open_the_account_and_end_what_was_before() {
    let mut lost = lost().await;
    let opened = lost.open(0).await;
    let recovery = &lost.world.accounts.recovery;
    assert!(!opened.view.is_proven);
    let view = recovery.approve(opened.view.row.id, &lost.carol()).await.unwrap();
    assert!(view.is_proven);
    let link = recovery.claim(opened.ticket.expose()).await.unwrap();
    let old = lost.world.passkeys.to_be_kept(link.secret.expose()).await.unwrap();
    assert_eq!((old.passkeys.len(), old.has_pair), (1, false));
    let (enrolled, mut device) = lost.enrol(link.secret.expose(), &Keep::default()).await.unwrap();
    assert_eq!(enrolled.removed, [old.passkeys[0].handle.clone()]);
    assert_eq!(enrolled.change.ended.keys().collect::<Vec<_>>(), [&lost.bob], "every session ends");
    assert_eq!(enrolled.recovery_codes.len(), 1, "the code that was used is replaced");
    assert_eq!(lost.world.accounts.codes.left(lost.bob).await.unwrap(), 10);
    lost.world.sign_in(&mut device).await.unwrap();
    assert_eq!(lost.world.sign_in(&mut lost.old).await, Err(PasskeyRefusal::UnknownPasskey));
    let kinds: Vec<NoticeKind> =
        lost.world.accounts.notices.list(lost.bob).await.unwrap().iter().map(|row| row.kind).collect();
    assert!(kinds.contains(&NoticeKind::RecoveryBegun) && kinds.contains(&NoticeKind::RecoveryDone));
    let done = lost.world.accounts.recovery.status(opened.ticket.expose()).await.unwrap();
    assert_eq!(done.row.state, RecoveryState::Done);
}

#[tokio::test]
async fn a_recovery_that_is_abandoned_tells_the_person_how_many_codes_are_left() {
    let lost = lost().await;
    for code in 0..10 {
        lost.open(code).await;
    }
    let told = lost.world.accounts.notices.list(lost.bob).await.unwrap();
    let has = |text: &str| told.iter().filter(|row| row.detail.contains(text)).count();
    assert_eq!((has("9 left"), has("1 left"), has("your last recovery code")), (1, 1, 1), "{told:?}");
}

#[tokio::test]
async fn an_old_passkey_stays_only_where_the_person_says_so() {
    let mut lost = lost().await;
    let opened = lost.open(0).await;
    lost.world.accounts.recovery.approve(opened.view.row.id, &operator()).await.unwrap();
    let link = lost.world.accounts.recovery.claim(opened.ticket.expose()).await.unwrap();
    let old = lost.world.passkeys.to_be_kept(link.secret.expose()).await.unwrap();
    let keep = Keep { passkeys: [old.passkeys[0].handle.clone()].into(), pair: false };
    lost.enrol(link.secret.expose(), &keep).await.unwrap();
    lost.world.sign_in(&mut lost.old).await.unwrap();
}

#[tokio::test]
async fn a_recovery_code_alone_opens_nothing() {
    let lost = lost().await;
    let opened = lost.open(0).await;
    let refusal = lost.world.accounts.recovery.claim(opened.ticket.expose()).await.err();
    assert_eq!(refusal, Some(RecoveryRefusal::Case(CaseRefusal::NotProven)));
    // Nor do two codes.
    let second = lost.open(1).await;
    let refusal = lost.world.accounts.recovery.claim(second.ticket.expose()).await.err();
    assert_eq!(refusal, Some(RecoveryRefusal::Case(CaseRefusal::NotProven)));
    let refusal = lost.world.accounts.recovery.claim(opened.ticket.expose()).await.err();
    assert_eq!(refusal, Some(RecoveryRefusal::Case(CaseRefusal::Over)), "the newer took its place");
}

#[tokio::test]
async fn the_approval_of_one_administrator_alone_opens_nothing() {
    let lost = lost().await;
    let recovery = &lost.world.accounts.recovery;
    let view = recovery.open_for(lost.bob, &lost.carol(), Running::Keep).await.unwrap();
    let id = view.row.id;
    let refusal = recovery.claim_for(id, &lost.carol()).await.err();
    assert_eq!(refusal, Some(RecoveryRefusal::Case(CaseRefusal::NotProven)));
    let again = recovery.approve(id, &lost.carol()).await.err();
    assert_eq!(again, Some(RecoveryRefusal::Case(CaseRefusal::AlreadyApproved)));
    assert!(recovery.approve(id, &operator()).await.unwrap().is_proven);
    assert_eq!(recovery.claim_for(id, &lost.carol()).await.err(), Some(RecoveryRefusal::Unknown));
    let link = recovery.claim_for(id, &operator()).await.unwrap();
    let (enrolled, _) = lost.enrol(link.secret.expose(), &Keep::default()).await.unwrap();
    assert_eq!(enrolled.recovery_codes.len(), 10, "somebody without a code gets ten");
}

#[tokio::test]
async fn a_second_beginning_ends_a_running_recovery_only_when_told_to() {
    let lost = lost().await;
    let recovery = &lost.world.accounts.recovery;
    let opened = lost.open(0).await;
    let running = |case: &RecoveryRow| RecoveryRefusal::Running { id: case.id, since: case.opened_at };
    let refused = recovery.open_for(lost.bob, &lost.carol(), Running::Keep).await.err();
    assert_eq!(refused, Some(running(&opened.view.row)));
    recovery.approve(opened.view.row.id, &lost.carol()).await.unwrap();
    let link = recovery.claim(opened.ticket.expose()).await.unwrap();
    let refused = recovery.open_for(lost.bob, &operator(), Running::Keep).await.err();
    assert_eq!(refused, Some(running(&opened.view.row)), "a link that is out is not voided unasked");
    let anew = recovery.open_for(lost.bob, &operator(), Running::End).await.unwrap();
    assert!(lost.enrol(link.secret.expose(), &Keep::default()).await.is_err(), "the old link is void");
    lost.world.clock.advance(CASE_LIFETIME);
    assert_ne!(recovery.open_for(lost.bob, &lost.carol(), Running::Keep).await.unwrap().row.id, anew.row.id);
}

#[tokio::test]
async fn an_administrator_whose_address_changed_does_not_vouch_twice() {
    let lost = lost().await;
    let recovery = &lost.world.accounts.recovery;
    let id = recovery.open_for(lost.bob, &lost.carol(), Running::Keep).await.unwrap().row.id;
    let married = Approver { name: "carol.new@corp.example".into(), ..lost.carol() };
    let again = recovery.approve(id, &married).await.err();
    assert_eq!(again, Some(RecoveryRefusal::Case(CaseRefusal::AlreadyApproved)));
}

#[tokio::test]
async fn a_link_is_not_for_whoever_got_the_address_of_the_one_who_vouched() {
    let lost = lost().await;
    let recovery = &lost.world.accounts.recovery;
    let id = recovery.open_for(lost.bob, &operator(), Running::Keep).await.unwrap().row.id;
    recovery.approve(id, &lost.carol()).await.unwrap();
    let heir = Approver { user: Some(UserId(uuid::Uuid::from_u128(99))), ..lost.carol() };
    assert_eq!(recovery.claim_for(id, &heir).await.err(), Some(RecoveryRefusal::Unknown));
    recovery.claim_for(id, &lost.carol()).await.unwrap();
}

/// bob administers, where the recovery of administrators waits.
async fn lost_administrator() -> Lost {
    let mut lost = lost().await;
    lost.world.people.add_member(&GroupId::new("admins"), lost.bob).await.unwrap();
    lost.wait(true);
    lost
}

impl Lost {
    /// As a restart with another setting.
    fn wait(&mut self, admins_wait: bool) {
        let throttle = std::sync::Arc::new(pip_identity::Throttle::new());
        let accounts = Accounts::new(&self.world.people, &throttle, sealer(), rules()).unwrap();
        self.world.accounts = accounts.where_admins_wait(admins_wait);
    }
}

#[tokio::test]
async fn an_administrators_recovery_waits_a_day_and_nothing_makes_it_shorter() {
    let mut lost = lost_administrator().await;
    let opened = lost.open(0).await;
    let ticket = opened.ticket.expose().to_owned();
    let recovery = &lost.world.accounts.recovery;
    let view = recovery.approve(opened.view.row.id, &lost.carol()).await.unwrap();
    let ready_at = lost.world.now() + COOL_DOWN;
    assert!(view.is_proven && view.waits_until == Some(ready_at));
    let waits = Some(RecoveryRefusal::Case(CaseRefusal::Cooling { ready_at }));
    assert_eq!(recovery.claim(&ticket).await.err(), waits);
    // Neither more proof, nor another setting, nor a second less.
    lost.world.pass(3_600);
    let more = recovery.approve(opened.view.row.id, &operator()).await.unwrap();
    assert_eq!(more.waits_until, Some(ready_at));
    lost.wait(false);
    lost.world.pass(COOL_DOWN.as_secs() - 3_600 - 1);
    assert_eq!(lost.world.accounts.recovery.claim(&ticket).await.err(), waits);
    lost.world.pass(1);
    let link = lost.world.accounts.recovery.claim(&ticket).await.unwrap();
    lost.enrol(link.secret.expose(), &Keep::default()).await.unwrap();
}

#[tokio::test]
async fn an_administrators_recovery_is_stopped_while_it_waits() {
    let lost = lost_administrator().await;
    let recovery = &lost.world.accounts.recovery;
    let opened = lost.open(0).await;
    recovery.approve(opened.view.row.id, &operator()).await.unwrap();
    lost.world.pass(COOL_DOWN.as_secs() / 2);
    recovery.stop(opened.view.row.id).await.unwrap();
    lost.world.pass(COOL_DOWN.as_secs());
    let refusal = recovery.claim(opened.ticket.expose()).await.err();
    assert_eq!(refusal, Some(RecoveryRefusal::Case(CaseRefusal::Over)));
}

#[tokio::test]
async fn a_wait_is_not_dodged_by_administering_only_after_the_proof() {
    let mut lost = lost().await;
    lost.wait(true);
    let recovery = &lost.world.accounts.recovery;
    let opened = lost.open(0).await;
    let view = recovery.approve(opened.view.row.id, &operator()).await.unwrap();
    assert_eq!(view.waits_until, None, "bob does not administer");
    lost.world.people.add_member(&GroupId::new("admins"), lost.bob).await.unwrap();
    let refusal = recovery.claim(opened.ticket.expose()).await.err();
    assert!(matches!(refusal, Some(RecoveryRefusal::Case(CaseRefusal::Cooling { .. }))), "{refusal:?}");
    lost.world.pass(COOL_DOWN.as_secs());
    recovery.claim(opened.ticket.expose()).await.unwrap();
}

#[tokio::test]
async fn nobody_vouches_for_their_own_account() {
    let lost = lost().await;
    let own = Approver { name: BOB.into(), user: Some(lost.bob) };
    let opened = lost.open(0).await;
    let refusal = lost.world.accounts.recovery.approve(opened.view.row.id, &own).await.err();
    assert_eq!(refusal, Some(RecoveryRefusal::Case(CaseRefusal::OwnAccount)));
    assert!(lost.world.accounts.recovery.open_for(lost.bob, &own, Running::Keep).await.is_err());
}

#[tokio::test]
async fn an_administrator_does_not_get_the_link_of_a_case_that_a_code_opened() {
    let lost = lost().await;
    let opened = lost.open(0).await;
    let recovery = &lost.world.accounts.recovery;
    recovery.approve(opened.view.row.id, &lost.carol()).await.unwrap();
    assert_eq!(recovery.claim_for(opened.view.row.id, &lost.carol()).await.err(), Some(RecoveryRefusal::Unknown));
    assert_eq!(recovery.claim("aaaaaaaaaaaaaaaa").await.err(), Some(RecoveryRefusal::Unknown));
}

#[tokio::test]
async fn a_replayed_code_ticket_or_link_opens_nothing() {
    let lost = lost().await;
    let recovery = &lost.world.accounts.recovery;
    let opened = lost.open(0).await;
    let again = recovery.open(BOB, &lost.codes[0], HOME, None).await.err();
    assert_eq!(again, Some(RecoveryRefusal::Code(CodeRefusal::Wrong)));
    recovery.approve(opened.view.row.id, &operator()).await.unwrap();
    let link = recovery.claim(opened.ticket.expose()).await.unwrap();
    let again = recovery.claim(opened.ticket.expose()).await.err();
    assert_eq!(again, Some(RecoveryRefusal::Case(CaseRefusal::Over)));
    lost.enrol(link.secret.expose(), &Keep::default()).await.unwrap();
    let again = lost.enrol(link.secret.expose(), &Keep::default()).await.err().unwrap();
    assert!(matches!(again.why, PasskeyRefusal::Link(LinkRefusal::Used { .. })), "{again}");
}

#[tokio::test]
async fn the_code_of_another_account_opens_nothing() {
    let lost = lost().await;
    lost.world.add_enrolled("alice@corp.example").await;
    let refusal = lost.world.accounts.recovery.open("alice@corp.example", &lost.codes[0], HOME, None).await.err();
    assert_eq!(refusal, Some(RecoveryRefusal::Code(CodeRefusal::Wrong)));
    lost.open(0).await;
}

#[tokio::test]
async fn of_two_that_race_with_one_code_or_one_ticket_one_goes_on() {
    let lost = lost().await;
    let recovery = &lost.world.accounts.recovery;
    let (one, two) = tokio::join!(
        recovery.open(BOB, &lost.codes[0], HOME, None),
        recovery.open(BOB, &lost.codes[0], HOME, Some(TokenHash::of(b"browser")))
    );
    let opened = match (one, two) {
        (Ok(opened), Err(_)) | (Err(_), Ok(opened)) => opened,
        _ => panic!("not exactly one"),
    };
    recovery.approve(opened.view.row.id, &operator()).await.unwrap();
    let ticket = opened.ticket.expose();
    let (one, two) = tokio::join!(recovery.claim(ticket), recovery.claim(ticket));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
}

#[tokio::test]
async fn nothing_goes_on_after_the_person_was_disabled_or_signed_out_everywhere() {
    for disables in [true, false] {
        let lost = lost().await;
        let recovery = &lost.world.accounts.recovery;
        let opened = lost.open(0).await;
        recovery.approve(opened.view.row.id, &operator()).await.unwrap();
        let proven = lost.open(1).await;
        recovery.approve(proven.view.row.id, &operator()).await.unwrap();
        let link = recovery.claim(proven.ticket.expose()).await.unwrap();
        if disables {
            lost.world.people.disable_user(lost.bob, LastAdmin::Keep).await.unwrap();
            let refusal = recovery.open(BOB, &lost.codes[2], HOME, None).await.err();
            assert_eq!(refusal, Some(RecoveryRefusal::Code(CodeRefusal::Wrong)));
            lost.world.people.enable_user(lost.bob).await.unwrap();
        } else {
            lost.world.people.end_sessions(lost.bob).await.unwrap();
        }
        assert!(lost.enrol(link.secret.expose(), &Keep::default()).await.is_err(), "the link outlived it");
        let late = lost.world.accounts.recovery.claim(opened.ticket.expose()).await.err();
        assert_eq!(late, Some(RecoveryRefusal::Case(CaseRefusal::Over)));
    }
}

#[tokio::test]
async fn a_case_waits_a_day_and_its_link_ten_minutes() {
    let lost = lost().await;
    let recovery = &lost.world.accounts.recovery;
    let opened = lost.open(0).await;
    lost.world.pass(CASE_LIFETIME.as_secs());
    let late = recovery.approve(opened.view.row.id, &operator()).await.err();
    assert_eq!(late, Some(RecoveryRefusal::Case(CaseRefusal::Over)));
    let opened = lost.open(1).await;
    recovery.approve(opened.view.row.id, &operator()).await.unwrap();
    let link = recovery.claim(opened.ticket.expose()).await.unwrap();
    lost.world.pass(600);
    let late = lost.enrol(link.secret.expose(), &Keep::default()).await.err().unwrap();
    assert!(matches!(late.why, PasskeyRefusal::Link(LinkRefusal::Expired { .. })), "{late}");
}

#[tokio::test]
async fn the_host_reopens_an_administrator_and_tells_all_of_them() {
    let lost = lost().await;
    let refused = lost.world.accounts.recovery.from_host(lost.bob, "local-operator", None).await;
    assert!(refused.is_err(), "bob does not administer");
    let link = lost.world.accounts.recovery.from_host(lost.carol, "local-operator", None).await.unwrap();
    let told = lost.world.accounts.notices.list(lost.carol).await.unwrap();
    assert_eq!(told[0].kind, NoticeKind::AdminRecovered);
    let (enrolled, _) = lost.enrol(link.secret.expose(), &Keep::default()).await.unwrap();
    assert_eq!(enrolled.signed_in.user, lost.carol);
}

#[tokio::test]
async fn that_was_not_me_works_once_and_an_older_showing_is_void() {
    let lost = lost().await;
    let notices = &lost.world.accounts.notices;
    let first = notices.show(lost.bob).await.unwrap();
    let second = notices.show(lost.bob).await.unwrap();
    assert!(!first.is_empty());
    assert!(notices.not_me(lost.bob, first[0].not_me.expose()).await.is_err(), "shown again since");
    assert!(notices.not_me(lost.carol, second[0].not_me.expose()).await.is_err(), "somebody else's");
    let row = notices.not_me(lost.bob, second[0].not_me.expose()).await.unwrap();
    assert_eq!(row.user, lost.bob);
    assert!(notices.not_me(lost.bob, second[0].not_me.expose()).await.is_err(), "used");
    let kept = lost.world.store.notices_of(lost.bob).await.unwrap();
    assert!(kept.iter().all(|row| row.token != Some(TokenHash::of(second[0].not_me.expose().as_bytes()))));
    notices.seen(lost.bob, lost.world.now()).await.unwrap();
    assert!(notices.show(lost.bob).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_link_that_was_made_while_its_person_ended_everything_opens_nothing() {
    let lost = lost().await;
    let recovery = &lost.world.accounts.recovery;
    let opened = lost.open(0).await;
    recovery.approve(opened.view.row.id, &operator()).await.unwrap();
    let link = recovery.claim(opened.ticket.expose()).await.unwrap();
    // "That was not me" fell between the look at the case and its link, so no link was there to be voided.
    let row = recovery.status(opened.ticket.expose()).await.unwrap().row;
    let was = Some(row.revision);
    let row = RecoveryRow { epoch: row.epoch + 1, revision: row.revision + 1, ..row };
    lost.world.store.apply(None, vec![DirectoryChange::PutRecovery { row, was }]).await.unwrap();
    assert!(lost.enrol(link.secret.expose(), &Keep::default()).await.is_err(), "the link outlived it");
}
