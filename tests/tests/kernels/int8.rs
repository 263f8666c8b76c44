//! Layers of 8-bit integers.

use super::*;
use bertscript_kernels::{Linear, Solo, Then};

/// The rows rounded to integers from -127 to 127, and what 1 stands for in each.
fn rounded_rows(rows: &Tensor) -> [Tensor; 2] {
    let greatest = rows.abs().amax([1], true);
    let scale = greatest.reciprocal() * 127.;
    let scale = scale.where_self(&greatest.gt(0.), &Tensor::from(0_f32));
    [double(&(rows * scale).round()), double(&(greatest / 127.))]
}

fn layer<E: Element>(isa: Isa, weight: &Tensor, bias: &Tensor) -> Linear<E> {
    let inputs = weight.size()[1] as usize;
    Linear::int8(isa, inputs, &[(&values(weight)[..], &values(bias)[..])]).unwrap()
}

#[test]
fn layers_of_int8_are_those_of_rounded_values() {
    for (inputs, outputs) in [(1, 1), (3, 33), (17, 32), (64, 31), (384, 100), (385, 63)] {
        let [x, weight] = [random(57, inputs, 1), random(outputs, inputs, 2) * 0.3];
        // Nothing but zeros, and one value that is far from the others.
        let _ = (x.get(3).zero_(), weight.get(0).zero_(), x.get(4).get(0).fill_(50.));
        let bias = random(1, outputs, 3).view(-1);
        let ([left, left_scale], [right, right_scale]) = (rounded_rows(&x), rounded_rows(&weight));
        let scales = &left_scale * right_scale.transpose(0, 1);
        let exact = left.matmul(&right.transpose(0, 1)) * &scales + double(&bias);
        // How far rounding is off, of both: half of what 1 stands for, for every product.
        let distance = double(&x).abs().sum_dim_intlist(1, true, None)
            * right_scale.transpose(0, 1)
            + left_scale * double(&weight).abs().sum_dim_intlist(1, false, None)
            + scales * inputs as f64 / 2.;
        let true_values = double(&x).linear(&double(&weight), Some(&double(&bias)));
        let x = matrix::<f32>(&x);
        let mut first = None;
        for isa in available() {
            let layer = layer::<f32>(isa, &weight, &bias);
            for rows in [1, 5, 13, 14, 15, 33, 57] {
                let mut out = zeros::<f32>([rows, outputs as usize]);
                layer.forward(&Solo, x.rows(0..rows), Then::Keep, out.all_mut()).unwrap();
                let what = format!("{isa:?} [{rows},{inputs}] -> {outputs}");
                let top = |t: &Tensor| t.narrow(0, 0, rows as i64);
                let found = error(&tensor(&out), &top(&exact));
                let bound = 4. * EPSILON * greatest(&exact).max(1.);
                assert!(found <= bound, "{what}: {found:e} > {bound:e}");
                let apart = (double(&tensor(&out)) - top(&true_values)).abs();
                let excess = greatest(&(apart - top(&distance) * 0.5 - bound).clamp_min(0.));
                assert_eq!(excess, 0., "{what}: further off than rounding allows");
                if rows == 57 {
                    // Sums are exact and scaled in one order, whatever the instructions.
                    assert!(*first.get_or_insert_with(|| bits(&out)) == bits(&out), "{what}");
                }
            }
        }
    }
}

#[test]
fn inputs_of_bf16_are_rounded_like_float32() {
    let (x, weight) = (random(29, 96, 1), random(40, 96, 2));
    let bias = random(1, 40, 3).view(-1);
    let short = matrix::<Bf16>(&x);
    let long = matrix::<f32>(&x.to_kind(Kind::BFloat16).to_kind(Kind::Float));
    for isa in available() {
        let [mut a, mut b] = [(); 2].map(|()| zeros::<f32>([29, 40]));
        layer::<Bf16>(isa, &weight, &bias)
            .forward(&Solo, short.all(), Then::Gelu, a.all_mut())
            .unwrap();
        layer::<f32>(isa, &weight, &bias)
            .forward(&Solo, long.all(), Then::Gelu, b.all_mut())
            .unwrap();
        assert!(bits(&a) == bits(&b), "{isa:?}");
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (row, column) in [(0, 0), (1, 16), (2, 39)] {
            let [x, weight] = [random(3, 40, 1), random(5, 40, 2)];
            let bias = random(1, 5, 3).view(-1);
            for isa in available() {
                let finite = |x: &Tensor, weight: &Tensor| {
                    let mut out = zeros::<f32>([3, 5]);
                    let layer = layer::<f32>(isa, weight, &bias);
                    layer.forward(&Solo, matrix(x).all(), Then::Keep, out.all_mut()).unwrap();
                    tensor(&out).isfinite()
                };
                assert!(finite(&x, &weight).all().int64_value(&[]) == 1);
                let with = |tensor: &Tensor| {
                    let tensor = tensor.copy();
                    let _ = tensor.get(row).get(column).fill_(f64::from(wrong));
                    tensor
                };
                // Of a row of inputs all that it gives, of an output's weights all that they give.
                let of_x = finite(&with(&x), &weight);
                assert_eq!(of_x.get(row).any().int64_value(&[]), 0, "{isa:?} {wrong} in x");
                assert_eq!(of_x.sum(Kind::Int64).int64_value(&[]), 10, "{isa:?}");
                let of_weight = finite(&x, &with(&weight)).transpose(0, 1);
                assert_eq!(of_weight.get(row).any().int64_value(&[]), 0, "{isa:?} {wrong}");
                assert_eq!(of_weight.sum(Kind::Int64).int64_value(&[]), 12, "{isa:?}");
            }
        }
    }
}
