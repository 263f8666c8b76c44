//! Rotary position embeddings.

use super::*;
use bertscript_kernels::{Rope, Solo};

/// As transformers computes it, in float32 and then in float64: x `[T,heads * d]`.
fn reference(x: &Tensor, theta: f64, heads: i64, head_dim: i64, positions: &[i64]) -> Tensor {
    let half = head_dim / 2;
    let index = Tensor::arange_start_step(0, head_dim, 2, (Kind::Float, Device::Cpu));
    let frequencies = Tensor::pow_scalar(theta, &(index / head_dim)).reciprocal();
    let angles = Tensor::from_slice(positions).unsqueeze(1) * frequencies;
    let [cos, sin] = [angles.cos(), angles.sin()].map(|part| double(&part).unsqueeze(1));
    let x = double(x).view([-1, heads, head_dim]);
    let (a, b) = (x.narrow(2, 0, half), x.narrow(2, half, half));
    let turned = Tensor::cat(&[&a * &cos - &b * &sin, &b * &cos + &a * &sin], 2);
    turned.view([-1, heads * head_dim])
}

#[test]
fn queries_and_keys_are_rotated_as_in_transformers() {
    let positions: Vec<i64> = (0..40).chain([0, 3, 7, 500, 8191]).collect();
    let rows = positions.len() as i64;
    for (heads, head_dim, theta) in
        [(2, 64, 10_000.), (3, 8, 160_000.), (1, 2, 1000.), (1, 38, 20_000.)]
    {
        let rope = Rope::new(theta, head_dim as usize, 8192).unwrap();
        assert_eq!(rope.positions(), 8192);
        let width = heads * head_dim;
        let qkv = random(rows, 3 * width, 1) * 2.;
        let rotated =
            reference(&qkv.narrow(1, 0, 2 * width), theta, 2 * heads, head_dim, &positions);
        for isa in available() {
            let (mut x, mut short) = (matrix::<f32>(&qkv), matrix::<Bf16>(&qkv));
            rope.rotate(isa, &Solo, &positions, heads as usize, x.all_mut()).unwrap();
            let found = tensor(&x);
            let off = error(&found.narrow(1, 0, 2 * width), &rotated);
            // A cosine of float32 is off by half of its last bit here as there.
            assert!(off <= 1e-6, "{isa:?} {heads} heads of {head_dim}: {off:e}");
            let values = |x: &Tensor| x.narrow(1, 2 * width, width);
            assert!(values(&found).equal(&values(&qkv)), "{isa:?}: values stay");
            if isa.has_bf16_dot() {
                let from = tensor(&short);
                rope.rotate(isa, &Solo, &positions, heads as usize, short.all_mut()).unwrap();
                let of = from.narrow(1, 0, 2 * width);
                let exact = reference(&of, theta, 2 * heads, head_dim, &positions);
                let off = error(&tensor(&short).narrow(1, 0, 2 * width), &exact);
                assert!(off <= 0.012, "{isa:?}, rounded once: {off:e}");
            }
        }
    }
}
