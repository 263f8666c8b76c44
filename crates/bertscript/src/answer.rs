//! What `libbertscript_torch.so` answers.

use crate::archive::{self, Archive};
use crate::batch::{Batch, Inputs};
use crate::ceiling::fastest_product;
use crate::checkpoint::Checkpoint;
use crate::device::{Device, cuda_devices};
use crate::engine::{BatchOutput, EngineKind, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::load::LoadOptions;
use crate::models::PreTrained;
use crate::module::Module;
use crate::plugin::{BuildRequest, Failure, Reply, Request, WantRequest};
use crate::process::{set_thread_count, shutdown_threads};
use crate::tensor::Tensor;
use crate::trace::trace;
use crate::untie::TieWeights;
use bertscript_kernels::Solo;
use bertscript_plugin::{Answer, Context, Log, LogLevel, ManagedTensor};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use torchscript::{OnStream, Warnings};

/// The answers of `libbertscript_torch.so`.
#[derive(Debug)]
pub struct PluginAnswer;

impl PluginAnswer {
    /// Sends the reports of panics to the log of whoever asks, if there is one. For the plug-in,
    /// which has a standard library of its own.
    pub fn send_panics_to_log() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let own = LOG.try_with(Cell::get).ok().flatten();
            match own.or_else(|| FIRST_LOG.get().copied()) {
                Some(log) => log.send(LogLevel::Error, &panic.to_string()),
                None => before(panic),
            }
        }));
    }
}

/// The modules of the process that the plug-in is in, by number.
#[derive(Default)]
struct Modules {
    last: u64,
    loaded: HashMap<u64, Arc<Module>>,
    /// Locked, since libtorch's tensors are not shared by threads.
    models: HashMap<u64, Arc<Mutex<PreTrained>>>,
}

static MODULES: LazyLock<Mutex<Modules>> = LazyLock::new(Mutex::default);

/// A value, and the tensors beside it.
type Answered = (Value, Vec<Tensor>);

impl Answer for PluginAnswer {
    fn answer(
        request: &str,
        tensors: Vec<ManagedTensor>,
        context: Context,
    ) -> (String, Vec<ManagedTensor>) {
        let answer = || {
            let _entered = torchscript::enter()?;
            let _logged = Logged::to(context.log);
            let on_stream = context.stream.map(|(device, stream)| OnStream::enter(device, stream));
            let _on_stream = on_stream.transpose()?;
            let request = serde_json::from_str(request).map_err(|error| invalid(&error))?;
            let tensors = tensors.into_iter().map(Tensor::from_managed).collect::<Result<_>>()?;
            let (value, tensors) = answer(request, tensors)?;
            let tensors = tensors.iter().map(Tensor::to_dlpack).collect::<Result<Vec<_>>>()?;
            Ok((value, tensors))
        };
        // Everything that is kept was made before the call, or is thrown away.
        let answered = catch_unwind(AssertUnwindSafe(answer))
            .unwrap_or_else(|panic| Err(Error::from(torchscript::Error::from_panic(&*panic))));
        let (reply, tensors): (Reply, _) = match answered {
            Ok((value, tensors)) => (Ok(value), tensors),
            Err(error) => (Err(Failure::from(error)), Vec::new()),
        };
        (serde_json::to_string(&reply).unwrap_or_default(), tensors)
    }
}

/// The log of threads that nobody asks on.
static FIRST_LOG: OnceLock<Log> = OnceLock::new();

thread_local! {
    static LOG: Cell<Option<Log>> = const { Cell::new(None) };
}

/// While it lives, libtorch's warnings on this thread go to the log of whoever asked.
struct Logged {
    before: Option<Log>,
    _warnings: Option<Warnings>,
}

impl Logged {
    fn to(log: Option<Log>) -> Self {
        let send = |text: &str| {
            if let Some(log) = LOG.get() {
                log.send(LogLevel::Warning, text);
            }
        };
        if let Some(log) = log {
            FIRST_LOG.get_or_init(|| log);
        }
        Self { before: LOG.replace(log), _warnings: log.map(|_| Warnings::redirect(send)) }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        LOG.set(self.before);
    }
}

