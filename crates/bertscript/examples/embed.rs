//! Embeds texts and compares them: `embed FILE.pt TEXT [TEXT..]`

use bertscript::{EmbedOptions, Module};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let Some((file, texts)) = arguments.split_first().filter(|(_, texts)| !texts.is_empty()) else {
        return Err("usage: embed FILE.pt TEXT [TEXT..]".into());
    };
    let module = Module::open(file)?;
    let embeddings = module.embed(texts, &EmbedOptions::default())?;

    // Each row is of length 1 if the pipeline normalises.
    for (a, text) in embeddings.rows().zip(texts) {
        for b in embeddings.rows() {
            let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            print!("{dot:6.3} ");
        }
        println!(" {text}");
    }
    Ok(())
}
