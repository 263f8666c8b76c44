//! Ids alone are those that the `tokenizers` crate gives with tokens and offsets.

use super::{Progress, TABLES_PAY_OFF};
use crate::assets::Assets;
use crate::text::{EncodeOptions, Encoding, Text, Tokenizer, Truncation};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// Words, parts of words and single characters that any of the steps treats in its own way.
const PARTS: &[&str] = &[
    "a",
    "b",
    "x",
    "A",
    "B",
    "1",
    "ab",
    "abc",
    "the",
    "The",
    "ing",
    "embedding",
    "unaffable",
    " ",
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\u{b}",
    "\u{1c}",
    "\u{85}",
    "\u{a0}",
    "\u{1680}",
    "\u{2003}",
    "\u{2028}",
    "\u{3000}",
    ".",
    ",",
    "-",
    "'",
    "#",
    "##",
    "##ing",
    "[",
    "]",
    "_",
    "\u{2019}",
    "\u{3001}",
    "\u{ff01}",
    "\u{bf}",
    "\u{37e}",
    "\0",
    "\u{1}",
    "\u{7f}",
    "\u{ad}",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{fffd}",
    "\u{e000}",
    "\u{378}",
    "\u{e0100}",
    "\u{301}",
    "\u{323}",
    "\u{308}\u{304}",
    "\u{345}",
    "\u{5b7}",
    "\u{93c}",
    "\u{fe20}",
    "\u{8d4}",
    "\u{302e}",
    "\u{1d165}",
    "\u{1d16d}",
    "\u{e9}",
    "\u{c9}",
    "e\u{301}",
    "\u{1e69}",
    "\u{130}",
    "\u{131}",
    "\u{df}",
    "\u{1e9e}",
    "\u{3a3}",
    "\u{3c2}",
    "\u{1c5}",
    "\u{fb01}",
    "\u{212b}",
    "\u{2126}",
    "\u{149}",
    "\u{2260}",
    "\u{1fc1}",
    "\u{13a0}",
    "\u{ac01}",
    "\u{1100}\u{1161}\u{11a8}",
    "\u{4e00}",
    "\u{6f22}",
    "\u{f900}",
    "\u{2f800}",
    "\u{2b820}",
    "\u{20000}",
    "\u{304b}\u{3099}",
    "\u{ff76}\u{ff9e}",
    "\u{431}",
    "\u{419}",
    "\u{644}",
    "\u{1f600}",
    "\u{1f468}\u{200d}\u{1f469}",
    "\u{2764}\u{fe0f}",
    "\u{10400}",
    "\u{1e900}",
    "[SEP]",
    "[MASK]",
    "[PAD]",
    "[UNK]",
    "[sep]",
    "[MASK",
    "[[MASK]]",
    "<add>",
    "<add><x>",
    "<x>",
    "add>",
    "\u{e9}t\u{e9}",
];

/// The seed of a test, which a failure names.
const SEED: u64 = 2018;

fn added_token(id: usize, content: &str, is_special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": content == "[MASK]",
        "rstrip": content == "<x>", "normalized": false, "special": is_special})
}

/// Encodes a text from which on the tables pay off.
fn make_tables(tokenizer: &Tokenizer) {
    let options = EncodeOptions { details: false, ..EncodeOptions::default() };
    tokenizer.encode(&" ".repeat(TABLES_PAY_OFF), &options).unwrap();
    assert!(tokenizer.ids.get().unwrap().word_piece.get().is_some());
}

/// A tokenizer of BERT with these options of its normalizer, and a vocabulary of these tokens.
fn tokenizer(normalizer: &Value, tokens: impl Iterator<Item = String>) -> Tokenizer {
    let added = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<x>"];
    let mut vocab = Map::new();
    for token in added.into_iter().map(str::to_owned).chain(tokens) {
        let next = vocab.len();
        vocab.entry(token).or_insert(next.into());
    }
    let mut added: Vec<_> = added
        .iter()
        .enumerate()
        .map(|(id, token)| added_token(id, token, *token != "<x>"))
        .collect();
    added.push(added_token(vocab.len(), "<add>", false));
    let special = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let sequence = |name: &str, kind| json!({"Sequence": {"id": name, "type_id": kind}});
    let last = json!({"SpecialToken": {"id": "[SEP]", "type_id": 1}});
    let single = [special("[CLS]"), sequence("A", 0), special("[SEP]")];
    let pair = [&single[..], &[sequence("B", 1), last]].concat();
    let ids = |name: &str, id| json!({"id": name, "ids": [id], "tokens": [name]});
    let json = json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair,
            "special_tokens": {"[CLS]": ids("[CLS]", 2), "[SEP]": ids("[SEP]", 3)}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 10, "vocab": vocab}});
    let config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]",
        "model_input_names": ["input_ids", "token_type_ids"]});
    let files = [("tokenizer.json", json), ("tokenizer_config.json", config)];
    let files = files.map(|(name, file)| (name.to_owned(), file.to_string().into_bytes()));
    let tokenizer = Tokenizer::from_assets(&files.into_iter().collect::<Assets>()).unwrap();
    make_tables(&tokenizer);
    tokenizer
}

