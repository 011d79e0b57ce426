"""Random files, texts and configs: no exception but the one for users.

`scripts/tools/fuzz.py` tries a million, guided by coverage; here are a few thousand, always the same.
"""

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lyra.data.tables import TableWriter, read_rows

few = settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return fuzz.Targets(tmp_path_factory.mktemp("fuzz"))


def mutated(name):
    """Bytes of any kind, and valid files with a part replaced by them."""

    def replace(valid, start, stop, inserted):
        low, high = sorted((start % (len(valid) + 1), stop % (len(valid) + 1)))
        return valid[:low] + inserted + valid[high:]

    number = st.integers(0, 1000)
    return st.binary(max_size=200) | st.builds(
        replace, st.sampled_from(fuzz.seeds_of(name)), number, number, st.binary(max_size=6)
    )


@pytest.mark.parametrize("suffix", fuzz.FORMATS)
def test_readers(targets, suffix):
    @few
    @given(mutated(f"table:{suffix}"))
    def check(case):
        targets.table(case, suffix)

    check()


@few
@given(case=st.text(max_size=60).map(str.encode) | st.binary(max_size=60))
def test_texts(targets, case):
    targets.text(case)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config", "flags"])
def test_configs_and_flags(targets, name):
    @few
    @given(mutated(name))
    def check(case):
        targets.run(name, case)

    check()


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=12)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "csv.gz", "parquet"])
def test_what_is_written_is_read(tmp_path, suffix):
    """Any text in any cell; a formula has an apostrophe before it in CSV and TSV, as a spreadsheet wants it."""

    @few
    @given(st.lists(st.tuples(cells, cells), min_size=1, max_size=4))
    def check(rows):
        path = tmp_path / f"t.{suffix}"
        with TableWriter(path) as writer:
            writer.write([{"a": first, "b": second} for first, second in rows])
        for (first, second), (_, row) in zip(rows, read_rows(path), strict=True):
            for text, read in ((first, row["a"]), (second, row["b"])):
                assert read == text or ("sv" in suffix and read == f"'{text}" and text[0] in "=+-@\t")

    check()
