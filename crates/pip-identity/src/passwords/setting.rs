//! Setting, changing and removing the pair: the secret is shown, the first code confirms it, and password and secret
//! are kept in one transaction or not at all.

use model::{Session, UserId};

use super::{MAX_OFFERS, OFFER_LIFETIME, Owner, PairRefusal, Passwords, Setter, TotpOffer, signed_in, standing};
use crate::entrance::{Entrance, enter};
use crate::links::{LinkRefusal, hash_of};
use crate::notices::notice;
use crate::passkeys::Enrolled;
use crate::password_hash::{self, Password};
use crate::people::PeopleError;
use crate::sensitive::{Removal, check_fresh, check_removal};
use crate::store::{DirectoryChange, LinkKind, NoticeKind, PasswordRow, TotpRow};
use crate::totp::TotpSecret;

/// Whose pair it is to be, as far as setting it needs to know.
struct Holder {
    owner: Owner,
    user: UserId,
    email: String,
    name: String,
}

impl Passwords {
    /// A new secret for one-time codes. Nothing is kept before [`Passwords::finish`]; a secret shown before is void.
    ///
    /// # Errors
    /// Passwords are off, the sign-in is not fresh, the link cannot be used, or the person needs a passkey.
    pub async fn start(&self, setter: Setter<'_>) -> Result<TotpOffer, PairRefusal> {
        let holder = self.holder(setter).await?;
        let secret = TotpSecret::random(self.people.ids());
        let offer = self.offer(&secret, &holder);
        let now = self.people.now();
        let mut offers = self.offers();
        offers.retain(|_, (ends, _)| *ends > now);
        if offers.len() >= MAX_OFFERS {
            let oldest = offers.iter().min_by_key(|(_, (ends, _))| *ends).map(|(owner, _)| *owner);
            oldest.map(|owner| offers.remove(&owner));
        }
        offers.insert(holder.owner, (now + OFFER_LIFETIME, secret));
        Ok(offer)
    }

    /// The secret that was shown and still waits for its first code, to be shown again beside what was wrong.
    ///
    /// # Errors
    /// As [`Passwords::start`]; none waits any more.
    pub async fn waiting(&self, setter: Setter<'_>) -> Result<TotpOffer, PairRefusal> {
        let holder = self.holder(setter).await?;
        let offers = self.offers();
        let waiting = offers.get(&holder.owner).filter(|(ends, _)| *ends > self.people.now());
        waiting.map(|(_, secret)| self.offer(secret, &holder)).ok_or(PairRefusal::StartOver)
    }

    /// Sets password and one-time codes for whoever is signed in; both, or what they had stays. Where a password was
    /// taken over from another system, that one may be kept by giving it.
    ///
    /// # Errors
    /// The code does not fit, the password may not be set, or as [`Passwords::start`].
    pub async fn finish(&self, session: &Session, password: &str, code: &str) -> Result<(), PairRefusal> {
        let holder = self.holder(Setter::Session(session)).await?;
        let mut changes = vec![DirectoryChange::RequireSignIn(session.into())];
        changes.extend(self.pair(&holder, password, code).await?);
        changes.push(notice(&self.people, holder.user, NoticeKind::PairAdded, ""));
        self.people.store().apply(None, changes).await?;
        self.offers().remove(&holder.owner);
        Ok(())
    }

    /// The same through an invitation, which makes the account active.
    ///
    /// # Errors
    /// As [`Passwords::finish`]; a set-up link, where administrators need a passkey.
    pub async fn finish_enrolment(&self, secret: &str, password: &str, code: &str) -> Result<Enrolled, PairRefusal> {
        let holder = self.holder(Setter::Link(secret)).await?;
        let changes = self.pair(&holder, password, code).await?;
        let hash = hash_of(secret).ok_or(LinkRefusal::Unknown)?;
        let link = self.people.store().link(hash).await?.ok_or(LinkRefusal::Unknown)?;
        self.links.check_usable(&link, self.people.now())?;
        let account = self.people.row(holder.user).ok_or(PeopleError::NoUser(holder.user.to_string()))?;
        let entered = enter(&self.people, Entrance { link: &link, account: &account, along: changes }).await?;
        self.offers().remove(&holder.owner);
        let entry = entered.change.directory.users.get(&holder.user).cloned();
        let entry = entry.ok_or(PeopleError::NoUser(holder.user.to_string()))?;
        Ok(Enrolled {
            link: link.id,
            kind: link.kind,
            signed_in: signed_in(&entry),
            recovery_codes: entered.recovery_codes,
            removed: Vec::new(),
            change: entered.change,
        })
    }

