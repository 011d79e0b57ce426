"""Trains Lyra on a table with the Hugging Face Trainer.

    python examples/finetune.py table.csv my_model

The table has the columns `sequence` and `label`, one number each. `lyra train` does the same, and checks, splits,
selects, scores and documents besides.
"""

import sys

import numpy as np
from datasets import load_dataset
from scipy.stats import spearmanr
from transformers import Trainer, TrainingArguments

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.data import LyraCollator

table, output = sys.argv[1:]
rows = load_dataset("csv", data_files=table, split="train").train_test_split(0.2, seed=0)
mean, std = float(np.mean(rows["train"]["label"])), float(np.std(rows["train"]["label"]))

tokenizer = LyraTokenizer("protein")
encoded = rows.map(lambda row: {"input_ids": tokenizer(row["sequence"])["input_ids"], "labels": row["label"]})
config = LyraConfig(alphabet="protein", num_labels=1, label_mean=mean, label_std=std)  # logits are in label units
trainer = Trainer(
    LyraForSequenceClassification(config),
    TrainingArguments(
        output, num_train_epochs=20, per_device_train_batch_size=32, learning_rate=3e-3, report_to="none"
    ),
    train_dataset=encoded["train"],
    eval_dataset=encoded["test"],
    data_collator=LyraCollator(tokenizer, per_token=False),
    processing_class=tokenizer,
    compute_metrics=lambda p: {"spearman": float(spearmanr(p.predictions.squeeze(-1), p.label_ids).statistic)},
)
trainer.train()
print(trainer.evaluate())
trainer.save_model()
