//! The policy administrator (SP 800-207 §3.1): sessions, epochs and the one kill path.
//!
//! [`Administrator`] is a state machine: it takes [`Input`]s with the time and answers [`Output`]s. It owns no
//! clock, task, file or socket; the control loop in the binary feeds it, keeps its changes and carries its orders.
//! [`SessionTable`] is what doors read: it applies the same changes and knows nothing of the machine. [`FixCounts`] bounds
//! how often a person is told how to mend a refusal.
//!
//! The loop around it, in this order for every input:
//! 1. [`Administrator::handle`];
//! 2. keep every [`Output::Change`] durably, all in one transaction;
//! 3. [`SessionTable::apply`] each of them, in order;
//! 4. carry out each [`Output::Reevaluate`] at every door and feed what the door did back as [`Input::Acked`];
//! 5. sign and record each [`Output::Receipt`].
//!
//! When step 2 fails, tombstones and epochs are still applied (access ends even if the disk is full), upserts are
//! not, and the caller is told; sending the same input again emits the same changes again.
//!
//! Follows GW-43 to GW-45, GW-55, GW-58, ID-55 to ID-58. It is not the policy engine: whether
//! a stream may go on is asked by the door.

#![forbid(unsafe_code)]

mod fix_budget;
mod machine;
mod messages;
mod receipt;
mod roster;
mod table;
mod withdrawals;

pub use fix_budget::{FixCounts, MAX_ENTRIES as MAX_FIX_COUNTS, MAX_PER_MINUTE as MAX_FIXES_PER_MINUTE};
pub use machine::{Administrator, changes};
pub use messages::{Input, Output, Refusal, StaleDoor};
pub use receipt::Receipt;
pub use roster::{ABSOLUTE_CEILING, CLOCK_SKEW, MAX_SESSIONS_PER_PERSON, MAX_STEP_UPS, MAX_TOKENS};
pub use table::{ACTIVITY_PERIOD, SessionTable};
pub use withdrawals::{ACK_TIMEOUT, MAX_DOORS, STALE_FACTS_AFTER, WITHDRAWAL_KEPT, Withdrawal};
