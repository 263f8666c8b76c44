//! `bertscript tokenize`

use crate::output;
use crate::stream::{Chunk, Chunks};
use bertscript::{
    Archive, Cancel, Checkpoint, EncodeOptions, Encoding, Padding, Tokenizer, Truncation,
};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show the tokens of texts.
///
/// Texts are read from standard input, one a line. The tokenizer is that of an
/// exported file, or of a checkpoint directory. Options have the names and the
/// defaults of transformers.
#[derive(Args)]
pub(crate) struct Tokenize {
    /// The exported file, or the checkpoint directory
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Print JSON lines with ids, masks, offsets and words
    #[arg(long)]
    json: bool,
    /// Each line of the input is JSON: a string, or an object with text and
    /// text_pair
    #[arg(long)]
    jsonl: bool,
    /// What is cut from long texts: do_not_truncate, longest_first, only_first
    /// or only_second
    #[arg(long, value_name = "STRATEGY", default_value = "do_not_truncate")]
    truncation: Truncation,
    /// The maximum length, special tokens included, of --truncation and of --padding
    /// max_length [default: the model's]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// How many tokens a window shares with the one before
    #[arg(long, value_name = "N", default_value_t = 0)]
    stride: usize,
    /// Print what was cut as further windows
    #[arg(long)]
    return_overflowing_tokens: bool,
    /// How short texts are padded: do_not_pad, longest (of the whole input)
    /// or max_length
    #[arg(long, value_name = "HOW", default_value = "do_not_pad")]
    padding: Padding,
    /// Fill up to a multiple of this
    #[arg(long, value_name = "N")]
    pad_to_multiple_of: Option<usize>,
    /// Leave out [CLS] and [SEP]
    #[arg(long)]
    no_special_tokens: bool,
    /// Read special tokens in the text as plain text, as untrusted text should be
    /// [default: as tokenizer_config.json says]
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    split_special_tokens: Option<bool>,
}

impl Tokenize {
    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let assets = if self.path.is_dir() {
            Checkpoint::open(&self.path)?.assets()?
        } else {
            let archive = Archive::open(&self.path)?;
            let Some(archive) = archive else {
                anyhow::bail!("{}: bertscript did not export it", self.path.display());
            };
            archive.assets().clone()
        };
        let tokenizer = Tokenizer::from_assets(&assets)?;
        let options = EncodeOptions {
            add_special_tokens: !self.no_special_tokens,
            split_special_tokens: self.split_special_tokens,
            truncation: self.truncation,
            max_length: self.max_length,
            stride: self.stride,
            return_overflowing_tokens: self.return_overflowing_tokens,
            padding: self.padding,
            pad_to_multiple_of: self.pad_to_multiple_of,
            details: true,
        };
        let mut chunks = Chunks::open(None, self.jsonl, Cancel::default())?;
        if self.padding == Padding::Longest {
            // Only the whole input knows which is the longest.
            self.print(&tokenizer, &Chunk::whole(chunks)?, &options)?;
            return Ok(ExitCode::SUCCESS);
        }
        chunks.try_for_each(|chunk| self.print(&tokenizer, &chunk?, &options))?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(
        &self,
        tokenizer: &Tokenizer,
        chunk: &Chunk,
        options: &EncodeOptions,
    ) -> anyhow::Result<()> {
        let texts: Vec<_> = chunk.texts().collect();
        let encodings =
            tokenizer.encode_batch(&texts, options).map_err(|error| chunk.blame(error))?;
        let mut lines = String::new();
        for mut encoding in encodings {
            encoding.sample += chunk.first;
            lines += &self.line(&encoding)?;
            lines.push('\n');
        }
        output::print(&lines)
    }

    fn line(&self, encoding: &Encoding) -> anyhow::Result<String> {
        Ok(match self.json {
            true => serde_json::to_string(encoding)?,
            false => encoding.tokens.join(" "),
        })
    }
}
