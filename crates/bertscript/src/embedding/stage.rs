//! The modules of sentence-transformers that change rows: tokens before pooling, texts
//! after it.
//!
//! Sources: `Dense`, `Normalize`, `LayerNorm` and `Dropout` of
//! <https://github.com/huggingface/sentence-transformers/tree/v6.2.0/sentence_transformers>

use super::dense::Dense;
use super::module_files::{Arguments, ModuleWeights};
use crate::assets::Assets;
use crate::checkpoint::{MODULES_FILE, ModuleEntry};
use crate::error::{Error, ErrorKind, Result};
use bertscript_kernels::{Isa, LayerNorm, Matrix, Team};

/// That of `torch.nn.LayerNorm`, which the module does not change.
const LAYER_NORM_EPS: f64 = 1e-5;

/// What a module reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Features {
    /// `token_embeddings`
    Tokens,
    /// `sentence_embedding`
    Texts,
}

/// A function of rows. A row depends on itself alone, to the last bit.
#[derive(Debug)]
pub(super) enum PipelineStage {
    Dense(Dense),
    LayerNorm {
        norm: LayerNorm,
        width: usize,
    },
    /// To length 1.
    Normalize,
    /// Active in training only.
    Dropout,
}

impl PipelineStage {
    /// Reads a module other than `Pooling`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a class that is not known, by its name;
    /// [`ErrorKind::Config`] for what its constructor refuses.
    pub(super) fn read(module: &ModuleEntry, assets: &Assets) -> Result<(Features, Self)> {
        let arguments = Arguments::read(module, assets)?;
        Ok(match module.class() {
            "Dense" => {
                let features = features(&arguments)?;
                let dense = Dense::read(module, &arguments, assets)?;
                if features == Features::Tokens && dense.mixes_texts() {
                    let message = "activation_function: normalises token_embeddings over the batch";
                    return Err(arguments.place(Error::new(ErrorKind::Unsupported, message)));
                }
                (features, Self::Dense(dense))
            }
            "LayerNorm" => {
                arguments.expect_only(&["dimension"])?;
                let width = arguments.width("dimension")?;
                let mut weights = ModuleWeights::read(module, assets)?;
                let weight = weights.take("norm.weight", &[width])?;
                let bias = weights.take("norm.bias", &[width])?;
                weights.finish()?;
                let isa =
                    Isa::best().map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
                let norm = LayerNorm::new(isa, &weight, &bias, LAYER_NORM_EPS)?;
                (Features::Texts, Self::LayerNorm { norm, width: width as usize })
            }
            "Normalize" => (features(&arguments)?, Self::Normalize),
            "Dropout" => {
                arguments.expect_only(&["dropout"])?;
                let rate = arguments.get("dropout").map_or(Some(0.), |rate| rate.as_f64());
                if !rate.is_some_and(|rate| (0. ..=1.).contains(&rate)) {
                    return Err(arguments.found("dropout", "a number from 0 to 1"));
                }
                (Features::Texts, Self::Dropout)
            }
            other => {
                let message = format!(
                    "the module {other:?} is not supported here, only Pooling, Dense, LayerNorm, Normalize and Dropout"
                );
                return Err(Error::new(ErrorKind::Unsupported, message).at(MODULES_FILE));
            }
        })
    }

    /// The name of its class.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Dense(_) => "Dense",
            Self::LayerNorm { .. } => "LayerNorm",
            Self::Normalize => "Normalize",
            Self::Dropout => "Dropout",
        }
    }

    /// The width that it makes of rows of a width.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it is made for another.
    pub(super) fn width(&self, found: usize) -> Result<usize> {
        let (expected, outputs) = match self {
            Self::Dense(dense) => (dense.inputs(), dense.outputs()),
            Self::LayerNorm { width, .. } => (*width, *width),
            Self::Normalize | Self::Dropout => (found, found),
        };
        if found == expected {
            return Ok(outputs);
        }
        let message =
            format!("{}: found embeddings of width {found}, expected {expected}", self.name());
        Err(Error::new(ErrorKind::Config, message).at(MODULES_FILE))
    }

    /// The width of its results, unless it is that of its rows.
    pub(super) fn outputs(&self) -> Option<usize> {
        match self {
            Self::Dense(dense) => Some(dense.outputs()),
            _ => None,
        }
    }

    fn forward(&self, team: &dyn Team, x: &Matrix<f32>) -> Result<Matrix<f32>> {
        if let Self::Dense(dense) = self {
            return dense.forward(team, x);
        }
        let mut y = Matrix::new(x.width());
        y.set_rows(x.len())?;
        (0..x.len()).for_each(|row| y.row_mut(row).copy_from_slice(x.row(row)));
        match self {
            Self::LayerNorm { norm, width } => {
                norm.forward(team, y.all_mut(), Matrix::<f32>::new(*width).all_mut())?;
            }
            Self::Normalize => (0..y.len()).for_each(|row| normalize(y.row_mut(row))),
            Self::Dense(_) | Self::Dropout => {}
        }
        Ok(y)
    }
}

/// What stages make of rows, one after another; none if there are no stages.
pub(super) fn apply(
    stages: &[PipelineStage],
    team: &dyn Team,
    x: &Matrix<f32>,
) -> Result<Option<Matrix<f32>>> {
    let mut rows = None;
    for stage in stages {
        let x = rows.as_ref().unwrap_or(x);
        stage.width(x.width())?;
        rows = Some(stage.forward(team, x)?);
    }
    Ok(rows)
}

/// A row to length 1; `torch.nn.functional.normalize`.
pub(crate) fn normalize(row: &mut [f32]) {
    let squares: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
    // `max` would make a length of NaN.
    let length = if squares < 1e-24 { 1e-12 } else { squares.sqrt() };
    row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
}

/// `module_input_name` and `module_output_name`.
fn features(arguments: &Arguments) -> Result<Features> {
    let (input, output) = ("module_input_name", "module_output_name");
    let from = arguments.string(input)?.unwrap_or("sentence_embedding");
    let to = match arguments.get(output) {
        Some(serde_json::Value::Null) => from,
        _ => arguments.string(output)?.unwrap_or(from),
    };
    match (from, to) {
        ("token_embeddings", "token_embeddings") => Ok(Features::Tokens),
        ("sentence_embedding", "sentence_embedding") => Ok(Features::Texts),
        _ => {
            let message = format!(
                "{input} and {output}: found {from:?} and {to:?}, expected token_embeddings or sentence_embedding for both"
            );
            Err(arguments.place(Error::new(ErrorKind::Unsupported, message)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::normalize;
    use bertscript_kernels::Matrix;

    #[test]
    fn normalize_hides_no_nan_and_leaves_zeros() {
        let mut rows = Matrix::new(2);
        rows.set_rows(3).unwrap();
        for (row, values) in [[3., 4.], [0., 0.], [1., f32::NAN]].iter().enumerate() {
            rows.row_mut(row).copy_from_slice(values);
        }
        (0..3).for_each(|row| normalize(rows.row_mut(row)));
        assert_eq!((rows.row(0), rows.row(1)), (&[0.6, 0.8][..], &[0., 0.][..]));
        assert!(rows.row(2).iter().all(|value| value.is_nan()), "{:?}", rows.row(2));
    }
}
