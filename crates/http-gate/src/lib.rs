//! The gate: a strict, sans-IO HTTP parser and canonicaliser.
