//! How a module computes.

use super::Module;
use crate::archive::Archive;
use crate::checkpoint::StateDict;
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::packed::{PackOptions, Packed};
use crate::ragged::RaggedBert;
use crate::weights::Weights;
use once_cell::sync::OnceCell;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use torchscript::MappedFile;

/// How a module computes. The results of the first two are equal, but for the order
/// in which numbers are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// By the program in the file, as libtorch runs it: any program, device and
    /// dtype.
    Scripted,
    /// Without padding: archives of this library. On the CPU, in float32 and bfloat16,
    /// by this library's own kernels: hidden states, the embedding and logits of a
    /// text are the same in every batch, to the last bit. On CUDA devices, and in
    /// float16, by libtorch's, with FlashAttention where the device has it.
    Packed,
    /// As [`Self::Packed`], but the encoder's linear layers multiply 8-bit integers:
    /// a weight is rounded with a scale for each output, an input with a scale for
    /// each token when it comes. Faster, in less memory, and less exact; slower on a
    /// CPU without AVX-512 VNNI.
    PackedInt8,
}

impl Plan {
    /// Every plan.
    pub const ALL: [Self; 3] = [Self::Scripted, Self::Packed, Self::PackedInt8];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scripted => "scripted",
            Self::Packed => "packed",
            Self::PackedInt8 => "packed-int8",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Plan {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|plan| plan.name() == name).ok_or_else(|| {
            let message =
                format!("unknown plan {name:?}, expected scripted, packed or packed-int8");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

impl Module {
    /// The same program, computed otherwise; everything is shared. A module is
    /// loaded with [`Plan::Packed`] where that is possible.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it cannot be packed, with the reason.
    pub fn with_plan(&self, plan: Plan) -> Result<Self> {
        if plan != Plan::Scripted
            && let Some(reason) = self.cannot_pack()
        {
            let message = format!("{reason}: only the plan scripted is possible");
            return Err(Error::new(ErrorKind::Unsupported, message).at("plan"));
        }
        check_kernels(plan, self.device, self.dtype)?;
        Ok(Self { plan, ..self.share()? })
    }

    /// How it computes.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    pub(super) fn cannot_pack(&self) -> Option<&'static str> {
        let Some(metadata) = self.metadata() else {
            return Some("the program is not of this library");
        };
        let has_attentions = || metadata.outputs.iter().any(|o| o.name.starts_with("attentions."));
        if !metadata.fixed_shapes.is_empty() {
            Some("the program is of fixed shapes")
        } else if has_attentions() {
            Some("attention probabilities are among the outputs")
        } else {
            None
        }
    }

    /// Whether the kernels of this library compute on this device in this dtype.
    fn has_kernels(&self) -> bool {
        has_kernels(self.device, self.dtype)
    }

    /// The model by this library's kernels, whose weights are laid out when it is
    /// first wanted; none by another plan.
    pub(crate) fn packed(&self) -> Result<Option<&Packed>> {
        let (cell, int8) = match self.plan {
            Plan::Packed if self.has_kernels() => (&self.packed.own, false),
            Plan::PackedInt8 => (&self.packed.int8, true),
            Plan::Packed | Plan::Scripted => return Ok(None),
        };
        let packed = cell.get_or_try_init(|| {
            // What was laid out needs the file's pages no more.
            let read = || self.file.iter().for_each(|file| file.release());
            self.with_weights(int8, |weights, options| Packed::load(weights, options, &read))
        });
        packed.map(Some)
    }

    /// The model without padding by libtorch's operators; none by another plan, or
    /// where there are kernels.
    pub(super) fn ragged(&self) -> Result<Option<&RaggedBert>> {
        if self.plan != Plan::Packed || self.has_kernels() {
            return Ok(None);
        }
        let load = |weights: &Weights, options: PackOptions<'_>| {
            RaggedBert::load(weights, options, self.device)
        };
        self.packed.ragged.get_or_try_init(|| self.with_weights(false, load)).map(Some)
    }

    /// How many shapes of small batches were captured as CUDA graphs, which are then
    /// launched at once; 0 where there are none by choice or on the CPU.
    ///
    /// # Errors
    /// Why they cannot be had here: the module runs without them.
    pub fn captured_graphs(&self) -> Result<usize> {
        self.packed.ragged.get().map_or(Ok(0), RaggedBert::captured)
    }

    /// What `load` makes of the module's weights, all of which it takes.
    fn with_weights<T>(
        &self,
        int8: bool,
        load: impl FnOnce(&Weights, PackOptions<'_>) -> Result<T>,
    ) -> Result<T> {
        let Some(archive) = &self.archive else {
            let message = "the program is not of this library";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let mut state = StateDict::default();
        for (name, tensor) in self.parameters()? {
            state.insert(name, tensor, "the archive");
        }
        let weights = Weights::new(state, self.dtype, None);
        let loaded = load(&weights, pack_options(archive, int8)?)?;
        weights.finish()?;
        Ok(loaded)
    }
}

fn has_kernels(device: tch::Device, dtype: Dtype) -> bool {
    device == tch::Device::Cpu && dtype != Dtype::F16
}

/// Refuses a plan that needs the kernels of this library where they do not compute.
pub(super) fn check_kernels(plan: Plan, device: tch::Device, dtype: Dtype) -> Result<()> {
    if plan != Plan::PackedInt8 || has_kernels(device, dtype) {
        return Ok(());
    }
    let device = Device::from(device);
    let message = format!("found {dtype} on {device}, expected float32 or bfloat16 on cpu");
    Err(Error::new(ErrorKind::Unsupported, message).at("plan packed-int8"))
}

/// What is packed of an archive, besides its weights.
pub(super) fn pack_options(archive: &Archive, int8: bool) -> Result<PackOptions<'_>> {
    let metadata = archive.metadata();
    Ok(PackOptions {
        architecture: metadata.architecture()?,
        config: archive.config(),
        hidden_states: metadata.outputs.iter().any(|o| o.name.starts_with("hidden_states.")),
        int8,
    })
}

/// A module's weights laid out, by plan.
#[derive(Debug, Default)]
pub(super) struct PackedForms {
    own: OnceCell<Packed>,
    int8: OnceCell<Packed>,
    ragged: OnceCell<RaggedBert>,
    /// Keeps the file's number from others while modules of it share this.
    _file: Option<Arc<MappedFile>>,
}

impl PackedForms {
    /// Those of weights in a file.
    pub(super) fn of_file(file: &Arc<MappedFile>) -> Self {
        Self { _file: Some(Arc::clone(file)), ..Self::default() }
    }
}