fn answer(request: Request, mut tensors: Vec<Tensor>) -> Result<Answered> {
    let value = |value: Value| Ok((value, Vec::new()));
    match request {
        Request::Devices => value(json!(cuda_devices()?)),
        Request::CheckDevice { device } => value(json!(checked(&device)?.to_string())),
        Request::ToDevice { device } => {
            let moved = one(&tensors)?.to_device(checked(&device)?)?;
            Ok((Value::Null, vec![moved]))
        }
        Request::ToDtype { dtype } => {
            Ok((Value::Null, vec![one(&tensors)?.to_dtype(dtype.parse()?)?]))
        }
        Request::Gather { shape, strides } => {
            Ok((Value::Null, vec![one(&tensors)?.gathered(shape, &strides)?]))
        }
        Request::AllowTf32 { allowed } => {
            torchscript::allow_tf32(allowed)?;
            value(Value::Null)
        }
        Request::Product { device, dtype, size, seconds } => {
            value(json!(fastest_product(checked(&device)?, dtype.parse()?, size, seconds)?))
        }
        Request::Wait { device } => {
            if let Device::Cuda(index) = checked(&device)? {
                torchscript::cuda_synchronize(index)?;
            }
            value(Value::Null)
        }
        Request::Load { file, device, dtype, engine } => {
            let device = checked(&device)?;
            let dtype = dtype.map(|dtype| dtype.parse()).transpose()?;
            let module = match file {
                // Another opening of the file, whose name may be gone.
                Some(file) => {
                    let path = of_process(file);
                    Module::from_file(archive::open_file(path.as_ref())?, device, dtype)?
                }
                None => Module::from_bytes(one(&tensors)?.as_bytes()?, device, dtype)?,
            };
            let engine = engine.map(|engine| engine.parse::<EngineKind>()).transpose()?;
            loaded(match engine {
                Some(_) => module.with_engine(engine)?,
                None => module,
            })
        }
        Request::To { module, device, dtype } => {
            let (device, dtype) = (checked(&device)?, dtype.parse()?);
            loaded(get(module)?.to(Some(device), Some(dtype))?)
        }
        Request::Parameters { module } => Ok(named(get(module)?.parameters()?)),
        Request::Run { module, names } => {
            Ok(named(get(module)?.run_named(together(names, tensors)?)?.into_tensors()))
        }
        Request::Forward { module, want } => {
            let tokens = match want {
                WantRequest::Tokens { .. } => tensors.pop(),
                _ => None,
            };
            let tokens = tokens.map_or(Ok(Vec::new()), |tokens| tokens.to_usizes())?;
            let modes = match &want {
                WantRequest::Pooled { modes, .. } => {
                    modes.iter().map(|mode| mode.parse()).collect()
                }
                _ => Ok(Vec::new()),
            };
            let (batch, modes) = (Batch::from_tensors(tensors)?, modes?);
            let want = match &want {
                WantRequest::Outputs(wanted) => Want::Outputs(wanted),
                WantRequest::Tokens { output } => Want::Tokens { output: *output, tokens: &tokens },
                WantRequest::Pooled { output, skipped, .. } => {
                    Want::Pooled { output: *output, modes: &modes, skipped }
                }
            };
            let module = get(module)?;
            let _entered = module.enter()?;
            let found = module.executor().forward(&batch, &want, &Solo)?;
            let tensors = found.into_iter().map(BatchOutput::into_tensor);
            Ok((Value::Null, tensors.collect::<Result<_>>()?))
        }
        Request::CapturedGraphs { module } => value(json!(get(module)?.captured_graphs()?)),
        Request::Freeze { module, file } => {
            let file = File::create(of_process(file));
            let file = file.map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
            get(module)?.write_frozen(file)?;
            value(Value::Null)
        }
        Request::Free { module } => {
            let freed = modules().loaded.remove(&module);
            // Without the lock: it may take a while.
            drop(freed);
            value(Value::Null)
        }
        Request::Build { directory, options } => {
            let checkpoint = Checkpoint::open(OsString::from_vec(directory))?;
            built(PreTrained::from_checkpoint(&checkpoint, &load_options(&options)?)?)
        }
        Request::BuildOf { module, options } => {
            let options = load_options(&options)?;
            let module = get(module)?;
            let archive = module.archive().ok_or_else(|| invalid(&"no archive of bertscript"))?;
            built(PreTrained::of_archive(&module, archive, &options)?)
        }
        Request::InFloat32 { model } => built(with_model(model, PreTrained::in_float32)?),
        Request::RunModel { model, names } => {
            let inputs = Inputs::from_named(together(names, tensors)?)?;
            let outputs = with_model(model, |model| model.run(&inputs))?;
            Ok(named(outputs.into_tensors()))
        }
        Request::Export { model, shapes, path } => {
            with_model_on_own_thread(model, |model| {
                model.export(&shapes, OsString::from_vec(path)).map(drop)
            })?;
            value(Value::Null)
        }
        Request::Trace { model, shapes, file } => {
            with_model_on_own_thread(model, |model| {
                let script = trace(model, &shapes)?;
                let archive = Archive::new(model, &shapes)?;
                archive.write(&script, of_process(file).as_ref())
            })?;
            value(Value::Null)
        }
        Request::FreeModel { model } => {
            let freed = modules().models.remove(&model);
            drop(freed);
            value(Value::Null)
        }
        Request::SetThreads { count } => {
            set_thread_count(count);
            value(Value::Null)
        }
        Request::ShutDown => {
            shutdown_threads()?;
            value(Value::Null)
        }
    }
}

