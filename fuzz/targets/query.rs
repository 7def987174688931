//! The Query decoder: any form becomes a tree or an error, and any tree becomes a request or an error.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wire::{Decoder, List, Shape, Timestamp};

/// Every kind of member that a form can hold.
#[derive(Shape)]
struct Everything {
    text: Option<String>,
    number: Option<i64>,
    fraction: Option<f64>,
    flag: Option<bool>,
    at: Option<Timestamp>,
    list: Option<List<String, 0, 4>>,
    map: Option<BTreeMap<String, i32>>,
    inner: Option<Vec<Inner>>,
}

#[derive(Shape)]
struct Inner {
    key: String,
    value: Option<BTreeMap<String, Vec<String>>>,
}

fuzz_target!(|body: &[u8]| {
    if let Ok(node) = wire::read_form("", &Bytes::copy_from_slice(body)) {
        if let Ok(everything) = Decoder::run::<Everything>(node) {
            // What was read can be printed.
            let _printed = everything.encode().to_string();
        }
    }
});
