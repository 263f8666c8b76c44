//! What a faster computation costs: how far embeddings are from those they stand for.

use super::Similarity;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::collect;
use crate::tensor::Tensor;
use serde::Serialize;

/// Texts next to a text that a search would return.
const TOP: usize = 10;

/// How near embeddings are to a reference's of the same texts, such as those of the same model
/// in float32. Texts are compared with one another by cosine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EmbeddingQuality {
    /// The least cosine of a text's two embeddings
    pub min_cosine: f64,
    /// The median of them
    pub median_cosine: f64,
    /// Spearman's rank correlation of the similarities of all pairs of texts; NaN where those
    /// of one side are all equal, as of fewer than three texts
    pub spearman: f64,
    /// The share of texts whose nearest other text is the same
    pub nearest_kept: f64,
    /// The share of the nearest 10 other texts that are among those of the reference; of 11
    /// texts or fewer always 1
    pub top10_kept: f64,
}

impl EmbeddingQuality {
    /// Compares embeddings `[N,D]` with those of a reference `[N,D]`. All pairs of texts are
    /// held in memory.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the shapes differ, or there is no embedding.
    pub fn new(found: impl AsRef<Tensor>, reference: impl AsRef<Tensor>) -> Result<Self> {
        let (found, reference) = (found.as_ref(), reference.as_ref());
        let is_whole = matches!(reference.shape(), [texts, _] if *texts > 0);
        if found.shape() != reference.shape() || !is_whole {
            let (found, expected) = (found.shape(), reference.shape());
            let message = format!(
                "found shape {found:?}, expected that of the reference, {expected:?}, [N, D]"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message).at("embeddings"));
        }
        let similarities = |a: &Tensor, b: &Tensor| -> Result<Vec<f32>> {
            Ok(collect(Similarity::Cosine.of(a, b)?.as_slice::<f32>()?.iter().copied())?)
        };
        let texts = found.shape()[0];
        let across = similarities(found, reference)?;
        let mut cosines = collect((0..texts).map(|text| across[text * (texts + 1)]))?;
        cosines.sort_unstable_by(f32::total_cmp);
        let (found, reference) = (similarities(found, found)?, similarities(reference, reference)?);
        let (mut nearest, mut kept, mut wanted) = (0, 0, 0);
        for text in 0..texts {
            let (expected, found) =
                (neighbours(&reference, texts, text)?, neighbours(&found, texts, text)?);
            nearest += usize::from(expected.first() == found.first());
            kept += expected.iter().filter(|text| found.contains(text)).count();
            wanted += expected.len();
        }
        let share = |part: usize, whole: usize| match whole {
            0 => 1.,
            whole => part as f64 / whole as f64,
        };
        Ok(Self {
            // NaN is below and above everything.
            min_cosine: f64::from(cosines.iter().copied().fold(f32::INFINITY, lesser)),
            median_cosine: f64::midpoint(
                cosines[(texts - 1) / 2].into(),
                cosines[texts / 2].into(),
            ),
            spearman: spearman(&pairs(&found, texts)?, &pairs(&reference, texts)?)?,
            nearest_kept: share(nearest, texts),
            top10_kept: share(kept, wanted),
        })
    }
}

/// The lesser of two numbers; NaN if one is.
fn lesser(a: f32, b: f32) -> f32 {
    if a.is_nan() || a < b { a } else { b }
}

/// The nearest other texts, the nearest first; of equally near ones, the first.
fn neighbours(similarities: &[f32], texts: usize, text: usize) -> Result<Vec<usize>> {
    let row = &similarities[text * texts..][..texts];
    let mut others = collect((0..texts).filter(|other| *other != text))?;
    let nearer = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
    if others.len() > TOP {
        others.select_nth_unstable_by(TOP, nearer);
        others.truncate(TOP);
    }
    others.sort_unstable_by(nearer);
    Ok(others)
}

/// Each pair of texts once.
fn pairs(similarities: &[f32], texts: usize) -> Result<Vec<f32>> {
    let rows = similarities.chunks_exact(texts).enumerate();
    Ok(collect(rows.flat_map(|(text, row)| row[text + 1..].iter().copied()))?)
}

/// The correlation of the ranks of values.
fn spearman(a: &[f32], b: &[f32]) -> Result<f64> {
    let (a, b) = (ranks(a)?, ranks(b)?);
    let middle = (a.len() as f64 - 1.) / 2.;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    let variance = (product(&a, &a) * product(&b, &b)).sqrt();
    Ok(product(&a, &b) / variance)
}

