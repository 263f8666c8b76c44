//! Measuring: in turns, against a reference, and beside a ceiling.

use super::report::{Ceiling, Row};
use super::variants::{Batch, Runner, Variant};
use anyhow::bail;
use bertscript::{Cancel, Device, Dim, Dtype, ModelSpec, Outputs, PreTrained, Tensor};
use std::time::Instant;

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
    fn expected(&self, batch: &Batch) -> anyhow::Result<Vec<(usize, Outputs)>> {
        let (texts, mut numbers) = (batch.lengths.len(), Vec::new());
        for place in 0..COMPARED.min(texts) {
            numbers.push(place * (texts - 1) / (COMPARED.min(texts) - 1).max(1));
        }
        let run = |number: usize| {
            let text = batch.text(number)?;
            Ok((number, self.reference.run(&text.inputs())?))
        };
        numbers.into_iter().map(run).collect()
    }

    /// The largest absolute difference, where there is no padding; NaN if there
    /// is one.
    fn difference(
        &self,
        batch: &Batch,
        found: &Outputs,
        expected: &[(usize, Outputs)],
    ) -> anyhow::Result<f64> {
        let (specs, texts) = (self.reference.outputs(), batch.lengths.len());
        let found = found.iter().map(|(_, tensor)| tensor.to_device(Device::Cpu)?.to_f32());
        let found = found.collect::<bertscript::Result<Vec<_>>>()?;
        if found.len() != specs.len() {
            bail!("expected {} outputs, found {}", specs.len(), found.len());
        }
        let mut largest = 0.;
        for (number, expected) in expected {
            let length = batch.lengths[*number] as usize;
            for ((spec, found), (_, expected)) in specs.iter().zip(&found).zip(expected.iter()) {
                let is_sequence =
                    |dimension: usize| spec.shape.get(dimension) == Some(&Dim::Sequence);
                let difference = of_text(found, expected, (*number, texts), |dimension, index| {
                    !is_sequence(dimension) || index < length
                })?;
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

/// The largest absolute difference of one text's part of an output, whose first dimension has
/// rows of all texts, to what is expected of the text alone; `takes_part` says of which indices
/// of the other dimensions.
fn of_text(
    found: &Tensor,
    expected: &Tensor,
    (number, texts): (usize, usize),
    takes_part: impl Fn(usize, usize) -> bool,
) -> anyhow::Result<f64> {
    let shape = found.shape();
    let rows = shape.first().copied().unwrap_or(0) / texts;
    let row: usize = shape.iter().skip(1).product();
    let values = &found.as_slice::<f32>()?[number * rows * row..][..rows * row];
    let inside = |mut place: usize| {
        shape.iter().enumerate().skip(1).rev().all(|(dimension, size)| {
            let index = place % size;
            place /= size;
            takes_part(dimension, index)
        })
    };
    let found = values.iter().enumerate().filter(|(place, _)| inside(*place));
    let found: Vec<_> = found.map(|(_, value)| f64::from(*value)).collect();
    let expected = expected.to_f32()?;
    let expected = expected.as_slice::<f32>()?;
    if found.len() != expected.len() {
        bail!("expected {} values of a text, found {}", expected.len(), found.len());
    }
    let differences =
        found.iter().zip(expected).map(|(found, expected)| (found - f64::from(*expected)).abs());
    Ok(differences.fold(0., |largest, difference| match difference > largest {
        true => difference,
        false if difference.is_nan() => difference,
        false => largest,
    }))
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
        if cancel.is_cancelled() {
            bail!("interrupted");
        }
        let fastest = bertscript::fastest_product(device, dtype, size, CEILING_SECONDS)?;
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
