//! What padding costs: a file for any length beside files of fixed shapes.
//!
//! ```text
//! cargo run --release --example padding -- all-MiniLM-L6-v2
//! ```

use bertscript::{Checkpoint, FixedShape, Inputs, LoadOptions, Module, PreTrained, Result, Shapes};
use std::time::Instant;

const LENGTHS: [usize; 7] = [8, 16, 32, 64, 128, 256, 512];
const ROUNDS: usize = 15;

fn main() -> Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "all-MiniLM-L6-v2".to_owned());
    let checkpoint = Checkpoint::open(directory)?;
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default())?;
    let file = std::env::temp_dir().join(format!("padding-{}.pt", std::process::id()));
    let load = |shapes: &[&str]| -> Result<Module> {
        let shapes = shapes.iter().map(|text| text.parse()).collect::<Result<Vec<FixedShape>>>()?;
        model.export(&Shapes::from(shapes), &file)?;
        Module::open(&file)
    };
    let modules = [load(&[])?, load(&["1x64", "1x128", "1x256", "1x512"])?, load(&["1x512"])?];
    let _ = std::fs::remove_file(&file);

    println!("{} threads, one text a run, median of {ROUNDS} in ms:\n", bertscript::thread_count());
    println!("| tokens | any shape | 1x64, 1x128, 1x256, 1x512 | 1x512 only |");
    println!("|---|---|---|---|");
    for length in LENGTHS {
        let inputs = Inputs::from_rows(&[vec![7; length]], 0)?;
        let mut times: [Vec<f64>; 3] = Default::default();
        for round in 0..ROUNDS + 2 {
            // In turns, so that a slow moment of the machine meets all.
            for (module, times) in modules.iter().zip(&mut times) {
                let started = Instant::now();
                module.run(&inputs)?;
                if round >= 2 {
                    times.push(started.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let [any, buckets, one] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        });
        println!(
            "| {length} | {any:.1} | {buckets:.1} ({:.1} x) | {one:.1} ({:.1} x) |",
            buckets / any,
            one / any
        );
    }
    Ok(())
}
