"""Named settings for `lyra train --recipe`, as its flags."""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    # AdamW at a constant rate of 1e-3, weight decay 0.01: the defaults.
    "paper": {},
    # Chosen on the validation splits of the tables in docs/results.md.
    "bidirectional": {
        "learning_rate": 2e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "label_transform": "rank",
        "config_overrides": ["bidirectional=true", "num_hidden_layers=2", "pooling=mean_last"],
    },
}
