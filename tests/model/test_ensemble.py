"""Ensembles: several trained models in one checkpoint, which answers with their mean and says how far they differ."""

import csv
import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from lyra import LyraConfig, LyraForSequenceClassification, LyraForTokenClassification, LyraTokenizer
from lyra.cli import main
from lyra.inference import compute_logits, load_model, predict, stream

IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 0, 0]])


def members(tiny, head=LyraForSequenceClassification, **kwargs):
    return [head(tiny(**kwargs)).eval() for _ in range(3)]


@pytest.mark.parametrize(
    ("kwargs", "probabilities"),
    [
        ({"num_labels": 1, "label_mean": 5.0, "label_std": 2.0}, lambda logits: logits),
        ({"num_labels": 3, "problem_type": "single_label_classification"}, lambda logits: logits.softmax(-1)),
        ({"num_labels": 2, "problem_type": "multi_label_classification"}, torch.sigmoid),
    ],
)
@pytest.mark.parametrize("head", [LyraForSequenceClassification, LyraForTokenClassification])
def test_mean_and_standard_deviation(tiny, head, kwargs, probabilities):
    models = members(tiny, head, **kwargs)
    output = head.as_ensemble(models)(IDS)
    logits = torch.stack([model(IDS).logits for model in models])
    torch.testing.assert_close(output.logits, logits.mean(0))
    torch.testing.assert_close(output.std, probabilities(logits).std(0))


def test_loss_is_the_mean_of_the_members_and_trains_each(tiny):
    models = members(tiny, num_labels=1)
    labels = torch.tensor([1.0, 2.0])
    ensemble = LyraForSequenceClassification.as_ensemble(models)
    loss = ensemble(IDS, labels=labels).loss
    torch.testing.assert_close(loss, torch.stack([model(IDS, labels=labels).loss for model in models]).mean())
    loss.backward()
    assert all(
        parameter.grad.abs().sum() > 0 for name, parameter in ensemble.named_parameters() if "classifier" in name
    )


def test_one_model_has_no_deviation(tiny):
    assert LyraForSequenceClassification(tiny(num_labels=1))(IDS).std is None


def test_members_must_agree(tiny):
    one, other = (LyraForSequenceClassification(tiny(num_labels=n)) for n in (1, 2))
    for models, message in (([], "got 0"), ([one], "got 1"), ([one, other], "num_labels")):
        with pytest.raises(ValueError, match=message):
            LyraForSequenceClassification.as_ensemble(models)


def test_ensembles_of_ensembles_have_all_members(tiny):
    models = members(tiny, num_labels=1)
    pair = LyraForSequenceClassification.as_ensemble(models[:2])
    nested, flat = (LyraForSequenceClassification.as_ensemble(each) for each in ([pair, models[2]], models))
    assert torch.equal(nested(IDS).logits, flat(IDS).logits)


def test_embeddings_of_one_member_are_refused(tiny):
    ensemble = LyraForSequenceClassification.as_ensemble(members(tiny, num_labels=1))
    with pytest.raises(ValueError, match="inputs_embeds"):
        ensemble(inputs_embeds=ensemble.lyra.embeddings(IDS))


def test_loads_like_any_other(tiny, tmp_path):
    ensemble = LyraForSequenceClassification.as_ensemble(members(tiny, num_labels=1))
    ensemble.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    for name in ("logits", "std"):
        assert torch.equal(getattr(loaded(IDS), name), getattr(ensemble(IDS), name))
    first = AutoModel.from_pretrained(tmp_path)  # the encoder of the first member
    assert torch.equal(first(IDS).pooler_output, ensemble.lyra(IDS).pooler_output)


def test_long_sequences_and_streams(tiny, tmp_path, monkeypatch):
    ensemble = LyraForSequenceClassification.as_ensemble(members(tiny, num_labels=1))
    with pytest.raises(ValueError, match="a single model"):
        stream(ensemble, ["MK"])
    sequences = ["MKTAYIAK", "MKT", "KTAYIA"]
    whole = compute_logits(ensemble, LyraTokenizer(), sequences)
    monkeypatch.setattr("lyra.inference.logits._LONGEST_WHOLE", 4)
    streamed = compute_logits(ensemble, LyraTokenizer(), sequences)
    np.testing.assert_allclose(streamed.logits, whole.logits, rtol=1e-5)
    np.testing.assert_allclose(streamed.stds, whole.stds, rtol=1e-4)


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "t.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "label"])
        for _ in range(60):
            sequence = "".join(rng.choice(list("ACDEFGH"), 8))
            writer.writerow([sequence, sequence.count("A") + rng.normal()])
    return str(path)


