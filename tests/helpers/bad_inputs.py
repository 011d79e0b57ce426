"""What people get wrong, and what `lyra` says: the cases behind `docs/bad_inputs.md`.

    python tests/helpers/bad_inputs.py > docs/bad_inputs.md

The messages are those of the code; `test_bad_inputs.py` compares them with the document, so that a change of one shows.
"""

import contextlib
import gzip
import io
import os
import shutil
import tempfile
from pathlib import Path

GOOD = "sequence,label\n" + "".join(
    f"{'ACDEFGHIKL'[i % 10] * (3 + i % 5)}{'MNPQ'[i % 4]},{i % 7}.5\n" for i in range(40)
)
MUTANTS = "sequence,label,score,constant\n" + "".join(
    f"{'ACDEFGHIKLMN'[: i % 12]}{'WY'[i // 12]}{'ACDEFGHIKLMN'[i % 12 + 1 :]},{i}.5,{i * i % 7},7\n" for i in range(24)
)
HEAD = "\n".join(GOOD.splitlines()[:20]) + "\n"
TRAIN = "train {} --output_dir out"


def table(content, name="t.csv", command=TRAIN):
    """A case of one file, given where the command has {}."""
    data = content if isinstance(content, bytes) else content.encode()
    return {name: data}, command.format(name)


def flags(*more):
    return table(GOOD, command=f"{TRAIN} {' '.join(more)}")


def predict(content, name="t.csv", command="predict model {} -o p.csv"):
    return table(content, name, command)


def scan(variants=None, flags="", wild_type=">wt\nMKTAYIAKQR\n"):
    files = {"wt.fasta": wild_type.encode()}
    if variants is not None:
        files["v.csv"], flags = f"mutant\n{variants}\n".encode(), f"--variants v.csv {flags}"
    return files, f"scan model wt.fasta -o out {flags}"


def mutants(*more, rows=None):
    return table(rows or MUTANTS, command=f"{TRAIN} {' '.join(more)}")


def propose(flags="", wild_type=">wt\nMKTAYIAKQR\n", rounds=GOOD):
    files = {"r.csv": rounds.encode(), "wt.fasta": wild_type.encode(), "pool.csv": b"sequence\nMKTAYIAKQR\n"}
    return files, f"propose --data r.csv --wild_type wt.fasta -o plate.csv {flags}"


