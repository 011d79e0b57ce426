"""What to train on, and how to read it: the data flags of `lyra train`."""

from dataclasses import dataclass, field

from ..alphabet_lyra import get_alphabet
from ..errors import InputError, check_choices
from ..tasks import TASKS
from .schemes import SPLIT_SCHEMES, Scheme

_FOLDS = 5
_PARTNERS = ("folds", "group_column", "pair_column")  # flags that do not go with every split


@dataclass
class DataArguments:
    """What to train on, and how to read it."""

    data: str = field(
        metadata={
            "help": "Table (CSV, TSV, JSONL, Parquet, XLSX, FASTA, each also .gz), folder of split files or Hub id."
        }
    )
    data_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub data set."})
    labels: str | None = field(
        default=None, metadata={"help": "Second table with the labels, joined by its id column (for FASTA)."}
    )
    id_column: str = field(default="id", metadata={"help": "Column that joins --labels to the sequences."})
    sequence_id_column: str | None = field(
        default=None, metadata={"help": "That column in the table of sequences, where it has another name there."}
    )
    sequence_column: str | None = field(default=None, metadata={"help": "Column of sequences; detected by name."})
    label_columns: list[str] | None = field(
        default=None, metadata={"help": "Column of labels, or several for several outputs; detected by name."}
    )
    feature_columns: list[str] | None = field(
        default=None,
        metadata={
            "help": "Columns of numbers that the model reads beside each sequence, such as a temperature or the score "
            "of another model; predictions need them, too."
        },
    )
    split_column: str | None = field(
        default=None, metadata={"help": "Column of train/validation/test; detected by name."}
    )
    mask_column: str | None = field(
        default=None, metadata={"help": "Column with a 0 for each residue without a label; detected by name."}
    )
    scored_residues: str | None = field(
        default=None,
        metadata={
            "help": "Where labels cover only the first residues of a sequence: their number, or the column that has "
            "it; detected by name."
        },
    )
    missing_labels: str = field(
        default="error",
        metadata={"help": "Rows that lack a label: stop, or leave them out.", "choices": ("error", "skip")},
    )
    decimal: str = field(
        default=".", metadata={"help": "Decimal mark of the numbers in the table: a point, or a comma."}
    )
    alphabet: str | None = field(
        default=None,
        metadata={
            "help": "Name: protein, dna, rna, one of them with letters read as others (protein,J=-), dna+dna for "
            "pairs; or the letters of a custom alphabet. Inferred from the data by default."
        },
    )
    task: str | None = field(
        default=None, metadata={"help": "What to learn; inferred from the labels by default.", "choices": tuple(TASKS)}
    )
    pair_column: str | None = field(
        default=None,
        metadata={"help": "Column of sequences aligned to the first ones, such as a guide to its target."},
    )
    pair_offset: int = field(
        default=0, metadata={"help": "Position of the first sequence at which the aligned one begins."}
    )
    where: list[str] | None = field(
        default=None, metadata={"help": "Rows to keep, as column=value, !=, <, <=, > or >=; all of them must hold."}
    )
    label_threshold: float | None = field(
        default=None, metadata={"help": "Predict whether the label is above this number (binary classification)."}
    )
    unknown: str = field(
        default="error",
        metadata={"help": "Characters outside the alphabet: stop, or read as <unk>.", "choices": ("error", "token")},
    )
    validation_fraction: float = field(
        default=0.1, metadata={"help": "Fraction of rows for validation if the table has no such split."}
    )
    test_fraction: float = field(
        default=0.1, metadata={"help": "Fraction of rows for testing if the table has no such split."}
    )
    split: str | None = field(
        default=None,
        metadata={
            "help": "What the test split is: the rows of a column, random ones, whole clusters of similar sequences, "
            "mutated positions (every K-th, a stretch, or random ones), or rows with many mutations. By default a "
            "column of splits, or random rows.",
            "choices": tuple(SPLIT_SCHEMES),
        },
    )
    split_seed: int = field(default=0, metadata={"help": "Seed of the random split."})
    wild_type: str | None = field(
        default=None,
        metadata={"help": "Sequence from which mutations are counted; by default the most frequent letters."},
    )
    train_mutations: int | None = field(
        default=None,
        metadata={
            "help": "Of --split mutations: the most that a training row may have; by default by --test_fraction."
        },
    )
    identity: float = field(
        default=0.5, metadata={"help": "Of --split cluster: from which on two sequences are in one cluster."}
    )
    identity_by: str = field(
        default="edits",
        metadata={
            "help": "How --split cluster compares sequences: all pairs by their edit distance, or by MMseqs2.",
            "choices": ("edits", "mmseqs"),
        },
    )
    group_column: str | None = field(
        default=None, metadata={"help": "Column, such as gene; random splits keep rows with the same value together."}
    )
    folds: int | None = field(
        default=None, metadata={"help": "Number of cross-validation folds; --fold selects the test fold."}
    )
    fold: str | None = field(
        default=None,
        metadata={"help": "Fold to use as the test split: from 1 to --folds, or a value of --split_column."},
    )
    cross_validate: bool = field(
        default=False,
        metadata={
            "help": "Train a model for each of --folds (by default 5) or each value of --split_column, then one on all "
            "rows; scores are means over the folds."
        },
    )
    drop_leaked: bool = field(
        default=False, metadata={"help": "Drop training and validation rows whose sequence is also in a later split."}
    )

    cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder on a fast disk for encoded sequences and large tables while a run lasts. Default: "
            "--output_dir, for tables that of the system."
        },
    )

    def __post_init__(self):
        check_choices(self)
        for name in ("validation_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"--{name}: expected a number between 0 and 1, got {getattr(self, name)}")
        if self.validation_fraction + self.test_fraction >= 1:
            raise InputError("--validation_fraction and --test_fraction: expected a sum below 1")
        if self.decimal not in (".", ","):
            raise InputError(f"--decimal: expected . or , got {self.decimal!r}")
        self.fold = None if self.fold is None else str(self.fold)
        self.scored_residues = None if self.scored_residues is None else str(self.scored_residues)
        if self.sequence_id_column is not None and self.labels is None:
            raise InputError("--sequence_id_column: expected --labels with it")
        self._check_scheme()
        if self.cross_validate and self.fold is not None:
            raise InputError("--fold: not with --cross_validate, which tests on each fold in turn")
        if self.folds is None and self.fold is not None and self.split_column is None:
            raise InputError("--fold: expected --folds with it, or --split_column with a column of folds")
        if self.folds is not None and self.folds < 2:
            raise InputError(f"--folds: expected at least 2, got {self.folds}")
        if self.folds is not None and not (self.learns_all or 1 <= self.fold_number <= self.folds):
            raise InputError(f"--fold: expected a number from 1 to --folds {self.folds}, got {self.fold}")
        if self.pair_offset < 0:
            raise InputError(f"--pair_offset: expected at least 0, got {self.pair_offset}")
        if self.pair_offset and self.pair_column is None:
            raise InputError(
                f"--pair_offset {self.pair_offset}: only with --pair_column, the column of the second ones"
            )
        if self.alphabet is not None:
            try:
                get_alphabet(self.alphabet)
            except ValueError as error:
                raise InputError(f"--alphabet: {error}") from None

    def _check_scheme(self) -> None:
        """Checks what goes with `split`, and fills in the folds that it makes."""
        scheme = SPLIT_SCHEMES[self.split] if self.split else Scheme(("split_column",), _PARTNERS)
        for name in {name: None for each in SPLIT_SCHEMES.values() for name in each.flags}:
            given = getattr(self, name) != type(self).__dataclass_fields__[name].default
            if given and name not in scheme.flags:
                needed = " or ".join(f"--split {key}" for key, each in SPLIT_SCHEMES.items() if name in each.flags)
                raise InputError(f"--{name}: only with {needed}")
        for name in _PARTNERS:
            if getattr(self, name) is not None and name not in scheme.takes:
                raise InputError(f"--split {self.split}: not with --{name}")
        if not 0 < self.identity <= 1:
            raise InputError(f"--identity: expected a number above 0 and at most 1, got {self.identity}")
        if self.cross_validate and self.split_column is None:
            if "folds" not in scheme.takes:
                raise InputError(f"--cross_validate: --split {self.split} makes no folds; --split_column names some")
            self.folds = self.folds or _FOLDS
        if scheme.folds is not None:
            self.folds = self.folds or scheme.folds
            self.fold = self.fold or (None if self.cross_validate else "1")

    @property
    def learns_all(self) -> bool:
        """Whether no fold is left out for testing, as in the last model of a cross-validation."""
        return self.cross_validate and self.fold is None

    @property
    def fold_number(self) -> int:
        """`fold` of `folds`; 0 if it is no whole number."""
        return int(self.fold) if self.fold and self.fold.isdecimal() else 0
