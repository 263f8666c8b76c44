//! A SentencePiece model: the few fields of its protobuf that make a tokenizer.
//!
//! Sources: `ModelProto`, <https://github.com/google/sentencepiece/blob/v0.2.0/src/sentencepiece_model.proto>,
//! and `SentencePieceExtractor`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/convert_slow_tokenizer.py>

use crate::error::{Error, ErrorKind, Result};
use crate::memory::reserve;
use tokenizers::AddedToken;

/// What a file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Model<'a> {
    /// The pieces with their scores; their numbers are the ids.
    pub(super) pieces: Vec<(String, f64)>,
    /// Those that are recognised wherever they are in a text: control symbols, which are
    /// special, and symbols that the user defined.
    pub(super) tokens: Vec<AddedToken>,
    /// The piece of unknown characters, by number; negative where there is none.
    pub(super) unk_id: i32,
    /// How characters are normalised; nothing is where it is empty.
    pub(super) charsmap: &'a [u8],
}

impl<'a> Model<'a> {
    /// Reads a model.
    ///
    /// # Errors
    /// A file that is no such protobuf, has no pieces, or was trained by another algorithm than
    /// Unigram, whose scores are none.
    pub(super) fn read(file: &'a [u8]) -> Result<Self> {
        let mut model = Self::default();
        // The default of the format.
        let mut kind = UNIGRAM;
        let mut fields = Fields::new(file);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(piece)) => {
                    let number = model.pieces.len();
                    let piece = read_piece(piece);
                    model.push(piece.map_err(|error| error.at(format!("piece {number}")))?)?;
                }
                (2, Value::Bytes(trainer)) => {
                    let mut fields = Fields::new(trainer);
                    while let Some(field) = fields.next()? {
                        match field {
                            (3, Value::Varint(found)) => kind = found,
                            // Negative numbers have 64 bits.
                            (40, Value::Varint(found)) => model.unk_id = found as i32,
                            _ => {}
                        }
                    }
                }
                (3, Value::Bytes(normalizer)) => {
                    let mut fields = Fields::new(normalizer);
                    while let Some(field) = fields.next()? {
                        if let (2, Value::Bytes(map)) = field {
                            model.charsmap = map;
                        }
                    }
                }
                _ => {}
            }
        }
        if kind != UNIGRAM {
            let name = match kind {
                2 => "BPE",
                3 => "WORD",
                4 => "CHAR",
                _ => "unknown",
            };
            let message =
                format!("trainer_spec.model_type: found {kind} ({name}), expected 1 (UNIGRAM)");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if model.pieces.is_empty() {
            return Err(invalid("found no pieces, expected a SentencePiece model"));
        }
        Ok(model)
    }

    fn push(&mut self, piece: Piece) -> Result<()> {
        let Piece { text, score, kind } = piece;
        if [CONTROL, USER_DEFINED].contains(&kind) {
            reserve(&mut self.tokens, 1)?;
            let token = AddedToken::from(text.clone(), kind == CONTROL);
            self.tokens.push(token.normalized(false));
        }
        reserve(&mut self.pieces, 1)?;
        self.pieces.push((text, score));
        Ok(())
    }
}

const UNIGRAM: u64 = 1;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

struct Piece {
    text: String,
    score: f64,
    kind: u64,
}

fn read_piece(message: &[u8]) -> Result<Piece> {
    let (mut text, mut score, mut kind) = (&[][..], 0.0, 1);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(found)) => text = found,
            (2, Value::Four(found)) => score = f32::from_le_bytes(found),
            (3, Value::Varint(found)) => kind = found,
            _ => {}
        }
    }
    let text = std::str::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
    Ok(Piece { text: text.to_owned(), score: f64::from(score), kind })
}

