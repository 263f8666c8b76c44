//! What follows from a description: the parameters, their names and shapes, which of them are
//! tied, and the outputs.

use super::relative_positions::{Buckets, RelativePositions};
use super::spec::{
    Embeddings, Encoder, Head, Layer, LayerNorm, Linear, Mlp, OutputForm, OutputLayer, Pooling,
    Qkv, Transform,
};
use super::{Architecture, Dim, OutputSpec};

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
        if linear.has_bias {
            self.push(format!("{}.bias", linear.name), &[outputs]);
        }
    }

    fn norm(&mut self, norm: &LayerNorm, width: i64) {
        self.push(format!("{}.weight", norm.name), &[width]);
        if norm.has_bias {
            self.push(format!("{}.bias", norm.name), &[width]);
        }
    }

    fn transform(&mut self, transform: &Transform, inputs: i64) {
        self.linear(&transform.dense, [inputs, transform.width]);
        transform.norm.iter().for_each(|norm| self.norm(norm, transform.width));
    }
}

impl Encoder {
    /// All parameters that a class may have, without prefix.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let mut all = self.own_parameters();
        self.pooler.iter().for_each(|pooler| all.transform(pooler, self.hidden_size));
        all.0
    }

    /// All but the pooler's.
    fn own_parameters(&self) -> Parameters {
        let mut all = Parameters::default();
        let (hidden, wide) = (self.hidden_size, self.intermediate_size);
        let Embeddings { width, tables, norm, projection } = &self.embeddings;
        for table in tables {
            all.push(format!("{}.weight", table.name), &[table.rows, *width]);
        }
        norm.iter().for_each(|norm| all.norm(norm, *width));
        projection.iter().for_each(|linear| all.linear(linear, [*width, hidden]));
        match &self.relative_positions {
            RelativePositions::None => {}
            RelativePositions::Buckets(Buckets { name, num_buckets, .. }) => {
                all.push(format!("{name}.weight"), &[*num_buckets, self.num_heads]);
            }
            RelativePositions::Disentangled(distances) => {
                let shape = [distances.num_rows(), hidden];
                all.push(format!("{}.weight", distances.name), &shape);
                distances.norm.iter().for_each(|norm| all.norm(norm, hidden));
            }
        }
        for layer in &self.layers {
            match &layer.qkv {
                Qkv::Separate(parts) => {
                    parts.iter().for_each(|part| all.linear(part, [hidden, hidden]));
                }
                Qkv::Fused(linear) => all.linear(linear, [hidden, 3 * hidden]),
            }
            all.linear(&layer.attention_output, [hidden, hidden]);
            layer.attention_norm.iter().for_each(|norm| all.norm(norm, hidden));
            match &layer.mlp {
                Mlp::Plain(linear) => all.linear(linear, [hidden, wide]),
                Mlp::Glu { gate, up } => {
                    all.linear(gate, [hidden, wide]);
                    all.linear(up, [hidden, wide]);
                }
                Mlp::FusedGlu(linear) => all.linear(linear, [hidden, 2 * wide]),
            }
            all.linear(&layer.output, [wide, hidden]);
            all.norm(&layer.output_norm, hidden);
        }
        self.final_norm.iter().for_each(|norm| all.norm(norm, hidden));
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
            Pooling::FirstToken | Pooling::PoolerOutput | Pooling::Mean => vec![Dim::Batch],
        };
        let output = |name: &str, last: &[Dim]| OutputSpec {
            name: name.to_owned(),
            shape: [&rows[..], last].concat(),
        };
        match self.form {
            OutputForm::Logits => vec![output(self.output, &[width])],
            OutputForm::Squeezed => vec![output(self.output, &[])],
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

    /// The pooler, if something reads it.
    pub(crate) fn pooler(&self) -> Option<&Transform> {
        let mut heads = self.heads.iter();
        let is_returned = self.heads.is_empty() && self.encoder.has_pooler_output;
        let is_read = is_returned || heads.any(|head| head.pooling == Pooling::PoolerOutput);
        self.encoder.pooler.as_ref().filter(|_| is_read)
    }

    /// Every parameter.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let (encoder, prefix) = (&self.encoder, self.prefix());
        let mut all = encoder.own_parameters();
        self.pooler().iter().for_each(|pooler| all.transform(pooler, encoder.hidden_size));
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
        let mut outputs = vec![output("last_hidden_state", &[Dim::Batch, Dim::Sequence, hidden])];
        let pooled =
            |pooler: &Transform| output("pooler_output", &[Dim::Batch, Dim::Fixed(pooler.width)]);
        outputs.extend(self.pooler().map(pooled));
        outputs
    }

    /// All outputs in the order in which the model returns them: those of its heads, then hidden
    /// states, then attention probabilities, as far as they are wanted.
    pub(crate) fn all_outputs(&self, hidden_states: bool, attentions: bool) -> Vec<OutputSpec> {
        let encoder = &self.encoder;
        let rows = match self.architecture.input_shape() {
            [Dim::Batch, Dim::Sequence] => Dim::Batch,
            _ => Dim::BatchChoice,
        };
        let numbered = |count: usize, name: &str, shape: &[Dim]| -> Vec<OutputSpec> {
            let name = |i| format!("{name}.{i}");
            (0..count).map(|i| OutputSpec { name: name(i), shape: shape.to_vec() }).collect()
        };
        let (mut outputs, layers) = (self.outputs(), encoder.layer_order.len());
        if hidden_states {
            let shape = [rows, Dim::Sequence, Dim::Fixed(encoder.hidden_size)];
            outputs.extend(numbered(layers + 1, "hidden_states", &shape));
        }
        if attentions {
            let shape = [rows, Dim::Fixed(encoder.num_heads), Dim::Sequence, Dim::Sequence];
            outputs.extend(numbered(layers, "attentions", &shape));
        }
        outputs
    }

    /// The lists of numbers that its code has: the widths of norms, and how heads are split.
    pub(crate) fn literals(&self) -> Vec<Vec<i64>> {
        let encoder = &self.encoder;
        let transforms = self.heads.iter().flat_map(|head| &head.transforms);
        let norms = transforms.filter(|transform| transform.norm.is_some());
        let mut literals: Vec<_> = norms.map(|transform| vec![transform.width]).collect();
        literals.push(vec![encoder.hidden_size]);
        literals.push(vec![encoder.embeddings.width]);
        literals.push(vec![encoder.num_heads, encoder.head_dim()]);
        if encoder.layers.iter().any(|layer| matches!(layer.qkv, Qkv::Fused(_))) {
            literals.push(vec![3, encoder.num_heads, encoder.head_dim()]);
        }
        if matches!(encoder.relative_positions, RelativePositions::Disentangled(_)) {
            literals.push(vec![-1, encoder.num_heads, -1, -1]);
        }
        literals
    }

    /// Floating-point operations of products, a multiplication and an addition each, for one
    /// sequence of `length` tokens, `S`:
    ///
    /// `L x (2 S (4 H^2 + 2 H I) + 4 S^2 H)`, pooler, heads and a projection of embeddings
    ///
    /// with `L` layers of width `H` and feed-forward width `I`: query, key, value and output
    /// are `H x H`, the feed-forward layer is `H x I` twice (three times if it is gated), scores
    /// and context take `2 S^2 H` each, or `2 S W H` where a window shows `W` tokens of `S`. A
    /// layer of a head counts once for each row that it has. Embeddings, softmax,
    /// activations and normalisation are not counted, and neither is padding.
    pub fn operations(&self, length: i64) -> f64 {
        let c = &self.encoder;
        let (s, h, i) = (length as f64, c.hidden_size as f64, c.intermediate_size as f64);
        let of_layer = |layer: &Layer| {
            let products = if layer.mlp.is_gated() { 3. } else { 2. };
            let seen = layer.sliding_window.map_or(s, |window| s.min(2. * window as f64 + 1.));
            2. * s * (4. * h * h + products * h * i) + 4. * s * seen * h
        };
        let pooler = self.pooler().map_or(0., |pooler| 2. * h * pooler.width as f64);
        let projection = c.embeddings.projection.as_ref();
        let projection = projection.map_or(0., |_| 2. * s * h * c.embeddings.width as f64);
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
        c.layer_order.iter().map(|index| of_layer(&c.layers[*index])).sum::<f64>()
            + projection
            + pooler
            + self.heads.iter().map(of_head).sum::<f64>()
    }
}
