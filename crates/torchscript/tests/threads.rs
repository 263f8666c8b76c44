//! Work on libtorch's threads.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tch::{Kind, Tensor};
use torchscript::{InferenceMode, in_parallel_region, on_threads};

// One test: the number of threads is the process's.
#[test]
fn work_runs_on_the_threads_that_libtorch_has() {
    for threads in [1, 2, 3] {
        tch::set_num_threads(threads);
        let numbers = Mutex::new(Vec::new());
        let others = Mutex::new(BTreeSet::new());
        on_threads(|number| {
            numbers.lock().unwrap().push(number);
            others.lock().unwrap().insert(format!("{:?}", std::thread::current().id()));
            assert_eq!(in_parallel_region(), threads > 1);
            // Operators work there, also large ones.
            let x = Tensor::ones([200, 200], (Kind::Float, tch::Device::Cpu));
            assert_eq!(x.matmul(&x).sum(Kind::Float).double_value(&[]), 8e6);
            // Inside, there is nothing left to share.
            let inner = AtomicUsize::new(0);
            on_threads(|_| {
                inner.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            assert_eq!(inner.into_inner(), 1);
        })
        .unwrap();
        let mut numbers = numbers.into_inner().unwrap();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..threads as usize).collect::<Vec<_>>());
        assert_eq!(others.into_inner().unwrap().len(), threads as usize);
    }

    let weight = Tensor::ones([2], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
    let weight = torchscript::SharedTensor::new(weight);
    let recorded = |expected: bool| {
        on_threads(|_| assert_eq!((weight.get() * 2).requires_grad(), expected)).unwrap();
    };
    recorded(true);
    {
        let _inference = InferenceMode::enter();
        recorded(false);
    }
    recorded(true);

    let panicked = std::panic::catch_unwind(|| on_threads(|number| assert_ne!(number, 1, "no")));
    assert!(panicked.unwrap_err().downcast_ref::<String>().unwrap().contains("no"));
    on_threads(|_| ()).unwrap();
}
