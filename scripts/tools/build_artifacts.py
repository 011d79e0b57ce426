"""Builds a complete Hub repository of each released model: what is in `model_cards/`, with code and licence.

python scripts/tools/build_artifacts.py [--output_dir dist/hub]
"""

import argparse
import shutil
from pathlib import Path

from lyra.hub import build_artifact

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=ROOT / "dist" / "hub")
    output = parser.parse_args().output_dir
    for folder in sorted((ROOT / "model_cards").iterdir()):
        target = output / folder.name
        shutil.rmtree(target, ignore_errors=True)
        files = build_artifact(folder, target, name=folder.name)
        print(f"{target}: {len(files)} files")


if __name__ == "__main__":
    main()
