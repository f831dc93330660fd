//! The running root of an RFC 6962 tree (AUD-31): the right edge is enough to append and to name the root.
//!
//! Pure. Invariant: `edge` holds one hash per set bit of `size`, largest subtree first.

use sha2::{Digest, Sha256};

/// The most hashes an edge can have.
pub(crate) const MAX_EDGE: usize = 64;

/// The hash of a leaf: SHA-256(0x00 ‖ entry).
pub(crate) fn leaf_hash(entry: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree of which only the right edge is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct RunningRoot {
    size: u64,
    edge: Vec<[u8; 32]>,
}

impl RunningRoot {
    /// From a stored edge; `None` when it does not fit the size.
    pub(crate) fn from_edge(size: u64, edge: Vec<[u8; 32]>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    /// Leaves so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn edge(&self) -> &[[u8; 32]] {
        &self.edge
    }

    /// Appends a leaf.
    pub(crate) fn push(&mut self, leaf: [u8; 32]) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// The root; of an empty tree SHA-256 of nothing (RFC 6962 §2.1).
    pub(crate) fn root(&self) -> [u8; 32] {
        let mut edge = self.edge.iter().rev();
        let Some(last) = edge.next() else { return Sha256::digest([]).into() };
        edge.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 §2.1, word by word.
    fn reference(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&reference(&leaves[..split]), &reference(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_running_root_is_the_root_of_rfc_6962_at_every_size() {
        let mut running = RunningRoot::default();
        let mut leaves = Vec::new();
        for n in 0u32..300 {
            assert_eq!(running.root(), reference(&leaves), "size {n}");
            assert_eq!(RunningRoot::from_edge(running.size(), running.edge().to_vec()), Some(running.clone()));
            let leaf = leaf_hash(&n.to_be_bytes());
            leaves.push(leaf);
            running.push(leaf);
        }
    }

    #[test]
    fn known_roots_of_the_certificate_transparency_test_vectors() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut running = RunningRoot::default();
        for (input, root) in inputs.iter().zip(roots) {
            running.push(leaf_hash(&hex(input)));
            assert_eq!(running.root().to_vec(), hex(root));
        }
    }

    #[test]
    fn an_edge_that_does_not_fit_its_size_is_refused() {
        assert_eq!(RunningRoot::from_edge(3, vec![[0; 32]]), None);
    }
}
