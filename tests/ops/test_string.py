"""Operators on strings, against Python's own strings and regular expressions."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run

TEXTS = [
    "",
    " ",
    "a",
    "  1  2   3  ",
    "a,b,,c",
    ",",
    "straße",
    "ÀÉÎ õü",
    "ЁЖИК",
    "ΣΟΦΟΣ",
    "日本 語",
    "x" * 100,
    "a\tb\nc",
]


def strings(*items):
    return np.array(items, object)


def test_concat_broadcasts():
    x = np.array(TEXTS, object)[:, None]
    y = strings("", "q", "ß")
    check("StringConcat", [x, y], expected=[x + y])
    check("StringConcat", [y, np.array("z", object)], expected=[y + "z"])
    check("StringConcat", [np.zeros((0, 3), object), y], expected=[np.zeros((0, 3), object)])
    with pytest.raises(pyinfer.InvalidInput, match="broadcast"):
        check("StringConcat", [strings("a", "b"), y], expected=[y])


def test_concat_meets_the_limit():
    model = pyinfer.load(
        node_model("StringConcat", [strings("a")] * 2), limits=pyinfer.Limits(max_string_bytes=1000)
    )
    long = strings("a" * 600)
    with pytest.raises(pyinfer.LimitExceeded, match="max_string_bytes"):
        model.run({"x0": long, "x1": long})


def split_reference(text, delimiter, most):
    if delimiter:
        return text.split(delimiter, most)
    return text.strip().split(None, most)


@pytest.mark.parametrize("delimiter", [None, "", ",", "ß", "b,", " "])
@pytest.mark.parametrize("most", [None, 0, 1, 2, 100])
@pytest.mark.parametrize("shape", [(-1,), (1, -1), ()])
def test_split(delimiter, most, shape):
    x = np.array(TEXTS if shape else TEXTS[4], object).reshape(shape)
    parts = [split_reference(t, delimiter, -1 if most is None else most) for t in x.ravel()]
    width = max(len(p) for p in parts)
    want = np.array([p + [""] * (width - len(p)) for p in parts], object).reshape((*x.shape, width))
    counts = np.array([len(p) for p in parts]).reshape(x.shape)
    attributes = {k: v for k, v in (("delimiter", delimiter), ("maxsplit", most)) if v is not None}
    check("StringSplit", [x], attributes, outputs=2, expected=[want, counts])


def test_split_of_nothing():
    expected = [np.zeros((0, 2, 0), object), np.zeros((0, 2), np.int64)]
    check("StringSplit", [np.zeros((0, 2), object)], outputs=2, expected=expected)


@pytest.mark.parametrize("change", ["NONE", "LOWER", "UPPER"])
@pytest.mark.parametrize("exact", [0, 1])
def test_normalizer(change, exact):
    x = strings("Monday", "monday", "Ünder", "Жук", "tuesday", "")
    stops = ["monday", "ÜNDER", "жук"]
    fold = (lambda s: s) if exact else str.lower
    kept = [s for s in x if fold(s) not in {fold(s) for s in stops}]
    apply = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}[change]
    want = strings(*(apply(s) for s in kept))
    attributes = {"case_change_action": change, "is_case_sensitive": exact, "stopwords": stops}
    check("StringNormalizer", [x], attributes, expected=[want])
    check("StringNormalizer", [x[None]], attributes, expected=[want[None]])


def test_normalizer_that_drops_all_gives_one_empty_string():
    check("StringNormalizer", [strings("a", "A")], {"stopwords": ["a"]}, expected=[strings("")])
    check("StringNormalizer", [strings("a")[None]], {"stopwords": ["a"]}, expected=[strings("")[None]])


def test_normalizer_maps_case_as_python_does():
    # Where one character maps to one, in the scripts that the core knows.
    runes = [
        chr(c)
        for c in [*range(0x20, 0x17F), *range(0x391, 0x3CF), *range(0x400, 0x556), *range(0x1EA0, 0x1EFF)]
    ]
    lower = strings(*(c for c in runes if len(c.lower()) == 1))
    upper = strings(*(c for c in runes if len(c.upper()) == 1))
    check(
        "StringNormalizer",
        [lower],
        {"case_change_action": "LOWER"},
        expected=[np.vectorize(str.lower)(lower)],
    )
    check(
        "StringNormalizer",
        [upper],
        {"case_change_action": "UPPER"},
        expected=[np.vectorize(str.upper)(upper)],
    )


@pytest.mark.parametrize("shape", [(2, 2), (), (1, 1, 2)])
def test_normalizer_rejects_other_shapes(shape):
    x = np.full(shape, "a", object)
    with pytest.raises(pyinfer.InvalidInput, match=r"\[1, C\]"):
        check("StringNormalizer", [x], expected=[x])


def peak_memory():
    """Of this program in bytes: a child's ru_maxrss begins with that of its parent."""
    line = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(line[1]) << 10


