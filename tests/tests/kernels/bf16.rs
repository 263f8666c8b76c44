//! Rounding to bfloat16.

use super::*;
use bertscript_kernels::{Linear, Solo, Then};

#[test]
fn every_bf16_survives_and_means_what_it_means_to_libtorch() {
    let patterns: Vec<_> = (0..=u16::MAX).collect();
    let bytes: Vec<_> = patterns.iter().flat_map(|bits| bits.to_ne_bytes()).collect();
    let theirs = Tensor::from_data_size(&bytes, &[1 << 16], Kind::BFloat16);
    for (value, theirs) in Bf16::from_bits(&patterns).iter().zip(values(&theirs)) {
        let wide = value.to_f32();
        assert_eq!(wide.to_bits(), theirs.to_bits());
        let back = Bf16::from_f32(wide);
        assert!(back == *value || (wide.is_nan() && back.to_f32().is_nan()), "{value:?}");
    }
}

/// Rounds by the function of one value, and by the kernels that store it.
fn all_roundings(numbers: &[f32], mut check: impl FnMut(&str, &[f32], &[f32])) {
    let single: Vec<_> = numbers.iter().map(|n| Bf16::from_f32(*n).to_f32()).collect();
    check("one value", numbers, &single);
    let more = matrix::<f32>(&Tensor::from_slice(numbers).view([-1, 33]));
    let x = zeros::<f32>([more.len(), 1]);
    for isa in available() {
        // No input times no weight, and then the number.
        let layer = Linear::<f32>::new(isa, 1, &[(&[0.; 33], &[0.; 33])]).unwrap();
        let (mut out, mut short) = (zeros::<f32>([x.len(), 33]), zeros::<Bf16>([x.len(), 33]));
        layer.forward(&Solo, x.all(), Then::Add(more.all()), out.all_mut()).unwrap();
        layer.forward(&Solo, x.all(), Then::Add(more.all()), short.all_mut()).unwrap();
        check(isa.name(), &flat(&out), &flat(&short));
    }
}

#[test]
fn float32_is_rounded_to_bf16_as_libtorch_does() {
    // Numbers all over float32; and of every bfloat16 the middle to the next, and its neighbours.
    let spread = (0..100_000_u32).map(|step| step.wrapping_mul(2_654_435_761));
    let middles =
        (0..1 << 16).flat_map(|upper| [0x7fff, 0x8000, 0x8001].map(|low| upper << 16 | low));
    let numbers = spread.chain(middles).map(f32::from_bits).filter(|number| !number.is_nan());
    let mut numbers: Vec<_> = numbers.collect();
    numbers.truncate(numbers.len() / 33 * 33);
    all_roundings(&numbers, |what, wide, short| {
        let short: Vec<_> = short.iter().map(|value| value.to_bits()).collect();
        assert!(short == rounded(&Tensor::from_slice(wide)), "{what}");
    });
}

#[test]
fn a_nan_stays_one_in_bf16() {
    let quiet = [0x7fc0_0000_u32, 0x7f80_0001, 0x7fbf_ffff, 0x7fff_7fff, 0x7fff_8000, 0x7fff_ffff];
    let signs = quiet.map(|bits| [bits, bits | 1 << 31]).concat();
    let mut numbers: Vec<_> = signs.into_iter().map(f32::from_bits).collect();
    numbers.resize(33, f32::NAN);
    let mut wrong = Vec::new();
    all_roundings(&numbers, |what, wide, short| {
        for (wide, short) in wide.iter().zip(short).filter(|(_, short)| !short.is_nan()) {
            wrong.push(format!("{what}: {:x} becomes {short}", wide.to_bits()));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
