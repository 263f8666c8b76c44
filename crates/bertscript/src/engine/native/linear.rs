//! Weights become linear layers and norms.

use crate::activation::Activation;
use crate::error::Result;
use crate::family::spec;
use crate::memory::{copied, filled};
use crate::tensor::{ElementType, Tensor};
use crate::weights::{Init, Weights};
use bertscript_kernels::{
    Bf16, Element, Isa, LayerNorm, Linear, Matrix, OutOfMemory, Rows, RowsMut, Team,
};
use half::slice::HalfFloatSliceExt;
use std::ops::Range;

/// Linear layers with the same inputs and as many outputs each, as one.
pub(super) fn linear<E: Element>(
    isa: Isa,
    w: &Weights,
    layers: &[&spec::Linear],
    inputs: i64,
    outputs: i64,
) -> Result<Linear<E>> {
    with_values(
        w,
        layers,
        [inputs, outputs],
        |layers| Linear::new(isa, inputs as usize, layers),
        |layers| Linear::new(isa, inputs as usize, layers),
    )
}

/// The same, of 8-bit integers, with the greatest magnitudes of the inputs.
pub(super) fn int8_linear<E: Element>(
    isa: Isa,
    w: &Weights,
    layers: &[&spec::Linear],
    maxima: &[f32],
    outputs: i64,
) -> Result<Linear<E>> {
    let inputs = maxima.len();
    if inputs > Linear::<E>::MAX_INT8_INPUTS {
        return linear(isa, w, layers, inputs as i64, outputs);
    }
    with_values(
        w,
        layers,
        [inputs as i64, outputs],
        |layers| Linear::int8(isa, inputs, layers, Some(maxima)),
        |layers| Linear::int8(isa, inputs, layers, Some(maxima)),
    )
}

/// A layer's weight and bias.
type Values<'a, W> = (&'a [W], &'a [W]);

/// What is made of the weights and biases, in the dtype that they have.
fn with_values<R>(
    w: &Weights,
    layers: &[&spec::Linear],
    [inputs, outputs]: [i64; 2],
    of_f32: impl FnOnce(&[Values<'_, f32>]) -> Result<R, OutOfMemory>,
    of_bf16: impl FnOnce(&[Values<'_, Bf16>]) -> Result<R, OutOfMemory>,
) -> Result<R> {
    let tensors = layers.iter().map(|layer| {
        let own = w.sub(&layer.name);
        let weight = own.get("weight", &[outputs, inputs], Init::Normal)?;
        let bias = match layer.has_bias {
            true => own.get("bias", &[outputs], Init::Normal)?,
            // Which adds nothing.
            false => Tensor::new(filled(outputs as usize, 0_f32)?, [outputs as usize])?
                .to_dtype(w.dtype())?,
        };
        Ok([weight, bias])
    });
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    if tensors.iter().any(|[weight, _]| weight.element_type() == ElementType::BF16) {
        let layers = tensors.iter().map(|[weight, bias]| Ok((as_bf16(weight)?, as_bf16(bias)?)));
        return Ok(of_bf16(&layers.collect::<Result<Vec<_>>>()?)?);
    }
    let layers = tensors
        .iter()
        .map(|[weight, bias]| Ok((weight.as_slice::<f32>()?, bias.as_slice::<f32>()?)));
    Ok(of_f32(&layers.collect::<Result<Vec<_>>>()?)?)
}

/// The values of a tensor of bfloat16, for kernels.
pub(super) fn as_bf16(tensor: &Tensor) -> Result<&[Bf16]> {
    Ok(Bf16::from_bits(tensor.as_slice::<half::bf16>()?.reinterpret_cast()))
}

pub(super) fn norm(isa: Isa, w: &Weights, spec: &spec::LayerNorm, width: i64) -> Result<LayerNorm> {
    let own = w.sub(&spec.name);
    let values = |name| -> Result<Vec<f32>> {
        let tensor = own.get(name, &[width], Init::Normal)?;
        Ok(copied(tensor.to_f32()?.as_slice::<f32>()?)?)
    };
    let weight = values("weight")?;
    let bias = if spec.has_bias { values("bias")? } else { filled(width as usize, 0.)? };
    Ok(LayerNorm::new(isa, &weight, &bias, spec.eps)?)
}

/// A norm that a description may have.
pub(super) fn optional_norm(
    isa: Isa,
    w: &Weights,
    spec: Option<&spec::LayerNorm>,
    width: i64,
) -> Result<Option<LayerNorm>> {
    spec.map(|spec| norm(isa, w, spec, width)).transpose()
}

/// A linear layer with an activation.
#[derive(Debug)]
pub(super) struct Dense<E> {
    linear: Linear<E>,
    activation: Activation,
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

pub(super) fn copy(matrix: &Matrix<f32>) -> Result<Matrix<f32>> {
    select(matrix, 0..matrix.len(), 0..matrix.width())
}

/// Some rows and columns.
pub(super) fn select(
    matrix: &Matrix<f32>,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Result<Matrix<f32>> {
    let mut selected = Matrix::new(columns.len());
    selected.set_rows(rows.len())?;
    for (to, from) in rows.enumerate() {
        selected.row_mut(to).copy_from_slice(&matrix.row(from)[columns.clone()]);
    }
    Ok(selected)
}

/// The same values, as inputs of products.
pub(super) fn round<E: Element>(from: &Matrix<f32>, to: &mut Matrix<E>) {
    for row in 0..from.len() {
        for (to, value) in to.row_mut(row).iter_mut().zip(from.row(row)) {
            *to = E::from_f32(*value);
        }
    }
}
