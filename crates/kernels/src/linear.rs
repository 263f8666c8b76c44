//! Linear layers, with what follows them.

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::element::Element;
use crate::isa::{Isa, Kernel};
use crate::math;
use crate::matrix::{Line, Rows, RowsMut, zeros};
use crate::simd::{Portable, Simd};
use crate::team::{Team, share};
use crate::tile::{HIGHEST, Product, WIDEST, tile, width};
use std::marker::PhantomData;

/// Rows that go together: while a panel is at hand, it meets all of them, and
/// they stay near meanwhile.
const BLOCK: usize = 56;

/// Fewer multiplications than this are not worth a second thread.
const WORTH_SHARING: usize = 1 << 19;

/// `y = x Wᵀ + b`, for inputs of type `E`; the weight is laid out for the
/// instruction set at hand.
#[derive(Debug)]
pub struct Linear<E> {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    /// Columns of a panel.
    width: usize,
    /// `inputs`, filled up to what a product takes together.
    depth: usize,
    panels: Vec<Line>,
    bias: Vec<f32>,
    element: PhantomData<E>,
}

/// What is done to the values of a layer before they are written.
#[derive(Debug, Clone, Copy)]
pub enum Then<'a> {
    /// Nothing.
    Keep,
    /// `torch.nn.functional.gelu`.
    Gelu,
    /// Rows are added, one to one.
    Add(Rows<'a, f32>),
}

impl<E: Element> Linear<E> {
    /// One layer of several with the same inputs: the outputs of the first come
    /// first. Each is a weight `[out,in]` and a bias `[out]`.
    ///
    /// # Panics
    /// If a weight does not have `inputs` values for each of its bias, or if the
    /// CPU lacks the instructions.
    pub fn new<W: Element>(isa: Isa, inputs: usize, layers: &[(&[W], &[W])]) -> Self {
        assert!(isa.is_available() && (E::DEPTH == 1 || isa.multiplies_bf16()), "{isa:?}");
        let (mut rows, mut bias) = (Vec::new(), Vec::new());
        for (weight, layer_bias) in layers {
            assert_eq!(weight.len(), inputs * layer_bias.len(), "a weight of another shape");
            rows.extend(weight.chunks_exact(inputs.max(1)));
            bias.extend(layer_bias.iter().map(|value| value.to_f32()));
        }
        // SAFETY: available.
        let width = unsafe { isa.run(Width) };
        let (outputs, depth) = (bias.len(), inputs.next_multiple_of(E::DEPTH));
        let panel = width * depth;
        let mut panels = zeros(outputs.div_ceil(width) * panel * size_of::<E>());
        for (number, row) in rows.into_iter().enumerate() {
            // SAFETY: `number` is a column of a panel, a row has `inputs` values.
            unsafe {
                let start = panels.as_mut_ptr().cast::<E>().add(number / width * panel);
                for (place, value) in row.iter().enumerate() {
                    let line = place / E::DEPTH * width + number % width;
                    *start.add(line * E::DEPTH + place % E::DEPTH) = E::from_f32(value.to_f32());
                }
            }
        }
        bias.resize(outputs.next_multiple_of(width), 0.);
        Self { isa, inputs, outputs, width, depth, panels, bias, element: PhantomData }
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Whether it is multiplied in tiles.
    #[cfg(target_arch = "x86_64")]
    fn in_tiles(&self) -> bool {
        self.isa == Isa::Amx && E::DEPTH == 2 && self.inputs.is_multiple_of(amx::DEPTH)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice()) + size_of_val(self.bias.as_slice())
    }

    /// x `[N,in]` -> `[N,out]`
    ///
    /// # Panics
    /// If a matrix has another shape.
    pub fn forward<O: Element>(
        &self,
        team: &dyn Team,
        x: Rows<'_, E>,
        then: Then<'_>,
        out: RowsMut<'_, O>,
    ) {
        assert_eq!((x.width, out.width), (self.inputs, self.outputs), "other widths");
        assert_eq!(x.rows, out.rows, "as many results as inputs");
        if let Then::Add(rows) = then {
            assert_eq!((rows.rows, rows.width), (out.rows, out.width), "as many to add as results");
        }
        let panels = self.outputs.div_ceil(self.width);
        let blocks = x.rows.div_ceil(BLOCK);
        let work = x.rows * self.inputs * self.outputs;
        let team: &dyn Team = if work < WORTH_SHARING { &crate::Solo } else { team };
        // A few pieces for each thread, so that they end together.
        let parts = match team.members() {
            1 => 1,
            members => (4 * members).div_ceil(blocks.max(1)).min(panels),
        };
        share(
            team,
            blocks * parts,
            || (),
            |(), number| {
                let (block, part) = (number / parts, number % parts);
                let rows = (x.rows * block / blocks, x.rows * (block + 1) / blocks);
                let columns = (panels * part / parts, panels * (part + 1) / parts);
                // SAFETY: available; shapes were compared, and no two pieces share a
                // place of the result.
                unsafe { self.isa.run(Piece { linear: self, x, then, out: &out, rows, columns }) };
            },
        );
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
    then: Then<'a>,
    out: &'a RowsMut<'a, O>,
    rows: (usize, usize),
    columns: (usize, usize),
}

impl<E: Element, O: Element> Kernel for Piece<'_, E, O> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the instruction set has tiles, where the layer is laid out for them.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if self.linear.in_tiles() {
                let rows = height(self.rows.1 - self.rows.0, amx::ROWS);
                return self.multiply::<S, _>(rows, amx::Tiles::new(amx::Hardware, rows));
            }
            self.multiply::<S, _>(
                height(self.rows.1 - self.rows.0, S::ROWS),
                Registers::<S>(PhantomData),
            );
        }
    }
}

