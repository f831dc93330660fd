//! The attacks against the whole product, each test named for its attack.

mod drill;
mod forgeries;
mod front_door;
mod http2;
mod leaks;
mod live;
mod sessions;
mod table;
mod ways_in;
