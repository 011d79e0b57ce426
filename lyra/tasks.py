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


_SEQUENCE = {"per_token": False, "head": "LyraForSequenceClassification", "pipeline_tag": "text-classification"}
_TOKEN = {"per_token": True, "head": "LyraForTokenClassification", "pipeline_tag": "token-classification"}
_REGRESSION = {"kind": "regression", "problem_type": "regression", "selected_by": "spearman"}
_CLASSES = {"kind": "classification", "problem_type": "single_label_classification", "selected_by": "mcc"}
_MULTILABEL = {"kind": "multilabel", "problem_type": "multi_label_classification", "selected_by": "auroc"}

TASKS = {
    "regression": TaskSpec(**_REGRESSION, **_SEQUENCE, wording="predicts a value of each sequence"),
    "classification": TaskSpec(**_CLASSES, **_SEQUENCE, wording="predicts the class of each sequence"),
    "multilabel": TaskSpec(**_MULTILABEL, **_SEQUENCE, wording="predicts which labels each sequence has"),
    "token_regression": TaskSpec(**_REGRESSION, **_TOKEN, wording="predicts a value of each residue"),
    "token_classification": TaskSpec(**_CLASSES, **_TOKEN, wording="predicts the class of each residue"),
    "token_multilabel": TaskSpec(**_MULTILABEL, **_TOKEN, wording="predicts which labels each residue has"),
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
