//! The example of the README: from a checkpoint to a result.

use bertscript::{Archive, Checkpoint, Device, Inputs, LoadOptions, Module, PreTrained, trace};

fn main() -> bertscript::Result<()> {
    let checkpoint = Checkpoint::open("all-MiniLM-L6-v2".as_ref())?;
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default())?;
    Archive::new(&model, &checkpoint)?.save(&trace(&model)?, "minilm.pt".as_ref())?;

    let module = Module::load("minilm.pt".as_ref(), Device::Cpu, None)?;
    // The ids of two texts of different length: padded and masked.
    let inputs = Inputs::from_rows(&[vec![101, 7, 8, 102], vec![101, 9, 102]], 0)?;
    let outputs = module.run(&inputs)?;
    println!("{:?}", outputs.get("last_hidden_state")?);
    Ok(())
}
