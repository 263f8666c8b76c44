use super::*;

fn read(bytes: &[u8]) -> Result<Pickle> {
    Pickle::read(&mut &bytes[..])
}

#[test]
fn integers_of_every_width() {
    for (bytes, value) in [
        (&b"K\xff."[..], 255),
        (b"M\x00\x01.", 256),
        (b"J\xff\xff\xff\xff.", -1),
        (b"\x8a\x02\xe9\x03.", 1001),
        (b"\x8a\x01\xff.", -1),
        (b"\x8a\x00.", 0),
    ] {
        assert!(matches!(read(bytes).unwrap().root(), Object::Int(found) if *found == value));
    }
}

#[test]
fn names_that_run_code_are_errors_that_name_them() {
    for name in ["os\nsystem", "builtins\neval", "posix\nsystem", "torch.hub\nload"] {
        let error = read(format!("c{name}\n.").as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let name = name.replace('\n', ".");
        assert!(error.to_string().contains(&name), "{error}");
    }
    // Those of an archive are not those of a checkpoint.
    for name in ["__torch__\nBert", "torch.jit._pickle\nbuild_intlist"] {
        let error = read(format!("c{name}\n.").as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    let error = read(b"\x93.").unwrap_err();
    assert!(error.to_string().contains("0x93"), "{error}");
}

#[test]
fn a_stack_is_never_taken_below_its_bottom_or_a_mark() {
    for bytes in [
        &b"."[..],
        b"t.",
        b"a.",
        b"s.",
        b"R.",
        b"b.",
        b"q\x00.",
        b"h\x00.",
        b"N(0.",
        b"N(.",
        b"\x87.",
        b"NN(\x86t.",
    ] {
        assert!(read(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn nesting_and_cycles_cost_no_stack() {
    let mut deep = vec![b')'];
    deep.extend(std::iter::repeat_n(0x85, 1_000_000));
    deep.push(b'.');
    assert!(matches!(read(&deep).unwrap().root(), Object::Tuple(_)));
    // A list that holds itself.
    assert!(matches!(read(b"]q\x00h\x00a.").unwrap().root(), Object::List(_)));
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let error = read(b"X\xff\xff\xff\xffabc").unwrap_err();
    assert!(error.to_string().contains("ends too early"), "{error}");
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn there_is_an_end_to_objects() {
    let error = read(&[b'N'; MAX_OBJECTS + 2]).unwrap_err();
    assert!(error.to_string().contains("more than 1048576 objects"), "{error}");
}
