//! Every task, cancelled at every place where it looks.

use super::{
    AnswerOptions, Cancel, ClassifyOptions, EmbedOptions, EmbedSparseOptions, EntitiesOptions,
    FillMaskOptions, RankOptions, ZeroShotOptions,
};
use crate::archive::Archive;
use crate::checkpoint::Checkpoint;
use crate::device::Device;
use crate::engine::{EngineKind, Precision};
use crate::error::{ErrorKind, Result};
use crate::load::LoadOptions;
use crate::models::PreTrained;
use crate::module::Module;
use crate::shapes::Shapes;
use crate::trace::trace;

/// Texts of several lengths.
const TEXTS: [&str; 6] =
    ["the [MASK]", "a [MASK] sat", "[MASK]", "the cat saw a [MASK]", "on [MASK] mat", "[MASK] it"];
/// So few that there is a batch for about each text.
const BATCH: Option<usize> = Some(8);

/// What a task says: words that must be the same, and numbers. libtorch adds up as its
/// threads come.
type Answer = (String, Vec<f32>);
type Task = fn(&Module, Cancel) -> Result<Answer>;

fn embed(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = EmbedOptions { batch_tokens: BATCH, cancel, ..EmbedOptions::default() };
    Ok((String::new(), module.embed(TEXTS, &options)?.as_slice().to_vec()))
}

fn embed_sparse(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = EmbedSparseOptions { batch_tokens: BATCH, cancel, ..Default::default() };
    Ok((String::new(), module.embed_sparse(TEXTS, &options)?.values().to_vec()))
}

fn classify(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = ClassifyOptions { batch_tokens: BATCH, cancel, ..ClassifyOptions::default() };
    let found = module.classify(TEXTS, &options)?;
    let labels = found.iter().flat_map(|found| &found.labels);
    Ok(labels.map(|found| (found.label.as_str(), found.score)).unzip())
}

fn next_sentence(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = ClassifyOptions { batch_tokens: BATCH, cancel, ..ClassifyOptions::default() };
    let found = module.next_sentence(TEXTS.map(|text| (text, "a dog")), &options)?;
    let labels = found.iter().flat_map(|found| &found.labels);
    Ok(labels.map(|found| (found.label.as_str(), found.score)).unzip())
}

fn rank(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = RankOptions { batch_tokens: BATCH, cancel, ..RankOptions::default() };
    let found = module.rank("a cat", TEXTS, &options)?;
    // Int8 and float16 round, so that the order of near scores is theirs.
    let mut scores: Vec<_> = found.iter().map(|found| (found.index, found.score)).collect();
    scores.sort_by_key(|(index, _)| *index);
    Ok((String::new(), scores.into_iter().map(|(_, score)| score).collect()))
}

fn zero_shot(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = ZeroShotOptions { batch_tokens: BATCH, cancel, ..ZeroShotOptions::default() };
    let found = module.zero_shot(TEXTS, &["cat", "a dog"], &options)?;
    let labels = found.iter().flat_map(|found| &found.labels);
    Ok((String::new(), labels.map(|found| found.score).collect()))
}

fn entities(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = EntitiesOptions { batch_tokens: BATCH, cancel, ..EntitiesOptions::default() };
    let found = module.entities(TEXTS, &options)?;
    let entities = found.iter().flat_map(|found| &found.entities);
    Ok(entities.map(|found| (found.entity.as_str(), found.score)).unzip())
}

fn answer(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = AnswerOptions { batch_tokens: BATCH, cancel, ..AnswerOptions::default() };
    let found = module.answer(TEXTS.map(|text| ("a cat", text)), &options)?;
    let answers = found.iter().flat_map(|found| &found.answers);
    Ok(answers.map(|found| (found.answer.as_str(), found.score)).unzip())
}

fn fill_mask(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = FillMaskOptions { batch_tokens: BATCH, cancel, ..FillMaskOptions::default() };
    let found = module.fill_mask(TEXTS, &options)?;
    let fillings = found.iter().flat_map(|found| found.masks.iter().flatten());
    Ok(fillings.map(|found| (found.token_str.as_str(), found.score)).unzip())
}

const TASKS: [(&str, &str, Task); 10] = [
    ("sentence", "BertModel", embed),
    ("sparse", "BertForMaskedLM", embed_sparse),
    ("classify-single", "BertForSequenceClassification", classify),
    ("reranker", "BertForSequenceClassification", rank),
    ("sentence", "BertModel", rank),
    ("inference", "BertForSequenceClassification", zero_shot),
    ("next-sentence", "BertForNextSentencePrediction", next_sentence),
    ("entities", "BertForTokenClassification", entities),
    ("masked", "BertForQuestionAnswering", answer),
    ("masked", "BertForMaskedLM", fill_mask),
];

fn same((words, numbers): &Answer, (other_words, others): &Answer) -> bool {
    let close = numbers.iter().zip(others).all(|(number, other)| (number - other).abs() <= 1e-5);
    words == other_words && numbers.len() == others.len() && close
}

#[test]
fn a_task_ends_where_it_is_cancelled_and_the_next_call_works() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    for (name, architecture, task) in TASKS {
        let checkpoint = Checkpoint::open(fixtures.join("text").join(name)).unwrap();
        let options = LoadOptions {
            architecture: Some(architecture.parse().unwrap()),
            random_init: Some(1),
            ..LoadOptions::default()
        };
        let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
        let file = folder.path().join("model.pt");
        let script = trace(&model, &Shapes::Any).unwrap();
        Archive::new(&model, &Shapes::Any).unwrap().save(&script, &file).unwrap();
        let loaded = Module::load(&file, Device::Cpu, None).unwrap();
        let executed_by = [
            loaded.with_engine(Some(EngineKind::TorchScript)),
            loaded.with_engine(None),
            loaded.with_precision(Precision::Int8),
            loaded.with_precision(Precision::F16),
        ];
        for module in executed_by {
            let module = module.unwrap();
            let by = format!("{} in {}", module.engine(), module.precision());
            let expected = task(&module, Cancel::default()).unwrap();
            assert!(!expected.1.is_empty(), "{architecture}");
            let mut stages = 0;
            loop {
                let what = format!("{architecture} by {by}, at look {}", stages + 1);
                match task(&module, Cancel::at_look(stages + 1)) {
                    Ok(found) => {
                        assert!(same(&found, &expected), "{what}");
                        break;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{what}: {error}"),
                }
                let next = task(&module, Cancel::default()).unwrap();
                assert!(same(&next, &expected), "{what}: the next call");
                stages += 1;
            }
            assert!(stages >= 3, "{architecture} by {by} looks {stages} times");
        }
    }
}
