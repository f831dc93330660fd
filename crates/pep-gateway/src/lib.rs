//! The gateway: people to apps, every request decided.
