"""com.microsoft.Tokenizer, against ONNX Runtime."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest

import pyinfer
from nodes import check, node_model
from ort import check_ort

TEXTS = ["", " ", "ab cd", "a,b;  c", "The cat,the hat.", "naïve Жук 日本語 😀", "x\ny\0z", "-" * 40]
LETTERS = "aabbcc ,éÀ日B😀\n"


def strings(*items: str) -> np.ndarray:
    return np.array(items, object)


def attributes(**given: Any) -> dict[str, Any]:
    return {"mark": 0, "pad_value": "#", "mincharnum": 1} | given


@pytest.mark.parametrize("shape", [(-1,), (1, -1), (-1, 1), (2, -1)])
@pytest.mark.parametrize("mark", [0, 1, 3])
@pytest.mark.parametrize("pad", ["#", "", "päd"])
@pytest.mark.parametrize(
    "tokens",
    [
        {"separators": [""]},
        {"tokenexp": "."},
        {"tokenexp": "[a-zA-Z0-9_]+"},
        {"separators": [" ", ",", "[.]"]},
    ],
)
def test_shapes_marks_and_padding(shape, mark, pad, tokens):
    check_ort("Tokenizer", [strings(*TEXTS).reshape(shape)], attributes(mark=mark, pad_value=pad, **tokens))


@pytest.mark.parametrize("least", [1, 2, 3, 4, 1000, 2**63 - 1])
@pytest.mark.parametrize(
    "tokens",
    [{"tokenexp": r"\w+"}, {"tokenexp": "[^ ]+"}, {"separators": [" "]}, {"separators": ["[.]", ","]}],
)
def test_least_number_of_characters(least, tokens):
    check_ort("Tokenizer", [strings(*TEXTS)], attributes(mincharnum=least, **tokens))


@pytest.mark.parametrize("mark", [0, 1])
@pytest.mark.parametrize("tokens", [{"separators": [""]}, {"separators": [","]}, {"tokenexp": "[0-9]"}])
def test_without_tokens_nothing_is_marked(mark, tokens):
    for x in [strings(""), strings("", ""), strings("")[None]]:
        check_ort("Tokenizer", [x], attributes(mark=mark, **tokens))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("tokens", [{"separators": [""]}, {"separators": [","]}, {"tokenexp": "a"}])
def test_empty_inputs(shape, tokens):
    check_ort("Tokenizer", [np.zeros(shape, object)], attributes(mark=1, **tokens))


@pytest.mark.parametrize(
    "tokens",
    [
        # The longest match counts, whatever the pattern prefers.
        {"tokenexp": "a|ab|abc"},
        {"tokenexp": "[a-c]+?"},
        # Of a match that is too short, only the first character is passed over.
        {"tokenexp": "ab|bcd|d", "mincharnum": 3},
        # Where nothing matches, or a match is empty, the search goes on one character behind.
        {"tokenexp": "a*"},
        {"tokenexp": r"\b"},
        # What stands before a match is seen.
        {"tokenexp": "^."},
        {"tokenexp": r"\b.."},
        {"tokenexp": "(?m)^.|.$"},
        {"tokenexp": "(?i)AB"},
        # As a group, the dot does not match the end of a line.
        {"tokenexp": "(.)"},
        # Each separator sees what the one before has left.
        {"separators": ["a", "^b"]},
        {"separators": ["c$", r"\bb"]},
        {"separators": ["b", "abc"]},
        {"separators": ["a", "bb|b"], "mincharnum": 2},
        # One that matches nothing takes the character behind it along.
        {"separators": ["c*"]},
        {"separators": ["$"]},
        {"separators": [",|$", "^"]},
        {"separators": ["", "b"]},
        {"separators": ["é", "[日B]"]},
        # With both, the expression of the tokens does not count.
        {"separators": [" "], "tokenexp": "a"},
    ],
)
def test_matches(tokens):
    rng = random.Random(5)
    texts = ["".join(rng.choices(LETTERS, k=rng.randrange(14))) for _ in range(40)]
    check_ort("Tokenizer", [strings("abcd", "abcabcd ab bcd", "xab ab", *texts)], attributes(**tokens))


def random_pattern(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.25:
        return rng.choice(
            ["a", "b", "c", " ", "é", "日", ".", "[ab]", "[^a]", r"\w", r"\b", "^", "$", "(?i)À"]
        )
    part = random_pattern(rng, depth - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return part + random_pattern(rng, depth - 1)
    if kind == 1:
        return f"(?:{part}|{random_pattern(rng, depth - 1)})"
    return f"({part})" + rng.choice(["*", "+", "?", "*?", "+?", "{1,2}"])


@pytest.mark.parametrize("seed", range(8))
def test_random_patterns_and_texts(seed):
    rng = random.Random(seed)
    for _ in range(60):
        texts = ["".join(rng.choices(LETTERS, k=rng.choice([0, 1, 2, 3, 6, 12]))) for _ in range(4)]
        if rng.random() < 0.5:
            tokens = {"tokenexp": "(?:" + random_pattern(rng, 3) + ")"}  # a dot alone means characters
        else:
            tokens = {"separators": [random_pattern(rng, 2) for _ in range(rng.randint(1, 3))]}
        tokens |= {"mark": rng.randrange(2), "mincharnum": rng.choice([1, 1, 2, 3])}
        shape = rng.choice([(4,), (2, 2), (4, 1)])
        check_ort("Tokenizer", [strings(*texts).reshape(shape)], attributes(**tokens))


def test_no_boundary_lies_within_a_character():
    # ONNX Runtime finds one, and gives up.
    x = strings("aéb日日")
    check(
        "Tokenizer",
        [x],
        attributes(tokenexp=r"日\B日"),
        domain="com.microsoft",
        expected=[strings("日日")[None]],
    )
    check(
        "Tokenizer",
        [x],
        attributes(separators=[r"\B"]),
        domain="com.microsoft",
        expected=[strings("aéb日")[None]],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "separators and tokenexp"),
        ({"tokenexp": ""}, "tokenexp is empty"),
        ({"tokenexp": "("}, "pattern"),
        ({"separators": ["a", "[b"]}, "pattern"),
        ({"tokenexp": "a", "mincharnum": 0}, "mincharnum = 0"),
        ({"tokenexp": "a", "mincharnum": -1}, "mincharnum = -1"),
        ({"tokenexp": ".", "mincharnum": 2}, "mincharnum = 2"),
        ({"separators": [""], "mincharnum": 2}, "mincharnum = 2"),
    ],
)
def test_bad_attributes_are_rejected(change, message):
    with pytest.raises(pyinfer.InvalidModel, match=message):
        pyinfer.load(node_model("Tokenizer", [strings("a")], attributes(**change), domain="com.microsoft"))


@pytest.mark.parametrize("missing", ["mark", "pad_value", "mincharnum"])
def test_attributes_are_required(missing):
    given = {name: value for name, value in attributes(tokenexp="a").items() if name != missing}
    with pytest.raises(pyinfer.InvalidModel, match=missing):
        pyinfer.load(node_model("Tokenizer", [strings("a")], given, domain="com.microsoft"))


@pytest.mark.parametrize("shape", [(), (1, 1, 1)])
def test_other_ranks_are_rejected(shape):
    x = np.full(shape, "a", object)
    model = pyinfer.load(node_model("Tokenizer", [x], attributes(tokenexp="a"), domain="com.microsoft"))
    with pytest.raises(pyinfer.InvalidInput, match=r"\[C\] or \[N, C\]"):
        model.run({"x0": x})


@pytest.mark.parametrize("tokens", [{"separators": [""]}, {"separators": ["b"]}, {"tokenexp": "a"}])
def test_bytes_that_are_no_text_are_rejected(tokens):
    model = pyinfer.load(
        node_model("Tokenizer", [strings("a")], attributes(**tokens), domain="com.microsoft")
    )
    for bad in [b"ab\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"]:
        with pytest.raises(pyinfer.InvalidInput, match="UTF-8"):
            model.run({"x0": np.array([bad], object)})


@pytest.mark.parametrize(
    "separators",
    [["a"] * 1001, ["a{1000}"] * 30, ["[" + "a" * 60_000 + "]"] * 2, ["[" + "a" * 120_000 + "]"]],
)
def test_too_many_and_too_large_separators_are_rejected(separators):
    x = strings("a")
    with pytest.raises(pyinfer.UnsupportedModel, match="separators"):
        pyinfer.load(node_model("Tokenizer", [x], attributes(separators=separators), domain="com.microsoft"))


@pytest.mark.parametrize(
    "tokens",
    [
        {"tokenexp": "a+b|a"},  # each search would read on to the end
        {"tokenexp": "(a*)*(a|aa)*b"},
        {"tokenexp": "a+", "mincharnum": 300_001},  # each match is one too short
        {"separators": ["aa", "a+b|c", "a+b|c"]},
        {"separators": [r"(?i)[\0-\x{ffff}]" + r"[\x{0}-\x{ffff}]" * 4] * 1000},
    ],
)
def test_time_is_linear_in_the_text(tokens):
    x = strings("a" * 300_000 + " ")
    start = time.monotonic()
    model = pyinfer.load(node_model("Tokenizer", [x], attributes(**tokens), domain="com.microsoft"))
    model.run({"x0": x})
    assert time.monotonic() - start < 20


def test_padding_meets_the_limits():
    x = strings("a" * 1000, *[""] * 1000)
    given = attributes(separators=[""], pad_value="p" * 100)
    proto = node_model("Tokenizer", [x], given, domain="com.microsoft")
    for field, limit in [("max_total_bytes", 1000 * 1000 * 100), ("max_tensor_bytes", 1000 * 1000 * 32)]:
        model = pyinfer.load(proto, limits=pyinfer.Limits(**{field: limit}))
        with pytest.raises(pyinfer.LimitExceeded, match=field):
            model.run({"x0": x})
        assert model.run({"x0": x[:2]})["y0"].shape == (2, 1000)


def test_a_long_text_is_held_to_the_limit():
    x = strings("a" * 1_000_000)
    proto = node_model("Tokenizer", [x], attributes(tokenexp="a+"), domain="com.microsoft")
    model = pyinfer.load(proto, limits=pyinfer.Limits(max_total_bytes=4_000_000))
    with pytest.raises(pyinfer.LimitExceeded, match="max_total_bytes"):
        model.run({"x0": x})
