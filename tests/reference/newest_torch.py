"""The newest torch, beside bertscript and in one process with it.

newest_torch.py BERTSCRIPT FIXTURES

Every golden of FIXTURES is exported, loaded by `torch.jit.load` and run; its outputs are compared with those of
transformers, which are beside it. Then libbertscript.so, which is beside the command BERTSCRIPT, embeds in this
process, and refuses the plug-in, which is linked to another libtorch. Exits with 1 if something differs.
"""

import ctypes
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file

# That of `bertscript verify` in float32, as which all are exported: so transformers computed them.
TOLERANCE = 1e-5
OPTIONS = {
    "eager-everything": ["--output-hidden-states", "--output-attentions", "--attention", "eager"],
    # Its configuration names no class.
    "model-eps": ["--architecture", "BertModel"],
}


def export(bertscript, golden, file):
    options = ["--dtype", "f32", *OPTIONS.get(golden.name, [])]
    subprocess.run([bertscript, "export", golden, "-o", file, *options], check=True, stdout=subprocess.DEVNULL)


def names(bertscript, file):
    """What the program returns, in its order."""
    found = subprocess.run([bertscript, "inspect", "--json", file], check=True, stdout=subprocess.PIPE)
    return [output["name"] for output in json.loads(found.stdout)["metadata"]["outputs"]]


def difference(bertscript, file, golden):
    """The largest difference of the outputs."""
    inputs, expected = (load_file(golden / f"{kind}.safetensors") for kind in ("inputs", "outputs"))
    with torch.no_grad():
        found = torch.jit.load(file)(**inputs)
    found = found if isinstance(found, tuple) else (found,)
    found = dict(zip(names(bertscript, file), found, strict=True))
    missing = expected.keys() - found.keys()
    if missing:
        raise ValueError(f"{golden.name}: found no {', '.join(sorted(missing))}")
    return max((found[name] - value).abs().max().item() for name, value in expected.items())


def refusal_beside(library, file):
    """What libbertscript.so says of the TorchScript engine in this process, where torch is; its own embeds."""
    library = ctypes.CDLL(library)
    library.bertscript_error_message.restype = ctypes.c_char_p
    module, other, embeddings, error = (ctypes.c_void_p() for _ in range(4))
    text = (ctypes.c_char_p * 1)(b"the cat sat")
    calls = [
        library.bertscript_module_load(bytes(file), None, ctypes.byref(module), None),
        library.bertscript_module_embed(module, text, None, ctypes.c_size_t(1), None, ctypes.byref(embeddings), None, None),
    ]
    if any(calls):
        raise ValueError(f"found status {calls}, expected 0")
    library.bertscript_module_with_engine(module, b"torchscript", None, ctypes.byref(other), ctypes.byref(error))
    return library.bertscript_error_message(error).decode()


def main(bertscript, fixtures):
    # TorchScript is what this is about.
    warnings.filterwarnings("ignore", "`torch.jit")
    goldens = sorted(path.parent for path in Path(fixtures).glob("*/outputs.safetensors"))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.pt")
        for golden in goldens:
            export(bertscript, golden, file)
            worst = difference(bertscript, file, golden)
            # NaN is not within anything.
            is_equal = worst <= TOLERANCE
            failed += not is_equal
            print(f"{golden.name:<30} {worst:.1e}{'' if is_equal else f', expected at most {TOLERANCE:.0e}'}")
        export(bertscript, Path(fixtures, "text/sentence"), file)
        refusal = refusal_beside(Path(bertscript).resolve().with_name("libbertscript.so"), file)
    version = torch.__version__.partition("+")[0]
    refuses = f"the process has loaded libtorch {version}, expected " in refusal
    print(f"beside it: {refusal}{'' if refuses else '; expected both versions'}")
    print(f"torch {torch.__version__}: {len(goldens) - failed} archives are equal, {failed} differ")
    return bool(failed) or not goldens or not refuses


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
