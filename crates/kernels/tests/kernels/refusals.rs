//! Shapes that do not fit.

use super::*;
use bertscript_kernels::{Keys, LayerNorm, Linear, RelativeBias, Sequences, Solo, Then, attention};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::thread;

#[test]
fn shapes_that_do_not_fit_panic_and_harm_nothing() {
    let mut wrong = Vec::new();
    let (own, usual) = (thread::current().id(), take_hook());
    set_hook(Box::new(move |info| {
        if thread::current().id() != own {
            usual(info);
        }
    }));
    for isa in available() {
        let layer = Linear::<f32>::new(isa, 3, &[(&[1.; 6], &[1.; 2])]).unwrap();
        let norm = LayerNorm::new(isa, &[1_f32; 2], &[0.; 2], 1e-12).unwrap();
        let linear = |x, more, out| {
            let (mut out, more) = (zeros::<f32>(out), zeros::<f32>(more));
            let then = if more.is_empty() { Then::Keep } else { Then::Add(more.all()) };
            layer.forward(&Solo, zeros::<f32>(x).all(), then, out.all_mut()).unwrap();
            bits(&out)
        };
        let attend = |lengths: &[usize], heads, qkv, out| {
            let mut out = zeros::<f32>(out);
            let cu_seqlens = cu_seqlens(lengths);
            let texts = sequences(&cu_seqlens, heads);
            attention(isa, &Solo, zeros::<f32>(qkv).all(), texts, out.all_mut()).unwrap();
            bits(&out)
        };
        let attend_to = |cu_seqlens: &[usize], keys: &[Keys]| {
            let (mut out, qkv) = (zeros::<f32>([4, 4]), zeros::<f32>([4, 12]));
            let sequences = Sequences { keys, ..sequences(cu_seqlens, 1) };
            attention(isa, &Solo, qkv.all(), sequences, out.all_mut()).unwrap();
        };
        let attend_at = |positions: &[i64], table: &[f32]| {
            let (mut out, qkv) = (zeros::<f32>([4, 4]), zeros::<f32>([4, 12]));
            let bias = Some(RelativeBias { table, max_distance: 1 });
            let sequences = Sequences { positions, bias, ..sequences(&[0, 2, 4], 1) };
            attention(isa, &Solo, qkv.all(), sequences, out.all_mut()).unwrap();
        };
        let normalize = |x, copy| {
            let mut x = zeros::<f32>(x);
            norm.forward(&Solo, x.all_mut(), zeros::<f32>(copy).all_mut()).unwrap();
            bits(&x)
        };
        let good = || {
            let attended = attend(&[2, 2], 2, [4, 12], [4, 4]);
            [linear([4, 3], [4, 2], [4, 2]), attended, normalize([4, 2], [4, 2])]
        };
        let expected = good();
        let cases: [(&str, &dyn Fn()); _] = [
            ("another shape", &|| drop(Linear::<f32>::new(isa, 3, &[(&[1.; 5], &[1.; 2])]))),
            ("another shape", &|| drop(Linear::<f32>::int8(isa, 3, &[(&[1.; 5], &[1.; 2])], None))),
            ("65537 inputs", &|| drop(Linear::<f32>::int8::<f32>(isa, (1 << 16) + 1, &[], None))),
            ("as many maxima as inputs", &|| {
                drop(Linear::<f32>::int8::<f32>(isa, 3, &[], Some(&[1.; 2])))
            }),
            ("other widths", &|| drop(linear([4, 2], [0, 2], [4, 2]))),
            ("other widths", &|| drop(linear([4, 3], [0, 2], [4, 3]))),
            ("as many results", &|| drop(linear([4, 3], [0, 2], [5, 2]))),
            ("as many to add", &|| drop(linear([4, 3], [3, 2], [4, 2]))),
            ("as many to add", &|| drop(linear([4, 3], [4, 1], [4, 2]))),
            ("as many tokens", &|| drop(attend(&[2, 1], 2, [4, 12], [4, 4]))),
            ("sequences overlap", &|| attend_to(&[0, 3, 2, 4], &[])),
            ("sequences overlap", &|| attend_to(&[1, 4], &[])),
            ("sequences overlap", &|| attend_to(&[], &[])),
            ("a position for each", &|| attend_at(&[0, 1, 0], &[0.; 3])),
            ("positions that ascend", &|| attend_at(&[0, 1, 1, 1], &[0.; 3])),
            ("numbers of all distances", &|| attend_at(&[0, 1, 0, 1], &[0.; 2])),
            ("keys of each", &|| attend_to(&[0, 4], &[Keys::All; 2])),
            ("query, key", &|| drop(attend(&[2, 2], 2, [4, 12], [3, 4]))),
            ("query, key", &|| drop(attend(&[2, 2], 2, [4, 11], [4, 4]))),
            ("3 heads of 4", &|| drop(attend(&[2, 2], 3, [4, 12], [4, 4]))),
            ("0 heads of 4", &|| drop(attend(&[2, 2], 0, [4, 12], [4, 4]))),
            ("as many biases", &|| drop(LayerNorm::new(isa, &[1_f32; 2], &[0.], 1e-12))),
            ("other widths", &|| drop(normalize([4, 3], [4, 2]))),
            ("other widths", &|| drop(normalize([4, 2], [4, 3]))),
            ("as many copies", &|| drop(normalize([4, 2], [3, 2]))),
            ("2..5 of 4", &|| _ = zeros::<f32>([4, 2]).rows(2..5)),
            ("4..5 of 4", &|| _ = zeros::<f32>([4, 2]).row(4)),
            ("row 4 of 4", &|| _ = zeros::<f32>([4, 2]).all_mut().row_mut(4)),
        ];
        for (part, case) in cases {
            let message = match catch_unwind(AssertUnwindSafe(case)) {
                Ok(()) => "no panic".to_owned(),
                Err(payload) => match payload.downcast::<String>() {
                    Ok(message) => *message,
                    Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
                },
            };
            if !message.contains(part) || good() != expected {
                wrong.push(format!("{isa:?}: {part}: {message}"));
            }
        }
        if !isa.has_bf16_dot() {
            let layer = || Linear::<Bf16>::new(isa, 1, &[(&[1_f32], &[1.])]).unwrap();
            if catch_unwind(layer).is_ok() {
                wrong.push(format!("{isa:?} multiplies bfloat16"));
            }
        }
        // Values of bfloat16 go in pairs, where there are products of them.
        for (heads, able) in [(1, isa.has_bf16_dot()), (2, false)] {
            let attend = || {
                let mut out = zeros::<Bf16>([2, 2]);
                let texts = sequences(&[0, 2], heads);
                attention(isa, &Solo, zeros::<Bf16>([2, 6]).all(), texts, out.all_mut()).unwrap();
            };
            if catch_unwind(attend).is_ok() != able {
                wrong.push(format!("{isa:?}: bfloat16 in {heads} heads: {}", !able));
            }
        }
    }
    drop(take_hook());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
