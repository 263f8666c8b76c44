//! From a checkpoint to a trace, to a file, to a result:
//! `export DIR FILE.pt [CLASS]`
//!
//! CLASS is a model class, such as `BertForMaskedLM`, instead of the one that
//! `config.json` names.

use bertscript::{Checkpoint, Inputs, LoadOptions, Module, PreTrained, Shapes};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (directory, file, class) = match arguments.as_slice() {
        [directory, file] => (directory, file, None),
        [directory, file, class] => (directory, file, Some(class)),
        _ => return Err("usage: export DIR FILE.pt [CLASS]".into()),
    };
    let architecture = class.map(|class| class.parse()).transpose()?;
    let options = LoadOptions { architecture, ..LoadOptions::default() };
    let checkpoint = Checkpoint::open(directory)?;
    let model = PreTrained::from_checkpoint(&checkpoint, &options)?;
    model.export(&Shapes::Any, file)?;

    // Two rows of ids, the second one shorter.
    let module = Module::open(file)?;
    let inputs = Inputs::from_rows(&[vec![2, 17, 5, 3], vec![2, 41, 3]], 0)?;
    for (name, tensor) in module.run(&inputs)?.iter() {
        let shape: String = tensor.shape().iter().map(|size| format!(" {size}")).collect();
        println!("{name}{shape}");
    }
    Ok(())
}
