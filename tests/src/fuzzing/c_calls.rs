//! The C functions, called in any order with any arguments that their header
//! allows: memory is as it says, values are not.

#![expect(clippy::undocumented_unsafe_blocks, reason = "each call is as the header says")]

mod embeddings;
mod results;
mod setters;
mod tensors;
mod values;

use crate::fixture;
use arbitrary::{Result, Unstructured};
use bertscript_ffi::*;
use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};
use std::sync::LazyLock;

/// A sequence of C calls.
pub fn c_calls(data: &[u8]) {
    let mut sequence = Sequence::new(data);
    // An input that is used up ends the sequence.
    while !sequence.input.is_empty() && sequence.step().is_ok() {}
}

/// Makes what all sequences run on, which takes longer than an input may.
pub fn make_modules() {
    LazyLock::force(&MODULES);
}

/// One module a task, made once: the file of sentences, and heads.
struct Modules(Vec<*mut bertscript_module>);

unsafe impl Send for Modules {}
unsafe impl Sync for Modules {}

static MODULES: LazyLock<Modules> = LazyLock::new(|| {
    let heads = [
        ("text/sentence", c"BertModel"),
        ("text/classify-multi", c"BertForSequenceClassification"),
        ("text/entities", c"BertForTokenClassification"),
        ("text/masked", c"BertForMaskedLM"),
        ("text/next-sentence", c"BertForNextSentencePrediction"),
        ("text/sentence", c"BertForQuestionAnswering"),
        ("text/sparse", c"BertForMaskedLM"),
        ("text/inference", c"BertForSequenceClassification"),
    ];
    Modules(heads.map(|(name, head)| unsafe { module(name, head) }).to_vec())
});

/// A traced model; what its checkpoint lacks is made of random numbers.
unsafe fn module(name: &str, architecture: &CStr) -> *mut bertscript_module {
    let directory = CString::new(fixture(name).to_str().unwrap()).unwrap();
    let (mut model, mut module) = (null_mut(), null_mut());
    unsafe {
        let options = bertscript_build_options_new();
        let word = architecture.as_ptr();
        bertscript_build_options_set_architecture(options, word, null_mut());
        bertscript_build_options_set_random_init(options, 1, null_mut());
        let place = &raw mut model;
        let built =
            bertscript_model_from_pretrained(directory.as_ptr(), options, place, null_mut());
        let traced = bertscript_model_trace(model, null(), &raw mut module, null_mut());
        assert_eq!((built, traced), (BERTSCRIPT_OK, BERTSCRIPT_OK), "{name}");
        bertscript_model_free(model);
        bertscript_build_options_free(options);
    }
    module
}

/// The handles that a sequence has made and not freed.
struct Sequence<'a> {
    input: Unstructured<'a>,
    tensors: Vec<*mut bertscript_tensor>,
    tokenizers: Vec<*mut bertscript_tokenizer>,
    encodings: Vec<*mut bertscript_encoding>,
    derived: Vec<*mut bertscript_module>,
    token: *mut bertscript_cancel_token,
    encode_options: *mut bertscript_encode_options,
    task_options: *mut bertscript_task_options,
    run_options: *mut bertscript_run_options,
}

impl<'a> Sequence<'a> {
    /// What may come next, besides the tasks.
    const STEPS: [fn(&mut Self) -> Result<()>; 16] = [
        Self::copy_tensor,
        Self::borrow_tensor,
        Self::share_tensor,
        Self::read_tensor,
        Self::encode,
        Self::decode,
        Self::read_encoding,
        Self::encoding_tensors,
        Self::load,
        Self::run,
        Self::run_ids,
        Self::derive_module,
        Self::cancel,
        Self::free,
        Self::set_encode_options,
        Self::set_task_options,
    ];

    fn new(data: &'a [u8]) -> Self {
        unsafe {
            let mut tokenizer = null_mut();
            let module = MODULES.0[0];
            bertscript_tokenizer_from_module(module, &raw mut tokenizer, null_mut());
            Self {
                input: Unstructured::new(data),
                tensors: Vec::new(),
                tokenizers: vec![tokenizer],
                encodings: Vec::new(),
                derived: Vec::new(),
                token: bertscript_cancel_token_new(),
                encode_options: bertscript_encode_options_new(),
                task_options: bertscript_task_options_new(),
                run_options: bertscript_run_options_new(),
            }
        }
    }

