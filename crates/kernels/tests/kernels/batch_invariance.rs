//! A row has the same bits in every batch, on any number of threads.

use super::*;
use bertscript_kernels::{
    Activation, Disentangled, LayerNorm, Linear, OutOfMemory, RelativeBias, Rope, Solo, Team, Then,
    attention, disentangled_attention, glu,
};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Threads of this test's own; perhaps fewer come than expected.
struct Threads {
    members: usize,
    come: usize,
    asked: AtomicUsize,
}

impl Team for Threads {
    fn members(&self) -> usize {
        self.members
    }

    fn run(&self, work: &(dyn Fn() + Sync)) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // Together: the first to come could do all of it before another starts.
        let start = Barrier::new(self.come);
        let work = || {
            start.wait();
            work();
        };
        thread::scope(|scope| (0..self.come).for_each(|_| drop(scope.spawn(work))));
    }
}

/// Runs a kernel over texts together, which must be enough to be shared, with
/// several teams; and over each text alone: all results are the same bits.
fn check_invariance(
    what: &str,
    lengths: &[usize],
    run: impl Fn(&dyn Team, Range<usize>, &[usize]) -> [Vec<u32>; 2],
) {
    let tokens = lengths.iter().sum();
    let all = run(&Solo, 0..tokens, lengths);
    for (members, come) in [(2, 2), (3, 3), (3, 1)] {
        let team = Threads { members, come, asked: AtomicUsize::new(0) };
        assert!(run(&team, 0..tokens, lengths) == all, "{what}: {come} of {members} threads");
        assert!(team.asked.into_inner() > 0, "{what}: too little to be shared");
    }
    for text in ranges(lengths) {
        let alone = run(&Solo, text.clone(), &[text.len()]);
        for (alone, all) in alone.iter().zip(&all) {
            let width = all.len() / tokens;
            let same = *alone == all[text.start * width..text.end * width];
            assert!(same, "{what}: alone, {text:?} is another");
        }
    }
}

