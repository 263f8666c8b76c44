//! The variants that are measured side by side, and what they run on.

use bertscript::{
    Device, Dtype, EngineKind, ErrorKind, Inputs, Module, Outputs, PreTrained, Precision, Shapes,
    Tensor, verify,
};
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// A way to run an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Variant {
    /// The engine that is chosen by default, without padding
    Auto,
    /// The same, with linear layers of 8-bit integers
    Int8,
    /// The archive's own code, by libtorch
    Torchscript,
    /// That code with the weights as constants
    Frozen,
    /// The model operator by operator, without TorchScript
    Eager,
    /// The archive's own code, every text padded to the model's maximum
    FixedPad,
}

impl Variant {
    pub(super) const ALL: [Self; 6] =
        [Self::Auto, Self::Int8, Self::Torchscript, Self::Frozen, Self::Eager, Self::FixedPad];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Int8 => "int8",
            Self::Torchscript => "torchscript",
            Self::Frozen => "frozen",
            Self::Eager => "eager",
            Self::FixedPad => "fixed-pad",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A variant that is ready to run.
pub(super) enum Runner {
    Module(Box<Module>),
    Eager(Box<PreTrained>),
}

impl Runner {
    /// Makes a variant ready, or says why it cannot be had.
    pub(super) fn new(variant: Variant, module: &Module) -> anyhow::Result<Result<Self, String>> {
        let fixed = module.metadata().is_some_and(|metadata| metadata.shapes != Shapes::Any);
        Ok(Ok(match variant {
            Variant::Auto => match module.engine() {
                EngineKind::TorchScript => {
                    let unpadded = module.with_engine(Some(EngineKind::Native));
                    return Ok(Err(
                        unpadded.map_or_else(|e| e.message().to_owned(), |_| String::new())
                    ));
                }
                _ => Self::Module(Box::new(module.with_engine(None)?)),
            },
            Variant::Int8 => match module.with_precision(Precision::Int8) {
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(Err(error.message().to_owned()));
                }
                module => Self::Module(Box::new(module?)),
            },
            Variant::Torchscript => Self::Module(Box::new(script(module)?)),
            Variant::Frozen => Self::Module(Box::new(module.frozen()?)),
            Variant::Eager if module.device() != Device::Cpu => {
                return Ok(Err("the module is not on the CPU".to_owned()));
            }
            Variant::Eager => Self::Eager(Box::new(verify::eager_model(module, None)?)),
            Variant::FixedPad if fixed => {
                return Ok(Err("the archive is of fixed shapes, and pads by itself".to_owned()));
            }
            Variant::FixedPad => Self::Module(Box::new(script(module)?)),
        }))
    }

    /// Its outputs, once they are there.
    pub(super) fn run(&self, batch: &Batch) -> bertscript::Result<Outputs> {
        let inputs = batch.inputs();
        match self {
            Self::Module(module) => {
                let outputs = module.run(&inputs)?;
                module.wait()?;
                Ok(outputs)
            }
            Self::Eager(model) => model.run(&inputs),
        }
    }
}

fn script(module: &Module) -> bertscript::Result<Module> {
    module.with_engine(Some(EngineKind::TorchScript))
}

/// What kind of inputs a file takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds {
    pub(super) vocab_size: i64,
    pub(super) max_length: i64,
    /// Sequences that make one text of a batch: of multiple choice two.
    pub(super) choices: Option<i64>,
}

/// Texts of random tokens.
pub(super) struct Batch {
    /// `[B,S]`, of multiple choice `[B,C,S]`
    ids: Tensor,
    /// Of the same shape; none where no row has padding and none is asked for
    mask: Option<Tensor>,
    /// The tokens of each text
    pub(super) lengths: Vec<i64>,
    choices: Option<i64>,
}

