//! Attention whose scores have products with vectors of distances.

use super::*;
use bertscript_kernels::{Disentangled, Solo, disentangled_attention};

/// Of a text, where its tokens are, and which of them are masked.
struct Text {
    positions: Vec<i64>,
    masked: Vec<bool>,
}

/// With and without holes and masked tokens; longer than a panel of keys, and than several.
fn texts() -> Vec<Text> {
    let of = |positions: Vec<i64>, is_masked: fn(usize) -> bool| {
        let masked = (0..positions.len()).map(is_masked).collect();
        Text { positions, masked }
    };
    let all = |length| of((0..length).collect(), |_| false);
    let holes = (0..90).filter(|n| n % 7 != 3 && !(30..45).contains(n)).collect();
    vec![
        all(1),
        all(5),
        all(33),
        of(holes, |_| false),
        all(150),
        of((0..40).collect(), |token| token % 3 == 0),
        of((0..7).collect(), |_| true),
        all(14),
        all(70),
    ]
}

/// The row of each distance, up to `most`: some alone, then several in one.
fn rows(most: i64) -> Vec<usize> {
    (-most..=most).map(|distance| (20 + distance.clamp(-5, 5) + distance / 20) as usize).collect()
}

/// In float64, of one text: `[T,3H]`, vectors `[R,2H]` -> `[T,H]`
fn reference(
    qkv: &Tensor,
    vectors: &Tensor,
    rows: &[usize],
    [heads, head_dim]: [i64; 2],
    text: &Text,
) -> Tensor {
    let tokens = text.positions.len() as i64;
    let part = |of: &Tensor, part: i64| {
        let own = of.narrow(1, part * heads * head_dim, heads * head_dim);
        own.view([-1, heads, head_dim]).transpose(0, 1)
    };
    let [query, key, value] = [0, 1, 2].map(|number| part(qkv, number));
    let most = rows.len() as i64 / 2;
    let positions = Tensor::from_slice(&text.positions);
    let distance = positions.unsqueeze(1) - positions.unsqueeze(0);
    let rows = Tensor::from_slice(&rows.iter().map(|row| *row as i64).collect::<Vec<_>>());
    let index = (distance.clamp(-most, most) + most).view(-1);
    let row = rows.index_select(0, &index).view([1, tokens, tokens]);
    let row = row.expand([heads, tokens, tokens], false);
    let of_keys = query.matmul(&part(vectors, 1).transpose(1, 2)).gather(2, &row, false);
    let of_queries = part(vectors, 0).matmul(&key.transpose(1, 2)).gather(1, &row, false);
    let scores = query.matmul(&key.transpose(1, 2)) + of_keys + of_queries;
    let scores = scores / (3. * head_dim as f64).sqrt();
    let masked = Tensor::from_slice(&text.masked);
    let scores = scores.masked_fill(&masked, f64::NEG_INFINITY);
    let scores = scores.masked_fill(&masked.unsqueeze(1), 0.);
    let context = scores.softmax(-1, None::<Kind>).matmul(&value);
    context.transpose(0, 1).reshape([tokens, heads * head_dim])
}

#[test]
fn scores_have_products_with_vectors_of_distances() {
    let texts = texts();
    let lengths: Vec<_> = texts.iter().map(|text| text.positions.len()).collect();
    let cu_seqlens = cu_seqlens(&lengths);
    let positions: Vec<_> = texts.iter().flat_map(|text| text.positions.clone()).collect();
    let masked: Vec<_> = texts.iter().flat_map(|text| text.masked.clone()).collect();
    let tokens = positions.len();
    // Farther apart than the rows tell, and nearer.
    for (heads, most) in [([2, 32], 30), ([3, 8], 200), ([1, 64], 149), ([1, 18], 3)] {
        let [num_heads, head_dim] = heads.map(|number: i64| number as usize);
        let width = num_heads * head_dim;
        let qkv = random(tokens as i64, 3 * width as i64, 1) * 3.;
        let vectors = random(40, 2 * width as i64, 2) * 3.;
        let rows = rows(most);
        for isa in available() {
            let of = Sequences { positions: &positions, ..sequences(&cu_seqlens, num_heads) };
            let exact = matrix(&vectors);
            let by = Disentangled { vectors: exact.all(), rows: &rows, masked: &masked };
            let mut out = zeros::<f32>([tokens, width]);
            let x = matrix(&qkv);
            disentangled_attention(isa, &Solo, x.all(), of, by, out.all_mut()).unwrap();
            let mut short = zeros::<Bf16>([tokens, width]);
            if isa.has_bf16_dot() {
                let (vectors, x) = (matrix(&vectors), matrix(&qkv));
                let by = Disentangled { vectors: vectors.all(), rows: &rows, masked: &masked };
                disentangled_attention(isa, &Solo, x.all(), of, by, short.all_mut()).unwrap();
            }
            for (range, text) in ranges(&lengths).zip(&texts) {
                let own = double(&narrow(&qkv, &range));
                let exact = reference(&own, &double(&vectors), &rows, heads, text);
                let off = error(&narrow(&tensor(&out), &range), &exact);
                let what = format!("{isa:?} {range:?} {heads:?} {most}");
                // Scores reach 50, values 3.
                assert!(off <= 2e-5, "{what}: {off:e}");
                if isa.has_bf16_dot() {
                    // Inputs, probabilities and results have eight bits.
                    let off = error(&narrow(&tensor(&short), &range), &exact);
                    assert!(off <= 0.15, "{what} of bf16: {off:e}");
                }
            }
        }
    }
}
