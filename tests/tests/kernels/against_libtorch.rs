//! Values, against those of libtorch.

use super::*;
use bertscript_kernels::{Keys, LayerNorm, Linear, Sequences, Solo, Then, attention};

/// What a layer gives: kept, through GELU, and with something added; each with
/// the error that is allowed.
fn linear([x, weight, bias, more]: [&Tensor; 4]) -> [(Tensor, f64); 3] {
    let exact = double(x).linear(&double(weight), Some(&double(bias)));
    let theirs = x.linear(weight, Some(bias));
    // Where libtorch happens to be exact: a rounding or two, if all that is
    // added up has the same sign.
    let magnitudes = x.abs().linear(&weight.abs(), Some(&bias.abs())) + more.abs();
    let rounding = EPSILON * greatest(&magnitudes);
    // An approximation, to 1.5e-7 of the value by its documentation, and as much by rounding.
    let gelu = rounding + 3e-7 * greatest(&exact).max(1.);
    let bound = |theirs: Tensor, exact: Tensor, rounding: f64| {
        let bound = 2. * error(&theirs, &exact) + rounding;
        (exact, bound)
    };
    [
        bound(theirs.shallow_clone(), exact.shallow_clone(), rounding),
        bound(theirs.gelu("none"), exact.gelu("none"), gelu),
        bound(theirs + more, exact + more, rounding),
    ]
}

/// Layers whose inputs are of type `E`, in libtorch `kind`.
fn check_linear<E: Element>(isas: &[Isa], kind: Kind, inputs: i64, outputs: i64) {
    let [x, weight] = [random(113, inputs, 1), random(outputs, inputs, 2)];
    let [bias, more] = [random(1, outputs, 3).view(-1), random(113, outputs, 4)];
    let [short_x, short_weight] = [&x, &weight].map(|t| t.to_kind(kind).to_kind(Kind::Float));
    let expected = linear([&short_x, &short_weight, &bias, &more]);
    let (x, more) = (matrix::<E>(&x), matrix::<f32>(&more));
    for isa in isas {
        let layer = (&values(&weight)[..], &values(&bias)[..]);
        let layer = Linear::<E>::new(*isa, inputs as usize, &[layer]).unwrap();
        assert_eq!((layer.inputs() as i64, layer.outputs() as i64), (inputs, outputs));
        // Long rows of inputs take their time.
        let counts =
            if inputs < 100 { (1..=31).chain([57, 113]) } else { (14..=15).chain([1, 57]) };
        for rows in counts {
            let thens = [Then::Keep, Then::Gelu, Then::Add(more.rows(0..rows))];
            for (then, (exact, bound)) in thens.into_iter().zip(&expected) {
                let mut out = zeros::<f32>([rows, outputs as usize]);
                layer.forward(&Solo, x.rows(0..rows), then, out.all_mut()).unwrap();
                let out = tensor(&out);
                let error = error(&out, &exact.narrow(0, 0, rows as i64));
                let what = format!("{isa:?} [{rows},{inputs}] -> {outputs}, {then:?}");
                assert!(error <= *bound, "{what}: {error:e} > {bound:e}");
                if rows <= 15 {
                    let mut short = zeros::<Bf16>([rows, outputs as usize]);
                    layer.forward(&Solo, x.rows(0..rows), then, short.all_mut()).unwrap();
                    assert!(bits(&short) == rounded(&out), "{what} in bfloat16");
                }
            }
        }
    }
}

#[test]
fn linear_layers_are_as_exact_as_those_of_libtorch() {
    let isas: Vec<_> = available().collect();
    for outputs in [1, 2, 15, 16, 17, 31, 32, 33, 63, 100] {
        for inputs in [1, 2, 3, 17, 32, 33, 312, 384] {
            check_linear::<f32>(&isas, Kind::Float, inputs, outputs);
        }
        for inputs in [1, 2, 3, 5, 17, 32, 33, 384, 385] {
            let able: Vec<_> = available().filter(|isa| isa.has_bf16_dot()).collect();
            check_linear::<Bf16>(&able, Kind::BFloat16, inputs, outputs);
        }
    }
}

