//! How a module computes.

use super::Module;
use crate::checkpoint::StateDict;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::packed::{PackOptions, Packed};
use crate::weights::Weights;
use once_cell::sync::OnceCell;
use std::fmt;
use std::str::FromStr;

/// How a module computes. The results of the first two are equal, but for the order
/// in which numbers are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plan {
    /// By the program in the file, as libtorch runs it: any program, device and
    /// dtype.
    Scripted,
    /// By this library's own kernels, without padding: archives of this library
    /// in float32 or bfloat16 on the CPU. Hidden states and logits of a text are the
    /// same in every batch, to the last bit; what pools them is libtorch's.
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
        if self.device != tch::Device::Cpu {
            Some("the module is not on the CPU")
        } else if self.dtype == Dtype::F16 {
            Some("the dtype is float16")
        } else if !metadata.fixed_shapes.is_empty() {
            Some("the program is of fixed shapes")
        } else if has_attentions() {
            Some("attention probabilities are among the outputs")
        } else {
            None
        }
    }

    /// The model without padding, whose weights are laid out when it is first
    /// wanted; none by another plan.
    pub(crate) fn packed(&self) -> Result<Option<&Packed>> {
        let Some(archive) = &self.archive else { return Ok(None) };
        let (cell, int8) = match self.plan {
            Plan::Scripted => return Ok(None),
            Plan::Packed => (&self.packed.own, false),
            Plan::PackedInt8 => (&self.packed.int8, true),
        };
        let packed = cell.get_or_try_init(|| {
            let metadata = archive.metadata();
            let mut state = StateDict::default();
            for (name, tensor) in self.parameters()? {
                state.insert(name, tensor, "the archive");
            }
            let weights = Weights::new(state, self.dtype, None);
            let options = PackOptions {
                architecture: metadata.architecture()?,
                config: archive.config(),
                hidden_states: metadata
                    .outputs
                    .iter()
                    .any(|o| o.name.starts_with("hidden_states.")),
                int8,
            };
            // What was laid out needs the file's pages no more.
            let read = || self.file.iter().for_each(|file| file.release());
            let packed = Packed::load(&weights, options, &read)?;
            weights.finish()?;
            Ok::<_, Error>(packed)
        });
        packed.map(Some)
    }
}

/// A module's weights laid out, by plan.
#[derive(Debug, Default)]
pub(super) struct PackedForms {
    own: OnceCell<Packed>,
    int8: OnceCell<Packed>,
}
