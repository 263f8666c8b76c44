//! Programs that the plug-in for libtorch has.

use super::Source;
use crate::device::{Device, Dtype};
use crate::engine::remote::RemoteModule;
use crate::engine::{EngineKind, Outputs};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Request, ask};
use crate::tensor::{ElementType, Tensor};
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, Weak};

const PROGRAM: &str = "an archive that bertscript did not export";

impl Source {
    /// The program of somebody else in a file.
    pub(crate) fn of_file_of_others(
        file: &File,
        device: Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        let module = RemoteModule::load(PROGRAM, (Some(file), None), (device, dtype), None)?;
        Ok(Self::over(module, device))
    }

    /// The program of somebody else in memory.
    pub(crate) fn of_bytes_of_others(
        bytes: &[u8],
        device: Device,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        let bytes = Tensor::copied(ElementType::U8, vec![bytes.len()], bytes)?;
        let module = RemoteModule::load(PROGRAM, (None, Some(&bytes)), (device, dtype), None)?;
        Ok(Self::over(module, device))
    }

    fn over(module: RemoteModule, device: Device) -> Self {
        Self {
            archive: None,
            file: None,
            schema: module.schema(),
            dtype: module.dtype(),
            device,
            prepacked: Arc::default(),
            program: Some(Arc::new(module)),
            remotes: Mutex::default(),
        }
    }

    fn program(&self) -> Result<&Arc<RemoteModule>> {
        let none = || Error::new(ErrorKind::Archive, "the archive has no code");
        self.program.as_ref().ok_or_else(none)
    }

    /// The module of the plug-in's that executes the archive by an engine.
    pub(crate) fn remote(&self, engine: EngineKind) -> Result<Arc<RemoteModule>> {
        let Some(file) = &self.file else { return self.program().cloned() };
        if let Some(module) = self.shared(engine) {
            return Ok(module);
        }
        let what = match (self.device, engine) {
            (Device::Cuda(_), _) => self.device.to_string(),
            (Device::Cpu, engine) => format!("the engine {engine}"),
        };
        let place = (self.device, Some(self.dtype));
        // Without the lock: what libtorch says meanwhile goes to a callback, which may call this.
        let module = match file.file() {
            Some(file) => RemoteModule::load(&what, (Some(file), None), place, Some(engine)),
            None => RemoteModule::load(&what, (None, Some(&file.bytes()?)), place, Some(engine)),
        };
        let module = Arc::new(module?);
        let mut shared = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster; what was loaded here ends without the lock.
        let other = find(&mut shared, engine);
        if other.is_none() {
            shared.push((engine, Arc::downgrade(&module)));
        }
        drop(shared);
        Ok(other.unwrap_or(module))
    }

    /// The module of an engine, which all modules of this source share while there is one.
    fn shared(&self, engine: EngineKind) -> Option<Arc<RemoteModule>> {
        find(&mut self.remotes.lock().unwrap_or_else(PoisonError::into_inner), engine)
    }

    /// Calls `forward` of any archive on tensors under the names of its arguments.
    pub(crate) fn call(&self, tensors: &[(String, Tensor)]) -> Result<Outputs> {
        self.program()?.run(tensors.iter().map(|(name, tensor)| (name, tensor)))
    }

    /// Waits until the device has done what this thread put on its current stream.
    pub(crate) fn wait(&self) -> Result<()> {
        match self.device {
            Device::Cpu => Ok(()),
            device => {
                let request = Request::Wait { device: device.to_string() };
                ask(&device.to_string(), &request, Vec::new()).map(drop)
            }
        }
    }

    /// Of a program of somebody else: the same on another device or in another dtype.
    pub(super) fn program_to(&self, device: Device, dtype: Dtype) -> Result<Self> {
        Ok(Self::over(self.program()?.to(device, dtype)?, device))
    }

    /// Of a program of somebody else: the parameters.
    pub(super) fn program_parameters(&self) -> Result<Vec<(String, Tensor)>> {
        self.program()?.parameters()
    }
}

fn find(
    shared: &mut Vec<(EngineKind, Weak<RemoteModule>)>,
    engine: EngineKind,
) -> Option<Arc<RemoteModule>> {
    shared.retain(|(_, module)| module.strong_count() > 0);
    let known = shared.iter().find(|(known, _)| *known == engine);
    known.and_then(|(_, module)| module.upgrade())
}
