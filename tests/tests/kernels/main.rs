//! The CPU's kernels, with every instruction set that this CPU has, against libtorch: a second opinion
//! beside the tests of `bertscript-kernels`, which need no libtorch.

mod against_libtorch;
mod bf16;
mod disentangled;
mod relative;

use bertscript_kernels::{Bf16, Element, Isa, Matrix, Sequences};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Heads and their dimensions.
const HEADS: [(usize, usize); 6] = [(2, 32), (1, 64), (3, 8), (1, 17), (2, 1), (1, 128)];

/// Twice what rounding to float32 is off by, at most, near 1.
const EPSILON: f64 = f32::EPSILON as f64;

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.iter().copied().filter(|isa| isa.is_available())
}

/// Where each sequence of these lengths begins, and the end of the last.
fn cu_seqlens(lengths: &[usize]) -> Vec<usize> {
    let ends = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Sequences whose tokens attend to all of their own sequence.
fn sequences(cu_seqlens: &[usize], num_heads: usize) -> Sequences<'_> {
    Sequences::new(cu_seqlens, num_heads)
}

/// Numbers from -1 to 1 that look random, the same in every run.
fn random(rows: i64, width: i64, seed: i64) -> Tensor {
    // The references are small: more threads would only wait for each other.
    bertscript::set_thread_count(1);
    let mut bits = Tensor::arange(rows * width, (Kind::Int64, Device::Cpu)) + (seed << 32);
    for factor in [0x1e37_79b9_7f4a_7c15, 0x3f58_476d_1ce4_e5b9, 0x14d0_49bb_1331_11eb] {
        bits = bits.bitwise_xor_tensor(&bits.bitwise_right_shift_tensor_scalar(29)) * factor;
    }
    let numbers = bits.bitwise_right_shift_tensor_scalar(40).to_kind(Kind::Float);
    (numbers / f64::from(1 << 23)).view([rows, width])
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.reshape(-1)).unwrap()
}

fn zeros<E: Element>([rows, width]: [usize; 2]) -> Matrix<E> {
    let mut matrix = Matrix::new(width);
    matrix.set_rows(rows).unwrap();
    matrix
}

fn matrix<E: Element>(tensor: &Tensor) -> Matrix<E> {
    let (rows, width) = tensor.size2().unwrap();
    let mut matrix = zeros([rows as usize, width as usize]);
    for (row, values) in values(tensor).chunks_exact(width as usize).enumerate() {
        for (place, value) in matrix.row_mut(row).iter_mut().zip(values) {
            *place = E::from_f32(*value);
        }
    }
    matrix
}

fn flat<E: Element>(matrix: &Matrix<E>) -> Vec<f32> {
    let mut values = Vec::with_capacity(matrix.len() * matrix.width());
    for row in 0..matrix.len() {
        for value in matrix.row(row) {
            values.push(value.to_f32());
        }
    }
    values
}

fn tensor<E: Element>(matrix: &Matrix<E>) -> Tensor {
    Tensor::from_slice(&flat(matrix)).view([matrix.len() as i64, matrix.width() as i64])
}

/// All values to the last bit, the sign of zero too.
fn bits<E: Element>(matrix: &Matrix<E>) -> Vec<u32> {
    flat(matrix).into_iter().map(f32::to_bits).collect()
}

/// The bits of the bfloat16 values that libtorch rounds to.
fn rounded(tensor: &Tensor) -> Vec<u32> {
    values(&tensor.to_kind(Kind::BFloat16)).into_iter().map(f32::to_bits).collect()
}

fn double(tensor: &Tensor) -> Tensor {
    tensor.to_kind(Kind::Double)
}

fn greatest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

/// The greatest error against values in float64.
fn error(found: &Tensor, exact: &Tensor) -> f64 {
    greatest(&(double(found) - exact))
}

/// Attention of one text, by libtorch, in the dtype of `qkv`: `[T,3H]` -> `[T,H]`
fn reference(qkv: &Tensor, (heads, head_dim): (usize, usize)) -> Tensor {
    let qkv = qkv.view([1, -1, 3, heads as i64, head_dim as i64]);
    let [query, key, value] = [0, 1, 2].map(|part| qkv.select(2, part).transpose(1, 2));
    let (mask, scale) = (None::<Tensor>, None);
    Tensor::scaled_dot_product_attention(&query, &key, &value, mask, 0., false, scale, false)
        .transpose(1, 2)
        .reshape([-1, (heads * head_dim) as i64])
}

/// The rows of each text, where it has any.
fn ranges(lengths: &[usize]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    let ranges = lengths.iter().map(move |length| {
        end += length;
        end - length..end
    });
    ranges.filter(|rows| !rows.is_empty())
}

fn narrow(tensor: &Tensor, rows: &Range<usize>) -> Tensor {
    tensor.narrow(0, rows.start as i64, rows.len() as i64)
}
