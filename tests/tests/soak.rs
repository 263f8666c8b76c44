//! Everything at once: results do not change, and memory does not grow. What is done is
//! counted, so that a slow machine does the same in more time. `cargo xtask soak` does more
//! of it than the brief run here.

use bertscript::{
    AggregationStrategy, Cancel, Checkpoint, ClassifyOptions, Device, Dtype, EmbedOptions,
    EntitiesOptions, ErrorKind, FillMaskOptions, LoadOptions, Module, PreTrained, Result, Shapes,
};
use bertscript_tests::{Execution, fixture, scratch};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

const THREADS: usize = 8;
/// The variable that says how many rounds are measured. In a round, each thread does
/// every act with every model by every engine.
const ROUNDS: &str = "BERTSCRIPT_SOAK_ROUNDS";
/// Rounds before memory is looked at: caches and the allocator's arenas fill up.
const WARM_UP: usize = 1;
/// The variable that the sanitizer of races is told by. It keeps memory of its own.
const SANITIZER: &str = "TSAN_OPTIONS";
/// The growth between the ends of two rounds that counts as none: what the allocator
/// keeps differs from one to the next.
const GROWTH: u64 = 24 << 20;

/// Texts of every length up to what the models take, some empty.
fn texts() -> Vec<String> {
    let words = ["the", "cat", "[MASK]", "sat", "on", "a", "mat", "über", "日本", "dogs", "🐕"];
    let lengths = [0, 1, 3, 7, 2, 13, 5, 21, 30, 4, 9, 17];
    let text = |(number, length): (usize, usize)| -> String {
        let of = |at: usize| words[(number * 5 + at * 3) % words.len()];
        (0..length).map(of).collect::<Vec<_>>().join(" ")
    };
    lengths.into_iter().enumerate().map(text).collect()
}

/// A task, and what it says: words that must be the same, and numbers.
type Answer = (String, Vec<f64>);
type Task = fn(&Module, Cancel) -> Result<Answer>;

fn embed(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = EmbedOptions { batch_tokens: Some(64), cancel, ..EmbedOptions::default() };
    let embeddings = module.embed(&texts(), &options)?;
    Ok((String::new(), embeddings.as_slice().iter().map(|value| f64::from(*value)).collect()))
}

fn classify(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = ClassifyOptions { cancel, ..ClassifyOptions::default() };
    let found = module.classify(&texts(), &options)?;
    let labels = found.iter().flat_map(|found| &found.labels);
    Ok(labels.map(|found| (found.label.as_str(), f64::from(found.score))).unzip())
}

fn next_sentence(module: &Module, cancel: Cancel) -> Result<Answer> {
    let (texts, options) = (texts(), ClassifyOptions { cancel, ..ClassifyOptions::default() });
    let pairs = texts.iter().zip(texts.iter().rev());
    let pairs = pairs.map(|(text, pair)| (text.as_str(), pair.as_str()));
    let found = module.next_sentence(pairs, &options)?;
    let labels = found.iter().flat_map(|found| &found.labels);
    Ok(labels.map(|found| (found.label.as_str(), f64::from(found.score))).unzip())
}

fn entities(module: &Module, cancel: Cancel) -> Result<Answer> {
    let aggregation_strategy = AggregationStrategy::First;
    let options = EntitiesOptions { aggregation_strategy, cancel, ..EntitiesOptions::default() };
    let found = module.entities(&texts(), &options)?;
    let entities = found.iter().flat_map(|found| &found.entities);
    Ok(entities.map(|found| (found.word.as_str(), f64::from(found.score))).unzip())
}

fn fill_mask(module: &Module, cancel: Cancel) -> Result<Answer> {
    let options = FillMaskOptions { cancel, ..FillMaskOptions::default() };
    let masked = texts().into_iter().filter(|text| text.contains("[MASK]")).collect::<Vec<_>>();
    let found = module.fill_mask(&masked, &options)?;
    let fillings = found.iter().flat_map(|found| found.masks.iter().flatten());
    Ok(fillings.map(|found| (found.token_str.as_str(), f64::from(found.score))).unzip())
}

const TASKS: [(&str, Task); 5] = [
    ("sentence", embed),
    ("classify-single", classify),
    ("next-sentence", next_sentence),
    ("entities", entities),
    ("masked", fill_mask),
];

/// A model in a file, and what it answers by each engine when nothing else runs.
struct Kit {
    name: &'static str,
    task: Task,
    file: PathBuf,
    bytes: Vec<u8>,
    modules: [Module; 3],
    answers: [Answer; 3],
}

impl Kit {
    fn new(name: &'static str, task: Task, folder: &std::path::Path) -> Self {
        let checkpoint = Checkpoint::open(fixture("text").join(name)).unwrap();
        let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
        let file = folder.join(name).with_extension("pt");
        model.export(&Shapes::Any, &file).unwrap();
        let loaded = Module::load(&file, Device::Cpu, None).unwrap();
        let modules = Execution::ALL.map(|execution| execution.of(&loaded).unwrap());
        let answers = modules.each_ref().map(|module| task(module, Cancel::default()).unwrap());
        let bytes = std::fs::read(&file).unwrap();
        Self { name, task, file, bytes, modules, answers }
    }

