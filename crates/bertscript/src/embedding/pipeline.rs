//! What sentence-transformers makes of hidden states: `modules.json` and the
//! files it names.
//!
//! Sources: `Pooling`, `SentenceTransformer` and `SparseEncoder` of
//! <https://github.com/huggingface/sentence-transformers/tree/v6.2.0/sentence_transformers>

use super::module_files::Arguments;
use super::pooling::PoolingMode;
use super::splade::SpladePooling;
use super::stage::{Features, PipelineStage, apply};
use crate::assets::Assets;
use crate::checkpoint::{MODULES_FILE, ModuleEntry, read_modules};
use crate::error::{Error, ErrorKind, Result};
use crate::text::{SentenceConfig, unknown};
use bertscript_kernels::{Matrix, Team};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The stages from hidden states to an embedding, and the prompts.
#[derive(Debug, Default)]
pub struct EmbeddingPipeline {
    /// The functions of the hidden states of tokens, before pooling.
    of_tokens: Vec<PipelineStage>,
    pooling: Pooling,
    /// The functions of what was pooled.
    of_texts: Vec<PipelineStage>,
    /// What makes sparse embeddings of logits, in place of the stages above.
    splade: Option<SpladePooling>,
    /// What is put before a text.
    pub prompts: Prompts,
    /// How two embeddings are compared.
    pub similarity: Similarity,
    /// How many dimensions are kept, if not all.
    pub truncate_dim: Option<usize>,
    /// How many dimensions of a sparse embedding are kept, if not all that are not zero.
    pub max_active_dims: Option<usize>,
}

