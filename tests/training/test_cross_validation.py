"""`--cross_validate`: every row is predicted by a model that did not see it, and the product learned from all."""

import csv
import json
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard
from runs import same_weights, train, write_table

from lyra.hub import build_artifact

CROSS = ["--cross_validate", "true", "--folds", "3", "--ensemble", "1"]


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cross")
    table = write_table(folder / "t.csv")
    assert train(table, folder / "model", *CROSS) == 0
    return table, folder / "model"


def test_every_row_has_a_prediction_of_a_model_that_did_not_see_it(finished):
    table, model = finished
    rows, predicted = read(table), read(model / "out_of_fold.csv")
    assert [row["id"] for row in predicted] == [row["id"] for row in rows]
    for fold in ("1", "2", "3"):
        alone = read(model / "folds" / fold / "predictions.csv")
        assert {row["id"]: row["prediction"] for row in alone} == {
            row["id"]: row["prediction"] for row in predicted if row["test_fold"] == fold
        }
        record = json.loads((model / "folds" / fold / "metrics.json").read_text())
        assert sum(record["n"].values()) == 60 and record["n"]["test"] == len(alone)


def test_the_product_learned_from_all_rows(finished):
    _, model = finished
    record = json.loads((model / "metrics.json").read_text())
    assert record["n"] == {"train": 54, "validation": 6, "test": 0} and record["test"] == {}
    assert not (model / "predictions.csv").exists()
    folds = record["cross_validation"]
    tests = [json.loads((model / "folds" / fold / "metrics.json").read_text())["test"] for fold in ("1", "2", "3")]
    assert [fold["test"] for fold in folds["folds"]] == tests
    for metric, score in folds["scores"].items():
        values = [test[metric] for test in tests]
        assert score == {"mean": pytest.approx(np.mean(values)), "std": pytest.approx(np.std(values, ddof=1))}


def test_the_card_has_the_scores_of_the_folds(finished, tmp_path):
    _, model = finished
    card = ModelCard.load(model / "README.md")
    text, folds = card.text, json.loads((model / "metrics.json").read_text())["cross_validation"]
    assert "mean of 3 folds" in text and "It learned from all rows" in text and "and no test sequences" in text
    (spearman,) = [r for r in card.data.eval_results if r.metric_type == "spearman"]
    assert spearman.metric_value == pytest.approx(folds["scores"]["spearman"]["mean"], abs=1e-6)
    assert spearman.dataset_split == "cross-validation"
    build_artifact(model, tmp_path / "artifact", "someone/model")


def test_resumed_after_an_interruption(finished, tmp_path, capsys):
    table, model = finished
    begun = tmp_path / "model"
    shutil.copytree(model, begun)
    for name in ("metrics.json", "model.safetensors", "out_of_fold.csv", "folds/3/metrics.json"):
        (begun / name).unlink()
    assert train(table, begun, *CROSS) == 2 and "--output_dir is in use" in capsys.readouterr().err
    assert train(table, begun, *CROSS, "--resume") == 0
    assert f"{begun / 'folds' / '1'}: finished already" in capsys.readouterr().out
    assert same_weights(model, begun) and same_weights(model / "folds" / "3", begun / "folds" / "3")
    assert read(begun / "out_of_fold.csv") == read(model / "out_of_fold.csv")
    assert train(table, begun, *CROSS, "--overwrite_output_dir", "true", "--num_train_epochs", "1") == 0
    assert json.loads((begun / "folds" / "1" / "metrics.json").read_text())["hyperparameters"]["epochs"] == 1


def test_the_folds_of_a_column(tmp_path):
    table = write_table(tmp_path / "t.csv")
    rows = read(table)
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "plate"])
        writer.writeheader()
        writer.writerows(row | {"plate": f"p/{i % 2}"} for i, row in enumerate(rows))
    flags = ["--cross_validate", "true", "--split_column", "plate", "--num_train_epochs", "1"]
    assert train(table, tmp_path / "model", *flags) == 0
    assert all(row["plate"] == row["test_fold"] for row in read(tmp_path / "model" / "out_of_fold.csv"))


def test_a_column_that_would_be_added(tmp_path, capsys):
    table = write_table(tmp_path / "t.csv")
    table.write_text(table.read_text().replace("id,", "test_fold,", 1))
    assert train(table, tmp_path / "model", *CROSS) == 2
    assert "already has a column 'test_fold'" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
