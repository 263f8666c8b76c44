//! The example of the README: from a checkpoint to a result.

use bertscript::{EmbedOptions, Module};

fn main() -> bertscript::Result<()> {
    bertscript::export("all-MiniLM-L6-v2", "minilm.pt")?;

    let module = Module::open("minilm.pt")?;
    let texts = ["A man is eating pasta.", "Someone has a meal."];
    let embeddings = module.embed(texts, &EmbedOptions::default())?;
    println!("{} values, from {:.3}", embeddings.row(0).len(), embeddings.row(0)[0]);

    let similarity = module.similarity(&embeddings, &embeddings)?;
    println!("{:.3?}", similarity.as_slice::<f32>()?);
    Ok(())
}
