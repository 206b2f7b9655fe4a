"""Prints a table of the packages that hrnet_tf installs, with the licences that they name themselves.

    python tools/list_licences.py

Packages are followed from one to the next by what they need on this platform and without extras.
"""

import re
from importlib import metadata

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import Requirement

LONGEST = 60  # some have the whole text of a licence in place of its name


def main():
    rows = {}
    waiting = ["hrnet_tf"]
    while waiting:
        package = metadata.distribution(waiting.pop())
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        if name not in rows:
            rows[name] = f"| {name} | {package.version} | {licence(package.metadata)} |"
            waiting += needed(package)
    del rows["hrnet-tf"]
    print("\n".join(["| package | version | licence |", "| --- | --- | --- |", *(rows[name] for name in sorted(rows))]))


def needed(package):
    """Names of the packages that a package needs."""
    for text in package.requires or ():
        requirement = Requirement(text)
        try:
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield requirement.name
        except UndefinedEnvironmentName:
            continue


def licence(fields):
    """What the metadata of a package say."""
    of_classifiers = [
        entry.rpartition(" :: ")[2] for entry in fields.get_all("Classifier", ()) if "License ::" in entry
    ]
    text = fields["License-Expression"] or ", ".join(of_classifiers) or (fields["License"] or "").partition("\n")[0]
    return text[:LONGEST] or "not said"


if __name__ == "__main__":
    main()