/// So deep that sums wait for inputs that come later, and no multiple of anything.
#[test]
fn deep_layers_are_as_exact_as_those_of_libtorch() {
    let isas: Vec<_> = available().collect();
    check_linear::<f32>(&isas, Kind::Float, 1701, 100);
    let able: Vec<_> = available().filter(|isa| isa.has_bf16_dot()).collect();
    check_linear::<Bf16>(&able, Kind::BFloat16, 3333, 100);
    check_linear::<Bf16>(&able, Kind::BFloat16, 3328, 100);
}

/// Float32 is multiplied in parts where there are tiles of bfloat16.
#[test]
fn what_is_not_finite_does_not_become_finite() {
    let weight = values(&(random(40, 64, 1) + 3.));
    for (number, what) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().enumerate() {
        let x = random(3, 64, 2);
        let _ = x.get(1).get(number as i64 * 30).fill_(f64::from(what));
        let x = matrix::<f32>(&x);
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

#[test]
fn several_layers_in_one_stand_side_by_side() {
    let x = matrix::<f32>(&random(29, 33, 1));
    let parts = [17, 64, 1].map(|outputs| [random(outputs, 33, outputs), random(outputs, 1, 2)]);
    // Weights of bfloat16 are the same as float32.
    let short = parts.each_ref().map(|part| {
        part.each_ref().map(|t| values(t).into_iter().map(Bf16::from_f32).collect::<Vec<_>>())
    });
    let layers = short.each_ref().map(|[weight, bias]| (&weight[..], &bias[..]));
    for isa in available() {
        let run = |layer: Linear<f32>| {
            let mut out = zeros::<f32>([29, layer.outputs()]);
            layer.forward(&Solo, x.all(), Then::Gelu, out.all_mut()).unwrap();
            tensor(&out)
        };
        let together = run(Linear::new(isa, 33, &layers).unwrap());
        let alone = parts.each_ref().map(|part| {
            let [weight, bias] = part.each_ref().map(|t| values(&t.to_kind(Kind::BFloat16)));
            run(Linear::new(isa, 33, &[(&weight[..], &bias[..])]).unwrap())
        });
        assert!(together.equal(&Tensor::cat(&alone, 1)), "{isa:?}");
    }
}

#[test]
fn attention_equals_that_of_each_text_alone_in_libtorch() {
    for of @ (heads, head_dim) in HEADS {
        let hidden_size = heads * head_dim;
        let mut lengths: Vec<_> = (0..=70).chain([128, 0, 0, 200, 0, 511, 0]).collect();
        if head_dim > 32 {
            lengths.truncate(72);
        }
        let (cu_seqlens, tokens) = (cu_seqlens(&lengths), lengths.iter().sum());
        // Great enough that some tokens look at few others only.
        let qkv = random(tokens as i64, 3 * hidden_size as i64, 1) * 3.;
        let per_text = |qkv: &Tensor| {
            let texts = ranges(&lengths).map(|text| reference(&narrow(qkv, &text), of));
            Tensor::cat(&texts.collect::<Vec<_>>(), 0)
        };
        let exact = per_text(&double(&qkv));
        // Both sums of a softmax have the error of `exp`, 3e-7; values are at most 3.
        let bound = 2. * error(&per_text(&qkv), &exact) + 3. * 2. * 3e-7;
        let qkv = matrix::<f32>(&qkv);
        for isa in available() {
            let mut out = zeros::<f32>([tokens, hidden_size]);
            let texts = sequences(&cu_seqlens, heads);
            attention(isa, &Solo, qkv.all(), texts, out.all_mut()).unwrap();
            let out = tensor(&out);
            for text in ranges(&lengths) {
                let error = error(&narrow(&out, &text), &narrow(&exact, &text));
                assert!(error <= bound, "{isa:?} {text:?} {of:?}: {error:e} > {bound:e}");
            }
        }
    }
}

#[test]
fn attention_of_bf16_is_as_exact_as_that_of_libtorch() {
    let heads = HEADS.into_iter().filter(|(_, head_dim)| head_dim.is_multiple_of(2));
    for of @ (heads, head_dim) in heads {
        let hidden_size = heads * head_dim;
        let lengths: Vec<_> = (0..=70).chain([128, 0, 201]).collect();
        let (cu_seqlens, tokens) = (cu_seqlens(&lengths), lengths.iter().sum());
        let qkv = (random(tokens as i64, 3 * hidden_size as i64, 1) * 3.).to_kind(Kind::BFloat16);
        let per_text = |qkv: &Tensor| {
            let texts = ranges(&lengths).map(|text| reference(&narrow(qkv, &text), of));
            Tensor::cat(&texts.collect::<Vec<_>>(), 0)
        };
        let exact = per_text(&double(&qkv));
        let bound = 2. * error(&per_text(&qkv), &exact);
        let qkv = matrix::<Bf16>(&qkv.to_kind(Kind::Float));
        for isa in available().filter(|isa| isa.has_bf16_dot()) {
            let mut out = zeros::<Bf16>([tokens, hidden_size]);
            attention(isa, &Solo, qkv.all(), sequences(&cu_seqlens, heads), out.all_mut()).unwrap();
            let error = error(&tensor(&out), &exact);
            assert!(error <= bound, "{of:?}: {error:e} > {bound:e}");
        }
    }
}

#[test]
fn a_score_far_above_the_others_takes_all() {
    let lengths = [1, 2, 15, 16, 17, 64, 70];
    let cu_seqlens = cu_seqlens(&lengths);
    for of in [(2, 32), (1, 64)] {
        let (great, value) = (random(185, 128, 1) * 1e15, random(185, 64, 2));
        let qkv = Tensor::cat(&[great, value], 1);
        for isa in available() {
            let mut out = zeros::<f32>([185, 64]);
            let texts = sequences(&cu_seqlens, of.0);
            attention(isa, &Solo, matrix(&qkv).all(), texts, out.all_mut()).unwrap();
            for text in ranges(&lengths) {
                // One of the values: in float64, the softmax is 1 and zeros here.
                let exact = reference(&double(&narrow(&qkv, &text)), of);
                assert_eq!(error(&narrow(&tensor(&out), &text), &exact), 0., "{isa:?} {text:?}");
            }
        }
    }
}

/// Queries of all tokens, keys and values of those from `start` on.
fn with_keys(qkv: &Tensor, (heads, head_dim): (usize, usize), keys: Keys) -> Tensor {
    let (heads, head_dim, tokens) = (heads as i64, head_dim as i64, qkv.size()[0]);
    let part = |part: i64| qkv.narrow(1, part * heads * head_dim, heads * head_dim);
    let (query, key, value) = (part(0), part(1), part(2));
    let start = i64::from(keys == Keys::AllButFirst);
    if keys == Keys::None || start == tokens {
        return query.zeros_like();
    }
    let split = |x: &Tensor, start: i64| {
        let x = x.narrow(0, start, tokens - start);
        x.view([tokens - start, heads, head_dim]).transpose(0, 1)
    };
    let scores = split(&query, 0).matmul(&split(&key, start).transpose(1, 2));
    let scale = if keys == Keys::Uniform { 0. } else { (head_dim as f64).powf(-0.5) };
    let context = (scores * scale).softmax(-1, None::<Kind>).matmul(&split(&value, start));
    context.transpose(0, 1).reshape([tokens, heads * head_dim])
}

#[test]
fn tokens_attend_to_the_keys_of_their_sequence() {
    let lengths = [1, 5, 33, 40, 17, 1, 64, 2, 1];
    use Keys::{All, AllButFirst, None, Uniform};
    let keys = [AllButFirst, All, AllButFirst, Uniform, None, Uniform, AllButFirst, None, None];
    let cu_seqlens = cu_seqlens(&lengths);
    for (num_heads, head_dim) in [(2, 32), (1, 17)] {
        let width = num_heads * head_dim;
        let qkv = random(164, 3 * width as i64, 1) * 3.;
        for isa in available() {
            let sequences = Sequences { keys: &keys, ..sequences(&cu_seqlens, num_heads) };
            let mut out = zeros::<f32>([164, width]);
            attention(isa, &Solo, matrix(&qkv).all(), sequences, out.all_mut()).unwrap();
            for (text, keys) in ranges(&lengths).zip(keys) {
                let own = double(&narrow(&qkv, &text));
                let exact = with_keys(&own, (num_heads, head_dim), keys);
                let error = error(&narrow(&tensor(&out), &text), &exact);
                assert!(error <= 5e-6, "{isa:?} {text:?} {keys:?}: {error:e}");
            }
        }
    }
}

#[test]
fn attention_hides_no_nan_that_libtorch_shows() {
    let lengths = [5, 40, 16, 33, 1];
    let cu_seqlens = cu_seqlens(&lengths);
    let qkv = random(95, 3 * 64, 1);
    // A query of the second text, a key of the fourth, a value of the third; an infinite key
    // of the first.
    for (row, column, value) in
        [(20, 3, f64::NAN), (70, 64 + 40, f64::NAN), (50, 128, f64::NAN), (2, 64, f64::INFINITY)]
    {
        let _ = qkv.get(row).get(column).fill_(value);
    }
    let nan = |tensor: &Tensor| values(&tensor.isnan().to_kind(Kind::Float).view(-1));
    let short = matrix::<Bf16>(&qkv);
    for isa in available() {
        let mut out = zeros::<f32>([95, 64]);
        let mut short_out = zeros::<Bf16>([95, 64]);
        let texts = sequences(&cu_seqlens, 2);
        attention(isa, &Solo, matrix(&qkv).all(), texts, out.all_mut()).unwrap();
        if isa.has_bf16_dot() {
            attention(isa, &Solo, short.all(), texts, short_out.all_mut()).unwrap();
        }
        for text in ranges(&lengths) {
            let expected = nan(&reference(&double(&narrow(&qkv, &text)), (2, 32)));
            assert_eq!(nan(&narrow(&tensor(&out), &text)), expected, "{isa:?} {text:?}");
            if isa.has_bf16_dot() {
                assert_eq!(nan(&narrow(&tensor(&short_out), &text)), expected, "bf16 {text:?}");
            }
        }
    }
}

#[test]
fn layer_norm_is_as_exact_as_that_of_libtorch() {
    let mut failures = Vec::new();
    let widths = [1, 2, 15, 16, 17, 32, 384, 768, 1000];
    let means = widths.into_iter().flat_map(|width| [(width, 0.3), (width, 1e4)]);
    for ((width, mean), eps) in means.flat_map(|of| [1e-12, 1e-5, 0.5].map(|eps| (of, eps))) {
        let x = random(37, width, 1) * 2. + mean;
        // Of a constant row, nothing but the bias is left.
        let _ = x.get(0).fill_(3.);
        let [weight, bias] = [2, 3].map(|seed| random(1, width, seed).view(-1));
        let norm = |of: fn(&Tensor) -> Tensor| {
            of(&x).layer_norm([width], Some(of(&weight)), Some(of(&bias)), eps, false)
        };
        let exact = norm(double);
        // Scaling, weighing and shifting round once each, whatever libtorch does.
        let bound =
            2. * error(&norm(Tensor::shallow_clone), &exact) + 2. * EPSILON * greatest(&exact);
        for isa in available() {
            let norm = LayerNorm::new(isa, &values(&weight), &values(&bias), eps).unwrap();
            let [mut alone, mut with, mut short] = [(); 3].map(|()| matrix::<f32>(&x));
            let shape = [37, width as usize];
            let (mut copy, mut short_copy) = (zeros::<f32>(shape), zeros::<Bf16>(shape));
            norm.forward(&Solo, alone.all_mut(), zeros::<f32>([0, shape[1]]).all_mut()).unwrap();
            norm.forward(&Solo, with.all_mut(), copy.all_mut()).unwrap();
            norm.forward(&Solo, short.all_mut(), short_copy.all_mut()).unwrap();
            let what = format!("{isa:?} {width} wide, mean {mean}, eps {eps}");
            for same in [&with, &copy, &short] {
                assert!(bits(same) == bits(&alone), "{what}: copies differ");
            }
            assert!(bits(&short_copy) == rounded(&tensor(&alone)), "{what} in bfloat16");
            assert_eq!(*alone.row(0), values(&bias)[..], "{what}: a constant row");
            let error = error(&tensor(&alone), &exact);
            if error.is_nan() || error > bound {
                failures.push(format!("{what}: {error:e} > {bound:e}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
