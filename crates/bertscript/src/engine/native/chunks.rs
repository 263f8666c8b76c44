//! Many texts, cut into pieces that threads work on alone.

use crate::engine::EachBatch;
use crate::engine::batches::by_tokens;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::filled;
use bertscript_kernels::{Solo, Team};
use std::ops::Range;
use std::sync::OnceLock;
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

/// Calls `each` for every chunk. One chunk alone is worked on by all threads together; of
/// several, each thread takes one after another.
pub(super) fn run(chunks: &[Range<usize>], team: &dyn Team, each: &EachBatch<'_>) -> Result<()> {
    if let [chunk] = chunks {
        return each(chunk.clone(), team);
    }
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = OnceLock::new();
    team.run(&|| {
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            match each(chunk.clone(), &Solo) {
                Ok(()) => _ = finished.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    // The others need not begin.
                    next.store(chunks.len(), Ordering::Relaxed);
                    let _ = failed.set(error);
                }
            }
        }
    });
    match failed.into_inner() {
        Some(error) => Err(error),
        None if finished.into_inner() < chunks.len() => {
            Err(Error::new(ErrorKind::Panic, "a thread ended early"))
        }
        None => Ok(()),
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
