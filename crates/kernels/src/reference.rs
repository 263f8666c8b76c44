//! What the kernels compute, in the plainest form: float64, one loop per sum. The oracle of this crate's
//! tests.

use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

/// `y = x Wᵀ + b`: x `[M,K]`, weight `[N,K]`, bias `[N]` -> `[M,N]`
pub fn linear(x: &[f32], weight: &[f32], bias: &[f32], k: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for row in x.chunks_exact(k) {
        for (column, bias) in weight.chunks_exact(k).zip(bias) {
            let products = row.iter().zip(column).map(|(x, w)| f64::from(*x) * f64::from(*w));
            y.push(f64::from(*bias) + products.sum::<f64>());
        }
    }
    y
}

/// Scaled dot-product attention of one sequence and one head: q, k, v `[T,D]` -> `[T,D]`.
/// `score` returns what becomes of the scaled score of a query and a key, by their indices: with a
/// bias, or `-inf` for a key that is not visible. A query that sees no key has the context zero.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    d: usize,
    score: impl Fn(usize, usize, f64) -> f64,
) -> Vec<f64> {
    let mut context = Vec::new();
    for (query, q) in q.chunks_exact(d).enumerate() {
        let scores = k.chunks_exact(d).enumerate().map(|(key, k)| {
            let products = q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k));
            score(query, key, products.sum::<f64>() / (d as f64).sqrt())
        });
        let scores: Vec<f64> = scores.collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let power = |score: f64| if max > f64::NEG_INFINITY { (score - max).exp() } else { 0. };
        let sum: f64 = scores.iter().map(|score| power(*score)).sum();
        for dim in 0..d {
            let values = v.chunks_exact(d).map(|v| f64::from(v[dim]));
            let weighted: f64 = scores.iter().zip(values).map(|(s, v)| power(*s) * v).sum();
            context.push(if sum > 0. { weighted / sum } else { 0. });
        }
    }
    context
}

/// `torch.nn.LayerNorm`: x `[M,H]` -> `[M,H]`
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let width = weight.len() as f64;
    let mut y = Vec::new();
    for row in x.chunks_exact(weight.len()) {
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width;
        let squares = row.iter().map(|x| (f64::from(*x) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / width + eps).sqrt();
        for ((x, weight), bias) in row.iter().zip(weight).zip(bias) {
            y.push((f64::from(*x) - mean) / deviation * f64::from(*weight) + f64::from(*bias));
        }
    }
    y
}

/// `x/2 (1 + erf(x/sqrt 2))`
pub fn gelu(x: f64) -> f64 {
    x / 2. * (1. + erf(x / SQRT_2))
}

/// The error function, by a series of terms that have the same sign; beyond 6, it is 1 in float64.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6. {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2. * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * FRAC_2_SQRT_PI * (-x * x).exp()
}

/// Rotary position embedding of one head at one position: the halves `a`, `b` of x `[D]` become
/// `a cos - b sin` and `b cos + a sin`, with the angle `i` of a position `position / theta^(2i/D)`
/// rounded to float32.
pub fn rotate(x: &[f32], theta: f64, position: i64) -> Vec<f64> {
    let half = x.len() / 2;
    let angle = |i: usize| {
        let exponent = (2 * i) as f32 / x.len() as f32;
        f64::from(position as f32 * (theta.powf(f64::from(exponent)) as f32).recip())
    };
    let part = |a: usize, b: usize, sign: f64, i: usize| {
        f64::from(x[a]) * angle(i).cos() + sign * f64::from(x[b]) * angle(i).sin()
    };
    let first = (0..half).map(|i| part(i, half + i, -1., i));
    first.chain((0..half).map(|i| part(half + i, i, 1., i))).collect()
}

/// A linear layer of 8-bit integers, rounded in float32 where the kernels are. The greatest
/// magnitudes of inputs `[K]`, if known, say by what x is divided and the weight multiplied. Rows of
/// the weight are scaled such that their greatest magnitude becomes 127; rows of x such that 252 steps
/// lie between the least and the greatest value, or zero, with an offset of whole steps to their
/// middle. Both are rounded to the nearest integer, of two equally near ones to the even; sums are
/// exact.
pub fn int8_linear(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    k: usize,
    maxima: Option<&[f32]>,
) -> Vec<f32> {
    let greatest = |values: &mut dyn Iterator<Item = f32>| {
        values.fold(0_f32, |greatest, value| greatest.max(value.abs()))
    };
    let smoothing: Vec<f32> = match maxima {
        None => vec![1.; k],
        Some(maxima) => {
            let of_input = |i: usize| greatest(&mut weight.iter().skip(i).step_by(k).copied());
            let least_x = greatest(&mut maxima.iter().copied()) * 1e-3;
            let least_weight = greatest(&mut weight.iter().copied()) * 1e-3;
            let ratio = |i: usize| maxima[i].max(least_x) / of_input(i).max(least_weight);
            (0..k).map(|i| ratio(i).sqrt()).collect()
        }
    };
    let columns = weight.chunks_exact(k).map(|row| {
        let row: Vec<f32> = row.iter().zip(&smoothing).map(|(w, s)| w * s).collect();
        let max = greatest(&mut row.iter().copied());
        let scale = if max > 0. { 127. / max } else { 0. };
        let values = row.iter().map(|value| (value * scale).round_ties_even() as i32);
        (values.collect::<Vec<_>>(), max / 127.)
    });
    let columns: Vec<_> = columns.collect();
    let mut y = Vec::new();
    for row in x.chunks_exact(k) {
        let row: Vec<f32> = row.iter().zip(&smoothing).map(|(x, s)| x * (1. / s)).collect();
        let [least, most] = [f32::min, f32::max].map(|of| row.iter().copied().fold(0., of));
        let step = most / 252. - least / 252.;
        let scale = if step >= f32::MIN_POSITIVE { 1. / step } else { 0. };
        let offset = ((most + least) / 2. * scale).round_ties_even();
        let values = row.iter().map(|x| (x * scale).round_ties_even() as i32 - offset as i32);
        let values: Vec<i32> = values.collect();
        assert!(values.iter().all(|value| value.abs() <= 127), "{values:?}");
        for ((column, own), bias) in columns.iter().zip(bias) {
            let sum: i32 = values.iter().zip(column).map(|(a, b)| a * b).sum();
            let weights = column.iter().sum::<i32>() as f32 * own;
            y.push(sum as f32 * (own * step) + weights * (offset * step) + bias);
        }
    }
    y
}
