//! The embeddings and the encoder.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py>

use super::heads::{Heads, copy};
use super::layers::{int8_linear, linear, norm};
use super::scratch::Scratch;
use super::{PackOptions, PackedInputs, PackedOutput};
use crate::activation::Activation;
use crate::config::BertConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::collect;
use crate::weights::{Init, Weights};
use bertscript_kernels::{
    Bf16, Element, Isa, LayerNorm, Linear, Matrix, Rows, RowsMut, Team, Texts, Then, attention,
};
use std::sync::Mutex;
use tch::Kind;
use torchscript::SharedTensor;

/// Embeddings, encoder and head, for inputs of products of type `E`.
#[derive(Debug)]
pub(super) struct Bert<E> {
    isa: Isa,
    heads: usize,
    embeddings: Embeddings,
    layers: Vec<Layer<E>>,
    head: Heads<E>,
    hidden_states: bool,
    /// Memory of earlier calls, as many as ran at once.
    scratch: Mutex<Vec<Scratch<E>>>,
}

/// `embeddings`
#[derive(Debug)]
struct Embeddings {
    word: SharedTensor,
    token_type: SharedTensor,
    position: SharedTensor,
    norm: LayerNorm,
}

/// `encoder.layer.{i}`
#[derive(Debug)]
struct Layer<E> {
    /// `attention.self.query`, `key` and `value`
    qkv: Linear<E>,
    attention_output: Linear<E>,
    attention_norm: LayerNorm,
    intermediate: Dense<E>,
    output: Linear<E>,
    output_norm: LayerNorm,
}

/// A layer with an activation.
#[derive(Debug)]
pub(super) struct Dense<E> {
    linear: Linear<E>,
    activation: Activation,
}

impl<E: Element> Bert<E> {
    pub(super) fn load(
        w: &Weights,
        options: PackOptions<'_>,
        isa: Isa,
        read: &dyn Fn(),
    ) -> Result<Self> {
        let PackOptions { architecture, config, hidden_states, int8 } = options;
        let base = if architecture.has_base_prefix() { w.sub("bert") } else { w.clone() };
        let layers = base.sub("encoder").sub("layer");
        Ok(Self {
            isa,
            heads: config.num_attention_heads as usize,
            embeddings: Embeddings::load(&base.sub("embeddings"), config, isa)?,
            layers: (0..config.num_hidden_layers)
                .map(|number| {
                    let layer = Layer::load(&layers.sub(number), config, isa, int8);
                    read();
                    layer
                })
                .collect::<Result<_>>()?,
            head: Heads::load(w, architecture, config, isa)?,
            hidden_states,
            scratch: Mutex::default(),
        })
    }

    /// See [`super::Packed::chunk`].
    pub(super) fn forward(
        &self,
        inputs: &PackedInputs,
        team: &dyn Team,
    ) -> Result<Vec<PackedOutput>> {
        self.with_scratch(|scratch| {
            let mut hidden_states = Vec::new();
            let mut firsts = starts(&inputs.lengths)?;
            if self.hidden_states {
                let keep = |x: &_| {
                    hidden_states.push(PackedOutput::Tokens(copy(x)?));
                    Ok(())
                };
                self.encode(inputs, None, scratch, team, keep)?;
            } else if self.head.takes_first_tokens() {
                self.encode(inputs, Some(&firsts), scratch, team, |_| Ok(()))?;
                firsts.iter_mut().enumerate().for_each(|(text, row)| *row = text);
            } else {
                self.encode(inputs, None, scratch, team, |_| Ok(()))?;
            }
            let mut outputs = self.head.forward(&firsts, scratch, team)?;
            outputs.append(&mut hidden_states);
            Ok(outputs)
        })
    }

    /// See [`super::Packed::hidden_states`].
    pub(super) fn hidden_states<R>(
        &self,
        inputs: &PackedInputs,
        tokens: Option<&[usize]>,
        team: &dyn Team,
        read: impl FnOnce(&Matrix<f32>) -> Result<R>,
    ) -> Result<R> {
        self.with_scratch(|scratch| {
            self.encode(inputs, tokens, scratch, team, |_| Ok(()))?;
            read(&scratch.x)
        })
    }

