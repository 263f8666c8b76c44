//! Attention, in every form.

use super::*;
use bertscript_kernels::{Disentangled, Keys, RelativeBias, Solo, reference};

/// Heads and their dimensions.
const HEADS: [(usize, usize); 6] = [(2, 32), (1, 64), (3, 8), (1, 17), (2, 1), (1, 128)];

/// The columns of one head of query, key or value, of some rows `[T,3H]`.
fn head(qkv: &Dense, rows: &Range<usize>, columns: Range<usize>) -> Vec<f32> {
    rows.clone().flat_map(|row| &qkv.rows(row..row + 1)[columns.clone()]).copied().collect()
}

/// How far a context may be off: both sums of a softmax have the error of the scores and of `exp`,
/// and of adding up; a context is a mean of values.
fn bound(qkv: &Dense, head_dim: usize, tokens: usize) -> f64 {
    let max = qkv.values.iter().fold(0_f32, |max, value| max.max(value.abs()));
    let max = f64::from(max);
    let score = max * max * (head_dim as f64).sqrt();
    let of_scores = 2. * (head_dim + 4) as f64 * ROUNDING * score;
    max * (of_scores + 2. * 3e-7 + (tokens + 4) as f64 * ROUNDING)
}

/// The error of probabilities that are rounded to bfloat16, and of the result.
fn bf16_bound(qkv: &Dense) -> f64 {
    let max = qkv.values.iter().fold(0_f32, |max, value| max.max(value.abs()));
    3. * f64::from(max) / 256.
}

/// Compares the attention of all sequences with the reference, for every head.
fn check_attention(
    lengths: &[usize],
    (num_heads, head_dim): (usize, usize),
    of: Sequences<'_>,
    score: impl Fn(usize, &Range<usize>, usize, usize, f64) -> f64,
) {
    let (tokens, width) = (lengths.iter().sum(), num_heads * head_dim);
    let qkv = random(tokens, 3 * width, 1).scaled(3.);
    let short = qkv.clone().rounded();
    for isa in available() {
        let mut out = zeros::<f32>([tokens, width]);
        let qkv_of = qkv.matrix::<f32>();
        bertscript_kernels::attention(isa, &Solo, qkv_of.all(), of, out.all_mut()).unwrap();
        let has_bf16 = isa.has_bf16_dot() && head_dim.is_multiple_of(2);
        let mut short_out = zeros::<Bf16>([tokens, width]);
        if has_bf16 {
            let qkv = short.matrix::<Bf16>();
            bertscript_kernels::attention(isa, &Solo, qkv.all(), of, short_out.all_mut()).unwrap();
        }
        for rows in ranges(lengths) {
            for index in 0..num_heads {
                let columns = index * head_dim..(index + 1) * head_dim;
                let part = |qkv: &Dense, part: usize| {
                    head(qkv, &rows, part * width + columns.start..part * width + columns.end)
                };
                let exact = |qkv: &Dense| {
                    let [q, k, v] = [0, 1, 2].map(|number| part(qkv, number));
                    reference::attention(&q, &k, &v, head_dim, |query, key, own| {
                        score(index, &rows, query, key, own)
                    })
                };
                let found =
                    |out: Vec<f32>| head(&Dense { values: out, width }, &rows, columns.clone());
                let what = format!("{isa:?} {rows:?}, head {index} of {head_dim}");
                let off = bound(&qkv, head_dim, rows.len());
                check(&what, &found(flat(&out)), &exact(&qkv), |_| off);
                if has_bf16 {
                    let off = bf16_bound(&qkv);
                    check(
                        &format!("{what} in bf16"),
                        &found(flat(&short_out)),
                        &exact(&short),
                        |_| off,
                    );
                }
            }
        }
    }
}

#[test]
fn attention_is_that_of_each_sequence_alone() {
    for heads in HEADS {
        let mut lengths: Vec<_> = (0..=40).chain([64, 0, 0, 70, 0, 150, 0]).collect();
        if heads.1 > 32 {
            lengths.truncate(42);
        }
        let cu_seqlens = cu_seqlens(&lengths);
        check_attention(&lengths, heads, sequences(&cu_seqlens, heads.0), |_, _, _, _, own| own);
    }
}

#[test]
fn tokens_attend_to_the_keys_of_their_sequence() {
    use Keys::{All, AllButFirst, None, Uniform};
    let lengths = [1, 5, 33, 40, 17, 1, 64, 2, 1];
    let keys = [AllButFirst, All, AllButFirst, Uniform, None, Uniform, AllButFirst, None, None];
    let cu_seqlens = cu_seqlens(&lengths);
    let ranges = ranges(&lengths);
    for heads in [(2, 32), (1, 18)] {
        let of = Sequences { keys: &keys, ..sequences(&cu_seqlens, heads.0) };
        check_attention(&lengths, heads, of, |_, rows, _, key, own| {
            match keys[ranges.iter().position(|range| range == rows).unwrap()] {
                All => own,
                AllButFirst if key > 0 => own,
                Uniform => 0.,
                AllButFirst | None => f64::NEG_INFINITY,
            }
        });
    }
}