    fn step(&mut self) -> Result<()> {
        let steps = Self::STEPS.iter().chain(&Self::TASKS).collect::<Vec<_>>();
        self.input.choose(&steps)?(self)
    }

    fn load(&mut self) -> Result<()> {
        let path = CString::new(fixture("text/masked").to_str().unwrap()).unwrap();
        let (path, data) = (self.path(path)?, self.bytes()?);
        let load = |out, err| unsafe { bertscript_tokenizer_load(path.as_ptr(), out, err) };
        self.make(load, |own| &mut own.tokenizers);
        let (data, size) = (data.as_ptr().cast(), data.len());
        let load =
            |out, err| unsafe { bertscript_module_load_memory(data, size, null(), out, err) };
        self.make(load, |own| &mut own.derived);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let module = self.module()?;
        let inputs = [self.tensor()?, self.tensor()?].map(<*mut _>::cast_const);
        let names = [self.input_name()?, self.input_name()?].map(CStr::as_ptr);
        let count = self.input.int_in_range(0..=2)?;
        let options = self.run_options;
        self.outputs(|out, capacity, made, err| unsafe {
            let (names, inputs) = (names.as_ptr(), inputs.as_ptr());
            bertscript_module_run(module, names, inputs, count, options, out, capacity, made, err)
        })
    }

    fn run_ids(&mut self) -> Result<()> {
        let module = self.module()?;
        let (batch, length) = (self.input.int_in_range(0..=3)?, self.input.int_in_range(0..=9)?);
        let mut ids = || (0..batch * length).map(|_| self.id()).collect::<Result<Vec<_>>>();
        let (ids, mask, types) = (ids()?, ids()?, ids()?);
        let mut given =
            |values: &[i64]| Ok(if self.input.arbitrary()? { values.as_ptr() } else { null() });
        let (mask, types) = (given(&mask)?, given(&types)?);
        let options = self.run_options;
        self.outputs(|out, capacity, made, err| unsafe {
            let ids = ids.as_ptr();
            bertscript_module_run_ids(
                module, ids, mask, types, batch, length, options, out, capacity, made, err,
            )
        })
    }

    /// A call that gives several tensors, which fit or do not.
    fn outputs(
        &mut self,
        run: impl FnOnce(
            *mut *mut bertscript_tensor,
            usize,
            *mut usize,
            *mut *mut bertscript_error,
        ) -> bertscript_status,
    ) -> Result<()> {
        let mut outputs = [null_mut(); 4];
        let capacity = self.input.int_in_range(0..=outputs.len())?;
        let mut made = 0;
        let place = outputs.as_mut_ptr();
        let worked = self.call(|err| run(place, capacity, &raw mut made, err));
        match worked {
            true => self.tensors.extend(&outputs[..made]),
            false => assert!(outputs.iter().all(|output| output.is_null())),
        }
        Ok(())
    }

    fn derive_module(&mut self) -> Result<()> {
        let (module, index) = (self.module()?, self.size()?);
        let (device, dtype, plan) = (self.word()?, self.word()?, self.word()?);
        let (batch, length) = (self.int64()?, self.int64()?);
        match self.input.int_in_range(0..=4)? {
            0 => self.derived.push(unsafe { bertscript_module_clone(module) }),
            1 => {
                let (device, dtype) = (device.as_ptr(), dtype.as_ptr());
                let to =
                    |out, err| unsafe { bertscript_module_to(module, device, dtype, out, err) };
                self.make(to, |own| &mut own.derived);
            }
            2 => {
                let plan = plan.as_ptr();
                let with =
                    |out, err| unsafe { bertscript_module_with_plan(module, plan, out, err) };
                self.make(with, |own| &mut own.derived);
            }
            3 => {
                let (engine, precision) = (plan.as_ptr(), dtype.as_ptr());
                let with = |out, err| unsafe {
                    bertscript_module_with_engine(module, engine, precision, out, err)
                };
                self.make(with, |own| &mut own.derived);
            }
            _ => {
                self.call(|err| unsafe {
                    bertscript_module_warm_up(module, batch, length, 1, err)
                });
            }
        }
        unsafe {
            bertscript_module_metadata_json(module);
            bertscript_module_input_name(module, index);
            bertscript_module_output_name(module, index);
            bertscript_module_device(module);
            bertscript_module_engine(module);
            bertscript_module_precision(module);
            bertscript_module_plan(module);
        }
        Ok(())
    }

