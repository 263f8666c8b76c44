//! What sentence-transformers makes of hidden states: `modules.json` and the
//! files it names.
//!
//! Sources: `Pooling`, `Dense`, `Normalize` and `SentenceTransformer` of
//! <https://github.com/huggingface/sentence-transformers/tree/v6.2.0/sentence_transformers>

use super::dense::Dense;
use super::encoding::unknown;
use super::pooling::PoolingMode;
use crate::assets::Assets;
use crate::checkpoint::{MODULES_FILE, ModuleEntry, read_modules};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use bertscript_kernels::Matrix;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use tch::{Kind, Tensor};

/// The steps from hidden states to an embedding, and the prompts.
#[derive(Debug, Default)]
pub struct Recipe {
    /// The steps in order; the first pools.
    pub steps: Vec<Step>,
    /// What is put before a text.
    pub prompts: Prompts,
    /// How two embeddings are compared.
    pub similarity: Similarity,
    /// How many dimensions are kept, if not all.
    pub truncate_dim: Option<usize>,
}

/// A step of a recipe.
#[derive(Debug)]
pub enum Step {
    /// One vector for a text.
    Pooling {
        /// The modes; the results of several are concatenated.
        modes: Vec<PoolingMode>,
        /// Whether the tokens of the prompt take part.
        include_prompt: bool,
    },
    /// A linear layer with an activation.
    Dense(Dense),
    /// To length 1.
    Normalize,
}

/// Texts put before a text, by name.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Prompts {
    /// The prompts.
    #[serde(default)]
    pub prompts: BTreeMap<String, String>,
    /// The one that is used unless another is asked for.
    #[serde(default)]
    pub default_prompt_name: Option<String>,
}

/// How two embeddings are compared (`similarity_fn_name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// The cosine of the angle between them.
    #[default]
    Cosine,
    /// The dot product.
    Dot,
    /// The negative Euclidean distance.
    Euclidean,
    /// The negative Manhattan distance.
    Manhattan,
}

impl Recipe {
    /// The recipe of a checkpoint or an archive; none without a `modules.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a module this library does not know, by
    /// its class; [`ErrorKind::Config`] for malformed files.
    pub fn from_assets(assets: &Assets) -> Result<Option<Self>> {
        #[derive(Default, Deserialize)]
        struct Settings {
            #[serde(flatten)]
            prompts: Prompts,
            similarity_fn_name: Option<String>,
            truncate_dim: Option<usize>,
        }
        let Some(modules) = assets.get(MODULES_FILE) else { return Ok(None) };
        let mut steps = Vec::new();
        for module in read_modules(modules)?.iter().skip(1) {
            steps.extend(Step::read(module, assets)?);
        }
        if !matches!(steps.first(), Some(Step::Pooling { .. })) {
            let message = "the second module is no Pooling: these are no embeddings of texts";
            return Err(Error::new(ErrorKind::Unsupported, message).at(MODULES_FILE));
        }
        if steps.iter().skip(1).any(|step| matches!(step, Step::Pooling { .. })) {
            return Err(pools_twice());
        }
        let file = "config_sentence_transformers.json";
        let settings: Settings = assets.json(file)?.unwrap_or_default();
        let similarity = match settings.similarity_fn_name {
            Some(name) => name.parse().map_err(|error: Error| error.at(file))?,
            None => Similarity::default(),
        };
        Ok(Some(Self {
            steps,
            prompts: settings.prompts,
            similarity,
            truncate_dim: settings.truncate_dim,
        }))
    }

    /// Only pooling.
    pub fn pooling(modes: Vec<PoolingMode>) -> Self {
        Self { steps: vec![Step::Pooling { modes, include_prompt: true }], ..Self::default() }
    }

