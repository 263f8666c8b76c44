//! Rotary position embeddings.

use super::*;
use bertscript_kernels::{Rope, Solo, reference};

#[test]
fn queries_and_keys_are_rotated_and_values_are_not() {
    let positions: Vec<i64> = (0..40).chain([0, 3, 7, 500, 8191]).collect();
    let rows = positions.len();
    for (heads, head_dim, theta) in
        [(2, 64, 10_000.), (3, 8, 160_000.), (1, 2, 1000.), (1, 38, 20_000.)]
    {
        let rope = Rope::new(theta, head_dim, 8192).unwrap();
        assert_eq!(rope.positions(), 8192);
        let width = 3 * heads * head_dim;
        let qkv = random(rows, width, 1).scaled(2.);
        let exact = |of: &Dense| -> Vec<f64> {
            (of.values.chunks_exact(width).zip(&positions))
                .flat_map(|(row, position)| {
                    let (turned, values) = row.split_at(2 * heads * head_dim);
                    let turned = turned.chunks_exact(head_dim);
                    let turned = turned.flat_map(|head| reference::rotate(head, theta, *position));
                    turned.chain(values.iter().copied().map(f64::from)).collect::<Vec<_>>()
                })
                .collect()
        };
        for isa in available() {
            let (mut x, mut short) = (qkv.matrix::<f32>(), qkv.matrix::<Bf16>());
            rope.rotate(isa, &Solo, &positions, heads, x.all_mut()).unwrap();
            rope.rotate(isa, &Solo, &positions, heads, short.all_mut()).unwrap();
            let is_value = |at: usize| at % width >= 2 * heads * head_dim;
            let what = format!("{isa:?} {heads} heads of {head_dim}");
            // Two products of values up to 2 with rounded cosines and sines, and their sum.
            let off = |at| if is_value(at) { 0. } else { 2. * 2. * 4. * ROUNDING };
            check(&what, &flat(&x), &exact(&qkv), off);
            // Half of a last bit of bfloat16 below 4.
            let off = |at| if is_value(at) { 0. } else { 4. / 512. + 16. * ROUNDING };
            check(&what, &flat(&short), &exact(&qkv.clone().rounded()), off);
        }
    }
}
