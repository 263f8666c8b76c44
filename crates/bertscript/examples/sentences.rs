//! Which sentences mean the same? Runs an exported sentence-embedding model,
//! such as all-MiniLM-L6-v2, on a few sentences at once.
//!
//! ```text
//! cargo run --example sentences -- minilm.pt
//! ```

use bertscript::{Device, Inputs, Module, Result};
use std::path::Path;
use tch::{Kind, Tensor};

/// Sentences with their ids in the vocabulary of uncased BERT.
const SENTENCES: [(&str, &[i64]); 5] = [
    ("A man is eating food.", &[101, 1037, 2158, 2003, 5983, 2833, 1012, 102]),
    (
        "A man is eating a piece of bread.",
        &[101, 1037, 2158, 2003, 5983, 1037, 3538, 1997, 7852, 1012, 102],
    ),
    ("A woman is playing violin.", &[101, 1037, 2450, 2003, 2652, 6710, 1012, 102]),
    ("Someone plays the fiddle.", &[101, 2619, 3248, 1996, 15888, 1012, 102]),
    (
        "A cheetah is running behind its prey.",
        &[101, 1037, 18178, 12928, 2232, 2003, 2770, 2369, 2049, 8336, 1012, 102],
    ),
];

fn main() -> Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "minilm.pt".to_owned());
    let module = Module::load(Path::new(&file), Device::Cpu, None)?;

    // One run of all sentences: the shorter ones are padded and masked.
    let rows: Vec<_> = SENTENCES.iter().map(|(_, ids)| *ids).collect();
    let embeddings = embed(&module, &rows)?;
    let similarity = embeddings.f_matmul(&embeddings.f_transpose(0, 1)?)?;

    println!("cosine similarity of sentence embeddings, {} sentences in one run:\n", rows.len());
    for (i, (sentence, ids)) in SENTENCES.iter().enumerate() {
        let row = Vec::<f32>::try_from(similarity.f_get(i as i64)?)?;
        let cells: Vec<_> = row.iter().map(|cosine| format!("{cosine:5.2}")).collect();
        println!("  {} {:<38} {:2} tokens  {}", i + 1, sentence, ids.len(), cells.join(" "));
    }

    // The same file takes any shape: each sentence alone gives the same result.
    let mut largest = 0f64;
    for (i, row) in rows.iter().enumerate() {
        let alone = embed(&module, &[row])?.f_get(0)?;
        let difference = alone.f_sub(&embeddings.f_get(i as i64)?)?.f_abs()?.f_max()?;
        largest = largest.max(f64::try_from(difference)?);
    }
    println!("\neach sentence alone, without padding: equal to within {largest:.0e}");
    Ok(())
}

/// Mean over the tokens that take part, scaled to length 1: `[B,H]`.
fn embed(module: &Module, rows: &[&[i64]]) -> Result<Tensor> {
    let inputs = Inputs::from_rows(rows, 0)?;
    let mask = Tensor::f_from_slice(&ones_and_zeros(rows))?;
    let mask = mask.f_view([rows.len() as i64, -1, 1])?;
    let outputs = module.run(&inputs)?;
    let hidden = outputs.get("last_hidden_state")?;
    let sum = hidden.f_mul(&mask)?.f_sum_dim_intlist(1, false, Kind::Float)?;
    let mean = sum.f_div(&mask.f_sum_dim_intlist(1, false, Kind::Float)?)?;
    Ok(mean.f_div(&mean.f_norm_scalaropt_dim(2, 1, true)?)?)
}

fn ones_and_zeros(rows: &[&[i64]]) -> Vec<f32> {
    let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    rows.iter().flat_map(|row| (0..longest).map(|i| if i < row.len() { 1. } else { 0. })).collect()
}
