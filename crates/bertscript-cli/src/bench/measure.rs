//! Measuring: in turns, against a reference, and beside a ceiling.

use super::report::{Ceiling, Row};
use super::variants::{Batch, Runner, Variant};
use anyhow::bail;
use bertscript::{Cancel, Dtype, ModelSpec, PreTrained};
use std::hint::black_box;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// However slow a shape is, it is measured so many times.
const MIN_ROUNDS: usize = 3;
/// Longer than this nobody waits to learn what padding costs, in seconds.
const MAX_PADDED_SECONDS: f64 = 20.;
/// Of a batch, so many texts are held against the reference: it computes them
/// one by one, and outputs over a whole vocabulary are large.
const COMPARED: usize = 4;
/// How long each product of the ceiling is repeated, in seconds.
const CEILING_SECONDS: f64 = 0.1;
/// The widths of the matrices that reach it.
pub(super) const CEILING_SIZES: [i64; 4] = [512, 1024, 1536, 2048];

/// How often things are measured.
pub(super) struct Pace {
    pub(super) warm_up: usize,
    pub(super) rounds: usize,
    /// What one shape may take, all variants together.
    pub(super) seconds: f64,
    pub(super) cancel: Cancel,
}

impl Pace {
    /// Times `count` things in turns, round by round, so that a machine that
    /// grows slower does so for all of them. `each` measures one and returns its
    /// seconds; `say` hears of each round.
    pub(super) fn in_turns(
        &self,
        count: usize,
        mut each: impl FnMut(usize) -> anyhow::Result<f64>,
        say: impl Fn(String),
    ) -> anyhow::Result<Vec<Vec<f64>>> {
        let started = Instant::now();
        let used = || started.elapsed().as_secs_f64() / self.seconds;
        let mut times = vec![Vec::with_capacity(self.rounds); count];
        let mut round = |number: usize, mut keep: Option<&mut Vec<Vec<f64>>>| {
            for place in 0..count {
                if self.cancel.is_cancelled() {
                    bail!("interrupted");
                }
                // Nobody always follows the same one.
                let turn = (place + number) % count;
                let seconds = each(turn)?;
                if let Some(times) = &mut keep {
                    times[turn].push(seconds);
                }
            }
            Ok(())
        };
        for number in 0..self.warm_up {
            if number > 0 && used() > 0.25 {
                break;
            }
            say(format!("warm-up {} of {}", number + 1, self.warm_up));
            round(number, None)?;
        }
        for number in 0..self.rounds {
            if number >= MIN_ROUNDS && used() > 1. {
                break;
            }
            say(format!("round {} of {}", number + 1, self.rounds));
            round(number, Some(&mut times))?;
        }
        Ok(times)
    }
}

/// The `share`-th quantile of times, between two of them by a straight line.
pub(super) fn quantile(times: &[f64], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or(f64::NAN);
    at(place.floor()) + (at(place.ceil()) - at(place.floor())) * place.fract()
}

/// Floating-point operations of products for the sequences of a batch.
fn operations(model: &ModelSpec, batch: &Batch) -> f64 {
    batch.all_lengths().map(|length| model.operations(length)).sum()
}

/// Everything that shapes are measured with.
pub(super) struct Bench<'a> {
    pub(super) runners: Vec<(Variant, Runner)>,
    pub(super) reference: PreTrained,
    pub(super) model: ModelSpec,
    pub(super) max_length: i64,
    pub(super) pace: &'a Pace,
    /// What a sequence takes that is padded to the maximum, in seconds, once one
    /// was measured.
    pub(super) padded_sequence: Option<f64>,
    /// Operations a second, until then.
    pub(super) ceiling: f64,
}

