//! What libtorch reaches at most: what results are held against, in time.

use crate::device::{Device, Dtype};
use crate::error::Result;
#[cfg(not(feature = "torch"))]
use crate::plugin::{Request, ask};

/// How many seconds libtorch's fastest product of two square matrices of `size` rows takes, of as
/// many as fit in `seconds`; one at least.
#[cfg(feature = "torch")]
pub fn fastest_product(device: Device, dtype: Dtype, size: i64, seconds: f64) -> Result<f64> {
    use std::time::Instant;
    use tch::{Kind, Tensor};

    let place = device.resolve()?;
    let matrix = || Tensor::f_rand([size, size], (Kind::Float, place))?.f_to_kind(dtype.kind());
    let (a, b) = (matrix()?, matrix()?);
    let _no_grad = tch::no_grad_guard();
    let multiply = || -> Result<f64> {
        let started = Instant::now();
        let product = a.f_matmul(&b)?;
        // A value that has come back proves that a device has done its work.
        let _ = std::hint::black_box(product.f_narrow(0, 0, 1)?.f_to_device(tch::Device::Cpu)?);
        Ok(started.elapsed().as_secs_f64())
    };
    let (started, mut fastest) = (Instant::now(), multiply()?);
    while started.elapsed().as_secs_f64() < seconds {
        fastest = fastest.min(multiply()?);
    }
    Ok(fastest)
}

/// How many seconds libtorch's fastest product of two square matrices of `size` rows takes, of as
/// many as fit in `seconds`; one at least.
#[cfg(not(feature = "torch"))]
pub fn fastest_product(device: Device, dtype: Dtype, size: i64, seconds: f64) -> Result<f64> {
    let (device, dtype) = (device.to_string(), dtype.name().to_owned());
    let request = Request::Product { device, dtype, size, seconds };
    ask("a product of libtorch's", &request, Vec::new())?.value()
}
