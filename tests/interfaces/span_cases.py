"""Files and texts with which finders of spans are tried."""

import json


def line(text, spans):
    return json.dumps({"text": text, "spans": spans}) + "\n"


HOSTILE_FILES = [
    ("a.jsonl", line("Ada", [[0, 9, "x"]]), "lies outside the text"),
    ("a.jsonl", line("Ada", [[-1, 2, "x"]]), "lies outside the text"),
    ("a.jsonl", line("Ada", [[2, 2, "x"]]), "is empty"),
    ("a.jsonl", line("Ada", [[2, 1, "x"]]), "lies outside the text"),
    ("a.jsonl", line("Ada met", [[0, 4, "x"]]), "without white space it is 0-3"),
    ("a.jsonl", line("Ada met", [[0, 3, "x"], [1, 5, "y"]]), "overlap"),
    ("a.jsonl", line("Ada met", [[0, 7, "x"], [4, 7, "y"]]), "overlap"),
    ("a.jsonl", line("Ada met", [[0, 3, "x"], [0, 3, "x"]]), "comes twice"),
    ("a.jsonl", line("Ada", [[0, 3, ""]]), "the type of a span is ''"),
    ("a.jsonl", line("Ada", [[0, 3, None]]), "the type of a span"),
    ("a.jsonl", line("Ada", [["0", "3", "x"]]), "give the place of a character"),
    ("a.jsonl", line("Ada", [[0.5, 3, "x"]]), "give the place of a character"),
    ("a.jsonl", line("Ada", [[True, 3, "x"]]), "give the place of a character"),
    ("a.jsonl", line("Ada", [{"start": 0, "end": 3}]), "lacks a key"),
    ("a.jsonl", line("Ada", "x"), "give a list of"),
    ("a.jsonl", line("Ada", {"a": 1}), "give a list of"),
    ("a.jsonl", line("Ada", [[0, 3, "\ud800"]]), "half a character"),
    ("a.jsonl", line("Ada", [[0, 3, "a\nb"]]), ""),
    ("a.jsonl", line(None, []), "has no text"),
    ("a.jsonl", "[1, 2]\n", "no object"),
    ("a.jsonl", "{" * 5000, "is no JSON"),
    ("a.jsonl", '{"text": "Ada"', "is no JSON"),
    ("a.jsonl", line("Ada", []), "none of the 1 texts has a span"),
    ("a.jsonl", "", "has no text"),
    ("a.txt", "", "has no text"),
    ("a.txt", " \n\t\n", "has no text"),
    ("a.txt", b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "is not text in UTF-8"),
    ("a.txt", b"\xff\xfe\x00", "begins like UTF-16"),
    ("a.txt", b"\x1f\x8bxxxx", "damaged gzip"),
    ("a.txt", "[Ada [Byron](person)](person)", "a mark inside a mark"),
    ("a.txt", "[](person) met", "is empty"),
    ("a.txt", "[Ada ](person) met", "without white space"),
    ("a.txt", "[Ada]() met", "the type of a span"),
    ("a.txt", "Ada met Ann.", "none of the 1 texts has a span"),
    ("a.conll", "Ada\n", "one column"),
    ("a.conll", "Ada B-person\nmet a O\n", "has 3 columns and the first has 2"),
    ("a.conll", "Ada B-person\nmet X-y\nis O\nin O\n", "has the tag 'X-y'"),
    ("a.conll", "Ada met\nAnn is\n", "has the tag 'met'"),
    ("a.conll", "Ada O\n", "none of the 1 texts has a span"),
]

HOSTILE_TEXTS = [
    "",
    " ",
    "\t\n",
    "a\u200bb \u200dc",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 met \U0001f1f3\U0001f1f4 in Oslo \U0001f389",
    "\u65e5\u672c\u306e\u6771\u4eac\u3067\u4f1a\u3063\u305f",
    "\u0633\u0627\u0641\u0631 \u0623\u062d\u0645\u062f \u0625\u0644\u0649 \u0631\u0648\u0645\u0627",
    "\u0e44\u0e1b\u0e42\u0e23\u0e21",
    "e\u0301cole na\u0308ive Oslo",
    "\u202eRome\u202c and Oslo",
    "x" * 3000,
    "\udc80 half Rome",
    "tab\tOslo\ttab",
    "((((((((((",
    "\x00 null Rome",
    "\x1b[31mred Rome\x1b[0m",
    "Ada\nByron\r\nmet Ann Lee",
    "<script>alert(1)</script> in Rome",
    "=cmd() Rome",
    "[Ada](person) \\[",
]
