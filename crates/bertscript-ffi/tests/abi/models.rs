//! From a checkpoint to a module, to a file, to another dtype.

use crate::{fixture, load, model, text, told, traced, values};
use bertscript_ffi::*;
use std::ffi::CString;
use std::ptr::{null, null_mut};

/// The first output of a run on three ids.
fn first_output(module: *const bertscript_module) -> Vec<f32> {
    let (mut outputs, mut count) = ([null_mut(); 8], 0);
    let status = unsafe {
        bertscript_module_run_ids(
            module,
            [2_i64, 9, 3].as_ptr(),
            null(),
            null(),
            1,
            3,
            null(),
            outputs.as_mut_ptr(),
            outputs.len(),
            &raw mut count,
            null_mut(),
        )
    };
    assert_eq!(status, BERTSCRIPT_OK);
    let found = values(outputs[0]);
    for output in &outputs[..count] {
        unsafe { bertscript_tensor_free(*output) };
    }
    found
}

#[test]
fn a_traced_module_runs_is_saved_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = CString::new(folder.path().join("model.pt").to_str().unwrap()).unwrap();
    let module = traced("masked-lm");
    unsafe {
        let before = first_output(module);
        assert_eq!(bertscript_module_save(module, file.as_ptr(), null_mut()), BERTSCRIPT_OK);
        let loaded = load(&file);
        assert_eq!(first_output(loaded), before);
        assert_eq!(bertscript_module_output_count(loaded), 1);
        assert_eq!(bertscript_module_input_count(loaded), 3);
        assert_eq!(text(bertscript_module_device(loaded)), "cpu");
        assert_eq!(bertscript_module_warm_up(loaded, 2, 5, 2, null_mut()), BERTSCRIPT_OK);
        let mut error = null_mut();
        let status = bertscript_module_warm_up(loaded, 2, 5000, 1, &raw mut error);
        let message = "input_ids: found sequence length 5000, expected 1 to 512".to_owned();
        assert_eq!(told(status, error), (BERTSCRIPT_INVALID_ARGUMENT, message));

        // Another dtype: near, and not to be saved under the name of the first.
        let mut half = null_mut();
        let dtype = c"bfloat16".as_ptr();
        let status = bertscript_module_to(loaded, null(), dtype, &raw mut half, null_mut());
        assert_eq!(status, BERTSCRIPT_OK);
        let mut error = null_mut();
        let status = bertscript_module_save(half, file.as_ptr(), &raw mut error);
        assert_eq!(told(status, error).0, BERTSCRIPT_UNSUPPORTED);
        bertscript_module_free(half);
        assert_eq!(first_output(loaded), before, "the first module is as it was");

        // The same place again: shared, and equal.
        let mut same = null_mut();
        let status =
            bertscript_module_to(loaded, c"cpu".as_ptr(), null(), &raw mut same, null_mut());
        assert_eq!(status, BERTSCRIPT_OK);
        assert_eq!(first_output(same), before);
        for module in [module, loaded, same] {
            bertscript_module_free(module);
        }
    }
}

#[test]
fn a_model_tells_of_itself_and_outlives_nothing_it_needs() {
    let model = model("masked-lm");
    unsafe {
        assert!(text(bertscript_model_config_json(model)).contains("hidden_size"));
        let report = text(bertscript_model_report_json(model));
        assert!(report.contains("cls.predictions.decoder.weight"), "{report}");
        assert!(bertscript_model_parameter_count(model) > 1000);
        let clone = bertscript_model_clone(model);
        bertscript_model_free(model);
        let mut module = null_mut();
        let status = bertscript_model_trace(clone, null(), &raw mut module, null_mut());
        assert_eq!(status, BERTSCRIPT_OK);
        bertscript_model_free(clone);
        assert!(!first_output(module).is_empty());
        bertscript_module_free(module);
    }
}

