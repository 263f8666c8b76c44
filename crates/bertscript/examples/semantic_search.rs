//! Finds the lines of a text file that mean what is asked, whatever their
//! words.
//!
//! ```text
//! cargo run --example semantic_search -- minilm.pt crates/bertscript/examples/notes.txt
//! ```

use bertscript::{EmbedOptions, Module};
use std::time::Instant;

const QUESTIONS: [&str; 4] = [
    "My computer is broken.",
    "How do I get there without a car?",
    "I feel ill.",
    "making music with others",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(texts)) = (arguments.next(), arguments.next()) else {
        return Err("usage: semantic_search FILE.pt TEXTS.txt".into());
    };
    let module = Module::open(file)?;
    let text = std::fs::read_to_string(texts)?;
    let lines: Vec<&str> = text.lines().collect();
    let options = EmbedOptions::default();

    let started = Instant::now();
    let found = module.embed(lines.iter().copied(), &options)?;
    let elapsed = started.elapsed().as_secs_f64() * 1e3;
    println!("embedded {} lines in {elapsed:.0} ms", lines.len());

    let questions = module.embed(QUESTIONS, &options)?;
    // [questions, lines]
    let scores = module.similarity(&questions, &found)?;
    for (question, scores) in QUESTIONS.iter().zip(scores.as_slice::<f32>()?.chunks(lines.len())) {
        println!("\n{question}");
        let mut best: Vec<_> = scores.iter().zip(&lines).collect();
        best.sort_by(|a, b| b.0.total_cmp(a.0));
        for (score, line) in &best[..3] {
            println!("  {score:5.2}  {line}");
        }
    }
    Ok(())
}