/// A weight and a bias.
type Layer<'a> = (&'a [f32], &'a [f32]);
type New<E> = fn(Isa, usize, &[Layer<'_>]) -> Result<Linear<E>, OutOfMemory>;

fn check_invariance_of_linear<E: Element>(isa: Isa, new: New<E>) {
    let texts = [1, 2, 5, 13, 14, 15, 29, 56, 57, 108];
    // The last two: several blocks of rows, and inputs that come one after the other.
    for (lengths, inputs, outputs) in [
        (&texts[..1], 1024, 520),
        (&[14], 384, 100),
        (&texts[..8], 33, 150),
        (&texts, 33, 63),
        (&[401, 14, 300], 1701, 100),
        (&[29], 6500, 33),
    ] {
        let rows = lengths.iter().sum();
        let (x, more) = (random(rows, inputs, 1).matrix(), random(rows, outputs, 2).matrix());
        let [weight, bias] =
            [random(outputs, inputs, 3), random(1, outputs, 4)].map(|of| of.values);
        let layer = new(isa, inputs, &[(&weight[..], &bias[..])]).unwrap();
        // Many rows with one of them only, which takes minutes where a CPU is emulated.
        for number in if rows > 500 { 2..3 } else { 0..3 } {
            let what = format!("{isa:?} [{rows},{inputs}] -> {outputs}");
            check_invariance(&what, lengths, |team, rows, _| {
                let thens = [Then::Keep, Then::Gelu, Then::Add(more.rows(rows.clone()))];
                let shape = [rows.len(), outputs];
                let (mut out, mut short) = (zeros::<f32>(shape), zeros::<Bf16>(shape));
                layer.forward(team, x.rows(rows.clone()), thens[number], out.all_mut()).unwrap();
                layer.forward(team, x.rows(rows), thens[number], short.all_mut()).unwrap();
                [bits(&out), bits(&short)]
            });
        }
    }
}

fn check_invariance_of_attention<E: Element>(isa: Isa, heads: &[(usize, usize)]) {
    let lengths: Vec<_> = (0..=30).chain([100, 0, 1]).collect();
    for (heads, head_dim) in heads.iter().copied() {
        let (tokens, width) = (lengths.iter().sum::<usize>(), heads * head_dim);
        let qkv = random(tokens, 3 * width, 1).matrix::<E>();
        let table = random(heads, 2 * 9 + 1, 2).values;
        let bias = RelativeBias { table: &table, max_distance: 9 };
        for (bias, window) in [(None, None), (Some(bias), None), (None, Some(5))] {
            let what = format!("{isa:?} {heads} heads of {head_dim}, window {window:?}");
            check_invariance(&what, &lengths, |team, rows, lengths| {
                let mut out = zeros::<E>([rows.len(), width]);
                let positions: Vec<_> =
                    lengths.iter().flat_map(|length| 0..*length as i64).collect();
                let cu_seqlens = cu_seqlens(lengths);
                let of = sequences(&cu_seqlens, heads);
                let of = Sequences { positions: &positions, bias, window, ..of };
                attention(isa, team, qkv.rows(rows), of, out.all_mut()).unwrap();
                [bits(&out), Vec::new()]
            });
        }
    }
}

fn check_invariance_of_disentangled<E: Element>(isa: Isa, heads: &[(usize, usize)]) {
    let lengths: Vec<_> = (0..=30).chain([100, 0, 1]).collect();
    let rows: Vec<_> = (0..2 * 40 + 1).map(|distance| distance / 3).collect();
    for (heads, head_dim) in heads.iter().copied() {
        let (tokens, width) = (lengths.iter().sum::<usize>(), heads * head_dim);
        let qkv = random(tokens, 3 * width, 1).matrix::<E>();
        let vectors = random(27, 2 * width, 2).matrix::<E>();
        let what = format!("{isa:?} disentangled, {heads} heads of {head_dim}");
        check_invariance(&what, &lengths, |team, range, lengths| {
            let mut out = zeros::<E>([range.len(), width]);
            let positions: Vec<_> = lengths.iter().flat_map(|length| 0..*length as i64).collect();
            let cu_seqlens = cu_seqlens(lengths);
            let of = Sequences { positions: &positions, ..sequences(&cu_seqlens, heads) };
            let by = Disentangled { vectors: vectors.all(), rows: &rows, masked: &[] };
            disentangled_attention(isa, team, qkv.rows(range), of, by, out.all_mut()).unwrap();
            [bits(&out), Vec::new()]
        });
    }
}

/// In place, and after a layer.
fn check_invariance_of_activations(isa: Isa) {
    let (lengths, width) = ([3, 1, 100], 170);
    let x = random(lengths.iter().sum(), width, 1).scaled(5.);
    let [weight, bias] = [random(33, width, 2), random(1, 33, 3)].map(|of| of.values);
    let layer = Linear::<f32>::new(isa, width, &[(&weight, &bias)]).unwrap();
    for activation in Activation::ALL {
        check_invariance(&format!("{isa:?} {activation:?}"), &lengths, |team, rows, _| {
            let mut x = x.part::<f32>(rows.clone());
            let mut out = zeros::<f32>([rows.len(), 33]);
            let then = Then::Activation(activation);
            layer.forward(team, x.all(), then, out.all_mut()).unwrap();
            activation.forward(isa, team, x.all_mut()).unwrap();
            [bits(&x), bits(&out)]
        });
    }
}

/// Rotations, and gated units.
fn check_invariance_of_positions(isa: Isa) {
    let lengths = [3, 1, 100];
    let rope = Rope::new(10_000., 64, 100).unwrap();
    let x = random(lengths.iter().sum(), 384, 1);
    check_invariance(&format!("{isa:?} rotations"), &lengths, |team, rows, lengths| {
        let positions: Vec<_> = lengths.iter().flat_map(|length| 0..*length as i64).collect();
        let mut turned = x.part::<f32>(rows.clone());
        rope.rotate(isa, team, &positions, 2, turned.all_mut()).unwrap();
        let mut out = zeros::<f32>([rows.len(), 192]);
        glu(isa, team, Some(Activation::Gelu), turned.all(), out.all_mut()).unwrap();
        [bits(&turned), bits(&out)]
    });
}

#[test]
fn rows_depend_on_their_text_alone() {
    for isa in available() {
        check_invariance_of_activations(isa);
        check_invariance_of_positions(isa);
        check_invariance_of_linear::<f32>(isa, Linear::new);
        check_invariance_of_linear::<f32>(isa, |isa, inputs, layers| {
            let maxima: Vec<_> = (0..inputs).map(|input| 1. + (input % 5) as f32).collect();
            Linear::int8(isa, inputs, layers, Some(&maxima))
        });
        if isa.has_bf16_dot() {
            check_invariance_of_linear::<Bf16>(isa, Linear::new);
        }
        check_invariance_of_attention::<f32>(isa, &[(2, 32), (3, 8), (1, 17)]);
        check_invariance_of_disentangled::<f32>(isa, &[(2, 32), (3, 8), (1, 17)]);
        if isa.has_bf16_dot() {
            check_invariance_of_attention::<Bf16>(isa, &[(2, 32), (3, 8), (1, 18)]);
            check_invariance_of_disentangled::<Bf16>(isa, &[(2, 32), (3, 8), (1, 18)]);
        }
        for (lengths, width) in [(&[1, 31, 32][..], 33), (&[1; 65], 384), (&[100, 1, 102], 17)] {
            let x = random(lengths.iter().sum(), width, 1);
            let weight = random(1, width, 2).values;
            let norm = LayerNorm::new(isa, &weight, &weight, 1e-12).unwrap();
            check_invariance(&format!("{isa:?} {width} wide"), lengths, |team, rows, _| {
                let mut x = x.part::<f32>(rows.clone());
                let mut copy = zeros::<Bf16>([rows.len(), x.width()]);
                let mut apart = zeros::<f32>([rows.len(), x.width()]);
                norm.forward_to(team, x.all(), apart.all_mut()).unwrap();
                norm.forward(team, x.all_mut(), copy.all_mut()).unwrap();
                assert!(bits(&apart) == bits(&x), "in place and apart");
                [bits(&x), bits(&copy)]
            });
        }
    }
}
