//! What archives compute, as text, to be compared with what another build computes.

use crate::bertscript::{
    ClassifyOptions, EmbedOptions, EmbedSparseOptions, EntitiesOptions, FillMaskOptions, Inputs,
    Module, Result, Tensor, weights_sha256,
};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Checkpoints whose `config.json` names a class, in the order of their names.
pub(crate) fn checkpoints(fixtures: &Path) -> Vec<PathBuf> {
    let folders = [fixtures.join("text"), fixtures.to_owned()];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.join("config.json").exists() && !path.ends_with("model-eps"));
    found.sort();
    found
}

pub(crate) fn file_of(folder: &Path, checkpoint: &Path) -> PathBuf {
    let parts = checkpoint.iter().skip_while(|part| *part != "fixtures").skip(1);
    let name = parts.map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("-");
    folder.join(name).with_extension("pt")
}

/// All outputs of a module for rows of two lengths, and what its task makes of texts.
pub(crate) fn results(module: &Module) -> Result<String> {
    let has_choices = module.metadata().unwrap().inputs[0].shape.len() == 3;
    let inputs = match has_choices {
        true => Inputs::new(Tensor::new(vec![2_i64, 9, 3, 4, 7, 3], [1, 2, 3])?),
        false => Inputs::from_rows(&[vec![2, 9, 7, 4, 11, 3], vec![2, 5, 3]], 0)?,
    };
    let mut found = format!("{}\n", module.engine());
    for named in module.run(&inputs)?.into_tensors() {
        let (name, shape) = (named.0.clone(), named.1.shape().to_vec());
        writeln!(found, "{name} {shape:?} {}", weights_sha256(&[named])?).unwrap();
    }
    if module.tokenizer().is_ok() && !has_choices {
        let texts = ["She went to the big [MASK].", "the cat sat", ""];
        let embedded = module.embed(texts, &EmbedOptions::default());
        let embedded = embedded.map(|found| found.row(1).to_vec());
        writeln!(found, "{embedded:?}").unwrap();
        let sparse = module.embed_sparse(texts, &EmbedSparseOptions::default());
        writeln!(found, "{sparse:?}").unwrap();
        writeln!(found, "{:?}", module.classify(texts, &ClassifyOptions::default())).unwrap();
        writeln!(found, "{:?}", module.entities(texts, &EntitiesOptions::default())).unwrap();
        let filled = module.fill_mask([texts[0]], &FillMaskOptions::default());
        writeln!(found, "{filled:?}").unwrap();
    }
    Ok(found)
}
