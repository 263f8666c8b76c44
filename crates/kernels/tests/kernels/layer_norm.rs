//! Layer normalisation.

use super::*;
use bertscript_kernels::{LayerNorm, Solo, reference};

#[test]
fn layer_norm_is_as_exact_as_its_rounding_allows() {
    for (width, mean) in
        [1, 2, 15, 16, 17, 32, 384, 1000].into_iter().flat_map(|w| [(w, 0.3), (w, 1e4)])
    {
        for eps in [1e-12, 1e-5, 0.5] {
            let mut x = random(37, width, 1);
            x.values.iter_mut().for_each(|value| *value = *value * 2. + mean);
            // Of a constant row, nothing but the bias is left.
            x.values[..width].fill(3.);
            let [weight, bias] = [2, 3].map(|seed| random(1, width, seed).values);
            let exact = reference::layer_norm(&x.values, &weight, &bias, eps);
            for isa in available() {
                let norm = LayerNorm::new(isa, &weight, &bias, eps).unwrap();
                let [mut alone, mut with, mut short] = [(); 3].map(|()| x.matrix::<f32>());
                let (mut copy, mut short_copy) =
                    (zeros::<f32>([37, width]), zeros::<Bf16>([37, width]));
                norm.forward(&Solo, alone.all_mut(), zeros::<f32>([0, width]).all_mut()).unwrap();
                norm.forward(&Solo, with.all_mut(), copy.all_mut()).unwrap();
                norm.forward(&Solo, short.all_mut(), short_copy.all_mut()).unwrap();
                let what = format!("{isa:?} {width} wide, mean {mean}, eps {eps}");
                for same in [&with, &copy, &short] {
                    assert!(bits(same) == bits(&alone), "{what}: copies differ");
                }
                assert!(bits(&short_copy) == rounded(&flat(&alone)), "{what} in bfloat16");
                assert_eq!(*alone.row(0), bias[..], "{what}: a constant row");
                check(&what, &flat(&alone), &exact, |at| {
                    let (row, column) = (at / width, at % width);
                    let own = x.rows(row..row + 1);
                    let wide = |x: f32| f64::from(x);
                    let mean = own.iter().copied().map(wide).sum::<f64>() / width as f64;
                    let squares = own.iter().map(|x| (wide(*x) - mean).powi(2)).sum::<f64>();
                    let deviation = (squares / width as f64 + eps).sqrt();
                    let normal = (wide(own[column]) - mean).abs() / deviation;
                    let (weight, bias) = (wide(weight[column]).abs(), wide(bias[column]).abs());
                    // The sums of a row, of LANES partial sums; the mean is rounded, twice.
                    let sums = (width as f64 + 8.) * ROUNDING * normal;
                    let of_mean = 4. * ROUNDING * mean.abs() / deviation;
                    weight * (sums + of_mean) + 2. * ROUNDING * (weight * normal + bias)
                });
            }
        }
    }
}
