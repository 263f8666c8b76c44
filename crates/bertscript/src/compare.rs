//! When two results count as equal.

use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use serde::Serialize;

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
    pub shape: Vec<usize>,
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
        let (shape, expected) = (found.shape(), reference.shape());
        if shape != expected {
            let message = format!("expected shape {expected:?}, found {shape:?}");
            return Err(Error::new(ErrorKind::Verification, message).at(output));
        }
        let to_f64s = |tensor: &Tensor| tensor.to_device(Device::Cpu)?.map_elements(|value| value);
        let (found, reference) = (to_f64s(found)?, to_f64s(reference)?);
        let differences = found.iter().zip(&reference).map(|(found, expected)| found - expected);
        let max_abs_error = largest(differences);
        let magnitude = largest(reference.iter().copied());
        Ok(Self {
            output: output.to_owned(),
            shape: shape.to_vec(),
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
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0., |largest: f64, value| match value.abs() {
        // Neither is there a larger one, nor one that is not smaller.
        nan if nan.is_nan() || largest.is_nan() => f64::NAN,
        value => largest.max(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(found: &[f32], reference: &[f32]) -> Comparison {
        let tensor = |values: &[f32]| Tensor::new(values, [values.len()]).unwrap();
        Comparison::new("x", &tensor(found), &tensor(reference), 1e-5).unwrap()
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
            let [found, own, one] = [found, own, 1.].map(|x| Tensor::new([x], [1]).unwrap());
            let with_1 = |x| Comparison::new("x", x, &one, 0.02).unwrap();
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
