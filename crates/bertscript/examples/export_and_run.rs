//! The example of the README: from a checkpoint to a result.

use bertscript::{Checkpoint, Device, EmbedOptions, LoadOptions, Module, PreTrained};

fn main() -> bertscript::Result<()> {
    let checkpoint = Checkpoint::open("all-MiniLM-L6-v2".as_ref())?;
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default())?;
    bertscript::export(&model, &checkpoint, &[], "minilm.pt".as_ref())?;

    let module = Module::load("minilm.pt".as_ref(), Device::Cpu, None)?;
    let texts = ["A man is eating pasta.", "Someone has a meal."];
    let embeddings = module.embed(texts, &EmbedOptions::default())?.values;
    println!("{embeddings:?}");
    println!("{}", module.similarity(&embeddings, &embeddings)?);
    Ok(())
}
