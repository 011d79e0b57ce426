"""Two aligned sequences as one: an alphabet of letter pairs, from the table to the prediction."""

import csv

import numpy as np
import pytest
import torch

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.alphabet_lyra import get_alphabet
from lyra.data import DataArguments, prepare
from lyra.errors import InputError
from lyra.inference import compute_logits, predict, stream
from lyra.training import LyraTrainingArguments, ModelArguments, train

TARGETS = ["ACGTACGT", "TTGTACGA", "ACCTACGN", "ACGAACGT", "CCGTACGG", "GCGTTCGT"]
GUIDES = ["GTAC", "GTA", "ccca", "GAAC", "G-AC", "GTTC"]


def table(path, guides=GUIDES, targets=TARGETS):
    splits = ["train"] * 4 + ["validation", "test"]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "guide", "label", "split"])
        writer.writerows(zip(targets, guides, np.arange(6) / 4, splits, strict=True))
    return str(path)


def test_eight_channels_and_every_pair():
    alphabet = get_alphabet("dna+dna")
    assert alphabet.vector("AC") == [1, 0, 0, 0, 0, 1, 0, 0]
    assert alphabet.vector("G-") == [0, 0, 1, 0, 0, 0, 0, 0]
    assert alphabet.vector("NU") == [0.25] * 4 + [0, 0, 0, 1]
    assert alphabet.vector("<pad>") == alphabet.vector("--") == [0] * 8
    assert len(alphabet.tokens) == 3 + 7 * 7
    assert get_alphabet("dna+rna").vector("TT") == [0, 0, 0, 1, 0, 0, 0, 1]
    for name in ("dna+protein", "dna+", "protein+protein", "dna+dna+dna"):
        with pytest.raises(ValueError, match="alphabet"):
            get_alphabet(name)


def test_tokenizer():
    tokenizer = LyraTokenizer("dna+dna", pair_offset=2)
    encoded = tokenizer("ACGTA", "gt")
    with pytest.raises(ValueError, match="return_offsets_mapping"):
        tokenizer("ACGTA", "gt", return_offsets_mapping=True)
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["A-", "C-", "GG", "TT", "A-"]
    assert tokenizer(" AC GTA\n", "g t")["input_ids"] == encoded["input_ids"]
    text = get_alphabet("dna+dna").align("ACGTA", "gt", 2)
    assert tokenizer.encode_bulk([text])[0].tolist() == encoded["input_ids"]
    both = [encoded["input_ids"], tokenizer("ACG", "T")["input_ids"]]
    assert tokenizer(["ACGTA", "ACG"], ["gt", "T"])["input_ids"] == both
    assert tokenizer([("ACGTA", "gt"), ("ACG", "T")])["input_ids"] == both
    assert tokenizer.encode("ACG", "T") == both[1]
    assert tokenizer(["ACGTA", "ACG"], ["gt", "T"], padding=True, return_tensors="pt")["input_ids"].shape == (2, 5)
    with pytest.raises(ValueError, match="2 letters at offset 2 extends past the end of the sequence of 3"):
        tokenizer("ACG", "AC")
    with pytest.raises(ValueError, match="pair_offset"):
        LyraTokenizer("dna+dna", pair_offset=-1)


@pytest.mark.parametrize(
    "arguments", [("ACGT",), (["ACGT", "ACG"],), ("ACGT", ["AC"]), (["ACGT"], "AC"), (["ACGT", "AC"], ["AC"])]
)
def test_one_sequence_of_a_pair_is_refused(arguments):
    with pytest.raises(ValueError, match=r"call tokenizer\(sequence, partner\)"):
        LyraTokenizer("dna+dna")(*arguments)


def test_offset_travels_with_the_tokenizer(tmp_path):
    LyraTokenizer("dna+dna", pair_offset=2).save_pretrained(tmp_path)
    loaded = LyraTokenizer.from_pretrained(tmp_path)
    assert loaded.convert_ids_to_tokens(loaded("ACG", "T")["input_ids"]) == ["A-", "C-", "GT"]


def test_model_sees_a_pair_as_the_sum_of_its_halves():
    model = LyraForSequenceClassification(
        LyraConfig(alphabet="dna+dna", num_labels=1, hidden_size=8, state_size=4)
    ).eval()
    tokenizer = LyraTokenizer("dna+dna")
    ids = tokenizer("AGT", "C-T", return_tensors="pt")["input_ids"]
    features = torch.tensor([[[1, 0, 0, 0, 0, 1, 0, 0], [0, 0, 1, 0] + [0] * 4, [0, 0, 0, 1, 0, 0, 0, 1]]])
    torch.testing.assert_close(model(ids).logits, model(input_features=features.float()).logits)


