//! What an encoder and its heads are made of, and what follows from it: the parameters, their
//! names and shapes, which of them are tied, and the outputs.
//!
//! Shapes: `B` batch, `S` sequence, `H` hidden size, `V` vocabulary size. The weight of a
//! linear layer is `[out,in]`.

use super::{Architecture, Dim, OutputSpec};
use crate::activation::Activation;

/// `y = x Wᵀ + b`, by the name of its module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Linear {
    pub(crate) name: String,
}

impl Linear {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// A LayerNorm, by the name of its module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerNorm {
    pub(crate) name: String,
    pub(crate) eps: f64,
}

impl LayerNorm {
    pub(crate) fn new(name: impl Into<String>, eps: f64) -> Self {
        Self { name: name.into(), eps }
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
    pub(crate) layers: Vec<Layer>,
    /// Of the first token: `[B,S,H]` -> `[B,H]`. The model without a head returns it.
    pub(crate) pooler: Transform,
}

/// The sum of each token's vectors, normalised: `[B,S,H]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Embeddings {
    /// In upstream's order of additions, for equal rounding; the first is that of the words
    pub(crate) tables: Vec<Table>,
    pub(crate) norm: LayerNorm,
}

/// An embedding, `[rows,H]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) rows: i64,
    pub(crate) index: Index,
    /// The row that is zero when the weight is initialised
    pub(crate) padding_idx: Option<i64>,
}

/// What a table is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    Input,
    TokenType,
    /// 0, 1, 2, ..
    Position,
    /// The first row, for every token
    Zero,
}

/// A layer with its norms after each sum (post-norm), Vaswani et al. 2017,
/// <https://arxiv.org/abs/1706.03762>.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// `[H,H]` each
    pub(crate) query_key_value: [Linear; 3],
    /// `[H,H]`
    pub(crate) attention_output: Linear,
    pub(crate) attention_norm: LayerNorm,
    /// `[intermediate_size,H]`
    pub(crate) intermediate: Linear,
    pub(crate) activation: Activation,
    /// `[H,intermediate_size]`
    pub(crate) output: Linear,
    pub(crate) output_norm: LayerNorm,
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
    /// What the pooler makes of the first token: `[B,H]`
    PoolerOutput,
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
}

/// A parameter: its name and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
}

/// The parameters of modules.
#[derive(Default)]
struct Parameters(Vec<Parameter>);

impl Parameters {
    fn push(&mut self, name: String, shape: &[i64]) {
        self.0.push(Parameter { name, shape: shape.to_vec() });
    }

    fn linear(&mut self, linear: &Linear, [inputs, outputs]: [i64; 2]) {
        self.push(format!("{}.weight", linear.name), &[outputs, inputs]);
        self.push(format!("{}.bias", linear.name), &[outputs]);
    }

    fn norm(&mut self, norm: &LayerNorm, width: i64) {
        self.push(format!("{}.weight", norm.name), &[width]);
        self.push(format!("{}.bias", norm.name), &[width]);
    }

    fn transform(&mut self, transform: &Transform, inputs: i64) {
        self.linear(&transform.dense, [inputs, transform.width]);
        transform.norm.iter().for_each(|norm| self.norm(norm, transform.width));
    }
}

impl Encoder {
    /// The width of one attention head.
    pub(crate) fn head_dim(&self) -> i64 {
        self.hidden_size / self.num_heads
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

    /// All parameters that a class may have, without prefix.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let mut all = self.own_parameters();
        all.transform(&self.pooler, self.hidden_size);
        all.0
    }

    /// All but the pooler's.
    fn own_parameters(&self) -> Parameters {
        let mut all = Parameters::default();
        let (hidden, wide) = (self.hidden_size, self.intermediate_size);
        for table in &self.embeddings.tables {
            all.push(format!("{}.weight", table.name), &[table.rows, hidden]);
        }
        all.norm(&self.embeddings.norm, hidden);
        for layer in &self.layers {
            layer.query_key_value.iter().for_each(|one| all.linear(one, [hidden, hidden]));
            all.linear(&layer.attention_output, [hidden, hidden]);
            all.norm(&layer.attention_norm, hidden);
            all.linear(&layer.intermediate, [hidden, wide]);
            all.linear(&layer.output, [wide, hidden]);
            all.norm(&layer.output_norm, hidden);
        }
        all
    }

    /// The names of the modules at the top, such as `embeddings`.
    pub(crate) fn modules(&self) -> Vec<String> {
        let first = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
        let mut modules: Vec<_> =
            self.parameters().iter().map(|parameter| first(&parameter.name)).collect();
        modules.sort();
        modules.dedup();
        modules
    }
}

impl Head {
    fn parameters(&self, all: &mut Parameters, hidden_size: i64) {
        let mut width = hidden_size;
        for transform in &self.transforms {
            all.transform(transform, width);
            width = transform.width;
        }
        if let Some(name) = &self.last.bias_alias {
            all.push(name.clone(), &[self.last.width]);
        }
        all.linear(&self.last.dense, [width, self.last.width]);
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        let width = Dim::Fixed(self.last.width);
        let rows = match self.pooling {
            Pooling::None => vec![Dim::Batch, Dim::Sequence],
            Pooling::PoolerOutput => vec![Dim::Batch],
        };
        let output = |name: &str, last: &[Dim]| OutputSpec {
            name: name.to_owned(),
            shape: [&rows[..], last].concat(),
        };
        match self.form {
            OutputForm::Logits => vec![output(self.output, &[width])],
            OutputForm::StartEnd => {
                let name = |prefix| format!("{prefix}_{}", self.output);
                vec![output(&name("start"), &[]), output(&name("end"), &[])]
            }
            OutputForm::Choices => vec![output(self.output, &[Dim::Choice])],
        }
    }
}

