//! Linear layers in float32 and bfloat16.

use super::*;
use bertscript_kernels::{Linear, Solo, Then, reference};

/// BF16x3 drops three of nine products, each below 2^-24 of the largest, and rounds six.
fn extra_of(isa: Isa, is_f32: bool) -> f64 {
    if is_f32 && isa.name() == "amx" { f64::from(2_f32.powi(-20)) } else { 0. }
}

fn check_linear<E: Element>(isas: &[Isa], k: usize, n: usize) {
    let is_f32 = size_of::<E>() == 4;
    let as_stored = |x: Dense| if is_f32 { x } else { x.rounded() };
    let [x, weight] = [random(57, k, 1), random(n, k, 2)].map(as_stored);
    let [bias, more] = [random(1, n, 3), random(57, n, 4)];
    let exact = reference::linear(&x.values, &weight.values, &bias.values, k);
    let magnitudes = |of: &Dense| of.values.iter().map(|value| value.abs()).collect::<Vec<_>>();
    let sums = reference::linear(&magnitudes(&x), &magnitudes(&weight), &magnitudes(&bias), k);
    let (rows, add) = (x.matrix::<E>(), more.matrix::<f32>());
    for isa in isas {
        let layer = (&weight.values[..], &bias.values[..]);
        let layer = Linear::<E>::new(*isa, k, &[layer]).unwrap();
        assert_eq!((layer.inputs(), layer.outputs()), (k, n));
        // K products and sums, the bias, and one more for the order of AMX.
        let rounding = (k + 3) as f64 * ROUNDING + extra_of(*isa, is_f32);
        for count in [1, 2, 5, 6, 7, 13, 14, 15, 16, 17, 31, 32, 33, 57] {
            let thens = [Then::Keep, Then::Gelu, Then::Add(add.rows(0..count))];
            for (index, then) in thens.into_iter().enumerate() {
                let (mut out, mut short) = (zeros::<f32>([count, n]), zeros::<Bf16>([count, n]));
                layer.forward(&Solo, rows.rows(0..count), then, out.all_mut()).unwrap();
                layer.forward(&Solo, rows.rows(0..count), then, short.all_mut()).unwrap();
                let out = flat(&out);
                let exact: Vec<f64> = exact[..count * n]
                    .iter()
                    .zip(&more.values)
                    .map(|(y, more)| [*y, reference::gelu(*y), y + f64::from(*more)][index])
                    .collect();
                let what = format!("{isa:?} [{count},{k}] -> {n}, {then:?}");
                check(&what, &out, &exact, |at| {
                    let error = rounding * sums[at];
                    match index {
                        0 => error,
                        // The slope of GELU is 1.13 at most; its own error is documented.
                        1 => 1.13 * error + 4e-7 * exact[at].abs().max(1.),
                        _ => error + ROUNDING * exact[at].abs() + ROUNDING * error,
                    }
                });
                assert!(bits(&short) == rounded(&out), "{what} in bfloat16");
            }
        }
    }
}

#[test]
fn linear_layers_are_as_exact_as_their_rounding_allows() {
    let isas: Vec<_> = available().collect();
    let able: Vec<_> = available().filter(|isa| isa.has_bf16_dot()).collect();
    for n in [1, 15, 17, 33, 100] {
        for k in [1, 2, 3, 17, 32, 33, 384] {
            check_linear::<f32>(&isas, k, n);
            check_linear::<Bf16>(&able, k, n);
        }
    }
}

/// So deep that accumulators wait for inputs that come later, and no multiple of anything.
#[test]
fn deep_layers_are_as_exact_as_their_rounding_allows() {
    let isas: Vec<_> = available().collect();
    check_linear::<f32>(&isas, 1701, 40);
    let able: Vec<_> = available().filter(|isa| isa.has_bf16_dot()).collect();
    check_linear::<Bf16>(&able, 3333, 40);
    check_linear::<Bf16>(&able, 3328, 40);
}

/// Float32 is multiplied in parts where there are tiles of bfloat16.
#[test]
fn what_is_not_finite_does_not_become_finite() {
    let weight: Vec<_> = random(40, 64, 1).values.iter().map(|weight| weight + 3.).collect();
    for (index, what) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().enumerate() {
        let mut x = random(3, 64, 2).matrix::<f32>();
        x.row_mut(1)[index * 30] = what;
        for isa in available() {
            let layer = Linear::<f32>::new(isa, 64, &[(&weight[..], &[0.; 40][..])]).unwrap();
            let mut out = zeros::<f32>([3, 40]);
            layer.forward(&Solo, x.all(), Then::Keep, out.all_mut()).unwrap();
            assert!(out.row(1).iter().all(|value| !value.is_finite()), "{isa:?}, {what}");
            let others = out.row(0).iter().chain(out.row(2));
            assert!(others.copied().all(f32::is_finite), "{isa:?}, {what}");
        }
    }
}

/// Weights of bfloat16 are the same as float32.
#[test]
fn several_layers_in_one_are_side_by_side() {
    let x = random(29, 33, 1).matrix::<f32>();
    let parts = [17, 64, 1].map(|n| [random(n, 33, n as u64).rounded(), random(1, n, 2).rounded()]);
    let short = parts.each_ref().map(|part| {
        part.each_ref().map(|t| t.values.iter().map(|x| Bf16::from_f32(*x)).collect::<Vec<_>>())
    });
    let layers = short.each_ref().map(|[weight, bias]| (&weight[..], &bias[..]));
    for isa in available() {
        let run = |layer: Linear<f32>| {
            let mut out = zeros::<f32>([29, layer.outputs()]);
            layer.forward(&Solo, x.all(), Then::Gelu, out.all_mut()).unwrap();
            out
        };
        let together = run(Linear::new(isa, 33, &layers).unwrap());
        let alone = parts.each_ref().map(|[weight, bias]| {
            run(Linear::new(isa, 33, &[(&weight.values[..], &bias.values[..])]).unwrap())
        });
        for row in 0..29 {
            let beside: Vec<_> = alone.iter().flat_map(|out| out.row(row)).copied().collect();
            assert_eq!(together.row(row), beside, "{isa:?}");
        }
    }
}
