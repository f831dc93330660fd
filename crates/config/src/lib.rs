//! What operators write, parsed into typed values with spans.
