"""Make the folder of the bundled encoder `drawings` from a run of protonet on Omniglot.

    mapwise train protonet omniglot --ways 60 --queries 5 --test-ways 5 --test-queries 15 --tasks 1 --steps 4500 \\
        --schedule cosine --select last --validate-every 450 --validation-episodes 400 --threads 2
    python -m benchmarks.few_examples.bundle_drawings runs/protonet-omniglot
"""

import argparse
import json
from pathlib import Path

import safetensors.torch
import torch

from mapwise.core import tree
from mapwise.data.files import write_atomically
from mapwise.encoders.bundled import ABOUT, WEIGHTS
from mapwise.runs.run import load_params
from mapwise.runs.settings import RunSettings

PLACE = Path(__file__).resolve().parents[2] / "src" / "mapwise" / "pretrained" / "drawings"
NET = """\
# How a bundled encoder is put together. weights.safetensors holds the net's params; card.md says where they are from.
rows = "ink"  # the encoder of pixels that the net reads
shape = [1, 28, 28]  # of a row
net = {net}

[net_options]
{options}
# How far a row lies from its class: the logarithm of the novelty, of the validation characters of Omniglot, which the
# net was not trained on, as benchmarks/few_examples/novelty.py measures it.
[usual]
mean = {mean}
sd = {sd}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of protonet on omniglot with conv4")
    parser.add_argument("--out", type=Path, default=PLACE, help="the folder")
    parser.add_argument(
        "--mean", type=float, default=0.97, help="of the novelty's logarithm, see benchmarks/few_examples/novelty.py"
    )
    parser.add_argument("--sd", type=float, default=0.43, help="of the same")
    request = parser.parse_args()
    settings = RunSettings.read(request.run)
    if (settings.learner, settings.source, settings.part) != ("protonet", "omniglot", "train"):
        raise SystemExit(f"{request.run} is not a run of protonet on omniglot's training characters")
    params, step = load_params(request.run)
    # Half precision: the file is half as large, and no accuracy was lost.
    tensors = {path: leaf.half().contiguous() for path, leaf in tree.flatten(params).items()}
    about = {
        "encoder": "drawings",
        "trained": f"protonet, conv4 of 64 filters, {step:,} episodes of {settings.ways} ways, {settings.shots} shot",
        "data": "Omniglot (Lake, Salakhutdinov, Tenenbaum 2015), MIT licence; 4,112 training classes of Vinyals 2016",
        "licence": "Apache-2.0, as mapwise",
        "torch": settings.torch,
    }
    data = safetensors.torch.save(tensors, {name: str(value) for name, value in about.items()})
    options = {**settings.row.nets[settings.net_name], **settings.net_options}
    net = NET.format(
        net=json.dumps(settings.net_name),
        options="".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()),
        mean=request.mean,
        sd=request.sd,
    )
    request.out.mkdir(parents=True, exist_ok=True)
    write_atomically(request.out / WEIGHTS, lambda file: file.write(data))
    write_atomically(request.out / ABOUT, lambda file: file.write(net.encode()))
    numbers = sum(leaf.numel() for leaf in tensors.values())
    print(
        json.dumps({"folder": request.out.name, "bytes": len(data), "numbers": numbers, "largest": _largest(tensors)})
    )


def _largest(tensors: dict[str, torch.Tensor]) -> float:
    """Half precision ends at 65,504."""
    return max(float(leaf.float().abs().max()) for leaf in tensors.values())


if __name__ == "__main__":
    main()
