"""Lines of text on which two tokenizers might differ.

Nothing here asks `unicodedata` or the locale, so that the lines are the same whatever Unicode version Python knows.
"""

import random

from live import MINILM

SURROGATES = range(0xD800, 0xE000)


def codes(ranges):
    """Code points of ranges in hexadecimal, without surrogates, which UTF-8 has not, and without the end of a line."""
    ends = [[int(end, 16) for end in part.split("-")] for part in ranges.split()]
    every = [code for first, *last in ends for code in range(first, (last or [first])[0] + 1)]
    return [code for code in every if code not in SURROGATES and code != ord("\n")]


def characters(ranges):
    return [chr(code) for code in codes(ranges)]


SCRIPTS = {
    "latin": characters("41-5A 61-7A C0-24F 1E00-1EFF"),
    "modifiers": characters("250-2FF 1D00-1DBF 2070-209C"),
    "greek": characters("370-3FF 1F00-1FFF"),
    "cyrillic": characters("400-52F 1C80-1C88"),
    "armenian and georgian": characters("531-58A 10A0-10FF 1C90-1CBF"),
    "hebrew": characters("591-5F4 FB1D-FB4F"),
    "arabic": characters("600-6FF FB50-FBC1 FE70-FEFC"),
    "devanagari and bengali": characters("900-9FE"),
    "tamil": characters("B82-BFA"),
    "thai and lao": characters("E01-E5B E81-EDF"),
    "tibetan": characters("F00-FDA"),
    "khmer and mongolian": characters("1780-17F9 1800-18AA"),
    "hangul": characters("AC00-AC80 D780-D7A3"),
    "jamo": characters("1100-11FF 3131-318E A960-A97C D7B0-D7FB"),
    "kana": characters("3041-30FF 31F0-31FF FF66-FF9F"),
    "han": characters("4E00-4F00 9FA0-9FFF"),
    "full width": characters("FF01-FF5E FFE0-FFE6"),
    "letterlike": characters("2100-218B 2460-24FF 1D400-1D7FF FB00-FB17"),
    "cased beyond the first plane": characters("10400-1044F 10C80-10CF2 118A0-118DF 1E900-1E943"),
}
MARKS = characters("300-36F 1AB0-1ACE 20D0-20F0 3099-309A FE00-FE2F")
# Radicals, signs, the extensions A to I, and the compatibility ideographs; of extension E, the tokenizers crate forgets
# the first 256.
HAN = """
    2E80-2FDF 3000-303F 3400-4DBF 4E00-9FFF F900-FAFF 20000-2A6DF 2A700-2B73F 2B740-2B81F 2B820-2B91F 2B920-2CEAF
    2CEB0-2EBEF 2EBF0-2EE5D 2F800-2FA1F 30000-323AF
""".split()
HAN_SAMPLE = [letter for block in HAN for letter in characters(block)[::7]]
# Control, format and private characters, selectors, tags, characters that are none.
INVISIBLE = characters("""
    0-1F 7F-9F AD 61C 180B-180E 200B-200F 202A-202E 2060-206F FEFF FFF9-FFFF E000-E003 F8FF FDD0-FDD1 378-379 530
    2FE0-2FE1 1FFFE-1FFFF E0001 E0100-E0101 F0000-F0001 10FFFD-10FFFF
""")
SPACES = characters("9-D 1C-20 85 A0 1680 2000-200A 2028-2029 202F 205F 3000")
PUNCTUATION = characters("""
    21-2F 3A-40 5B-60 7B-7E A1-BF 55A-55F 5BE-5C6 60C-61F 964-970 2010-2027 2030-205E 20A0-20C0 2190-21FF 2E00-2E5D
    3001-301F FE30-FE6B 10100-10102 1F300-1F320
""")
# Joined families, skin tones, flags of letters and of tags, keycaps; what is not seen is written by its number.
EMOJI = """
    😀 👍🏽 👩\u200d👩\u200d👧\u200d👦 🧑🏿\u200d🚀 🇩🇪🇯🇵 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f
    ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 ☺\ufe0e 🏳\ufe0f\u200d🌈
""".split()
SPECIAL = "[CLS] [SEP] [MASK] [UNK] [PAD]".split()
NEARLY_SPECIAL = "[cls] [sep] [Mask] [mask] [unk] [pad] [MASK [MASK]] [[MASK]] [unused0] [M\u0301ASK]".split()
# Case is where Python, Rust and the stripping of accents part: dotted and dotless i, sharp s, final sigma, ligatures,
# letters of three cases, letters whose lower case is longer, the signs that are letters.
CASES = """
    İstanbul DİYARBAKIR ISPARTA ıspanak Iğdır i\u0307 I\u0307 ß STRASSE Straße STRAẞE ΟΔΥΣΣΕΥΣ Ὀδυσσεύς ΣΑΣ ΑΣ. ΑΣ’ΑΣ Σ
    Ας ΆΣ\u0301 ῼ ΐ \u1fbe \u0345 \ufb01ne \ufb02ow \ufb03x \ufb05 \u0149 \u01c4 \u01c5 \u01c6 ΩMEGA \u2126 \u212aelvin
    \u212b Ångström é e\u0301 E\u0301 ñ Ñ n\u0303 o\u0308\u0304 \u1e68 \u1e69 s\u0307\u0323 Ⅷ Ⓐ ⅷ Ａp ｶ\uff9e か\u3099
    각 \u1100\u1161\u11a8 가\u11a8 Ӑ А\u0306 \u13a0 \uab70 \u13f8 \u1c90 \u10d0 𐐀𐐨 \u0958 क\u093c \ufb2e א\u05b7 \ufb21
    \ufdfa \u023a \u023e \u2c6f \u0133 \u0132 œuvre Æther ŁÓDŹ đ Ħ \u1e9b\u0323 \u0344 \U0002f800 \ufa0e \u2329 \u0340
""".split()
CODE = """
    https://www.example.com:8080/a/b.html?q=1&r=%20#top me+you@mail.example.org C:\\Users\\x\\y.txt ../../etc/passwd
    for(int_i=0;i<n;++i){a[i]*=2.5e-3f;} f(x):return_x**2 <br/><a_href="x">&amp;&#233;</a> {"key":[null,true,-1.0e+10]}
    $HOME/.bashrc $$x^{2}_{i}$$ 3.14159 1,000,000.00 1'000 €19.99 50% -0 0x1F 1e-5 192.168.0.1 2026-11-23T17:00:00Z ½ ²
    ３ ٣ ৩ Ⅳ 一二 don't rock'n'roll it's-a-me U.S.A. ... ?!?! --- ``x'' “x” ‘x’ a/b a_b a\u00adb co\u2010op e\u2011mail
    5'10" #tag @you ~~~ C++ C# .NET
""".split()


