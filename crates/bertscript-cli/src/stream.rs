//! Texts as they come in, a chunk at a time.

use anyhow::{Context, bail};
use bertscript::{Cancel, Text, is_same_file};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

const STDIN: &str = "/dev/stdin";
/// What a person may call standard output where a path is expected.
pub(crate) const STDOUT: &str = "/dev/stdout";
/// Enough texts of one length to fill batches with, few enough to wait for.
const CHUNK_TEXTS: usize = 512;
/// Longer texts come in smaller chunks.
const CHUNK_BYTES: usize = 1 << 20;

/// The file that texts come from: `path`, or standard input without one and for `-`.
pub(crate) fn source(path: Option<&Path>) -> &Path {
    path.filter(|path| *path != Path::new("-")).unwrap_or(Path::new(STDIN))
}

/// Refuses to read what is written meanwhile: there would be no end.
fn refuse_stdout(input: impl AsFd) -> anyhow::Result<()> {
    let metadata = |stream: BorrowedFd<'_>| File::from(stream.try_clone_to_owned()?).metadata();
    let (input, output) = (metadata(input.as_fd())?, metadata(std::io::stdout().as_fd())?);
    if input.is_file() && is_same_file(&input, &output) {
        bail!("found standard output, expected another file");
    }
    Ok(())
}

/// A text of the input, or two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OwnedText {
    pub(crate) text: String,
    pub(crate) text_pair: Option<String>,
}

impl OwnedText {
    pub(crate) fn as_text(&self) -> Text<'_> {
        Text { text: &self.text, text_pair: self.text_pair.as_deref() }
    }

    /// The text of a line of JSON: a string, or an object.
    fn from_json(line: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "neither a string nor an object with text")]
        enum Line {
            Text(String),
            Pair { text: String, text_pair: Option<String> },
        }
        Ok(match serde_json::from_str(line)? {
            Line::Text(text) => Self { text, text_pair: None },
            Line::Pair { text, text_pair } => Self { text, text_pair },
        })
    }
}

/// Texts that were read together, and the number of the first, from 0.
pub(crate) struct Chunk {
    pub(crate) first: usize,
    pub(crate) texts: Vec<OwnedText>,
    /// What a person calls one of them
    pub(crate) noun: &'static str,
}

impl Chunk {
    /// Arguments of the command.
    pub(crate) fn of_arguments(texts: &[String]) -> Self {
        let texts = texts.iter().cloned();
        let texts = texts.map(|text| OwnedText { text, text_pair: None }).collect();
        Self { first: 0, texts, noun: "text" }
    }

    /// All chunks in one.
    pub(crate) fn whole(
        chunks: impl Iterator<Item = anyhow::Result<Self>>,
    ) -> anyhow::Result<Self> {
        let mut whole = Self { first: 0, texts: Vec::new(), noun: "line" };
        for chunk in chunks {
            let chunk = chunk?;
            whole.noun = chunk.noun;
            whole.texts.extend(chunk.texts);
        }
        Ok(whole)
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = Text<'_>> {
        self.texts.iter().map(OwnedText::as_text)
    }

    /// Says of an error which line it is about.
    pub(crate) fn blame(&self, error: bertscript::Error) -> anyhow::Error {
        match error.text() {
            Some(number) => {
                anyhow::anyhow!("{} {}: {}", self.noun, self.first + number + 1, error.message())
            }
            None => error.into(),
        }
    }
}

/// Chunks of texts. They are read by a thread of their own, so that waiting for
/// input can be interrupted, and reading goes on during computation.
pub(crate) struct Chunks {
    lines: Receiver<anyhow::Result<OwnedText>>,
    cancel: Cancel,
    count: usize,
}

