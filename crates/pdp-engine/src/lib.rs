//! The policy engine: pure decisions over Cedar.
