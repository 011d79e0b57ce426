"""Named settings for `lyra train --recipe`, as its flags."""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    # The defaults, chosen on validation splits (docs/results.md): a linear term, two bidirectional layers, a cosine,
    # three members if that is cheap.
    "hybrid": {},
    # The same network by itself.
    "bidirectional": {"linear_term": "none", "label_transform": "rank"},
    # AdamW at a constant rate of 1e-3, weight decay 0.01, one layer that reads forwards.
    "paper": {
        "preset": "paper",
        "linear_term": "none",
        "label_transform": "standardize",
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "num_train_epochs": 100.0,
    },
}