def vocabulary_words():
    tokens = (MINILM / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return [token for token in tokens if token.isascii() and token.isalpha() and len(token) > 1]


class Writer:
    """Makes up words and lines; always the same, since it brings its own generator."""

    def __init__(self):
        self.random = random.Random(2018)
        self.words = vocabulary_words()

    def pick(self, choices, least=1, most=1):
        return "".join(self.random.choices(choices, k=self.random.randint(least, most)))

    def english(self):
        word = self.pick(self.words)
        return self.random.choice([word, word, word, word.title(), word.upper(), word + self.pick(self.words)])

    def accented(self):
        return "".join(letter + self.pick(MARKS, 0, 2) for letter in self.english())

    def script(self):
        letters = self.random.choice(list(SCRIPTS.values()))
        return self.pick(letters, 1, 9) + self.pick(MARKS, 0, 1)

    def interrupted(self):
        """A word with something in it that splits it, vanishes, or makes it unknown."""
        word, at = self.english(), self.random.randint(0, 4)
        return word[:at] + self.pick(INVISIBLE + SPACES + PUNCTUATION, 1, 2) + word[at:]

    def special(self):
        return self.pick([*SPECIAL, *NEARLY_SPECIAL], 1, 2) + self.pick(["", "", "s", "##s", ".", "\u0301", "\u200d"])

    def piece(self):
        kinds = [self.english, self.english, self.accented, self.script, self.script, self.interrupted, self.special]
        lists = [EMOJI, CASES, CODE, PUNCTUATION, HAN_SAMPLE]
        kinds += [lambda choices=choices: self.pick(choices, 1, 2) for choices in lists]
        return self.random.choice(kinds)()

    def line(self, piece, least, most):
        pieces = [piece() for _ in range(self.random.randint(least, most))]
        return "".join(piece + self.pick([" ", " ", " ", "", *self.random.sample(SPACES, 1)]) for piece in pieces)

    def sentence(self):
        words = [self.pick(self.words) for _ in range(self.random.randint(3, 14))]
        words[0] = words[0].title()
        at = self.random.randrange(len(words))
        words[at] += self.pick([",", ";", ":", "'s", " –", "-" + self.pick(self.words)])
        return " ".join(words) + self.pick([".", "?", "!", "...", '."'])


def every_character():
    """Each up to the end of the first supplementary plane, within a word: split off, dropped or kept, it shows."""
    every = characters("0-1FFFF")
    return [" ".join(f"x{letter}y" for letter in every[at : at + 24]) for at in range(0, len(every), 24)]


def chinese():
    """The forgotten 256 and the borders of all blocks one by one, the rest in samples."""
    borders = [code + by for block in HAN for code in (codes(block)[0], codes(block)[-1]) for by in (-1, 0, 1)]
    lines = [f"a{letter}b {letter}{letter}" for letter in (*characters("2B820-2B91F"), *map(chr, borders))]
    return lines + ["漢" + "".join(HAN_SAMPLE[at : at + 20]) + "字" for at in range(0, len(HAN_SAMPLE), 20)]


def lengths():
    """Words around the 100 characters above which WordPiece gives up, counted after cleaning and stripping."""
    lines = []
    for length in (98, 99, 100, 101, 102, 199, 200, 201):
        for letter in ("a", "é", "e\u0301", "ß", "İ", "Σ", "가", "ｶﾞ", "𐐀", "a\u00ad", "x\u0301\u0302", "1"):
            lines += [letter * length, f"b{letter * length}", f"{letter * length}. {letter * (length // 2)}"]
        lines += ["漢" * length, "." * length, "[MASK]" * length, " " * length, "e" + "\u0301" * length]
    return lines


def corpus():
    """At least 22,000 lines; none of them holds a line feed or a lone surrogate."""
    writer = Writer()
    lines = ["", "\r\r", "\u3000\u2028", "[ MASK ] [MASK ]", *SPACES, *INVISIBLE, *MARKS]
    lines += every_character() + chinese() + lengths()
    for one in (*SPECIAL, *NEARLY_SPECIAL, *EMOJI, *CASES, *CODE, *PUNCTUATION, *SPACES, *INVISIBLE, *MARKS):
        lines += [one, f"a{one}b", f" {one} x{one}", f"{one}{one}\r{one}"]
    for between in ("", " ", "\u0301", "a", "\u00ad"):
        lines += [one + between + two for one in SPECIAL for two in SPECIAL]
    lines += [writer.sentence() for _ in range(5100)]
    for piece in (writer.accented, writer.script, writer.interrupted, writer.special):
        lines += [writer.line(piece, 1, 6) for _ in range(700)]
    lines += [writer.line(writer.piece, 1, 9) for _ in range(3000)]
    for piece, most in ((writer.piece, 900), (writer.english, 700), (writer.accented, 350)):
        lines += [writer.line(piece, most, most) for _ in range(20)]
    return lines