def test_training_and_predicting(table, tmp_path, capsys):
    small = ["--config_overrides", "hidden_size=8", "state_size=4", "--num_train_epochs", "2"]
    small += ["--linear_term", "none"]  # two linear terms agree, so that there might be no spread
    command = [
        "train",
        table,
        "--output_dir",
        str(tmp_path / "m"),
        "--ensemble",
        "2",
        "--seed",
        "5",
        "--use_cpu",
        *small,
    ]
    assert main(command) == 0
    record = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert [member["seed"] for member in record["members"]] == [5, 6]
    single = ["train", table, "--output_dir", str(tmp_path / "s"), "--seed", "6", "--use_cpu", *small]
    assert main(single) == 0
    alone = json.loads((tmp_path / "s" / "metrics.json").read_text())
    assert record["members"][1]["test"] == alone["test"]  # a member is what training alone gives
    models = [load_model(str(tmp_path / "m" / "members" / seed))[0] for seed in "56"]
    together = load_model(str(tmp_path / "m"))[0](IDS).logits
    torch.testing.assert_close(together, torch.stack([model(IDS).logits for model in models]).mean(0))
    predict(str(tmp_path / "m"), table, str(tmp_path / "p.csv"))
    with open(tmp_path / "p.csv") as file:
        assert all(float(row["std"]) > 0 for row in csv.DictReader(file))
    assert "an ensemble of 2 models" in (tmp_path / "m" / "README.md").read_text()
    capsys.readouterr()
    assert main(command) == 2 and "in use" in capsys.readouterr().err


def test_an_interrupted_ensemble_goes_on(table, tmp_path, monkeypatch):
    from lyra import training

    small = ["--config_overrides", "hidden_size=8", "state_size=4", "--num_train_epochs", "2", "--use_cpu"]
    whole = ["train", table, "--output_dir", str(tmp_path / "whole"), "--ensemble", "2", *small]
    assert main(whole) == 0
    train, seeds = training.LyraTrainer.train, []

    def interrupted(self, **kwargs):
        seeds.append(self.args.seed)
        if seeds == [42, 43]:
            raise KeyboardInterrupt
        return train(self, **kwargs)

    monkeypatch.setattr(training.LyraTrainer, "train", interrupted)
    command = ["train", table, "--output_dir", str(tmp_path / "m"), "--ensemble", "2", *small]
    assert main(command) == 130
    assert main([*command, "--resume"]) == 0
    assert seeds == [42, 43, 43]  # the finished member was not trained again
    scores = [json.loads((tmp_path / name / "metrics.json").read_text())["test"] for name in ("whole", "m")]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    "change",
    [["--split_seed", "5"], ["--learning_rate", "0.5"], ["--config_overrides", "hidden_size=4", "state_size=4"]],
)
def test_finished_members_of_another_run_are_refused(table, tmp_path, capsys, change):
    small = ["--config_overrides", "hidden_size=8", "state_size=4", "--num_train_epochs", "1", "--use_cpu"]
    command = ["train", table, "--output_dir", str(tmp_path / "m"), *small]
    assert main([*command, "--ensemble", "2"]) == 0
    assert main([*command, "--ensemble", "3", "--resume", *change]) == 2
    assert "changed since the interrupted run" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 2 and "pass its --ensemble with --resume" in capsys.readouterr().err
    assert main([*command, "--ensemble", "3", "--resume"]) == 0  # one more member
    assert len(json.loads((tmp_path / "m" / "metrics.json").read_text())["members"]) == 3


def test_an_ensemble_that_ends_at_once_leaves_nothing(table, tmp_path):
    command = ["train", table, "--output_dir", str(tmp_path / "m"), "--ensemble", "2", "--optim", "galore_adamw"]
    assert main(command) == 2 and not (tmp_path / "m").exists()


def test_fine_tuning_an_ensemble_starts_from_its_first_member(table, tmp_path):
    ensemble = LyraForSequenceClassification.as_ensemble(
        [LyraForSequenceClassification(LyraConfig(hidden_size=8, state_size=4, num_labels=1)) for _ in range(2)]
    )
    ensemble.save_pretrained(tmp_path / "e")
    LyraTokenizer().save_pretrained(tmp_path / "e")
    flags = [
        "--model_name_or_path",
        str(tmp_path / "e"),
        "--num_train_epochs",
        "1",
        "--learning_rate",
        "1e-9",
        "--use_cpu",
    ]
    assert main(["train", table, "--output_dir", str(tmp_path / "m"), *flags]) == 0
    tuned = load_model(str(tmp_path / "m"))[0]
    assert len(tuned.members()) == 1
    torch.testing.assert_close(tuned.lyra(IDS).pooler_output, ensemble.eval().lyra(IDS).pooler_output)
