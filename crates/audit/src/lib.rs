//! The record: an append-only, tree-hashed log and its queries.
