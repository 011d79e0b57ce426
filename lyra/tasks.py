"""The kinds of tasks and what depends on them.

A new one is one more entry of `TASKS`; its loss is in `losses_lyra`, the parser of its labels in `data.labels`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskSpec:
    """One kind of task.

    Attributes:
        kind: `"regression"`, `"classification"` or `"multilabel"`: of what kind each label is.
        per_token: whether there is a label for each residue.
        head: name of the model's class.
        pipeline_tag: of transformers, for the model card.
        problem_type: of [`LyraConfig`]; chooses the loss.
        selected_by: the metric on validation rows that selects the epoch.
        wording: what the model does, for the model card.
    """

    kind: str
    per_token: bool
    head: str
    pipeline_tag: str
    problem_type: str
    selected_by: str
    wording: str


_REGRESSION = ("regression", "regression", "spearman")
_CLASSES = ("classification", "single_label_classification", "mcc")
_MULTILABEL = ("multilabel", "multi_label_classification", "auroc")


def _of_sequences(kind: tuple[str, str, str], wording: str) -> TaskSpec:
    name, problem_type, selected_by = kind
    head, tag = "LyraForSequenceClassification", "text-classification"
    return TaskSpec(name, False, head, tag, problem_type, selected_by, wording)


def _of_residues(kind: tuple[str, str, str], wording: str) -> TaskSpec:
    name, problem_type, selected_by = kind
    head, tag = "LyraForTokenClassification", "token-classification"
    return TaskSpec(name, True, head, tag, problem_type, selected_by, wording)


TASKS = {
    "regression": _of_sequences(_REGRESSION, "predicts a value for each sequence"),
    "classification": _of_sequences(_CLASSES, "predicts the class of each sequence"),
    "multilabel": _of_sequences(_MULTILABEL, "predicts which labels each sequence has"),
    "token_regression": _of_residues(_REGRESSION, "predicts a value for each residue"),
    "token_classification": _of_residues(_CLASSES, "predicts the class of each residue"),
    "token_multilabel": _of_residues(_MULTILABEL, "predicts which labels each residue has"),
}


@dataclass(frozen=True)
class Task:
    """What a model of one table predicts.

    Attributes:
        name: a key of `TASKS`.
        label_columns: the columns of the labels.
        names: the classes, or the outputs of a regression or multi-label task.
    """

    name: str
    label_columns: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def spec(self) -> TaskSpec:
        return TASKS[self.name]

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def per_token(self) -> bool:
        return self.spec.per_token

    @property
    def num_outputs(self) -> int:
        """Label values per sequence or residue."""
        return 1 if self.kind == "classification" else len(self.names)
