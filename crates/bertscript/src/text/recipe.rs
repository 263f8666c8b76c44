//! What sentence-transformers makes of hidden states: `modules.json` and the
//! files it names.
//!
//! Sources: `Pooling`, `Dense`, `Normalize` and `SentenceTransformer` of
//! <https://github.com/huggingface/sentence-transformers/tree/v6.2.0/sentence_transformers>

#![expect(clippy::disallowed_methods, reason = "works on results, records no trace")]

use super::encoding::unknown;
use super::pooling::PoolingMode;
use crate::assets::Assets;
use crate::checkpoint::{MODULES_FILE, ModuleEntry, read_modules, safetensors_from_bytes};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use tch::{Kind, Tensor};
use torchscript::SharedTensor;

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

/// `Dense`: a linear layer, an activation, perhaps a residual.
#[derive(Debug)]
pub struct Dense {
    out_features: i64,
    weight: SharedTensor,
    bias: Option<SharedTensor>,
    residual: Option<Residual>,
    activation: DenseActivation,
}

#[derive(Debug)]
enum Residual {
    Identity,
    Linear(SharedTensor),
}

/// The activations of `torch.nn` that a `Dense` may name.
#[derive(Debug, Clone, Copy)]
enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
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
            Step::Dense(dense) => dense.out_features,
            Step::Normalize => width,
        })
    }

    /// Whether embeddings have length 1.
    pub fn normalizes(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Normalize))
    }

    /// The embeddings `[B,D]`, float32, of hidden states `[B,S,H]` with their
    /// mask `[B,S]`, and the same mask without the tokens of the prompt.
    pub(crate) fn embed(
        &self,
        hidden: &Tensor,
        mask: &Tensor,
        without_prompt: &Tensor,
    ) -> Result<Tensor> {
        let mut embedding = Tensor::new();
        for step in &self.steps {
            embedding = match step {
                Step::Pooling { modes, include_prompt } => {
                    let mask = if *include_prompt { mask } else { without_prompt };
                    let pooled = modes.iter().map(|mode| mode.pool(hidden, mask));
                    // From here on rows are few and small, and the layers on the CPU.
                    Tensor::f_cat(&pooled.collect::<Result<Vec<_>>>()?, -1)?
                        .f_to_device(tch::Device::Cpu)?
                }
                Step::Dense(dense) => dense.forward(&embedding)?,
                Step::Normalize => normalize(&embedding)?,
            };
        }
        Ok(embedding)
    }
}

/// Rows `[B,D]` to length 1; `torch.nn.functional.normalize`.
pub(crate) fn normalize(rows: &Tensor) -> Result<Tensor> {
    let length =
        rows.f_square()?.f_sum_dim_intlist(-1, true, None)?.f_sqrt()?.f_clamp_min(1e-12)?;
    Ok(rows.f_div(&length)?)
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

impl Dense {
    fn read(module: &ModuleEntry, config: &Map<String, Value>, assets: &Assets) -> Result<Self> {
        let file = module.file("model.safetensors");
        let invalid = |message: String| Error::new(ErrorKind::Config, message).at(&file);
        let contents = assets
            .get(&file)
            .ok_or_else(|| invalid("the weights of Dense are missing".to_owned()))?;
        let mut tensors: BTreeMap<_, _> = safetensors_from_bytes(contents)
            .map_err(|error| error.at(&file))?
            .into_iter()
            .collect();
        let mut take = |name: &str| -> Result<Option<SharedTensor>> {
            let tensor = tensors.remove(name).map(|tensor| tensor.f_to_kind(Kind::Float));
            Ok(tensor.transpose()?.map(SharedTensor::new))
        };
        let missing = |name: &str| invalid(format!("the tensor {name} is missing"));
        let weight = take("linear.weight")?.ok_or_else(|| missing("linear.weight"))?;
        let is = |key: &str, usual| config.get(key).and_then(Value::as_bool).unwrap_or(usual);
        let bias = match is("bias", true) {
            true => Some(take("linear.bias")?.ok_or_else(|| missing("linear.bias"))?),
            false => None,
        };
        let residual = match (is("use_residual", false), take("residual.weight")?) {
            (false, _) => None,
            (true, Some(weight)) => Some(Residual::Linear(weight)),
            (true, None) => Some(Residual::Identity),
        };
        let activation = match config.get("activation_function").and_then(Value::as_str) {
            Some(path) => {
                path.parse().map_err(|error: Error| error.at(module.file("config.json")))?
            }
            None => DenseActivation::Tanh,
        };
        let shape = weight.get().size();
        let (1.., &[out_features, _]) = (weight.get().numel(), shape.as_slice()) else {
            return Err(invalid(format!(
                "linear.weight: found shape {shape:?}, expected two dimensions of at least 1"
            )));
        };
        Ok(Self { out_features, weight, bias, residual, activation })
    }

    /// `[B,in]` to `[B,out]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let linear = x.f_linear(&self.weight.get(), self.bias.as_ref().map(SharedTensor::get))?;
        let active = match self.activation {
            DenseActivation::Identity => linear,
            DenseActivation::Tanh => linear.f_tanh()?,
            DenseActivation::Relu => linear.f_relu()?,
            DenseActivation::Gelu => linear.f_gelu("none")?,
            DenseActivation::Sigmoid => linear.f_sigmoid()?,
            DenseActivation::Silu => linear.f_silu()?,
        };
        Ok(match &self.residual {
            None => active,
            Some(Residual::Identity) => active.f_add(x)?,
            Some(Residual::Linear(weight)) => {
                active.f_add(&x.f_linear(&weight.get(), None::<Tensor>)?)?
            }
        })
    }
}

impl FromStr for DenseActivation {
    type Err = Error;

    /// Reads the path of a class, such as `torch.nn.modules.activation.Tanh`.
    fn from_str(path: &str) -> Result<Self> {
        Ok(match path.rsplit('.').next().unwrap_or_default() {
            "Identity" => Self::Identity,
            "Tanh" => Self::Tanh,
            "ReLU" => Self::Relu,
            "GELU" => Self::Gelu,
            "Sigmoid" => Self::Sigmoid,
            "SiLU" => Self::Silu,
            _ => {
                let message = format!(
                    "activation_function: {path:?} is not supported, only Identity, Tanh, ReLU, GELU, Sigmoid and SiLU of torch.nn"
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        })
    }
}

impl Similarity {
    /// Every row of `a` `[N,D]` with every row of `b` `[M,D]`: `[N,M]`.
    pub fn of(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let (a, b) = (a.f_to_kind(Kind::Float)?, b.f_to_kind(Kind::Float)?);
        let product = |a: &Tensor, b: &Tensor| a.f_matmul(&b.f_transpose(0, 1)?);
        Ok(match self {
            Self::Cosine => product(&normalize(&a)?, &normalize(&b)?)?,
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
