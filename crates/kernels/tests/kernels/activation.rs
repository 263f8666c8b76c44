//! Values against the formulas in float64, and what they depend on.

use super::*;
use bertscript_kernels::{Activation, Linear, Solo, Then, reference};
use std::f64::consts::{FRAC_2_PI, SQRT_2};

fn apply<E: Element>(activation: Activation, isa: Isa, values: &[E]) -> Vec<E> {
    let mut x = Matrix::new(values.len());
    x.set_rows(1).unwrap();
    x.row_mut(0).copy_from_slice(values);
    activation.forward(isa, &Solo, x.all_mut()).unwrap();
    x.row(0).to_vec()
}

fn bits_of(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// An element-wise function by its definition.
#[expect(clippy::approx_constant, reason = "upstream rounds 1/sqrt(2) so")]
fn exact(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1. / (1. + (-x).exp());
    let softplus = |x: f64| x.max(0.) + (-x.abs()).exp().ln_1p();
    let leaky = |slope: f64| if x > 0. { x } else { slope * x };
    let gelu = || reference::gelu(x);
    match activation {
        Activation::Elu => {
            if x > 0. {
                x
            } else {
                x.exp_m1()
            }
        }
        Activation::Gelu => gelu(),
        Activation::Gelu10 => gelu().clamp(-10., 10.),
        Activation::GeluTanh => {
            x / 2. * (1. + (FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)).tanh())
        }
        Activation::Hardshrink => {
            if x.abs() > 0.5 {
                x
            } else {
                0.
            }
        }
        Activation::Hardsigmoid => (x + 3.).clamp(0., 6.) / 6.,
        Activation::Hardswish => x * (x + 3.).clamp(0., 6.) / 6.,
        Activation::Hardtanh => x.clamp(-1., 1.),
        Activation::Laplace => (1. + reference::erf((x - 0.707107) / (0.282095 * SQRT_2))) / 2.,
        Activation::LeakyRelu => leaky(0.01),
        Activation::LogSigmoid => -softplus(-x),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Relu => x.max(0.),
        Activation::Relu2 => x.max(0.).powi(2),
        Activation::Relu6 => x.clamp(0., 6.),
        Activation::Rrelu => leaky((1. / 8. + 1. / 3.) / 2.),
        Activation::Selu => {
            let (alpha, scale) = (1.673_263_242_354_377_2, 1.050_700_987_355_480_5);
            scale * if x > 0. { x } else { alpha * x.exp_m1() }
        }
        Activation::Sigmoid => sigmoid(x),
        Activation::Silu => x * sigmoid(x),
        Activation::Softplus => softplus(x),
        Activation::Softshrink => x.signum() * (x.abs() - 0.5).max(0.),
        Activation::Softsign => x / (1. + x.abs()),
        Activation::SqrtSoftplus => softplus(x).sqrt(),
        Activation::Tanh => x.tanh(),
        Activation::Tanhshrink => x - x.tanh(),
        Activation::LogSoftmax | Activation::Softmax | Activation::Softmin => unreachable!(),
    }
}

fn elementwise() -> impl Iterator<Item = Activation> {
    Activation::ALL.into_iter().filter(|activation| !activation.is_row_wise())
}

/// From -25 to 25, and finite values of all exponents.
fn arguments() -> Vec<f32> {
    let near = (-100_000..=100_000).map(|step| step as f32 / 4_000.);
    let all = (0..=u32::MAX).step_by(20_011).map(f32::from_bits).filter(|x| x.is_finite());
    near.chain(all).collect()
}

/// Compares errors, divided by the value or by `min` if that is larger, with `bound`.
fn check_elementwise(activation: Activation, arguments: &[f32], min: f64, bound: f64) {
    let expected: Vec<_> = arguments.iter().map(|x| exact(activation, f64::from(*x))).collect();
    for isa in available() {
        for ((x, found), exact) in
            arguments.iter().zip(apply(activation, isa, arguments)).zip(&expected)
        {
            let error = (f64::from(found) - exact).abs() / exact.abs().max(min);
            let overflows = exact.abs() > f64::from(f32::MAX) && found == *exact as f32;
            assert!(
                error <= bound || overflows,
                "{activation:?} {isa:?} of {x}: {found}, expected {exact}: {error:e} > {bound:e}"
            );
        }
    }
}

#[test]
fn elementwise_functions_equal_their_definitions() {
    let arguments = arguments();
    for activation in elementwise() {
        let has_erf =
            matches!(activation, Activation::Gelu | Activation::Gelu10 | Activation::Laplace);
        check_elementwise(activation, &arguments, 1., if has_erf { 4e-7 } else { 2.5e-7 });
    }
}