    fn cancel(&mut self) -> Result<()> {
        let (options, task, token) = (self.run_options, self.task_options, self.token);
        self.call(|err| unsafe { bertscript_run_options_set_cancel_token(options, token, err) });
        self.call(|err| unsafe { bertscript_task_options_set_cancel_token(task, token, err) });
        unsafe {
            bertscript_cancel_token_cancel(token);
            assert_eq!(bertscript_cancel_token_is_cancelled(token), 1);
            // The options keep what was freed here.
            bertscript_cancel_token_free(token);
            self.token = bertscript_cancel_token_new();
        }
        Ok(())
    }

    fn free(&mut self) -> Result<()> {
        let at = self.size()?;
        fn take<T>(handles: &mut Vec<*mut T>, at: usize) -> *mut T {
            if at < handles.len() { handles.swap_remove(at) } else { null_mut() }
        }
        unsafe {
            bertscript_tensor_free(take(&mut self.tensors, at));
            bertscript_tokenizer_free(take(&mut self.tokenizers, at));
            bertscript_encoding_free(take(&mut self.encodings, at));
            bertscript_module_free(take(&mut self.derived, at));
        }
        Ok(())
    }

    /// Calls a function that makes a handle, which is kept.
    fn make<T>(
        &mut self,
        function: impl FnOnce(*mut *mut T, *mut *mut bertscript_error) -> bertscript_status,
        kept: impl FnOnce(&mut Self) -> &mut Vec<*mut T>,
    ) -> bool {
        let mut made = null_mut();
        let worked = self.call(|err| function(&raw mut made, err));
        assert_eq!(worked, !made.is_null());
        if worked {
            kept(self).push(made);
        }
        worked
    }

    /// Calls a function; what it refuses, it explains.
    fn call(
        &mut self,
        function: impl FnOnce(*mut *mut bertscript_error) -> bertscript_status,
    ) -> bool {
        let mut error = null_mut();
        let status = function(&raw mut error);
        assert_eq!(status == BERTSCRIPT_OK, error.is_null());
        if status == BERTSCRIPT_OK {
            return true;
        }
        unsafe {
            let message = CStr::from_ptr(bertscript_error_message(error));
            assert!(!message.is_empty());
            assert!(status < BERTSCRIPT_INTERNAL, "{status}: {message:?}");
            assert_eq!(status, bertscript_error_status(error));
            bertscript_error_free(error);
        }
        false
    }

    fn tensor(&mut self) -> Result<*mut bertscript_tensor> {
        one_of(&mut self.input, &self.tensors)
    }

    fn tokenizer(&mut self) -> Result<*mut bertscript_tokenizer> {
        one_of(&mut self.input, &self.tokenizers)
    }

    fn module(&mut self) -> Result<*mut bertscript_module> {
        let all: Vec<_> = self.derived.iter().chain(&MODULES.0).copied().collect();
        one_of(&mut self.input, &all)
    }
}

/// A live handle, or NULL.
fn one_of<T>(input: &mut Unstructured<'_>, handles: &[*mut T]) -> Result<*mut T> {
    let at = input.int_in_range(0..=handles.len())?;
    Ok(handles.get(at).copied().unwrap_or(null_mut()))
}

impl Drop for Sequence<'_> {
    fn drop(&mut self) {
        unsafe {
            self.tensors.iter().for_each(|handle| bertscript_tensor_free(*handle));
            self.tokenizers.iter().for_each(|handle| bertscript_tokenizer_free(*handle));
            self.encodings.iter().for_each(|handle| bertscript_encoding_free(*handle));
            self.derived.iter().for_each(|handle| bertscript_module_free(*handle));
            bertscript_cancel_token_free(self.token);
            bertscript_encode_options_free(self.encode_options);
            bertscript_task_options_free(self.task_options);
            bertscript_run_options_free(self.run_options);
        }
    }
}
