use super::*;
use crate::archive::pickles::{object, pickle, tensor, text};
use crate::checkpoint::Names;

fn names(root: &[u8]) -> Result<Vec<String>> {
    let pickle = Pickle::read_with(Names::TorchScript, &mut &pickle(root)[..])?;
    Ok(state_dict(&pickle)?.into_iter().map(|(name, _)| name).collect())
}

fn refusal(root: &[u8]) -> (ErrorKind, String) {
    let error = names(root).unwrap_err();
    (error.kind(), error.to_string())
}

fn one() -> Vec<u8> {
    tensor("0", 1, 0, &[1], &[1])
}

#[test]
fn tensors_of_a_module_are_named_before_those_of_its_submodules() {
    let inner = object("a.Inner", &[("bias", &one()), ("training", b"\x89"), ("weight", &one())]);
    let list = b"ctorch.jit._pickle\nbuild_intlist\n(](J\x01\0\0\0etR".as_slice();
    let root = object(
        "Root",
        &[
            ("training", b"\x89"),
            ("first", &inner),
            ("sizes", list),
            ("scale", &one()),
            ("none", b"N"),
            ("layers", &object("List", &[("0", &inner), ("1", &inner)])),
            ("empty", &object("Empty", &[])),
        ],
    );
    let expected = [
        "scale",
        "first.bias",
        "first.weight",
        "layers.0.bias",
        "layers.0.weight",
        "layers.1.bias",
        "layers.1.weight",
    ];
    assert_eq!(names(&root).unwrap(), expected);
}

#[test]
fn names_of_attributes_are_unambiguous() {
    let root = object("Root", &[("weight", &one()), ("weight", &one())]);
    assert_eq!(refusal(&root), (ErrorKind::Archive, "weight: found twice, expected once".into()));
    for name in ["a.b", ""] {
        let (kind, message) = refusal(&object("Root", &[(name, &one())]));
        assert_eq!(kind, ErrorKind::Archive);
        assert!(message.starts_with("found the attribute name"), "{message}");
    }
}

#[test]
fn what_is_no_module_is_refused() {
    assert_eq!(refusal(b"}").0, ErrorKind::Archive);
    assert_eq!(refusal(b"c__torch__\nRoot\n)\x81").0, ErrorKind::Archive);
    // The state that a __getstate__ gave, and the value of an enum.
    let (kind, message) = refusal(b"c__torch__\nRoot\n)\x81)b");
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(message.contains("__torch__.Root"), "{message}");
    let (kind, message) = refusal(b"c__torch__\nColour\n)R");
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(message.contains("__torch__.Colour"), "{message}");
    // Those of code are refused as in a checkpoint.
    for name in ["os\nsystem", "torch.jit._pickle\nload", "__torch__x\ny"] {
        assert_eq!(refusal(format!("c{name}\n").as_bytes()).0, ErrorKind::Unsupported, "{name:?}");
    }
}

#[test]
fn a_cycle_ends() {
    // The root, memoised, is an attribute of itself.
    let mut cycle = b"c__torch__\nRoot\n)\x81q\x00}(".to_vec();
    cycle.extend(text("me"));
    cycle.extend(b"h\x00ub");
    let (kind, message) = refusal(&cycle);
    assert_eq!(kind, ErrorKind::Archive);
    assert!(message.contains("expected at most 512"), "{message}");
}

/// A module that holds the one below it twice, and so on: 2^depth names in a few bytes.
fn doubled(depth: usize, bottom: &[u8]) -> Vec<u8> {
    let mut pickle = Vec::new();
    for level in 0..depth {
        pickle.extend(b"c__torch__\nM\n)\x81}(");
        pickle.extend(text(&format!("a{level}")));
    }
    pickle.extend(bottom);
    for level in (0..depth).rev() {
        pickle.extend([b'q', level as u8]);
        pickle.extend(text(&format!("b{level}")));
        pickle.extend([b'h', level as u8]);
        pickle.extend(b"ub");
    }
    pickle
}

#[test]
fn shared_submodules_do_not_multiply_without_end() {
    let bottom = object("Bottom", &[("weight", &one())]);
    assert_eq!(names(&doubled(4, &bottom)).unwrap().len(), 16);
    for bottom in [bottom, object("Empty", &[])] {
        let (kind, message) = refusal(&doubled(40, &bottom));
        assert_eq!(kind, ErrorKind::Archive);
        assert!(message.contains("attributes, expected at most 131072"), "{message}");
    }
}
