//! How many texts a second are encoded: `cargo xtask bench` asks.
//!
//! ```text
//! encode DIR TEXTS.txt ids|all
//! ```

use bertscript::{Checkpoint, EncodeOptions, Text, Tokenizer, Truncation};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [directory, texts, what] = arguments.as_slice() else {
        return Err("usage: encode DIR TEXTS.txt ids|all".into());
    };
    let checkpoint = Checkpoint::open(directory)?;
    let tokenizer = Tokenizer::from_assets(&checkpoint.assets()?)?;
    let text = std::fs::read_to_string(texts)?;
    let texts: Vec<Text> = text.lines().map(Text::from).collect();
    let options = EncodeOptions {
        truncation: Truncation::LongestFirst,
        details: what == "all",
        ..EncodeOptions::default()
    };
    tokenizer.encode_batch(&texts[..texts.len().min(100)], &options)?;
    let started = Instant::now();
    let found = tokenizer.encode_batch(&texts, &options)?;
    println!("{}", found.len() as f64 / started.elapsed().as_secs_f64());
    Ok(())
}
