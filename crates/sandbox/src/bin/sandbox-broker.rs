//! A broker for this crate's own tests and examples; the product uses its own binary.

fn main() {
    sandbox::broker_main();
}
