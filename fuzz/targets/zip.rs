//! Packages: any bytes are unpacked or refused; nothing lands outside the folder, and no more than the limit.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;

/// What functions may unpack to.
const BYTES_MAX: u64 = 262_144_000;

fuzz_target!(|input: &[u8]| {
    let package = match input.split_first() {
        // Bytes as they are hardly ever get past the signatures, so most are made into a zip with odd entries.
        Some((0, raw)) => raw.to_vec(),
        Some((lie, entries)) => made(*lie, entries),
        None => return,
    };
    let package = package.as_slice();
    let outside = tempfile::tempdir().expect("a folder for the test");
    let folder = outside.path().join("package");
    fs::create_dir(&folder).expect("the folder is new");
    if let Ok(bytes) = functions::unpack(package, &folder) {
        assert!(bytes <= BYTES_MAX);
        assert_eq!(bytes, content_bytes(&folder));
    }
    let beside = fs::read_dir(outside.path()).expect("the folder is there");
    assert_eq!(
        beside.count(),
        1,
        "something was written beside the package"
    );
});

/// A zip of stored entries: each is told by its mode, the lengths of name and content, and these themselves. Bits of
/// `lie` make the directory say something else than is true.
fn made(lie: u8, mut input: &[u8]) -> Vec<u8> {
    const MODES: [u16; 8] = [
        0o100_644, 0o100_755, 0o040_755, 0o120_777, 0o020_644, 0, 0o010_644, 0o104_755,
    ];
    let (mut zip, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    while let [mode, name, content, rest @ ..] = input {
        let mode = MODES[usize::from(mode % 8)];
        let (name, rest) = rest.split_at(usize::from(name % 32).min(rest.len()));
        let (content, rest) = rest.split_at(usize::from(*content).min(rest.len()));
        input = rest;
        let at = u32::try_from(zip.len()).expect("the input is short");
        let size = u32::try_from(content.len()).expect("the input is short");
        let told = if lie & 2 == 0 { size } else { size ^ 1 };
        let sum = if lie & 4 == 0 { crc32(content) } else { 7 };
        let mut head = Vec::new();
        for field in [20, 0, 0, 0, 0] {
            head.extend(u16::to_le_bytes(field));
        }
        for field in [sum, size, told] {
            head.extend(u32::to_le_bytes(field));
        }
        let length = u16::try_from(name.len()).expect("at most 31");
        head.extend(length.to_le_bytes());
        head.extend([0; 2]);
        zip.extend(b"PK\x03\x04");
        zip.extend(&head);
        zip.extend(name);
        zip.extend(content);
        directory.extend(b"PK\x01\x02");
        directory.extend([20, 3]);
        directory.extend(&head);
        directory.extend([0; 6]);
        directory.extend((u32::from(mode) << 16).to_le_bytes());
        directory.extend((if lie & 8 == 0 { at } else { 0 }).to_le_bytes());
        directory.extend(name);
        count += 1;
    }
    let start = u32::try_from(zip.len()).expect("the input is short");
    let size = u32::try_from(directory.len()).expect("the input is short");
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    let told = if lie & 16 == 0 { count } else { count / 2 };
    zip.extend(told.to_le_bytes());
    zip.extend(told.to_le_bytes());
    zip.extend(size.to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0; 2]);
    zip
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 0 { 0 } else { 0xEDB8_8320 }
        })
    })
}

fn content_bytes(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).expect("it was just unpacked") {
        let entry = entry.expect("it was just unpacked");
        let kind = entry.file_type().expect("it was just unpacked");
        if kind.is_dir() {
            bytes += content_bytes(&entry.path());
        } else if kind.is_file() {
            bytes += entry.metadata().expect("it was just unpacked").len();
        } else {
            assert!(kind.is_symlink(), "neither file nor folder nor link");
        }
    }
    bytes
}