    /// See [`super::Packed::predictions`].
    pub(super) fn predictions(
        &self,
        inputs: &PackedInputs,
        tokens: &[usize],
        team: &dyn Team,
    ) -> Result<Matrix<f32>> {
        self.with_scratch(|scratch| {
            self.encode(inputs, Some(tokens), scratch, team, |_| Ok(()))?;
            self.head.predictions(scratch, team)
        })
    }

    fn with_scratch<R>(&self, run: impl FnOnce(&mut Scratch<E>) -> Result<R>) -> Result<R> {
        let kept = self.scratch.lock().ok().and_then(|mut kept| kept.pop());
        let mut scratch = kept.unwrap_or_else(|| {
            let layer = self.layers.first();
            let hidden_size = layer.map_or(0, |layer| layer.qkv.inputs());
            Scratch::new(hidden_size, layer.map_or(0, |layer| layer.intermediate.outputs()))
        });
        let result = run(&mut scratch);
        // Where memory ran out, it had better be free.
        if result.is_ok()
            && let Ok(mut kept) = self.scratch.lock()
        {
            kept.push(scratch);
        }
        result
    }

    /// The hidden states of all tokens, or in the last layer of some only; `each`
    /// sees those of every layer.
    fn encode(
        &self,
        inputs: &PackedInputs,
        tokens: Option<&[usize]>,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
        mut each: impl FnMut(&Matrix<f32>) -> Result<()>,
    ) -> Result<()> {
        scratch.set_rows(inputs.input_ids.len())?;
        self.embeddings.forward(inputs, scratch, team)?;
        each(&scratch.x)?;
        let texts = Texts { lengths: &inputs.lengths, heads: self.heads };
        for (number, layer) in self.layers.iter().enumerate() {
            layer.attend(self.isa, texts, scratch, team)?;
            if let Some(tokens) = tokens
                && number + 1 == self.layers.len()
            {
                scratch.keep_rows(tokens)?;
            }
            layer.feed_forward(scratch, team)?;
            each(&scratch.x)?;
        }
        Ok(())
    }
}

impl Embeddings {
    fn load(w: &Weights, config: &BertConfig, isa: Isa) -> Result<Self> {
        let table = |name: &str, rows: i64| -> Result<SharedTensor> {
            let weight = w.sub(name).get("weight", &[rows, config.hidden_size], Init::Zeros)?;
            Ok(SharedTensor::new(weight.f_contiguous()?))
        };
        Ok(Self {
            word: table("word_embeddings", config.vocab_size)?,
            token_type: table("token_type_embeddings", config.type_vocab_size)?,
            position: table("position_embeddings", config.max_position_embeddings)?,
            norm: norm(isa, &w.sub("LayerNorm"), config)?,
        })
    }

    /// -> `[T,H]`
    fn forward<E: Element>(
        &self,
        inputs: &PackedInputs,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        match (Table::new(&self.word)?, Table::new(&self.token_type)?, Table::new(&self.position)?)
        {
            (Table::F32(w), Table::F32(t), Table::F32(p)) => {
                add_up([w, t, p], inputs, &mut scratch.x)
            }
            (Table::Bf16(w), Table::Bf16(t), Table::Bf16(p)) => {
                add_up([w, t, p], inputs, &mut scratch.x);
            }
            _ => {
                let message = "the embeddings have different dtypes";
                return Err(Error::new(ErrorKind::Archive, message));
            }
        }
        self.norm.forward(team, scratch.x.all_mut(), scratch.copied.all_mut())?;
        Ok(())
    }
}