def full_match(pattern, texts):
    (got,) = run(node_model("RegexFullMatch", [texts], {"pattern": pattern}), [texts])
    return got


PATTERNS = [
    r"",
    r"a*b+c?",
    r"(a|b)*abb",
    r"(?:ab|a)(?:c|bcd)(?:d*)",
    r"[a-c]{2,3}",
    r"a{0}b{2}|c{1,}",
    r"(a{0,2}b){2}",
    r"[^a-b]+",
    r"[]a]+[^]b]",
    r"[\w.-]+",
    r"\d+|\s\S",
    r"\D\W?",
    r"^a.*b$",
    r"\Aab\b.*\z",
    r"a\b.c",
    r"\Bb|b\B",
    r"(?i)aBc|[x-z]+",
    r"a(?i:b)c",
    r"(?s)a.b",
    r"a.b",
    r"(?m)a$.^b",
    r"(?ms)a$.^b",
    r"(?P<name>a)(?<other>b)|c",
    r"a*?b+?c??",
    r"\x61\x{62}\143",
    r"a\.b\*",
    r"(|a)+b",
    r"(a*)*b",
    r"((a?){3}){2}b",
    r"é+|[à-ü]{2}",
    r".",
    r"[[:alpha:]]+[[:digit:][:punct:]]?",
    r"[^[:^digit:]a]",
    r"a{,2}",
    r"a{2",
    r"\Qa.b\Ec",
    r"-|[a-]+|[-b]",
]


def python_pattern(pattern):
    """The same in Python's dialect; None where it has none."""
    classes = {"[:alpha:]": "A-Za-z", "[:digit:]": "0-9", "[:punct:]": r"!-/:-@\[-`{-~", "[:^digit:]": r"\D"}
    for name, python in classes.items():
        pattern = pattern.replace(name, python)
    pattern = pattern.replace(r"\z", r"\Z").replace("(?<other>", "(?P<other>")
    pattern = pattern.replace(r"\x{62}", "b").replace(r"\Qa.b\E", r"a\.b").replace("a{,2}", r"a\{,2\}")
    return re.sub(r"(?<!\\)\$$", r"\\Z", pattern)  # Python's $ also matches before a final newline


def test_full_match_agrees_with_python():
    rng = random.Random(11)
    alphabet = "aabbccd.*-1 \n\té_xXYzAB]{}2,"
    texts = ["".join(rng.choice(alphabet) for _ in range(rng.randrange(6))) for _ in range(600)]
    texts += [
        "abb",
        "aabb",
        "babb",
        "abcd",
        "a.bc",
        "a{,2}",
        "a{2",
        "ab c",
        "a\nb",
        "ABC",
        "aBc",
        "ab",
        "é",
        "àé",
        "bbb",
    ]
    x = strings(*texts)
    for pattern in PATTERNS:
        compiled = re.compile(python_pattern(pattern), re.ASCII)
        want = [compiled.fullmatch(t) is not None for t in texts]
        got = full_match(pattern, x)
        wrong = [t for t, g, w in zip(texts, got, want, strict=True) if g != w]
        assert not wrong, (pattern, wrong[:5])


def test_full_match_of_random_patterns_agrees_with_python():
    rng = random.Random(12)

    def pattern(depth):
        kind = rng.randrange(7 if depth else 2)
        if kind == 0:
            return rng.choice("abc.")
        if kind == 1:
            return rng.choice(["[ab]", "[^a]", r"\w", r"\b", "a"])
        if kind == 2:
            return pattern(depth - 1) + pattern(depth - 1)
        if kind == 3:
            return f"(?:{pattern(depth - 1)}|{pattern(depth - 1)})"
        if kind == 4:
            return f"({pattern(depth - 1)})" + rng.choice(["*", "+", "?"])
        if kind == 5:
            return f"({pattern(depth - 1)})" + "{1,2}"
        return pattern(depth - 1)

    for _ in range(150):
        p = pattern(4)
        texts = ["".join(rng.choice("abc ") for _ in range(rng.randrange(7))) for _ in range(40)]
        want = [re.fullmatch(p, t, re.ASCII) is not None for t in texts]
        assert full_match(p, strings(*texts)).tolist() == want, p


