//! Loading a TorchScript program onto a device and running it.

mod inputs;
mod outputs;
mod packing;
mod pages;
mod plan;
mod run;

pub use inputs::Inputs;
pub use outputs::Outputs;
use plan::PackedForms;
pub use plan::Plan;

use crate::archive::{self, Archive, Metadata};
use crate::assets::Assets;
use crate::device::{Device, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{HEADROOM, check};
use crate::text::{Recipe, Tokenizer};
use once_cell::sync::OnceCell;
use std::path::Path;
use std::sync::Arc;
use tch::Tensor;
use torchscript::{MappedFile, MethodSchema, NamedTensor, ScriptModule};

/// A program made ready for one device and one dtype: an archive of this
/// library, or any TorchScript module with a `forward`.
///
/// A module may be shared by any number of threads, which may run it at the
/// same time; nothing is locked.
#[derive(Debug)]
pub struct Module {
    script: ScriptModule,
    archive: Option<Archive>,
    schema: MethodSchema,
    device: tch::Device,
    dtype: Dtype,
    plan: Plan,
    packed: Arc<PackedForms>,
    /// Where weights lie, if they lie in a file.
    file: Option<Arc<MappedFile>>,
    tokenizer: OnceCell<Arc<Tokenizer>>,
    recipe: OnceCell<Option<Recipe>>,
}

impl Module {
    /// Loads a program from a file. The weights are cast to `dtype`, or keep
    /// the dtype they have in it.
    ///
    /// On the CPU, weights that are not cast lie in the file, which is mapped: its
    /// pages are shared with every other module of it. It may be replaced or
    /// removed meanwhile, but must not be truncated: the system would end the
    /// process on the next read. What a packed plan lays out of such weights is shared,
    /// too, while there is a module of the file.
    ///
    /// # Errors
    /// Those of [`Archive::open`], and [`ErrorKind::Device`] if the device
    /// cannot be had.
    pub fn load(path: &Path, device: Device, dtype: Option<Dtype>) -> Result<Self> {
        let load = || {
            let _entered = torchscript::enter()?;
            check(HEADROOM)?;
            let file = archive::open_file(path)?;
            let archive = Archive::from_file(&file)?;
            let device = device.resolve()?;
            let script = ScriptModule::load_file(&file, Some(device))?;
            let mut module = Self::prepare(script, archive, device, dtype)?;
            module.share_pages(&file)?;
            Ok(module)
        };
        load().map_err(|error: Error| error.at_path(path))
    }

    /// Loads a program from memory, as [`Self::load`] does from a file.
    pub fn from_bytes(bytes: &[u8], device: Device, dtype: Option<Dtype>) -> Result<Self> {
        let _entered = torchscript::enter()?;
        let archive = Archive::from_bytes(bytes)?;
        let device = device.resolve()?;
        Self::prepare(ScriptModule::load_bytes(bytes, Some(device))?, archive, device, dtype)
    }

    /// Makes a program that was just traced ready to run, and to be saved, with
    /// what stands beside it.
    ///
    /// # Errors
    /// [`ErrorKind::Archive`] if the program has no `forward`.
    pub fn from_script(script: ScriptModule, archive: Archive) -> Result<Self> {
        Self::prepare(script, Some(archive), tch::Device::Cpu, None)
    }

    /// The same program on another device or in another dtype, by the same plan. What
    /// is already there is shared.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device cannot be had; [`ErrorKind::Unsupported`] if
    /// the plan is not possible there.
    pub fn to(&self, device: Option<Device>, dtype: Option<Dtype>) -> Result<Self> {
        let device = device.map_or(Ok(self.device), Device::resolve)?;
        let dtype = dtype.unwrap_or(self.dtype);
        plan::check_kernels(self.plan, device, dtype)?;
        let mut module = self.share()?;
        if (device, dtype) != (self.device, self.dtype) {
            module.script.to(Some(device), Some(dtype.kind()))?;
            (module.device, module.dtype) = (device, dtype);
            module.packed = Arc::default();
            module.file = None;
            module.wait()?;
        }
        Ok(module)
    }

    fn share(&self) -> Result<Self> {
        Ok(Self {
            script: self.script.try_clone()?,
            archive: self.archive.clone(),
            schema: self.schema.clone(),
            device: self.device,
            dtype: self.dtype,
            plan: self.plan,
            packed: Arc::clone(&self.packed),
            file: self.file.clone(),
            tokenizer: self.tokenizer.clone(),
            recipe: OnceCell::new(),
        })
    }

    /// Writes the program to a file, whole or not at all; its weights are saved
    /// for the CPU, wherever they are. The plan is no property of a file: a module is
    /// loaded from it as from any other.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a program of somebody else, of which not
    /// everything is known, and for weights that were cast after loading;
    /// those of [`Archive::save`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let unsupported = |message: &str| Error::new(ErrorKind::Unsupported, message);
        let Some(archive) = &self.archive else {
            return Err(unsupported("the program is another's: copy its file instead"));
        };
        if archive.metadata().dtype()? != self.dtype {
            let message = "the weights were cast after loading: export with that dtype instead";
            return Err(unsupported(message));
        }
        if self.device == tch::Device::Cpu {
            return archive.save(&self.script, path);
        }
        let mut script = self.script.try_clone()?;
        script.to(Some(tch::Device::Cpu), None)?;
        archive.save(&script, path)
    }

    fn prepare(
        mut script: ScriptModule,
        archive: Option<Archive>,
        device: tch::Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        if !script.has_method("forward")? {
            return Err(Error::new(ErrorKind::Archive, "the program has no method `forward`"));
        }
        let stored = match &archive {
            Some(archive) => archive.metadata().dtype()?,
            None => stored_dtype(&script)?,
        };
        let dtype = dtype.unwrap_or(stored);
        if dtype != stored {
            script.to(None, Some(dtype.kind()))?;
        }
        script.eval()?;
        let schema = script.schema("forward")?;
        let mut module = Self {
            script,
            archive,
            schema,
            device,
            dtype,
            plan: Plan::Scripted,
            packed: Arc::default(),
            file: None,
            tokenizer: OnceCell::new(),
            recipe: OnceCell::new(),
        };
        if module.cannot_pack().is_none() {
            module.plan = Plan::Packed;
        }
        // Any stream may run it, not only the one that its weights came by.
        module.wait()?;
        Ok(module)
    }

    /// The archive's description of itself, if it is one of this library.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.archive.as_ref().map(Archive::metadata)
    }

    /// What stands beside the program, if it is an archive of this library.
    pub fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// The file's tokenizer, which is built when it is first wanted.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the file has none; those of
    /// [`Tokenizer::from_assets`].
    pub fn tokenizer(&self) -> Result<&Arc<Tokenizer>> {
        self.tokenizer.get_or_try_init(|| Tokenizer::from_assets(self.assets()?).map(Arc::new))
    }

    /// The file's sentence-transformers recipe, if it has one.
    ///
    /// # Errors
    /// Those of [`Recipe::from_assets`].
    pub fn recipe(&self) -> Result<Option<&Recipe>> {
        let recipe = self.recipe.get_or_try_init(|| Recipe::from_assets(self.assets()?));
        Ok(recipe?.as_ref())
    }

    fn assets(&self) -> Result<&Assets> {
        self.archive.as_ref().map(Archive::assets).ok_or_else(|| {
            let message = "the program carries no tokenizer: bertscript did not export it";
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// The signature of `forward`.
    pub fn schema(&self) -> &MethodSchema {
        &self.schema
    }

    /// Where it runs.
    pub fn device(&self) -> tch::Device {
        self.device
    }

    /// The dtype it runs in.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The parameters, by the names of the program's `state_dict`. They are to be
    /// read: what is written to them may be lost, or not be seen.
    pub fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let named = self.script.named_tensors()?.into_iter().filter(|named| named.is_parameter);
        Ok(named.map(|NamedTensor { name, tensor, .. }| (name, tensor)).collect())
    }
}

/// The dtype of a program's first floating-point weight; float32 without any.
fn stored_dtype(script: &ScriptModule) -> Result<Dtype> {
    let tensors = script.named_tensors()?;
    let kinds = tensors.iter().map(|named| named.tensor.f_kind());
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    Ok(kinds.into_iter().find_map(Dtype::from_kind).unwrap_or(Dtype::F32))
}
