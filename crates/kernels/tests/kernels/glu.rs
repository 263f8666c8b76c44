//! Gated linear units.

use super::*;
use bertscript_kernels::{Activation, Solo, glu, reference};

#[test]
fn a_gated_unit_is_its_definition() {
    for (rows, width) in [(1, 1), (5, 15), (3, 16), (40, 1152), (2, 33)] {
        let x = random(rows, 2 * width, 1).scaled(5.);
        let silu = |x: f64| x / (1. + (-x).exp());
        let relu = |x: f64| x.max(0.);
        let of: [(_, &dyn Fn(f64) -> f64); 4] = [
            (None, &|x| x),
            (Some(Activation::Gelu), &reference::gelu),
            (Some(Activation::Silu), &silu),
            (Some(Activation::Relu), &relu),
        ];
        for (activation, gate) in of {
            let exact: Vec<f64> = (x.values.chunks_exact(2 * width))
                .flat_map(|row| {
                    (0..width).map(|at| gate(row[at].into()) * f64::from(row[width + at]))
                })
                .collect();
            for isa in available() {
                let (mut out, mut short) =
                    (zeros::<f32>([rows, width]), zeros::<Bf16>([rows, width]));
                glu(isa, &Solo, activation, x.matrix().all(), out.all_mut()).unwrap();
                glu(isa, &Solo, activation, x.matrix().all(), short.all_mut()).unwrap();
                let what = format!("{isa:?} {activation:?} {width}");
                // The error of an activation is 4e-7 of a gate up to 5, times 5.
                check(&what, &flat(&out), &exact, |at| 25. * 4e-7 + ROUNDING * exact[at].abs());
                assert_eq!(bits(&short), rounded(&flat(&out)), "{what}: rounded once");
            }
        }
    }
}
