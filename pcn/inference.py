"""Probabilities of jets by a trained model."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from lyra.errors import InputError, one_line
from lyra.inference.loading import load_weights

from .configuration_pcn import PcnConfig
from .feature_extraction_pcn import FlatJets, PcnFeatureExtractor, pad_jets
from .jets import Jets
from .labelled import Classes, extract, in_batches
from .metrics import rejections, scores
from .modeling_pcn import PcnForJetClassification

BATCH_SIZE = 256


def load_model(name: str) -> tuple[PcnForJetClassification, PcnFeatureExtractor]:
    """A trained model, on the GPU if there is one, and its feature extractor.

    Args:
        name: folder or Hub id.

    Raises:
        InputError: if there is none, or it is damaged.
    """
    try:
        config = PcnConfig.from_pretrained(name)
        model = load_weights(PcnForJetClassification, name, config=config)
        extractor = PcnFeatureExtractor.from_pretrained(name)
    except InputError:
        raise
    except Exception as error:  # the libraries raise many kinds for damaged files
        raise InputError(f"{name}: expected the folder or Hub id of a PCN model ({one_line(error)[:200]})") from None
    for field in ("feature_set", "point_set"):
        if getattr(config, field) != getattr(extractor, field):
            other = getattr(extractor, field)
            raise InputError(f"{name}: the model reads {field} {getattr(config, field)}, its extractor gives {other}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device).eval(), extractor


@torch.no_grad()
def probabilities(model: PcnForJetClassification, flat: FlatJets, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """`(jets, classes)`. Jets of like numbers of particles are computed together."""
    order = np.argsort(flat.counts, kind="stable")
    found = np.zeros((len(flat.counts), model.config.num_labels), dtype=np.float32)
    sorted_jets = _take(flat, order)
    begin = 0
    for batch in in_batches(sorted_jets, batch_size):
        inputs = {name: torch.from_numpy(values).to(model.device) for name, values in pad_jets(batch).items()}
        logits = model(**inputs).logits.float()
        found[order[begin : begin + len(batch.counts)]] = logits.softmax(-1).cpu().numpy()
        begin += len(batch.counts)
    return found


def _take(flat: FlatJets, order: np.ndarray) -> FlatJets:
    """The jets in another order."""
    begins = np.cumsum(flat.counts) - flat.counts
    counts = flat.counts[order]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.repeat(begins[order], counts) + within
    return FlatJets(flat.features[rows], flat.points[rows], counts, flat.cut[order])


def predict(
    model: PcnForJetClassification,
    extractor: PcnFeatureExtractor,
    files: Sequence[str],
    batch_size: int = BATCH_SIZE,
    is_wanted: Callable[[str], bool] = lambda name: True,
) -> Iterator[tuple[Jets, FlatJets, np.ndarray]]:
    """The jets of some files, their features and their probabilities, chunk by chunk, in constant memory.

    Args:
        is_wanted: what columns of jets to read besides; by default all.

    Raises:
        InputError: as of reading, for no jets, and for a batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"--batch_size: expected at least 1, got {batch_size}")
    with tqdm(desc="predicting", unit=" jets") as bar:
        for jets, flat in extract(files, extractor, is_wanted):
            yield jets, flat, probabilities(model, flat, batch_size)
            bar.update(len(jets))
        if not bar.n:
            raise InputError(f"{files[0]}: no jets")


def class_names(model: PcnForJetClassification) -> list[str]:
    return [model.config.id2label[number] for number in range(model.config.num_labels)]


def evaluate(
    model: PcnForJetClassification,
    extractor: PcnFeatureExtractor,
    files: Sequence[str],
    label_column: str | None,
    background: str,
    batch_size: int = BATCH_SIZE,
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Scores and rejections on labelled jets.

    Returns:
        the record; and the probabilities `(jets, classes)` and classes `(jets,)` that it is of.

    Raises:
        InputError: for jets without the columns of the model's classes, or of other classes.
    """
    names = class_names(model)
    classes = Classes(names, label_column)
    found, labels, cut = [], [], 0
    for jets, flat, values in predict(model, extractor, files, batch_size, lambda name: name in classes.columns()):
        found.append(values)
        labels.append(classes.numbers(jets))
        cut += int(flat.cut.sum())
    record, values, numbers = score(np.concatenate(found), np.concatenate(labels), names, background)
    return record | {"particles_left_out": cut}, values, numbers


def score(
    found: np.ndarray, labels: np.ndarray, names: list[str], background: str
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """The record of probabilities; what [`evaluate`] returns."""
    record = {
        "jets": dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True)),
        "background": background,
        "scores": scores(found, labels),
        "rejections": rejections(found, labels, names, background),
    }
    return record, found, labels
