//! The doors' table.
