"""Texts and pictures as a pretrained model sees them: sentence-transformers and transformers, from a local folder."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mapwise.data.digests import picture_content, text_content
from mapwise.data.modality import Modality
from mapwise.data.pictures import open_picture
from mapwise.encoders import hub
from mapwise.encoders.encoder import Costly
from mapwise.encoders.lora import Adapter, Embed, learned, seconds_for

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_TOKENS = 8192
"""The most tokens of a text, where the model has no limit or a larger one."""
_TOGETHER = 1 << 14
"""Tokens of texts that are encoded together."""
_BATCH = 32
_PIXELS = 1 << 25
"""Pixels of pictures from which they are encoded without waiting for more: as they are, they lie in memory."""
_EDITION = "1"
"""Raised whenever the same model would give other arrays here."""
_UNMOVED = Adapter()


@dataclass(frozen=True)
class Network:
    """A loaded model, and two functions that apply it, or a copy of it, to texts or RGB pictures."""

    model: nn.Module
    encode: Callable[[nn.Module, Sequence[Any]], Float[np.ndarray, "N D"]]
    """In float32."""
    embed: Embed
    """The same with gradients, of as many rows as fit into memory together."""
    is_cut: Callable[[Sequence[str]], list[bool]] = lambda rows: [False] * len(rows)
    """Whether the end of each text isn't read."""


def hugging_face(name: str, fetch: bool) -> Costly:
    """The encoder of a model's folder, or of a model on the hub; the folder determines what it reads.

    fetch: whether a model that isn't on this machine is downloaded.

    Raises ValueError when the model can't be had.
    """
    folder = hub.find_model(name, fetch=fetch)
    # A file that names this encoder may be read from another folder than this process works in.
    return _READERS[hub.reads(folder)](f"hf:{hub.local(name) or hub.pinned(name, folder)}", folder)


@dataclass(frozen=True)
class _Pretrained:
    """A model in a folder, loaded at first use and shared by all encoders of this folder.

    name:    what it is called, with hf: before it.
    folder:  settings and weights as save_pretrained writes them. No code is taken from it, and no pickle.
    adapter: what a few labelled rows added to its weights.
    """

    usual: ClassVar[None] = None
    """Not measured: the classes the model was trained on are unknown."""

    name: str
    folder: Path
    adapter: Adapter = _UNMOVED

    @cached_property
    def version(self) -> str:
        """The digest of settings and weights."""
        return f"{_EDITION}-{hub.folder_digest(self.folder)}"

    @property
    def state(self) -> Mapping[str, Any]:
        """The adapter's matrices; {} of a model that was not tuned."""
        return self.adapter.arrays

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """The model with this adapter; raises ValueError for an invalid adapter."""
        return replace(self, adapter=Adapter.of_state(state))

    def fitted(self, rows: Sequence[Any], weight: np.ndarray) -> Self:
        """The model as it lies in its folder."""
        return replace(self, adapter=_UNMOVED)

    def tuned(self, rows: Sequence[Any], columns: Int64[np.ndarray, "N"], weight: Float[np.ndarray, "N"]) -> Self:
        """The model with an adapter tuned to separate these rows' classes, starting from the weights in its folder.

        Raises ValueError for rows it can't read, a model without linear layers, and when peft isn't installed.
        """
        network = self._network(_UNMOVED)
        return replace(self, adapter=learned(network.model, network.embed, self._read(rows), columns, weight))

    def tuning_seconds(self, rows: Sequence[Any]) -> float:
        """About how many seconds tuning takes, estimated from a step of it; raises ValueError as `tuned` does."""
        network = self._network(_UNMOVED)
        return seconds_for(network.model, network.embed, self._read(rows))

    def _read(self, rows: Sequence[Any]) -> list[Any]:
        """Rows as the network takes them."""
        raise NotImplementedError

    @property
    def _load(self) -> Callable[[Path], Network]:
        raise NotImplementedError

    def _network(self, adapter: Adapter) -> Network:
        hub.require_libraries(self.name.removeprefix("hf:"))
        return _loaded(self._load, self.folder, self.version, adapter)

    def _encoded(self, rows: Sequence[Any]) -> Float[np.ndarray, "N D"]:
        network = self._network(self.adapter)
        z = network.encode(network.model, rows)
        if not np.isfinite(z).all():
            raise ValueError(f"the model in {self.folder} gives NaN or infinity: its weights are damaged, restore them")
        return z


