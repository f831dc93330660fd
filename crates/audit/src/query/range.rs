//! Address ranges. What is in the clear of an address is its network; the rest is sealed.

use std::net::IpAddr;

use crate::entry::{Column, StoredRecord};

/// Addresses sharing their first bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpRange {
    address: IpAddr,
    bits: u8,
}

impl IpRange {
    /// `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/48`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(max), str::parse).ok().filter(|bits| *bits <= max)?;
        Some(Self { address, bits })
    }

    /// What is kept in the clear is enough to tell.
    pub(super) fn is_coarse(self) -> bool {
        self.bits <= if self.address.is_ipv4() { 24 } else { 48 }
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (mine.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (mine.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    /// Whether the network kept in the clear touches the range.
    pub(super) fn is_near(self, record: &StoredRecord) -> bool {
        let net = record.text(Column::SrcNet).and_then(IpRange::parse);
        net.is_some_and(|net| IpRange { bits: self.bits.min(net.bits), ..self }.contains(net.address))
    }

    /// Whether the opened address lies in the range.
    pub(super) fn holds(self, record: &StoredRecord) -> bool {
        record.text(Column::SrcIp).and_then(|text| text.parse().ok()).is_some_and(|address| self.contains(address))
    }
}

impl std::fmt::Display for IpRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_should() {
        let range = |text| IpRange::parse(text).unwrap();
        assert!(range("192.0.2.0/24").contains("192.0.2.255".parse().unwrap()));
        assert!(!range("192.0.2.0/25").contains("192.0.2.128".parse().unwrap()));
        assert!(range("0.0.0.0/0").contains("203.0.113.9".parse().unwrap()));
        assert!(!range("::/0").contains("203.0.113.9".parse().unwrap()));
        assert!(range("2001:db8::/47").contains("2001:db8:1::1".parse().unwrap()));
    }
}