/// Two names that an architecture ties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tie {
    /// The name that files keep.
    pub source: String,
    /// The name that files often leave out.
    pub target: String,
}

/// A model class with the sizes of a configuration, as data.
#[derive(Debug, Clone)]
pub struct ModelSpec {
    pub(crate) architecture: Architecture,
    pub(crate) encoder: Encoder,
    /// None of the model without a head
    pub(crate) heads: Vec<Head>,
}

impl ModelSpec {
    /// The prefix of the encoder's parameters, such as `bert.`; empty without a head.
    pub(crate) fn prefix(&self) -> String {
        match self.heads.is_empty() {
            true => String::new(),
            false => format!("{}.", self.architecture.family().base_prefix),
        }
    }

    /// Whether it has a pooler.
    pub(crate) fn has_pooler(&self) -> bool {
        self.heads.is_empty() || self.heads.iter().any(|head| head.pooling == Pooling::PoolerOutput)
    }

    /// Every parameter.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let (encoder, prefix) = (&self.encoder, self.prefix());
        let mut all = encoder.own_parameters();
        if self.has_pooler() {
            all.transform(&encoder.pooler, encoder.hidden_size);
        }
        all.0.iter_mut().for_each(|parameter| parameter.name.insert_str(0, &prefix));
        self.heads.iter().for_each(|head| head.parameters(&mut all, encoder.hidden_size));
        all.0
    }

    /// The parameters that are tied where the configuration ties word embeddings.
    pub(crate) fn ties(&self) -> Vec<Tie> {
        let words = format!("{}{}.weight", self.prefix(), self.encoder.words().name);
        let of = |last: &OutputLayer| {
            let target = |part| format!("{}.{part}", last.dense.name);
            let weight =
                last.is_tied.then(|| Tie { source: words.clone(), target: target("weight") });
            let alias = last.bias_alias.clone();
            weight.into_iter().chain(alias.map(|source| Tie { source, target: target("bias") }))
        };
        self.heads.iter().flat_map(|head| of(&head.last).collect::<Vec<_>>()).collect()
    }

    /// The outputs of its heads, in the order in which the model returns them.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        let output =
            |name: &str, shape: &[Dim]| OutputSpec { name: name.to_owned(), shape: shape.to_vec() };
        if !self.heads.is_empty() {
            return self.heads.iter().flat_map(Head::outputs).collect();
        }
        let hidden = Dim::Fixed(self.encoder.hidden_size);
        vec![
            output("last_hidden_state", &[Dim::Batch, Dim::Sequence, hidden]),
            output("pooler_output", &[Dim::Batch, Dim::Fixed(self.encoder.pooler.width)]),
        ]
    }

    /// The lists of numbers that its code has: the widths of norms, and how heads are split.
    pub(crate) fn literals(&self) -> Vec<Vec<i64>> {
        let encoder = &self.encoder;
        let transforms = self.heads.iter().flat_map(|head| &head.transforms);
        let norms = transforms.filter(|transform| transform.norm.is_some());
        let mut literals: Vec<_> = norms.map(|transform| vec![transform.width]).collect();
        literals.push(vec![encoder.hidden_size]);
        literals.push(vec![encoder.num_heads, encoder.head_dim()]);
        literals
    }

    /// Floating-point operations of products, a multiplication and an addition each, for one
    /// sequence of `length` tokens, `S`:
    ///
    /// `L x (2 S (4 H^2 + 2 H I) + 4 S^2 H)` and the heads
    ///
    /// with `L` layers of width `H` and feed-forward width `I`: query, key, value and output
    /// are `H x H`, the feed-forward layer is `H x I` twice, scores and context take `2 S^2 H`
    /// each. A layer of a head counts once for each row that it has. Embeddings, softmax,
    /// activations and normalisation are not counted, and neither is padding.
    pub fn operations(&self, length: i64) -> f64 {
        let c = &self.encoder;
        let (s, h, i) = (length as f64, c.hidden_size as f64, c.intermediate_size as f64);
        let layer = 2. * s * (4. * h * h + 2. * h * i) + 4. * s * s * h;
        let pooler = if self.has_pooler() { 2. * h * c.pooler.width as f64 } else { 0. };
        let of_head = |head: &Head| {
            let rows = if head.pooling == Pooling::None { s } else { 1. };
            let widths = head.transforms.iter().map(|transform| transform.width);
            let mut inputs = h;
            let products = widths.chain([head.last.width]).map(|width| {
                let product = inputs * width as f64;
                inputs = width as f64;
                product
            });
            2. * rows * products.sum::<f64>()
        };
        c.layers.len() as f64 * layer + pooler + self.heads.iter().map(of_head).sum::<f64>()
    }
}