impl Batch {
    pub(super) fn new(lengths: &[i64], kinds: Kinds) -> bertscript::Result<Self> {
        let longest = lengths.iter().copied().max().unwrap_or(1);
        let is_full = lengths.iter().all(|length| *length == longest);
        let mut random = Random(longest as u64);
        let shape = shape(lengths.len() as i64, longest, kinds.choices);
        let count = shape.iter().product::<usize>();
        let ids: Vec<_> = (0..count).map(|_| random.below(kinds.vocab_size)).collect();
        let batch = Self {
            ids: Tensor::new(ids, shape)?,
            mask: None,
            lengths: lengths.to_vec(),
            choices: kinds.choices,
        };
        if is_full { Ok(batch) } else { batch.padded(longest) }
    }

    /// As a module takes them.
    pub(super) fn inputs(&self) -> Inputs {
        let inputs = Inputs::new(self.ids.clone());
        match &self.mask {
            Some(mask) => inputs.attention_mask(mask.clone()),
            None => inputs,
        }
    }

    /// The same texts, padded to a length and masked.
    pub(super) fn padded(&self, length: i64) -> bertscript::Result<Self> {
        let (longest, missing) = (self.longest() as usize, (length - self.longest()) as usize);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for (row, tokens) in self.ids.as_slice::<i64>()?.chunks(longest).zip(self.all_lengths()) {
            ids.extend_from_slice(row);
            ids.extend(std::iter::repeat_n(0, missing));
            mask.extend((0..length).map(|position| i64::from(position < tokens)));
        }
        let shape = shape(self.lengths.len() as i64, length, self.choices);
        let (ids, mask) = (Tensor::new(ids, shape.clone())?, Tensor::new(mask, shape)?);
        Ok(Self { ids, mask: Some(mask), lengths: self.lengths.clone(), choices: self.choices })
    }

    /// One of the texts, without padding.
    pub(super) fn text(&self, number: usize) -> bertscript::Result<Self> {
        let (longest, each) = (self.longest() as usize, self.each() as usize);
        let length = self.lengths[number];
        let rows = self.ids.as_slice::<i64>()?.chunks(longest).skip(number * each).take(each);
        let ids: Vec<_> = rows.flat_map(|row| &row[..length as usize]).copied().collect();
        let ids = Tensor::new(ids, shape(1, length, self.choices))?;
        Ok(Self { ids, mask: None, lengths: vec![length], choices: self.choices })
    }

    pub(super) fn longest(&self) -> i64 {
        self.lengths.iter().copied().max().unwrap_or(1)
    }

    /// Sequences of one text.
    fn each(&self) -> i64 {
        self.choices.unwrap_or(1)
    }

    pub(super) fn sequences(&self) -> i64 {
        self.lengths.len() as i64 * self.each()
    }

    /// Tokens that are not padding.
    pub(super) fn tokens(&self) -> i64 {
        self.lengths.iter().sum::<i64>() * self.each()
    }

    /// The length of every sequence.
    pub(super) fn all_lengths(&self) -> impl Iterator<Item = i64> {
        self.lengths.iter().flat_map(|length| std::iter::repeat_n(*length, self.each() as usize))
    }
}

fn shape(texts: i64, length: i64, choices: Option<i64>) -> Vec<usize> {
    let sizes = choices.map_or(vec![texts, length], |choices| vec![texts, choices, length]);
    sizes.into_iter().map(|size| size as usize).collect()
}

/// The same numbers each time (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    /// From 0 to 1, without 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: i64) -> i64 {
        (self.unit() * count as f64) as i64
    }
}

/// The model in float32 that results are held against; its weights are those of
/// `module`, where that is in float32 already.
pub(super) fn reference(path: &Path, module: &Module) -> bertscript::Result<PreTrained> {
    if module.device() == Device::Cpu && module.dtype() == Dtype::F32 {
        return verify::eager_model(module, None);
    }
    let exact = Module::load(path, Device::Cpu, Some(Dtype::F32))?;
    verify::eager_model(&exact, None)
}
