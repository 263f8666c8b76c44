//! Linear layers, with what follows them.

use crate::element::{Element, Layer, Weights};
use crate::gemm::{Epilogue, MAX_INT8_K, Prepacked, Then};
use crate::instances::panel_columns;
use crate::isa::Isa;
use crate::matrix::{AnyRows, AnyRowsMut, Rows, RowsMut};
use crate::memory::{OutOfMemory, with_capacity};
use crate::team::Team;
use std::marker::PhantomData;

/// `y = x Wᵀ + b`, for inputs of type `E`; the weight is prepacked for an instruction set.
#[derive(Debug)]
pub struct Linear<E> {
    layer: Layers,
    element: PhantomData<E>,
}

/// A layer of any type, or several with the same inputs.
#[derive(Debug)]
struct Layers {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    /// Padded to whole panels.
    bias: Vec<f32>,
    weight: Prepacked,
}

/// What products are computed in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Precision<'a> {
    F32,
    Bf16,
    /// With the greatest magnitudes of inputs, if they are known.
    Int8(Option<&'a [f32]>),
}

impl<E: Element> Linear<E> {
    /// The most inputs of a layer of 8-bit integers: with more, sums might not fit
    /// into 32 bits.
    pub const MAX_INT8_INPUTS: usize = MAX_INT8_K;

    /// One layer of several with the same inputs: the outputs of the first come
    /// first. Each is a weight `[out,in]` and a bias `[out]`.
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Panics
    /// If there are no inputs, a weight does not have as many values for each of its
    /// bias, or the CPU lacks the instructions.
    pub fn new<W: Element>(
        isa: Isa,
        inputs: usize,
        layers: &[(&[W], &[W])],
    ) -> Result<Self, OutOfMemory> {
        let precision = if E::K_GROUP == 1 { Precision::F32 } else { Precision::Bf16 };
        let layer = Layers::new(isa, precision, inputs, W::weights(layers))?;
        Ok(Self { layer, element: PhantomData })
    }

    /// The same, rounded to 8-bit integers: a weight has a scale for each output, and an input,
    /// when it comes, a scale and an offset for each row. Sums are exact. With the greatest
    /// magnitudes `[in]` of inputs that are typical, those of great ones are divided, and their
    /// weights multiplied, so that the others are left more of the integers (SmoothQuant,
    /// <https://arxiv.org/abs/2211.10438>).
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Panics
    /// As [`Self::new`], if there are more than [`Self::MAX_INT8_INPUTS`], or another number of
    /// maxima.
    pub fn int8<W: Element>(
        isa: Isa,
        inputs: usize,
        layers: &[(&[W], &[W])],
        maxima: Option<&[f32]>,
    ) -> Result<Self, OutOfMemory> {
        assert!(maxima.is_none_or(|maxima| maxima.len() == inputs), "as many maxima as inputs");
        let layer = Layers::new(isa, Precision::Int8(maxima), inputs, W::weights(layers))?;
        Ok(Self { layer, element: PhantomData })
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.layer.inputs
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.layer.outputs
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.layer.weight.bytes() + size_of_val(self.layer.bias.as_slice())
    }

    /// x `[N,in]` -> `[N,out]`
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Panics
    /// If a matrix has another shape.
    pub fn forward<O: Element>(
        &self,
        team: &dyn Team,
        x: Rows<'_, E>,
        then: Then<'_>,
        out: RowsMut<'_, O>,
    ) -> Result<(), OutOfMemory> {
        assert_eq!((x.width, out.width), (self.inputs(), self.outputs()), "other widths");
        assert_eq!(x.rows, out.rows, "as many results as inputs");
        self.layer.forward(team, x.erase(), then, out.erase())
    }
}

impl Layers {
    fn new(
        isa: Isa,
        precision: Precision<'_>,
        inputs: usize,
        weights: Weights<'_>,
    ) -> Result<Self, OutOfMemory> {
        match weights {
            Weights::F32(layers) => Self::of(isa, precision, inputs, layers),
            Weights::Bf16(layers) => Self::of(isa, precision, inputs, layers),
        }
    }

    fn of<W: Element>(
        isa: Isa,
        precision: Precision<'_>,
        inputs: usize,
        layers: &[Layer<'_, W>],
    ) -> Result<Self, OutOfMemory> {
        let is_able = precision != Precision::Bf16 || isa.has_bf16_dot();
        assert!(isa.is_available() && is_able, "{isa:?}");
        let is_int8 = matches!(precision, Precision::Int8(_));
        assert!(!is_int8 || inputs <= MAX_INT8_K, "{inputs} inputs");
        assert!(inputs > 0, "a layer without inputs");
        let outputs = layers.iter().map(|(_, bias)| bias.len()).sum::<usize>();
        let padded = outputs.next_multiple_of(panel_columns(isa));
        let mut rows = with_capacity(outputs)?;
        let mut bias = with_capacity(padded)?;
        for (weight, layer_bias) in layers {
            assert_eq!(weight.len(), inputs * layer_bias.len(), "a weight of another shape");
            rows.extend(weight.chunks_exact(inputs));
            bias.extend(layer_bias.iter().map(|value| value.to_f32()));
        }
        bias.resize(padded, 0.);
        let weight = match precision {
            Precision::F32 => Prepacked::f32(isa, inputs, &rows)?,
            Precision::Bf16 => Prepacked::bf16(isa, inputs, &rows)?,
            Precision::Int8(maxima) => Prepacked::int8(isa, inputs, &rows, maxima)?,
        };
        Ok(Self { isa, inputs, outputs, bias, weight })
    }

    /// Called with rows of the same number, which have the widths of the layer.
    fn forward(
        &self,
        team: &dyn Team,
        x: AnyRows<'_>,
        then: Then<'_>,
        mut out: AnyRowsMut<'_>,
    ) -> Result<(), OutOfMemory> {
        if let Then::Add(rows) = then {
            assert_eq!((rows.rows, rows.width), out.shape(), "as many to add as results");
        }
        if let Then::Activation(activation) = then
            && activation.is_row_wise()
        {
            self.forward(team, x, Then::Keep, out.reborrow())?;
            return activation.apply_to_rows(self.isa, team, out);
        }
        let Self { isa, bias, outputs, .. } = self;
        let epilogue = Epilogue { isa: *isa, bias, outputs: *outputs, then, out };
        // SAFETY: the instruction set is that of the weight, and was available when that was
        // prepacked; shapes were compared.
        unsafe { self.weight.multiply(self.isa, team, x, &epilogue) }
    }
}
