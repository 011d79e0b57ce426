"""Pictures of the web page for the documentation: `make screenshots`.

Starts the page, trains on its demo landscape, goes through all tabs in a headless browser (Debian's chromium and
chromium-driver), and writes `docs/images/app_<tab>.png`.
"""

import csv
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
sys.path.append(str(ROOT / "tests" / "helpers"))

from browser import User  # noqa: E402

_PORT = 7899
_EPOCHS = "3"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lyra", "app", "--models", folder, "--port", str(_PORT)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            match = re.search(r"http://\S+", server.stdout.readline())
            assert match is not None
            with User(match[0], width=1200, height=1000) as user:
                take_all(user, Path(folder))
        finally:
            server.terminate()
            server.wait()
    return 0


def take_all(user: User, folder: Path) -> None:
    """All tabs, with results in them."""
    user.click("train-demo")
    user.wait_until("train-found", "rows:")
    user.type("train-num_train_epochs", _EPOCHS)
    user.type("train-name", "demo")
    user.click("train-start")
    user.wait_until("train-state", "is done", seconds=600)
    take(user, "train")
    (table,) = folder.glob("visitors/*/demo/inputs/demo.csv")
    rows = list(csv.DictReader(table.open(newline="")))
    user.tab("Predict")
    user.choose("predict-model", "demo")
    user.type("predict-sequences", "\n".join(row["sequence"] for row in rows[:5]))
    user.click("predict-start")
    user.wait_until("predict-rows", "prediction")
    take(user, "predict")
    user.tab("Scan")
    user.choose("scan-model", "demo")
    user.type("scan-wild_type", rows[0]["sequence"])
    user.click("scan-start")
    user.wait_until("scan-state", "is done")
    take(user, "scan")
    user.tab("Explain")
    user.choose("explain-model", "demo")
    user.upload("explain-data", table)
    user.click("explain-start")
    user.wait_until("explain-state", "is done", seconds=300)
    take(user, "explain")
    few = table.with_name("round1.csv")
    few.write_text("".join(table.open().readlines()[:97]))
    user.tab("Propose")
    user.upload("propose-data", few)
    user.type("propose-wild_type", rows[0]["sequence"])
    user.type("propose-count", "24")
    user.type("propose-max_mutations", "2")
    user.click("propose-start")
    user.wait_until("propose-state", "is done", seconds=600)
    take(user, "propose")
    user.tab("Share")
    user.choose("share-model", "demo")
    take(user, "share")


def take(user: User, name: str) -> None:
    time.sleep(4)  # until pictures and plots are drawn
    user.driver.execute_script("window.scrollTo(0, 0)")
    file = IMAGES / f"app_{name}.png"
    user.driver.save_screenshot(str(file))
    print(f"written: {file.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
