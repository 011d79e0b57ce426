"""Compares the pinned dependencies with the advisories of PyPI, by pip-audit; exit code 1 if one is known to be
vulnerable.

    python scripts/tools/audit.py

Where the advisories cannot be reached it says so and ends with 0, since a test must not depend on the network.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[2] / "constraints.txt"


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(PINS), "--no-deps", "--disable-pip"]
    result = subprocess.run([*command, "--format", "json", "--timeout", "20"], capture_output=True, text=True)
    if not result.stdout.startswith("{"):
        print(f"dependency audit: not done, {result.stderr.strip().splitlines()[-1]}")
        return 0
    packages = json.loads(result.stdout)["dependencies"]
    audited = [package for package in packages if "vulns" in package]
    for package in audited:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    if not audited:
        print(f"dependency audit: not done, the advisories on {len(packages)} packages cannot be reached from here")
    else:
        print(f"dependency audit: {len(audited)} of {len(packages)} packages compared with PyPI's advisories")
    return int(any(package["vulns"] for package in audited))


if __name__ == "__main__":
    sys.exit(main())
