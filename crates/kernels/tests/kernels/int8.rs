//! Layers of 8-bit integers.

use super::*;
use bertscript_kernels::{Linear, Solo, Then, reference};

fn layer<E: Element>(isa: Isa, weight: &Dense, bias: &Dense) -> Linear<E> {
    smoothed(isa, weight, bias, None)
}

fn smoothed<E: Element>(
    isa: Isa,
    weight: &Dense,
    bias: &Dense,
    maxima: Option<&[f32]>,
) -> Linear<E> {
    Linear::int8(isa, weight.width, &[(&weight.values[..], &bias.values[..])], maxima).unwrap()
}

/// Sums are exact and scaled in one order: all instruction sets give the same bits.
#[test]
fn layers_of_int8_are_their_definition_to_the_bit() {
    for (k, n) in [(1, 1), (3, 33), (17, 32), (64, 31), (384, 100), (385, 63), (3333, 40)] {
        let [mut x, mut weight] = [random(57, k, 1), random(n, k, 2).scaled(0.3)];
        // Nothing but zeros, and one value that is far from the others.
        x.values[3 * k..4 * k].fill(0.);
        weight.values[..k].fill(0.);
        x.values[4 * k] = 50.;
        // Nothing below zero, nothing above.
        x.values[5 * k..6 * k].iter_mut().for_each(|value| *value = value.abs());
        x.values[6 * k..7 * k].iter_mut().for_each(|value| *value = -value.abs());
        // Values that have no reciprocal, and those whose difference is no float32.
        x.values[7 * k..8 * k].iter_mut().for_each(|value| *value *= 1e-38);
        x.values[8 * k..9 * k].iter_mut().for_each(|value| *value *= 3e38);
        let bias = random(1, n, 3);
        // Some inputs are 30 times as great as others, and one is not known.
        let mut maxima: Vec<_> = (0..k).map(|i| if i % 7 == 2 { 30. } else { 1. }).collect();
        maxima[k / 2] = 0.;
        for maxima in [None, Some(&maxima[..])] {
            let exact = reference::int8_linear(&x.values, &weight.values, &bias.values, k, maxima);
            for isa in available() {
                let layer = smoothed::<f32>(isa, &weight, &bias, maxima);
                for rows in [1, 5, 13, 14, 15, 33, 57] {
                    let mut out = zeros::<f32>([rows, n]);
                    let x = x.matrix();
                    layer.forward(&Solo, x.rows(0..rows), Then::Keep, out.all_mut()).unwrap();
                    let exact = exact[..rows * n].iter().map(|value| value.to_bits());
                    assert!(bits(&out) == exact.collect::<Vec<_>>(), "{isa:?} [{rows},{k}] -> {n}");
                }
            }
        }
    }
}

/// A few great inputs leave the others more of the integers.
#[test]
fn smoothing_makes_errors_small_where_some_inputs_are_great() {
    let (k, n) = (384, 100);
    let (mut x, weight, bias) = (random(57, k, 1), random(n, k, 2), random(1, n, 3));
    let great = |i: usize| if i % 64 == 5 { 40. } else { 1. };
    x.values.iter_mut().enumerate().for_each(|(i, value)| *value *= great(i % k));
    let maxima: Vec<_> = (0..k).map(great).collect();
    let exact = reference::linear(&x.values, &weight.values, &bias.values, k);
    let error = |maxima: Option<&[f32]>| {
        let mut out = zeros::<f32>([57, n]);
        let layer = smoothed::<f32>(Isa::Portable, &weight, &bias, maxima);
        layer.forward(&Solo, x.matrix().all(), Then::Keep, out.all_mut()).unwrap();
        let squares = flat(&out).into_iter().zip(&exact).map(|(a, b)| (f64::from(a) - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let (plain, smoothed) = (error(None), error(Some(&maxima)));
    assert!(smoothed < plain / 3., "{smoothed} {plain}");
}

/// Quantization is off by half of its step, of both operands.
#[test]
fn int8_is_as_near_to_float32_as_its_step_allows() {
    let (k, n) = (384, 100);
    let (x, weight, bias) = (random(57, k, 1), random(n, k, 2), random(1, n, 3));
    let exact = reference::linear(&x.values, &weight.values, &bias.values, k);
    let step = |row: &[f32]| f64::from(row.iter().fold(0_f32, |max, x| max.max(x.abs()))) / 127.;
    let of_range = |row: &[f32]| {
        let [least, most] = [f32::min, f32::max].map(|of| row.iter().copied().fold(0., of));
        f64::from(most - least) / 252.
    };
    let sum = |row: &[f32]| row.iter().map(|value| f64::from(value.abs())).sum::<f64>();
    for isa in available() {
        let mut out = zeros::<f32>([57, n]);
        let layer = layer::<f32>(isa, &weight, &bias);
        layer.forward(&Solo, x.matrix().all(), Then::Keep, out.all_mut()).unwrap();
        check(&format!("{isa:?}"), &flat(&out), &exact, |at| {
            let (x, weight) = (x.rows(at / n..at / n + 1), weight.rows(at % n..at % n + 1));
            let (of_x, of_weight) = (of_range(x), step(weight));
            let steps = sum(x) * of_weight + sum(weight) * of_x + of_x * of_weight * k as f64 / 2.;
            steps / 2. + 8. * ROUNDING * exact[at].abs().max(1.)
        });
    }
}

#[test]
fn inputs_of_bf16_are_quantized_like_float32() {
    let (x, weight, bias) = (random(29, 96, 1).rounded(), random(40, 96, 2), random(1, 40, 3));
    for isa in available() {
        let [mut a, mut b] = [(); 2].map(|()| zeros::<f32>([29, 40]));
        let short = layer::<Bf16>(isa, &weight, &bias);
        short.forward(&Solo, x.matrix().all(), Then::Gelu, a.all_mut()).unwrap();
        let long = layer::<f32>(isa, &weight, &bias);
        long.forward(&Solo, x.matrix().all(), Then::Gelu, b.all_mut()).unwrap();
        assert!(bits(&a) == bits(&b), "{isa:?}");
    }
}

#[test]
fn what_is_not_finite_makes_its_row_or_output_so() {
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (row, column) in [(0, 0), (1, 17), (2, 39)] {
            let (x, weight, bias) = (random(3, 40, 1), random(5, 40, 2), random(1, 5, 3));
            for isa in available() {
                let with = |of: &Dense| {
                    let mut of = of.clone();
                    of.values[row * 40 + column] = wrong;
                    of
                };
                let check =
                    |x: &Dense, weight: &Dense, is_finite: &dyn Fn(usize, usize) -> bool| {
                        let mut out = zeros::<f32>([3, 5]);
                        let layer = layer::<f32>(isa, weight, &bias);
                        layer.forward(&Solo, x.matrix().all(), Then::Keep, out.all_mut()).unwrap();
                        for (at, value) in flat(&out).into_iter().enumerate() {
                            let what = format!("{isa:?} {wrong}: {at}");
                            assert_eq!(value.is_finite(), is_finite(at / 5, at % 5), "{what}");
                        }
                    };
                check(&x, &weight, &|_, _| true);
                check(&with(&x), &weight, &|of, _| of != row);
                check(&x, &with(&weight), &|_, output| output != row);
            }
        }
    }
}
