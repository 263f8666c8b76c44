//! The tokenizer: what those of transformers do, on the `tokenizers` crate.

use super::encoding::{EncodeOptions, Encoding, PadToken, Padding, Text, Truncation};
use super::ids::Ids;
use super::limits::{MAX_PADDED_LENGTH, check_padded, max_length};
use super::settings::Settings;
use super::tokenizer_json::failed;
use super::vocab::build;
use crate::assets::Assets;
use crate::checkpoint::tokenizer_assets;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{try_collect, with_capacity};
use crate::parallel;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;
use tokenizers::{
    Decoder as _, ModelWrapper, PostProcessor, PostProcessorWrapper, TruncationDirection,
    TruncationParams,
};

/// A tokenizer. It may be shared by threads.
///
/// What `tokenizer.json` says of truncation and padding does not count: both
/// belong to a call, and the limit is the model's.
#[derive(Debug)]
pub struct Tokenizer {
    /// Without truncation, padding and post-processor, which each call brings
    pub(super) inner: tokenizers::Tokenizer,
    /// The same, reading special tokens as plain text
    literal: OnceLock<tokenizers::Tokenizer>,
    /// How ids alone are encoded
    pub(super) ids: OnceLock<Ids>,
    pub(super) processor: Option<PostProcessorWrapper>,
    class: &'static str,
    pub(super) max_length: usize,
    split_special_tokens: bool,
    pub(super) has_token_types: bool,
    pad: Option<PadToken>,
    pub(super) truncation_side: TruncationDirection,
    cls: Option<i64>,
    sep: Option<i64>,
    mask: Option<(i64, String)>,
    unk: Option<i64>,
}

