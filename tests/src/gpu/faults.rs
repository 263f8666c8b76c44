//! What goes wrong on a device stays an error, and leaves the device as it was.

use super::cudart::Cudart;
use super::numbers::rows;
use super::{Checked, Prepared, ensure, load};
use crate::Execution;
use bertscript::{Comparison, Dtype, ErrorKind, Inputs, Module, Outputs};
use tch::{Kind, Tensor};

/// The results that a module must still give.
fn same(module: &Module, expected: &Outputs) -> Checked {
    let outputs = module.run(&Inputs::from_rows(&rows(), 0)?)?;
    for (name, expected) in expected.iter() {
        let comparison = Comparison::new(name, outputs.get(name)?, expected, 1e-6)?;
        ensure(comparison.is_equal(), || format!("{comparison:?}"))?;
    }
    Ok(())
}

/// An id beyond the vocabulary would stop the whole process from using the device.
pub(super) fn a_bad_id_poisons_nothing(prepared: &Prepared) -> Checked {
    for execution in [Execution::TorchScript, Execution::Unpadded] {
        let module = load(&prepared.wide(), prepared.device, Dtype::F32, execution)?;
        let expected = module.run(&Inputs::from_rows(&rows(), 0)?)?;
        for id in [2000, -1, i64::MAX] {
            let ids = Tensor::from_slice(&[1, id, 2]).view([1, 3]);
            let error =
                module.run(&Inputs::new(ids.try_into()?)).err().ok_or("a bad id was taken")?;
            ensure(error.kind() == ErrorKind::InvalidInput, || error.to_string())?;
            let on_device =
                Tensor::from_slice(&[1, id, 2]).view([1, 3]).to(super::of_torch(prepared.device));
            let error = module
                .run(&Inputs::new(on_device.try_into()?))
                .err()
                .ok_or("a bad id was taken")?;
            ensure(error.kind() == ErrorKind::InvalidInput, || error.to_string())?;
            same(&module, &expected)?;
        }
    }
    Ok(())
}

/// Takes nearly all memory of the device, and gives it back.
pub(super) fn memory_runs_out_and_comes_back(prepared: &Prepared) -> Checked {
    let cudart = Cudart::load()?;
    for execution in [Execution::TorchScript, Execution::Unpadded] {
        let module = load(&prepared.wide(), prepared.device, Dtype::F32, execution)?;
        let expected = module.run(&Inputs::from_rows(&rows(), 0)?)?;
        let mut taken = Vec::new();
        let mut size = cudart.free_memory()?;
        while size > 1 << 20 {
            match Tensor::f_empty([size as i64], (Kind::Uint8, tch::Device::Cuda(0))) {
                Ok(tensor) => taken.push(tensor),
                Err(_) => size /= 2,
            }
        }
        let many: Vec<Vec<i64>> = vec![vec![5; 512]; 256];
        let error = module.run(&Inputs::from_rows(&many, 0)?).err();
        let error = error.ok_or("more memory was used than there is")?;
        ensure(error.kind() == ErrorKind::OutOfMemory, || format!("{:?} {error}", error.kind()))?;
        let error = Module::load(prepared.wide(), prepared.device, None).err();
        let kind = error.as_ref().map(bertscript::Error::kind);
        ensure(matches!(kind, None | Some(ErrorKind::OutOfMemory)), || format!("{error:?}"))?;
        drop(taken);
        same(&module, &expected)?;
    }
    Ok(())
}

/// Shapes that come and go, loading and freeing.
pub(super) fn memory_does_not_grow(prepared: &Prepared) -> Checked {
    let cudart = Cudart::load()?;
    let round = |rounds: std::ops::Range<usize>| -> Checked {
        for round in rounds {
            let module = load(&prepared.wide(), prepared.device, Dtype::F16, Execution::Unpadded)?;
            let row: Vec<i64> = (0..1 + (round as i64 * 37) % 512).collect();
            for batch in [1, 3, 8] {
                module.run(&Inputs::from_rows(&vec![row.clone(); batch], 0)?)?;
            }
        }
        Ok(torchscript::cuda_synchronize(0)?)
    };
    round(0..64)?;
    let before = cudart.free_memory()?;
    round(64..256)?;
    let after = cudart.free_memory()?;
    let grown = before.saturating_sub(after);
    ensure(grown < 64 << 20, || format!("{grown} bytes more are in use after 192 rounds"))
}
