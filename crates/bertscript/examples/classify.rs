//! Labels texts: `classify FILE.pt TEXT [TEXT..]`

use bertscript::{ClassifyOptions, LongTexts, Module};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let Some((file, texts)) = arguments.split_first().filter(|(_, texts)| !texts.is_empty()) else {
        return Err("usage: classify FILE.pt TEXT [TEXT..]".into());
    };
    let module = Module::open(file)?;

    // The two best labels of each text, which may be truncated.
    let options = ClassifyOptions {
        top_k: Some(2),
        long_texts: LongTexts::Truncate,
        ..ClassifyOptions::default()
    };
    for (found, text) in module.classify(texts, &options)?.iter().zip(texts) {
        println!("{text}{}", if found.truncated { " (truncated)" } else { "" });
        for label in &found.labels {
            println!("  {:.4} {}", label.score, label.label);
        }
    }
    Ok(())
}
