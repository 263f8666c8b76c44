"""How near embeddings are to a reference's of the same texts, as `bertscript bench --text` states it.

The definitions are those of crates/bertscript/src/embedding/quality.rs.
"""

import numpy

# Texts next to a text that a search would return.
TOP = 10


def quality(found, reference):
    """Of embeddings `[N,D]` and those of the reference `[N,D]`; texts are compared with one another by cosine."""
    found, reference = unit(found), unit(reference)
    cosines = (found * reference).sum(1)
    found, reference = found @ found.T, reference @ reference.T
    texts = range(len(found))
    pairs = [(neighbours(reference[text], text), neighbours(found[text], text)) for text in texts]
    wanted = sum(len(expected) for expected, _ in pairs)
    kept = sum(len({*expected} & {*near}) for expected, near in pairs)
    return {
        "min_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "median_cosine": float(numpy.median(cosines)),
        "nearest_kept": sum(expected[:1] == near[:1] for expected, near in pairs) / len(pairs),
        "top10_kept": kept / wanted if wanted else 1.0,
    }


def unit(embeddings):
    embeddings = embeddings.astype(numpy.float64)
    return embeddings / numpy.linalg.norm(embeddings, axis=1, keepdims=True)


def neighbours(similarities, text):
    """The nearest other texts, the nearest first; of equally near ones, the first."""
    order = numpy.argsort(-similarities, kind="stable")
    return order[order != text][:TOP].tolist()
