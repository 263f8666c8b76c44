//! How fast texts are embedded, beside others: `bench_peers.py` asks, a line of
//! JSON a question; `bench_worker.py` says which there are.
//!
//! ```text
//! throughput FILE.pt f32|f16|bf16|int8 THREADS LIMIT [DEVICE]
//! throughput --export DIR FILE.pt
//! ```

use bertscript::{
    Device, Dtype, EmbedOptions, Embeddings, EncodeOptions, Inputs, Module, PoolingMode, Precision,
    Tensor, Text, Truncation,
};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--export", directory, file] => {
            bertscript::export(directory, file)?;
            Ok(())
        }
        [file, dtype, threads, limit, device @ ..] if device.len() < 2 => {
            bertscript::set_thread_count(threads.parse()?);
            tch::set_num_interop_threads(1);
            let started = Instant::now();
            let device = device.first().map_or(Ok(Device::Cpu), |device| device.parse())?;
            let module = load(file, dtype, device)?;
            serve(module, limit.parse()?, started)
        }
        _ => {
            Err("usage: throughput FILE.pt DTYPE THREADS LIMIT [DEVICE] | --export DIR FILE.pt"
                .into())
        }
    }
}

/// Of `int8`, what is not a linear layer stays in bfloat16.
fn load(file: &str, dtype: &str, device: Device) -> Result<Module> {
    if dtype == "int8" {
        let module = Module::load(file, device, Some(Dtype::BF16))?;
        return Ok(module.with_precision(Precision::Int8)?);
    }
    Ok(Module::load(file, device, Some(dtype.parse()?))?)
}

fn serve(module: Module, limit: usize, started: Instant) -> Result<()> {
    let found = module.tokenizer()?.max_length();
    if found != limit {
        let message = format!("the file cuts texts at {found} tokens, expected {limit}");
        return Err(message.into());
    }
    answer(&json!({"ready": started.elapsed().as_secs_f64()}))?;
    let mut embeddings = None;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        match word(&request, "kind")? {
            "embed" => {
                let (found, seconds) = embed(&module, &request)?;
                embeddings = Some(found);
                answer(&seconds)?;
            }
            "save" => {
                let found = embeddings.as_ref().ok_or("nothing was embedded")?;
                tch::Tensor::try_from(found.tensor())?.write_npy(word(&request, "file")?)?;
                answer(&json!({}))?;
            }
            "latency" => answer(&latency(&module, &request)?)?,
            other => return Err(format!("unknown question {other:?}").into()),
        }
    }
    Ok(())
}

/// Embeds the texts by mean pooling, whatever the pipeline says, and encodes them
/// once more by themselves.
fn embed(module: &Module, request: &Value) -> Result<(Embeddings, Value)> {
    let file = std::fs::read_to_string(word(request, "texts")?)?;
    let texts: Vec<&str> = file.lines().take(number(request, "count")?).collect();
    let options = EmbedOptions {
        pooling: Some(vec![PoolingMode::Mean]),
        normalize: true,
        prompt: Some(String::new()),
        ..EmbedOptions::default()
    };
    let started = Instant::now();
    let found = module.embed(texts.iter().copied(), &options)?;
    let seconds = started.elapsed().as_secs_f64();

    let texts: Vec<Text> = texts.into_iter().map(Text::from).collect();
    let truncation = Truncation::LongestFirst;
    let options = EncodeOptions { truncation, details: false, ..EncodeOptions::default() };
    let started = Instant::now();
    module.tokenizer()?.encode_batch(&texts, &options)?;
    let tokenizing = started.elapsed().as_secs_f64();
    Ok((found, json!({"seconds": seconds, "tokenizing": tokenizing})))
}

/// One row of ids to hidden states in this program's own memory.
fn latency(module: &Module, request: &Value) -> Result<Value> {
    let ids: Vec<i64> = serde_json::from_value(request["ids"].clone())?;
    let mut times = Vec::new();
    for _ in 0..number(request, "calls")? {
        let started = Instant::now();
        let row = Tensor::new(ids.clone(), [1, ids.len()])?;
        let outputs = module.run(&Inputs::new(row))?;
        let hidden = outputs.get("last_hidden_state")?.to_device(Device::Cpu)?.to_f32()?;
        std::hint::black_box(hidden.as_slice::<f32>()?.to_vec());
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(json!({ "milliseconds": times }))
}

fn word<'a>(request: &'a Value, name: &str) -> Result<&'a str> {
    request[name].as_str().ok_or_else(|| format!("{name}: expected a word").into())
}

fn number(request: &Value, name: &str) -> Result<usize> {
    let found = request[name].as_u64().ok_or_else(|| format!("{name}: expected a number"))?;
    Ok(found as usize)
}

fn answer(value: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
