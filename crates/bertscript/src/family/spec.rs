//! What an encoder and its heads are made of.
//!
//! Shapes: `B` batch, `S` sequence, `H` hidden size, `V` vocabulary size. The weight of a
//! linear layer is `[out,in]`.

use super::init::WeightInit;
use super::relative_positions::RelativePositions;
use crate::activation::Activation;

/// `y = x Wᵀ + b`, by the name of its module; perhaps without `b`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Linear {
    pub(crate) name: String,
    pub(crate) has_bias: bool,
    pub(crate) init: WeightInit,
}

impl Linear {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), has_bias: true, init: WeightInit::Normal }
    }

    pub(crate) fn init(self, init: WeightInit) -> Self {
        Self { init, ..self }
    }

    pub(crate) fn bias(self, has_bias: bool) -> Self {
        Self { has_bias, ..self }
    }
}

/// A LayerNorm, by the name of its module; perhaps without a bias.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerNorm {
    pub(crate) name: String,
    pub(crate) eps: f64,
    pub(crate) has_bias: bool,
}

impl LayerNorm {
    pub(crate) fn new(name: impl Into<String>, eps: f64) -> Self {
        Self { name: name.into(), eps, has_bias: true }
    }
}

/// An encoder. Its names have no prefix; in a model with a head, the family's is before them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoder {
    /// `H`
    pub(crate) hidden_size: i64,
    /// Attention heads; divides `hidden_size`
    pub(crate) num_heads: i64,
    /// The width of the feed-forward layer
    pub(crate) intermediate_size: i64,
    /// The maximum sequence length
    pub(crate) max_length: i64,
    pub(crate) embeddings: Embeddings,
    /// How scores depend on the distance of two tokens, the same in every layer
    pub(crate) relative_positions: RelativePositions,
    pub(crate) masked_tokens: MaskedTokens,
    /// The sets of parameters
    pub(crate) layers: Vec<Layer>,
    /// The layers as they run, by index: each once, or some of them several times
    pub(crate) layer_order: Vec<usize>,
    pub(crate) norm_placement: NormPlacement,
    /// Of what the last layer gives, which is the last hidden state then; with
    /// [`NormPlacement::Pre`] always
    pub(crate) final_norm: Option<LayerNorm>,
    /// Of the first token: `[B,S,H]` -> `[B,H]`
    pub(crate) pooler: Option<Transform>,
    /// Whether the model without a head returns what the pooler makes
    pub(crate) has_pooler_output: bool,
}

/// How masked tokens are treated, to which no other attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaskedTokens {
    /// They attend to those that are not masked
    Attend,
    /// Their embeddings are zero, and they attend to all tokens alike
    Blank,
}

/// Where the norms of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormPlacement {
    /// After each sum: Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>
    Post,
    /// Before attention and before the feed-forward layer, whose results are added to what is
    /// not normalised: Xiong et al. 2020, <https://arxiv.org/abs/2002.04745>
    Pre,
}

/// The sum of each token's vectors, perhaps normalised, and perhaps projected: `[B,S,H]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Embeddings {
    /// The width of the tables, `E`
    pub(crate) width: i64,
    /// In upstream's order of additions, for equal rounding; the first is that of the words
    pub(crate) tables: Vec<Table>,
    pub(crate) norm: Option<LayerNorm>,
    /// `[H,E]`
    pub(crate) projection: Option<Linear>,
}

/// An embedding, `[rows,E]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) rows: i64,
    pub(crate) index: Index,
    /// The row that is zero when the weight is initialised by [`WeightInit::Normal`]
    pub(crate) padding_idx: Option<i64>,
    pub(crate) init: WeightInit,
}

/// What a table is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    Input,
    TokenType,
    Position(Positions),
    /// The first row, for every token
    Zero,
}

/// How the tokens of a sequence are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Positions {
    /// 0, 1, 2, ..
    FromZero,
    /// `pad + 1`, `pad + 2`, .. of the tokens whose id is not `pad`, wherever they are, masked
    /// or not; the others have `pad`. Liu et al. 2019, `create_position_ids_from_input_ids`
    AfterPad { pad: i64 },
}

impl Positions {
    /// Of a sequence, padding included.
    pub(crate) fn of(self, input_ids: &[i64]) -> impl Iterator<Item = i64> {
        let mut count = 0;
        input_ids.iter().enumerate().map(move |(index, id)| match self {
            Self::FromZero => index as i64,
            Self::AfterPad { pad } if *id == pad => pad,
            Self::AfterPad { pad } => {
                count += 1;
                pad + count
            }
        })
    }
}

