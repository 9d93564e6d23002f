"""Changes of a predictor: each makes the next version, and says what a store has to keep of it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from mapwise.core.spelling import suggestion
from mapwise.encoders.encoder import Encoder
from mapwise.interfaces.server.state.live import Draft, Live
from mapwise.predictors.additions import add_examples
from mapwise.predictors.choose import USUAL
from mapwise.predictors.classes import Predictor
from mapwise.predictors.examples import LabelledExamples, check_contents, check_encoded, check_name
from mapwise.predictors.fit import fit
from mapwise.predictors.heads.head import NamedHead


@dataclass(frozen=True, eq=False)
class NewExample:
    """An example to keep.

    shown: what people see of it: the text, the cells as JSON, or a small PNG.
    array: its encoded row.
    """

    number: int
    class_number: int
    shown: bytes
    source: str
    array: np.ndarray
    digest: int
    weight: float


@dataclass(frozen=True, eq=False)
class Step:
    """The next version, and what a store has to do for it.

    added:  new examples.
    closed: numbers of examples that are gone, or are of another class now.
    opened: (number, class number) of examples of before that are of this class now.
    """

    live: Live
    added: Sequence[NewExample] = ()
    closed: Sequence[int] = ()
    opened: Sequence[tuple[int, int]] = ()
    duplicates: int = 0
    places: Sequence[int] = field(default_factory=tuple)
    """The places of the added ones among those that were given."""


def next_version(live: Live, draft: Draft, predictor: Predictor | None, examples: Sequence[int], **more: Any) -> Live:
    """The version after this one, whose evidence is still unknown."""
    if predictor is not None:
        draft = draft.with_classes(predictor.classes)
    fresh = {"version": live.version + 1, "parent": live.version, "evidence": None}
    return replace(live, draft=draft, predictor=predictor, examples=tuple(examples), **{**fresh, **more})


def added(live: Live, examples: LabelledExamples, shown: Sequence[bytes], encoder: Encoder, most: int) -> Step:
    """With more examples, of its classes or of new ones; copies within a class are left out, but of tables.

    shown: what people see of each.
    most:  examples of a predictor.

    Raises ValueError as `fit` and `add_examples` do.
    """
    draft, before, count = live.draft, live.predictor, len(examples.labels)
    # An example is called by its number everywhere, so that explanations and errors name it.
    examples = replace(examples, sources=[f"example {live.next_example + place}" for place in range(count)])
    try:
        predictor, places, duplicates = _joined(live, examples, encoder)
    except ValueError as error:
        raise ValueError(_with_rows_named(str(error), live.next_example)) from None
    number_before = 0 if before is None else len(before.rows)
    if not len(places):
        return Step(live, duplicates=duplicates)
    if len(predictor.rows) > most:
        raise ValueError(
            f"there would be {len(predictor.rows):,} examples and a predictor may have {most:,}: give fewer"
        )
    numbers = [live.next_example + int(place) for place in places]
    after = next_version(
        *(live, replace(draft, state=_state(predictor)), predictor, (*live.examples, *numbers)),
        next_example=live.next_example + count,
    )
    of_class = [number for number, _ in after.draft.classes]
    new = [
        NewExample(
            number,
            of_class[int(predictor.columns[row])],
            shown[int(place)],
            predictor.sources[row] if predictor.sources else "",
            predictor.rows[row],
            int(predictor.digests[row]),
            float(predictor.weight[row]),
        )
        for number, place, row in zip(numbers, places, range(number_before, len(predictor.rows)), strict=True)
    ]
    return Step(after, new, duplicates=duplicates, places=[int(place) for place in places])


def _joined(live: Live, examples: LabelledExamples, encoder: Encoder) -> tuple[Predictor, Int64[np.ndarray, "A"], int]:
    """The predictor with the examples, the places of those that are new, and how many are not."""
    if live.predictor is None:
        first, duplicates, predictor = _without_copies(_first(live.draft, examples, encoder))
        return predictor, np.flatnonzero(first), duplicates
    addition = add_examples(live.predictor, examples)
    return addition.predictor, addition.new, addition.duplicates


def _with_rows_named(text: str, first: int) -> str:
    """An error in which new examples are called by their rows in the request."""

    def name(match: re.Match[str]) -> str:
        return match[0] if int(match[1]) < first else f"row {int(match[1]) - first} of the request"

    return re.sub(r"\bexample (\d+)\b", name, text)


def _first(draft: Draft, examples: LabelledExamples, encoder: Encoder) -> Predictor:
    """The predictor of the first examples."""
    classes = {name: draft.sentences[number] for number, name in draft.classes if number in draft.sentences}
    whole = replace(examples, classes=draft.class_names, sentences=classes, use_names=draft.names)
    predictor: Predictor = fit(whole, encoder=encoder, learner=draft.learner, least=1).predictor
    return predictor


def _without_copies(predictor: Predictor) -> tuple[np.ndarray, int, Predictor]:
    """Which rows are the first of their content and class, how many are not, and the predictor of these alone."""
    if predictor.encoder.reads == "table":
        return np.ones(len(predictor.rows), dtype=bool), 0, predictor
    first = np.zeros(len(predictor.rows), dtype=bool)
    first[np.unique(np.column_stack([predictor.columns, predictor.digests]), axis=0, return_index=True)[1]] = True
    copies = np.flatnonzero(~first).tolist()
    return first, len(copies), predictor.without_rows(copies).checked() if copies else predictor


def _state(predictor: Predictor) -> dict[str, Any]:
    """What the encoder was fitted to, where it is small; a tuned encoder's stands in the base."""
    state = predictor.encoder.state
    return {} if any(isinstance(part, np.ndarray) for part in state.values()) else dict(state)


