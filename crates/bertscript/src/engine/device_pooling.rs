//! Pooling where a device has the rows.

use crate::embedding::PoolingMode;
use crate::error::Result;
use crate::memory::collect;
use std::ops::Range;
use tch::{Kind, Tensor};

/// As [`crate::embedding::pool_rows`], of rows on a device, where they are pooled.
pub(crate) fn pool_tensor(
    hidden: &Tensor,
    tokens: &[Range<usize>],
    modes: &[PoolingMode],
    skipped: &[usize],
) -> Result<Tensor> {
    let hidden = hidden.f_to_kind(Kind::Float)?;
    let pooled = modes.iter().enumerate().map(|(index, mode)| {
        let ranges = collect(tokens.iter().skip(index).step_by(modes.len()).cloned())?;
        mode.pool_tensor(&hidden, &ranges, skipped)
    });
    Ok(Tensor::f_cat(&pooled.collect::<Result<Vec<_>>>()?, -1)?)
}

impl PoolingMode {
    /// Pools the rows `[T,W]` of each range, on their device, to `[N,W]`.
    fn pool_tensor(
        self,
        hidden: &Tensor,
        ranges: &[Range<usize>],
        skipped: &[usize],
    ) -> Result<Tensor> {
        let on_device = |values: Vec<i64>| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(&values)?.f_to_device(hidden.device())?)
        };
        let column = |values: Vec<f32>| -> Result<Tensor> {
            let column = Tensor::f_from_slice(&values)?.f_to_device(hidden.device())?;
            Ok(column.f_unsqueeze(-1)?)
        };
        let rows = hidden.f_index_select(
            0,
            &on_device(collect(ranges.iter().cloned().flatten().map(|row| row as i64))?)?,
        )?;
        let lengths = on_device(collect(ranges.iter().map(|range| range.len() as i64))?)?;
        let reduce = |rows: &Tensor, reduction: &str, of_none: f64| {
            let (indices, offsets) = (None::<&Tensor>, None::<&Tensor>);
            let (axis, is_unchecked) = (0, false);
            Tensor::f_segment_reduce(
                rows,
                reduction,
                Some(&lengths),
                indices,
                offsets,
                axis,
                is_unchecked,
                of_none,
            )
        };
        let positions = || {
            ranges.iter().zip(skipped).map(|(range, skipped)| {
                (skipped + 1..skipped + 1 + range.len()).map(|position| position as f32)
            })
        };
        let divided = |sums: Tensor, divisors: Vec<f32>| -> Result<Tensor> {
            Ok(sums.f_div(&column(divisors)?.f_clamp_min(1e-9)?)?)
        };
        let counts = || ranges.iter().map(|range| range.len() as f32);
        Ok(match self {
            // One row of each sequence, or none.
            Self::Cls | Self::LastToken => reduce(&rows, "sum", 0.)?,
            Self::Max => reduce(&rows, "max", f64::NEG_INFINITY)?,
            Self::Mean => divided(reduce(&rows, "sum", 0.)?, collect(counts())?)?,
            Self::MeanSqrtLenTokens => {
                divided(reduce(&rows, "sum", 0.)?, collect(counts().map(f32::sqrt))?)?
            }
            Self::WeightedMean => {
                let weights = column(collect(positions().flatten())?)?;
                let sums = reduce(&rows.f_mul(&weights)?, "sum", 0.)?;
                divided(sums, collect(positions().map(Iterator::sum))?)?
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedding::{pool_rows, pooled_tokens};
    use bertscript_kernels::Matrix;

    const WIDTH: usize = 24;

    #[test]
    #[cfg_attr(miri, ignore = "calls libtorch")]
    fn rows_on_a_device_are_pooled_as_rows_in_memory() {
        let lengths = [1, 2, 3, 100, 512, 7];
        let total: usize = lengths.iter().sum();
        // Far from zero, as some dimensions of BERT are.
        let on_cpu = (Kind::Float, tch::Device::Cpu);
        let hidden = Tensor::randn([total as i64, WIDTH as i64], on_cpu) * 3. - 5.;
        let mut rows = Matrix::new(WIDTH);
        rows.set_rows(total).unwrap();
        for row in 0..total {
            let values = Vec::<f32>::try_from(&hidden.get(row as i64)).unwrap();
            rows.row_mut(row).copy_from_slice(&values);
        }
        let sequences = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end - length..*end)
        });
        let sequences: Vec<_> = sequences.collect();
        // At last more than some sequences have.
        for skipped in [0, 1, 5] {
            let skipped = vec![skipped; lengths.len()];
            for modes in [&PoolingMode::ALL[..], &PoolingMode::ALL[2..3]] {
                let ranges = sequences.iter().cloned();
                let tokens = pooled_tokens(ranges, modes, &skipped).unwrap();
                let found = pool_rows(&rows, &tokens, modes, &skipped).unwrap();
                let expected = pool_tensor(&hidden, &tokens, modes, &skipped).unwrap();
                let expected = Vec::<Vec<f32>>::try_from(&expected).unwrap();
                for (sequence, expected) in expected.iter().enumerate() {
                    for (value, expected) in found.row(sequence).iter().zip(expected) {
                        // On a device, sums of up to 512 values are in float32.
                        let bound = 2e-6 * expected.abs().max(1.);
                        let near = value == expected || (value - expected).abs() <= bound;
                        assert!(near, "{modes:?} of {sequence}: {value} {expected}");
                    }
                }
            }
        }
    }
}
