"""Two aligned sequences as one: an alphabet of letter pairs, from the table to the prediction."""

import csv

import numpy as np
import pytest
import torch

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.alphabet_lyra import get_alphabet
from lyra.data import DataArguments, prepare
from lyra.errors import InputError
from lyra.inference import predict, stream
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
    text = tokenizer.align("ACGTA", "gt")
    assert text == "A-C-GgTtA-"
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["A-", "C-", "GG", "TT", "A-"]
    assert encoded["offset_mapping"] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    assert tokenizer("A?<mask>AC")["input_ids"][:2] == [tokenizer.unk_token_id, tokenizer.mask_token_id]
    bulk = tokenizer.encode_bulk([text, "AC"])
    assert [ids.tolist() for ids in bulk] == [encoded["input_ids"], tokenizer("AC")["input_ids"]]
    with pytest.raises(ValueError, match="4 letters at offset 2 extends past the end of the sequence of 5"):
        tokenizer.align("ACGTA", "ACGT")
    assert tokenizer.align("AC GTA\n", "c") == "A-C-GcT-A-"
    with pytest.raises(ValueError, match="alphabet of pairs"):
        LyraTokenizer("dna").align("A", "C")
    with pytest.raises(ValueError, match="pair_offset"):
        LyraTokenizer("dna+dna", pair_offset=-1)


def test_offset_travels_with_the_tokenizer(tmp_path):
    LyraTokenizer("dna+dna", pair_offset=2).save_pretrained(tmp_path)
    assert LyraTokenizer.from_pretrained(tmp_path).align("ACG", "T") == "A-C-GT"


def test_model_sees_a_pair_as_the_sum_of_its_halves():
    model = LyraForSequenceClassification(
        LyraConfig(alphabet="dna+dna", num_labels=1, hidden_size=8, state_size=4)
    ).eval()
    tokenizer = LyraTokenizer("dna+dna")
    ids = torch.tensor([tokenizer("ACG-TT")["input_ids"]])
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
