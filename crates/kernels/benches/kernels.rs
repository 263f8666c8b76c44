//! How fast the kernels are, on one thread: the best instruction set in many
//! shapes, those below it in one shape each. Elements are floating-point
//! operations, multiplications and additions; of GELU and LayerNorm, values.
//!
//! `BERTSCRIPT_MAX_ISA` lowers the best.

use bertscript_kernels::{
    Bf16, Element, Isa, LayerNorm, Linear, Matrix, Sequences, Solo, Then, attention,
};
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use std::time::Duration;

/// Layers of MiniLM and of BERT-base: inputs and outputs.
const LAYERS: [(usize, usize); 8] = [
    (384, 1152),
    (384, 384),
    (384, 1536),
    (1536, 384),
    (768, 2304),
    (768, 768),
    (768, 3072),
    (3072, 768),
];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .nresamples(5_000)
        .configure_from_args();
    for kernel in [linear, gelu, attentions, layer_norm] {
        kernel(&mut criterion);
    }
    criterion.final_summary();
}

/// Instruction sets that this CPU has and the environment allows, the best first.
fn available() -> impl Iterator<Item = Isa> {
    Isa::allowed().unwrap().iter().rev().copied()
}

/// Values of no meaning, from -0.5 to 0.5.
fn filled<E: Element>(rows: usize, width: usize) -> Matrix<E> {
    let mut matrix = Matrix::new(width);
    matrix.set_rows(rows).unwrap();
    for row in 0..rows {
        for (column, value) in matrix.row_mut(row).iter_mut().enumerate() {
            let number = (row * 7919 + column * 104_729) % 65_537;
            *value = E::from_f32(number as f32 / 65_536. - 0.5);
        }
    }
    matrix
}

fn layer<E: Element>(isa: Isa, inputs: usize, outputs: usize) -> Linear<E> {
    let weight = filled::<f32>(1, inputs * outputs);
    Linear::new(isa, inputs, &[(weight.row(0), &vec![0.1; outputs][..])]).unwrap()
}

fn int8_layer(isa: Isa, inputs: usize, outputs: usize) -> Linear<f32> {
    let weight = filled::<f32>(1, inputs * outputs);
    Linear::int8(isa, inputs, &[(weight.row(0), &vec![0.1; outputs][..])], None).unwrap()
}

fn linear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear");
    for (number, isa) in available().enumerate() {
        let all = LAYERS.into_iter().flat_map(|shape| [16, 56, 512].map(|rows| (rows, shape)));
        let shapes = if number == 0 { all.collect() } else { vec![(56, (384, 1536))] };
        for (rows, shape) in shapes {
            one_linear(&mut group, "f32", isa, rows, layer::<f32>(isa, shape.0, shape.1));
            if isa.has_bf16_dot() {
                one_linear(&mut group, "bf16", isa, rows, layer::<Bf16>(isa, shape.0, shape.1));
            }
            one_linear(&mut group, "int8", isa, rows, int8_layer(isa, shape.0, shape.1));
        }
    }
}

fn one_linear<E: Element>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    isa: Isa,
    rows: usize,
    layer: Linear<E>,
) {
    let (inputs, outputs) = (layer.inputs(), layer.outputs());
    let (x, mut out) = (filled(rows, inputs), filled::<f32>(rows, outputs));
    group.throughput(Throughput::Elements(2 * (rows * inputs * outputs) as u64));
    let id =
        BenchmarkId::new(format!("{} {name}", isa.name()), format!("{rows}x{inputs}x{outputs}"));
    group.bench_function(id, |bencher| {
        bencher.iter(|| layer.forward(&Solo, x.all(), Then::Keep, out.all_mut()));
    });
}

/// After a single input, so that there is little else; and after a whole layer.
fn gelu(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gelu");
    for isa in available() {
        for inputs in [1, 384] {
            one_gelu::<f32>(&mut group, isa, inputs);
            if isa.has_bf16_dot() {
                one_gelu::<Bf16>(&mut group, isa, inputs);
            }
        }
    }
}

fn one_gelu<E: Element>(group: &mut BenchmarkGroup<'_, WallTime>, isa: Isa, inputs: usize) {
    let layer = layer::<E>(isa, inputs, 1536);
    let (x, mut out) = (filled(56, inputs), filled::<E>(56, 1536));
    group.throughput(Throughput::Elements(56 * 1536));
    for (then, name) in [(Then::Gelu, "with"), (Then::Keep, "without")] {
        group.bench_function(id::<E>(isa, &format!("56x{inputs}x1536 {name}")), |bencher| {
            bencher.iter(|| layer.forward(&Solo, x.all(), then, out.all_mut()));
        });
    }
}

/// About 1024 tokens of texts of one length.
fn attentions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for (number, isa) in available().enumerate() {
        let lengths: &[usize] = if number == 0 { &[16, 27, 64, 128, 512] } else { &[64] };
        for (length, head_dim) in lengths.iter().flat_map(|length| [32, 64].map(|d| (*length, d))) {
            if number > 0 && head_dim > 32 {
                continue;
            }
            one_attention::<f32>(&mut group, isa, length, head_dim);
            if isa.has_bf16_dot() {
                one_attention::<Bf16>(&mut group, isa, length, head_dim);
            }
        }
    }
}

fn one_attention<E: Element>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    isa: Isa,
    length: usize,
    head_dim: usize,
) {
    let lengths = vec![length; 1024 / length];
    let tokens = length * lengths.len();
    let (qkv, mut out) = (filled::<E>(tokens, 3 * 384), filled::<E>(tokens, 384));
    let cu_seqlens: Vec<_> = (0..=lengths.len()).map(|text| text * length).collect();
    let texts = Sequences::new(&cu_seqlens, 384 / head_dim);
    group.throughput(Throughput::Elements(4 * (tokens * length * 384) as u64));
    group.bench_function(id::<E>(isa, &format!("{length}/{head_dim}")), |bencher| {
        bencher.iter(|| attention(isa, &Solo, qkv.all(), texts, out.all_mut()));
    });
}

fn layer_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layer norm");
    for (number, isa) in available().enumerate() {
        for width in if number == 0 { &[384, 768][..] } else { &[384] } {
            let weight = vec![1_f32; *width];
            let norm = LayerNorm::new(isa, &weight, &weight, 1e-12).unwrap();
            let (mut x, mut copy) = (filled(56, *width), filled::<Bf16>(56, *width));
            group.throughput(Throughput::Elements(56 * *width as u64));
            group.bench_function(id::<f32>(isa, &format!("56x{width}")), |bencher| {
                bencher.iter(|| {
                    norm.forward(&Solo, x.all_mut(), Matrix::<f32>::new(*width).all_mut())
                });
            });
            group.bench_function(id::<Bf16>(isa, &format!("56x{width}")), |bencher| {
                bencher.iter(|| norm.forward(&Solo, x.all_mut(), copy.all_mut()));
            });
        }
    }
}

/// Instruction set and type, and the shape.
fn id<E: Element>(isa: Isa, shape: &str) -> BenchmarkId {
    let element = if size_of::<E>() == 2 { "bf16" } else { "f32" };
    BenchmarkId::new(format!("{} {element}", isa.name()), shape)
}
