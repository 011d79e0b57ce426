"""Visitors of the web page who all predict at the same time, for a minute: failures, latency, memory of the server.

python scripts/benchmarks/app_load.py model_cards/flip_gb1_two_vs_rest
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np

from lyra.app.workspace import new_token
from lyra.hub.card import example_sequences
from lyra.inference.loading import load_model

_PORT = 7898


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="checkpoint folder")
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    model, tokenizer = load_model(str(arguments.model))
    text = "\n".join(example_sequences(tokenizer.alphabet, tokenizer.pair_offset, model.config.linear_length))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(arguments.model, Path(folder) / "model")
        command = [sys.executable, "-m", "lyra", "app", "--models", folder, "--port", str(_PORT)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            match = re.search(r"http://\S+", server.stdout.readline())
            assert match is not None
            load(match[0], server.pid, text, arguments.visitors, arguments.seconds)
        finally:
            server.terminate()
            server.wait()
    return 0


def load(url: str, pid: int, text: str, visitors: int, seconds: float) -> None:
    """Lets visitors predict one after the other until the time is over, and prints what they saw."""
    config = json.loads(_get(f"{url}/config"))
    function = next(each["id"] for each in config["dependencies"] if each["api_name"] == "predict")
    _predict(url, function, text, "first")
    before, latencies, failures = _memory(pid), [], []
    end = time.monotonic() + seconds

    def visit(number: int) -> None:
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                _predict(url, function, text, f"visitor{number}")
                latencies.append(time.monotonic() - began)
            except Exception as error:  # whatever a visitor sees is a failure
                failures.append(repr(error))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(visitors)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    half = _memory(pid)
    for thread in threads:
        thread.join()
    middle, late = np.quantile(latencies, [0.5, 0.95])
    print(f"{visitors} visitors, {seconds:g} seconds: {len(latencies)} predictions, {len(failures)} failures")
    print(f"latency: median {middle:.2f} s, 95 % below {late:.2f} s")
    print(f"memory of the server: {before:.0f} MB before, {half:.0f} half-way, {_memory(pid):.0f} MB at the end")
    print(*failures[:3], sep="\n")


def _predict(url: str, function: int, text: str, session: str) -> None:
    """What a browser does when the button is pressed."""
    body = {"data": [new_token(), "model", text, None, "none"], "fn_index": function, "session_hash": session}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/gradio_api/queue/join", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=60).read()
    with urllib.request.urlopen(f"{url}/gradio_api/queue/data?session_hash={session}", timeout=60) as events:
        for line in events:
            event = json.loads(line.decode().removeprefix("data: ")) if line.strip() else {}
            if event.get("msg") == "process_completed":
                problem, rows, _ = event["output"]["data"]
                if not event["success"] or problem or not rows["value"]["data"]:
                    raise RuntimeError(str(event)[:300])
                return
    raise RuntimeError("no answer")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def _memory(pid: int) -> float:
    """Resident, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", status)
    assert match is not None
    return int(match[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
