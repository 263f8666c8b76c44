//! When two results count as equal.

use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use serde::Serialize;
use tch::{Kind, Tensor};

/// The bound of every comparison, on the CPU, by the dtype of the weights:
/// results are equal when `max |difference| <= tolerance * max(1, max |reference|)`.
///
/// float32 is what reordering sums costs. bfloat16 keeps 8 bits and float16 11,
/// and each layer rounds anew: in these, [`Comparison::allowing_for`] allows what the
/// model itself costs, where that is more.
pub fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 1e-5,
        Dtype::F16 => 5e-3,
        Dtype::BF16 => 2e-2,
    }
}

/// How far a half-precision result may be from float32, as a multiple of how far
/// libtorch's own result in that dtype is. Of 342 outputs of 60 random models of 3 layers,
/// libtorch's in bfloat16 exceeded the tolerance in 10, and ours was at most 1.27 times
/// as far from float32 as libtorch's.
const ROUNDING_MARGIN: f64 = 1.5;

/// An output against its reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The name of the output.
    pub output: String,
    /// The shape of both.
    pub shape: Vec<i64>,
    /// The greatest absolute difference.
    pub max_abs_error: f64,
    /// The greatest absolute difference over the reference's greatest magnitude.
    pub max_rel_error: f64,
    /// The greatest absolute difference that would have been equal.
    pub bound: f64,
}

impl Comparison {
    /// Compares `found` with `reference` under `tolerance`.
    ///
    /// # Errors
    /// [`ErrorKind::Verification`] if the shapes differ.
    pub fn new(output: &str, found: &Tensor, reference: &Tensor, tolerance: f64) -> Result<Self> {
        let (shape, expected) = (found.size(), reference.size());
        if shape != expected {
            let message = format!("expected shape {expected:?}, found {shape:?}");
            return Err(Error::new(ErrorKind::Verification, message).at(output));
        }
        let to_f64 =
            |tensor: &Tensor| tensor.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Double);
        let (found, reference) = (to_f64(found)?, to_f64(reference)?);
        let max_abs_error = largest(&found.f_sub(&reference)?)?;
        let magnitude = largest(&reference)?;
        Ok(Self {
            output: output.to_owned(),
            shape,
            max_abs_error,
            max_rel_error: if magnitude > 0. { max_abs_error / magnitude } else { max_abs_error },
            bound: tolerance * magnitude.max(1.),
        })
    }

    /// Allows a result in half precision 1.5 times what rounding costs
    /// libtorch, where that is more than the tolerance. `own` compares what libtorch computes
    /// in this dtype with what it computes in float32, of the same weights and inputs.
    #[must_use]
    pub fn allowing_for(mut self, own: &Self) -> Self {
        // A result that overflows bounds nothing.
        if own.max_abs_error.is_finite() {
            self.bound = self.bound.max(ROUNDING_MARGIN * own.max_abs_error);
        }
        self
    }

    /// Whether the results are equal. NaN never is.
    pub fn is_equal(&self) -> bool {
        self.max_abs_error <= self.bound
    }
}

/// The largest magnitude, NaN if there is one, 0 for no elements.
fn largest(tensor: &Tensor) -> Result<f64> {
    if tensor.numel() == 0 {
        return Ok(0.);
    }
    Ok(tensor.f_abs()?.f_max()?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(found: &[f32], reference: &[f32]) -> Comparison {
        Comparison::new("x", &Tensor::from_slice(found), &Tensor::from_slice(reference), 1e-5)
            .unwrap()
    }

    #[test]
    fn the_bound_grows_with_the_reference_but_not_below_one() {
        assert!(compare(&[0.000_009], &[0.]).is_equal());
        assert!(!compare(&[0.000_02], &[0.]).is_equal());
        assert!(compare(&[100.0009], &[100.]).is_equal());
        assert!(!compare(&[100.002], &[100.]).is_equal());
    }

    #[test]
    fn the_bound_in_half_precision_is_made_of_the_rounding_of_libtorch() {
        let compare = |found: f32, own: f32| {
            let [found, own] = [found, own].map(|value| Tensor::from_slice(&[value]));
            let with_1 = |x| Comparison::new("x", x, &Tensor::from_slice(&[1f32]), 0.02).unwrap();
            with_1(&found).allowing_for(&with_1(&own))
        };
        assert!(compare(1.019, 1.).is_equal());
        assert!(!compare(1.021, 1.01).is_equal());
        assert!(compare(1.044, 1.03).is_equal());
        assert!(!compare(1.046, 1.03).is_equal());
        assert!(!compare(f32::NAN, 1.03).is_equal());
        for overflown in [f32::NAN, f32::INFINITY] {
            assert!(compare(1.019, overflown).is_equal());
            assert!(!compare(1.021, overflown).is_equal());
        }
    }

    #[test]
    fn nan_is_equal_to_nothing() {
        assert!(!compare(&[f32::NAN], &[0.]).is_equal());
        assert!(!compare(&[0.], &[f32::NAN]).is_equal());
        assert!(!compare(&[f32::INFINITY], &[f32::INFINITY]).is_equal());
    }
}