CASES = {
    "Files": {
        "no such file": ({}, "train none.csv --output_dir out"),
        "a folder for a file": ({"d.csv/x": b""}, "train d.csv --output_dir out"),
        "an Excel file": table(b"PK\x03\x04", "t.xlsx"),
        "no suffix": table(GOOD, "t"),
        "an empty file": table("", "t.csv"),
        "only a header": table("sequence,label\n"),
        "a file of the wrong encoding": table(GOOD.encode("utf-16")),
        "one byte that is not UTF-8": table(HEAD.encode() + b"AC\xff,1\n"),
        "gzip in name only": table(GOOD, "t.csv.gz"),
        "gzip cut off": table(gzip.compress(GOOD.encode())[:-20], "t.csv.gz"),
        "gzip damaged": table(gzip.compress(GOOD.encode())[:40] + bytes(60), "t.csv.gz"),
        "not a Parquet file": table("PAR1", "t.parquet"),
        "a row with too many fields": table(HEAD + "ACD,1,2\n"),
        "a row with too few fields": table(HEAD + "ACD\n"),
        "an unclosed quote": table(HEAD + '"ACD,1\n'),
        "a column named twice": table("sequence,label,label\nAC,1,2\n"),
        "JSON lines with an error": table('{"sequence": "AC", "label": 1}\n{"sequence": AC}\n', "t.jsonl"),
        "JSON lines with a list": table('["AC", 1]\n', "t.jsonl"),
        "JSON lines with a key twice": table('{"sequence": "AC", "sequence": "AD", "label": 1}\n', "t.jsonl"),
        "JSON of great depth": table("[" * 100_000, "t.jsonl"),
        "FASTA without a header": table("ACDEF\n", "t.fasta"),
        "FASTA with a field twice": table(">a label=1 label=2\nAC\n", "t.fasta"),
        "a folder without write permission": (
            {"t.csv": GOOD.encode()},
            "train t.csv --output_dir /proc/out",
        ),
    },
    "Sequences and labels": {
        "no column of sequences": table(GOOD.replace("sequence", "peptides")),
        "a column of sequences that is not there": flags("--sequence_column", "dna"),
        "no column of labels": table("sequence,id\n" + "AC,1\n" * 20),
        "a column of labels that is not there": flags("--label_columns", "y"),
        "a letter outside the alphabet": table(HEAD + "AC1D,1\n"),
        "an empty sequence": table(HEAD + ",1\n"),
        "a sequence that is a number": table('{"sequence": 3, "label": 1}\n' * 20, "t.jsonl"),
        "a label that is no number": table(HEAD + "ACD,high\n"),
        "a label that is infinite": table(HEAD + "ACD,inf\n"),
        "a missing label": table(HEAD + "ACD,\n"),
        "decimal commas": table("sequence;label\n" + "".join(f"{'A' * (i + 1)};{i},5\n" for i in range(30))),
        "all labels equal": table("sequence,label\n" + "".join(f"{'A' * (i + 1)},1.5\n" for i in range(30))),
        "labels too large": table("sequence,label\n" + "".join(f"{'A' * (i + 1)},{i}e38\n" for i in range(30))),
        "too few rows": table("sequence,label\nAC,1.5\nAD,2.5\n"),
        "one class only": table("sequence,label\n" + "".join(f"{'A' * (i + 1)},yes\n" for i in range(30))),
        "labels per residue of another length": table(
            "sequence,label\n" + "ACDE,HHCC\nAC,HC\n" * 10 + "ACD,HC\n", command=f"{TRAIN} --task token_classification"
        ),
        "a residue's label that is no number": table(
            "sequence,label\n" + "AC,0.5 1.5\nAD,1.5 2.5\n" * 9 + "AE,0.5 x\n",
            command=f"{TRAIN} --task token_regression",
        ),
        "a number of scored residues that is none": flags(
            "--task", "token_regression", "--scored_residues", "sequence"
        ),
        "a task that the labels do not fit": flags("--task", "multilabel"),
        "a split of an unknown name": table(
            "sequence,label,split\n" + "".join(f"A{'C' * i},{i}.5,{'trian' if i == 5 else 'train'}\n" for i in range(9))
        ),
        "DNA read as protein with an odd letter": table(HEAD + "ACGT!,1\n"),
        "an unknown alphabet": flags("--alphabet", "rna2,"),
        "a pair column for single sequences": flags("--pair_column", "target", "--alphabet", "protein"),
        "a condition without a value": flags("--where", "label"),
        "a condition that no row fulfils": flags("--where", "label=99"),
        "a fold that is not there": flags("--folds", "5", "--fold", "6"),
        "a fold that a column does not have": flags("--split_column", "label", "--fold", "x"),
        "a group that is not there": flags("--group_column", "gene"),
    },
    "Splits, features, searches": {
        "positions of sequences that are not aligned": flags("--split", "position"),
        "several mutations where one is expected": mutants("--split", "modulo", rows=MUTANTS + "WWWWFGHIKLMN,9,1,2\n"),
        "more folds than positions": mutants("--split", "contiguous", "--folds", "12"),
        "a wild type of another length": mutants("--split", "position", "--wild_type", "ACD"),
        "rows that all have as many mutations": mutants("--split", "mutations"),
        "an identity above one": mutants("--split", "cluster", "--identity", "50"),
        "a flag of another split": mutants("--split", "random", "--identity", "0.9"),
        "a column of splits that is not there": mutants("--split", "column"),
        "folds of a table that has splits": flags("--split", "column", "--folds", "5"),
        "one fold of a cross-validation": mutants("--folds", "5", "--fold", "1", "--cross_validate", "true"),
        "a cross-validation without folds": mutants("--split", "mutations", "--cross_validate", "true"),
        "a feature that is not there": mutants("--feature_columns", "temperature"),
        "a feature that is constant": mutants("--feature_columns", "constant"),
        "text in a feature": mutants("--feature_columns", "score", rows=MUTANTS + "WCDEFGHIKLMN,9,high,7\n"),
        "a gap in a feature": mutants("--feature_columns", "score", rows=MUTANTS + "WCDEFGHIKLMN,9,,7\n"),
        "the label as a feature": mutants("--feature_columns", "label"),
        "a search without trials": ({"t.csv": GOOD.encode()}, "tune t.csv --output_dir out --trials 0"),
        "a search of an unknown field": (
            {"t.csv": GOOD.encode(), "s.yaml": b"learning_rte: [1]"},
            "tune t.csv --output_dir out --space s.yaml",
        ),
        "a search in a range that is none": (
            {"t.csv": GOOD.encode(), "s.yaml": b"learning_rate: {low: 1, high: 0.1}"},
            "tune t.csv --output_dir out --space s.yaml",
        ),
    },
    "Flags": {
        "no output folder": table(GOOD, command="train {}"),
        "an unknown flag": flags("--learning_rat", "0.1"),
        "an unknown command": ({}, "fly"),
        "a flag without a value": flags("--seed"),
        "text instead of a number": flags("--num_train_epochs", "many"),
        "a negative rate": flags("--learning_rate", "-1"),
        "a rate that is not a number": flags("--learning_rate", "nan"),
        "no epochs": flags("--num_train_epochs", "0"),
        "an unknown metric": flags("--metric_for_best_model", "auc"),
        "another strand of a protein": flags("--reverse_complement", "both"),
        "an unknown field of the config": flags("--config_overrides", "width=3"),
        "a width of zero": flags("--config_overrides", "hidden_size=0"),
        "a width beyond memory": flags("--config_overrides", "hidden_size=100000000"),
        "an unknown recipe": flags("--recipe", "best"),
        "a config file that does not exist": ({}, "train run.yaml --output_dir out"),
        "a config file that is not YAML": ({"run.yaml": b"a: [b"}, "train run.yaml --output_dir out"),
        "a config file that is a list": ({"run.yaml": b"- a\n- b\n"}, "train run.yaml --output_dir out"),
        "a folder that is in use": (
            {"t.csv": GOOD.encode(), "out/thesis.doc": b""},
            "train t.csv --output_dir out",
        ),
        "another folder to overwrite": (
            {"t.csv": GOOD.encode(), "out/thesis.doc": b""},
            "train t.csv --output_dir out --overwrite_output_dir",
        ),
        "a file for a folder": ({"t.csv": GOOD.encode(), "out": b""}, "train t.csv --output_dir out"),
        "an ensemble of zero models": flags("--ensemble", "0"),
        "a checkpoint that is not there": flags("--model_name_or_path", "nowhere"),
    },
    "Predicting": {
        "a model that is not there": predict(GOOD, command="predict none {} -o p.csv"),
        "a folder that is no model": predict(GOOD, command="predict . {} -o p.csv"),
        "a model of another kind": (
            {"bert/config.json": b'{"model_type": "bert"}', "bert/tokenizer_config.json": b"{}", "t.csv": b"x"},
            "predict bert t.csv -o p.csv",
        ),
        "a config that is no JSON": (
            {"m/config.json": b"{", "m/tokenizer_config.json": b"{}", "t.csv": b"x"},
            "predict m t.csv -o p.csv",
        ),
        "weights cut off": (
            {"m/config.json": b"{}", "m/tokenizer_config.json": b"{}", "m/model.safetensors": b"xx", "t.csv": b"x"},
            "predict m t.csv -o p.csv",
        ),
        "a letter outside the alphabet": predict("sequence\nACD\nA#D\n"),
        "intervals of a model that has none": predict(GOOD, command="predict model {} -o p.csv --interval 0.9"),
        "a level in per cent": predict(GOOD, command="predict model {} -o p.csv --interval 90"),
        "a training table that is not there": predict(GOOD, command="predict model {} -o p.csv --nearest none.csv"),
        "a column that the output would replace": predict("sequence,prediction\nACD,1\n"),
        "an output of an unknown kind": predict(GOOD, command="predict model {} -o p.xlsx"),
        "an output over the input": predict(GOOD, command="predict model {} -o t.csv"),
        "an output folder that does not exist": predict(GOOD, command="predict model {} -o none/p.csv"),
        "a device that is not there": predict(GOOD, command="predict model {} -o p.csv --device tpu9"),
        "rows with different columns": predict('{"sequence": "AC"}\n{"sequence": "AD", "x": 1}\n', "t.jsonl"),
        "a table without rows": predict("sequence\n"),
        "vectors of residues in CSV": predict(GOOD, command="embed model {} -o p.csv --vectors residue"),
        "pairs for a model of single sequences": predict(GOOD, command="predict model {} -o p.csv --pair_column label"),
    },
    "Scans": {
        "two wild types": scan(wild_type=">a\nMK\n>b\nMK\n"),
        "another wild-type letter": scan("M1A\nA2C"),
        "a position outside": scan("M1A\nK12C"),
        "a position twice": scan("M1A:M1C"),
        "a deletion of everything": scan("M1_R10del"),
        "no mutation": scan("M1A\nfast"),
        "HGVS of nucleotides for a protein": scan("g.1A>C"),
        "a label that is no number": scan("M1A", flags="--label_column mutant"),
        "a position outside that is asked for": scan(flags="--positions 5-12"),
        "two kinds": scan(flags="--pairs --sites 1,2"),
        "variants of a genome, without it": ({"v.vcf": b""}, "scan model --vcf v.vcf -o out.csv"),
        "variants of a genome for a protein": (
            {"v.vcf": b"", "g.fa": b">1\nACGT\n"},
            "scan model --vcf v.vcf --genome g.fa -o out.csv",
        ),
    },
    "What to measure next": {
        "no wild type": ({"r.csv": GOOD.encode()}, "propose --data r.csv -o plate.csv"),
        "a file for the plate that cannot be one": ({"r.csv": GOOD.encode()}, "propose --data r.csv -o plate.fasta"),
        "two kinds of candidates": propose("--pool pool.csv --sites 1,2"),
        "a position that is fixed and must change": propose("--fixed 1-4 --letters 4=VL"),
        "letters that are forbidden and asked for": propose("--letters 4=C --forbid C"),
        "more forced mutations than allowed": propose("--letters 1=A 2=A --max_mutations 1"),
        "GC of a protein": propose("--min_gc 0.4"),
        "a motif of other letters": propose("--avoid N1S"),
        "a gene that is a protein": propose("--keep_translation"),
        "an odd letter among the measured": propose(rounds=GOOD.replace("K", "!", 1)),
        "too many combinations": propose("--sites 1,2,3,4,5,6"),
        "a wild type of another length": propose(rounds=MUTANTS),
        "too few measurements": propose(rounds=HEAD.replace(HEAD[HEAD.index("\n", 60) :], "\n")),
        "an unknown acquisition": propose("--acquisition best"),
        "a landscape that is too small": ({"l.csv": MUTANTS.encode()}, "simulate-campaign l.csv -o out"),
    },
    "Explanations": {
        "no sequences": predict(GOOD, command="explain model {} -o out --sequences 0"),
        "an output that the model has not": predict(GOOD, command="explain model {} -o out --label brightness"),
        "motifs that are none": (
            {"t.csv": GOOD.encode(), "m.meme": b"A 1\n"},
            "explain model t.csv -o out --motifs m.meme",
        ),
    },
    "Publishing": {
        "a folder that is not there": ({}, "publish none ann/model"),
        "a model without a record": ({}, "publish model ann/model"),
        "a name without a user": ({}, "publish model model"),
    },
}


