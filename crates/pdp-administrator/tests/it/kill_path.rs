//! The one kill path, step by step.
