"""One optimizer step on a global batch of eight rows with the plain HF Trainer, for the tests of the loss contract.

Of several processes each gets its share of the rows.
"""

import gc

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from lyra import LyraConfig, LyraForSequenceClassification, LyraForTokenClassification, LyraTokenizer
from lyra.data import LyraCollator

LENGTHS = [3, 9, 4, 8, 5, 5, 2, 7]  # so that the parts of the batch have different numbers of labels
PROBLEMS = {
    "regression": "regression",
    "token_regression": "regression",
    "classes": "single_label_classification",
    "tokens": "single_label_classification",
    "multi_label": "multi_label_classification",
}


def rows(kind):
    rng = np.random.default_rng(0)
    labels = {
        "regression": lambda n: rng.normal(),
        "token_regression": lambda n: np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
        "classes": lambda n: rng.integers(0, 3),
        "tokens": lambda n: rng.integers(0, 3, n),
        "multi_label": lambda n: rng.integers(0, 2, 3).astype(float),
    }[kind]
    return [{"input_ids": rng.integers(3, 23, n).astype(np.uint8), "labels": labels(n)} for n in LENGTHS]


def step(kind, accumulation, folder, processes=1):
    """The logged loss, and the gradient as plain SGD with learning rate 1 applied it (None on other ranks)."""
    torch.manual_seed(0)
    problem = PROBLEMS[kind]
    config = LyraConfig(
        hidden_size=8,
        state_size=4,
        hidden_dropout_prob=0.0,
        problem_type=problem,
        num_labels=1 if problem == "regression" else 3,
    )
    per_token = kind.startswith("token")
    model = (LyraForTokenClassification if per_token else LyraForSequenceClassification)(config)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    args = TrainingArguments(
        output_dir=folder,
        max_steps=1,
        optim="sgd",
        learning_rate=1.0,
        lr_scheduler_type="constant",
        max_grad_norm=0,
        per_device_train_batch_size=len(LENGTHS) // accumulation // processes,
        gradient_accumulation_steps=accumulation,
        train_sampling_strategy="sequential",
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model, args, train_dataset=rows(kind), data_collator=LyraCollator(LyraTokenizer(), per_token))
    trainer.train()
    if not trainer.is_world_process_zero():
        return None
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    return trainer.state.log_history[0]["loss"], (before - after).numpy()


def on_two_processes(kind, accumulation, folder):
    result = step(kind, accumulation, folder, processes=2)
    if result is not None:
        np.savez(f"{folder}/result.npz", loss=result[0], gradient=result[1])
    torch.distributed.barrier()
    gc.collect()  # threads of the Trainer's model must not outlive the group
    torch.distributed.destroy_process_group()  # a rank that just ends can abort the other one
