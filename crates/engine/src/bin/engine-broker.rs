//! The sandbox's broker for this crate's own tests; the product is its own broker.

fn main() {
    sandbox::broker_main();
}
