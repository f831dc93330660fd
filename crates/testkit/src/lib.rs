//! Fakes and a test CA; for tests only.
