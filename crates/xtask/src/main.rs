//! Project tasks: demo, generated files.
fn main() {}