def test_prepare(tmp_path):
    data = prepare(DataArguments(data=table(tmp_path / "t.csv"), pair_column="guide", pair_offset=2))
    assert data.tokenizer.alphabet == "dna+dna"
    assert data.sequences["train"][1] == "T-T-GGTTAAC-G-A-"
    assert data.dataset["train"]["length"] == [8] * 4


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        (
            {"guides": [*GUIDES[:2], "ACGTACGT", *GUIDES[3:]]},
            {},
            r"row 3 .*'guide'.*extends past the end of the sequence of 8",
        ),
        ({"guides": [*GUIDES[:2], "AC?", *GUIDES[3:]]}, {}, r"row 3 .*'guide'.*'\?'"),
        ({"guides": ["", *GUIDES[1:]]}, {}, r"row 1 .*'guide'.*sequence"),
        ({}, {"pair_column": "sequence"}, "is the sequence column"),
        ({}, {"pair_column": "spacer"}, "no column 'spacer'"),
        ({}, {"alphabet": "dna"}, "dna\\+dna"),
        ({}, {"pair_column": None, "pair_offset": 0, "alphabet": "dna+dna"}, "--pair_column"),
    ],
)
def test_bad_pairs(tmp_path, changes, flags, message):
    path = table(tmp_path / "t.csv", **changes)
    with pytest.raises(InputError, match=message):
        prepare(DataArguments(**{"data": path, "pair_column": "guide", "pair_offset": 2} | flags))


def test_train_and_predict(tmp_path):
    path = table(tmp_path / "t.csv")
    record = train(
        DataArguments(data=path, pair_column="guide", pair_offset=2),
        ModelArguments(config_overrides=["hidden_size=8", "state_size=4"]),
        LyraTrainingArguments(output_dir=str(tmp_path / "m"), num_train_epochs=1, disable_tqdm=True, use_cpu=True),
    )
    assert record["alphabet"] == "dna+dna"
    assert predict(str(tmp_path / "m"), path, str(tmp_path / "p.csv")) == 6  # the column `guide` is found
    with open(tmp_path / "p.csv") as file, open(tmp_path / "m" / "predictions.csv") as scored:
        predicted, (test,) = list(csv.DictReader(file)), list(csv.DictReader(scored))
    assert float(predicted[-1]["prediction"]) == pytest.approx(float(test["prediction"]), rel=1e-5)
    with pytest.raises(InputError, match="row 1"):
        predict(str(tmp_path / "m"), table(tmp_path / "bad.csv", guides=["ACGTACGT"] * 6), str(tmp_path / "q.csv"))
    assert not (tmp_path / "q.csv").exists()
    tuning = ModelArguments(model_name_or_path=str(tmp_path / "m"))
    with pytest.raises(InputError, match="has pair_offset 2, these data 1"):
        again = LyraTrainingArguments(output_dir=str(tmp_path / "n"), use_cpu=True)
        train(DataArguments(data=path, pair_column="guide", pair_offset=1), tuning, again)


def test_pairs_are_not_streamed():
    model = LyraForSequenceClassification(LyraConfig(alphabet="dna+dna", num_labels=1)).eval()
    with pytest.raises(ValueError, match="single sequences"):
        stream(model, ["AC"])


def test_letters_read_as_others():
    alphabet = get_alphabet("protein,J=-,?=X")
    assert alphabet.vector("J") == [0] * 20 and alphabet.vector("?") == [1 / 20] * 20
    assert alphabet.vector("B") == get_alphabet("protein").vector("B")
    tokenizer = LyraTokenizer("protein,J=-")
    assert tokenizer("jA")["input_ids"] == [len(tokenizer) - 1, 3] == tokenizer.encode_bulk(["JA"])[0].tolist()
    for bad in ("protein,A=-", "protein,J", "protein,J=4", "protein,j=A", "protein,J=J", "protein,"):
        with pytest.raises(ValueError, match="alphabet"):
            LyraConfig(alphabet=bad)


def test_pairs_go_in_as_pairs(tiny):
    alphabet = "dna+dna"
    tokenizer = LyraTokenizer(alphabet, pair_offset=2)
    model = LyraForSequenceClassification(tiny(alphabet=alphabet)).eval()
    expected = model(**tokenizer("ACGTACGT", "ACG", return_tensors="pt")).logits[0].detach().numpy()
    (found,) = compute_logits(model, tokenizer, [("ACGT ACGT", "acg")]).logits
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="must be pairs"):
        compute_logits(model, tokenizer, ["ACGTACGT"])
