//! Pooler and heads, as a description has them.

use super::linear::{Dense, copy, linear, optional_norm, round, select};
use super::scratch::Scratch;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::family::OutputSpec;
use crate::family::model::ModelSpec;
use crate::family::spec::{self, OutputForm, Pooling};
use crate::memory::with_capacity;
use crate::weights::{Init, Weights};
use bertscript_kernels::{Element, Isa, Keys, LayerNorm, Linear, Matrix, Team, Then};

/// Rows of logits that are there at once where they are pooled: enough that reading the
/// weights of a vocabulary costs little.
const BLOCK: usize = 128;

/// What is computed of the encoder's hidden states.
#[derive(Debug)]
pub(super) struct Heads<E> {
    pooler: Option<Transform<E>>,
    /// None of the model without a head, whose outputs are the hidden states and what the
    /// pooler makes of them
    heads: Vec<Head<E>>,
    /// Whether it has a row for each token, of every output
    per_token: Vec<bool>,
    /// Whether it is of the mean of all tokens, of every output
    of_mean: Vec<bool>,
}

#[derive(Debug)]
pub(super) struct Head<E> {
    pooling: Pooling,
    transforms: Vec<Transform<E>>,
    last: Linear<E>,
    form: OutputForm,
}

/// A linear layer, its activation, and perhaps a LayerNorm.
#[derive(Debug)]
struct Transform<E> {
    dense: Dense<E>,
    norm: Option<LayerNorm>,
}

impl<E: Element> Heads<E> {
    pub(super) fn load(w: &Weights, spec: &ModelSpec, isa: Isa) -> Result<Self> {
        let hidden_size = spec.encoder.hidden_size;
        let base = w.sub_prefix(&spec.prefix());
        let pooler = |pooler| Transform::load(&base, pooler, hidden_size, isa);
        let heads = spec.heads.iter().map(|head| Head::load(w, head, hidden_size, isa));
        Ok(Self {
            pooler: spec.pooler().map(pooler).transpose()?,
            heads: heads.collect::<Result<_>>()?,
            per_token: spec.outputs().iter().map(OutputSpec::is_per_token).collect(),
            of_mean: of_mean(spec),
        })
    }

    /// The number of outputs.
    pub(super) fn num_outputs(&self) -> usize {
        self.per_token.len()
    }

    /// Whether an output has a row for each token.
    pub(super) fn is_per_token(&self, output: usize) -> bool {
        self.per_token.get(output).copied().unwrap_or(false)
    }

    /// The head whose logits of each token are an output.
    pub(super) fn of_tokens(&self, output: usize) -> Option<&Head<E>> {
        let mut first = 0;
        self.heads.iter().find(|head| {
            let is_output = output == first;
            first += head.num_outputs();
            is_output && head.form == OutputForm::Logits && head.pooling == Pooling::None
        })
    }

    /// Whether an output needs the hidden states of all tokens.
    pub(super) fn needs_all(&self, output: usize) -> bool {
        self.is_per_token(output) || self.of_mean.get(output).copied().unwrap_or(false)
    }

    /// The wanted outputs of hidden states `[T,H]`, given the rows of the sequences' first
    /// tokens, and where the hidden states are of all tokens, their batch; none for the others.
    pub(super) fn forward(
        &self,
        first_tokens: &[usize],
        batch: Option<&Batch>,
        is_wanted: &dyn Fn(usize) -> bool,
        scratch: &Scratch<E>,
        team: &dyn Team,
    ) -> Result<Vec<Option<Matrix<f32>>>> {
        let mut outputs = with_capacity(self.per_token.len())?;
        let of_sequence = |output| !self.is_per_token(output) && is_wanted(output);
        let first = match (0..self.per_token.len()).any(of_sequence) {
            true => Some(gather(&scratch.copied, first_tokens)?),
            false => None,
        };
        let pooled: Option<Matrix<f32>> = match (&self.pooler, &first) {
            (Some(pooler), Some(first)) => Some(pooler.forward(team, first)?),
            _ => None,
        };
        if self.heads.is_empty() {
            outputs.push(if is_wanted(0) { Some(copy(&scratch.x)?) } else { None });
            outputs.extend((self.per_token.len() > 1).then_some(pooled));
            return Ok(outputs);
        }
        for head in &self.heads {
            let numbers = outputs.len()..outputs.len() + head.num_outputs();
            if !numbers.clone().any(is_wanted) {
                outputs.extend(numbers.map(|_| None));
                continue;
            }
            let missing = || Error::new(ErrorKind::Config, "the model has no pooler");
            let mut rounded = Matrix::new(scratch.copied.width());
            let mut round = |rows: &Matrix<f32>| {
                rounded.set_rows(rows.len())?;
                round(rows, &mut rounded);
                Ok::<_, Error>(())
            };
            let rows = match head.pooling {
                Pooling::None => &scratch.copied,
                Pooling::FirstToken => first.as_ref().ok_or_else(missing)?,
                Pooling::PoolerOutput => {
                    round(pooled.as_ref().ok_or_else(missing)?)?;
                    &rounded
                }
                Pooling::Mean => {
                    round(&mean(&scratch.x, batch.ok_or_else(missing)?)?)?;
                    &rounded
                }
            };
            outputs.extend(head.forward(team, rows)?.into_iter().map(Some));
        }
        Ok(outputs)
    }
}

