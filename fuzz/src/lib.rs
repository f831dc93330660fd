//! Fuzz targets: what a stranger can send, and what must hold whatever it is (GW-68).
//!
//! Each target is an ordinary function from bytes. `cargo xtask fuzz TARGET` drives it with libFuzzer; the tests of this
//! crate replay the committed corpus in `fuzz/corpus/TARGET`. Not part of the product.
//!
//! Invariants: a target panics only if a property is broken; equal bytes, equal outcome.

#![forbid(unsafe_code)]

mod configuration;
mod driver;
mod http1;
mod http2;
mod tokens;
mod values;

/// One target.
pub struct Target {
    /// As `cargo xtask fuzz` and the folder of its corpus call it.
    pub name: &'static str,
    /// What must hold.
    pub property: &'static str,
    /// Panics if it does not.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "h1_head",
        property: "how input is cut changes nothing; what is accepted is written upstream as one request that reads the same",
        run: http1::head,
    },
    Target {
        name: "chunked_body",
        property: "an accepted chunked body is the one a plain reading of the grammar gives, however it is cut",
        run: http1::chunked_body,
    },
    Target {
        name: "h2_lists",
        property: "an accepted header list, written as HTTP/1.1, reads as the same request",
        run: http2::lists,
    },
    Target {
        name: "path",
        property: "a normal form is a fixed point without dots, and no profile decodes twice",
        run: values::path,
    },
    Target { name: "host", property: "a canonical host is a fixed point", run: values::host },
    Target { name: "cookies", property: "no cookie of ours is left, no other cookie is lost", run: values::cookies },
    Target {
        name: "client_address",
        property: "a PROXY header is read the same however much of it is there; an untrusted peer is its own client",
        run: values::client_address,
    },
    Target {
        name: "assertion",
        property: "no token passes but one signed with our key, of our type, for this app, alive",
        run: tokens::assertion,
    },
    Target {
        name: "tickets",
        property: "no sealed ticket opens but one that was sealed; what opens stays on its host",
        run: tokens::tickets,
    },
    Target {
        name: "server_config",
        property: "a server configuration is read or refused with a place",
        run: configuration::server,
    },
    Target {
        name: "app_config",
        property: "configuration files are read or refused with a place",
        run: configuration::files,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
