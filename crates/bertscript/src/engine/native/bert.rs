//! The embeddings and the encoder.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py>

use super::heads::TaskHead;
use super::layers::{Dense, copy, int8_linear, linear, norm};
use super::scratch::Scratch;
use crate::batch::Batch;
use crate::config::BertConfig;
use crate::engine::source::ModelSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::copied;
use crate::weights::{Init, Weights};
use bertscript_kernels::{
    Bf16, Element, Isa, LayerNorm, Linear, Matrix, Sequences, Team, Then, attention,
};
use std::sync::Mutex;
use tch::Kind;
use torchscript::SharedTensor;

/// Embeddings, encoder and head, for inputs of products of type `E`.
#[derive(Debug)]
pub(super) struct Bert<E> {
    isa: Isa,
    num_heads: usize,
    embeddings: Embeddings,
    layers: Vec<Layer<E>>,
    task_head: TaskHead<E>,
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

impl<E: Element> Bert<E> {
    pub(super) fn load(
        w: &Weights,
        spec: ModelSpec<'_>,
        int8: bool,
        isa: Isa,
        read: &dyn Fn(),
    ) -> Result<Self> {
        let ModelSpec { architecture, config, .. } = spec;
        let base = if architecture.has_base_prefix() { w.sub("bert") } else { w.clone() };
        let layers = base.sub("encoder").sub("layer");
        Ok(Self {
            isa,
            num_heads: config.num_attention_heads as usize,
            embeddings: Embeddings::load(&base.sub("embeddings"), config, isa)?,
            layers: (0..config.num_hidden_layers)
                .map(|index| {
                    let layer = Layer::load(&layers.sub(index), config, isa, int8);
                    read();
                    layer
                })
                .collect::<Result<_>>()?,
            task_head: TaskHead::load(w, architecture, config, isa)?,
            scratch: Mutex::default(),
        })
    }

    /// See [`super::Prepacked::outputs`]. Those of the head come first, then the hidden
    /// states of every layer.
    pub(super) fn outputs(
        &self,
        batch: &Batch,
        wanted: &[usize],
        team: &dyn Team,
    ) -> Result<Vec<Matrix<f32>>> {
        let of_head = self.task_head.num_outputs();
        let mut outputs: Vec<Option<Matrix<f32>>> = Vec::new();
        outputs.resize_with(of_head + self.layers.len() + 1, || None);
        self.with_scratch(|scratch| {
            let mut first_tokens = copied(&batch.cu_seqlens()[..batch.len()])?;
            let mut hidden_states = outputs.iter_mut().enumerate().skip(of_head);
            let keep = |x: &_| {
                match hidden_states.next() {
                    Some((index, to)) if wanted.contains(&index) => *to = Some(copy(x)?),
                    _ => {}
                }
                Ok(())
            };
            let is_per_token =
                |index: &usize| *index >= of_head || self.task_head.is_per_token(*index);
            if wanted.iter().any(is_per_token) {
                self.encode(batch, None, scratch, team, keep)?;
            } else {
                self.encode(batch, Some(&first_tokens), scratch, team, keep)?;
                first_tokens.iter_mut().enumerate().for_each(|(text, row)| *row = text);
            }
            let wanted_of_head = |index: usize| wanted.contains(&index);
            let found = self.task_head.forward(&first_tokens, &wanted_of_head, scratch, team)?;
            outputs.iter_mut().zip(found).for_each(|(to, found)| *to = found);
            Ok(())
        })?;
        let wanted = wanted.iter().map(|index| {
            let output = outputs.get_mut(*index).and_then(Option::take);
            output.ok_or_else(|| {
                Error::new(ErrorKind::Archive, format!("the model has no output {index}"))
            })
        });
        wanted.collect()
    }

    /// See [`super::Prepacked::tokens`].
    pub(super) fn tokens(
        &self,
        batch: &Batch,
        output: usize,
        tokens: &[usize],
        team: &dyn Team,
    ) -> Result<Matrix<f32>> {
        let missing = || {
            let message = format!("the output {output} of the model is not one of tokens");
            Error::new(ErrorKind::Unsupported, message)
        };
        if !self.task_head.is_per_token(output) {
            return Err(missing());
        }
        self.with_scratch(|scratch| {
            self.encode(batch, Some(tokens), scratch, team, |_| Ok(()))?;
            let only = |index| index == output;
            let found = self.task_head.forward(&[], &only, scratch, team)?;
            found.into_iter().nth(output).flatten().ok_or_else(missing)
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
        batch: &Batch,
        tokens: Option<&[usize]>,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
        mut each: impl FnMut(&Matrix<f32>) -> Result<()>,
    ) -> Result<()> {
        scratch.set_rows(batch.num_tokens())?;
        self.embeddings.forward(batch, scratch, team)?;
        each(&scratch.x)?;
        let (cu_seqlens, keys, num_heads) = (batch.cu_seqlens(), batch.keys(), self.num_heads);
        let sequences = Sequences { cu_seqlens, keys, num_heads };
        for (index, layer) in self.layers.iter().enumerate() {
            layer.attend(self.isa, sequences, scratch, team)?;
            if let Some(tokens) = tokens
                && index + 1 == self.layers.len()
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
        batch: &Batch,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        match (Table::new(&self.word)?, Table::new(&self.token_type)?, Table::new(&self.position)?)
        {
            (Table::F32(w), Table::F32(t), Table::F32(p)) => {
                sum_embeddings([w, t, p], batch, &mut scratch.x)
            }
            (Table::Bf16(w), Table::Bf16(t), Table::Bf16(p)) => {
                sum_embeddings([w, t, p], batch, &mut scratch.x);
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
fn sum_embeddings<W: Element>(
    [word, token_type, position]: [&[W]; 3],
    batch: &Batch,
    x: &mut Matrix<f32>,
) {
    let tokens = batch.input_ids().iter().zip(batch.token_type_ids()).zip(batch.position_ids());
    for (token, ((id, type_id), position_id)) in tokens.enumerate() {
        let row = x.row_mut(token);
        let of = |table: &[W], id: usize| -> std::ops::Range<usize> {
            debug_assert!((id + 1) * row.len() <= table.len());
            id * row.len()..(id + 1) * row.len()
        };
        // A batch is within bounds: ids are below the tables' lengths.
        let word = &word[of(word, *id as usize)];
        let token_type = &token_type[of(token_type, *type_id as usize)];
        let position = &position[of(position, *position_id as usize)];
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

    /// Attention: `copied` -> `context`
    fn attend(
        &self,
        isa: Isa,
        sequences: Sequences<'_>,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        let Scratch { copied, qkv, context, .. } = scratch;
        self.qkv.forward(team, copied.all(), Then::Keep, qkv.all_mut())?;
        attention(isa, team, qkv.all(), sequences, context.all_mut())?;
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
