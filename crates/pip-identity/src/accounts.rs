//! The services around an account beside passkeys, put together once: passwords, recovery, recovery codes, notices.
//! It adds nothing to them.

use std::sync::Arc;

use pki::Sealer;

use crate::notices::Notices;
use crate::password_hash::HashError;
use crate::passwords::{PasswordRules, Passwords};
use crate::people::People;
use crate::recovery::Recovery;
use crate::recovery_codes::RecoveryCodes;
use crate::throttle::Throttle;

/// The services.
pub struct Accounts {
    /// Password and one-time codes.
    pub passwords: Arc<Passwords>,
    /// Getting back in.
    pub recovery: Recovery,
    /// Recovery codes.
    pub codes: RecoveryCodes,
    /// What people have to hear of.
    pub notices: Notices,
}

impl Accounts {
    /// Over this directory, behind this throttle; `sealer` is made for [`crate::passwords::SEAL_PURPOSE`].
    ///
    /// # Errors
    /// The cost of a password hash is none that argon2 knows.
    pub fn new(
        people: &Arc<People>,
        throttle: &Arc<Throttle>,
        sealer: Sealer,
        rules: PasswordRules,
    ) -> Result<Self, HashError> {
        let passwords = Arc::new(Passwords::new(Arc::clone(people), Arc::clone(throttle), sealer, rules)?);
        Ok(Self {
            recovery: Recovery::new(Arc::clone(people), Arc::clone(throttle), Arc::clone(&passwords)),
            codes: RecoveryCodes::new(Arc::clone(people), Arc::clone(throttle)),
            notices: Notices::new(Arc::clone(people)),
            passwords,
        })
    }

    /// The same, where a proven recovery of an administrator waits ([`crate::recovery::COOL_DOWN`]) or does not.
    #[must_use]
    pub fn where_admins_wait(mut self, admins_wait: bool) -> Self {
        self.recovery.admins_wait = admins_wait;
        self
    }
}
