"""How long a run lasts where nobody says it."""

import pytest

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.tasks import Task
from lyra.training import LyraTrainer, LyraTrainingArguments


def test_epochs_that_nobody_chose_are_asked_for(tmp_path):
    model = LyraForSequenceClassification(LyraConfig(hidden_size=8, state_size=4, num_labels=1))
    task = Task("regression", ("label",), ("label",))
    data = {"eval_dataset": [], "processing_class": LyraTokenizer(), "task": task}
    args = LyraTrainingArguments(output_dir=str(tmp_path), use_cpu=True, metric_for_best_model="spearman")
    with pytest.raises(ValueError, match="`num_train_epochs` must be given"):
        LyraTrainer(model, args, **data)
    args = LyraTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, metric_for_best_model="spearman", num_train_epochs=2
    )
    assert LyraTrainer(model, args, **data).args.num_train_epochs == 2