/// A layer: attention, and a feed-forward layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    pub(crate) qkv: Qkv,
    /// `[H,H]`
    pub(crate) attention_output: Linear,
    /// None where what comes before the layer is normalised already
    pub(crate) attention_norm: Option<LayerNorm>,
    pub(crate) mlp: Mlp,
    pub(crate) activation: Activation,
    /// `[H,intermediate_size]`
    pub(crate) output: Linear,
    pub(crate) output_norm: LayerNorm,
    /// Rotates queries and keys by their positions, with this base: Su et al. 2021,
    /// <https://arxiv.org/abs/2104.09864>
    pub(crate) rope_theta: Option<f64>,
    /// The greatest distance at which one token attends to another, to either side: Beltagy et
    /// al. 2020, <https://arxiv.org/abs/2004.05150>
    pub(crate) sliding_window: Option<i64>,
}

/// Query, key and value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Qkv {
    /// `[H,H]` each
    Separate([Linear; 3]),
    /// `[3H,H]`
    Fused(Linear),
}

/// What widens a hidden state, `I` being the intermediate size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mlp {
    /// `activation(x)` of a layer `[I,H]`
    Plain(Linear),
    /// `activation(gate) * up` of two layers `[I,H]`: Shazeer 2020,
    /// <https://arxiv.org/abs/2002.05202>
    Glu { gate: Linear, up: Linear },
    /// The same of one layer `[2I,H]`, the gate first
    FusedGlu(Linear),
}

impl Mlp {
    pub(crate) fn is_gated(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// A linear layer, its activation, and perhaps a LayerNorm: `[..,in]` -> `[..,width]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transform {
    pub(crate) dense: Linear,
    pub(crate) width: i64,
    pub(crate) activation: Activation,
    pub(crate) norm: Option<LayerNorm>,
}

/// A head on the encoder: some rows, transforms, and a last linear layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    /// The name of its output; of [`OutputForm::StartEnd`], without `start_` and `end_`
    pub(crate) output: &'static str,
    pub(crate) pooling: Pooling,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) last: OutputLayer,
    pub(crate) form: OutputForm,
}

/// What a head reads of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Every token's hidden state: `[B,S,H]`
    None,
    /// The first token's hidden state: `[B,H]`
    FirstToken,
    /// What the pooler makes of the first token: `[B,H]`
    PoolerOutput,
    /// The mean of the hidden states of all tokens that are not masked: `[B,H]`
    Mean,
}

/// The last layer of a head.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputLayer {
    pub(crate) dense: Linear,
    pub(crate) width: i64,
    /// Whether its weight is tied to the word embedding
    pub(crate) is_tied: bool,
    /// A second name of its bias
    pub(crate) bias_alias: Option<String>,
}

/// What becomes of the columns of the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputForm {
    /// One output of all columns
    Logits,
    /// The only column, without its dimension
    Squeezed,
    /// An output each of the two columns: where an answer starts and where it ends
    StartEnd,
    /// The only column, of every choice: `[B,C]`
    Choices,
}

impl Head {
    /// `logits` of some rows, through one linear layer.
    pub(crate) fn new(pooling: Pooling, last: &str, width: i64) -> Self {
        let last =
            OutputLayer { dense: Linear::new(last), width, is_tied: false, bias_alias: None };
        Self { output: "logits", pooling, transforms: Vec::new(), last, form: OutputForm::Logits }
    }

    /// Scores of every token of the vocabulary, by the weight of the word embedding.
    pub(crate) fn of_words(
        encoder: &Encoder,
        transform: Transform,
        last: &str,
        bias_alias: Option<&str>,
    ) -> Self {
        let mut head = Self::new(Pooling::None, last, encoder.words().rows);
        head.transforms.push(transform);
        head.last.is_tied = true;
        head.last.bias_alias = bias_alias.map(str::to_owned);
        head
    }
}

impl Encoder {
    /// The `eps` of its norms, which heads have too.
    pub(crate) fn eps(&self) -> f64 {
        self.layers[0].output_norm.eps
    }

    /// The width of one attention head.
    pub(crate) fn head_dim(&self) -> i64 {
        self.hidden_size / self.num_heads
    }

    /// Whether scores depend on distances.
    pub(crate) fn has_relative_positions(&self) -> bool {
        self.relative_positions != RelativePositions::None
    }

    /// Whether tokens of some layer attend to those near them only.
    pub(crate) fn has_window(&self) -> bool {
        self.layers.iter().any(|layer| layer.sliding_window.is_some())
    }

    /// The embedding of the words.
    pub(crate) fn words(&self) -> &Table {
        &self.embeddings.tables[0]
    }

    /// How many token types there are; 1 where they have no table.
    pub(crate) fn type_vocab_size(&self) -> i64 {
        let mut tables = self.embeddings.tables.iter();
        tables.find(|table| table.index == Index::TokenType).map_or(1, |table| table.rows)
    }

    /// How the tokens of a sequence are numbered.
    pub(crate) fn positions(&self) -> Positions {
        let indices = self.embeddings.tables.iter().map(|table| table.index);
        let mut positions = indices.filter_map(|index| match index {
            Index::Position(positions) => Some(positions),
            _ => None,
        });
        positions.next().unwrap_or(Positions::FromZero)
    }
}