    /// Sets another password; the one-time codes stay.
    ///
    /// # Errors
    /// The sign-in is not fresh, there is no pair, or the password may not be set.
    pub async fn change_password(&self, session: &Session, password: &str) -> Result<(), PairRefusal> {
        let holder = self.holder(Setter::Session(session)).await?;
        let factors = self.people.store().factors_of(holder.user).await?;
        let (Some(old), Some(_)) = (factors.password, factors.totp) else { return Err(PairRefusal::NoPair) };
        let password = self.new_password(password, &holder.email, &holder.name)?;
        let hash = self.hash(password).await?;
        let row = PasswordRow { user: holder.user, hash, set_at: self.people.now() };
        let changes = vec![
            DirectoryChange::RequireSignIn(session.into()),
            DirectoryChange::PutPassword { row, was: Some(old.hash) },
            notice(&self.people, holder.user, NoticeKind::PasswordChanged, ""),
        ];
        self.people.store().apply(None, changes).await?;
        Ok(())
    }

    /// Removes password and one-time codes.
    ///
    /// # Errors
    /// The sign-in is not fresh, there is no pair, or it is the last way in and there is no way back.
    pub async fn remove(&self, session: &Session) -> Result<(), PairRefusal> {
        let user = session.user;
        let standing = standing(&self.people, user).await?;
        check_fresh(session, standing, self.people.now())?;
        if !standing.has_pair {
            return Err(PairRefusal::NoPair);
        }
        check_removal(standing, Removal::Pair)?;
        let changes = vec![
            DirectoryChange::RequireSignIn(session.into()),
            DirectoryChange::DeletePair(user),
            notice(&self.people, user, NoticeKind::PairRemoved, ""),
        ];
        self.people.store().apply(None, changes).await?;
        Ok(())
    }

    fn offer(&self, secret: &TotpSecret, holder: &Holder) -> TotpOffer {
        TotpOffer { base32: secret.base32(), uri: secret.otpauth_uri(&self.rules.issuer, &holder.email) }
    }

    /// Checks code and password and gives the changes that keep them.
    async fn pair(&self, holder: &Holder, typed: &str, code: &str) -> Result<Vec<DirectoryChange>, PairRefusal> {
        let now = self.people.now();
        let (sealed, step) = {
            let offers = self.offers();
            let (_, secret) =
                offers.get(&holder.owner).filter(|(ends, _)| *ends > now).ok_or(PairRefusal::StartOver)?;
            let step = secret.accepted_step(code, now).ok_or(PairRefusal::WrongCode)?;
            (self.seal(holder.user, secret)?, step)
        };
        let factors = self.people.store().factors_of(holder.user).await?;
        let (hash, was) = match factors.password {
            Some(old) if factors.totp.is_none() && self.is_taken_over(&old.hash, typed).await? => {
                (self.hash(Password::new(typed).ok_or(PairRefusal::TooLong)?).await?, Some(old.hash))
            }
            old => {
                let password = self.new_password(typed, &holder.email, &holder.name)?;
                (self.hash(password).await?, old.map(|old| old.hash))
            }
        };
        let row = PasswordRow { user: holder.user, hash, set_at: now };
        let totp = TotpRow { user: holder.user, sealed, confirmed_at: now, last_step: step, failures: 0 };
        Ok(vec![DirectoryChange::PutPassword { row, was }, DirectoryChange::PutTotp(totp)])
    }

    /// Whether what was typed is the password another system kept. Length and list are for new passwords: a change is
    /// forced on nobody without cause.
    async fn is_taken_over(&self, stored: &str, typed: &str) -> Result<bool, PairRefusal> {
        if password_hash::is_current(stored, self.rules.cost) {
            return Ok(false);
        }
        let password = Password::new(typed).ok_or(PairRefusal::TooLong)?;
        let stored = stored.to_owned();
        let fits = self.pool.run(move || password_hash::verify(&stored, &password)).await?;
        Ok(fits.unwrap_or(false))
    }

    async fn holder(&self, setter: Setter<'_>) -> Result<Holder, PairRefusal> {
        self.check_enabled()?;
        let (owner, user, is_set_up) = match setter {
            Setter::Session(session) => {
                let standing = standing(&self.people, session.user).await?;
                check_fresh(session, standing, self.people.now())?;
                (Owner::Session(session.id), session.user, false)
            }
            Setter::Link(secret) => {
                let link = self.links.peek(secret).await?;
                let user = link.row.user.ok_or(PairRefusal::AdminsNeedPasskey)?;
                // A recovery ends in a passkey: the pair can be set afterwards.
                if link.row.kind == LinkKind::Recovery {
                    return Err(PairRefusal::StartOver);
                }
                (Owner::Link(link.row.secret_hash), user, link.row.kind == LinkKind::SetUp)
            }
        };
        let directory = self.people.directory();
        let entry = directory.users.get(&user).ok_or_else(|| PeopleError::NoUser(user.to_string()))?;
        if self.rules.admins_need_passkey && (self.is_admin(entry) || is_set_up) {
            return Err(PairRefusal::AdminsNeedPasskey);
        }
        Ok(Holder { owner, user, email: entry.email.clone(), name: entry.name.clone() })
    }
}
