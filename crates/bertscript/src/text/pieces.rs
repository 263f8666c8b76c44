//! The pieces of a Unigram vocabulary: their limit, and the memory that they need.

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check, collect};

/// The limit of a piece, in bytes: the tokenizers crate frees the trie of pieces by
/// recursion, a level for each byte, and looks up every beginning of a text's rest. Pieces that
/// SentencePiece makes have 64, unless it is told otherwise.
pub(super) const MAX_PIECE_BYTES: usize = 256;
/// What a piece takes beside the trie, in a vector, a map and a JSON document, about; and each of
/// its bytes.
const NEEDED_PER_PIECE: usize = 256;
const NEEDED_PER_BYTE: usize = 4;

/// Refuses pieces that are too long, or whose trie does not fit in memory: the tokenizers crate
/// cannot say that there is none.
pub(super) fn check_pieces<'a>(pieces: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut pieces: Vec<&[u8]> = collect(pieces.map(str::as_bytes))?;
    for (index, piece) in pieces.iter().enumerate() {
        let found = piece.len();
        if found > MAX_PIECE_BYTES {
            let message =
                format!("piece {index}: found {found} bytes, expected at most {MAX_PIECE_BYTES}");
            return Err(Error::new(ErrorKind::Config, message));
        }
    }
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    pieces.sort_unstable();
    let beside = pieces.len() * NEEDED_PER_PIECE + bytes * NEEDED_PER_BYTE;
    Ok(check(HEADROOM + beside + trie_bytes(&pieces))?)
}

/// The size of the trie of sorted pieces. Its nodes are the beginnings of pieces, which
/// vocabularies have in common: to count each byte would be four times as much.
fn trie_bytes(pieces: &[&[u8]]) -> usize {
    // The children of the nodes on the way to the last piece, by depth.
    let mut children = [0; MAX_PIECE_BYTES + 1];
    let mut last: &[u8] = &[];
    let mut bytes = 0;
    for piece in pieces {
        let shared = last.iter().zip(*piece).take_while(|(last, new)| last == new).count();
        // Nothing that follows begins so.
        for count in &mut children[shared + 1..=last.len().max(shared)] {
            bytes += map_bytes(std::mem::take(count));
        }
        children[shared..piece.len()].iter_mut().for_each(|count| *count += 1);
        last = piece;
    }
    bytes + children.into_iter().map(map_bytes).sum::<usize>()
}

/// The size of a hash map of a node's children: of hashbrown, which fills seven eighths of a
/// power of two of buckets, at least four.
fn map_bytes(children: usize) -> usize {
    /// A byte, a map and a flag, and the byte of the table.
    const BUCKET: usize = 81;
    /// The end of a table, and what an allocator adds.
    const TABLE: usize = 32;
    match children {
        0 => 0,
        1..=3 => TABLE + 4 * BUCKET,
        _ => TABLE + (children * 8).div_ceil(7).next_power_of_two() * BUCKET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::models::unigram::Unigram;

    #[test]
    fn the_longest_pieces_are_freed() {
        let longest = "a".repeat(MAX_PIECE_BYTES);
        check_pieces([longest.as_str()].into_iter()).unwrap();
        let error = check_pieces(["a", &format!("{longest}a")].into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "piece 1: found 257 bytes, expected at most 256");
        let small = std::thread::Builder::new().stack_size(512 << 10);
        let build = || Unigram::from(vec![(longest, 0.0)], Some(0), false).unwrap().clone();
        assert_eq!(small.spawn(|| build().min_score).unwrap().join().unwrap(), 0.0);
    }

    #[test]
    fn a_node_is_counted_once() {
        let of = |pieces: &[&str]| {
            let mut pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            pieces.sort_unstable();
            trie_bytes(&pieces)
        };
        let one = map_bytes(1);
        assert_eq!([of(&[]), of(&[""]), of(&["a"]), of(&["abc"])], [0, 0, one, 3 * one]);
        assert_eq!(of(&["abc", "ab", "a", "abc", ""]), 3 * one);
        assert_eq!(of(&["abc", "abd", "x", "abcd"]), 4 * one);
        assert_eq!(of(&["abc", "xbc"]), 5 * one);
        assert_eq!(of(&["aa", "ab", "ac", "ad"]), one + map_bytes(4));
        assert!(map_bytes(4) > one && map_bytes(8) > map_bytes(7));
        let longest = "a".repeat(MAX_PIECE_BYTES);
        assert_eq!(of(&[&longest, &longest[1..]]), MAX_PIECE_BYTES * one);
    }
}
