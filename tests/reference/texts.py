"""Real-looking texts of every length, checkpoints with a real vocabulary, and how the command is asked about them."""

import json
import os
import random
import subprocess

import torch
from transformers import AutoTokenizer

from live import MINILM, random_model

PARTS = """\
The committee met on Tuesday morning, but nobody had read the report.
in the spring of 1987
Dr. O'Neill doesn't believe a word of it;
She said: "We won't be back before 10:30 p.m.", and left.
according to the people who lived there
Café Müller in São Paulo serves crème brûlée for R$ 12,50.
the old harbour, rebuilt after the fire, is open to visitors again
Prices rose by 3.75% in the third quarter (see table 4).
and that was that!
Why would anyone want to know?
“Curly quotes” and ‘single ones’ — with an em dash…
Her naïve façade fooled Zoë, François and Jürgen.
I love this place 😀👍🏽, we'll come back 🎉
https://example.org/a/b?c=d&e=f#g
e-mail me at jim.henson@muppets.example
transformers, tokenizers and other long-winded electroencephalographically derived words
the train to Łódź was late; the one to Ærøskøbing was not
北京 and 東京 are cities, as is Москва
he counted 1, 2, 3, 1000000 and 6.02e23 stars
but the river had other plans
MiXeD CaSe AND SHOUTING
a state-of-the-art, low-cost, twenty-first-century solution
it isn't hers, it's theirs, and they're sure you've seen it
Tom & Jerry / Laurel + Hardy = comedy * 2
under a sky the colour of television
Résumé, coöperate, Ångström: accents composed and not.
the quick brown fox jumps over the lazy dog
Nobody at the Ministry would confirm the story on Wednesday.
“¿Dónde está la biblioteca?” asked the man in seat 14B
for more than forty years
which is exactly what the doctor had ordered
#hashtag @mention $TICKER 50% off!!!
the temperature fell to −12 °C overnight
🇺🇸 flags 👩‍👩‍👧 families ❤️ hearts
because music, like mathematics, needs no translation
in a small house near the end of the road
Paris, London and New York were all considered
then the lights went out, and the audience laughed.
supercalifragilisticexpialidocious
one two three four five six seven eight nine ten
the judge's ruling, however, was overturned on appeal in 2011
no.
under the terms of the agreement, both parties shall bear their own costs
x = (y ** 2) // 3 if y >= 0 else None
it tasted of salt, smoke and very old iron
He was born in Île-de-France and died in Malmö.
the puppeteer who gave the frog its voice
Yes
""".splitlines()
BLANK = ["", "   "]


def corpus(count=500, longest=400):
    """The same texts every time, of 1 to `longest` words, most of them short, and in no order of length."""
    source = random.Random(2019)
    texts = []
    for i in range(count):
        length = 1 + round((longest - 1) * (i / (count - 1)) ** 3)
        words = []
        while len(words) < length:
            words += source.choice(PARTS).split()
        texts.append(" ".join(words[:length]))
    source.shuffle(texts)
    return texts


def real_vocabulary(limit):
    """all-MiniLM-L6-v2's tokenizer, for a model of at most `limit` tokens."""
    return AutoTokenizer.from_pretrained(MINILM, model_max_length=limit)


def checkpoint(directory, cls, limit=64, head=None, scale=1, **config):
    """A tiny random model as transformers saves it.

    Parameters whose names begin with `head` are scaled: fresh ones give scores so flat that ties decide.
    """
    model = random_model(cls, vocab_size=30522, max_position_embeddings=limit, **config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if head and name.startswith(head):
                parameter *= scale
    model.save_pretrained(directory)
    real_vocabulary(limit).save_pretrained(directory)
    return directory


def send(*arguments, texts=(), stdin=None, **options):
    """The finished command, with `texts` on its standard input, one a line."""
    if stdin is None:
        assert not any(set(text) & set("\r\n") for text in texts)
        stdin = "".join(f"{text}\n" for text in texts).encode()
    command = [os.environ["BERTSCRIPT"], *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, **options)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    assert "panicked" not in done.stderr, done.stderr
    return done


def answers(*arguments, **options):
    """What the command says: one JSON object a line."""
    done = send(*arguments, **options)
    assert done.returncode == 0, done.stderr
    # Not splitlines: it breaks at U+2028 too.
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def refused(*arguments, **options):
    """What the command says when it refuses."""
    done = send(*arguments, **options)
    assert done.returncode == 1, (done.returncode, done.stderr)
    return done.stderr