    fn check(&self, execution: usize, found: &Answer) {
        let what = format!("{} by {}", self.name, Execution::ALL[execution]);
        let expected = &self.answers[execution];
        assert_eq!(found.0, expected.0, "{what}");
        assert_eq!(found.1.len(), expected.1.len(), "{what}");
        // libtorch adds up as the threads come; the native engine gives the same bits.
        let bound = if Execution::ALL[execution] == Execution::TorchScript { 1e-5 } else { 0. };
        for (found, expected) in found.1.iter().zip(&expected.1) {
            assert!((found - expected).abs() <= bound, "{what}: {found} {expected}");
        }
    }

    /// One thing that a service might do.
    fn act(&self, act: Act, execution: usize) {
        let run = |module: &Module| {
            self.check(execution, &(self.task)(module, Cancel::default()).unwrap())
        };
        match act {
            Act::Load => {
                let module = Module::load(&self.file, Device::Cpu, None).unwrap();
                run(&Execution::ALL[execution].of(&module).unwrap());
            }
            Act::LoadFromMemory => {
                let module = Module::from_bytes(&self.bytes, Device::Cpu, None).unwrap();
                run(&Execution::ALL[execution].of(&module).unwrap());
            }
            Act::Cast => {
                let module = self.modules[execution].to(None, Some(Dtype::BF16)).unwrap();
                let found = (self.task)(&module, Cancel::default()).unwrap();
                assert!(found.1.iter().all(|value| value.is_finite()), "{} in bf16", self.name);
            }
            Act::Cancel => {
                let cancel = Cancel::default();
                let found = thread::scope(|scope| {
                    scope.spawn(|| cancel.cancel());
                    (self.task)(&self.modules[execution], cancel.clone())
                });
                match found {
                    Ok(found) => self.check(execution, &found),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
                }
            }
            Act::LoadDamaged => {
                let error =
                    Module::from_bytes(&self.bytes[..self.bytes.len() / 2], Device::Cpu, None);
                assert_eq!(error.unwrap_err().kind(), ErrorKind::Archive);
            }
            Act::Run => run(&self.modules[execution]),
        }
    }
}

#[derive(Clone, Copy)]
enum Act {
    Load,
    LoadFromMemory,
    Cast,
    Cancel,
    LoadDamaged,
    Run,
}

const ACTS: [Act; 6] =
    [Act::Load, Act::LoadFromMemory, Act::Cast, Act::Cancel, Act::LoadDamaged, Act::Run];

/// Acts of a thread in a round.
const ROUND: usize = TASKS.len() * ACTS.len() * Execution::ALL.len();

/// Every act once, each thread and round in another order.
fn round(kits: &[Kit], thread: usize, round: usize) {
    // A step that has no divisor in common with their number meets all of them.
    let (start, step) = (thread * ROUND / THREADS, [7, 11, 13, 17, 19, 23][(thread + round) % 6]);
    for act in (0..ROUND).map(|number| (start + number * step) % ROUND) {
        let (kit, act) = (&kits[act % kits.len()], act / kits.len());
        kit.act(ACTS[act % ACTS.len()], act / ACTS.len());
    }
}

/// What the process has in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn nothing_changes_and_nothing_grows() {
    let rounds = std::env::var(ROUNDS).map_or(2, |rounds| rounds.parse().unwrap());
    assert!(rounds > 0, "{ROUNDS}: found 0, expected at least 1");
    let scratch = scratch();
    let kits = TASKS.map(|(name, task)| Kit::new(name, task, scratch.path()));
    let between_rounds = Barrier::new(THREADS + 1);
    let memory: Vec<_> = thread::scope(|scope| {
        for thread in 0..THREADS {
            let (kits, between_rounds) = (&kits, &between_rounds);
            scope.spawn(move || {
                let mut done = Ok(());
                for number in 0..WARM_UP + rounds {
                    between_rounds.wait();
                    // The others would wait for ever for a thread that panics.
                    if done.is_ok() {
                        done = catch_unwind(AssertUnwindSafe(|| round(kits, thread, number)));
                    }
                    between_rounds.wait();
                }
                done.unwrap_or_else(|panic| resume_unwind(panic));
            });
        }
        let measured = (0..WARM_UP + rounds).map(|_| {
            between_rounds.wait();
            between_rounds.wait();
            resident()
        });
        measured.collect()
    });
    for kit in &kits {
        for (execution, module) in kit.modules.iter().enumerate() {
            kit.check(execution, &(kit.task)(module, Cancel::default()).unwrap());
        }
    }
    let mebibytes: Vec<_> = memory.iter().map(|bytes| bytes >> 20).collect();
    println!(
        "{THREADS} threads, {} acts a round; MiB after each round, {WARM_UP} of them to warm up: {mebibytes:?}",
        THREADS * ROUND,
    );
    let (early, late) = (memory[WARM_UP - 1], memory[memory.len() - 1]);
    let is_ours = std::env::var_os(SANITIZER).is_none();
    assert!(!is_ours || late <= early + GROWTH, "memory grew from {early} to {late} bytes");
}
