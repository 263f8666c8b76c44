//! Everything at once, for a while: results do not change, and memory does not
//! grow. `cargo xtask soak` takes longer than the brief run here.

use bertscript::{
    AggregationStrategy, Cancel, Checkpoint, ClassifyOptions, Device, Dtype, EmbedOptions,
    EntitiesOptions, ErrorKind, FillMaskOptions, LoadOptions, Module, Plan, PreTrained, Result,
};
use bertscript_tests::{fixture, scratch};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 8;
/// The variable that says for how long, in seconds.
const SECONDS: &str = "BERTSCRIPT_SOAK_SECONDS";
/// The variable that the sanitizer of races is told by. It keeps memory of its own.
const SANITIZER: &str = "TSAN_OPTIONS";
/// What growth is taken for none, after the first tenth of the time: what threads
/// and allocators keep differs from one moment to the next.
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
    let values = module.embed(&texts(), &options)?.values;
    Ok((String::new(), Vec::try_from(values.reshape(-1).to_kind(tch::Kind::Double))?))
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

/// A model in a file, and what it answers by each plan when nothing else runs.
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
        let checkpoint = Checkpoint::open(&fixture("text").join(name)).unwrap();
        let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
        let file = folder.join(name).with_extension("pt");
        bertscript::export(&model, &checkpoint, &[], &file).unwrap();
        let loaded = Module::load(&file, Device::Cpu, None).unwrap();
        let modules = Plan::ALL.map(|plan| loaded.with_plan(plan).unwrap());
        let answers = modules.each_ref().map(|module| task(module, Cancel::default()).unwrap());
        let bytes = std::fs::read(&file).unwrap();
        Self { name, task, file, bytes, modules, answers }
    }

    fn check(&self, plan: usize, found: &Answer) {
        let what = format!("{} by {}", self.name, Plan::ALL[plan]);
        let expected = &self.answers[plan];
        assert_eq!(found.0, expected.0, "{what}");
        assert_eq!(found.1.len(), expected.1.len(), "{what}");
        // libtorch adds up as the threads come; packed plans give the same bits.
        let bound = if Plan::ALL[plan] == Plan::Scripted { 1e-5 } else { 0. };
        for (found, expected) in found.1.iter().zip(&expected.1) {
            assert!((found - expected).abs() <= bound, "{what}: {found} {expected}");
        }
    }

    /// One thing that a service might do; which, the number says.
    fn act(&self, number: u64) {
        let plan = (number / 16 % 3) as usize;
        let run =
            |module: &Module| self.check(plan, &(self.task)(module, Cancel::default()).unwrap());
        match number % 16 {
            0 => {
                let module = Module::load(&self.file, Device::Cpu, None).unwrap();
                run(&module.with_plan(Plan::ALL[plan]).unwrap());
            }
            1 => {
                let module = Module::from_bytes(&self.bytes, Device::Cpu, None).unwrap();
                run(&module.with_plan(Plan::ALL[plan]).unwrap());
            }
            2 => {
                let module = self.modules[plan].to(None, Some(Dtype::BF16)).unwrap();
                let found = (self.task)(&module, Cancel::default()).unwrap();
                assert!(found.1.iter().all(|value| value.is_finite()), "{} in bf16", self.name);
            }
            3 => {
                let cancel = Cancel::default();
                let found = thread::scope(|scope| {
                    scope.spawn(|| cancel.cancel());
                    (self.task)(&self.modules[plan], cancel.clone())
                });
                match found {
                    Ok(found) => self.check(plan, &found),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
                }
            }
            4 => {
                let error =
                    Module::from_bytes(&self.bytes[..self.bytes.len() / 2], Device::Cpu, None);
                assert_eq!(error.unwrap_err().kind(), ErrorKind::Archive);
            }
            _ => run(&self.modules[plan]),
        }
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
    let seconds = std::env::var(SECONDS).map_or(10., |seconds| seconds.parse().unwrap());
    let scratch = scratch();
    let kits = TASKS.map(|(name, task)| Kit::new(name, task, scratch.path()));
    let (start, whole) = (Instant::now(), Duration::from_secs_f64(seconds));
    let acts = AtomicU64::new(0);
    let memory = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while start.elapsed() < whole {
                    let number = acts.fetch_add(1, Ordering::Relaxed);
                    // Spread over all, in an order that does not repeat soon.
                    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                    kits[(number % 5) as usize].act(number / 5);
                }
            });
        }
        let mut memory = Vec::new();
        while start.elapsed() < whole {
            thread::sleep(whole / 100);
            memory.push(resident());
        }
        memory
    });
    for kit in &kits {
        for (plan, module) in kit.modules.iter().enumerate() {
            kit.check(plan, &(kit.task)(module, Cancel::default()).unwrap());
        }
    }
    let of = |part: &[u64]| part.iter().copied().max().unwrap();
    let (early, late) = (of(&memory[..memory.len() / 5]), of(&memory[memory.len() * 4 / 5..]));
    println!(
        "{seconds} s, {THREADS} threads: {} acts; {} MiB at most in the first fifth, {} MiB in the last",
        acts.into_inner(),
        early >> 20,
        late >> 20
    );
    let is_ours = std::env::var_os(SANITIZER).is_none();
    assert!(!is_ours || late <= early + GROWTH, "memory grew from {early} to {late} bytes");
}