/// A value of the wire format.
enum Value<'a> {
    Varint(u64),
    Eight,
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// The fields of a message, in the order of the file. Those that are unknown, or of another
/// type than they should be, are passed over by whoever asks, as protobuf does.
struct Fields<'a> {
    message: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { message, rest: message }
    }

    /// The next field, its number and its value.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Eight)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Four(bytes.try_into().unwrap_or_default())
            }
            found => return Err(self.malformed(format!("found a field of wire type {found}"))),
        };
        match tag >> 3 {
            0 => Err(self.malformed("found a field of number 0")),
            number => Ok(Some((number, value))),
        }
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("found a number of more than 10 bytes"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let taken =
            usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((taken, rest)) = taken else {
            let message = format!("found {} bytes, expected {length}", self.rest.len());
            return Err(self.malformed(message));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn malformed(&self, message: impl Into<String>) -> Error {
        let at = self.message.len() - self.rest.len();
        let message: String = message.into();
        invalid(format!("byte {at}: {message}; is it a SentencePiece model?"))
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, contents: &[u8]) -> Vec<u8> {
        let length = u8::try_from(contents.len()).unwrap();
        [&[number << 3 | 2, length][..], contents].concat()
    }

    fn piece(text: &str, score: f32) -> Vec<u8> {
        let fields = [&bytes(1, text.as_bytes())[..], &[2 << 3 | 5], &score.to_le_bytes()];
        bytes(1, &fields.concat())
    }

    #[test]
    fn pieces_are_ids() {
        let trainer = bytes(2, &[3 << 3, 1, 0xc0, 2, 3]);
        let normalizer = bytes(3, &[&bytes(1, b"nmt")[..], &bytes(2, b"map")].concat());
        let unknown = [9 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let control = bytes(1, &[&bytes(1, b"[X]")[..], &[3 << 3, 3]].concat());
        let user = bytes(1, &[&bytes(1, b"(")[..], &[3 << 3, 4]].concat());
        let file = [
            &piece("<unk>", 0.0)[..],
            &trainer,
            &piece("\u{2581}a", -1.5),
            &unknown,
            &control,
            &user,
            &normalizer,
        ];
        let pieces = [("<unk>", 0.0), ("\u{2581}a", -1.5), ("[X]", 0.0), ("(", 0.0)];
        let pieces = pieces.map(|(text, score)| (text.to_owned(), score)).to_vec();
        let tokens =
            vec![AddedToken::from("[X]", true), AddedToken::from("(", false).normalized(false)];
        let expected = Model { pieces, tokens, unk_id: 3, charsmap: b"map" };
        assert_eq!(Model::read(&file.concat()).unwrap(), expected);
        let negative = [&[0xc0, 2][..], &[0xff; 9], &[1]].concat();
        let file = [piece("a", 0.0), bytes(2, &negative)].concat();
        assert_eq!(Model::read(&file).unwrap().unk_id, -1);
    }

    #[test]
    fn what_is_no_model_of_pieces_is_refused() {
        let long = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let endless = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let refused: [(&[u8], &str); 11] = [
            (b"", "found no pieces"),
            (&bytes(3, &bytes(2, b"map")), "found no pieces"),
            (&[piece("a", 0.0), bytes(2, &[3 << 3, 2])].concat(), "found 2 (BPE), expected 1"),
            (&bytes(2, &[3 << 3, 9]), "found 9 (unknown), expected 1"),
            (&bytes(1, &bytes(1, b"\xff")), "piece 0: invalid utf-8"),
            (&bytes(1, &[0x0a, 9, b'a']), "piece 0: byte 2: found 1 bytes, expected 9"),
            (&long, "byte 11: found 0 bytes, expected 18446744073709551615"),
            (&endless, "byte 11: found a number of more than 10 bytes"),
            (&[0x80], "byte 1: found 0 bytes, expected 1"),
            (&[2, 0], "byte 2: found a field of number 0"),
            (b"version https://git-lfs", "byte 1: found a field of wire type 6"),
        ];
        for (file, words) in refused {
            let error = Model::read(file).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_file_that_ends_anywhere_is_read_or_refused() {
        let file = [piece("<unk>", 0.0), piece("a", -1.0), bytes(3, &bytes(2, b"map"))].concat();
        for end in 0..file.len() {
            let whole = [0, 14, 24].contains(&end);
            assert_eq!(Model::read(&file[..end]).is_ok(), whole && end > 0, "{end}");
        }
    }
}
