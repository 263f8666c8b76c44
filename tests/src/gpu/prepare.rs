//! What the checks run on, written where the checks were built.

use crate::{GOLDENS, Golden, fixture};
use bertscript::{Archive, Checkpoint, LoadOptions, PreTrained, Shapes, trace};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

type Written = Result<(), Box<dyn std::error::Error>>;

/// Heads of 64, as BERT has, texts of up to 512 tokens; small enough to be carried.
const WIDE: &str = r#"{"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 256,
    "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 1024,
    "vocab_size": 2000, "max_position_embeddings": 512, "initializer_range": 0.05}"#;

/// Writes every golden, a wide model and one that embeds.
pub fn prepare(directory: &Path) -> ExitCode {
    match write(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path) -> Written {
    for golden in &GOLDENS {
        let folder = directory.join("goldens").join(golden.name);
        fs::create_dir_all(&folder)?;
        model(golden, &folder.join("model.pt"))?;
        for name in ["inputs.safetensors", "outputs.safetensors"] {
            fs::copy(golden.directory().join(name), folder.join(name))?;
        }
    }
    let checkpoint = Checkpoint::open(fixture("text/sentence"))?;
    let sentence = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default())?;
    sentence.export(&Shapes::Any, directory.join("sentence.pt"))?;

    let scratch = crate::scratch();
    fs::write(scratch.path().join("config.json"), WIDE)?;
    let checkpoint = Checkpoint::open(scratch.path())?;
    let options = LoadOptions { random_init: Some(11), ..LoadOptions::default() };
    let wide = PreTrained::from_checkpoint(&checkpoint, &options)?;
    wide.export(&Shapes::Any, directory.join("wide.pt"))?;
    Ok(())
}

fn model(golden: &Golden, path: &Path) -> Written {
    let options = LoadOptions {
        architecture: Some(golden.architecture()),
        hidden_states: golden.everything,
        attentions: golden.everything,
        ..LoadOptions::default()
    };
    let checkpoint = golden.checkpoint();
    let model = PreTrained::from_checkpoint(&checkpoint, &options)?;
    Archive::new(&model, &Shapes::Any)?.save(&trace(&model, &Shapes::Any)?, path)?;
    Ok(())
}