/// How many rows go together so that all meet as few times as `most` at once take.
fn height(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// What multiplies a few rows with a panel.
trait Multiply<E> {
    /// Whether it always takes as many rows as it was made for.
    const ALL: bool;

    /// # Safety
    /// As of [`tile`].
    unsafe fn multiply(&mut self, rows: usize, product: Product<E>, sums: &mut Sums);
}

/// Vectors in registers.
struct Registers<S>(PhantomData<S>);

impl<S: Simd, E: Element> Multiply<E> for Registers<S> {
    const ALL: bool = false;

    #[inline(always)]
    unsafe fn multiply(&mut self, rows: usize, product: Product<E>, sums: &mut Sums) {
        // SAFETY: the caller's promise.
        unsafe { tile::<S, E>(rows, product, sums.0.as_mut_ptr(), width::<S>()) }
    }
}

#[cfg(target_arch = "x86_64")]
impl<E: Element> Multiply<E> for amx::Tiles<amx::Hardware> {
    const ALL: bool = true;

    #[inline(always)]
    unsafe fn multiply(&mut self, _: usize, product: Product<E>, sums: &mut Sums) {
        let Product { left, stride, panel, depth } = product;
        // Only layers of bfloat16 are in tiles.
        let product = Product { left: left.cast(), stride, panel: panel.cast(), depth };
        // SAFETY: the caller's promise.
        unsafe { self.multiply(product, sums.0.as_mut_ptr(), WIDEST) }
    }
}

/// The sums of a tile.
#[repr(align(64))]
struct Sums([f32; HIGHEST * WIDEST]);

impl<E: Element, O: Element> Piece<'_, E, O> {
    /// Takes `height` rows at a time through each panel.
    #[inline(always)]
    unsafe fn multiply<S: Simd, M: Multiply<E>>(&self, height: usize, mut by: M) {
        let Self { linear, x, rows, .. } = self;
        let mut sums = Sums([0.; HIGHEST * WIDEST]);
        for number in self.columns.0..self.columns.1 {
            // SAFETY: the panel is one of the layer's, the rows are the inputs'.
            unsafe {
                let panel = linear.width * linear.depth * number;
                let panel = linear.panels.as_ptr().cast::<E>().add(panel);
                for first in (rows.0..rows.1).step_by(height) {
                    // Twice the same gives twice the same.
                    let first = if M::ALL { first.min(rows.1 - height) } else { first };
                    let last = rows.1.min(first + height);
                    let left = x.start.add(first * x.stride);
                    let product = Product { left, stride: x.stride, panel, depth: linear.depth };
                    by.multiply(last - first, product, &mut sums);
                    self.finish::<S>(&sums, first, last, number * width::<S>());
                }
            }
        }
    }

    /// Adds the bias, does what comes then, and writes.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, sums: &Sums, first: usize, last: usize, column: usize) {
        let Self { linear, out, then, .. } = self;
        for half in 0..2 {
            let column = column + half * S::LANES;
            if column >= linear.outputs {
                break;
            }
            let count = S::LANES.min(linear.outputs - column);
            // SAFETY: the bias is filled up to whole panels; `count` values are
            // left in each row of the result and of what is added.
            unsafe {
                let bias = S::load(linear.bias.as_ptr().add(column));
                for row in first..last {
                    let place = (row - first) * width::<S>() + half * S::LANES;
                    let sum = S::add(S::load(sums.0.as_ptr().add(place)), bias);
                    let value = match then {
                        Then::Keep => sum,
                        Then::Gelu => math::gelu::<S>(sum),
                        Then::Add(rows) => S::add(
                            sum,
                            <f32 as crate::element::Operations>::load::<S>(
                                rows.at(row, column),
                                count,
                            ),
                        ),
                    };
                    O::store::<S>(out.at(row, column), count, value);
                }
            }
        }
    }
}

const _: () = assert!(width::<Portable>() <= WIDEST && Portable::ROWS <= HIGHEST);