impl Bench<'_> {
    /// Measures every variant on a batch, and says which one was left out, and why.
    pub(super) fn measure(
        &mut self,
        batch: &Batch,
        say: impl Fn(String),
    ) -> anyhow::Result<(Vec<Row>, Option<String>)> {
        let expected = self.expected(batch)?;
        let guess = || self.model.operations(self.max_length) / self.ceiling;
        let wait = self.padded_sequence.unwrap_or_else(guess) * batch.sequences() as f64;
        let mut left_out = None;
        let chosen = self.runners.iter().filter(|(variant, _)| {
            let too_long = *variant == Variant::FixedPad && wait > MAX_PADDED_SECONDS;
            if too_long {
                let texts = batch.lengths.len();
                left_out = Some(format!("a batch of {texts}, {wait:.0} seconds a run"));
            }
            !too_long
        });
        let chosen: Vec<_> = chosen.collect();
        let is_padded = chosen.iter().any(|(variant, _)| *variant == Variant::FixedPad);
        let padded = is_padded.then(|| batch.padded(self.max_length)).transpose()?;
        let mut differences = vec![None; chosen.len()];
        let times = self.pace.in_turns(
            chosen.len(),
            |turn| {
                let (variant, runner) = &chosen[turn];
                let batch =
                    padded.as_ref().filter(|_| *variant == Variant::FixedPad).unwrap_or(batch);
                let started = Instant::now();
                let outputs = runner.run(batch)?;
                let seconds = started.elapsed().as_secs_f64();
                if differences[turn].is_none() {
                    differences[turn] = Some(self.difference(batch, &outputs, &expected)?);
                }
                Ok(seconds)
            },
            say,
        )?;
        let rows =
            chosen.iter().zip(times).zip(differences).map(|(((variant, _), times), difference)| {
                let seconds = quantile(&times, 0.5);
                Row {
                    variant: *variant,
                    length: batch.longest(),
                    batch: batch.lengths.len(),
                    runs: times.len(),
                    p50_ms: seconds * 1e3,
                    p90_ms: quantile(&times, 0.9) * 1e3,
                    p99_ms: quantile(&times, 0.99) * 1e3,
                    sequences_per_second: batch.sequences() as f64 / seconds,
                    tokens_per_second: batch.tokens() as f64 / seconds,
                    gflops: operations(&self.model, batch) / seconds / 1e9,
                    of_ceiling: None,
                    max_abs_difference: difference.unwrap_or(f64::NAN),
                    milliseconds: times.iter().map(|seconds| seconds * 1e3).collect(),
                }
            });
        let rows: Vec<_> = rows.collect();
        if let Some(row) = rows.iter().find(|row| row.variant == Variant::FixedPad) {
            // The best so far: what is small, or was disturbed, says too much.
            let fastest = quantile(&row.milliseconds, 0.) / 1e3 / batch.sequences() as f64;
            self.padded_sequence = Some(self.padded_sequence.map_or(fastest, |s| s.min(fastest)));
        }
        Ok((rows, left_out))
    }

    /// What the reference makes of some texts of a batch, by their number.
    fn expected(&self, batch: &Batch) -> anyhow::Result<Vec<(usize, Vec<Tensor>)>> {
        let (texts, mut numbers) = (batch.lengths.len(), Vec::new());
        for place in 0..COMPARED.min(texts) {
            numbers.push(place * (texts - 1) / (COMPARED.min(texts) - 1).max(1));
        }
        let run = |number: usize| {
            let text = batch.text(number)?;
            Ok((number, self.reference.run(&text.ids, None)?))
        };
        numbers.into_iter().map(run).collect()
    }

    /// The largest absolute difference, where there is no padding; NaN if there
    /// is one.
    fn difference(
        &self,
        batch: &Batch,
        found: &[Tensor],
        expected: &[(usize, Vec<Tensor>)],
    ) -> anyhow::Result<f64> {
        let (specs, texts) = (self.reference.outputs(), batch.lengths.len() as i64);
        if found.len() != specs.len() {
            bail!("expected {} outputs, found {}", specs.len(), found.len());
        }
        let mut largest = 0.;
        for (number, expected) in expected {
            for ((spec, found), expected) in specs.iter().zip(found).zip(expected) {
                let rows = found.size().first().copied().unwrap_or(0) / texts;
                let mut found = found.f_narrow(0, *number as i64 * rows, rows)?;
                for (dimension, size) in spec.shape.iter().enumerate() {
                    if *size == bertscript::Dim::Sequence {
                        found = found.f_narrow(dimension as i64, 0, batch.lengths[*number])?;
                    }
                }
                let found = found.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
                let difference = found.f_sub(expected)?.f_abs()?.f_max()?.f_double_value(&[])?;
                // `max` would lose a NaN.
                if difference > largest || difference.is_nan() {
                    largest = difference;
                }
                if largest.is_nan() {
                    return Ok(largest);
                }
            }
        }
        Ok(largest)
    }
}

/// The best product of two square matrices of some sizes that libtorch reaches.
pub(super) fn ceiling(
    dtype: Dtype,
    device: Device,
    sizes: &[i64],
    cancel: &Cancel,
) -> anyhow::Result<Ceiling> {
    let mut best = Ceiling { dtype: dtype.name(), size: 0, gflops: 0. };
    for &size in sizes {
        let matrix =
            || Tensor::f_rand([size, size], (Kind::Float, device))?.f_to_kind(dtype.kind());
        let (a, b) = (matrix()?, matrix()?);
        let _no_grad = tch::no_grad_guard();
        let multiply = || -> anyhow::Result<f64> {
            let started = Instant::now();
            let product = a.f_matmul(&b)?;
            let _ = black_box(product.f_narrow(0, 0, 1)?.f_to_device(Device::Cpu)?);
            Ok(started.elapsed().as_secs_f64())
        };
        let (started, mut fastest) = (Instant::now(), multiply()?);
        while started.elapsed().as_secs_f64() < CEILING_SECONDS {
            if cancel.is_cancelled() {
                bail!("interrupted");
            }
            fastest = fastest.min(multiply()?);
        }
        let gflops = 2. * (size as f64).powi(3) / fastest / 1e9;
        if gflops > best.gflops {
            best = Ceiling { size, gflops, ..best };
        }
        // A dtype without instructions of its own is slow at every size.
        if fastest > 1. {
            break;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_times() {
        assert_eq!(quantile(&[3., 1., 2.], 0.5), 2.);
        assert_eq!(quantile(&[1., 2.], 0.5), 1.5);
        assert_eq!(quantile(&[7.], 0.99), 7.);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn turns_are_taken_in_rounds() {
        let pace = Pace { warm_up: 1, rounds: 4, seconds: 1e9, cancel: Cancel::default() };
        let mut order = Vec::new();
        let each = |turn| {
            order.push(turn);
            Ok(turn as f64)
        };
        let times = pace.in_turns(2, each, drop).unwrap();
        assert_eq!(times, [vec![0.; 4], vec![1.; 4]]);
        assert_eq!(order, [0, 1, 0, 1, 1, 0, 0, 1, 1, 0]);

        let hurried = Pace { warm_up: 5, seconds: 0., ..pace };
        let mut calls = 0;
        let each = |_| {
            calls += 1;
            Ok(0.)
        };
        assert_eq!(hurried.in_turns(1, each, drop).unwrap()[0].len(), MIN_ROUNDS);
        assert_eq!(calls, 1 + MIN_ROUNDS);
        hurried.cancel.cancel();
        assert!(hurried.in_turns(1, |_| Ok(0.), drop).is_err());
    }
}
