//! One file per command. Commands talk to the running server; they hold no rules.

pub mod admin;
pub mod app;
pub mod apply;
pub mod audit;
pub mod doctor;
pub mod group;
pub mod init;
pub mod invite;
pub mod policy;
pub mod serve;
pub mod session;
pub mod shell;
pub mod status;
pub mod user;
