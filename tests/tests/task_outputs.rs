//! Tasks choose their output by the head: what else an archive returns changes no
//! result.

use bertscript::{
    AnswerOptions, Architecture, Checkpoint, ClassifyOptions, Device, EmbedOptions,
    EntitiesOptions, FillMaskOptions, LoadOptions, Module, PoolingMode, PreTrained, Shapes, Task,
};
use bertscript_tests::{Execution, fixture, scratch};

const PAIRS: [(&str, &str); 3] =
    [("the cat [MASK]", "a dog in the house"), ("[MASK] day", "the river"), ("who [MASK]?", "a")];

/// The scores of a task, in the order of its results.
fn scores(module: &Module, architecture: Architecture) -> Vec<f32> {
    let texts = PAIRS.map(|(text, _)| text);
    let classified = |found: Vec<bertscript::Classification>| {
        // By label: equal scores have no order.
        let mut labels: Vec<_> = found.into_iter().map(|found| found.labels).collect();
        labels.iter_mut().for_each(|labels| labels.sort_by(|a, b| a.label.cmp(&b.label)));
        labels.into_iter().flatten().map(|label| label.score).collect::<Vec<_>>()
    };
    let fillings = || {
        let found = module.fill_mask(texts, &FillMaskOptions::default()).unwrap();
        let masks = found.into_iter().flat_map(|found| found.masks);
        masks.flatten().map(|filling| filling.score).collect::<Vec<_>>()
    };
    let follows = || classified(module.next_sentence(PAIRS, &ClassifyOptions::default()).unwrap());
    match architecture.task() {
        Task::Model => {
            let pooling = Some(PoolingMode::ALL.to_vec());
            let options = EmbedOptions { pooling, ..EmbedOptions::default() };
            module.embed(texts, &options).unwrap().as_slice().to_vec()
        }
        Task::PreTraining => [fillings(), follows()].concat(),
        Task::MaskedLM => fillings(),
        Task::NextSentencePrediction => follows(),
        Task::SequenceClassification => {
            classified(module.classify(PAIRS, &ClassifyOptions::default()).unwrap())
        }
        Task::TokenClassification => {
            let options = EntitiesOptions { ignore_labels: Vec::new(), ..Default::default() };
            let found = module.entities(texts, &options).unwrap();
            found.into_iter().flat_map(|found| found.entities).map(|found| found.score).collect()
        }
        Task::QuestionAnswering => {
            let found = module.answer(PAIRS, &AnswerOptions::default()).unwrap();
            found.into_iter().flat_map(|found| found.answers).map(|found| found.score).collect()
        }
        Task::MultipleChoice => unreachable!("no task"),
    }
}

fn export(checkpoint: &Checkpoint, options: &LoadOptions) -> Module {
    let model = PreTrained::from_checkpoint(checkpoint, options).unwrap();
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    model.export(&Shapes::Any, &path).unwrap();
    Module::load(&path, Device::Cpu, None).unwrap()
}

#[test]
fn further_outputs_change_no_task() {
    let directory = scratch();
    for name in ["vocab.txt", "tokenizer_config.json"] {
        let from = fixture("text/masked").join(name);
        std::fs::copy(from, directory.path().join(name)).unwrap();
    }
    let config = r#"{"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 32,
        "initializer_range": 0.3}"#;
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let of_bert = Architecture::all().filter(|known| known.model_type() == "bert");
    for architecture in of_bert.filter(|known| known.task() != Task::MultipleChoice) {
        let plain = LoadOptions {
            architecture: Some(architecture),
            random_init: Some(1),
            ..Default::default()
        };
        let expected = export(&checkpoint, &plain);
        for (hidden_states, attentions) in [(true, false), (false, true)] {
            let module = export(&checkpoint, &LoadOptions { hidden_states, attentions, ..plain });
            let executions = Execution::ALL
                .into_iter()
                .filter(|execution| !attentions || *execution == Execution::TorchScript);
            for execution in executions {
                let scores_of =
                    |module: &Module| scores(&execution.of(module).unwrap(), architecture);
                let (expected, found) = (scores_of(&expected), scores_of(&module));
                assert_eq!(found.len(), expected.len(), "{architecture} {execution}");
                assert!(expected.len() >= PAIRS.len(), "{architecture}: {expected:?}");
                for (found, expected) in found.iter().zip(&expected) {
                    let near = (found - expected).abs() <= 1e-5 * expected.abs().max(1.);
                    assert!(near, "{architecture} {execution}: {found} {expected}");
                }
            }
        }
    }
}