#[test]
fn small_values_have_small_errors() {
    // exp flushes results below e^-87 to 0.
    let mut arguments = arguments();
    arguments.retain(|x| x.abs() < 87. && x.abs() > 1e-37);
    for activation in [
        Activation::Elu,
        Activation::LogSigmoid,
        Activation::Mish,
        Activation::Selu,
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Softplus,
        Activation::Softsign,
        Activation::SqrtSoftplus,
        Activation::Tanh,
    ] {
        check_elementwise(activation, &arguments, f64::from(f32::MIN_POSITIVE), 4e-7);
    }
}

#[test]
fn row_wise_functions_equal_their_definitions() {
    for width in [1, 2, 3, 7, 16, 17, 40, 1000] {
        let x: Vec<_> = (0..width).map(|i| ((i * 7919) % 1009) as f32 / 40. - 12.).collect();
        let power = |x: f32| f64::from(x).exp();
        let sum: f64 = x.iter().map(|x| power(*x)).sum();
        let inverse_sum: f64 = x.iter().map(|x| power(-x)).sum();
        for isa in available() {
            for (activation, exact) in [
                (Activation::Softmax, &|x: f32| power(x) / sum),
                (Activation::Softmin, &|x: f32| power(-x) / inverse_sum),
                (Activation::LogSoftmax, &|x: f32| f64::from(x) - sum.ln()),
            ] as [(_, &dyn Fn(f32) -> f64); 3]
            {
                for (x, found) in x.iter().zip(apply(activation, isa, &x)) {
                    let error = (f64::from(found) - exact(*x)).abs() / exact(*x).abs().max(1.);
                    assert!(error < 3e-7, "{activation:?} {isa:?} {width}: {found} {}", exact(*x));
                }
            }
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    for isa in available() {
        let row = [3e38, -3e38, 0., 3e38, f32::NEG_INFINITY];
        assert_eq!(apply(Activation::Softmax, isa, &row), [0.5, 0., 0., 0.5, 0.], "{isa:?}");
        let log = apply(Activation::LogSoftmax, isa, &row);
        assert_eq!(log[1..3], [f32::NEG_INFINITY, -3e38], "{isa:?}");
        for what in [f32::NAN, f32::INFINITY] {
            let mut row = [1.; 21];
            row[19] = what;
            for activation in Activation::ALL.into_iter().filter(|of| of.is_row_wise()) {
                let values = apply(activation, isa, &row);
                let is_nan = values.iter().all(|value| value.is_nan());
                assert!(is_nan || activation == Activation::Softmin, "{activation:?} {what}");
            }
        }
    }
}

#[test]
fn a_value_depends_on_its_input_alone() {
    let x: Vec<_> =
        arguments().into_iter().step_by(9_973).chain([f32::NAN, f32::INFINITY]).collect();
    assert!(x.len() > 40);
    for isa in available() {
        for activation in elementwise() {
            let alone: Vec<_> =
                x.iter().map(|x| apply(activation, isa, &[*x])[0].to_bits()).collect();
            for start in 0..3 {
                for end in start..=x.len() {
                    let found = bits_of(&apply(activation, isa, &x[start..end]));
                    assert!(found == alone[start..end], "{activation:?} {isa:?} {start}..{end}");
                }
            }
        }
    }
}

/// The inputs are the biases of a layer whose weights are zeros.
#[test]
fn after_a_layer_values_are_the_same() {
    let x: Vec<_> = arguments().into_iter().step_by(1_999).collect();
    for isa in available() {
        let layer = Linear::<f32>::new(isa, 1, &[(&vec![0.; x.len()][..], &x[..])]).unwrap();
        let mut input = Matrix::new(1);
        input.set_rows(3).unwrap();
        let (mut out, mut short) = (Matrix::<f32>::new(x.len()), Matrix::<Bf16>::new(x.len()));
        out.set_rows(3).unwrap();
        short.set_rows(3).unwrap();
        for activation in Activation::ALL {
            let then = Then::Activation(activation);
            layer.forward(&Solo, input.all(), then, out.all_mut()).unwrap();
            layer.forward(&Solo, input.all(), then, short.all_mut()).unwrap();
            let expected = apply(activation, isa, &x);
            let rounded = |values: &[f32]| values.iter().map(|x| Bf16::from_f32(*x)).collect();
            let rounded: Vec<Bf16> = match activation.is_row_wise() {
                false => rounded(&expected),
                // The layer's outputs are rounded before.
                true => apply(activation, isa, &rounded(&x)),
            };
            for row in 0..3 {
                assert_eq!(bits_of(out.row(row)), bits_of(&expected), "{activation:?} {isa:?}");
                assert_eq!(short.row(row), rounded, "{activation:?} {isa:?}");
            }
        }
    }
}
