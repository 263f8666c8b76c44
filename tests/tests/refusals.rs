//! Bad input through the command line: a clear error, exit code 1, nothing
//! left behind, and no panic.

use bertscript::write_safetensors;
use bertscript_tests::{bertscript, bertscript_ok, copy_of, fixture, scratch};
use std::io::Write;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

const ROOM: (Kind, tch::Device) = (Kind::Int64, tch::Device::Cpu);

/// Runs a command that must fail with exit code 1, say all of `words` on one
/// line, and leave `absent` unmade.
fn refused(arguments: &[&str], absent: &Path, words: &[&str]) {
    let output = bertscript(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let context = format!("{arguments:?}\n{stderr}");
    assert_eq!(output.status.code(), Some(1), "{context}");
    let line = stderr.lines().next().unwrap_or_default();
    assert!(line.starts_with("error: "), "{context}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing from:\n{context}");
    }
    assert!(!stderr.contains("panicked"), "{context}");
    assert!(!stderr.contains("Exception raised"), "{context}");
    assert!(!absent.exists(), "{} was left behind", absent.display());
    let folder = absent.parent().unwrap();
    let partial = std::fs::read_dir(folder).unwrap().flatten();
    let partial: Vec<_> = partial
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".partial"))
        .collect();
    assert!(partial.is_empty(), "{partial:?} was left behind by {context}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The fixture `model`, exported: vocabulary 128, 512 positions, 2 token types.
fn exported(scratch: &Path) -> PathBuf {
    let file = scratch.join("model.pt");
    bertscript_ok(&["export", text(&fixture("model")), "-o", text(&file)]);
    file
}

#[test]
fn inputs_out_of_their_bounds() {
    let scratch = scratch();
    let file = exported(scratch.path());
    let ids = || Tensor::full([2, 4], 5, ROOM);
    let with = |value: i64| {
        let tensor = ids();
        let _ = tensor.get(1).get(2).fill_(value);
        tensor
    };
    let one = |name: &'static str, tensor: Tensor| vec![(name, tensor)];
    let two = |name: &'static str, tensor: Tensor| vec![("input_ids", ids()), (name, tensor)];
    type Case = (Vec<(&'static str, Tensor)>, &'static [&'static str]);
    let cases: Vec<Case> = vec![
        (one("input_ids", with(128)), &["input_ids: found 128 at [1, 2], expected 0 to 127"]),
        (one("input_ids", with(-1)), &["input_ids: found -1 at [1, 2], expected 0 to 127"]),
        (
            one("input_ids", Tensor::zeros([1, 513], ROOM)),
            &["input_ids: found sequence length 513, expected 1 to 512"],
        ),
        (
            one("input_ids", Tensor::zeros([1, 0], ROOM)),
            &["input_ids: found sequence length 0, expected 1 to 512"],
        ),
        (one("input_ids", Tensor::zeros([4], ROOM)), &["input_ids: found shape [4]", "[B, S]"]),
        (one("input_ids", Tensor::zeros([1, 1, 4], ROOM)), &["input_ids: found shape [1, 1, 4]"]),
        (
            one("input_ids", ids().to_kind(Kind::Float)),
            &["input_ids: found dtype float32, expected int64 or int32"],
        ),
        (
            one("input_ids", Tensor::zeros([0, 4], ROOM)),
            &["input_ids: found an empty batch, shape [0, 4]"],
        ),
        (
            two("attention_mask", Tensor::ones([2, 3], ROOM)),
            &["attention_mask: found shape [2, 3], expected that of input_ids, [2, 4]"],
        ),
        (two("attention_mask", with(2)), &["attention_mask: found 5 at [0, 0], expected 0 to 1"]),
        (
            two("attention_mask", Tensor::ones([2, 4], (Kind::Float, tch::Device::Cpu))),
            &["attention_mask: found dtype float32, expected int64 or int32 or bool"],
        ),
        (
            two("token_type_ids", Tensor::full([2, 4], 2, ROOM)),
            &["token_type_ids: found 2 at [0, 0], expected 0 to 1"],
        ),
        (
            two("token_type_ids", Tensor::zeros([1, 4], ROOM)),
            &["token_type_ids: found shape [1, 4], expected that of input_ids, [2, 4]"],
        ),
        (two("segments", ids()), &["segments: unknown input", "token_type_ids"]),
        (one("attention_mask", ids()), &["input_ids: the input is missing"]),
    ];
    let (inputs, outputs) = (scratch.path().join("in"), scratch.path().join("out"));
    for (tensors, words) in cases {
        let tensors: Vec<_> = tensors
            .into_iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.try_into().unwrap()))
            .collect();
        write_safetensors(&inputs, &tensors).unwrap();
        let run = ["run", text(&file), "--inputs", text(&inputs), "--outputs", text(&outputs)];
        refused(&run, &outputs, words);
    }
}

#[test]
fn files_that_are_no_archive() {
    let scratch = scratch();
    let good = exported(scratch.path());
    let bytes = std::fs::read(&good).unwrap();
    let bad = scratch.path().join("bad.pt");
    let outputs = scratch.path().join("out");
    let inputs = fixture("model/inputs.safetensors");
    let check = |contents: &[u8], words: &[&str]| {
        std::fs::write(&bad, contents).unwrap();
        let run = ["run", text(&bad), "--inputs", text(&inputs), "--outputs", text(&outputs)];
        for arguments in [&["inspect", text(&bad)][..], &run, &["verify", text(&bad)]] {
            refused(arguments, &outputs, &[&[text(&bad)], words].concat());
        }
    };
    check(b"", &["not a TorchScript archive"]);
    check(b"not an archive", &["not a TorchScript archive"]);
    check(
        &std::fs::read(fixture("model/model.safetensors")).unwrap(),
        &["not a TorchScript archive"],
    );
    for part in [10, bytes.len() / 2, bytes.len() - 1] {
        check(&bytes[..part], &["truncated or damaged"]);
    }
    let missing = scratch.path().join("missing.pt");
    refused(&["inspect", text(&missing)], &outputs, &[text(&missing), "No such file"]);
    refused(&["inspect", text(scratch.path())], &outputs, &[text(scratch.path())]);
}

#[test]
fn programs_of_others_and_of_the_future() {
    let scratch = scratch();
    let path = scratch.path().join("other.pt");
    let module = torchscript::ScriptModule::new("Other").unwrap();
    let save = |files: &[(&str, &[u8])], words: &[&str]| {
        module.save(std::fs::File::create(&path).unwrap(), files).unwrap();
        refused(&["inspect", text(&path)], &scratch.path().join("out"), words);
    };
    save(&[], &["the program has no method `forward`"]);
    save(
        &[("bertscript.json", br#"{"format_version": 2, "unheard_of": true}"#)],
        &["format version 2", "reads up to 1", "newer bertscript"],
    );
    save(&[("bertscript.json", br#"{"format_version": 1}"#)], &["bertscript.json: missing field"]);
    save(&[("bertscript.json", b"{")], &["bertscript.json: EOF"]);
}

#[test]
fn describing_a_program_does_not_load_it() {
    let scratch = scratch();
    let path = scratch.path().join("other.pt");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    // Loading would compile it, and call `__setstate__`.
    let code = "class Other(Module):
  def forward(self: __torch__.Other,
    x: Tensor,
    scale: float=2.) -> Tensor:
    return torch.no_operator_has_this_name(x)
  def __setstate__(self: __torch__.Other,
    state: int) -> NoneType:
    ops.prim.RaiseException(\"it ran\")
    return None
";
    let records = [
        ("data.pkl", &b"\x80\x02c__torch__\nOther\n)\x81K\x01b."[..]),
        ("code/__torch__.py", code.as_bytes()),
        ("data/0", &[0; 8]),
        ("constants.pkl", b"\x80\x02)."),
        ("version", b"3\n"),
    ];
    for (name, contents) in records {
        zip.start_file(format!("other/{name}"), stored).unwrap();
        zip.write_all(contents).unwrap();
    }
    zip.finish().unwrap();
    let found = bertscript_ok(&["inspect", text(&path), "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["tensor_bytes"], 8);
    assert_eq!(found["returns"], "Tensor");
    let argument = |name: &str, type_name: &str, required: bool| serde_json::json!({"name": name, "type": type_name, "required": required});
    let inputs = [argument("x", "Tensor", true), argument("scale", "float", false)];
    assert_eq!(found["inputs"], serde_json::Value::from(inputs.to_vec()));
    refused(&["verify", text(&path)], &scratch.path().join("out"), &[text(&path)]);
}

/// Exports a copy of the fixture `model` after changing its configuration.
fn export_with(change: impl FnOnce(&mut serde_json::Value), words: &[&str]) {
    let directory = copy_of("model");
    let config = directory.path().join("config.json");
    let mut json = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&config, json.to_string()).unwrap();
    let output = directory.path().join("out.pt");
    refused(&["export", text(directory.path()), "-o", text(&output)], &output, words);
}

#[test]
fn configurations_that_are_not_supported_or_not_possible() {
    type Case = (&'static str, serde_json::Value, &'static [&'static str]);
    let cases: Vec<Case> = vec![
        ("hidden_act", "swiglu".into(), &["hidden_act", "\"swiglu\"", "gelu_new"]),
        ("model_type", "gpt2".into(), &["model_type", "\"gpt2\"", "\"bert\""]),
        (
            "position_embedding_type",
            "relative_key".into(),
            &["position_embedding_type", "relative_key"],
        ),
        ("is_decoder", true.into(), &["is_decoder"]),
        ("add_cross_attention", true.into(), &["add_cross_attention"]),
        ("pruned_heads", serde_json::json!({"0": [1]}), &["pruned_heads"]),
        ("quantization_config", serde_json::json!({"bits": 8}), &["quantization_config"]),
        (
            "architectures",
            serde_json::json!(["BertForSomething"]),
            &["BertForSomething", "BertForMaskedLM"],
        ),
        ("num_attention_heads", 5.into(), &["hidden_size", "32", "5"]),
        ("num_attention_heads", 0.into(), &["num_attention_heads", "found 0"]),
        ("vocab_size", (-1).into(), &["vocab_size", "found -1"]),
        ("hidden_size", "wide".into(), &["hidden_size", "wide", "expected 1 to"]),
        ("hidden_size", 64.into(), &["expected shape", "64", "32", "model.safetensors"]),
        ("layer_norm_eps", (-1).into(), &["layer_norm_eps", "-1"]),
        ("pad_token_id", 500.into(), &["pad_token_id", "500", "127"]),
        (
            "num_hidden_layers",
            3.into(),
            &["lacks 16", "encoder.layer.2.attention.self.query.weight"],
        ),
        (
            "id2label",
            serde_json::json!({"0": "a", "2": "b"}),
            &["id2label", "no label of 1", "0 to 2"],
        ),
    ];
    for (key, value, words) in cases {
        export_with(|json| json[key] = value, words);
    }
    export_with(|json| json["is_decoder"] = true.into(), &["config.json: is_decoder"]);
}

#[test]
fn checkpoints_that_are_not_there_or_damaged() {
    let directory = copy_of("model");
    let path = directory.path();
    let output = path.join("out.pt");
    let weights = path.join("model.safetensors");
    let export = ["export", text(path), "-o", text(&output)];
    let good = std::fs::read(&weights).unwrap();

    for length in [0, 4, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&weights, &good[..length]).unwrap();
        refused(&export, &output, &[text(&weights)]);
    }
    std::fs::write(&weights, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n").unwrap();
    refused(&export, &output, &[text(&weights), "git lfs pull"]);

    std::fs::remove_file(&weights).unwrap();
    refused(&export, &output, &["no weights are here"]);
    std::fs::write(path.join("pytorch_model.bin"), "").unwrap();
    refused(&export, &output, &["pytorch_model.bin", "not a file of torch.save"]);

    std::fs::remove_file(path.join("config.json")).unwrap();
    refused(&export, &output, &["config.json", "No such file"]);
    refused(&["export", "/no/such/folder", "-o", text(&output)], &output, &["/no/such/folder"]);
    let file = fixture("model/config.json");
    refused(&["export", text(&file), "-o", text(&output)], &output, &["found a file"]);
}

#[test]
fn safetensors_headers_that_lie() {
    let directory = copy_of("model");
    let output = directory.path().join("out.pt");
    let weights = directory.path().join("model.safetensors");
    let export = ["export", text(directory.path()), "-o", text(&output)];
    let check = |header: &str, data: usize, words: &[&str]| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        std::fs::write(&weights, bytes).unwrap();
        refused(&export, &output, words);
    };
    let huge = u64::MAX / 8;
    check("{", 0, &["header"]);
    check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, &["header"]);
    check(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#, 8, &["header"]);
    check(
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        4,
        &["header"],
    );
    check(
        &format!(r#"{{"a":{{"dtype":"F32","shape":[{huge},{huge}],"data_offsets":[0,4]}}}}"#),
        4,
        &["header"],
    );
    check(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 8, &["truncated"]);
    check(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 8, &["malformed"]);
    // Sizes that add up to more than a number holds.
    let most = (1_u64 << 61) - 1;
    let tensor = |i: u64| (i * most, ((i as u128 + 1) * most as u128).min(u64::MAX.into()) as u64);
    let tensors: Vec<_> = (0..9)
        .map(tensor)
        .map(|(start, end)| {
            let size = end - start;
            format!(r#""{start}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    check(&format!("{{{}}}", tensors.join(",")), 8, &["truncated", "18446744073709551615 bytes"]);
    check(
        r#"{"a":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]}}"#,
        0,
        &["a: the shape"],
    );
    check(r#"{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#, 4, &["F8_E4M3"]);
}

#[test]
fn devices_and_places_that_cannot_be_had() {
    let scratch = scratch();
    let file = exported(scratch.path());
    let outputs = scratch.path().join("out");
    let inputs = fixture("model/inputs.safetensors");
    let run = |device| {
        let (inputs, outputs) = (text(&inputs), text(&outputs));
        vec!["run", text(&file), "--inputs", inputs, "--outputs", outputs, "--device", device]
    };
    refused(&run("cuda:4096"), &outputs, &["cuda:4096: "]);
    let nowhere = scratch.path().join("no/such/folder/out.pt");
    let output = bertscript(&["export", text(&fixture("model")), "-o", text(&nowhere)]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(text(&nowhere)) && stderr.contains("No such file"), "{stderr}");

    // Wrong words are wrong usage.
    assert_eq!(bertscript(&run("gpu")).status.code(), Some(2));
    assert_eq!(bertscript(&["export"]).status.code(), Some(2));
    let wrong = ["export", "x", "-o", "y", "--dtype", "f8"];
    assert_eq!(bertscript(&wrong).status.code(), Some(2));
}

#[test]
fn a_failed_export_leaves_what_stood_there() {
    let directory = copy_of("model");
    let output = directory.path().join("out.pt");
    std::fs::write(&output, "precious").unwrap();
    std::fs::write(directory.path().join("config.json"), "{}").unwrap();
    let done = bertscript(&["export", text(directory.path()), "-o", text(&output)]);
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(std::fs::read(&output).unwrap(), b"precious");
}

#[test]
fn a_weight_changed_in_the_file_is_noticed() {
    let scratch = scratch();
    let file = exported(scratch.path());
    // Any change of a record breaks the zip's own checksum or our digest.
    let mut bytes = std::fs::read(&file).unwrap();
    let needle = bytes.windows(6).position(|window| window == b"data/0").unwrap();
    bytes[needle + 200] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let output = bertscript(&["verify", text(&file)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// What only a text needs is refused when there is one: ids run without a tokenizer.
#[test]
fn a_tokenizer_of_another_class_is_refused_by_name() {
    let directory = copy_of("text/masked");
    let path = directory.path();
    std::fs::write(
        path.join("tokenizer_config.json"),
        r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#,
    )
    .unwrap();
    let file = path.join("out.pt");
    bertscript_ok(&["export", text(path), "-o", text(&file)]);
    bertscript_ok(&["verify", text(&file), "--checkpoint", text(path)]);
    let words = ["tokenizer_config.json", "tokenizer_class", "BertJapaneseTokenizer"];
    refused(&["predict", text(&file), "a [MASK]"], &path.join("none"), &words);
}
