"""What all visitors together have met."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vdu.bench.soak.judging import SHORT_WAIT, figures_of, is_sentence
from vdu.bench.soak.wire import Answer, RunEnd


@dataclass
class Ledger:
    """What all visitors together have met.

    Attributes:
        runs: how many runs were asked for, and how they ended.
        crossed: a line per report that is not the client's own, or differs from the same recipe run alone.
        lost: a line per answer that never came; mute: per refusal that is no sentence.
        quick: what costs nothing -> seconds of each time.
        front, stops: seconds of GET /, and from Stop to the end of the run.
        waits: (told, had) seconds; untold: a line per wait above 5 s of which the server said nothing.
        breaches: a line per thing that a hostile visitor was given; unwell: per time that /healthz did not answer 200.
        alone: figures of each visitor's recipe, run alone.
    """

    runs: Counter[str] = field(default_factory=Counter)
    crossed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    mute: list[str] = field(default_factory=list)
    quick: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    front: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    unwell: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    alone: dict[int, Any] = field(default_factory=dict)

    def note(self, what: str, answer: Answer, quick: bool = False) -> Answer:
        """Note an answer to something other than a run."""
        if answer.status == 0:
            self.lost.append(f"{what}: {answer.said}")
        elif answer.refused:
            self.refused(what, answer.status, answer.said)
        if quick:
            self.quick[what].append(answer.seconds)
        return answer

    def refused(self, what: str, status: int, said: str) -> None:
        """Note a refusal, which must be a sentence."""
        self.refusals[said[:120]] += 1
        if not is_sentence(said):
            self.mute.append(f"{what}: {status} {said[:120]!r}")

    def note_run(self, end: RunEnd, recipe: Mapping[str, Any], number: int | None) -> RunEnd:
        """Note how a run ended; `number` is the visitor's, whose figures must be those of the recipe run alone."""
        self.runs["asked"] += 1
        if end.stop:
            self.note("Stop", end.stop, quick=True)
            self.stops += [end.stopping] if end.outcome == "stopped" else []
        self.runs[end.outcome] += 1
        if end.outcome == "refused":
            self.refused("a run", 0, end.said)
        if end.outcome == "lost":
            self.lost.append(f"a run: {end.said}")
        if end.outcome == "finished" and end.report is None:
            self.lost.append("the report of a finished run")
        if end.report is not None and (other := self.difference(end.report, recipe, number, end.outcome == "finished")):
            self.crossed.append(other)
        if end.told is not None and end.had:  # else it was stopped before its turn
            self.waits.append((end.told, end.had))
        elif end.had > SHORT_WAIT:
            self.untold.append(f"{end.had:.0f} s")
        return end

    def difference(self, report: Mapping[str, Any], recipe: Mapping[str, Any], number: int | None, whole: bool) -> str:
        """What of a report is not of its recipe; "" if all is."""
        for name in ("model", "forget", "seed"):
            if report.get(name) != recipe[name]:
                return f"asked for {name} {recipe[name]!r}, got {report.get(name)!r}"
        if whole and number in self.alone and figures_of(report) != self.alone[number]:
            return f"the figures of visitor {number} are not those of the same recipe run alone"
        return ""