    /// The width of an embedding, `D`, of hidden states of width `hidden_size`.
    pub fn dimension(&self, hidden_size: i64) -> i64 {
        self.steps.iter().fold(hidden_size, |width, step| match step {
            Step::Pooling { modes, .. } => hidden_size * modes.len() as i64,
            Step::Dense(dense) => dense.out_features(),
            Step::Normalize => width,
        })
    }

    /// Whether embeddings have length 1.
    pub fn normalizes(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Normalize))
    }

    /// How it pools: the modes, and whether the tokens of the prompt take part.
    pub(crate) fn pools(&self) -> Result<(&[PoolingMode], bool)> {
        match self.steps.first() {
            Some(Step::Pooling { modes, include_prompt }) if !modes.is_empty() => {
                Ok((modes, *include_prompt))
            }
            _ => Err(Error::new(ErrorKind::InvalidInput, "found no mode").at("pooling")),
        }
    }

    /// The embeddings `[B,D]` of what pooling gave. A row depends on nothing but itself,
    /// to the last bit.
    pub(crate) fn after_pooling(&self, mut embeddings: Matrix<f32>) -> Result<Matrix<f32>> {
        for step in self.steps.iter().skip(1) {
            match step {
                Step::Dense(dense) => embeddings = dense.forward(&embeddings)?,
                Step::Normalize => normalize(&mut embeddings),
                Step::Pooling { .. } => return Err(pools_twice()),
            }
        }
        Ok(embeddings)
    }
}

fn pools_twice() -> Error {
    let message = "a Pooling stands behind another: only the first module after the model pools";
    Error::new(ErrorKind::Unsupported, message).at(MODULES_FILE)
}

/// Rows to length 1; `torch.nn.functional.normalize`.
pub(crate) fn normalize(rows: &mut Matrix<f32>) {
    for row in 0..rows.len() {
        let row = rows.row_mut(row);
        let squares: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
        // `max` would make a length of NaN.
        let length = if squares < 1e-24 { 1e-12 } else { squares.sqrt() };
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}

impl fmt::Display for Recipe {
    /// The steps in a few words: `mean pooling, Dense, Normalize`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = |step: &Step| match step {
            Step::Pooling { modes, .. } => {
                let modes: Vec<_> = modes.iter().map(|mode| mode.name()).collect();
                format!("{} pooling", modes.join(" + "))
            }
            Step::Dense(_) => "Dense".to_owned(),
            Step::Normalize => "Normalize".to_owned(),
        };
        f.write_str(&self.steps.iter().map(step).collect::<Vec<_>>().join(", "))
    }
}

impl Step {
    fn read(module: &ModuleEntry, assets: &Assets) -> Result<Option<Self>> {
        let file = module.file("config.json");
        let config: Map<String, Value> = assets.json(&file)?.unwrap_or_default();
        let on_embedding = ["module_input_name", "module_output_name"].iter().all(|key| {
            config.get(*key).and_then(Value::as_str).is_none_or(|name| name == "sentence_embedding")
        });
        Ok(Some(match module.class() {
            "Pooling" => Self::Pooling {
                modes: pooling_modes(&config).map_err(|error| error.at(file))?,
                include_prompt: config
                    .get("include_prompt")
                    .and_then(Value::as_bool)
                    .unwrap_or(true),
            },
            "Dense" if on_embedding => Self::Dense(Dense::read(module, &config, assets)?),
            "Normalize" if on_embedding => Self::Normalize,
            // Active in training only.
            "Dropout" => return Ok(None),
            other => {
                let message = format!(
                    "the module {other:?} is not supported here, only Pooling, Dense and Normalize of sentence embeddings"
                );
                return Err(Error::new(ErrorKind::Unsupported, message).at(MODULES_FILE));
            }
        }))
    }
}

