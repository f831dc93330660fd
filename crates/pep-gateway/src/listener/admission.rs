//! How many connections a listener takes on, in all and from one address (GW-83).
//!
//! Invariant: a connection that is not admitted costs nothing but its accept.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The span in which handshakes of an address are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// How much a listener takes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenerLimits {
    /// Open connections.
    pub connections: usize,
    /// Open connections of one IPv4 address or one IPv6 /64.
    pub connections_per_address: usize,
    /// New connections of one address in a second.
    pub handshakes_per_second: u32,
}

impl ListenerLimits {
    /// The values of GW-83: offices share an address.
    pub const STANDARD: ListenerLimits =
        ListenerLimits { connections: 65_536, connections_per_address: 4_096, handshakes_per_second: 200 };
}

/// Counts the connections of a listener.
pub(super) struct Admission {
    limits: ListenerLimits,
    load: Mutex<Load>,
}

#[derive(Default)]
struct Load {
    open: usize,
    addresses: HashMap<IpAddr, AddressLoad>,
}

struct AddressLoad {
    open: usize,
    handshakes: u32,
    window: Instant,
}

/// A connection's place; dropping it frees the place.
pub(super) struct Admitted {
    admission: Arc<Admission>,
    /// `None` while it is not known for whom a trusted peer speaks.
    address: Option<IpAddr>,
}

impl Admission {
    pub(super) fn new(limits: ListenerLimits) -> Self {
        Self { limits, load: Mutex::default() }
    }

    /// A place for a connection from `address`, if there is one.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Admitted> {
        let mut admitted = self.admit_trusted()?;
        admitted.count_for(address, now).then_some(admitted)
    }

    /// A place for a connection of a trusted peer, through whom many clients come.
    pub(super) fn admit_trusted(self: &Arc<Self>) -> Option<Admitted> {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        if load.open >= self.limits.connections {
            return None;
        }
        load.open += 1;
        Some(Admitted { admission: self.clone(), address: None })
    }

    fn count(&self, address: IpAddr, now: Instant) -> bool {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = &mut load.addresses;
        if addresses.len() > self.limits.connections {
            // Addresses without a connection are kept for their window only.
            addresses.retain(|_, load| load.open > 0 || now.duration_since(load.window) < WINDOW);
        }
        let entry = addresses.entry(address).or_insert(AddressLoad { open: 0, handshakes: 0, window: now });
        if now.duration_since(entry.window) >= WINDOW {
            entry.window = now;
            entry.handshakes = 0;
        }
        if entry.open >= self.limits.connections_per_address || entry.handshakes >= self.limits.handshakes_per_second {
            return false;
        }
        entry.open += 1;
        entry.handshakes += 1;
        true
    }
}

impl Admitted {
    /// Counts the place for a client as well; false if that client has enough. To be called once.
    pub(super) fn count_for(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = shared_address(address);
        let has_room = self.admission.count(address, now);
        if has_room {
            self.address = Some(address);
        }
        has_room
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut load = self.admission.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.open = load.open.saturating_sub(1);
        if let Some(entry) = self.address.and_then(|address| load.addresses.get_mut(&address)) {
            entry.open = entry.open.saturating_sub(1);
        }
    }
}

/// What counts as one address: a subscriber has a whole IPv6 /64.
fn shared_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admission(limits: ListenerLimits) -> Arc<Admission> {
        Arc::new(Admission::new(limits))
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let limits = ListenerLimits { connections: 10, connections_per_address: 2, handshakes_per_second: 10 };
        let (admission, now) = (admission(limits), Instant::now());
        let held: Vec<_> = (0..2).map(|_| admission.admit(address("192.0.2.1"), now).unwrap()).collect();
        assert!(admission.admit(address("192.0.2.1"), now).is_none());
        assert!(admission.admit(address("192.0.2.2"), now).is_some());
        drop(held);
        assert!(admission.admit(address("192.0.2.1"), now).is_some());
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        let limits = ListenerLimits { connections: 10, connections_per_address: 1, handshakes_per_second: 10 };
        let (admission, now) = (admission(limits), Instant::now());
        let _held = admission.admit(address("2001:db8::1"), now).unwrap();
        assert!(admission.admit(address("2001:db8::2"), now).is_none());
        assert!(admission.admit(address("2001:db8:0:1::2"), now).is_some());
    }

    #[test]
    fn handshakes_of_an_address_are_limited_per_second() {
        let limits = ListenerLimits { connections: 10, connections_per_address: 9, handshakes_per_second: 1 };
        let (admission, now) = (admission(limits), Instant::now());
        drop(admission.admit(address("192.0.2.1"), now).unwrap());
        assert!(admission.admit(address("192.0.2.1"), now).is_none());
        assert!(admission.admit(address("192.0.2.1"), now + WINDOW).is_some());
    }

    #[test]
    fn clients_behind_a_trusted_peer_are_counted_one_by_one() {
        let limits = ListenerLimits { connections: 3, connections_per_address: 1, handshakes_per_second: 9 };
        let (admission, now) = (admission(limits), Instant::now());
        let mut first = admission.admit_trusted().unwrap();
        let mut second = admission.admit_trusted().unwrap();
        assert!(first.count_for(address("192.0.2.1"), now));
        assert!(!second.count_for(address("192.0.2.1"), now));
        let _third = admission.admit_trusted().unwrap();
        assert!(admission.admit_trusted().is_none());
        drop((first, second));
        assert!(admission.admit_trusted().unwrap().count_for(address("192.0.2.1"), now));
    }

    #[test]
    fn a_full_listener_sheds_new_connections() {
        let limits = ListenerLimits { connections: 1, connections_per_address: 9, handshakes_per_second: 9 };
        let (admission, now) = (admission(limits), Instant::now());
        let _held = admission.admit(address("192.0.2.1"), now).unwrap();
        assert!(admission.admit(address("192.0.2.2"), now).is_none());
    }
}
