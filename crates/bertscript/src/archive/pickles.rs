//! Pickles of torch modules, as libtorch writes them, for tests.

/// A pickle of one object.
pub(super) fn pickle(root: &[u8]) -> Vec<u8> {
    [b"\x80\x02", root, b"."].concat()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// An object of the class `__torch__.<class>`; attributes are names and pickled values.
pub(super) fn object(class: &str, attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let mut object = format!("c__torch__\n{class}\n)").into_bytes();
    object.extend(b"\x81}(");
    for (name, value) in attributes {
        object.extend(text(name));
        object.extend(*value);
    }
    object.extend(b"ub");
    object
}

fn int(value: i64) -> Vec<u8> {
    [&b"\x8a\x08"[..], &value.to_le_bytes()].concat()
}

fn ints(values: &[i64]) -> Vec<u8> {
    [b"(", &values.iter().flat_map(|value| int(*value)).collect::<Vec<_>>()[..], b"t"].concat()
}

/// A tensor on a storage of `numel` float32 elements.
pub(super) fn tensor(key: &str, numel: i64, offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    let parts = [
        &b"ctorch._utils\n_rebuild_tensor_v2\n(("[..],
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text(key),
        &text("cpu"),
        &int(numel),
        b"tQ",
        &int(offset),
        &ints(size),
        &ints(stride),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ];
    parts.concat()
}