#[test]
fn scores_have_a_bias_and_a_window() {
    let lengths = [1, 5, 33, 60, 150];
    let cu_seqlens = cu_seqlens(&lengths);
    // With holes in the fourth.
    let position = |length: usize, token: usize| match length {
        60 => (token + token / 7 * 3) as i64,
        _ => token as i64,
    };
    let positions: Vec<i64> = lengths
        .iter()
        .flat_map(|length| (0..*length).map(move |at| position(*length, at)))
        .collect();
    for heads in [(2, 32), (3, 8), (1, 18)] {
        for (max, window) in [
            (Some(9), None),
            (Some(300), None),
            (None, Some(0)),
            (None, Some(7)),
            (Some(20), Some(64)),
        ] {
            let table = max.map(|max: usize| random(heads.0, 2 * max + 1, 2).values);
            let bias = table.as_deref().zip(max);
            let bias = bias.map(|(table, max_distance)| RelativeBias { table, max_distance });
            let of = Sequences {
                positions: &positions,
                bias,
                window,
                ..sequences(&cu_seqlens, heads.0)
            };
            check_attention(&lengths, heads, of, |head, rows, query, key, own| {
                let distance = positions[rows.start + key] - positions[rows.start + query];
                if window.is_some_and(|window| distance.unsigned_abs() as usize > window) {
                    return f64::NEG_INFINITY;
                }
                let Some(RelativeBias { table, max_distance }) = bias else { return own };
                let index = (distance + max_distance as i64).clamp(0, 2 * max_distance as i64);
                own + f64::from(table[head * (2 * max_distance + 1) + index as usize])
            });
        }
    }
}

#[test]
fn scores_have_products_with_vectors_of_distances() {
    let lengths = [1, 5, 33, 60, 70];
    let cu_seqlens = cu_seqlens(&lengths);
    let tokens: usize = lengths.iter().sum();
    let positions: Vec<i64> = lengths.iter().flat_map(|length| 0..*length as i64).collect();
    let masked: Vec<bool> = (0..tokens).map(|token| token % 11 == 7).collect();
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    for ((num_heads, head_dim), most) in [((2, 32), 30), ((3, 8), 69), ((1, 18), 3)] {
        let width = num_heads * head_dim;
        let rows: Vec<usize> =
            (-most..=most).map(|at: i64| (20 + at.clamp(-5, 5) + at / 20) as usize).collect();
        let (qkv, vectors) =
            (random(tokens, 3 * width, 1).scaled(2.), random(40, 2 * width, 2).scaled(2.));
        for isa in available() {
            let (x, of_distances) = (qkv.matrix::<f32>(), vectors.matrix::<f32>());
            let of = Sequences { positions: &positions, ..sequences(&cu_seqlens, num_heads) };
            let by = Disentangled { vectors: of_distances.all(), rows: &rows, masked: &masked };
            let mut out = zeros::<f32>([tokens, width]);
            bertscript_kernels::disentangled_attention(isa, &Solo, x.all(), of, by, out.all_mut())
                .unwrap();
            let out = Dense { values: flat(&out), width };
            for range in ranges(&lengths) {
                for index in 0..num_heads {
                    let columns = index * head_dim..(index + 1) * head_dim;
                    let part = |of: &Dense, rows: &Range<usize>, part: usize| {
                        head(of, rows, part * width + columns.start..part * width + columns.end)
                    };
                    let [q, k, v] = [0, 1, 2].map(|number| part(&qkv, &range, number));
                    let exact = reference::attention(&q, &k, &v, head_dim, |query, key, own| {
                        if masked[range.start + query] {
                            return 0.;
                        }
                        if masked[range.start + key] {
                            return f64::NEG_INFINITY;
                        }
                        let row =
                            rows[((query as i64 - key as i64).clamp(-most, most) + most) as usize];
                        let [by_query, by_key] =
                            [0, 1].map(|number| part(&vectors, &(row..row + 1), number));
                        let q = &q[query * head_dim..(query + 1) * head_dim];
                        let k = &k[key * head_dim..(key + 1) * head_dim];
                        let more = dot(q, &by_key) + dot(k, &by_query);
                        (own + more / (head_dim as f64).sqrt()) / 3_f64.sqrt()
                    });
                    let what = format!("{isa:?} {range:?}, head {index} of {head_dim}, {most}");
                    // Three products instead of one, whose sum is scaled by 1/sqrt 3.
                    let off = 2. * bound(&qkv, head_dim, range.len());
                    check(&what, &head(&out, &range, columns.clone()), &exact, |_| off);
                }
            }
        }
    }
}

#[test]
fn a_score_far_above_the_others_takes_all() {
    let lengths = [1, 2, 15, 16, 17, 64, 70];
    let cu_seqlens = cu_seqlens(&lengths);
    for (num_heads, head_dim) in [(2, 32), (1, 64)] {
        let mut qkv = random(185, 192, 1);
        for row in qkv.values.chunks_exact_mut(192) {
            row[..128].iter_mut().for_each(|value| *value *= 1e15);
        }
        for isa in available() {
            let mut out = zeros::<f32>([185, 64]);
            let of = sequences(&cu_seqlens, num_heads);
            bertscript_kernels::attention(isa, &Solo, qkv.matrix().all(), of, out.all_mut())
                .unwrap();
            let out = Dense { values: flat(&out), width: 64 };
            for rows in ranges(&lengths) {
                for index in 0..num_heads {
                    let columns = |part: usize| {
                        part * 64 + index * head_dim..part * 64 + (index + 1) * head_dim
                    };
                    let [q, k, v] = [0, 1, 2].map(|part| head(&qkv, &rows, columns(part)));
                    // One of the values: in float64, the softmax is 1 and zeros here.
                    let exact = reference::attention(&q, &k, &v, head_dim, |_, _, own| own);
                    check(
                        &format!("{isa:?} {rows:?}"),
                        &head(&out, &rows, columns(0)),
                        &exact,
                        |_| 0.,
                    );
                }
            }
        }
    }
}
