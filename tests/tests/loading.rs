//! What loading a checkpoint reports and decides.

use bertscript::{
    Architecture, Archive, Checkpoint, Device, Dtype, ErrorKind, LoadOptions, Module, PreTrained,
    Shapes, Survey, TieWeights, trace,
};
use bertscript_tests::{architecture, copy_of, fixture, scratch};
use tch::{Kind, Tensor};

fn load(name: &str, architecture: Architecture) -> PreTrained {
    let options = LoadOptions { architecture: Some(architecture), ..LoadOptions::default() };
    PreTrained::from_checkpoint(&Checkpoint::open(fixture(name)).unwrap(), &options).unwrap()
}

fn parameter<'a>(model: &'a PreTrained, name: &str) -> &'a Tensor {
    &model.parameters().iter().find(|(known, _)| known == name).unwrap().1
}

const EMBEDDING: &str = "bert.embeddings.word_embeddings.weight";
const DECODER: &str = "cls.predictions.decoder.weight";

#[test]
fn tied_weights_get_separate_storage_and_equal_values() {
    for (name, architecture) in [
        ("masked-lm", architecture("BertForMaskedLM")),
        ("masked-lm-bare", architecture("BertForMaskedLM")),
        ("pretraining", architecture("BertForPreTraining")),
    ] {
        let model = load(name, architecture);
        let (embedding, decoder) = (parameter(&model, EMBEDDING), parameter(&model, DECODER));
        assert!(embedding.equal(decoder), "{name}");
        let _ = decoder.shallow_clone().fill_(7.);
        assert!(!embedding.equal(decoder), "{name}: the storage is shared");
        assert_eq!(model.report().ties.untied.len(), 2, "{name}");
        assert!(model.report().ties.different.is_empty(), "{name}");
    }
}

#[test]
fn different_weights_are_kept_apart_and_reported() {
    let model = load("masked-lm-different", architecture("BertForMaskedLM"));
    assert!(!parameter(&model, EMBEDDING).equal(parameter(&model, DECODER)));
    let different = &model.report().ties.different;
    assert!(different.contains(&[EMBEDDING.to_owned(), DECODER.to_owned()]), "{different:?}");
}

#[test]
fn an_untied_configuration_resolves_nothing() {
    let directory = copy_of("masked-lm");
    let config = directory.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["tie_word_embeddings"] = false.into();
    std::fs::write(&config, json.to_string()).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let options = LoadOptions::default();
    let error = PreTrained::from_checkpoint(&checkpoint, &options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::MissingParameter);
    assert!(error.to_string().contains(DECODER), "{error}");
}

#[test]
fn old_names_and_foreign_heads_are_reported() {
    let model = load("model-eps", architecture("BertModel"));
    let report = model.report();
    assert!(report.renamed.iter().any(|renamed| renamed.from == "bert.embeddings.LayerNorm.gamma"
        && renamed.to == "embeddings.LayerNorm.weight"));
    assert_eq!(report.unexpected, ["cls.seq_relationship.bias", "cls.seq_relationship.weight"]);
    assert!(report.initialized.is_empty());
}

