//! Embeds texts and compares them: `embed FILE.pt TEXT [TEXT..]`

use bertscript::{Device, EmbedOptions, Module};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let Some((file, texts)) = arguments.split_first().filter(|(_, texts)| !texts.is_empty()) else {
        return Err("usage: embed FILE.pt TEXT [TEXT..]".into());
    };
    let module = Module::load(Path::new(file), Device::Cpu, None)?;
    let embeddings = module.embed(texts, &EmbedOptions::default())?.values;

    // [texts, width], each row of length 1 if the pipeline normalises.
    let rows = Vec::<Vec<f32>>::try_from(&embeddings)?;
    for (a, text) in rows.iter().zip(texts) {
        for b in &rows {
            let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            print!("{dot:6.3} ");
        }
        println!(" {text}");
    }
    Ok(())
}
