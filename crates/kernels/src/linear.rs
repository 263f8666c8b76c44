//! Linear layers, with what follows them.

mod int8;
mod order;
mod panels;
#[cfg(target_arch = "x86_64")]
mod split;

use crate::activation::Activation;
use crate::element::Element;
use crate::isa::{Isa, Kernel, second_cache};
use crate::matrix::{Line, Rows, RowsMut};
use crate::memory::{OutOfMemory, with_capacity};
use crate::simd::{Portable, Simd};
use crate::team::{Team, share};
use crate::tile::{MAX_MR, MAX_NR, width};
use int8::Int8Panels;
use order::{Epilogue, NEAR};
use panels::Panels;

/// Fewer multiplications than this are not worth a second thread.
const MIN_PARALLEL_WORK: usize = 1 << 19;

/// `y = x Wᵀ + b`, for inputs of type `E`; the weight is laid out for the
/// instruction set at hand.
#[derive(Debug)]
pub struct Linear<E> {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    /// Padded to whole panels.
    bias: Vec<f32>,
    weight: Weight<E>,
}

#[derive(Debug)]
enum Weight<E> {
    /// Of the inputs' type.
    Own(Panels<E>),
    Int8(Int8Panels),
}

/// What is done to the values of a layer before they are written.
#[derive(Debug, Clone, Copy)]
pub enum Then<'a> {
    /// Nothing.
    Keep,
    /// `torch.nn.functional.gelu`.
    Gelu,
    /// An activation function; row-wise ones are applied to the outputs as they are rounded.
    Activation(Activation),
    /// Rows are added, one to one.
    Add(Rows<'a, f32>),
}

impl<E: Element> Linear<E> {
    /// The most inputs of a layer of 8-bit integers: with more, sums might not fit
    /// into 32 bits.
    pub const MAX_INT8_INPUTS: usize = 1 << 16;

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
        assert!(isa.is_available() && (E::DEPTH == 1 || isa.multiplies_bf16()), "{isa:?}");
        Self::of(isa, inputs, layers, |width, rows| {
            Ok(Weight::Own(Panels::new(width, inputs, rows)?))
        })
    }

    /// The same, rounded to 8-bit integers: a weight has a scale for each output,
    /// and an input, when it comes, one for each row. Scales are such that the
    /// greatest magnitude becomes 127; sums are exact.
    ///
    /// # Errors
    /// If memory runs out.
    ///
    /// # Panics
    /// As [`Self::new`], and if there are more than [`Self::MAX_INT8_INPUTS`].
    pub fn int8<W: Element>(
        isa: Isa,
        inputs: usize,
        layers: &[(&[W], &[W])],
    ) -> Result<Self, OutOfMemory> {
        assert!(isa.is_available(), "{isa:?}");
        assert!(inputs <= Self::MAX_INT8_INPUTS, "{inputs} inputs");
        Self::of(isa, inputs, layers, |width, rows| {
            Ok(Weight::Int8(Int8Panels::new(width, inputs, rows)?))
        })
    }

    fn of<W: Element>(
        isa: Isa,
        inputs: usize,
        layers: &[(&[W], &[W])],
        weight: impl FnOnce(usize, &[&[W]]) -> Result<Weight<E>, OutOfMemory>,
    ) -> Result<Self, OutOfMemory> {
        assert!(inputs > 0, "a layer without inputs");
        // SAFETY: available.
        let width = unsafe { isa.run(Width) };
        let outputs = layers.iter().map(|(_, bias)| bias.len()).sum::<usize>();
        let mut rows = with_capacity(outputs)?;
        let mut bias = with_capacity(outputs.next_multiple_of(width))?;
        for (weight, layer_bias) in layers {
            assert_eq!(weight.len(), inputs * layer_bias.len(), "a weight of another shape");
            rows.extend(weight.chunks_exact(inputs));
            bias.extend(layer_bias.iter().map(|value| value.to_f32()));
        }
        bias.resize(outputs.next_multiple_of(width), 0.);
        Ok(Self { isa, inputs, outputs, bias, weight: weight(width, &rows)? })
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let weight = match &self.weight {
            Weight::Own(panels) => panels.bytes(),
            Weight::Int8(panels) => panels.bytes(),
        };
        weight + size_of_val(self.bias.as_slice())
    }

    /// Rows that go together: while a panel is at hand, it meets all of them, and
    /// they stay near meanwhile.
    fn block(&self) -> usize {
        (second_cache() / 2 / (self.size() * self.near()).max(1)).max(2 * MAX_MR)
    }

    /// Inputs that are multiplied with all panels before the next ones are.
    fn near(&self) -> usize {
        // Sums that wait take memory, too.
        let deep = self.inputs >= 2 * self.outputs;
        if deep { self.inputs.min(NEAR / self.size()) } else { self.inputs }
    }

    /// Bytes of an input when it is multiplied.
    fn size(&self) -> usize {
        match self.weight {
            Weight::Int8(_) => 1,
            #[cfg(target_arch = "x86_64")]
            Weight::Own(_) if self.is_split() => split::BYTES,
            Weight::Own(_) => size_of::<E>(),
        }
    }

    /// Whether float32 is multiplied in tiles of bfloat16.
    fn is_split(&self) -> bool {
        matches!(self.weight, Weight::Own(_)) && self.isa == Isa::Amx && E::DEPTH == 1
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
        assert_eq!((x.width, out.width), (self.inputs, self.outputs), "other widths");
        assert_eq!(x.rows, out.rows, "as many results as inputs");
        if let Then::Add(rows) = then {
            assert_eq!((rows.rows, rows.width), (out.rows, out.width), "as many to add as results");
        }
        if let Then::Activation(activation) = then
            && activation.is_row_wise()
        {
            let mut out = out;
            self.forward(team, x, Then::Keep, out.reborrow())?;
            return activation.forward(self.isa, team, out);
        }
        // SAFETY: available.
        let panels = self.outputs.div_ceil(unsafe { self.isa.run(Width) });
        let most = self.block();
        let blocks = x.rows.div_ceil(most);
        let work = x.rows * self.inputs * self.outputs;
        let team: &dyn Team = if work < MIN_PARALLEL_WORK { &crate::Solo } else { team };
        // A few pieces for each thread, so that they end together.
        let parts = match team.members() {
            1 => 1,
            members => (4 * members).div_ceil(blocks.max(1)).min(panels),
        };
        let rows = x.rows.min(most);
        let scratch = || {
            Ok(Scratch {
                sums: Vec::new(),
                rounded: match &self.weight {
                    Weight::Own(_) => int8::Scratch::default(),
                    Weight::Int8(panels) => panels.scratch(rows)?,
                },
                #[cfg(target_arch = "x86_64")]
                split: match self.is_split() {
                    true => split::Scratch::new(rows, self.inputs)?,
                    false => split::Scratch::default(),
                },
            })
        };
        share(team, blocks * parts, scratch, |scratch, number| {
            let (block, part) = (number / parts, number % parts);
            let rows = (x.rows * block / blocks, x.rows * (block + 1) / blocks);
            let columns = (panels * part / parts, panels * (part + 1) / parts);
            let Self { isa, bias, outputs, .. } = self;
            let epilogue = Epilogue { isa: *isa, bias, outputs: *outputs, then, out: &out };
            // SAFETY: available; shapes were compared, and no two pieces share a
            // place of the result.
            unsafe { isa.run(Piece { linear: self, x, epilogue, rows, columns, scratch }) }
        })
    }
}