#[test]
fn a_missing_head_is_refused_unless_random_values_are_asked_for() {
    let checkpoint = Checkpoint::open(fixture("model")).unwrap();
    let mut options = LoadOptions {
        architecture: Some(architecture("BertForPreTraining")),
        ..LoadOptions::default()
    };
    let error = PreTrained::from_checkpoint(&checkpoint, &options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::MissingParameter);
    assert!(error.to_string().contains("cls.seq_relationship.weight"), "{error}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    options.random_init = Some(1);
    let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
    let initialized = &model.report().initialized;
    assert!(initialized.contains(&"cls.seq_relationship.weight".to_owned()), "{initialized:?}");
    assert!(!initialized.contains(&DECODER.to_owned()), "tied to the embedding that is there");
}

#[test]
fn the_checkpoints_own_dtype_is_kept() {
    for (name, dtype) in
        [("model", Dtype::F32), ("model-bf16", Dtype::BF16), ("model-f16", Dtype::F16)]
    {
        let model = load(name, architecture("BertModel"));
        assert_eq!(model.dtype(), dtype);
        assert!(model.parameters().iter().all(|(_, tensor)| tensor.kind() == dtype.kind()));
    }
}

/// A directory with a configuration only.
fn config_only(config: &str) -> (tempfile::TempDir, Checkpoint) {
    let directory = scratch();
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    (directory, checkpoint)
}

fn random(checkpoint: &Checkpoint, architecture: Architecture, seed: u64) -> PreTrained {
    let options = LoadOptions {
        architecture: Some(architecture),
        random_init: Some(seed),
        ..LoadOptions::default()
    };
    PreTrained::from_checkpoint(checkpoint, &options).unwrap()
}

#[test]
fn random_weights_follow_the_seed_and_transformers_rules() {
    let (_directory, checkpoint) = config_only(
        r#"{"vocab_size_or_config_json_file": 500, "hidden_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 4, "intermediate_size": 256, "initializer_range": 0.05}"#,
    );
    let model = random(&checkpoint, architecture("BertForMaskedLM"), 3);
    let again = random(&checkpoint, architecture("BertForMaskedLM"), 3);
    let other = random(&checkpoint, architecture("BertForMaskedLM"), 4);
    for (name, tensor) in model.parameters() {
        assert!(tensor.equal(parameter(&again, name)), "{name} differs between equal seeds");
        if name.ends_with("bias") {
            assert_eq!(f64::try_from(tensor.abs().max()).unwrap(), 0., "{name}");
        } else if name.contains("LayerNorm") {
            assert!(tensor.equal(&tensor.ones_like()), "{name}");
        } else {
            assert!(!tensor.equal(parameter(&other, name)), "{name} ignores the seed");
            let std = f64::try_from(tensor.std(true)).unwrap();
            let mean = f64::try_from(tensor.mean(Kind::Float)).unwrap();
            // Five standard errors, of a sample of this size.
            let n = tensor.numel() as f64;
            assert!((std / 0.05 - 1.).abs() < 5. / (2. * n).sqrt(), "{name}: deviation {std}");
            assert!(mean.abs() < 5. * 0.05 / n.sqrt(), "{name}: mean {mean}");
        }
    }
    let embedding = parameter(&model, EMBEDDING);
    assert!(embedding.equal(parameter(&model, DECODER)), "the decoder is tied when initialised");
    assert_ne!(embedding.data_ptr(), parameter(&model, DECODER).data_ptr());
    assert_eq!(f64::try_from(embedding.get(0).abs().max()).unwrap(), 0., "the padding row");
    // A value depends on its name and the seed alone, not on what else there is.
    let encoder = random(&checkpoint, architecture("BertModel"), 3);
    let name = "encoder.layer.0.intermediate.dense.weight";
    assert_eq!(parameter(&encoder, name).size(), [256, 64]);
}

#[test]
fn no_weights_and_no_seed_is_an_error() {
    let (_directory, checkpoint) = config_only(r#"{"architectures": ["BertModel"]}"#);
    let error = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Checkpoint);
    assert!(error.to_string().contains("no weights"), "{error}");
}

#[test]
fn tied_weights_can_be_kept_on_one_storage_saved_once() {
    let scratch = scratch();
    let checkpoint = Checkpoint::open(fixture("masked-lm")).unwrap();
    let mut sizes = Vec::new();
    for (dtype, size) in [(Dtype::F32, 4), (Dtype::BF16, 2)] {
        for ties in [TieWeights::Untie, TieWeights::Keep] {
            let options = LoadOptions { ties, dtype: Some(dtype), ..LoadOptions::default() };
            let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
            let archive = Archive::new(&model, &Shapes::Any).unwrap();
            // The embedding of 128 tokens by 32, and the bias.
            let shared = (128 * 32 + 128) * size;
            assert_eq!(archive.metadata().tie_bytes, shared);
            let path = scratch.path().join("model.pt");
            archive.save(&trace(&model, &Shapes::Any).unwrap(), &path).unwrap();
            sizes.push(std::fs::metadata(&path).unwrap().len());

            for loaded in [dtype, Dtype::F16] {
                let module = Module::load(&path, Device::Cpu, Some(loaded)).unwrap();
                let parameters = module.parameters().unwrap();
                let place = |name: &str| {
                    let (_, tensor) = parameters.iter().find(|(known, _)| known == name).unwrap();
                    tensor.as_bytes().unwrap().as_ptr()
                };
                let is_shared = place(EMBEDDING) == place(DECODER);
                assert_eq!(is_shared, ties == TieWeights::Keep, "{dtype} loaded as {loaded}");
            }
        }
        let [untied, tied] = sizes[sizes.len() - 2..] else { panic!() };
        let (saved, expected) = (untied - tied, (128 * 32 + 128) * size);
        assert!(saved.abs_diff(expected) < 1024, "{saved} bytes saved, {expected} are shared");
    }
}

#[test]
fn a_survey_says_what_export_would_find() {
    let survey = |name: &str, architecture| {
        Survey::of(&Checkpoint::open(fixture(name)).unwrap(), architecture).unwrap()
    };
    let found = survey("masked-lm", None);
    assert_eq!(found.architecture, "BertForMaskedLM");
    assert!(found.missing.is_empty() && found.unexpected.is_empty());
    assert_eq!(found.tied, [DECODER, "cls.predictions.decoder.bias"]);
    assert_eq!(found.renamed.len(), 12);

    let found = survey("model", Some(architecture("BertForNextSentencePrediction")));
    assert_eq!(found.missing, ["cls.seq_relationship.weight", "cls.seq_relationship.bias"]);
    let found = survey("pretraining", Some(architecture("BertModel")));
    assert!(found.unexpected.contains(&"cls.predictions.bias".to_owned()));
}
