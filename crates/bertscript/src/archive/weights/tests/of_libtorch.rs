//! Archives that libtorch writes and reads.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::family::Architecture;
use crate::load::LoadOptions;
use crate::models::PreTrained;
use crate::shapes::Shapes;
use crate::trace::trace;
use crate::untie::TieWeights;
use std::path::PathBuf;
use torchscript::ScriptModule;

/// The directories of checkpoints in `tests/fixtures`.
fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let folders = [root.join("text"), root];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.join("config.json").exists());
    found.sort();
    found
}

/// Compares the weights of an archive with those that libtorch loads.
fn compare_with_libtorch(archive: &Archive, script: &ScriptModule) -> ArchiveWeights {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pt");
    archive.save(script, &path).unwrap();
    let named = ScriptModule::load(&path, None).unwrap().named_tensors().unwrap();
    let ours = |tensor: &tch::Tensor| Tensor::try_from(tensor.shallow_clone()).unwrap();
    let expected: Vec<_> = named.iter().map(|named| ours(&named.tensor)).collect();

    let file = File::open(&path).unwrap();
    let weights = ArchiveWeights::from_file(&file).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(ArchiveWeights::from_bytes(&bytes).unwrap(), weights);
    weights.check_size(archive.metadata()).unwrap();

    let mapped = Arc::new(MappedFile::new(&file).unwrap());
    let found = weights.tensors(&mapped).unwrap();
    assert_eq!(found.len(), expected.len());
    for ((((name, record), (_, tensor)), named), expected) in
        weights.iter().zip(&found).zip(&named).zip(&expected)
    {
        assert_eq!(name, named.name);
        assert_eq!(record.element_type(), expected.element_type(), "{name}");
        assert_eq!(record.size(), named.tensor.size(), "{name}");
        assert_eq!(record.stride(), named.tensor.stride(), "{name}");
        assert!(record.is_mappable(), "{name}");
        for tensor in [tensor, &weights.tensor(&mapped, name).unwrap()] {
            assert_eq!(offset_of(&mapped, tensor), Some(record.offset()), "{name}");
            assert!(tensor.equals(expected).unwrap(), "{name}");
        }
    }
    let shared = |offsets: Vec<usize>| offsets.len() - BTreeSet::from_iter(offsets).len();
    assert_eq!(
        shared(weights.iter().map(|(_, record)| record.offset()).collect()),
        shared(expected.iter().filter_map(Tensor::address).collect())
    );
    weights
}

#[test]
fn weights_are_those_that_libtorch_loads() {
    let (mut kinds, mut architectures, mut tied) = (HashSet::new(), BTreeSet::new(), 0);
    for directory in fixtures() {
        for ties in [TieWeights::Untie, TieWeights::Keep] {
            let checkpoint = Checkpoint::open(&directory).unwrap();
            // Whose config.json names none.
            let is_model = directory.ends_with("model-eps");
            let architecture = is_model.then(|| "BertModel".parse().unwrap());
            let options = LoadOptions { architecture, ties, ..LoadOptions::default() };
            let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
            if ties == TieWeights::Keep && model.report().ties.tied.is_empty() {
                continue;
            }
            let script = trace(&model, &Shapes::Any).unwrap();
            let archive = Archive::new(&model, &Shapes::Any).unwrap();
            let weights = compare_with_libtorch(&archive, &script);
            kinds.extend(weights.iter().map(|(_, record)| record.element_type()));
            architectures.insert(model.architecture().name());
            for [source, target] in &model.report().ties.tied {
                assert_eq!(weights.get(source), weights.get(target), "{source}, {target}");
                tied += 1;
            }
        }
    }
    assert_eq!(kinds, HashSet::from([ElementType::F32, ElementType::BF16, ElementType::F16]));
    let of_bert = Architecture::all().filter(|known| known.model_type() == "bert");
    assert!(of_bert.into_iter().all(|known| architectures.contains(&known.name())));
    assert!(tied > 0);
}

#[test]
fn a_description_of_other_sizes_is_refused() {
    let root = fixtures().into_iter().find(|path| path.ends_with("masked-lm")).unwrap();
    let checkpoint = Checkpoint::open(&root).unwrap();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    let metadata = Archive::new(&model, &Shapes::Any).unwrap().metadata().clone();
    let bytes = archive(&one(4, 0, &[4], &[1]), &[("data/0", &[0; 16])], &Zip::default());
    let error = ArchiveWeights::from_bytes(&bytes).unwrap().check_size(&metadata).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Archive);
    let expected = format!(
        "bertscript.json: parameter_count: found {}, expected 4 of the tensors in data.pkl",
        metadata.parameter_count
    );
    assert_eq!(error.to_string(), expected);
    let metadata = Metadata { parameter_count: 4, ..metadata };
    let error = ArchiveWeights::from_bytes(&bytes).unwrap().check_size(&metadata).unwrap_err();
    assert!(error.to_string().contains("parameter_bytes"), "{error}");
}
