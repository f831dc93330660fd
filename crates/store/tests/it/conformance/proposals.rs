//! Cases of [`ProposalStore`].

use model::UserId;
use model::ids::Digest32;
use store::{
    Approval, ConfigFile, ConfigStore, KeptProposal, MAX_CONFIG_BYTES, MAX_KEPT_APPROVALS, MAX_PROPOSALS, NewConfig,
    Note, OutboxStore, Proposal, ProposalStore, Store, StoreError,
};
use uuid::Uuid;

use super::{at, cases};

cases! { Store;
    a_proposal_reads_back_with_its_files_and_approvals covers "propose" "proposals" "proposed_files" "approve";
    the_same_is_proposed_once_and_not_for_another_version covers "propose";
    a_person_approves_once_and_only_what_waits covers "approve";
    only_so_many_wait_and_old_ones_make_room covers "propose";
    what_is_withdrawn_is_forgotten_with_its_approvals covers "withdraw";
    whatever_goes_live_forgets_all_that_wait covers "proposals";
}

fn digest(n: u64) -> Digest32 {
    Digest32::of(&n.to_be_bytes())
}

fn proposal(n: u64) -> Proposal {
    Proposal {
        digest: digest(n),
        base: 0,
        author: Some(UserId(Uuid::from_u128(1))),
        author_name: "carol".to_owned(),
        reason: "new wiki".to_owned(),
        allows_lockout: n % 2 == 1,
        goes_back_to: None,
        proposed_at: at(i64::try_from(n).unwrap()),
        approvals: Vec::new(),
    }
}

fn note(n: u128) -> Note {
    Note { id: Uuid::from_u128(n), at: at(0), body: n.to_string() }
}

fn files() -> Vec<ConfigFile> {
    [("b", "2"), ("a", "1")].map(|(name, text)| ConfigFile { name: name.to_owned(), text: text.to_owned() }).into()
}

fn approval(who: u128) -> Approval {
    Approval { who: UserId(Uuid::from_u128(who)), at: at(9) }
}

async fn propose(store: &Store, proposal: Proposal) -> KeptProposal {
    store.propose(proposal, files(), at(-100), note(0)).await.unwrap()
}

async fn a_proposal_reads_back_with_its_files_and_approvals(store: &Store) {
    let rollback = Proposal { author: None, goes_back_to: Some(3), ..proposal(2) };
    for kept in [&rollback, &proposal(1)] {
        assert_eq!(propose(store, kept.clone()).await, KeptProposal::Yes);
    }
    for who in [5, 4] {
        assert_eq!(store.approve(digest(1), approval(who), note(who)).await.unwrap(), KeptProposal::Yes);
    }
    let approved = Proposal { approvals: vec![approval(4), approval(5)], ..proposal(1) };
    assert_eq!(store.proposals().await.unwrap(), [approved, rollback]);
    assert_eq!(store.proposed_files(digest(2)).await.unwrap(), Some(files()));
    assert_eq!(store.proposed_files(digest(3)).await.unwrap(), None);
    assert_eq!(store.notes().await.unwrap().len(), 3);
}

async fn the_same_is_proposed_once_and_not_for_another_version(store: &Store) {
    assert_eq!(propose(store, proposal(1)).await, KeptProposal::Yes);
    let greedier = Proposal { allows_lockout: true, author: None, ..proposal(1) };
    assert_eq!(store.propose(greedier, Vec::new(), at(-100), note(1)).await.unwrap(), KeptProposal::Already);
    assert_eq!(store.proposals().await.unwrap(), [proposal(1)]);
    assert_eq!(store.notes().await.unwrap().len(), 1, "nothing happened, nothing is told");
    let moved = store.propose(Proposal { base: 1, ..proposal(2) }, files(), at(-100), note(2)).await;
    assert!(matches!(moved, Err(StoreError::ConfigMoved { .. })), "{moved:?}");
    let large = vec![ConfigFile { name: "a".to_owned(), text: "x".repeat(MAX_CONFIG_BYTES) }];
    let large = store.propose(proposal(3), large, at(-100), note(3)).await;
    assert!(matches!(large, Err(StoreError::TooLarge { .. })), "{large:?}");
}

async fn a_person_approves_once_and_only_what_waits(store: &Store) {
    propose(store, proposal(1)).await;
    let approve = async |n, who| store.approve(digest(n), approval(who), note(100 + who)).await.unwrap();
    assert_eq!(approve(1, 4).await, KeptProposal::Yes);
    assert_eq!(approve(1, 4).await, KeptProposal::Already);
    assert_eq!(approve(2, 4).await, KeptProposal::No);
    let most = u128::try_from(MAX_KEPT_APPROVALS).unwrap();
    for who in 5..4 + most {
        assert_eq!(approve(1, who).await, KeptProposal::Yes);
    }
    assert_eq!(approve(1, 4 + most).await, KeptProposal::No);
}

async fn only_so_many_wait_and_old_ones_make_room(store: &Store) {
    let most = u64::try_from(MAX_PROPOSALS).unwrap();
    for n in 0..most {
        assert_eq!(propose(store, proposal(n)).await, KeptProposal::Yes);
    }
    assert_eq!(propose(store, proposal(most)).await, KeptProposal::No);
    let kept = store.propose(proposal(most), files(), at(1), note(0)).await.unwrap();
    assert_eq!(kept, KeptProposal::Yes);
    assert_eq!(store.proposals().await.unwrap().len(), MAX_PROPOSALS - 1, "those of the seconds 0 and 1 are gone");
}

async fn what_is_withdrawn_is_forgotten_with_its_approvals(store: &Store) {
    propose(store, proposal(1)).await;
    store.approve(digest(1), approval(4), note(1)).await.unwrap();
    assert!(store.withdraw(digest(1), note(2)).await.unwrap());
    assert!(!store.withdraw(digest(1), note(3)).await.unwrap());
    assert_eq!(store.notes().await.unwrap().len(), 3, "nothing happened, nothing is told");
    propose(store, proposal(1)).await;
    assert_eq!(store.proposals().await.unwrap(), [proposal(1)], "no approval comes back");
}

async fn whatever_goes_live_forgets_all_that_wait(store: &Store) {
    propose(store, proposal(1)).await;
    let (digest, author, reason) = (digest(7), "carol".to_owned(), String::new());
    let new = NewConfig { base: 0, digest, author, reason, applied_at: at(1), files: files() };
    let number = store.add_config(new).await.unwrap();
    assert_eq!(store.proposals().await.unwrap().len(), 1, "what is on its way may be given up");
    store.confirm_config(number, note(9)).await.unwrap();
    assert!(store.proposals().await.unwrap().is_empty());
}
