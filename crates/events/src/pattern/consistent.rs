//! Arrays. A pattern's fields must not pick values from different items of one array: `{"a": {"b": [1], "c": [2]}}` does
//! not match `{"a": [{"b": 1, "c": 0}, {"b": 0, "c": 2}]}`.
//!
//! AWS's event-ruler calls it array-consistent matching, and says: no two fields of a match are within objects that are
//! different items of one array.

use std::collections::BTreeMap;

use super::event::Event;

/// How often a field that has values in several arrays (only a name with a dot, or a repeated name, can do that) is
/// tried in another of them. Beyond it the event does not match.
const DETOURS_MAX: usize = 1000;

/// The items that a value is in, from the outermost array to the innermost: array and index.
type Chain = Vec<(u32, u32)>;

/// Whether one value can be taken for every field so that all are consistent. `fields` has, for each field, the
/// innermost items of the values that it accepts.
pub(super) fn consistent(event: &Event<'_>, fields: &[Vec<Option<u32>>]) -> bool {
    let chains: Vec<Vec<Chain>> = fields
        .iter()
        .map(|items| items.iter().map(|item| chain(event, *item)).collect())
        .collect();
    let fields = chains
        .iter()
        .map(|chains| chains.iter().map(Vec::as_slice).collect())
        .collect();
    solve(fields, &mut DETOURS_MAX.clone())
}

fn chain(event: &Event<'_>, mut item: Option<u32>) -> Chain {
    let mut chain = Vec::new();
    while let Some(number) = item {
        let inner = event.item(number);
        chain.push((inner.array, inner.index));
        item = inner.within;
    }
    chain.reverse();
    chain
}

/// What remains of a value's chain below the items that are settled.
type Rest<'a> = &'a [(u32, u32)];

/// Arrays that are not within each other have nothing to do with each other, so each is settled on its own: the time is
/// that of looking at every value once per level.
fn solve(mut fields: Vec<Vec<Rest<'_>>>, detours: &mut usize) -> bool {
    // A value in no further array goes with everything.
    fields.retain(|values| values.iter().all(|rest| !rest.is_empty()));

    let several = fields
        .iter()
        .position(|values| values.iter().any(|rest| rest[0].0 != values[0][0].0));
    if let Some(field) = several {
        return detour(&fields, field, detours);
    }

    let mut arrays: BTreeMap<u32, Vec<Vec<Rest<'_>>>> = BTreeMap::new();
    for values in fields {
        if let Some(first) = values.first() {
            arrays.entry(first[0].0).or_default().push(values);
        } else {
            return false;
        }
    }
    arrays.into_values().all(|fields| one_item(fields, detours))
}

/// Whether one item of an array has a value for each of the fields, which all have theirs in it.
fn one_item(fields: Vec<Vec<Rest<'_>>>, detours: &mut usize) -> bool {
    let wanted = fields.len();
    if wanted == 1 {
        return true;
    }
    let mut items: BTreeMap<u32, Vec<Vec<Rest<'_>>>> = BTreeMap::new();
    for (done, values) in fields.into_iter().enumerate() {
        for rest in values {
            let item = items.entry(rest[0].1).or_default();
            // An item that an earlier field has no value in cannot be the one.
            if item.len() == done {
                item.push(Vec::new());
            }
            if item.len() == done + 1 {
                item[done].push(&rest[1..]);
            }
        }
    }
    items
        .into_values()
        .filter(|fields| fields.len() == wanted)
        .any(|fields| solve(fields, detours))
}

/// Tries each of the arrays that a field has values in.
fn detour(fields: &[Vec<Rest<'_>>], field: usize, detours: &mut usize) -> bool {
    let mut arrays: Vec<u32> = fields[field].iter().map(|rest| rest[0].0).collect();
    arrays.sort_unstable();
    arrays.dedup();
    for array in arrays {
        if *detours == 0 {
            return false;
        }
        *detours -= 1;
        let mut narrowed = fields.to_vec();
        narrowed[field].retain(|rest| rest[0].0 == array);
        if solve(narrowed, detours) {
            return true;
        }
    }
    false
}
