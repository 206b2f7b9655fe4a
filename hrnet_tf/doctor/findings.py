"""What the checks find, and reports of it as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hrnet_tf.errors import shown

if TYPE_CHECKING:
    from hrnet_tf.doctor.table import Table

SEVERITIES = ("error", "warning", "info")
# Exit codes of the tool by the worst severity; 1 is that of every tool for what could not be run.
EXIT_CODES = {"error": 3, "warning": 2, "info": 0}
# Findings that concern this share of the set are errors rather than warnings.
MAJORITY = 0.5
NUM_EXAMPLES = 5


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of trouble.

    Attributes:
        code: its name, for programs.
        severity: "error" (training or evaluation refuses the set, or AP will be near 0 or -1), "warning"
            (worth a look: results will be worse than they could be, or something is unusual) or "info".
        message: what was found, and what it leads to.
        advice: what to do.
        count: images, annotations, categories or keypoints concerned.
        total: how many there are of them.
        examples: dicts with `annotation` (id), `image` (file name) or `note`.
        rows: indices into the table's people, for pictures.
    """

    code: str
    severity: str
    message: str
    advice: str
    count: int
    total: int
    examples: tuple[Mapping[str, int | str], ...] = ()
    rows: tuple[int, ...] = ()

    @property
    def share(self) -> float:
        return self.count / self.total if self.total else 0.0


@dataclasses.dataclass(frozen=True)
class Report:
    """The findings, worst first, and numbers that describe the set.

    Attributes:
        path: the annotation file.
        counts: numbers by name, such as `people`.
        sides: for each flip pair, statistics of how its left and right lie (see `sides.pair_statistics`).
        findings: list of `Finding`.
        table: the `Table` that was checked.
        omissions: what is left out, read in another way or assumed, as the other commands say it.
        paths: M paths of the images, or their places in shards; none where they were not looked for.
    """

    path: str
    counts: dict[str, int]
    sides: list[dict[str, Any]]
    findings: list[Finding]
    table: Table
    omissions: list[str] = dataclasses.field(default_factory=list)
    paths: list[str] = dataclasses.field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return max((EXIT_CODES[finding.severity] for finding in self.findings), default=0)

    def as_json(self) -> dict[str, Any]:
        """A dict that `json.dump` takes, whatever the annotation file held."""
        findings = []
        for finding in self.findings:
            entry = {field.name: getattr(finding, field.name) for field in dataclasses.fields(finding)}
            del entry["rows"]
            findings.append(entry | {"share": finding.share, "examples": list(finding.examples)})
        return {
            "annotation_file": as_text(self.path),
            "counts": self.counts,
            "exit_code": self.exit_code,
            "findings": findings,
            "omissions": [as_text(sentence, 1000) for sentence in self.omissions],
            "sides": self.sides,
        }

    def as_text(self) -> str:
        """Several lines for a terminal."""
        lines = [as_text(self.path), ", ".join(f"{count} {name}" for name, count in self.counts.items()), ""]
        if self.omissions:
            lines[2:] = [*(as_text(sentence, 1000) for sentence in self.omissions), ""]
        if self.findings:
            lines.append(f"{'severity':9} {'count':>8} {'share':>7}  finding")
        for finding in self.findings:
            share = _percent(finding.share)
            lines.append(f"{finding.severity:9} {finding.count:8} {share:>7}  {finding.code}: {finding.message}")
            if finding.examples:
                lines.append(f"{'':28}for example {'; '.join(map(_example_text, finding.examples))}")
            lines.append(f"{'':28}-> {finding.advice}")
        if self.sides:
            lines += ["", f"{'left and right':44} {'both':>8} {'left further right':>19} {'against the body':>17}"]
        for pair in self.sides:
            name = f"{pair['left']} / {pair['right']}"
            shares = [_percent(pair[key]) for key in ("left_further_right", "against_body")]
            lines.append(f"{name:44} {pair['both_labelled']:8} {shares[0]:>19} {shares[1]:>17}")
        numbers = [sum(finding.severity == severity for finding in self.findings) for severity in SEVERITIES]
        lines += ["", "{} errors, {} warnings, {} notes".format(*numbers)]
        return "\n".join(lines)


def by_share(share: float, severity: str = "warning") -> str:
    """The severity of a finding that is an error where it concerns at least half of the set."""
    return "error" if share >= MAJORITY else severity


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), -finding.share))


def as_text(value: object, length: int = 200) -> str:
    """A value of a JSON file as text in one line of at most `length` characters that every terminal takes."""
    if isinstance(value, str) and len(value) <= length and value.isprintable():
        return value
    return _escaped(shown(value))


def example_id(value: object) -> int | str:
    """An id for an example: integers stay, the rest becomes text."""
    return value if isinstance(value, int) and not isinstance(value, bool) else as_text(value)


def first(where: np.ndarray, count: int) -> tuple[int, ...]:
    """The first `count` indices at which `where` holds, as a tuple of int."""
    return tuple(np.flatnonzero(where)[:count].tolist())


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _escaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _example_text(example):
    if "note" in example:
        return example["note"]
    parts = [f"annotation {example['annotation']}"] if "annotation" in example else []
    if "image" in example:
        parts.append(f"({example['image']})" if parts else str(example["image"]))
    return " ".join(parts)
