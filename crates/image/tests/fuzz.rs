//! Generated archives and references (`cargo xtask fuzz tar|reference`).

#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

mod common;

use common::{Home, home};
use image::Reference;
use std::fs;
use tar::{EntryType, Header};
use testkit::fuzz::{Dice, fuzz};

/// Parts of the names of a hostile archive.
const PARTS: &[&str] = &[
    "a",
    "b",
    "dir",
    "link",
    "/",
    "/",
    "/",
    "..",
    "../",
    ".",
    "./",
    ".wh.",
    ".wh.a",
    ".wh.dir",
    ".wh..wh..opq",
    ".wh..wh.plnk",
    "//",
    "\u{fffd}",
    " ",
    "etc",
    "proc/self/root",
    "/canary",
];

const KINDS: &[EntryType] = &[
    EntryType::Regular,
    EntryType::Regular,
    EntryType::Directory,
    EntryType::Directory,
    EntryType::Symlink,
    EntryType::Symlink,
    EntryType::Link,
    EntryType::Fifo,
    EntryType::Char,
    EntryType::Block,
    EntryType::XGlobalHeader,
    EntryType::XHeader,
    EntryType::GNULongName,
    EntryType::GNULongLink,
    EntryType::GNUSparse,
    EntryType::Continuous,
];

fn name(dice: &mut Dice) -> String {
    let mut name = dice.words(PARTS, 5);
    if dice.once_in(50) {
        name = name.repeat(40);
    }
    name.truncate(name.floor_char_boundary(100));
    name
}

fn archive(dice: &mut Dice) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for _ in 0..=dice.below(12) {
        let kind = *dice.pick(KINDS);
        let content = match kind {
            EntryType::XHeader | EntryType::XGlobalHeader => {
                let pairs =
                    ["12 path=../x\n", "20 size=9999999999\n", "30 SCHILY.xattr.trusted.x=1\n"];
                dice.words(&pairs, 3).into_bytes()
            }
            EntryType::Regular | EntryType::GNULongName | EntryType::GNULongLink => dice.bytes(700),
            _ => Vec::new(),
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(*dice.pick(&[0o644, 0o755, 0o4755, 0o1777, 0, u32::MAX >> 4]));
        header.set_size(if dice.once_in(20) { dice.number() >> 20 } else { content.len() as u64 });
        header.set_mtime(*dice.pick(&[0, 1, 1_700_000_000, u64::MAX >> 31]));
        header.set_uid(*dice.pick(&[0, 1000, 0o7_777_777]));
        let (path, link) = (name(dice), name(dice));
        let fields = header.as_old_mut();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        if !dice.once_in(30) {
            header.set_cksum();
        }
        tar.append(&header, &content[..]).unwrap();
    }
    let mut bytes = tar.into_inner().unwrap();
    if dice.once_in(3) {
        dice.spoil(&mut bytes);
    }
    bytes
}

/// What an archive must never reach, and where nothing may be left.
fn untouched(home: &Home) -> (Vec<String>, String, usize) {
    let entries = |dir: &std::path::Path| {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let root = home.store.root();
    (
        entries(home.dir.path()),
        fs::read_to_string(home.dir.path().join("canary")).unwrap(),
        entries(&root.join("tmp")).len(),
    )
}

#[test]
fn fuzz_tar() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let home = runtime.block_on(home());
    fs::write(home.dir.path().join("canary"), "sings").unwrap();
    let before = untouched(&home);
    fuzz("tar", |dice| {
        let bytes = archive(dice);
        // Refused or taken: either is right, if nothing else happens.
        drop(runtime.block_on(home.store.layer_from_tar(None, &bytes[..])));
        assert_eq!(untouched(&home), before);
    });
    runtime
        .block_on(async { drop(home.store.load(&b""[..], tokio::sync::mpsc::channel(1).0).await) });
}

#[test]
fn fuzz_reference() {
    let parts = [
        "a",
        "Z",
        "0",
        "-",
        "--",
        "_",
        "__",
        ".",
        "/",
        ":",
        "@",
        "sha256:",
        "localhost",
        "127.0.0.1",
        ":5000",
        "[::1]",
        "docker.io",
        "library/",
        "latest",
        "0123456789abcdef",
        "ü",
        "%",
        " ",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ];
    fuzz("reference", |dice| {
        let text = dice.words(&parts, 8);
        let Ok(reference) = Reference::parse(&text) else { return };
        // What is shown means the same when it is typed.
        let shown = reference.familiar();
        let again =
            Reference::parse(&shown).unwrap_or_else(|err| panic!("{text:?} → {shown:?}: {err}"));
        assert_eq!(again, reference, "{text:?} → {shown:?}");
    });
}
