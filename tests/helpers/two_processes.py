"""Trains and evaluates on one process or on all of several, for `test_processes.py`.

Writes the losses, the validation scores and the weights; several processes also compare their weights.
"""

import gc
import json

import numpy as np
import torch
from accelerate import PartialState

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.tasks import Task
from lyra.training import LyraTrainer, LyraTrainingArguments


def rows(count, seed):
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(3, 23, rng.integers(4, 12)).astype(np.uint8) for _ in range(count)]
    return [{"input_ids": ids, "labels": float((ids == 3).sum() + rng.normal())} for ids in sequences]


def train(folder, processes, accumulation, remainder):
    torch.manual_seed(0)
    config = LyraConfig(hidden_size=8, state_size=4, hidden_dropout_prob=0.0, num_labels=1)
    args = LyraTrainingArguments(
        output_dir=folder,
        num_train_epochs=2,
        per_device_train_batch_size=8 // processes // accumulation,
        gradient_accumulation_steps=accumulation,
        per_device_eval_batch_size=4,
        metric_for_best_model="spearman",
        greater_is_better=True,
        learning_rate=0.01,
        logging_strategy="steps",
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = LyraTrainer(
        LyraForSequenceClassification(config),
        args,
        task=Task("regression", ("y",), ("y",)),
        train_dataset=rows(48, 0),
        eval_dataset=rows(8 + remainder, 1),
        processing_class=LyraTokenizer(),
    )
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    if processes > 1:
        others = [torch.empty_like(weights) for _ in range(processes)]
        torch.distributed.all_gather(others, weights)
        assert all(torch.equal(other, weights) for other in others), "the processes have different weights"
    return trainer.state.log_history, weights


def main(folder, accumulation, remainder):
    state = PartialState(cpu=True)
    history, weights = train(f"{folder}/run", state.num_processes, accumulation, remainder)
    if state.is_main_process:
        losses = [entry["loss"] for entry in history if "loss" in entry]
        scores = [entry["eval_rmse"] for entry in history if "eval_rmse" in entry]
        with open(f"{folder}/result.json", "w") as file:
            json.dump({"losses": losses, "scores": scores, "weights": weights.tolist()}, file)
    state.wait_for_everyone()
    gc.collect()  # as `lyra train` does
    state.destroy_process_group()
