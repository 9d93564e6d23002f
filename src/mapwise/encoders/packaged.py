"""Pretrained models that come as a package of pip: their files are read as data, and checked before they are used."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mapwise.encoders.encoder import Frozen

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


@dataclass(frozen=True)
class Package:
    """The files of an installed package that make up a model; of the package nothing else is used.

    encoder:     the encoder's name, for errors.
    extra:       mapwise's extra that installs it.
    requirement: what this extra asks pip for.
    module:      the package's folder.
    files:       each file's path in this folder, and its SHA-256.
    needs:       modules that run the model.
    """

    encoder: str
    extra: str
    requirement: str
    module: str
    files: Mapping[str, str]
    needs: tuple[str, ...] = ("onnxruntime",)

    @property
    def version(self) -> str:
        """A digest of what the files are to be, whether they are there or not."""
        return hashlib.sha256("".join(sorted(self.files.values())).encode()).hexdigest()[:16]

    def read(self) -> dict[str, bytes]:
        """The content of each file; raises ValueError where one is missing, or isn't what the encoder was made for."""
        folder, content = self._folder(), dict[str, bytes]()
        for name, expected in self.files.items():
            try:
                content[name] = (folder / name).read_bytes()
            except OSError:
                raise ValueError(
                    f"the package {self.module} has no {name}, which the encoder {self.encoder} needs: {self._again}"
                ) from None
            digest = hashlib.sha256(content[name]).hexdigest()
            if digest != expected:
                raise ValueError(
                    f"{name} of the package {self.module} has the SHA-256 {digest[:12]}... and the encoder "
                    f"{self.encoder} needs {expected[:12]}...: {self._again}"
                )
        return content

    @property
    def place(self) -> Path:
        """The folder of the files, each as it is to be; raises ValueError as `read` does."""
        self.read()
        return self._folder()

    @property
    def _again(self) -> str:
        return f'pip install --force-reinstall --no-deps "{self.requirement}"'

    @property
    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [module for module in (self.module, *self.needs) if find_spec(module) is None]

    def _folder(self) -> Path:
        if missing := self.missing:
            which = f"{' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
            raise ValueError(f'the encoder {self.encoder} needs {which}: pip install "mapwise[{self.extra}]"')
        spec = find_spec(self.module)
        assert spec is not None
        return Path(next(iter(spec.submodule_search_locations or ()), self.module))  # of a lone file, nothing


class OfPackage(Frozen):
    """What frozen encoders share whose model comes as a package."""

    package: ClassVar[Package]

    @property
    def extra(self) -> str:
        """The extra of mapwise that installs what it needs."""
        return self.package.extra

    @property
    def installed(self) -> bool:
        """Whether the package is there, and what runs its model."""
        return not self.package.missing


def session(model: bytes, weights: Mapping[str, bytes]) -> "InferenceSession":
    """An ONNX model that is ready to run on as many threads as torch may use.

    weights: files that the model names, with their content.
    """
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors: its remarks would stand among a command's own lines
    if weights:
        options.add_external_initializers_from_files_in_memory(
            list(weights), list(weights.values()), [len(content) for content in weights.values()]
        )
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
