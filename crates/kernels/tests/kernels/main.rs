//! The kernels as they ship, with every instruction set that this CPU has.

mod activation;

use bertscript_kernels::Isa;

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.iter().copied().filter(|isa| isa.is_available())
}
