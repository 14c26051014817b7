"""Says in what system it runs, and writes to the job's share from inside the container."""
import os
import pathlib
import sys

release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
out = pathlib.Path(os.environ["AZ_BATCHAI_OUTPUT_RESULT"]) / "system.txt"
out.write_text(release["PRETTY_NAME"] + "\n")
print(f"Python {sys.version.split()[0]} in {release['PRETTY_NAME']}")
