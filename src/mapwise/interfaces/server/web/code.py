"""The same as code: what a person copies to go on without the page."""

import shlex

from mapwise.interfaces.server.state.live import Live

_NEW = {"pictures": '["new.png"]', "texts": '["a new text"]', "table": 'pandas.read_csv("new.csv")'}
_FILES = {"pictures": "new/", "texts": "new.txt", "table": "new.csv"}


def code_for(live: Live, address: str) -> dict[str, str]:
    """Python, command and curl for a predictor at this address."""
    modality, file = live.draft.modality, f"{live.id}.safetensors"
    place = f"{address}/v1/predictors/{live.id}"
    curl = ["curl", f"{place}/predict", "-H", "Content-Type: application/json"]
    ask = {
        "pictures": ["curl", f"{place}/predict", "-F", "files=@new.png"],
        "texts": [*curl, "-d", '{"texts": ["a new text"]}'],
        "table": [*curl, "-d", '{"rows": [{"column": 1.5}]}'],
    }[modality]
    download = shlex.join(["curl", "-o", file, f"{place}/file"])
    imports = ["import mapwise as mw", *(["import pandas"] if modality == "table" else [])]
    model = f'model = mw.FewShotClassifier.load("{file}")'
    python = "\n".join([*imports, "", model, f"print(model.predict({_NEW[modality]}))"])
    return {
        "download": download,
        "python": python,
        "command": shlex.join(["mapwise", "predict", file, _FILES[modality]]),
        "curl": shlex.join(ask),
    }