fn modules() -> MutexGuard<'static, Modules> {
    MODULES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn get(module: u64) -> Result<Arc<Module>> {
    modules().loaded.get(&module).cloned().ok_or_else(|| invalid(&format!("no module {module}")))
}

/// Keeps a module, and describes it.
fn loaded(module: Module) -> Result<Answered> {
    let schema = module.schema();
    let arguments = schema.arguments.iter();
    let arguments: Vec<_> =
        arguments.map(|known| json!([known.name, known.type_name, known.has_default])).collect();
    let (returns, dtype) = (schema.returns.clone(), module.dtype().name());
    let mut modules = modules();
    modules.last += 1;
    let number = modules.last;
    modules.loaded.insert(number, Arc::new(module));
    let schema = json!({ "arguments": arguments, "returns": returns });
    Ok((json!({ "module": number, "dtype": dtype, "schema": schema }), Vec::new()))
}

fn load_options(options: &BuildRequest) -> Result<LoadOptions> {
    let BuildRequest { architecture, dtype, random_init, attention, .. } = options;
    Ok(LoadOptions {
        architecture: architecture.as_ref().map(|name| name.parse()).transpose()?,
        dtype: dtype.as_ref().map(|name| name.parse()).transpose()?,
        random_init: *random_init,
        ties: if options.keep_tied { TieWeights::Keep } else { TieWeights::Untie },
        attention: attention.as_ref().map(|name| name.parse()).transpose()?,
        hidden_states: options.hidden_states,
        attentions: options.attentions,
    })
}

/// Keeps a model, and describes it.
fn built(model: PreTrained) -> Result<Answered> {
    let mut description = json!({
        "architecture": model.architecture().to_string(),
        "attention": model.attention().name(),
        "dtype": model.dtype().name(),
        "parameter_count": model.parameter_count(),
        "report": model.report(),
    });
    let mut modules = modules();
    modules.last += 1;
    let number = modules.last;
    modules.models.insert(number, Arc::new(Mutex::new(model)));
    description["model"] = json!(number);
    Ok((description, Vec::new()))
}

/// Hands a model to `body`.
fn with_model<T>(model: u64, body: impl FnOnce(&PreTrained) -> Result<T>) -> Result<T> {
    let found = modules().models.get(&model).cloned();
    let found = found.ok_or_else(|| invalid(&format!("no model {model}")))?;
    // It is only read: a panic, such as tch's when memory runs out, leaves it as it was.
    let model = found.lock().unwrap_or_else(PoisonError::into_inner);
    body(&model)
}

/// Runs `body` on a thread of its own: tracing depends on what a thread has switched on, and
/// the caller's is the caller's.
fn with_model_on_own_thread<T: Send>(
    model: u64,
    body: impl FnOnce(&PreTrained) -> Result<T> + Send,
) -> Result<T> {
    let log = LOG.get();
    let body = move || {
        let _logged = Logged::to(log);
        with_model(model, body)
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("bertscript-trace".to_owned());
        let thread = builder
            .spawn_scoped(scope, body)
            .map_err(|error| Error::new(ErrorKind::Io, "cannot start a thread").because(error))?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The name of an open file of the process.
fn of_process(file: i32) -> String {
    format!("/proc/thread-self/fd/{file}")
}

/// Tensors under their names.
fn together(names: Vec<String>, tensors: Vec<Tensor>) -> Result<Vec<(String, Tensor)>> {
    match names.len() == tensors.len() {
        true => Ok(names.into_iter().zip(tensors).collect()),
        false => {
            let (found, expected) = (tensors.len(), names.len());
            Err(invalid(&format!("found {found} tensors, expected {expected}")))
        }
    }
}

fn named(named: Vec<(String, Tensor)>) -> Answered {
    let (names, tensors): (Vec<_>, Vec<_>) = named.into_iter().unzip();
    (json!(names), tensors)
}

fn one(tensors: &[Tensor]) -> Result<&Tensor> {
    match tensors {
        [tensor] => Ok(tensor),
        _ => Err(invalid(&format!("found {} tensors, expected 1", tensors.len()))),
    }
}

fn checked(device: &str) -> Result<Device> {
    device.parse::<Device>()?.checked()
}

fn invalid(message: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, message.to_string()).at("request")
}
