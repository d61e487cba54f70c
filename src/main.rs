//! kirkwood
fn main() {}
