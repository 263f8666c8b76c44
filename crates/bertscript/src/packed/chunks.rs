//! Many texts, cut into pieces that threads work on alone.

use super::{Libtorch, PackedOutput};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, filled, reserve, try_collect};
use bertscript_kernels::{Matrix, Solo, Team};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tokens of a chunk, about: enough that reading the weights costs little, few
/// enough that what layers hand on stays in the cache.
const CHUNK: usize = 512;

/// Fewer tokens than this are not worth a chunk: reading the weights would cost
/// more than the products.
const MIN_CHUNK_TOKENS: usize = 192;

/// Ranges of texts, of at most `budget` tokens where they are several; one, if all
/// threads had better work on all texts together.
pub(super) fn cut(lengths: &[usize], budget: usize, threads: usize) -> Result<Vec<Range<usize>>> {
    let tokens: usize = lengths.iter().sum();
    let chunks = by_tokens(lengths, |left| match threads {
        1 => CHUNK.min(budget),
        // Less and less, so that the threads end together.
        _ => (left / (2 * threads)).clamp(MIN_CHUNK_TOKENS, CHUNK).min(budget),
    })?;
    if threads < 2 {
        return Ok(chunks);
    }
    // As the threads would take them, one after another.
    let mut loads = filled(threads, 0)?;
    for chunk in &chunks {
        if let Some(load) = loads.iter_mut().min() {
            *load += lengths[chunk.clone()].iter().sum::<usize>();
        }
    }
    let longest = loads.into_iter().max().unwrap_or(0);
    // Together, threads wait for one another; alone, for the last one.
    if !lengths.is_empty() && tokens <= budget && longest * threads * 4 > tokens * 5 {
        let everything = 0..lengths.len();
        return Ok(vec![everything]);
    }
    Ok(chunks)
}

/// Ranges of texts of about as many tokens as are wanted when so many are left.
fn by_tokens(lengths: &[usize], wanted: impl Fn(usize) -> usize) -> Result<Vec<Range<usize>>> {
    let (mut chunks, mut start, mut tokens) = (Vec::new(), 0, 0);
    let mut left: usize = lengths.iter().sum();
    for (number, length) in lengths.iter().enumerate() {
        if tokens > 0 && tokens + length > wanted(left) {
            reserve(&mut chunks, 1)?;
            chunks.push(start..number);
            left -= tokens;
            (start, tokens) = (number, 0);
        }
        tokens += length;
    }
    if start < lengths.len() {
        reserve(&mut chunks, 1)?;
        chunks.push(start..lengths.len());
    }
    Ok(chunks)
}

/// What `each` makes of every chunk, in their order. One chunk alone is worked on
/// by all threads together; of several, each thread takes one after another.
pub(super) fn run<R: Send>(
    chunks: &[Range<usize>],
    threads: usize,
    each: impl Fn(Range<usize>, &dyn Team) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let team = Libtorch::new(threads);
    if let [chunk] = chunks {
        return Ok(vec![each(chunk.clone(), &team)?]);
    }
    let results = collect(chunks.iter().map(|_| Mutex::new(None)))?;
    let next = AtomicUsize::new(0);
    team.run(&|| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(number) else { break };
            let result = each(chunk.clone(), &Solo);
            if result.is_err() {
                // The others need not begin.
                next.store(chunks.len(), Ordering::Relaxed);
            }
            if let Ok(mut place) = results[number].lock() {
                *place = Some(result);
            }
        }
    });
    let mut missing = false;
    let results = results.into_iter().filter_map(|result| {
        let result = result.into_inner().ok().flatten();
        missing |= result.is_none();
        result
    });
    let values = try_collect(results)?;
    match missing {
        false => Ok(values),
        true => Err(Error::new(ErrorKind::Torch, "a thread ended early")),
    }
}

impl PackedOutput {
    pub(crate) fn matrix(&self) -> &Matrix<f32> {
        match self {
            Self::Tokens(matrix) | Self::Texts(matrix) => matrix,
        }
    }

    pub(super) fn append(&mut self, more: &Self) -> Result<()> {
        let (Self::Tokens(matrix) | Self::Texts(matrix)) = self;
        let before = matrix.len();
        matrix.set_rows(before + more.matrix().len())?;
        for row in 0..more.matrix().len() {
            matrix.row_mut(before + row).copy_from_slice(more.matrix().row(row));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_every_text_once() {
        for lengths in [vec![], vec![1], vec![512; 5], vec![7; 1000], (1..200).collect()] {
            for threads in 1..5 {
                for budget in [1, 16, 4096] {
                    let chunks = cut(&lengths, budget, threads).unwrap();
                    let mut next = 0;
                    for chunk in &chunks {
                        assert_eq!(chunk.start, next);
                        next = chunk.end;
                    }
                    assert_eq!(next, lengths.len());
                    let fits = |chunk: &Range<usize>| {
                        chunk.len() == 1 || lengths[chunk.clone()].iter().sum::<usize>() <= budget
                    };
                    assert!(chunks.iter().all(fits));
                }
            }
        }
    }

    #[test]
    fn few_texts_are_worked_on_together() {
        assert_eq!(cut(&[512], 4096, 2).unwrap().len(), 1);
        assert_eq!(cut(&[512, 512, 512], 4096, 2).unwrap().len(), 1);
        assert_eq!(cut(&[16, 16], 4096, 2).unwrap().len(), 1);
        assert!(cut(&[200; 50], 4096, 2).unwrap().len() > 2);
    }
}