/// The values of an embedding.
enum Table<'a> {
    F32(&'a [f32]),
    Bf16(&'a [Bf16]),
}

impl<'a> Table<'a> {
    fn new(tensor: &'a SharedTensor) -> Result<Self> {
        if tensor.get().f_kind()? == Kind::BFloat16 {
            return Ok(Self::Bf16(Bf16::from_bits(tensor.as_bf16()?)));
        }
        Ok(Self::F32(tensor.as_f32()?))
    }
}

/// The sum of each token's three vectors.
fn add_up<W: Element>(
    [word, token_type, position]: [&[W]; 3],
    inputs: &PackedInputs,
    x: &mut Matrix<f32>,
) {
    let tokens = inputs.input_ids.iter().zip(&inputs.token_type_ids);
    let positions = inputs.lengths.iter().flat_map(|length| 0..*length);
    for (number, ((id, type_id), place)) in tokens.zip(positions).enumerate() {
        let row = x.row_mut(number);
        let of = |table: &[W], id: usize| -> std::ops::Range<usize> {
            debug_assert!((id + 1) * row.len() <= table.len());
            id * row.len()..(id + 1) * row.len()
        };
        // The inputs were checked: ids are below the tables' lengths.
        let word = &word[of(word, *id as usize)];
        let token_type = &token_type[of(token_type, *type_id as usize)];
        let position = &position[of(position, place)];
        for (value, ((word, token_type), position)) in
            row.iter_mut().zip(word.iter().zip(token_type).zip(position))
        {
            // Upstream's order of additions.
            *value = word.to_f32() + token_type.to_f32() + position.to_f32();
        }
    }
}

impl<E: Element> Layer<E> {
    fn load(w: &Weights, config: &BertConfig, isa: Isa, int8: bool) -> Result<Self> {
        let linear = if int8 { int8_linear } else { linear };
        let (hidden_size, wide) = (config.hidden_size, config.intermediate_size);
        let (attention, own) = (w.sub("attention"), w.sub("attention").sub("self"));
        let qkv = ["query", "key", "value"].map(|name| own.sub(name));
        let out = attention.sub("output");
        let intermediate = linear(isa, &[w.sub("intermediate").sub("dense")], hidden_size, wide)?;
        Ok(Self {
            qkv: linear(isa, &qkv, hidden_size, hidden_size)?,
            attention_output: linear(isa, &[out.sub("dense")], hidden_size, hidden_size)?,
            attention_norm: norm(isa, &out.sub("LayerNorm"), config)?,
            intermediate: Dense::new(intermediate, config.hidden_act),
            output: linear(isa, &[w.sub("output").sub("dense")], wide, hidden_size)?,
            output_norm: norm(isa, &w.sub("output").sub("LayerNorm"), config)?,
        })
    }

    /// What every token makes of those it attends to: `copied` -> `context`
    fn attend(
        &self,
        isa: Isa,
        texts: Texts<'_>,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        let Scratch { copied, qkv, context, .. } = scratch;
        self.qkv.forward(team, copied.all(), Then::Keep, qkv.all_mut())?;
        attention(isa, team, qkv.all(), texts, context.all_mut())?;
        Ok(())
    }

    /// The rest of the layer, in which every row stands for itself: `context` and
    /// `x` -> `x`
    fn feed_forward(&self, scratch: &mut Scratch<E>, team: &dyn Team) -> Result<()> {
        let Scratch { x, copied, context, intermediate, sum, .. } = scratch;
        sum.set_rows(x.len())?;
        intermediate.set_rows(x.len())?;
        let residual = Then::Add(x.all());
        self.attention_output.forward(team, context.all(), residual, sum.all_mut())?;
        self.attention_norm.forward(team, sum.all_mut(), copied.all_mut())?;
        self.intermediate.forward(team, copied.all(), intermediate.all_mut())?;
        let residual = Then::Add(sum.all());
        self.output.forward(team, intermediate.all(), residual, x.all_mut())?;
        self.output_norm.forward(team, x.all_mut(), copied.all_mut())?;
        Ok(())
    }
}

impl<E: Element> Dense<E> {
    pub(super) fn new(linear: Linear<E>, activation: Activation) -> Self {
        Self { linear, activation }
    }

    pub(super) fn outputs(&self) -> usize {
        self.linear.outputs()
    }

    /// x `[N,in]` -> `[N,out]`
    pub(super) fn forward<O: Element>(
        &self,
        team: &dyn Team,
        x: Rows<'_, E>,
        out: RowsMut<'_, O>,
    ) -> Result<()> {
        self.activation.after_linear(&self.linear, team, x, out)
    }
}

/// The number of each text's first token.
fn starts(lengths: &[usize]) -> Result<Vec<usize>> {
    let mut next = 0;
    let starts = lengths.iter().map(|length| {
        next += length;
        next - length
    });
    Ok(collect(starts)?)
}