def test_full_match_is_linear_in_the_text():
    start = time.monotonic()
    assert not full_match("(a*)*(a|aa)*b", strings("a" * 200_000))[0]
    assert time.monotonic() - start < 20


def test_all_repetitions_of_a_class_share_it():
    """In a process of its own, whose peak nothing else has raised."""
    code = """
from test_string import full_match, peak_memory, strings
letters = "".join(chr(c) for c in range(0x400, 0x7400, 2))
before = peak_memory()
assert full_match("([" + letters + "]{1000}){15}", strings(letters[:1] * 15_000))[0]
print(peak_memory() - before)
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    grown = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert 0 < int(grown) < 300 << 20


def test_case_is_folded_at_once_for_whole_ranges():
    start = time.monotonic()
    pattern = r"(?i)[b-y\x{391}-\x{3A9}]+|" + r"[\0-\x{ffff}]" * 350
    assert full_match(pattern, strings("BY", "by", "ωΩα", "a"))[:3].all()
    assert not full_match(pattern, strings("a"))[0]
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "a)",
        "[a",
        "*a",
        "a**",
        "a{3,2}",
        "a{1001}",
        r"\1",
        r"\q",
        "(?z)",
        "[b-a]",
        "[[:none:]]",
        "(?P<a",
        "\\",
    ],
)
def test_malformed_patterns_are_rejected(pattern):
    with pytest.raises(pyinfer.InvalidModel, match="pattern"):
        full_match(pattern, strings("a"))


@pytest.mark.parametrize(
    "pattern",
    [
        r"\p{Greek}",
        r"\C",
        "(" * 1000 + ")" * 1000,
        "((a{1000}){1000}){1000}",
        "(((){1000}){1000}){1000}",
        "[" + "a" * 100_000 + "]",
    ],
)
def test_unsupported_and_huge_patterns_are_rejected(pattern):
    with pytest.raises(pyinfer.UnsupportedModel, match="pattern"):
        full_match(pattern, strings("a"))


TFIDF = {
    "ngram_counts": [0, 4],
    "ngram_indexes": [0, 1, 2, 3, 6, 5, 4],
    "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
    "max_gram_length": 2,
}


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("skips", [0, 1, 5])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_tfidf_of_numbers(mode, least, skips, dtype):
    attributes = TFIDF | {"mode": mode, "min_gram_length": least, "max_skip_count": skips}
    rng = np.random.default_rng(skips)
    for shape in [(12,), (3, 8), (1, 1)]:
        x = rng.integers(1, 9, shape).astype(dtype)
        check("TfIdfVectorizer", [x], attributes | {"weights": [2.0, 0.5, 1.0, 3.0, 1.5, 2.5, 0.25]})
        unweighted = check("TfIdfVectorizer", [x], attributes | {"weights": [1.0] * 7})
        check("TfIdfVectorizer", [x], attributes, expected=unweighted)


def test_tfidf_of_strings():
    words = [str(n) for n in TFIDF["pool_int64s"]]
    attributes = {k: v for k, v in TFIDF.items() if k != "pool_int64s"} | {"pool_strings": words}
    attributes |= {"mode": "TF", "min_gram_length": 1, "max_skip_count": 1}
    check(
        "TfIdfVectorizer",
        [np.random.default_rng(0).integers(1, 9, (4, 9)).astype(str).astype(object)],
        attributes,
    )


def test_tfidf_of_no_items():
    attributes = TFIDF | {"mode": "TF", "min_gram_length": 1, "max_skip_count": 0}
    zeros = np.zeros((2, 7), np.float32)
    check("TfIdfVectorizer", [np.zeros((2, 0), np.int64)], attributes, expected=[zeros])
    check("TfIdfVectorizer", [np.zeros(0, np.int64)], attributes, expected=[zeros[0]])


@pytest.mark.parametrize(
    "change",
    [
        {"ngram_counts": [0, 100]},
        {"ngram_counts": [3, 1]},
        {"ngram_counts": [0, 3]},
        {"ngram_indexes": [0, 1]},
        {"ngram_indexes": [0, 1, 2, 3, 6, 5, -4]},
        {"weights": [1.0]},
        {"min_gram_length": 0},
        {"min_gram_length": 3},
        {"max_skip_count": -1},
        {"mode": "IT"},
    ],
)
def test_tfidf_rejects_bad_attributes(change):
    attributes = TFIDF | {"mode": "TF", "min_gram_length": 1, "max_skip_count": 0} | change
    with pytest.raises(pyinfer.InvalidModel):
        pyinfer.load(node_model("TfIdfVectorizer", [np.zeros(3, np.int64)], attributes))