def run(files, command):
    """Exit code, message and what was left behind, in a folder of its own; needs `model` in the working folder."""
    from lyra.cli import main

    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            shutil.copytree(home / "model", "model")
            for name, data in files.items():
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_bytes(data)
            before = sorted(Path().rglob("*"))
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                code = main(command.split())
            left = sorted(map(str, set(Path().rglob("*")) - set(before)))
        finally:
            os.chdir(home)
    return code, said.getvalue(), left


def make_model():
    """A small model with its tokenizer in the working folder."""
    from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer

    LyraForSequenceClassification(LyraConfig(hidden_size=8, state_size=4, num_labels=1)).save_pretrained("model")
    LyraTokenizer().save_pretrained("model")


def document():
    """The text of `docs/bad_inputs.md`."""
    parts = [
        "# Error messages for bad input",
        "",
        "Every command below exits with code 2, prints one line to standard error and leaves no file behind. Written",
        "by `python tests/helpers/bad_inputs.py`; the tests compare it with what the code says.",
    ]
    for heading, cases in CASES.items():
        parts += ["", f"## {heading}", "", "| what is wrong | message |", "|---|---|"]
        for title, (files, command) in cases.items():
            code, said, left = run(files, command)
            lines = said.splitlines()
            assert code == 2 and len(lines) == 1 and not left, (title, code, said, left)
            parts.append(f"| {title} | `{lines[0].replace('|', chr(92) + '|')}` |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_model()
        print(document(), end="")