/// How wide a panel is.
struct Width;

impl Kernel for Width {
    type Output = usize;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> usize {
        width::<S>()
    }
}

/// Some rows of the inputs times some panels.
struct Piece<'a, E, O> {
    linear: &'a Linear<E>,
    x: Rows<'a, E>,
    epilogue: Epilogue<'a, O>,
    rows: (usize, usize),
    columns: (usize, usize),
    scratch: &'a mut Scratch,
}

/// Memory that a thread uses for one piece after another.
struct Scratch {
    sums: Vec<Line>,
    rounded: int8::Scratch,
    #[cfg(target_arch = "x86_64")]
    split: split::Scratch,
}

impl<E: Element, O: Element> Kernel for Piece<'_, E, O> {
    type Output = Result<(), OutOfMemory>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        let Self { linear, x, epilogue, rows, columns, scratch } = self;
        let sums = &mut scratch.sums;
        let near = linear.near();
        // SAFETY: the rows are the inputs', the panels the layer's.
        unsafe {
            match &linear.weight {
                Weight::Own(panels) => {
                    #[cfg(target_arch = "x86_64")]
                    if linear.is_split() {
                        let x = (x.start.cast::<f32>(), x.stride);
                        let (start, depth) = panels.start();
                        let panels = (start.cast::<f32>(), depth);
                        let by = split::InTiles::new(x, rows, panels, &mut scratch.split);
                        return epilogue.all::<S, _>(rows, columns, near, by, sums);
                    }
                    #[cfg(target_arch = "x86_64")]
                    if linear.isa == Isa::Amx && panels.fit_tiles() {
                        let by = panels.in_tiles(x, rows);
                        return epilogue.all::<S, _>(rows, columns, near, by, sums);
                    }
                    epilogue.all::<S, _>(rows, columns, near, panels.in_vectors::<S>(x), sums)
                }
                Weight::Int8(panels) => {
                    let rounded = panels.round::<S, E>(x, rows, &mut scratch.rounded);
                    let isa = linear.isa;
                    #[cfg(target_arch = "x86_64")]
                    if isa == Isa::Amx {
                        let by = rounded.in_tiles::<S>();
                        return epilogue.all::<S, _>(rows, columns, near, by, sums);
                    }
                    epilogue.all::<S, _>(rows, columns, near, rounded.in_vectors::<S>(isa), sums)
                }
            }
        }
    }
}

const _: () = assert!(width::<Portable>() <= MAX_NR && Portable::ROWS <= MAX_MR);
