//! Attention that depends on distances.

use super::*;
use bertscript_kernels::{Keys, RelativeBias, Solo, attention};

/// Of a text, where its tokens are, and whether the first is a key.
struct Text {
    positions: Vec<i64>,
    keys: Keys,
}

/// With and without holes; longer than a panel of keys, and than several.
fn texts() -> Vec<Text> {
    let all = |length: i64| Text { positions: (0..length).collect(), keys: Keys::All };
    let holes = (0..90).filter(|n| n % 7 != 3 && !(30..45).contains(n)).collect();
    let masked = std::iter::once(0).chain(50..90).collect();
    vec![
        all(1),
        all(5),
        all(33),
        Text { positions: holes, keys: Keys::All },
        all(150),
        Text { positions: masked, keys: Keys::AllButFirst },
        Text { positions: vec![0], keys: Keys::None },
        Text { positions: (0..40).collect(), keys: Keys::Uniform },
    ]
}

/// In float64, of one text: `[T,3H]` -> `[T,H]`.
fn reference(
    qkv: &Tensor,
    (heads, head_dim): (usize, usize),
    text: &Text,
    table: Option<&Tensor>,
    window: Option<usize>,
) -> Tensor {
    let tokens = text.positions.len() as i64;
    let part = |part: i64| {
        let width = (heads * head_dim) as i64;
        let own = qkv.narrow(1, part * width, width);
        own.view([tokens, heads as i64, head_dim as i64]).transpose(0, 1)
    };
    let positions = Tensor::from_slice(&text.positions);
    let apart = positions.unsqueeze(0) - positions.unsqueeze(1);
    let mut scores = part(0).matmul(&part(1).transpose(1, 2)) / (head_dim as f64).sqrt();
    let mut seen = apart.ones_like().to_kind(Kind::Bool);
    match text.keys {
        Keys::All => {}
        Keys::AllButFirst => drop(seen.narrow(1, 0, 1).fill_(0)),
        Keys::None => drop(seen.fill_(0)),
        Keys::Uniform => scores = scores.zeros_like(),
    }
    if text.keys != Keys::Uniform {
        if let Some(table) = table {
            let most = table.size()[1] / 2;
            let index = apart.clamp(-most, most) + most;
            scores += table.index_select(1, &index.view(-1)).view([-1, tokens, tokens]);
        }
        if let Some(window) = window {
            seen = seen.logical_and(&apart.abs().le(window as i64));
        }
    }
    let scores = scores.masked_fill(&seen.logical_not(), f64::NEG_INFINITY);
    // Of nothing, the softmax is NaN.
    let context = scores.softmax(-1, None::<Kind>).nan_to_num(0., None, None).matmul(&part(2));
    context.transpose(0, 1).reshape([tokens, (heads * head_dim) as i64])
}

#[test]
fn scores_have_a_bias_and_a_window() {
    let texts = texts();
    let lengths: Vec<_> = texts.iter().map(|text| text.positions.len()).collect();
    let cu_seqlens = cu_seqlens(&lengths);
    let positions: Vec<_> = texts.iter().flat_map(|text| text.positions.clone()).collect();
    let keys: Vec<_> = texts.iter().map(|text| text.keys).collect();
    let tokens = positions.len();
    for (num_heads, head_dim) in [(2, 32), (3, 8), (1, 18)] {
        let width = num_heads * head_dim;
        let qkv = random(tokens as i64, 3 * width as i64, 1) * 3.;
        for (max_distance, window) in [
            (Some(9), None),
            (Some(300), None),
            (None, Some(0)),
            (None, Some(7)),
            (Some(20), Some(64)),
        ] {
            let table =
                max_distance.map(|max| random(num_heads as i64, 2 * max as i64 + 1, 2) * 4.);
            let numbers = table.as_ref().map(values);
            let bias = numbers.as_deref().zip(max_distance);
            let bias = bias.map(|(table, max_distance)| RelativeBias { table, max_distance });
            let double_table = table.as_ref().map(double);
            for isa in available() {
                let of = sequences(&cu_seqlens, num_heads);
                let of = Sequences { keys: &keys, positions: &positions, bias, window, ..of };
                let mut out = zeros::<f32>([tokens, width]);
                attention(isa, &Solo, matrix(&qkv).all(), of, out.all_mut()).unwrap();
                let mut short = zeros::<Bf16>([tokens, width]);
                if isa.has_bf16_dot() {
                    attention(isa, &Solo, matrix(&qkv).all(), of, short.all_mut()).unwrap();
                }
                for (range, text) in ranges(&lengths).zip(&texts) {
                    let own = double(&narrow(&qkv, &range));
                    let heads = (num_heads, head_dim);
                    let exact = reference(&own, heads, text, double_table.as_ref(), window);
                    let off = error(&narrow(&tensor(&out), &range), &exact);
                    let what = format!("{isa:?} {range:?} {max_distance:?} {window:?}");
                    // Scores reach 30, values 3.
                    assert!(off <= 1e-5, "{what}: {off:e}");
                    if isa.has_bf16_dot() {
                        // Inputs, probabilities and results have eight bits.
                        let off = error(&narrow(&tensor(&short), &range), &exact);
                        assert!(off <= 0.1, "{what} of bf16: {off:e}");
                    }
                }
            }
        }
    }
}
