//! The demo: the story, step by step, on real parts.
fn main() {}
