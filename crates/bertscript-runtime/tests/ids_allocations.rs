//! Encoding ids allocates for each text, and not for each token or word.

use bertscript_runtime::{Assets, EncodeOptions, Tokenizer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: the system's allocator does everything; a count does not change what it gets.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the system's allocator gave it for this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn tokens_and_words_take_no_allocations() {
    let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##s\ncafe\n\u{6f22}\n.\n";
    let file = ("vocab.txt".to_owned(), vocab.as_bytes().to_vec());
    let tokenizer = Tokenizer::from_assets(&[file].into_iter().collect::<Assets>()).unwrap();
    let options = EncodeOptions { details: false, ..EncodeOptions::default() };
    // From here on, tables pay off.
    tokenizer.encode(&" ".repeat(1 << 16), &options).unwrap();
    // Unknown and known words, capitals, accents, Chinese, and an added token.
    let count = |repeats| {
        let text = "the Cats dog caf\u{e9}s\u{6f22}. [MASK]".repeat(repeats);
        tokenizer.encode(&text, &options).unwrap();
        let before = ALLOCATIONS.load(Relaxed);
        let tokens = tokenizer.encode(&text, &options).unwrap()[0].len();
        (tokens, ALLOCATIONS.load(Relaxed) - before)
    };
    // Below the 64 KiB from which allocations check that others have room.
    let (few, many) = (count(1), count(100));
    assert_eq!((few.0, many.0), (11, 902));
    // One more where the ids outgrow what a text of its length has room for.
    assert!(few.1 <= 10 && many.1 <= few.1 + 1, "{few:?} {many:?}");
}
