"""What transformers 4's question answering pipeline says, for `test_tasks.py`; version 5 has none.

It needs a process of its own, whose PYTHONPATH begins with the directory BERTSCRIPT_LEGACY_TRANSFORMERS:

    pip install --no-deps --target DIRECTORY transformers==4.57.3 tokenizers==0.22.1 huggingface_hub==0.36.0 \\
        requests==2.34.2 urllib3==2.8.0 certifi==2026.10.18 charset-normalizer==3.5.2

Standard input is a JSON list of cases: model, question, context, options; standard output is the answers to each.
"""

import json
import sys

import torch
import transformers
from transformers import pipeline

torch.set_num_threads(1)
assert transformers.__version__ == "4.57.3", transformers.__version__
pipelines, results = {}, []
for case in json.load(sys.stdin):
    model = case["model"]
    if model not in pipelines:
        pipelines[model] = pipeline("question-answering", model=model, device="cpu")
    answers = pipelines[model](question=case["question"], context=case["context"], **case["options"])
    # One answer comes without a list around it.
    results.append([answers] if isinstance(answers, dict) else answers)
json.dump(results, sys.stdout)