/// Each as the first of a word and as a continuation.
fn both(tokens: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    tokens.flat_map(|token| [format!("##{token}"), token])
}

/// The characters of [`PARTS`] in both cases and decomposed, but for some, and a few words.
fn tokens_of_parts() -> impl Iterator<Item = String> {
    let chars = PARTS.iter().flat_map(|part| part.chars());
    let lower = chars.clone().flat_map(char::to_lowercase);
    let decomposed = "eIiAaSs\u{1112}\u{1161}\u{11a8}\u{1100}\u{1102}\u{3c9}".chars();
    let known = chars.chain(lower).chain(decomposed).filter(|c| !"\u{431}xX".contains(*c));
    let words = ["the", "emb", "edd", "un", "aff", "able", "abc", "abca", "\u{df}a"];
    both(known.map(String::from).chain(words.map(str::to_owned)))
}

/// All of BERT, and the usual one after the lower case of sentence-transformers.
fn normalizers() -> impl Iterator<Item = Value> {
    let all = (0..24).map(|bits: usize| {
        let strip = [Value::Null, true.into(), false.into()][bits / 8].clone();
        json!({"type": "BertNormalizer", "clean_text": bits & 1 == 0,
            "handle_chinese_chars": bits & 2 == 0, "lowercase": bits & 4 == 0,
            "strip_accents": strip})
    });
    let cased = json!({"type": "BertNormalizer", "clean_text": true, "lowercase": false,
        "handle_chinese_chars": true, "strip_accents": null});
    all.chain([json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, cased]})])
}

/// What the `tokenizers` crate gives, without what is not wanted.
fn oracle(
    tokenizer: &Tokenizer,
    text: Text<'_>,
    options: &EncodeOptions,
) -> Result<Vec<Encoding>, String> {
    let options = EncodeOptions { details: true, ..options.clone() };
    let encodings = tokenizer.encode(text, &options).map_err(|error| error.to_string())?;
    let without_details = |encoding: Encoding| Encoding {
        sample: encoding.sample,
        input_ids: encoding.input_ids,
        token_type_ids: encoding.token_type_ids,
        attention_mask: encoding.attention_mask,
        truncated: encoding.truncated,
        ..Encoding::default()
    };
    Ok(encodings.into_iter().map(without_details).collect())
}

fn check(tokenizer: &Tokenizer, text: Text<'_>, options: &EncodeOptions) {
    let options = EncodeOptions { details: false, ..options.clone() };
    let found = tokenizer.encode(text, &options).map_err(|error| error.to_string());
    let expected = oracle(tokenizer, text, &options);
    assert!(
        found == expected,
        "{text:?} {options:?} {:?}:\n found {found:?}\n expected {expected:?}",
        tokenizer.inner.get_normalizer()
    );
}

fn random_text(random: &mut impl Rng, parts: &[&str], most: usize) -> String {
    let count = random.random_range(0..=most);
    (0..count).map(|_| parts[random.random_range(0..parts.len())]).collect()
}

fn random_options(random: &mut impl Rng) -> EncodeOptions {
    let all = [Truncation::LongestFirst, Truncation::OnlyFirst, Truncation::OnlySecond];
    EncodeOptions {
        add_special_tokens: random.random_ratio(2, 3),
        split_special_tokens: Some(random.random_ratio(1, 4)),
        truncation: *all.get(random.random_range(0..6)).unwrap_or(&Truncation::DoNotTruncate),
        max_length: Some(random.random_range(0..16)),
        stride: random.random_range(0..2),
        return_overflowing_tokens: random.random_ratio(1, 4),
        ..EncodeOptions::default()
    }
}

/// So many texts for each of all options of the normalizer.
fn check_random(count: usize) {
    println!("seed {SEED}");
    for (stream, normalizer) in normalizers().enumerate() {
        let tokenizer = tokenizer(&normalizer, tokens_of_parts());
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        random.set_stream(stream as u64);
        for _ in 0..count {
            let first = random_text(&mut random, PARTS, 12);
            let second = random_text(&mut random, PARTS, 12);
            let text_pair = random.random_ratio(1, 3).then_some(second.as_str());
            check(&tokenizer, Text { text: &first, text_pair }, &random_options(&mut random));
        }
    }
}