#[test]
fn options_of_build_and_trace_are_obeyed_or_refused() {
    unsafe {
        let options = bertscript_build_options_new();
        let mut error = null_mut();
        let wrong = c"BertForPoetry".as_ptr();
        let status = bertscript_build_options_set_architecture(options, wrong, &raw mut error);
        assert_eq!(told(status, error).0, BERTSCRIPT_INVALID_ARGUMENT);
        let mut error = null_mut();
        let status = bertscript_build_options_set_keep_tied(options, 2, &raw mut error);
        let message = "keep_tied: found 2, expected 0 or 1".to_owned();
        assert_eq!(told(status, error), (BERTSCRIPT_INVALID_ARGUMENT, message));

        let set = [
            bertscript_build_options_set_architecture(options, c"BertModel".as_ptr(), null_mut()),
            bertscript_build_options_set_attention(options, c"eager".as_ptr(), null_mut()),
            bertscript_build_options_set_hidden_states(options, 1, null_mut()),
            bertscript_build_options_set_attentions(options, 1, null_mut()),
            bertscript_build_options_set_keep_tied(options, 1, null_mut()),
            bertscript_build_options_set_dtype(options, c"float32".as_ptr(), null_mut()),
            bertscript_build_options_set_random_init(options, 7, null_mut()),
        ];
        assert_eq!(set, [BERTSCRIPT_OK; 7]);
        let (mut model, directory) = (null_mut(), fixture("masked-lm"));
        let status = bertscript_model_from_pretrained(
            directory.as_ptr(),
            options,
            &raw mut model,
            null_mut(),
        );
        assert_eq!(status, BERTSCRIPT_OK);
        bertscript_build_options_free(options);

        let shapes = bertscript_trace_options_new();
        for shape in [c"1x4", c"2x8"] {
            let status =
                bertscript_trace_options_add_fixed_shape(shapes, shape.as_ptr(), null_mut());
            assert_eq!(status, BERTSCRIPT_OK);
        }
        let mut error = null_mut();
        let status =
            bertscript_trace_options_add_fixed_shape(shapes, c"wide".as_ptr(), &raw mut error);
        assert_eq!(told(status, error).0, BERTSCRIPT_INVALID_ARGUMENT);
        let mut module = null_mut();
        let status = bertscript_model_trace(model, shapes, &raw mut module, null_mut());
        assert_eq!(status, BERTSCRIPT_OK);
        bertscript_trace_options_free(shapes);
        let metadata = text(bertscript_module_metadata_json(module));
        assert!(metadata.contains("attentions.0") && metadata.contains("hidden_states.0"));
        let mut error = null_mut();
        let status = bertscript_module_warm_up(module, 3, 8, 1, &raw mut error);
        let (status, message) = told(status, error);
        assert_eq!(status, BERTSCRIPT_INVALID_ARGUMENT);
        assert!(message.contains("none of the traced shapes 1x4, 2x8"), "{message}");
        bertscript_module_free(module);
        bertscript_model_free(model);
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    unsafe {
        let (mut model, mut error) = (null_mut(), null_mut());
        let status = bertscript_model_from_pretrained(
            c"nowhere".as_ptr(),
            null(),
            &raw mut model,
            &raw mut error,
        );
        let message = "nowhere: cannot open the checkpoint directory".to_owned();
        assert_eq!(told(status, error), (BERTSCRIPT_NOT_FOUND, message));
        assert!(model.is_null());
    }
}

#[test]
fn only_regular_files_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().to_str().unwrap();
    for name in ["config.json", "model.safetensors"] {
        let from = format!("{}/{name}", fixture("masked-lm").to_str().unwrap());
        std::fs::copy(from, folder.path().join(name)).unwrap();
    }
    let (module, model) = (traced("masked-lm"), model(checkpoint));
    let path = CString::new(checkpoint).unwrap();
    let weights = CString::new(format!("{checkpoint}/model.safetensors")).unwrap();
    let found = |path: &str, what: &str| (BERTSCRIPT_INVALID_ARGUMENT, format!("{path}: {what}"));
    unsafe {
        let directory = "found a directory, expected a regular file or nothing";
        let directory = found(path.to_str().unwrap(), directory);
        let mut error = null_mut();
        let status = bertscript_module_save(module, path.as_ptr(), &raw mut error);
        assert_eq!(told(status, error), directory);
        let export = |path: &CString| {
            let mut error = null_mut();
            let status = bertscript_model_export(model, null(), path.as_ptr(), &raw mut error);
            told(status, error)
        };
        assert_eq!(export(&path), directory);
        let weights_text = weights.to_str().unwrap();
        let input = format!("found the input file {weights_text}, expected another file");
        assert_eq!(export(&weights), found(weights_text, &input));
        bertscript_model_free(model);
        bertscript_module_free(module);
    }
}
