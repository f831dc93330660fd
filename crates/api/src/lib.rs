//! The control plane over HTTP: sign-in pages, hand-off, sessions, audit.