def removed(live: Live, numbers: Sequence[int]) -> Step:
    """Without these examples."""
    predictor, places = _with_rows(live, numbers)
    gone = set(places)
    stay = [number for place, number in enumerate(live.examples) if place not in gone]
    narrower = able(predictor.without_rows(places, empty=True))
    return Step(next_version(live, live.draft, narrower, stay), closed=list(numbers))


def relabelled(live: Live, number: int, name: str, create: bool = False) -> Step:
    """With another class for an example.

    create: whether the class may be a new one.
    """
    if name not in live.draft.class_names:
        if not create:
            raise _no_class(live, name)
        live = replace(with_class(live, name).live, version=live.version, parent=live.parent)
    predictor, (place,) = _with_rows(live, [number])
    columns = predictor.columns.copy()
    columns[place] = predictor.classes.index(name)
    check_contents(predictor.encoder.reads, predictor.digests, columns, predictor.classes, predictor.sources)
    other = predictor.with_columns(columns)
    check_encoded(other)
    after = next_version(live, live.draft, able(other), live.examples)
    return Step(after, closed=[number], opened=[(number, after.draft.number_of(name))])


def with_class(live: Live, name: str, sentences: Sequence[str] = ()) -> Step:
    """With one more class, without examples.

    sentences: about it, for texts.
    """
    check_name(name)
    draft = live.draft.with_classes((*live.draft.class_names, name))
    if sentences:
        draft = replace(draft, sentences={**draft.sentences, draft.number_of(name): tuple(sentences)})
    predictor = live.predictor
    if predictor is not None:
        predictor = predictor.with_classes((*predictor.classes, name), np.arange(len(predictor.classes)))
        if sentences:
            predictor = _described(predictor, draft)
        predictor = able(predictor)
    return Step(next_version(live, draft, predictor, live.examples))


def renamed_class(live: Live, old: str, new: str) -> Step:
    """With another name for a class."""
    if old not in live.draft.class_names:
        raise _no_class(live, old)
    check_name(new)
    draft = live.draft
    classes = tuple((number, new if name == old else name) for number, name in draft.classes)
    predictor = None if live.predictor is None else able(live.predictor.renamed(old, new))
    return Step(next_version(live, replace(draft, classes=classes), predictor, live.examples))


def without_class(live: Live, name: str) -> Step:
    """Without a class and its examples."""
    if name not in live.draft.class_names:
        raise _no_class(live, name)
    draft, predictor = live.draft, live.predictor
    number = draft.number_of(name)
    draft = replace(
        draft,
        classes=tuple(one for one in draft.classes if one[0] != number),
        sentences={other: texts for other, texts in draft.sentences.items() if other != number},
    )
    if predictor is None:
        return Step(next_version(live, draft, None, ()))
    gone = predictor.columns == predictor.classes.index(name)
    stay = [one for one, out in zip(live.examples, gone, strict=True) if not out]
    closed = [one for one, out in zip(live.examples, gone, strict=True) if out]
    if not draft.classes:
        return Step(next_version(live, draft, None, ()), closed=closed)
    narrower = able(predictor.without_class(name, least=1))
    return Step(next_version(live, draft, narrower, stay), closed=closed)


def with_name(live: Live, name: str) -> Step:
    """Called otherwise; what was computed of it stands."""
    draft = replace(live.draft, name=name)
    return Step(next_version(live, draft, live.predictor, live.examples, evidence=live.evidence))


