//! What the tests share: fixtures, scratch folders, and the `bertscript` command.

pub mod disk;
pub mod fuzzing;
pub mod gpu;
pub mod torture;

use bertscript::{
    Architecture, Checkpoint, EngineKind, Error, Inputs, Module, Precision, Tensor,
    read_safetensors,
};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The folder of a committed fixture.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The architecture of this class.
pub fn architecture(class: &str) -> Architecture {
    class.parse().unwrap()
}

/// A checkpoint with inputs and the outputs that transformers computed.
#[derive(Debug, Clone, Copy)]
pub struct Golden {
    /// The folder in `fixtures`.
    pub name: &'static str,
    /// The class to load.
    pub class: &'static str,
    /// Whether hidden states and attentions are returned too.
    pub everything: bool,
}

const fn golden(name: &'static str, class: &'static str) -> Golden {
    Golden { name, class, everything: false }
}

/// Every golden. A new model or head is one row here; all doors run it.
pub const GOLDENS: [Golden; 38] = [
    golden("model", "BertModel"),
    golden("model-eps", "BertModel"),
    golden("model-bf16", "BertModel"),
    golden("model-f16", "BertModel"),
    golden("masked-lm", "BertForMaskedLM"),
    golden("masked-lm-bare", "BertForMaskedLM"),
    golden("masked-lm-different", "BertForMaskedLM"),
    golden("masked-lm-untied", "BertForMaskedLM"),
    golden("format-legacy-wrapped", "BertForMaskedLM"),
    golden("pretraining", "BertForPreTraining"),
    golden("next-sentence", "BertForNextSentencePrediction"),
    golden("sequence-classification", "BertForSequenceClassification"),
    golden("sequence-regression", "BertForSequenceClassification"),
    golden("token-classification", "BertForTokenClassification"),
    golden("question-answering", "BertForQuestionAnswering"),
    golden("multiple-choice", "BertForMultipleChoice"),
    golden("ernie", "ErnieModel"),
    golden("roberta", "RobertaModel"),
    golden("roberta-masked-lm", "RobertaForMaskedLM"),
    golden("xlm-roberta-classification", "XLMRobertaForSequenceClassification"),
    golden("distilbert-masked-lm", "DistilBertForMaskedLM"),
    golden("distilbert-classification", "DistilBertForSequenceClassification"),
    golden("electra-pretraining", "ElectraForPreTraining"),
    golden("electra-masked-lm", "ElectraForMaskedLM"),
    golden("electra-multiple-choice", "ElectraForMultipleChoice"),
    golden("mpnet", "MPNetModel"),
    golden("mpnet-masked-lm", "MPNetForMaskedLM"),
    golden("deberta-v2", "DebertaV2Model"),
    golden("deberta-v2-masked-lm", "DebertaV2ForMaskedLM"),
    golden("deberta-v2-classification", "DebertaV2ForSequenceClassification"),
    golden("modernbert-masked-lm", "ModernBertForMaskedLM"),
    golden("modernbert-classification", "ModernBertForSequenceClassification"),
    golden("nomic-bert", "NomicBertModel"),
    golden("gte-classification", "GteForSequenceClassification"),
    golden("jina-embeddings-v3", "JinaEmbeddingsV3Model"),
    golden("megatron-bert", "MegatronBertModel"),
    golden("albert-pretraining", "AlbertForPreTraining"),
    Golden { name: "eager-everything", class: "BertForTokenClassification", everything: true },
];

impl Golden {
    /// The row of this name.
    pub fn named_row(name: &str) -> Self {
        GOLDENS.into_iter().find(|golden| golden.name == name).unwrap()
    }

    /// The architecture to load.
    pub fn architecture(&self) -> Architecture {
        architecture(self.class)
    }

    /// Its folder.
    pub fn directory(&self) -> PathBuf {
        fixture(self.name)
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::open(self.directory()).unwrap()
    }

    /// The inputs that the oracle had.
    pub fn inputs(&self) -> Inputs {
        Inputs::from_named(self.named("inputs")).unwrap()
    }

    /// Its attention mask.
    pub fn mask(&self) -> Tensor {
        let mut named = self.named("inputs").into_iter();
        named.find(|(name, _)| name == "attention_mask").unwrap().1
    }

    /// The tensors of `inputs.safetensors` or `outputs.safetensors`.
    pub fn named(&self, file: &str) -> Vec<(String, Tensor)> {
        read_safetensors(self.directory().join(file).with_extension("safetensors")).unwrap()
    }
}

/// A way to execute a module, of those that are tested side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// The archive's own code.
    TorchScript,
    /// The engine that is chosen by default, without padding.
    Unpadded,
    /// The same, with linear layers of 8-bit integers.
    Int8,
}

