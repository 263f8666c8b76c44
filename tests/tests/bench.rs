//! `bertscript bench` measures what it says, and says what it does not measure.

use bertscript_tests::{bertscript, bertscript_ok, binary, fixture, scratch};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// As little work as there can be.
const QUICK: [&str; 6] = ["--rounds", "2", "--warm-up", "1", "--batches", "1,3"];

fn export(fixture_name: &str, more: &[&str], folder: &Path) -> String {
    let file = folder.join("model.pt").to_str().unwrap().to_owned();
    let directory = fixture(fixture_name);
    let arguments = ["export", directory.to_str().unwrap(), "-o", &file];
    bertscript_ok(&[&arguments[..], more].concat());
    file
}

/// Runs the command with `--json`, and reads what it wrote.
fn measure(file: &str, more: &[&str], folder: &Path) -> (String, Value) {
    let json = folder.join("bench.json");
    let arguments = ["bench", file, "--json", json.to_str().unwrap()];
    let text = bertscript_ok(&[&arguments[..], &QUICK, more].concat());
    (text, serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap())
}

/// What was not measured, and why.
fn reasons(report: &Value) -> Vec<(&str, &str)> {
    let left_out = report["left_out"].as_array().unwrap().iter();
    left_out
        .map(|left| (left["what"].as_str().unwrap(), left["reason"].as_str().unwrap()))
        .collect()
}

#[test]
fn every_variant_is_measured_at_every_shape_and_agrees_with_the_reference() {
    let scratch = scratch();
    let file = export("text/sentence", &[], scratch.path());
    let texts = scratch.path().join("texts.txt");
    std::fs::write(&texts, "the cat sat\nwho was it?\n</script> & <b>\n").unwrap();
    let page = scratch.path().join("bench.html");
    let more =
        ["--lengths", "5,9", "--text", texts.to_str().unwrap(), "--html", page.to_str().unwrap()];
    let (text, report) = measure(&file, &more, scratch.path());

    let variants = ["auto", "int8", "torchscript", "frozen", "eager", "fixed-pad"];
    let shapes = report["shapes"].as_array().unwrap();
    let mixed = report["mixed"]["rows"].as_array().unwrap();
    // A machine that does much else may find padding too slow to wait for.
    let left_out = reasons(&report);
    assert!(left_out.iter().all(|(what, _)| *what == "fixed-pad at all lengths"), "{left_out:?}");
    assert_eq!((shapes.len(), mixed.len() + left_out.len()), (4 * variants.len(), variants.len()));
    for (row, variant) in shapes.iter().chain(mixed).zip(variants.iter().cycle()) {
        assert_eq!(row["variant"], *variant);
        assert_eq!((&row["runs"], row["milliseconds"].as_array().unwrap().len()), (&2.into(), 2));
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(number("p50_ms") > 0. && number("p50_ms") <= number("p99_ms"), "{row}");
        let int8 = *variant == "int8";
        assert!(number("max_abs_difference") < if int8 { 0.1 } else { 1e-5 }, "{row}");
        // The ceiling is of products in the file's dtype.
        assert_eq!(row["of_ceiling"].as_f64().is_some_and(|share| share > 0.), !int8, "{row}");
    }
    let last = &shapes[shapes.len() - 1];
    let rate = |name: &str| last[name].as_f64().unwrap() * last["p50_ms"].as_f64().unwrap() / 1e3;
    assert_eq!((&last["batch"], &last["length"]), (&3.into(), &9.into()));
    assert_eq!(rate("sequences_per_second").round(), 3.);
    assert_eq!(rate("tokens_per_second").round(), 27.);

    assert_eq!(report["texts"]["texts"], 3);
    assert_eq!(report["texts"]["rows"].as_array().unwrap().len(), 3);
    assert_eq!(report["starts"].as_array().unwrap().len(), variants.len());
    assert!(report["starts"][0]["peak_bytes"].as_u64().unwrap() > 10_000_000);
    let dtypes: Vec<_> =
        report["ceilings"].as_array().unwrap().iter().map(|c| &c["dtype"]).collect();
    assert_eq!(dtypes, ["float32", "bfloat16"]);
    for word in [&variants[..], &["p99 ms", "of ceiling", "peak memory", "texts/s"]].concat() {
        assert!(text.contains(word), "{word} is missing from:\n{text}");
    }

    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("id=\"report\">").unwrap();
    let (embedded, _) = rest.split_once("</script>").unwrap();
    assert_eq!(serde_json::from_str::<Value>(embedded).unwrap(), report);
}

#[test]
fn what_cannot_be_measured_is_left_out_with_its_reason() {
    let scratch = scratch();
    let file = export("model", &["--fixed-shape", "1x8", "--fixed-shape", "3x16"], scratch.path());
    let (text, report) = measure(&file, &[], scratch.path());
    let left_out: Vec<_> = reasons(&report).into_iter().map(|(what, _)| what).collect();
    assert_eq!(left_out, ["auto", "int8", "fixed-pad", "a batch of all lengths"]);
    assert!(text.contains("left out  auto: found an archive of fixed shapes"), "{text}");
    assert_eq!(report["shapes"].as_array().unwrap().len(), 2 * 3);

    // A choice of texts, half of whose tokens belong to each.
    let file = export("multiple-choice", &[], scratch.path());
    let more = ["--variants", "eager,int8", "--lengths", "4", "--dtype", "f16"];
    let (_, report) = measure(&file, &more, scratch.path());
    assert_eq!(reasons(&report)[0].0, "int8");
    let row = &report["shapes"][0];
    assert_eq!(row["variant"], "eager");
    let tokens = row["tokens_per_second"].as_f64().unwrap() * row["p50_ms"].as_f64().unwrap();
    assert_eq!((tokens / 1e3).round(), 8.);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_measured() {
    let scratch = scratch();
    let file = export("model", &[], scratch.path());
    let fails = |arguments: &[&str], expected: &str| {
        let output = bertscript(&[&["bench", &file], arguments].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with(&format!("error: {expected}")), "{stderr}");
        assert!(output.stdout.is_empty());
    };
    fails(&["--lengths", "8,600"], "--lengths: found 600, the model takes 1 to ");
    fails(&["--json", "no/where.json"], "no/where.json: cannot write the file");
    fails(&["--text", "/dev/null"], "/dev/null: found no line, expected a text on each");
    fails(&["--variants", "int8", "--dtype", "f16"], "no variant is left to measure; int8: ");
}

#[test]
fn an_interrupt_ends_it_with_what_is_done() {
    let scratch = scratch();
    let file = export("model", &[], scratch.path());
    let json = scratch.path().join("bench.json");
    let mut child = Command::new(binary())
        .args(["bench", &file, "--rounds", "10000", "--variants", "torchscript", "--json"])
        .arg(&json)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (process, interrupt) = (format!("/proc/{}/status", child.id()), 1 << 1);
    let catches = || {
        let status = std::fs::read_to_string(&process).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & interrupt != 0
    };
    while !catches() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was interrupted");
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert_eq!(stderr, "interrupted; no file was written\n");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("file "));
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the model: {left:?}");
}