/// The place of each value among all in order; equal values share the middle of theirs.
fn ranks(values: &[f32]) -> Result<Vec<f64>> {
    let mut order = collect(0..values.len())?;
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = collect(values.iter().map(|_| 0.))?;
    let mut start = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = start as f64 + (equal.len() as f64 - 1.) / 2.;
        equal.iter().for_each(|place| ranks[*place] = rank);
        start += equal.len();
    }
    Ok(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embeddings(rows: &[[f32; 2]]) -> Tensor {
        Tensor::new(rows.concat(), [rows.len(), 2]).unwrap()
    }

    #[test]
    fn equal_embeddings_lose_nothing() {
        let rows: Vec<_> = (0..30).map(|i| [(i as f32 * 0.2).cos(), (i as f32).sin()]).collect();
        let found = EmbeddingQuality::new(embeddings(&rows), embeddings(&rows)).unwrap();
        assert!((found.min_cosine - 1.).abs() < 1e-6, "{found:?}");
        let of_order = [found.spearman, found.nearest_kept, found.top10_kept];
        assert!(of_order.iter().all(|share| (share - 1.).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn each_measure_is_what_it_says() {
        // By their angles in degrees: the nearest of the first two, and of the third, change.
        let at = |degrees: &[f32]| {
            let rows: Vec<_> = degrees.iter().map(|d| d.to_radians().sin_cos().into()).collect();
            embeddings(&rows)
        };
        let found = EmbeddingQuality::new(at(&[0., 40., 60., 170.]), at(&[0., 10., 60., 170.]));
        let found = found.unwrap();
        assert!((found.min_cosine - 30_f64.to_radians().cos()).abs() < 1e-6, "{found:?}");
        assert!((found.median_cosine - 1.).abs() < 1e-6, "{found:?}");
        assert_eq!((found.nearest_kept, found.top10_kept), (0.75, 1.));
        // Angles 40 60 170 20 130 110 against 10 60 170 50 160 110: ranks differ by 1, 1, 2
        // in pairs of their own.
        let squares = [(2, 1), (3, 3), (6, 6), (1, 2), (5, 5), (4, 4)]
            .map(|(a, b): (i32, i32)| f64::from((a - b).pow(2)));
        let expected = 1. - 6. * squares.iter().sum::<f64>() / (6. * 35.);
        assert!((found.spearman - expected).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn neighbours_that_are_lost_are_counted() {
        // Fifteen texts on a quarter of a circle; the first moves to the other end.
        let at = |degrees: &[f32]| {
            let rows: Vec<_> = degrees.iter().map(|d| d.to_radians().sin_cos().into()).collect();
            embeddings(&rows)
        };
        let reference: Vec<_> = (0..15).map(|i| i as f32 * 5. + (i * i) as f32 / 9.).collect();
        let mut moved = reference.clone();
        moved[0] = 170.;
        let found = EmbeddingQuality::new(at(&moved), at(&reference)).unwrap();
        // Ten of 1 to 14 had it among their ten, and the farthest four of it are others now.
        assert!(found.top10_kept < 0.95 && found.top10_kept > 0.8, "{found:?}");
        assert!(found.nearest_kept < 1., "{found:?}");
    }

    #[test]
    fn nan_is_seen() {
        let nan = embeddings(&[[1., 0.], [f32::NAN, 1.], [1., 1.]]);
        let found = EmbeddingQuality::new(&nan, embeddings(&[[1., 0.], [0., 1.], [1., 1.]]));
        assert!(found.unwrap().min_cosine.is_nan());
    }

    #[test]
    fn ties_share_a_rank() {
        assert_eq!(ranks(&[3., 1., 3., 2.]).unwrap(), [2.5, 0., 2.5, 1.]);
    }

    #[test]
    fn few_texts_are_compared_too() {
        let one = embeddings(&[[1., 2.]]);
        let found = EmbeddingQuality::new(&one, &one).unwrap();
        assert!(found.spearman.is_nan());
        assert_eq!((found.nearest_kept, found.top10_kept), (1., 1.));
        let scalar = Tensor::new([1_f32], []).unwrap();
        assert!(EmbeddingQuality::new(&scalar, &scalar).is_err());
        assert!(EmbeddingQuality::new(embeddings(&[]), embeddings(&[])).is_err());
        assert!(EmbeddingQuality::new(&one, embeddings(&[[1., 2.], [2., 1.]])).is_err());
    }
}
