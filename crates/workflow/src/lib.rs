//! The GitHub workflow language, pure: text and facts in, plans and values out.
//!
//! Layers, lowest first: [`source`] (where something stands, what is wrong with it), [`yaml`] (a tree with
//! positions), [`expression`] (the `${{ }}` language), [`template`] (YAML values with expressions in them),
//! [`model`] and the reader behind [`read_workflow`], [`pattern`] (branch and path filters), [`plan`] (does
//! this push start this workflow, with which jobs) and [`schedule`] (which jobs may start now).
//!
//! Architecture invariant: no I/O, no clock, no tokio. Every function is total: whatever the input, it ends
//! with a value or with mistakes that name file, line and column. The builder is the main caller.

pub mod availability;
pub mod expression;
pub mod matrix;
pub mod model;
pub mod pattern;
pub mod plan;
mod read;
pub mod schedule;
pub mod source;
pub mod template;
pub mod yaml;

pub use expression::{Environment, Expression, Value};
pub use model::{Job, Step, StepKind, Workflow};
pub use plan::{Decision, Plan, PlannedJob, Push, plan};
pub use read::read_workflow;
pub use source::{Location, Mistake, Mistakes};
pub use template::Template;