impl<E: Element> Head<E> {
    fn load(w: &Weights, spec: &spec::Head, hidden_size: i64, isa: Isa) -> Result<Self> {
        let (mut transforms, mut width) = (Vec::new(), hidden_size);
        for transform in &spec.transforms {
            transforms.push(Transform::load(w, transform, width, isa)?);
            width = transform.width;
        }
        let last = &spec.last;
        if let Some(name) = &last.bias_alias {
            // A second name of the last bias, which `forward` does not read.
            let _ = w.get(name, &[last.width], Init::Normal)?;
        }
        let dense = linear(isa, w, &[&last.dense], width, last.width)?;
        Ok(Self { pooling: spec.pooling, transforms, last: dense, form: spec.form })
    }

    fn num_outputs(&self) -> usize {
        match self.form {
            OutputForm::Logits | OutputForm::Squeezed | OutputForm::Choices => 1,
            OutputForm::StartEnd => 2,
        }
    }

    /// The number of logits of a row.
    pub(super) fn width(&self) -> usize {
        self.last.outputs()
    }

    /// What the last layer reads of rows `[N,H]`; the rows, if none.
    fn transform(&self, team: &dyn Team, rows: &Matrix<E>) -> Result<Option<Matrix<E>>> {
        let mut transformed: Option<Matrix<E>> = None;
        for transform in &self.transforms {
            let x = transformed.as_ref().unwrap_or(rows);
            transformed = Some(transform.forward(team, x)?);
        }
        Ok(transformed)
    }

    /// Shows the logits of rows `[N,H]`, some rows after the other.
    pub(super) fn logits_in_blocks(
        &self,
        team: &dyn Team,
        rows: &Matrix<E>,
        mut each: impl FnMut(&Matrix<f32>) -> Result<()>,
    ) -> Result<()> {
        let transformed = self.transform(team, rows)?;
        let x = transformed.as_ref().unwrap_or(rows);
        let mut logits = Matrix::new(self.width());
        for start in (0..x.len()).step_by(BLOCK) {
            let block = start..x.len().min(start + BLOCK);
            logits.set_rows(block.len())?;
            self.last.forward(team, x.rows(block), Then::Keep, logits.all_mut())?;
            each(&logits)?;
        }
        Ok(())
    }

    /// `[N,H]` -> its outputs, `[N,..]`
    fn forward(&self, team: &dyn Team, rows: &Matrix<E>) -> Result<Vec<Matrix<f32>>> {
        let mut logits = Matrix::new(self.width());
        logits.set_rows(rows.len())?;
        let transformed = self.transform(team, rows)?;
        let x = transformed.as_ref().unwrap_or(rows);
        self.last.forward(team, x.all(), Then::Keep, logits.all_mut())?;
        Ok(match self.form {
            OutputForm::Logits | OutputForm::Squeezed | OutputForm::Choices => vec![logits],
            OutputForm::StartEnd => {
                let column = |column| select(&logits, 0..logits.len(), column..column + 1);
                vec![column(0)?, column(1)?]
            }
        })
    }
}

impl<E: Element> Transform<E> {
    fn load(w: &Weights, spec: &spec::Transform, inputs: i64, isa: Isa) -> Result<Self> {
        let dense = linear(isa, w, &[&spec.dense], inputs, spec.width)?;
        let norm = optional_norm(isa, w, spec.norm.as_ref(), spec.width)?;
        Ok(Self { dense: Dense::new(dense, spec.activation), norm })
    }

    /// `[N,in]` -> `[N,width]`
    fn forward<O: Element>(&self, team: &dyn Team, rows: &Matrix<E>) -> Result<Matrix<O>> {
        let width = self.dense.outputs();
        let mut out = Matrix::new(width);
        out.set_rows(rows.len())?;
        match &self.norm {
            None => self.dense.forward(team, rows.all(), out.all_mut())?,
            Some(norm) => {
                let mut x = Matrix::<f32>::new(width);
                x.set_rows(rows.len())?;
                self.dense.forward(team, rows.all(), x.all_mut())?;
                norm.forward(team, x.all_mut(), out.all_mut())?;
            }
        }
        Ok(out)
    }
}

/// Of every output, whether it is of the mean of all tokens.
fn of_mean(spec: &ModelSpec) -> Vec<bool> {
    let of_head = |head: &spec::Head| {
        let outputs = if head.form == OutputForm::StartEnd { 2 } else { 1 };
        std::iter::repeat_n(head.pooling == Pooling::Mean, outputs)
    };
    spec.heads.iter().flat_map(of_head).collect()
}

/// The mean of each sequence's tokens, but for those that are masked; of none, zeros.
fn mean(x: &Matrix<f32>, batch: &Batch) -> Result<Matrix<f32>> {
    let mut means = Matrix::new(x.width());
    means.set_rows(batch.len())?;
    for (sequence, (mut tokens, keys)) in batch.ranges().zip(batch.keys()).enumerate() {
        match keys {
            Keys::All => {}
            Keys::AllButFirst => tokens.start += 1,
            Keys::None | Keys::Uniform => tokens.start = tokens.end,
        }
        let is_kept = |token: &usize| batch.masked().get(*token) != Some(&true);
        let count = tokens.clone().filter(is_kept).count().max(1) as f32;
        let mean = means.row_mut(sequence);
        mean.fill(0.);
        for token in tokens.filter(is_kept) {
            mean.iter_mut().zip(x.row(token)).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= count);
    }
    Ok(means)
}

/// Some rows.
fn gather<E: Element>(from: &Matrix<E>, rows: &[usize]) -> Result<Matrix<E>> {
    let mut gathered = Matrix::new(from.width());
    gathered.set_rows(rows.len())?;
    for (to, row) in rows.iter().enumerate() {
        gathered.row_mut(to).copy_from_slice(from.row(*row));
    }
    Ok(gathered)
}
