//! WordPiece ids of BERT's texts, without tokens and offsets.
//!
//! One pass over the bytes: runs of ASCII letters by tables, other characters by blocks of tables,
//! and the longest token that a word begins with by a double array (the `tokenizers` crate hashes
//! every beginning of every word, and keeps an offset for every byte).

use super::bert_chars::BertChars;
use super::bert_words::Word;
use crate::error::Result;
use crate::memory::{HEADROOM, check, reserve};
use daachorse::{DoubleArrayAhoCorasick, DoubleArrayAhoCorasickBuilder, MatchKind};
use std::ops::ControlFlow;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{AddedVocabulary, Model as _, ModelWrapper, PreTokenizerWrapper, Tokenizer};

type Automaton = DoubleArrayAhoCorasick<u32>;

/// Characters of a word for which a call keeps memory; models say 100.
const KEPT_WORD_CHARS: usize = 1 << 12;
/// What the automata need for each byte of a vocabulary while they are built, about.
const NEEDED_PER_BYTE: usize = 160;
/// Bytes of the tokens of a vocabulary that automata are made of: ten times those of the greatest
/// ones in use.
const TABLED_BYTES: usize = 16 << 20;

/// How far a text was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// To its end
    Whole,
    /// To a limit
    Cut,
    /// Not at all: a character depends on those around it
    Contextual,
}

/// Ids of the pipeline of `BertTokenizer`: its normalizer and pre-tokenizer, and WordPiece.
pub(super) struct WordPieceIds {
    chars: BertChars,
    added: Option<AddedTokens>,
    /// Tokens that begin a word
    first: Automaton,
    /// Tokens that continue one, without their prefix
    further: Option<Automaton>,
    unk: i64,
    max_chars: usize,
}

impl WordPieceIds {
    /// None if the tokenizer is another, or there is not enough memory.
    pub(super) fn new(tokenizer: &Tokenizer) -> Option<Self> {
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else { return None };
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = tokenizer.get_pre_tokenizer() else {
            return None;
        };
        let chars = tokenizer.get_normalizer().and_then(BertChars::new)?;
        let unk = i64::from(model.token_to_id(&model.unk_token)?);
        let max_chars =
            Some(model.max_input_chars_per_word).filter(|max| *max <= KEPT_WORD_CHARS)?;
        let (first, further) = automata(model)?;
        let added = AddedTokens::new(tokenizer.get_added_vocabulary())?;
        Some(Self { chars, added, first, further, unk, max_chars })
    }

    /// Appends the ids of a text, at least `limit` of them if it has so many.
    ///
    /// `is_literal`: special tokens are plain text.
    pub(super) fn append(
        &self,
        text: &str,
        is_literal: bool,
        limit: usize,
        ids: &mut Vec<i64>,
    ) -> Result<Progress> {
        let mut word = Word::new(self.max_chars)?;
        let mut start = 0;
        let added = self.added.as_ref().filter(|added| added.may_match(text, is_literal));
        for (from, to, id) in added.into_iter().flat_map(|added| added.find(text, is_literal)) {
            if let Some(progress) = self.append_plain(&text[start..from], limit, &mut word, ids)? {
                return Ok(progress);
            }
            reserve(ids, 1)?;
            ids.push(id);
            start = to;
        }
        let progress = self.append_plain(&text[start..], limit, &mut word, ids)?;
        Ok(progress.unwrap_or(Progress::Whole))
    }

    /// The same of a text without added tokens; none if it was encoded to its end.
    fn append_plain(
        &self,
        text: &str,
        limit: usize,
        word: &mut Word,
        ids: &mut Vec<i64>,
    ) -> Result<Option<Progress>> {
        let mut each = |bytes: &[u8], is_cut: bool| match self.append_word(bytes, is_cut, ids) {
            Err(error) => ControlFlow::Break(Err(error)),
            Ok(()) if ids.len() >= limit => ControlFlow::Break(Ok(Progress::Cut)),
            Ok(()) => ControlFlow::Continue(()),
        };
        match self.chars.split(text, word, &mut each) {
            ControlFlow::Continue(true) => Ok(None),
            ControlFlow::Continue(false) => Ok(Some(Progress::Contextual)),
            ControlFlow::Break(progress) => progress.map(Some),
        }
    }

