//! What a Unigram tokenizer asks for before it is built, beside what building takes.

use bertscript::{Assets, Tokenizer};
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that are allocated.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The largest allocation, which is only asked for and not used.
static ASKED: AtomicUsize = AtomicUsize::new(0);
/// Of [`LIVE`], without it: when it was asked for, and the most since.
static BEFORE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: the system's allocator does everything; numbers do not change what it gets.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed);
        if layout.size() > ASKED.load(Relaxed) {
            ASKED.store(layout.size(), Relaxed);
            BEFORE.store(live, Relaxed);
            PEAK.store(live, Relaxed);
        } else {
            PEAK.fetch_max(live + layout.size(), Relaxed);
        }
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the system's allocator gave it for this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was asked for, and what was used, in bytes.
fn opened(files: &[(&str, Vec<u8>)]) -> (usize, usize) {
    let files = files.iter().map(|(name, file)| ((*name).to_owned(), file.clone()));
    let assets: Assets = files.collect();
    // Not what stays from before.
    ASKED.store(1 << 20, Relaxed);
    let tokenizer = Tokenizer::from_assets(&assets).unwrap();
    assert_eq!(tokenizer.model(), "Unigram");
    (ASKED.load(Relaxed), PEAK.load(Relaxed) - BEFORE.load(Relaxed))
}

/// A field of a SentencePiece model.
fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut length = contents.len();
    let mut bytes = vec![number << 3 | 2];
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [&bytes, contents].concat()
}

fn model(pieces: &[String]) -> Vec<u8> {
    let piece = |text: &String| {
        let score = [&[2 << 3 | 5][..], &(-1_f32).to_le_bytes()].concat();
        field(1, &[field(1, text.as_bytes()), score].concat())
    };
    pieces.iter().flat_map(piece).collect()
}

fn json(pieces: &[String]) -> Vec<u8> {
    let vocab: Vec<_> = pieces.iter().map(|piece| (piece, -1.0)).collect();
    let json = json!({"version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab}});
    json.to_string().into_bytes()
}

/// Numbers that look like chance.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// Words of syllables, the first of which are frequent, with as many beginnings in common as
/// vocabularies have.
fn words(count: usize) -> Vec<String> {
    let mut state = 1;
    let syllable = |state: &mut u64| {
        let most = 1 + random(state) % 600;
        let number = random(state) % most;
        format!(
            "{}{}",
            ["b", "d", "st", "\u{3b1}"][number % 4],
            (b'a' + (number % 26) as u8) as char
        )
    };
    let word = |state: &mut u64| {
        let mut word = ["\u{2581}", ""][random(state) % 3 / 2].to_owned();
        (0..=random(state) % 4).for_each(|_| word.push_str(&syllable(state)));
        word
    };
    (0..count).map(|_| word(&mut state)).collect()
}

#[test]
fn what_is_asked_for_is_about_what_is_used() {
    let count = 0..4000;
    let (long, text) = ("a".repeat(250), |i: &usize| i.to_string());
    for (name, pieces, most) in [
        ("words", words(200_000), 1.5),
        (
            "nothing in common",
            count.clone().map(|i| format!("{}{}", text(&i), &long[..100])).collect(),
            1.4,
        ),
        ("all in common", count.map(|i| format!("{long}{}", text(&i))).collect::<Vec<_>>(), 2.0),
    ] {
        let class = |name: &str| json!({"tokenizer_class": name}).to_string().into_bytes();
        let sizes = [
            ("sentencepiece.bpe.model", model(&pieces), class("XLMRobertaTokenizer")),
            ("tokenizer.json", json(&pieces), class("XLMRobertaTokenizer")),
            ("tokenizer.json", json(&pieces), class("PreTrainedTokenizerFast")),
        ]
        .map(|(file, contents, class)| {
            let (asked, used) = opened(&[(file, contents), ("tokenizer_config.json", class)]);
            println!("{name}, {file}: asked for {asked} bytes, used {used}");
            assert!(asked >= used, "{name}, {file}: asked for {asked} bytes, used {used}");
            (asked, used)
        });
        // Of all forms; a document that is read frees itself meanwhile.
        let [asked, used] = [sizes.map(|size| size.0), sizes.map(|size| size.1)]
            .map(|sizes| sizes.into_iter().max().unwrap() as f64);
        assert!(asked < most * used, "{name}: asked for {asked} bytes, used {used}");
    }
}