/// Every one of these characters alone, within a word and between marks.
fn check_characters(normalizer: &Value, characters: impl Iterator<Item = char> + Clone) {
    let tokens = characters.clone().filter(|c| !c.is_whitespace()).map(String::from);
    let tokenizer = tokenizer(normalizer, both(tokens.chain(["x".to_owned(), "y".to_owned()])));
    let options = EncodeOptions { add_special_tokens: false, ..EncodeOptions::default() };
    for character in characters {
        for text in [
            format!("{character}"),
            format!("x{character}y"),
            format!("x\u{302e}{character}\u{323}"),
        ] {
            check(&tokenizer, Text::from(&text), &options);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn ids_of_texts_are_those_of_the_tokenizers_crate() {
    check_random(300);
}

#[test]
#[ignore = "1.2 million texts"]
fn ids_of_many_texts_are_those_of_the_tokenizers_crate() {
    check_random(50_000);
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn ids_of_characters_are_those_of_the_tokenizers_crate() {
    for (index, normalizer) in normalizers().enumerate() {
        // All of some blocks with the usual options; with the others, one of some.
        let step = if index == 0 { 1 } else { 23 };
        let first = (index as u32..0x3100).step_by(step);
        let others = (0x3100 + index as u32..0x11_0000).step_by(97 * step);
        check_characters(&normalizer, first.chain(others).filter_map(char::from_u32));
    }
}

#[test]
#[ignore = "every character with every normalizer"]
fn ids_of_all_characters_are_those_of_the_tokenizers_crate() {
    for normalizer in normalizers() {
        check_characters(&normalizer, '\0'..=char::MAX);
    }
}

/// With a vocabulary of practice, which `BERTSCRIPT_MINILM` names.
#[test]
#[ignore = "needs all-MiniLM-L6-v2"]
fn ids_of_a_real_vocabulary_are_those_of_the_tokenizers_crate() {
    println!("seed {SEED}");
    let directory = std::env::var_os("BERTSCRIPT_MINILM").expect("BERTSCRIPT_MINILM");
    let tokenizer = Tokenizer::open(directory).unwrap();
    make_tables(&tokenizer);
    let words: Vec<_> = (0..30_522).filter_map(|id| tokenizer.id_to_token(id)).collect();
    let words: Vec<_> = words.iter().map(|word| word.trim_start_matches("##")).collect();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    for _ in 0..1_000_000 {
        let mut text = random_text(&mut random, &words, 5);
        text += &random_text(&mut random, PARTS, 4);
        text += &random_text(&mut random, &words, 2);
        check(&tokenizer, Text::from(&text), &random_options(&mut random));
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn words_of_every_length_are_cut_where_they_were() {
    let tokenizer = tokenizer(&normalizers().next().unwrap(), tokens_of_parts());
    for count in 0..45 {
        for letter in
            ["a", "A", "\u{e9}", "e\u{301}", "\u{ac01}", "\u{1f600}", "a\u{ad}", "b\u{4e00}", "a."]
        {
            let text = format!("a{} {0}b", letter.repeat(count));
            check(&tokenizer, Text::from(&text), &EncodeOptions::default());
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn the_pipeline_of_bert_is_recognised() {
    let encoded = |tokenizer: &Tokenizer, text: &str| {
        let options = EncodeOptions { details: false, ..EncodeOptions::default() };
        tokenizer.encode(text, &options).unwrap();
        let word_piece = tokenizer.ids.get().unwrap().word_piece.get().unwrap().as_ref()?;
        Some(word_piece.append(text, false, usize::MAX, &mut Vec::new()).unwrap())
    };
    for normalizer in normalizers() {
        let tokenizer = tokenizer(&normalizer, tokens_of_parts());
        assert_eq!(encoded(&tokenizer, "The caf\u{e9}, \u{6f22} [MASK]"), Some(Progress::Whole));
        let is_sorted = match &normalizer["strip_accents"] {
            Value::Bool(strip) => *strip,
            _ => normalizer["lowercase"] == true,
        };
        let expected = if is_sorted { Progress::Contextual } else { Progress::Whole };
        assert_eq!(encoded(&tokenizer, "a \u{302e}"), Some(expected), "{normalizer}");
    }
    let tokenizer = tokenizer(&json!({"type": "NFKC"}), tokens_of_parts());
    assert_eq!(encoded(&tokenizer, "The"), None);
}
