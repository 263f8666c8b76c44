//! Programs of their own, as somebody starts them.

use super::{Checked, Prepared, ensure};
use std::path::Path;
use std::process::Command;

/// What must be near for both; without a device of their own they say why.
const TEXTS: [&str; 3] = ["the cat sat", "the cat sat on the mat", "a big city"];

pub(super) fn the_command_and_a_c_program(prepared: &Prepared) -> Checked {
    let device = prepared.device.to_string();
    let command = prepared.program("bertscript");
    let file = prepared.sentence();
    let texts = tempfile::NamedTempFile::new()?;
    std::fs::write(texts.path(), TEXTS.join("\n"))?;
    let embed = |device: &str| {
        let mut run = Command::new(&command);
        run.arg("embed").arg(&file).arg("--input").arg(texts.path()).args(["--device", device]);
        answer(&mut run)
    };
    let (found, expected) = (numbers(&embed(&device)?)?, numbers(&embed("cpu")?)?);
    ensure(found.len() == expected.len() && expected.len() > TEXTS.len(), || {
        found.len().to_string()
    })?;
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let greatest = differences.fold(0., f64::max);
    ensure(greatest <= 1e-4, || format!("embeddings differ by {greatest}"))?;

    let program = prepared.program("embed-c");
    if !Path::new(&program).exists() {
        return Err(format!("{} was not built", program.display()).into());
    }
    let similar = |device: &str| {
        let mut run = Command::new(&program);
        answer(run.args(["--device", device]).arg(&file).args(TEXTS))
    };
    let (found, expected) = (similar(&device)?, similar("cpu")?);
    // Two decimals are printed; where they round apart, they are a hundredth apart.
    let apart = numbers(&found)?
        .iter()
        .zip(numbers(&expected)?)
        .map(|(a, b)| (a - b).abs())
        .fold(0., f64::max);
    ensure(apart < 0.011 && !expected.is_empty(), || format!("{found}\n{expected}"))
}

/// What a program prints that succeeds.
fn answer(command: &mut Command) -> Result<String, Box<dyn std::error::Error>> {
    let output = command.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure(output.status.success(), || format!("{command:?}: {}: {stderr}", output.status))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The numbers in what was printed, in their order.
fn numbers(text: &str) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)));
    Ok(words.filter_map(|word| word.parse().ok()).collect())
}