impl Tokenizer {
    /// Reads the tokenizer of a checkpoint directory, or a `tokenizer.json` or
    /// `vocab.txt` alone.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::Unsupported`] for a SentencePiece model alone, which names
    /// no class; and those of [`Self::from_assets`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_assets(&tokenizer_assets(path)?).map_err(|error| error.at_path(path))
    }

    /// Builds the tokenizer of a checkpoint or an archive as transformers builds its class:
    /// from `tokenizer.json`, or else from the vocabulary files of the class.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if none is there, and for a class that is not read;
    /// [`ErrorKind::Config`] for a malformed file.
    pub fn from_assets(assets: &Assets) -> Result<Self> {
        let settings = Settings::read(assets)?;
        let mut inner = contained(|| build(assets, &settings))?;
        let (padding, truncation) = (inner.get_padding().cloned(), inner.get_truncation().cloned());
        inner.with_padding(None);
        inner.with_truncation(None).map_err(failed)?;
        let processor = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let special = |role| -> Result<Option<(i64, String)>> {
            let token = settings.special_token(role)?;
            let id = |token: String| Some((i64::from(inner.token_to_id(&token)?), token));
            Ok(token.and_then(id))
        };
        let cuts_left = matches!(
            &truncation,
            Some(TruncationParams { direction: TruncationDirection::Left, .. })
        );
        Ok(Self {
            class: settings.kind().class(),
            max_length: max_length(assets)?,
            split_special_tokens: settings.flag("split_special_tokens")?.unwrap_or(false),
            has_token_types: settings.has_token_types(),
            pad: PadToken::of(&settings, &inner, padding.as_ref())?,
            truncation_side: match settings.is_left("truncation_side", cuts_left)? {
                true => TruncationDirection::Left,
                false => TruncationDirection::Right,
            },
            cls: special("cls_token")?.map(|(id, _)| id),
            sep: special("sep_token")?.map(|(id, _)| id),
            mask: special("mask_token")?,
            unk: special("unk_token")?.map(|(id, _)| id),
            inner,
            literal: OnceLock::new(),
            ids: OnceLock::new(),
            processor,
        })
    }

    /// The maximum length of a sequence, special tokens included: `max_seq_length`, or else
    /// `model_max_length`, but at most the longest sequence of the model.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The class that transformers builds it as, such as `RobertaTokenizer`; of those that are
    /// built alike, the first. `TokenizersBackend` is `tokenizer.json` as it is.
    pub fn class(&self) -> &'static str {
        self.class
    }

    /// The kind of its model, as `tokenizer.json` names it: `WordPiece`, `BPE`, `Unigram` ..
    pub fn model(&self) -> &'static str {
        match self.inner.get_model() {
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
            ModelWrapper::Unigram(_) => "Unigram",
        }
    }

    /// Whether special tokens in a text are read as plain text unless a call says
    /// otherwise: `split_special_tokens` of `tokenizer_config.json`.
    pub fn split_special_tokens(&self) -> bool {
        self.split_special_tokens
    }

    /// The id that fills up short sequences; 0 where none is defined.
    pub fn pad_token_id(&self) -> i64 {
        self.pad.as_ref().map_or(0, |pad| pad.id)
    }

    /// The id of `[CLS]`, whatever it is called here.
    pub fn cls_token_id(&self) -> Option<i64> {
        self.cls
    }

    /// The id of `[SEP]`, whatever it is called here.
    pub fn sep_token_id(&self) -> Option<i64> {
        self.sep
    }

    /// The id of `[UNK]`, whatever it is called here.
    pub fn unk_token_id(&self) -> Option<i64> {
        self.unk
    }

    /// The id of `[MASK]` and the text that stands for it.
    pub fn mask_token(&self) -> Option<(i64, &str)> {
        self.mask.as_ref().map(|(id, token)| (*id, token.as_str()))
    }

    /// Whether its tokens tell where a word is continued, as `##` does.
    pub(crate) fn marks_subwords(&self) -> bool {
        match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => !model.continuing_subword_prefix.is_empty(),
            ModelWrapper::BPE(model) => {
                model.continuing_subword_prefix.as_ref().is_some_and(|prefix| !prefix.is_empty())
            }
            _ => false,
        }
    }

    /// The id of a token of the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<i64> {
        self.inner.token_to_id(token).map(i64::from)
    }

    /// The token of an id.
    pub fn id_to_token(&self, id: i64) -> Option<String> {
        self.inner.id_to_token(u32::try_from(id).ok()?)
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Encodes texts, in parallel: one sequence for each, or as many as it has
    /// windows, in the order of the texts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for options that cannot be met, such as a
    /// `max_length` without room for the special tokens.
    pub fn encode_batch(
        &self,
        texts: &[Text<'_>],
        options: &EncodeOptions,
    ) -> Result<Vec<Encoding>> {
        let _entered = crate::process::enter()?;
        self.check(options)?;
        let is_literal = options.split_special_tokens.unwrap_or(self.split_special_tokens);
        let encode = |sample, text: &Text<'_>| {
            contained(|| self.encode_one(is_literal, sample, *text, options))
        };
        let windows = try_collect(parallel::map(texts, encode)?)?;
        let longest = match options.padding {
            Padding::DoNotPad => return flatten(windows),
            Padding::Longest => windows.iter().map(|windows| windows[0].len()).max().unwrap_or(0),
            Padding::MaxLength => options.max_length.unwrap_or(self.max_length),
        };
        let pad = self
            .pad
            .as_ref()
            .ok_or_else(|| invalid("padding", "the tokenizer has no pad token"))?;
        let length = match options.pad_to_multiple_of {
            Some(multiple) => longest.next_multiple_of(multiple),
            None => longest,
        };
        let mut encodings = flatten(windows)?;
        check_padded(encodings.len(), length)?;
        for encoding in &mut encodings {
            encoding.pad(length, pad, options.details)?;
        }
        Ok(encodings)
    }

    /// Encodes one text.
    pub fn encode<'a>(
        &self,
        text: impl Into<Text<'a>>,
        options: &EncodeOptions,
    ) -> Result<Vec<Encoding>> {
        self.encode_batch(&[text.into()], options)
    }

    /// The text of ids.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an id that is none.
    pub fn decode(&self, ids: &[i64], skip_special_tokens: bool) -> Result<String> {
        let negative = |_| invalid("ids", "found a negative number");
        let ids = try_collect(ids.iter().map(|id| u32::try_from(*id).map_err(negative)))?;
        contained(|| self.inner.decode(&ids, skip_special_tokens).map_err(failed))
    }

    /// The text of tokens, continuations joined to what they continue.
    pub(crate) fn join(&self, tokens: Vec<String>) -> Result<String> {
        match self.inner.get_decoder() {
            Some(decoder) => contained(|| decoder.decode(tokens).map_err(failed)),
            None => Ok(tokens.join(" ")),
        }
    }

    /// The tokenizer of the crate; `is_literal`: one that reads special tokens as plain text.
    pub(super) fn inner(&self, is_literal: bool) -> &tokenizers::Tokenizer {
        if !is_literal {
            return &self.inner;
        }
        self.literal.get_or_init(|| {
            let mut literal = self.inner.clone();
            literal.set_encode_special_tokens(true);
            literal
        })
    }

    /// Refuses options that could not be met by every text, as transformers does.
    fn check(&self, options: &EncodeOptions) -> Result<()> {
        let most = options.max_length.unwrap_or(self.max_length);
        let truncates = options.truncation != Truncation::DoNotTruncate;
        let added = self.processor.as_ref().map_or(0, |processor| processor.added_tokens(false));
        if truncates && most >= added && options.stride > most - added {
            let message = format!("found {}, expected at most {}", options.stride, most - added);
            return Err(invalid("stride", message));
        }
        if options.padding == Padding::MaxLength && most > MAX_PADDED_LENGTH {
            let message =
                format!("found {most}, expected at most {MAX_PADDED_LENGTH} to fill up to");
            return Err(invalid("max_length", message));
        }
        match options.pad_to_multiple_of {
            Some(multiple) if multiple > MAX_PADDED_LENGTH => {
                let message = format!("found {multiple}, expected at most {MAX_PADDED_LENGTH}");
                Err(invalid("pad_to_multiple_of", message))
            }
            Some(0) => Err(invalid("pad_to_multiple_of", "found 0, expected at least 1")),
            Some(multiple)
                if truncates
                    && options.padding != Padding::DoNotPad
                    && !most.is_multiple_of(multiple) =>
            {
                let message = format!(
                    "{most} is not a multiple of {multiple}: texts cut to it could not be padded"
                );
                Err(invalid("pad_to_multiple_of", message))
            }
            _ => Ok(()),
        }
    }
}

fn flatten(windows: Vec<Vec<Encoding>>) -> Result<Vec<Encoding>> {
    let mut encodings = with_capacity(windows.iter().map(Vec::len).sum())?;
    encodings.extend(windows.into_iter().flatten());
    Ok(encodings)
}

/// The `tokenizers` crate panics on some files that make no sense, while it reads
/// them or only when they are used.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        let message = format!("the tokenizer is malformed: {text}");
        Err(Error::new(ErrorKind::Config, message))
    })
}

pub(super) fn invalid(argument: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message).at(argument)
}
