//! Whole rows of a request: those whose numbers are all the same, and those that are there twice.

use super::ROWS_ON_STACK;
use crate::tensor::{Elements, Tensor};

/// Steps along a chain of rows with like hashes (R5).
const STEPS_MAX: usize = 16;
/// Odd, and half of its bits set: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A row's part of a tensor.
enum Part<'a> {
    Fixed(&'a [u8]),
    Texts(&'a [Vec<u8>]),
}

fn part(tensor: &Tensor, rows: usize, row: usize) -> Part<'_> {
    match tensor.elements() {
        Elements::Fixed(fixed) => {
            let bytes = fixed.as_bytes();
            let width = bytes.len() / rows;
            Part::Fixed(&bytes[row * width..(row + 1) * width])
        }
        Elements::Bytes(texts) => {
            let width = texts.len() / rows;
            Part::Texts(&texts[row * width..(row + 1) * width])
        }
    }
}

/// Whether all numbers of a row are the same. NaN is the same as nothing.
pub(super) fn is_constant(inputs: &[Tensor], rows: usize, row: usize) -> bool {
    let mut value = None;
    for tensor in inputs {
        let Elements::Fixed(fixed) = tensor.elements() else {
            continue;
        };
        let width = tensor.elements().count() / rows;
        for at in row * width..(row + 1) * width {
            let Some(number) = fixed.number(at) else {
                return false;
            };
            if *value.get_or_insert(number) != number {
                return false;
            }
        }
    }
    value.is_some()
}

/// Whether two rows are the same to the last bit.
pub(super) fn same(inputs: &[Tensor], rows: usize, a: usize, b: usize) -> bool {
    inputs
        .iter()
        .all(|it| match (part(it, rows, a), part(it, rows, b)) {
            (Part::Fixed(a), Part::Fixed(b)) => a == b,
            (Part::Texts(a), Part::Texts(b)) => a == b,
            _ => false,
        })
}

/// Calls `found` with every row that is there before.
pub(super) fn duplicates(inputs: &[Tensor], rows: usize, found: impl FnMut(usize)) {
    let Ok(count) = u32::try_from(rows) else {
        return;
    };
    match rows {
        0 | 1 => {}
        2..=ROWS_ON_STACK => look(inputs, count, &mut [0; 2 * ROWS_ON_STACK], found),
        _ => look(
            inputs,
            count,
            &mut vec![0; (2 * rows).next_power_of_two()],
            found,
        ),
    }
}

/// `table` is at least twice as long as there are rows, and its length a power of two. An entry is the upper half of
/// a hash and the row's number plus one.
fn look(inputs: &[Tensor], count: u32, table: &mut [u64], mut found: impl FnMut(usize)) {
    let (rows, last) = (count as usize, table.len() - 1);
    for row in 0..count {
        let hash = hash(inputs, rows, row as usize);
        let entry = hash & !u64::from(u32::MAX) | u64::from(row + 1);
        let start = hash as usize;
        for step in 0..STEPS_MAX {
            let slot = &mut table[start.wrapping_add(step) & last];
            if *slot == 0 {
                *slot = entry;
                break;
            }
            let before = (*slot as u32 - 1) as usize;
            if *slot >> 32 == entry >> 32 && same(inputs, rows, before, row as usize) {
                found(row as usize);
                break;
            }
        }
    }
}

fn hash(inputs: &[Tensor], rows: usize, row: usize) -> u64 {
    let mut hash = FACTOR;
    for tensor in inputs {
        match part(tensor, rows, row) {
            Part::Fixed(bytes) => hash = mixed(hash, bytes),
            Part::Texts(texts) => {
                for text in texts {
                    hash = mixed(hash ^ text.len() as u64, text);
                }
            }
        }
    }
    hash
}

/// A text's.
pub(super) fn hash_of(text: &[u8]) -> u64 {
    mixed(FACTOR ^ text.len() as u64, text)
}

fn mixed(mut hash: u64, bytes: &[u8]) -> u64 {
    // Both halves of the product, so that the upper bits of a word reach the lower bits of the hash.
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        (product ^ (product >> 64)) as u64
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}