@dataclass(frozen=True)
class Sentences(_Pretrained):
    """Each text as the model of sentence-transformers in this folder embeds it, prompt and pooling as it says itself.

    Long texts are truncated.
    """

    reads: ClassVar[Modality] = "texts"

    def content(self, row: str, place: int) -> bytes:
        """The text in UTF-8; raises ValueError for one without letters."""
        return text_content(row, place)

    def __call__(self, rows: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """[N, D], float32; raises ValueError for an empty text, and for a folder that holds no such model."""
        return self._encoded(self._read(rows))

    def cut(self, rows: Sequence[str]) -> list[int]:
        """The places of texts of which the model doesn't read the end; raises ValueError as a call does."""
        network = self._network(_UNMOVED)
        return [place for place, cut in enumerate(network.is_cut(self._read(rows))) if cut]

    def _read(self, rows: Sequence[str]) -> list[str]:
        # Halves of a character, which no tokenizer takes, become question marks.
        return [self.content(text, place).decode() for place, text in enumerate(rows)]

    @property
    def _load(self) -> Callable[[Path], Network]:
        return _sentences


@dataclass(frozen=True)
class Pictures(_Pretrained):
    """Each picture as the vision model in this folder sees it, resized and scaled as its image processor says.

    The output is the model's pooled output, projected for models of texts and pictures; for a model without one, the
    mean over the places of the picture.
    """

    reads: ClassVar[Modality] = "pictures"

    def content(self, row: Any, place: int) -> bytes:
        """The bytes of the file, or the pixels; raises ValueError for a file that can't be read, and for odd arrays."""
        return picture_content(row, place)

    def __call__(self, rows: Sequence[Any]) -> Float[np.ndarray, "N D"]:
        """[N, D], float32, of paths, Pillow images or arrays; raises ValueError for what is no picture, naming it."""
        parts, block, pixels = [], list["Image"](), 0
        for place, row in enumerate(rows):
            block.append(open_picture(row, place, self._near).convert("RGB"))
            pixels += block[-1].width * block[-1].height
            if len(block) == _BATCH or pixels > _PIXELS or place == len(rows) - 1:
                parts.append(self._encoded(block))
                block, pixels = [], 0
        return np.concatenate(parts)

    def _read(self, rows: Sequence[Any]) -> "list[Image]":
        return [open_picture(row, place, self._near).convert("RGB") for place, row in enumerate(rows)]

    @property
    def _load(self) -> Callable[[Path], Network]:
        return _pictures

    @property
    def _near(self) -> int:
        """Pixels a side that the model reads, at most."""
        size = hub.image_settings(self.folder).get("size", 0)
        sides = size.values() if isinstance(size, dict) else [size]
        return max((side for side in sides if isinstance(side, int) and side > 0), default=1024)


_READERS: dict[Modality, Callable[[str, Path], Costly]] = {"texts": Sentences, "pictures": Pictures}


@lru_cache(maxsize=2)  # an encoder is made for every fit, and loading takes seconds
def _loaded(load: Callable[[Path], Network], folder: Path, version: str, adapter: Adapter) -> Network:
    if adapter.arrays:
        network = _loaded(load, folder, version, _UNMOVED)
        return replace(network, model=adapter.added_to(network.model))
    with loading(folder):
        return load(folder)


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """While a model's folder is read by these libraries; raises ValueError for whatever they raise."""
    # Weights that the folder lacks are drawn: the same every time, and from no one else's generator.
    try:
        with _quietly(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            yield
    except MemoryError:
        raise
    except Exception as problem:  # a damaged folder may raise nearly anything in there
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise ValueError(
            f"the model in {folder} can't be loaded ({reason[:200]}): restore it, or take another"
        ) from None


def _sentences(folder: Path) -> Network:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder),
        device="cpu",
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True, "dtype": torch.float32},
    )
    model.eval().requires_grad_(False)
    bound = model.max_seq_length
    if bound is None or MOST_TOKENS < bound < float("inf"):  # infinite where tokens are only added up
        model.max_seq_length = MOST_TOKENS
    tokens = int(min(bound or MOST_TOKENS, MOST_TOKENS))
    # Cut before the tokenizer, which would read all of ten megabytes, to so many of the longest token and a space.
    characters = tokens * (1 + max(map(len, model.tokenizer.get_vocab())))

    def beginnings(texts: Sequence[str]) -> list[str]:
        return [text.lstrip()[:characters] for text in texts]

    def is_cut(texts: Sequence[str]) -> list[bool]:
        long = [len(text.strip()) > characters for text in texts]
        if not callable(model.tokenizer):  # of models that only add up tokens, however many
            return long
        prompt = model.prompts.get(model.default_prompt_name) or ""
        pieces = model.tokenizer([prompt + text for text in beginnings(texts)], truncation=False, verbose=False)
        return [end or len(ids) > tokens for end, ids in zip(long, pieces["input_ids"], strict=True)]

    def encoded(model: Any, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        vectors: np.ndarray = model.encode(
            beginnings(texts),
            batch_size=max(1, min(_BATCH, _TOGETHER // tokens)),
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return vectors.astype(np.float32, copy=False)

    def embedded(model: Any, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        prompt = model.prompts.get(model.default_prompt_name)
        z: Tensor = model(model.preprocess(beginnings(texts), prompt=prompt))["sentence_embedding"]
        return z[:, : model.truncate_dim]

    return Network(model, encoded, embedded, is_cut)


def _pictures(folder: Path) -> Network:
    from transformers import AutoImageProcessor, AutoModel

    # Pillow and NumPy resize and scale; the other backend is torchvision's, and its pixels differ.
    prepare = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True, trust_remote_code=False)
    model, about = AutoModel.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    model.eval().requires_grad_(False)
    lacking = sorted(about["missing_keys"])
    pooled = not any(key.startswith("pooler.") for key in lacking)  # a classifier's folder may have no pooler
    if others := [key for key in lacking if not key.startswith("pooler.")]:
        raise ValueError(f"it has no weights {others[0]!r}")

    def embedded(model: Any, images: "Sequence[Image]") -> Float[Tensor, "N D"]:
        look = getattr(model, "get_image_features", model)
        outputs = look(pixel_values=prepare(list(images), return_tensors="pt")["pixel_values"])
        z: Tensor | None = getattr(outputs, "pooler_output", None)
        if z is None or not pooled:
            places = outputs.last_hidden_state  # [N, places, D], or a map [N, D, H, W]
            z = places.mean(1) if places.ndim == 3 else places.mean((2, 3))
        return z.flatten(1).float()

    def encoded(model: Any, images: "Sequence[Image]") -> Float[np.ndarray, "N D"]:
        with torch.inference_mode():
            vectors: np.ndarray = embedded(model, images).numpy()
        return vectors

    return Network(model, encoded, embedded)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the bars and remarks of these libraries, which would stand among a command's own lines."""
    from transformers.utils import logging as spoken

    theirs = logging.getLogger("sentence_transformers")
    level, verbosity, bars = theirs.level, spoken.get_verbosity(), spoken.is_progress_bar_enabled()
    theirs.setLevel(logging.ERROR)
    spoken.set_verbosity_error()
    spoken.disable_progress_bar()
    try:
        yield
    finally:
        theirs.setLevel(level)
        spoken.set_verbosity(verbosity)
        if bars:
            spoken.enable_progress_bar()
