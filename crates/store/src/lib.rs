//! SQLite behind small traits, with a conformance suite.
