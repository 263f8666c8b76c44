//! One module, many threads, no locks: `threads FILE.pt TEXT [TEXT..]`
//!
//! Each text is embedded by a thread of its own.

use bertscript::{EmbedOptions, Module};
use std::thread;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let Some((file, texts)) = arguments.split_first().filter(|(_, texts)| !texts.is_empty()) else {
        return Err("usage: threads FILE.pt TEXT [TEXT..]".into());
    };
    // With a thread for each text, one text needs no more.
    bertscript::set_thread_count(1);
    let module = Module::open(file)?;
    let embed = |text| module.embed([text], &EmbedOptions::default());
    let embed = &embed;
    let found: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> =
            texts.iter().map(|text| scope.spawn(move || embed(text.as_str()))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no worker panics")).collect()
    });
    for (found, text) in found.into_iter().zip(texts) {
        let found = found?;
        let values = found.row(0);
        println!("{:7.4} {:7.4} {:7.4}  {text}", values[0], values[1], values[2]);
    }
    Ok(())
}
