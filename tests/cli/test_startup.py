"""Help, version, errors before work begins, and `import lyra` load nothing heavy, so that they come at once."""

import os
import subprocess
import sys

import pytest
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

import lyra
from lyra import LyraConfig
from lyra.cli import VERBS, build_parser, main
from lyra.cli.sources import config_fields, training_choices, training_fields
from lyra.training import LyraTrainingArguments

HEAVY = ("torch", "transformers", "datasets", "sklearn", "scipy", "matplotlib", "accelerate", "evaluate")
PROGRAM = f"""
import contextlib, io, sys
from lyra.cli import main
said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    try:
        code = main(sys.argv[1:])
    except SystemExit as stop:
        code = stop.code
print(code, *(name for name in {HEAVY} if name in sys.modules))
print(said.getvalue())
"""


def python(program, *arguments, **environment):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "predict"),
        (["--version"], 0, lyra.__version__),
        (["train", "--help"], 0, "--gradient_accumulation_steps"),
        ([], 2, "expected a command among train"),
        (["tain"], 2, "got 'tain'"),
        (["train", "t.csv"], 2, "--output_dir DIR is missing"),
        (["train", "t.csv", "--output_dir", "o", "--epochs", "3"], 2, "unknown argument '--epochs'"),
        (["train", "t.csv", "--output_dir", "o", "--lr_scheduler_typ", "x"], 2, "did you mean --lr_scheduler_type?"),
        (["train", "t.csv", "--output_dir", "o", "--seed", "many"], 2, "invalid int value: 'many'"),
        (["train", "t.csv", "--output_dir", "o", "--learning_rate", "-1"], 2, "--learning_rate: expected a number"),
        (["train", "t.csv", "--output_dir", "o", "--bf16", "maybe"], 2, "expected true or false, got 'maybe'"),
        (["train", "none.csv", "--output_dir", "o"], 2, "none.csv: no such file"),
        (["train", "t.csv", "--output_dir", "t.csv"], 2, "--output_dir is a file"),
        (["train", "t.csv", "--output_dir", "o"], 2, "row 3 (line 4), column 'label': expected a number, got 'x'"),
        (["predict", "none", "t.csv", "-o", "p.csv"], 2, "none: no such folder"),
        (["predict", "none", "none.csv", "-o", "p.csv"], 2, "none.csv: no such file"),
        (["predict", "none", "t.csv", "-o", "p.txt"], 2, "p.txt: expected a name ending in"),
        (["embed", "none", "t.csv", "-o", "none/p.npz"], 2, "there is no folder none"),
        (["embed", "none", "t.csv", "-o", "p.txt"], 2, "expected a file ending in .npz, .parquet or .csv"),
        (["embed", "none", "t.csv", "-o", "p.csv", "--vectors", "residue"], 2, "need .npz or .parquet"),
        (["publish", "none", "ann/x"], 2, "none: no such folder"),
        (["train", "t.csv", "--output_dir", "o", "--preset", "depe"], 2, "invalid choice: 'depe'"),
        (["train", "t.csv", "--output_dir", "o", "--lr_scheduler_type", "cosin"], 2, "cosine_with_restarts"),
        (["train", "t.csv", "--output_dir", "o", "--config_overrides", "hiden_size=8"], 2, "got 'hiden_size=8'"),
        (["train", "good.csv", "--output_dir", "o", "--metric_for_best_model", "mcc"], 2, "spearman, pearson"),
        (["train", "t.csv", "--output_dir", "o", "--ensemble", "5000000000"], 2, "--seed: expected a number from 0"),
    ],
)
def test_nothing_heavy_is_loaded(tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("sequence,label\nMKT,1.5\nMKA,2.5\nMKC,x\n" + "MKD,1\n" * 9)
    (tmp_path / "good.csv").write_text(
        "sequence,label\n" + "".join(f"MK{a},{i}.5\n" for i, a in enumerate("ACDEFGHIKLMN"))
    )
    status, printed = python(PROGRAM, *arguments).split("\n", 1)
    assert status == str(code) and said in " ".join(printed.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.csv", "t.csv"]


def test_a_config_file_does_not_name_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("data: run.yaml\noutput_dir: o\n")
    assert main(["train", "run.yaml"]) == 2
    assert "run.yaml: expected a table as `data`, got 'run.yaml'" in capsys.readouterr().err
    (tmp_path / "run.yaml").write_text("foo: 1\n")
    assert main(["train", "--data", "run.yaml"]) == 2
    assert "run.yaml: unknown flag 'foo'" in capsys.readouterr().err


def test_names_are_listed_and_modules_found():
    assert "LyraModel" in dir(lyra) and lyra.modeling_lyra.LyraModel is lyra.LyraModel


def test_importing_the_package_loads_nothing_heavy():
    program = f"import sys, lyra; print(*(name for name in {HEAVY} if name in sys.modules))"
    assert python(program).strip() == ""


def test_preparing_a_table_needs_no_torch(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("sequence,label\n" + "".join(f"MK{a},{i}.5\n" for i, a in enumerate("ACDEFGHIKLMN")))
    program = "import sys; from lyra.data import DataArguments, prepare; data = prepare(DataArguments(sys.argv[1]))"
    program += "; print(*data.dataset['train'][0], 'torch' in sys.modules)"
    assert python(program, file).split() == ["input_ids", "labels", "length", "False"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import lyra; from transformers import AutoConfig, AutoModel, AutoTokenizer",
        "from transformers import AutoConfig, AutoModel, AutoTokenizer; import lyra",
        "from lyra import LyraModel; from transformers import AutoConfig, AutoModel, AutoTokenizer",
        "from lyra import LyraTokenizer; import transformers; from transformers import *",
    ],
)
def test_the_auto_classes_know_lyra_in_any_order(imports, tmp_path):
    lyra.LyraTokenizer("dna").save_pretrained(tmp_path)
    lyra.LyraModel(lyra.LyraConfig(hidden_size=8, state_size=4, alphabet="dna")).save_pretrained(tmp_path)
    program = f"""
import sys
{imports}
from transformers import AutoConfig, AutoModel, AutoTokenizer
model, tokenizer = AutoModel.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
print(type(model).__module__, type(tokenizer).__module__, type(AutoConfig.for_model("lyra")).__module__)
"""
    assert python(program, tmp_path).split() == [
        *("lyra.modeling_lyra", "lyra.tokenization_lyra", "lyra.configuration_lyra")
    ]


def test_every_field_of_the_trainers_arguments_is_a_flag():
    fields = LyraTrainingArguments.__dataclass_fields__
    assert set(training_fields()) <= set(fields)
    help_text = build_parser("train").parse_args(["train", "t.csv"]).parser.format_help()
    for name, field in fields.items():
        assert not field.init or f"--{name}" in help_text, name


def test_what_is_read_from_sources_is_what_an_import_says():
    choices = training_choices()
    assert choices["lr_scheduler_type"] == [each.value for each in SchedulerType]
    assert choices["optim"] == [each.value for each in OptimizerNames]
    assert {*choices} >= {"eval_strategy", "save_strategy", "logging_strategy", "hub_strategy"}
    assert config_fields() == {*LyraConfig.__annotations__, *LyraConfig.attribute_map}


def test_waiting_threads_spin_less_where_nothing_is_set():
    program = "import os; from lyra.cli import main; main(['tain']); print(os.environ.get('GOMP_SPINCOUNT'))"
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    for given, expected in (({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, env=environment | given)
        assert done.stdout.strip() == expected


def test_debug_shows_the_traceback(tmp_path, capsys):
    command = ["train", str(tmp_path / "none.csv"), "--output_dir", str(tmp_path / "o")]
    assert main(command) == 2
    assert "Traceback" not in capsys.readouterr().err
    for debugging in ([*command, "--debug"], ["--debug", *command]):
        assert main(debugging) == 2
        error = capsys.readouterr().err
        assert "Traceback" in error and error.splitlines()[-1].startswith("lyra train: error: ")


def test_every_verb_shows_an_example(capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert f"example: lyra {verb} " in " ".join(capsys.readouterr().out.split())
