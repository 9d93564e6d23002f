"""The net of words: pieces of one word share their mean, padding changes nothing, and it can be mapped."""

import pytest
import torch

from mapwise.encoders.token_model import TokenModel, TokenNetwork, token_model
from tiny_models import tiny_model


@pytest.fixture(scope="module")
def name(tmp_path_factory) -> str:
    return f"hf:{tiny_model(tmp_path_factory.mktemp('models') / 'tiny')}"


def rows(model: TokenModel) -> dict[str, torch.Tensor]:
    """Two texts: words of 2, 1 and 3 pieces, and of 1; with their start, end and padding."""
    random = torch.Generator().manual_seed(0)
    pieces = torch.randint(5, model.vocabulary, (2, 8), generator=random)
    pieces[:, 0], pieces[0, 7], pieces[1, 2], pieces[1, 3:] = model.start, model.end, model.end, 0
    return {
        "pieces": pieces,
        "cases": torch.tensor([[0, 2, 2, 1, 4, 4, 4, 0], [0, 1, 0, 0, 0, 0, 0, 0]]),
        "starts": torch.tensor([[0, 1, 0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]]),
    }


@pytest.mark.parametrize("rank", [0, 4])
def test_pieces_of_a_word_share_their_mean_and_others_keep_their_own(name, rank):
    model = token_model(name)
    network, x = TokenNetwork(model.inputs, model=name, rank=rank), rows(token_model(name))
    with torch.no_grad():
        together = network(x)
        apart = network({**x, "starts": (x["cases"] > 0).long()})  # every piece is a word
    expected = apart.clone()
    for place in ([1, 2], [3], [4, 5, 6]):
        expected[0, place] = apart[0, place].mean(0)
    torch.testing.assert_close(together, expected)
    assert not torch.allclose(together[0, 1], apart[0, 1], atol=1e-3)


def test_padding_and_other_rows_change_nothing(name):
    model = token_model(name)
    network, x = TokenNetwork(model.inputs, model=name), rows(model)
    with torch.no_grad():
        wide = network({part: torch.nn.functional.pad(value, (0, 5)) for part, value in x.items()})
        alone = network({part: value[1:, :3] for part, value in x.items()})
        torch.testing.assert_close(wide[:, :8], network(x))
        torch.testing.assert_close(wide[1:, :3], alone)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch maps attention one by one, and says so
def test_it_can_be_mapped(name):
    model = token_model(name)
    network, x = TokenNetwork(model.inputs, model=name), rows(model)
    with torch.no_grad():
        mapped = torch.vmap(lambda row: network({part: value[None] for part, value in row.items()})[0])(x)
        torch.testing.assert_close(mapped, network(x), atol=1e-5, rtol=1e-5)