impl Chunks {
    /// Reads a file; without one, or from `-`, standard input.
    pub(crate) fn open(path: Option<&Path>, jsonl: bool, cancel: Cancel) -> anyhow::Result<Self> {
        let (input, name): (Box<dyn BufRead + Send>, _) = match path {
            Some(path) if path != Path::new("-") => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
                refuse_stdout(&file).with_context(|| format!("cannot read {name}"))?;
                (Box::new(BufReader::new(file)), name)
            }
            _ => {
                let stdin = std::io::stdin();
                refuse_stdout(&stdin).context("cannot read standard input")?;
                (Box::new(BufReader::new(stdin)), "standard input".to_owned())
            }
        };
        let (sender, lines) = sync_channel(2 * CHUNK_TEXTS);
        std::thread::spawn(move || {
            for text in read(input, &name, jsonl) {
                // Nobody listens any more once the work has ended.
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        Ok(Self { lines, cancel, count: 0 })
    }
}

impl Iterator for Chunks {
    type Item = anyhow::Result<Chunk>;

    /// Waits for a text, then takes what is there.
    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = Chunk { first: self.count, texts: Vec::new(), noun: "line" };
        let mut bytes = 0;
        while chunk.texts.len() < CHUNK_TEXTS && bytes < CHUNK_BYTES {
            // A slow writer's texts are not held back.
            let patience = Duration::from_millis(if chunk.texts.is_empty() { 100 } else { 20 });
            match self.lines.recv_timeout(patience) {
                Ok(Ok(text)) => {
                    bytes += text.text.len() + text.text_pair.as_ref().map_or(0, String::len);
                    chunk.texts.push(text);
                }
                Ok(Err(error)) if chunk.texts.is_empty() => return Some(Err(error)),
                Ok(Err(error)) => {
                    // What came before it counts; then it is said.
                    self.count += chunk.texts.len();
                    let (sender, lines) = sync_channel(1);
                    let _ = sender.send(Err(error));
                    self.lines = lines;
                    return Some(Ok(chunk));
                }
                Err(RecvTimeoutError::Timeout) if self.cancel.is_cancelled() => return None,
                Err(RecvTimeoutError::Timeout) if chunk.texts.is_empty() => {}
                Err(_) => break,
            }
        }
        self.count += chunk.texts.len();
        (!chunk.texts.is_empty()).then_some(Ok(chunk))
    }
}

fn read(
    input: impl BufRead,
    name: &str,
    jsonl: bool,
) -> impl Iterator<Item = anyhow::Result<OwnedText>> {
    input.split(b'\n').enumerate().map(move |(number, line)| {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        let line = match line.strip_suffix(b"\r") {
            Some(line) => line.to_vec(),
            None => line,
        };
        let Ok(text) = String::from_utf8(line) else {
            bail!("line {}: the input is not UTF-8", number + 1);
        };
        if !jsonl {
            return Ok(OwnedText { text, text_pair: None });
        }
        OwnedText::from_json(&text).with_context(|| {
            format!(
                "line {}: expected a JSON string, or an object with text and, if wanted, text_pair",
                number + 1
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: &[u8], jsonl: bool) -> Vec<anyhow::Result<OwnedText>> {
        read(input, "the input", jsonl).collect()
    }

    #[test]
    fn lines_are_texts() {
        let found: Vec<_> =
            texts(b"a\r\n\nb", false).into_iter().map(|text| text.unwrap().text).collect();
        assert_eq!(found, ["a", "", "b"]);
        assert!(texts(b"", false).is_empty());
        let error = texts(b"a\n\xff\n", false).pop().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "line 2: the input is not UTF-8");
    }

    #[test]
    fn lines_of_json_are_texts_and_pairs() {
        let found = texts(
            b"\"a\\nb\"\n{\"text\": \"c\", \"text_pair\": \"d\"}\n{\"text\": \"e\"}\n[1]",
            true,
        );
        let found: Vec<_> = found.into_iter().map(Result::ok).collect();
        let text = |text: &str, pair: Option<&str>| {
            Some(OwnedText { text: text.to_owned(), text_pair: pair.map(str::to_owned) })
        };
        assert_eq!(found, [text("a\nb", None), text("c", Some("d")), text("e", None), None]);
    }

    #[test]
    fn a_bad_line_does_not_swallow_those_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts");
        std::fs::write(&path, b"a\nb\n\xff\nc\n").unwrap();
        let mut chunks = Chunks::open(Some(&path), false, Cancel::default()).unwrap();
        assert_eq!(chunks.next().unwrap().unwrap().texts.len(), 2);
        assert!(chunks.next().unwrap().is_err());
        assert!(chunks.next().is_none());
    }
}
