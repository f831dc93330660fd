//! The policy administrator: sessions, epochs and the one kill path.