def with_learner(live: Live, learner: str, optimism: float, auto: bool) -> Step:
    """With another learner."""
    draft = replace(live.draft, learner=learner, auto=auto, optimism=optimism)
    predictor = live.predictor
    if predictor is not None:
        head = predictor.head_of(learner)
        predictor = able(replace(predictor, head=head, optimism=optimism, known_temperature=None))
    return Step(next_version(live, draft, predictor, live.examples, temperature=None))


def _described(predictor: Predictor, draft: Draft) -> Predictor:
    sentences = {name: draft.sentences[number] for number, name in draft.classes if number in draft.sentences}
    return predictor.with_descriptions(sentences, names=draft.names)


def able(predictor: Predictor) -> Predictor:
    """The predictor, once its learner took what there is; one without anything to learn from stays as it is."""
    known = predictor.description_rows
    return predictor.checked() if len(predictor.rows) or known is not None else predictor


def _with_rows(live: Live, numbers: Sequence[int]) -> tuple[Predictor, list[int]]:
    """The predictor and the places of these examples; raises LookupError for one that isn't there."""
    place_of = {number: place for place, number in enumerate(live.examples)}
    absent = [number for number in numbers if number not in place_of]
    if absent or live.predictor is None:
        raise LookupError(f"there is no example {(absent or [*numbers])[0]}")
    return live.predictor, [place_of[number] for number in numbers]


def _no_class(live: Live, name: str) -> LookupError:
    return LookupError(f"there is no class {name!r}: {suggestion(name, live.draft.class_names)}")


def begun(id: str, draft: Draft, encoder: Encoder, now: float) -> Step:
    """The first version of a predictor without examples."""
    live = Live(id, 0, draft, None, (), 0, created=now, updated=now)
    return Step(next_version(live, draft, from_names(draft, encoder), ()))


def uploaded(id: str, name: str, predictor: Predictor, base: str, now: float) -> Step:
    """The first version of a predictor that came as a file.

    base: the file, where its encoder or its learner has weights of its own.
    """
    names = [f"example {number + 1}" for number in range(len(predictor.rows))]
    sources = tuple(source or name for source, name in zip(predictor.sources or names, names, strict=True))
    predictor = replace(predictor, sources=sources)
    own = not isinstance(predictor.head, NamedHead) or any(
        isinstance(part, np.ndarray) for part in predictor.encoder.state.values()
    )
    known = predictor.descriptions
    reads, learner = predictor.encoder.reads, predictor.head.name
    draft = Draft(name, reads, predictor.encoder.name, learner, False, names=known is not None and known.names)
    draft = replace(draft.with_classes(predictor.classes), state=_state(predictor), optimism=predictor.optimism)
    sentences: dict[int, tuple[str, ...]] = {}
    for owner, text, named in () if known is None else known.texts:
        number = draft.number_of(owner)
        sentences[number] = (*sentences.get(number, ()), *(() if named else (text,)))
    sentences = {number: texts for number, texts in sentences.items() if texts}
    draft = replace(draft, sentences=sentences, base=base if own else "")
    numbers = range(1, len(predictor.rows) + 1)
    live = Live(id, 0, draft, None, (), 0, temperature=predictor.known_temperature, created=now, updated=now)
    after = next_version(live, draft, predictor, numbers, next_example=numbers.stop)
    of_class = [number for number, _ in after.draft.classes]
    new = [
        NewExample(
            *(number, of_class[int(predictor.columns[row])], b""),
            *(predictor.sources[row] if predictor.sources else "", predictor.rows[row]),
            *(int(predictor.digests_with(np.zeros(0, np.int64))[row]), float(predictor.weight[row])),
        )
        for row, number in enumerate(numbers)
    ]
    return Step(after, new)


def from_names(draft: Draft, encoder: Encoder) -> Predictor | None:
    """The predictor of classes without examples, of which two say what they are about; None where there is none."""
    if draft.modality != "texts" or len(draft.classes) < 2:
        return None
    sentences = {name: draft.sentences[number] for number, name in draft.classes if number in draft.sentences}
    examples = LabelledExamples(
        *([], "texts", np.zeros(0, dtype=object)),
        classes=draft.class_names,
        sentences=sentences,
        use_names=draft.names,
    )
    try:
        predictor: Predictor = fit(examples, encoder=encoder, learner=draft.learner).predictor
    except ValueError:  # a class that nothing is known of
        return None
    return predictor


def head_for(learner: str) -> tuple[str, bool]:
    """The learner by its name, and whether it was left to mapwise."""
    return (USUAL, True) if learner == "auto" else (learner, False)


Operation = Callable[[Live], Step]
"""What makes the next version of a predictor."""