/// From the hidden states of tokens to one vector for a text.
#[derive(Debug, Default)]
struct Pooling {
    /// The modes; the results of several are concatenated.
    modes: Vec<PoolingMode>,
    /// Whether the tokens of the prompt take part.
    include_prompt: bool,
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

impl EmbeddingPipeline {
    /// The pipeline of a checkpoint or an archive; none without a `modules.json`.
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
            max_active_dims: Option<usize>,
        }
        #[derive(Default, Deserialize)]
        struct Model {
            hidden_size: Option<usize>,
        }
        let Some(modules) = assets.get(MODULES_FILE) else { return Ok(None) };
        let modules = read_modules(modules)?;
        let model: Model = assets.json("config.json")?.unwrap_or_default();
        let hidden_size = model.hidden_size.unwrap_or(768);
        let mut pipeline = match Self::read_sparse(&modules, assets)? {
            Some(sparse) => sparse,
            None => Self::read(&modules, hidden_size, assets)?,
        };
        let file = "config_sentence_transformers.json";
        let settings: Settings = assets.json(file)?.unwrap_or_default();
        if let Some(name) = settings.similarity_fn_name {
            pipeline.similarity = name.parse().map_err(|error: Error| error.at(file))?;
        }
        pipeline.prompts = settings.prompts;
        pipeline.truncate_dim = settings.truncate_dim;
        pipeline.max_active_dims = settings.max_active_dims;
        Ok(Some(pipeline))
    }

    /// The modules of a `SparseEncoder`: a model with a head for masked language modelling,
    /// and `SpladePooling`; none of another model.
    fn read_sparse(modules: &[ModuleEntry], assets: &Assets) -> Result<Option<Self>> {
        let unsupported =
            |message: String| Err(Error::new(ErrorKind::Unsupported, message).at(MODULES_FILE));
        let is_splade = |module: &&ModuleEntry| module.class() == "SpladePooling";
        let Some(splade) = modules.iter().find(is_splade) else { return Ok(None) };
        let [model, _] = modules else {
            let classes: Vec<_> = modules.iter().map(ModuleEntry::class).collect();
            let found = classes.join(", ");
            return unsupported(format!("found {found}, expected a model and SpladePooling alone"));
        };
        if !has_logits(model, assets)? {
            let found = model.class();
            let message = format!(
                "found SpladePooling after a {found} that gives no logits, expected an MLMTransformer, or a Transformer whose transformer_task is \"fill-mask\""
            );
            return unsupported(message);
        }
        let splade = Some(SpladePooling::read(splade, assets)?);
        Ok(Some(Self { splade, similarity: Similarity::Dot, ..Self::default() }))
    }

    /// The modules after the model, whose hidden states have a width. Each Pooling begins
    /// the embedding anew from the tokens: functions of texts before the last Pooling, and
    /// of tokens after it, change nothing. They are read and their widths checked, as
    /// upstream would run them.
    fn read(modules: &[ModuleEntry], hidden_size: usize, assets: &Assets) -> Result<Self> {
        let mut pipeline = Self::default();
        let mut tokens_after = Vec::new();
        // The widths of what there is of a token and of a text.
        let (mut of_token, mut of_text) = (hidden_size, None);
        for module in modules.iter().skip(1) {
            if module.class() == "Pooling" {
                pipeline.pooling = Pooling::read(module, assets)?;
                pipeline.of_tokens.append(&mut tokens_after);
                pipeline.of_texts.clear();
                of_text = Some(of_token.saturating_mul(pipeline.pooling.modes.len()));
                continue;
            }
            let (features, stage) = PipelineStage::read(module, assets)?;
            match (features, &mut of_text) {
                (Features::Tokens, _) => {
                    of_token = stage.width(of_token)?;
                    tokens_after.push(stage);
                }
                (Features::Texts, Some(_)) if matches!(stage, PipelineStage::Dropout) => {}
                (Features::Texts, Some(width)) => {
                    *width = stage.width(*width)?;
                    pipeline.of_texts.push(stage);
                }
                // Upstream passes over it: there is nothing to normalise yet.
                (Features::Texts, None) if matches!(stage, PipelineStage::Normalize) => {}
                (Features::Texts, None) => {
                    let message = format!("found a {} before any Pooling", stage.name());
                    return Err(Error::new(ErrorKind::Config, message).at(MODULES_FILE));
                }
            }
        }
        if of_text.is_none() {
            let message = "found no Pooling: these are no embeddings of texts";
            return Err(Error::new(ErrorKind::Unsupported, message).at(MODULES_FILE));
        }
        Ok(pipeline)
    }

    /// Only pooling.
    pub fn pooling(modes: Vec<PoolingMode>) -> Self {
        Self { pooling: Pooling { modes, include_prompt: true }, ..Self::default() }
    }

    /// The width of an embedding, `D`, of hidden states of width `hidden_size`. A sparse one has
    /// the vocabulary's instead.
    pub fn dimension(&self, hidden_size: i64) -> i64 {
        let outputs =
            |stages: &[PipelineStage]| stages.iter().rev().find_map(PipelineStage::outputs);
        let of_token = outputs(&self.of_tokens).unwrap_or(hidden_size as usize);
        let pooled = of_token * self.pooling.modes.len();
        outputs(&self.of_texts).unwrap_or(pooled) as i64
    }

    /// Whether embeddings are sparse, with a dimension for each token of the vocabulary.
    pub fn is_sparse(&self) -> bool {
        self.splade.is_some()
    }

    /// How logits become sparse embeddings, if they do.
    pub(crate) fn splade(&self) -> Option<SpladePooling> {
        self.splade
    }

    /// Whether embeddings have length 1.
    pub fn normalizes(&self) -> bool {
        matches!(self.of_texts.last(), Some(PipelineStage::Normalize))
    }

    /// How it pools: the modes, and whether the tokens of the prompt take part.
    pub(crate) fn pools(&self) -> Result<(&[PoolingMode], bool)> {
        if self.pooling.modes.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "found no mode").at("pooling"));
        }
        Ok((&self.pooling.modes, self.pooling.include_prompt))
    }

    /// Whether hidden states are pooled as they are.
    pub(crate) fn pools_hidden_states(&self) -> bool {
        self.of_tokens.is_empty()
    }

    /// Hidden states `[T,H]` as pooling takes them, after the stages of tokens.
    pub(crate) fn before_pooling(
        &self,
        team: &dyn Team,
        hidden: Matrix<f32>,
    ) -> Result<Matrix<f32>> {
        Ok(apply(&self.of_tokens, team, &hidden)?.unwrap_or(hidden))
    }

    /// The embeddings `[B,D]` of what pooling gave.
    pub(crate) fn after_pooling(
        &self,
        team: &dyn Team,
        pooled: Matrix<f32>,
    ) -> Result<Matrix<f32>> {
        Ok(apply(&self.of_texts, team, &pooled)?.unwrap_or(pooled))
    }
}

