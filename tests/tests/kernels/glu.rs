//! Gated linear units.

use super::*;
use bertscript_kernels::{Activation, Solo, glu};

#[test]
fn a_gated_unit_is_that_of_libtorch() {
    for (rows, width) in [(1, 1), (5, 15), (3, 16), (40, 1152), (2, 33)] {
        let x = random(rows, 2 * width, 1) * 5.;
        let (gate, up) = (double(&x).narrow(1, 0, width), double(&x).narrow(1, width, width));
        for (activation, gate) in [
            (None, gate.shallow_clone()),
            (Some(Activation::Gelu), gate.gelu("none")),
            (Some(Activation::Silu), gate.silu()),
            (Some(Activation::Relu), gate.relu()),
        ] {
            let exact = gate * &up;
            for isa in available() {
                let shape = [rows as usize, width as usize];
                let (mut out, mut short) = (zeros::<f32>(shape), zeros::<Bf16>(shape));
                glu(isa, &Solo, activation, matrix(&x).all(), out.all_mut()).unwrap();
                glu(isa, &Solo, activation, matrix(&x).all(), short.all_mut()).unwrap();
                let off = error(&tensor(&out), &exact);
                assert!(off <= 1e-5, "{isa:?} {activation:?} {width}: {off:e}");
                // Rounded once.
                let rounded = tensor(&out).to_kind(Kind::BFloat16).to_kind(Kind::Float);
                assert_eq!(error(&tensor(&short), &double(&rounded)), 0., "{isa:?} {activation:?}");
            }
        }
    }
}