/// `pooling_mode` of today, or a flag for each mode as until 2025.
fn pooling_modes(config: &Map<String, Value>) -> Result<Vec<PoolingMode>> {
    let parse = |value: &Value| value.as_str().unwrap_or_default().parse();
    match config.get("pooling_mode") {
        Some(Value::Array(modes)) if modes.len() > PoolingMode::ALL.len() => {
            let (found, most) = (modes.len(), PoolingMode::ALL.len());
            let message = format!("pooling_mode: found {found} modes, expected at most {most}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Some(Value::Array(modes)) if modes.is_empty() => {
            let message = "pooling_mode: found no mode, expected at least one";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Some(Value::Array(modes)) => return modes.iter().map(parse).collect(),
        Some(mode) => return Ok(vec![parse(mode)?]),
        None => {}
    }
    let flag = |mode: &PoolingMode| {
        let key = match mode {
            PoolingMode::Cls => "pooling_mode_cls_token",
            PoolingMode::Max => "pooling_mode_max_tokens",
            PoolingMode::Mean => "pooling_mode_mean_tokens",
            PoolingMode::MeanSqrtLenTokens => "pooling_mode_mean_sqrt_len_tokens",
            PoolingMode::WeightedMean => "pooling_mode_weightedmean_tokens",
            PoolingMode::LastToken => "pooling_mode_lasttoken",
        };
        config.get(key).and_then(Value::as_bool).unwrap_or(false)
    };
    let modes: Vec<_> = PoolingMode::ALL.into_iter().filter(flag).collect();
    Ok(if modes.is_empty() { vec![PoolingMode::Mean] } else { modes })
}

impl Similarity {
    /// Every row of `a` `[N,D]` with every row of `b` `[M,D]`: `[N,M]`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for tensors of another form, of two widths, or on two
    /// devices.
    #[expect(clippy::disallowed_methods, reason = "works on results, records no trace")]
    pub fn of(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let invalid = |name: &str, message: String| {
            Err(Error::new(ErrorKind::InvalidInput, message).at(name))
        };
        for (name, shape) in [("a", a.size()), ("b", b.size())] {
            if shape.len() != 2 {
                return invalid(
                    name,
                    format!("found shape {shape:?}, expected 2 dimensions, [N, D]"),
                );
            }
        }
        let (found, expected) = (b.size()[1], a.size()[1]);
        if found != expected {
            return invalid("b", format!("found width {found}, expected that of a, {expected}"));
        }
        let (found, expected) = (Device::from(b.device()), Device::from(a.device()));
        if found != expected {
            return invalid("b", format!("found {found}, expected the device of a, {expected}"));
        }
        let (a, b) = (a.f_to_kind(Kind::Float)?, b.f_to_kind(Kind::Float)?);
        let product = |a: &Tensor, b: &Tensor| a.f_matmul(&b.f_transpose(0, 1)?);
        Ok(match self {
            Self::Cosine => {
                let unit = |rows: &Tensor| -> Result<Tensor> {
                    let squares = rows.f_square()?.f_sum_dim_intlist(-1, true, None)?;
                    Ok(rows.f_div(&squares.f_sqrt()?.f_clamp_min(1e-12)?)?)
                };
                product(&unit(&a)?, &unit(&b)?)?
            }
            Self::Dot => product(&a, &b)?,
            Self::Euclidean => Tensor::f_cdist(&a, &b, 2., None)?.f_neg()?,
            Self::Manhattan => Tensor::f_cdist(&a, &b, 1., None)?.f_neg()?,
        })
    }
}

impl FromStr for Similarity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "cosine" => Self::Cosine,
            "dot" | "dot_product" => Self::Dot,
            "euclidean" => Self::Euclidean,
            "manhattan" => Self::Manhattan,
            _ => return Err(unknown("similarity", text, "cosine, dot, euclidean, manhattan")),
        })
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
        normalize(&mut rows);
        assert_eq!((rows.row(0), rows.row(1)), (&[0.6, 0.8][..], &[0., 0.][..]));
        assert!(rows.row(2).iter().all(|value| value.is_nan()), "{:?}", rows.row(2));
    }
}