impl fmt::Display for EmbeddingPipeline {
    /// The stages in a few words: `mean pooling, Dense, Normalize`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(splade) = &self.splade {
            return splade.fmt(f);
        }
        self.of_tokens.iter().try_for_each(|stage| write!(f, "{} of tokens, ", stage.name()))?;
        let modes: Vec<_> = self.pooling.modes.iter().map(|mode| mode.name()).collect();
        write!(f, "{} pooling", modes.join(" + "))?;
        self.of_texts.iter().try_for_each(|stage| write!(f, ", {}", stage.name()))
    }
}

/// Whether the first module of a `SparseEncoder` gives logits.
fn has_logits(model: &ModuleEntry, assets: &Assets) -> Result<bool> {
    let task = SentenceConfig::read(assets)?.transformer_task;
    Ok(match model.class() {
        "MLMTransformer" => task.is_none_or(|task| task == "fill-mask"),
        "Transformer" => task.is_some_and(|task| task == "fill-mask"),
        _ => false,
    })
}

const MODE: &str = "pooling_mode";
const INCLUDE_PROMPT: &str = "include_prompt";
const WIDTHS: [&str; 2] = ["embedding_dimension", "word_embedding_dimension"];

impl Pooling {
    fn read(module: &ModuleEntry, assets: &Assets) -> Result<Self> {
        let arguments = Arguments::read(module, assets)?;
        let flags = PoolingMode::ALL.map(flag);
        arguments.expect_only(&[&[MODE, INCLUDE_PROMPT], &WIDTHS[..], &flags].concat())?;
        // Upstream takes any width, and pools what there is.
        let named = WIDTHS.into_iter().find(|key| arguments.get(key).is_some());
        arguments.width(named.unwrap_or(WIDTHS[0]))?;
        let include_prompt = arguments.flag(INCLUDE_PROMPT, true)?;
        Ok(Self { modes: modes(&arguments)?, include_prompt })
    }
}

/// `pooling_mode` of today, or a flag for each mode as until 2025.
fn modes(arguments: &Arguments) -> Result<Vec<PoolingMode>> {
    let parse = |value: &Value| match value.as_str() {
        Some(name) => name.parse().map_err(|error| arguments.place(error)),
        None => Err(arguments.found(MODE, "the names of modes")),
    };
    match arguments.get(MODE) {
        Some(Value::Array(modes)) if modes.len() > PoolingMode::ALL.len() => {
            let (found, most) = (modes.len(), PoolingMode::ALL.len());
            Err(arguments.invalid(MODE, &format!("found {found} modes, expected at most {most}")))
        }
        Some(Value::Array(modes)) if modes.is_empty() => {
            Err(arguments.invalid(MODE, "found no mode, expected at least one"))
        }
        Some(Value::Array(modes)) => modes.iter().map(parse).collect(),
        Some(mode) => Ok(vec![parse(mode)?]),
        None => {
            let mut modes = Vec::new();
            for mode in PoolingMode::ALL {
                if arguments.flag(flag(mode), false)? {
                    modes.push(mode);
                }
            }
            Ok(if modes.is_empty() { vec![PoolingMode::Mean] } else { modes })
        }
    }
}

fn flag(mode: PoolingMode) -> &'static str {
    match mode {
        PoolingMode::Cls => "pooling_mode_cls_token",
        PoolingMode::Max => "pooling_mode_max_tokens",
        PoolingMode::Mean => "pooling_mode_mean_tokens",
        PoolingMode::MeanSqrtLenTokens => "pooling_mode_mean_sqrt_len_tokens",
        PoolingMode::WeightedMean => "pooling_mode_weightedmean_tokens",
        PoolingMode::LastToken => "pooling_mode_lasttoken",
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