impl Execution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TorchScript, Self::Unpadded, Self::Int8];

    /// The same module, executed so.
    pub fn of(self, module: &Module) -> Result<Module, Error> {
        let precision = Precision::from(module.dtype());
        let torchscript = Some(EngineKind::TorchScript);
        match self {
            Self::TorchScript => module.with_engine_and_precision(torchscript, precision),
            Self::Int8 => module.with_engine_and_precision(None, Precision::Int8),
            Self::Unpadded => {
                let unpadded = module.with_engine_and_precision(None, precision)?;
                match unpadded.engine() {
                    EngineKind::TorchScript => unpadded.with_engine(Some(EngineKind::Native)),
                    _ => Ok(unpadded),
                }
            }
        }
    }

    /// The arguments of the command that say so.
    pub fn arguments(self) -> [&'static str; 2] {
        match self {
            Self::TorchScript => ["--engine", "torchscript"],
            Self::Unpadded => ["--engine", "native"],
            Self::Int8 => ["--precision", "int8"],
        }
    }
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.arguments()[1])
    }
}

/// What an execution gives where the archive's own code gives `values`: without padding,
/// zeros where a token is masked.
pub fn at_tokens(execution: Execution, mask: &Tensor, values: &Tensor) -> Tensor {
    let length = *mask.shape().last().unwrap() as i64;
    let (mask, torch) = (self::torch(mask), self::torch(values));
    let mut hole = mask.eq(0).reshape([-1, length]);
    if execution == Execution::TorchScript || !torch.size().starts_with(&hole.size()) {
        return values.clone();
    }
    while hole.dim() < torch.dim() {
        hole = hole.unsqueeze(-1);
    }
    torch.masked_fill(&hole, 0.).try_into().unwrap()
}

/// A tensor of libtorch, to compute with.
pub fn torch(tensor: &Tensor) -> tch::Tensor {
    tensor.try_into().unwrap()
}

/// One model in every form of weight file.
pub const FORMATS: [&str; 6] = [
    "format-safetensors",
    "format-safetensors-sharded",
    "format-zip",
    "format-zip-sharded",
    "format-legacy",
    "format-legacy-wrapped",
];

/// A folder for one test, removed at its end.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Copies a fixture, to be damaged.
pub fn copy_of(name: &str) -> tempfile::TempDir {
    let scratch = scratch();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, scratch.path().join(path.file_name().unwrap())).unwrap();
    }
    scratch
}

/// Runs the `bertscript` command.
pub fn bertscript<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

/// Runs the command, which must succeed, and returns its standard output.
pub fn bertscript_ok<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> String {
    let output = bertscript(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The `bertscript` command.
pub fn binary() -> PathBuf {
    built().join("bertscript")
}

/// The shared library of the C ABI.
pub fn library() -> PathBuf {
    built().join("libbertscript.so")
}

/// The plug-in for libtorch, which both find beside them.
pub fn library_of_torch() -> PathBuf {
    built().join("libbertscript_torch.so")
}

/// An example of the `bertscript` crate, built.
pub fn example(name: &str) -> PathBuf {
    build(&["--example", name]);
    profile().join("examples").join(name)
}

/// The libtorch that everything is built against.
pub fn libtorch() -> PathBuf {
    PathBuf::from(std::env::var_os("LIBTORCH").unwrap())
}

/// Those of some tools that are on this machine; `.ci/run` installs all.
pub fn installed<'a>(tools: &[&'a str]) -> Vec<&'a str> {
    let runs = |tool: &&str| Command::new(tool).arg("--version").output().is_ok();
    tools.iter().copied().filter(runs).collect()
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A C or C++ program, compiled as a stranger would, with plain cc, in a folder
/// with the library.
pub struct CProgram(tempfile::TempDir);

impl CProgram {
    /// Compiles a source file.
    pub fn build(source: &Path) -> Self {
        Self::build_with(source, &[])
    }

    /// Compiles a source file, with further arguments of the compiler.
    pub fn build_with(source: &Path, arguments: &[&str]) -> Self {
        let output = Self::compile(source, arguments);
        match output {
            Ok(program) => program,
            Err(message) => panic!("{message}"),
        }
    }

    /// Compiles a source file, or tells what the compiler says.
    pub fn compile(source: &Path, arguments: &[&str]) -> Result<Self, String> {
        let folder = scratch();
        // Programs ask for the library by its soname, which an installed tree has.
        for name in ["libbertscript.so", "libbertscript.so.0.1"] {
            std::os::unix::fs::symlink(library(), folder.path().join(name)).unwrap();
        }
        let is_cpp = source.extension().is_some_and(|ending| ending == "cc");
        let (compiler, standard) = if is_cpp { ("c++", "-std=c++17") } else { ("cc", "-std=c99") };
        let output = Command::new(compiler)
            .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"])
            .arg(folder.path().join("program"))
            .arg(source)
            .args(arguments)
            .arg("-I")
            .arg(root().join("include"))
            .arg("-L")
            .arg(folder.path())
            .args(["-lbertscript", "-pthread", "-Wl,-rpath,$ORIGIN"])
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(Self(folder)),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Runs it.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// The command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.folder().join("program"));
        command.current_dir(self.folder()).env_remove("LD_LIBRARY_PATH");
        command
    }
}

/// Where command and libraries are, built.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        build(&["--lib", "--bin", "bertscript"]);
        profile()
    })
}

/// Cargo names what it builds only to tests of the same package, so this builds it; for the
/// whole workspace, as which it was built before.
fn build(targets: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--workspace"]).args(targets);
    if profile().file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success(), "{targets:?} do not build");
}

/// `target/debug`, or `target/release`.
fn profile() -> PathBuf {
    // target/PROFILE/deps/this-test
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}
