"""A table to train on."""

import csv

import numpy as np
import pytest


@pytest.fixture
def table(tmp_path):
    """A factory of tables of random peptides; a label is a function of the sequence."""

    def build(label, rows=60, name="t.csv", header="label", length=(5, 15)):
        rng = np.random.default_rng(0)
        path = tmp_path / name
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "sequence", *header.split(",")])
            for i in range(rows):
                sequence = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), rng.integers(*length)))
                values = label(sequence)
                writer.writerow([f"s{i}", sequence, *(values if isinstance(values, tuple) else (values,))])
        return path

    return build
