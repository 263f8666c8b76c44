//! On random weights.

use super::*;
use crate::checkpoint::StateDict;
use crate::config::Config;
use crate::family::Architecture;
use crate::family::spec::Positions;
use crate::weights::RandomInit;
use bertscript_kernels::Solo;
use calibration::LayerInput;

fn spec(architecture: Architecture) -> ModelSpec {
    let model_type = architecture.model_type();
    let width = if model_type == "deberta-v2" { 48 } else { 32 };
    let config = format!(
        r#"{{"model_type": "{model_type}", "vocab_size": 300, "hidden_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
        "embedding_size": {width}, "hidden_dim": 96, "pad_token_id": 1, "local_attention": 10,
        "relative_attention": true, "share_att_key": true, "position_biased_input": false,
        "pos_att_type": ["c2p", "p2c"], "position_buckets": 32}}"#
    );
    Config::from_json(config.as_bytes()).unwrap().model(architecture).unwrap()
}

fn load(architecture: Architecture) -> Prepacked {
    let random = RandomInit { seed: 1, initializer_range: 0.2 };
    let weights = Weights::new(StateDict::default(), Dtype::F32, Some(random));
    Prepacked::load(&weights, &spec(architecture), None, &|| ()).unwrap()
}

/// One dimension of the hidden states is a hundred times as great as the others.
#[test]
fn great_dimensions_leave_the_others_their_integers() {
    let spec = spec("BertModel".parse().unwrap());
    let weights = || {
        let random = RandomInit { seed: 1, initializer_range: 0.2 };
        let mut state = StateDict::default();
        let mut norm = vec![1_f32; 48];
        norm[7] = 100.;
        let norm = Tensor::new(norm, [48]).unwrap();
        state.insert("encoder.layer.0.output.LayerNorm.weight".to_owned(), norm, "the test");
        Weights::new(state, Dtype::F32, Some(random))
    };
    let load =
        |int8: Option<&[InputMaxima]>| Prepacked::load(&weights(), &spec, int8, &|| ()).unwrap();
    let outputs = |model: &Prepacked| one(model.outputs(&batch(), &[0], &Solo).unwrap()).unwrap();
    let float = load(None);
    let maxima = float.input_maxima(&spec).unwrap();
    let qkv = maxima[1].of(LayerInput::Qkv);
    let others = qkv.iter().enumerate().filter(|(dim, _)| *dim != 7).map(|(_, most)| *most);
    assert!(qkv[7] > 20. * others.fold(0., f32::max), "{qkv:?}");
    let expected = outputs(&float);
    let error = |maxima: &[InputMaxima]| {
        let found = outputs(&load(Some(maxima)));
        let rows = (0..expected.len()).flat_map(|row| found.row(row).iter().zip(expected.row(row)));
        rows.map(|(found, expected)| f64::from(found - expected).powi(2)).sum::<f64>().sqrt()
    };
    let flat: Vec<_> = maxima.iter().map(InputMaxima::all_alike).collect();
    let (smoothed, plain) = (error(&maxima), error(&flat));
    assert!(smoothed > 0. && smoothed < plain * 0.8, "{smoothed} {plain}");
}

fn batch() -> Batch {
    let ids: Vec<i64> = (0..61).map(|token| 1 + token * 7 % 299).collect();
    Batch::new(&ids, &[0; 61], &[3, 1, 40, 17], Positions::FromZero).unwrap()
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn some_tokens_are_those_of_the_whole() {
    let (batch, few) = (batch(), [60, 3, 3, 0, 20, 3]);
    let all: Vec<_> = (0..61).rev().collect();
    for (architecture, width) in [("BertModel", 48), ("BertForPreTraining", 300)] {
        let model = load(architecture.parse().unwrap());
        let whole = one(model.outputs(&batch, &[0], &Solo).unwrap()).unwrap();
        assert_eq!((whole.len(), whole.width()), (61, width));
        for tokens in [&few[..], &all, &[]] {
            let some = model.tokens(&batch, 0, tokens, &Solo).unwrap();
            assert_eq!(some.len(), tokens.len());
            for (row, token) in tokens.iter().enumerate() {
                assert_eq!(bits(some.row(row)), bits(whole.row(*token)), "token {token}");
            }
        }
    }
    let error = load("BertForSequenceClassification".parse().unwrap())
        .tokens(&batch, 0, &[0], &Solo)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn wanted_outputs_are_those_of_all() {
    let batch = batch();
    for architecture in Architecture::all() {
        let model = load(architecture);
        // Those of the head, the embeddings and both layers.
        let last = spec(architecture).outputs().len() + 2;
        let all: Vec<_> = (0..=last).collect();
        let whole = model.outputs(&batch, &all, &Solo).unwrap();
        let values = || whole.iter().flat_map(|rows| (0..rows.len()).flat_map(|row| rows.row(row)));
        assert!(values().filter(|value| **value == 0.).count() * 10 < values().count());
        for wanted in [vec![0], vec![last], vec![last, 0], vec![last - 2]] {
            let found = model.outputs(&batch, &wanted, &Solo).unwrap();
            assert_eq!(found.len(), wanted.len());
            for (found, index) in found.iter().zip(wanted) {
                assert_eq!(found.len(), whole[index].len(), "{architecture}: {index}");
                for row in 0..found.len() {
                    assert_eq!(bits(found.row(row)), bits(whole[index].row(row)));
                }
            }
        }
        assert!(model.outputs(&batch, &[last + 1], &Solo).is_err());
    }
}

/// Texts as long as a window, a little longer and shorter, and beyond a panel of keys.
#[test]
fn a_sequence_is_the_same_to_the_last_bit_in_any_batch() {
    let lengths = [1, 5, 6, 10, 11, 12, 33, 64, 100];
    let tokens: usize = lengths.iter().sum();
    let ids: Vec<i64> = (0..tokens as i64).map(|token| token * 7 % 299).collect();
    for architecture in Architecture::all() {
        let (model, spec) = (load(architecture), spec(architecture));
        let batch = Batch::new(&ids, &vec![0; tokens], &lengths, spec.encoder.positions());
        let batch = batch.unwrap();
        let all: Vec<_> = (0..spec.outputs().len() + 3).collect();
        let together = model.outputs(&batch, &all, &Solo).unwrap();
        for (sequence, range) in batch.ranges().enumerate() {
            let alone = batch.slice(sequence..sequence + 1).unwrap();
            for (alone, all) in model.outputs(&alone, &all, &Solo).unwrap().iter().zip(&together) {
                let first = if all.len() == tokens { range.start } else { sequence };
                for row in 0..alone.len() {
                    let same = bits(alone.row(row)) == bits(all.row(first + row));
                    assert!(same, "{architecture}: sequence {sequence}, row {row}");
                }
            }
        }
    }
}
