//! One file per command. Commands talk to the running server; they hold no rules.

pub mod admin;
pub mod app;
mod app_add;
pub mod apply;
pub mod audit;
pub mod doctor;
pub mod drill;
pub mod gateway;
pub mod group;
pub mod init;
pub mod invite;
pub mod keys;
pub mod plan;
pub mod policy;
pub mod policy_approvals;
pub mod policy_versions;
pub mod serve;
pub mod service_account;
pub mod service_token;
pub mod session;
pub mod shell;
pub mod status;
pub mod user;