    /// The longest token that the word begins with, then the longest that continues it, and so on.
    fn append_word(&self, word: &[u8], is_cut: bool, ids: &mut Vec<i64>) -> Result<()> {
        let is_start = |byte: &&u8| **byte & 0xc0 != 0x80;
        let is_long = |word: &[u8]| {
            word.len() > self.max_chars && word.iter().filter(is_start).count() > self.max_chars
        };
        let before = ids.len();
        reserve(ids, word.len().min(4 * self.max_chars).max(1))?;
        if is_cut || is_long(word) {
            ids.push(self.unk);
            return Ok(());
        }
        let (mut automaton, mut rest) = (Some(&self.first), word);
        while !rest.is_empty() {
            let token = automaton.and_then(|automaton| automaton.leftmost_find_iter(rest).next());
            let Some(token) = token.filter(|token| token.start() == 0) else {
                ids.truncate(before);
                ids.push(self.unk);
                return Ok(());
            };
            ids.push(i64::from(token.value()));
            rest = &rest[token.end()..];
            automaton = self.further.as_ref();
        }
        Ok(())
    }
}

/// Automata of the tokens that begin a word and of those that continue one. None if no token begins
/// a word, or there is not enough memory for them.
fn automata(model: &WordPiece) -> Option<(Automaton, Option<Automaton>)> {
    if model.get_vocab_size() > TABLED_BYTES / 4 {
        return None;
    }
    let vocab = model.get_vocab();
    let bytes: usize = vocab.keys().map(String::len).sum();
    if bytes > TABLED_BYTES {
        return None;
    }
    check(HEADROOM + bytes * NEEDED_PER_BYTE).ok()?;
    let prefix = model.continuing_subword_prefix.as_str();
    let tokens = vocab.iter().map(|(token, id)| (token.as_str(), *id));
    let further = tokens.clone().filter_map(|(token, id)| Some((token.strip_prefix(prefix)?, id)));
    let first = tokens.filter(|(token, _)| {
        // Punctuation is a word by itself: "##a" never begins one.
        token.len() == 1 || !token.starts_with(|first: char| first.is_ascii_punctuation())
    });
    Some((automaton(first)?, automaton(further)))
}

fn automaton<'a>(tokens: impl Iterator<Item = (&'a str, u32)>) -> Option<Automaton> {
    let mut tokens: Vec<_> = tokens.filter(|(token, _)| !token.is_empty()).collect();
    // A double array is the same, and dense, for tokens in order.
    tokens.sort_unstable();
    let builder = DoubleArrayAhoCorasickBuilder::new().match_kind(MatchKind::LeftmostLongest);
    builder.build_with_values(tokens).ok()
}

/// The added tokens, which are found in a text before it is normalized.
struct AddedTokens {
    automaton: Automaton,
    /// Bytes that one of them begins with
    starts: [bool; 256],
    /// Ids of those that may be read as plain text, sorted
    special: Vec<u32>,
    are_all_special: bool,
}

impl AddedTokens {
    /// Some(None) if there are none; none if how they are found depends on more than their text.
    ///
    /// The white space that `lstrip` and `rstrip` give to a token has no ids anyway.
    fn new(vocabulary: &AddedVocabulary) -> Option<Option<Self>> {
        let tokens = vocabulary.get_added_tokens_decoder();
        if tokens.values().any(|token| token.normalized || token.single_word) {
            return None;
        }
        if tokens.is_empty() {
            return Some(None);
        }
        let mut starts = [false; 256];
        let first_bytes = tokens.values().filter_map(|token| token.content.bytes().next());
        first_bytes.for_each(|byte| starts[usize::from(byte)] = true);
        let special =
            tokens.iter().filter(|(_, token)| vocabulary.is_special_token(&token.content));
        let mut special: Vec<_> = special.map(|(id, _)| *id).collect();
        special.sort_unstable();
        let texts = tokens.iter().map(|(id, token)| (token.content.as_str(), *id));
        Some(Some(Self {
            automaton: automaton(texts)?,
            starts,
            are_all_special: special.len() == tokens.len(),
            special,
        }))
    }

    /// Whether one could be in the text, which in most there is not.
    fn may_match(&self, text: &str, is_literal: bool) -> bool {
        let is_ignored = is_literal && self.are_all_special;
        !is_ignored && text.bytes().any(|byte| self.starts[usize::from(byte)])
    }

    /// Start, end and id of each. What is read as plain text hides others that it overlaps.
    fn find<'a>(
        &'a self,
        text: &'a str,
        is_literal: bool,
    ) -> impl Iterator<Item = (usize, usize, i64)> + 'a {
        let is_found = move |id: &u32| !is_literal || self.special.binary_search(id).is_err();
        self.automaton
            .leftmost_find_iter(text)
            .filter(move |found| is_found(&found.value()))
            .map(|found| (found.start(), found.end(), i64::from(found.value())))
    }
}
