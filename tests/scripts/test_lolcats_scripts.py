"""The scripts behind docs/lolcats.md run, and the page shows what they recorded."""

import json
from pathlib import Path

import lolcats_quality
import lolcats_speed
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lolcats.md").read_text(encoding="utf-8")
RECORDS = ROOT / "docs" / "lolcats"


def test_speed_is_measured_on_both_sides():
    record = lolcats_speed.measure([64, 200])
    assert len(record["rows"]) == 4 and all(row["linear"] > 0 and row["softmax"] > 0 for row in record["rows"])
    assert record["cache_bytes"]["200"]["linear"] == record["cache_bytes"]["64"]["linear"]
    assert lolcats_speed.table(record).count("\n") == 5
    assert lolcats_speed.conclusion(record).startswith("decoder: linear is faster from")


@pytest.mark.slow
def test_every_part_of_the_method_is_left_out_in_turn():
    task = lolcats_quality.copying()._replace(steps=2, transfer_steps=2, lora_seconds=0.5)
    record = lolcats_quality.compare(task)
    assert set(record["losses"]) == {
        *("teacher", "linear, untrained", "transfer", "transfer + LoRA"),
        *("LoRA without transfer", "window", "window + LoRA"),
    }
    assert record["relative_errors"]["transfer"] != record["relative_errors"]["untrained"]
    assert lolcats_quality.table(record).count("\n") == 9


@pytest.mark.parametrize(
    "script, name", [(lolcats_speed, "speed"), (lolcats_quality, "copy"), (lolcats_quality, "protein")]
)
def test_the_page_shows_the_records(script, name):
    assert script.table(json.loads((RECORDS / f"{name}.json").read_text())) in PAGE
