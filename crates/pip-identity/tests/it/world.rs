//! An install with nobody in it, and the steps that tests share.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use model::{Session, SessionId, TokenHash, UserEntry, UserId};
use pip_identity::memory::MemoryStore;
use pip_identity::passkeys::{Enrolled, NewAdmin, PasskeyRefusal, Refusal};
use pip_identity::password_hash::HashCost;
use pip_identity::people::{Change, NewUser};
use pip_identity::store::LinkKind;
use pip_identity::{
    Accounts, DirectoryStore, Links, Passkeys, PasswordRules, People, RelyingParty, SignedIn, Throttle,
};
use pki::{Kek, Sealer};
use testkit::{SeqIds, SimClock};
use uuid::Uuid;

use crate::device::{Answer, Device, ORIGIN};

pub const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

pub struct World {
    pub clock: Arc<SimClock>,
    pub store: Arc<MemoryStore>,
    pub people: Arc<People>,
    pub links: Links,
    pub passkeys: Passkeys,
    pub accounts: Accounts,
}

impl World {
    pub async fn new() -> Self {
        Self::over(Arc::new(SimClock::default()), Arc::new(MemoryStore::new()), 7).await
    }

    /// Another process on the same database.
    pub async fn beside(&self) -> Self {
        Self::over(self.clock.clone(), self.store.clone(), 8).await
    }

    async fn over(clock: Arc<SimClock>, store: Arc<MemoryStore>, seed: u64) -> Self {
        let ids = Arc::new(SeqIds::seeded(seed));
        let people = Arc::new(People::load(store.clone(), clock.clone(), ids).await.unwrap());
        let throttle = Arc::new(Throttle::new());
        let rp = RelyingParty::new("localhost", "Countersign", &[ORIGIN.to_owned()]).unwrap();
        Self {
            clock,
            store,
            links: Links::new(people.clone()),
            passkeys: Passkeys::new(people.clone(), throttle.clone(), rp),
            accounts: Accounts::new(&people, &throttle, sealer(), rules()).unwrap(),
            people,
        }
    }

    /// With carol as administrator, enrolled through the set-up link.
    pub async fn with_admin() -> (Self, Device, Enrolled) {
        let world = World::new().await;
        let link = world.links.set_up(None, "local-operator").await.unwrap();
        let carol = NewAdmin { email: "carol@corp.example".into(), name: "Carol".into() };
        let mut device = Device::default();
        let options = world.passkeys.start_enrolment(link.secret.expose(), Some(&carol)).await.unwrap();
        let answer = device.create(&options).await;
        let enrolled = world.passkeys.finish_enrolment(link.secret.expose(), &answer.json(), "Laptop").await.unwrap();
        assert_eq!(enrolled.kind, LinkKind::SetUp);
        (world, device, enrolled)
    }

    /// Adds somebody who is invited.
    pub async fn add(&self, email: &str) -> (UserId, Change) {
        let new = NewUser {
            email: email.into(),
            name: "Somebody".into(),
            is_external: false,
            tags: Default::default(),
            groups: Default::default(),
        };
        self.people.create_user(new).await.unwrap()
    }

    /// Adds somebody who has enrolled on a device of their own.
    pub async fn add_enrolled(&self, email: &str) -> (UserId, Device) {
        let (user, _) = self.add(email).await;
        let link = self.links.invite(user, "carol@corp.example", None).await.unwrap();
        let mut device = Device::default();
        let options = self.passkeys.start_enrolment(link.secret.expose(), None).await.unwrap();
        let answer = device.create(&options).await;
        self.passkeys.finish_enrolment(link.secret.expose(), &answer.json(), "Phone").await.unwrap();
        (user, device)
    }

    /// A sign-in whose answer is changed on its way.
    pub async fn sign_in_with(
        &self,
        device: &mut Device,
        change: impl Fn(&mut Answer),
    ) -> Result<SignedIn, PasskeyRefusal> {
        let options = self.passkeys.start_sign_in(login(1)).unwrap();
        let mut answer = device.get(&options).await;
        change(&mut answer);
        device.sign(&mut answer);
        self.finish(&answer).await.map_err(|refusal| refusal.why)
    }

    pub async fn sign_in(&self, device: &mut Device) -> Result<SignedIn, PasskeyRefusal> {
        self.sign_in_with(device, |_| {}).await
    }

    pub async fn finish(&self, answer: &Answer) -> Result<SignedIn, Refusal> {
        self.passkeys.finish_sign_in(login(1), &answer.json(), HOME).await
    }

    pub fn session(&self, user: UserId) -> Session {
        let mut session = testkit::session(SessionId(Uuid::from_u128(1)), user, self.now());
        session.epochs.user = self.entry(user).epoch;
        session
    }

    pub fn entry(&self, user: UserId) -> Arc<UserEntry> {
        self.people.directory().users[&user].clone()
    }

    pub fn now(&self) -> model::Timestamp {
        model::Clock::now(&*self.clock)
    }

    pub fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// The one passkey of a person, as it is kept.
    pub async fn passkey_of(&self, user: UserId) -> pip_identity::store::PasskeyRow {
        self.store.passkeys_of(user).await.unwrap().remove(0)
    }
}

/// The hash of the transaction of the page a step-up is asked on.
pub fn page() -> TokenHash {
    TokenHash::of(b"page")
}

/// Passwords are on, and a hash costs next to nothing.
pub fn rules() -> PasswordRules {
    PasswordRules {
        is_enabled: true,
        min_chars: 15,
        admins_need_passkey: true,
        cost: HashCost { memory_kib: 8, passes: 1 },
        issuer: "Corp".into(),
        names: vec!["corp.example".into()],
    }
}

pub fn sealer() -> Sealer {
    Kek::from_bytes(&[1; pki::seal::KEK_BYTES]).unwrap().sealer(pip_identity::passwords::SEAL_PURPOSE).unwrap()
}

/// The hash of the login-binding cookie of browser `n`.
pub fn login(n: u8) -> TokenHash {
    TokenHash::of(&[n])
}
