"""Verdicts of judges on labelled pairs: recorded ones, and those that a panel gives now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from judges.base import Judge, annotate, presentations
from judges.calling.caller import Caller, Task
from judges.calling.prices import family_of
from judges.errors import UserError
from judges.kinds.heuristic import Heuristic
from judges.panel import Panel, panel_preferences
from judges.registry import make_panel
from judges.schema import Annotation
from leaderboard.preferences import Plan, plan_annotation
from leaderboard.rows.results import annotation_frame
from leaderboard.validity.humans import Humans
from leaderboard.watch import SILENT, Watch

PANEL = "panel"
FLOORS = ("heuristic/longest", "heuristic/shortest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Verdicts, and what is known of those who gave them; every mapping is by the judge's name."""

    verdicts: tuple[Annotation, ...]
    models: Mapping[str, str] = field(default_factory=dict)
    """The model that the judge asks."""
    families: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long its calls took, one after the other."""
    free: Collection[str] = ()
    """Those that ask no server."""
    floors: Collection[str] = ()
    """Those that do not read, against which the others are held."""

    @property
    def names(self) -> list[str]:
        """Judges in the order of their first verdict, floors last."""
        found = dict.fromkeys(verdict.annotator for verdict in self.verdicts)
        return sorted(found, key=lambda name: name in self.floors)


def plan_judging(humans: Humans, panel: Panel) -> Plan:
    """What every judge of the panel would be shown: every pair in both orders.

    Raises UserError for a panel that draws one judge an item, as its members could not be compared,
    a judge called as one whose verdicts are recorded, and one that cannot judge the pairs.
    """
    taken = {one.annotator for one in humans.recorded} | {PANEL, *FLOORS} - set(own_floors(panel))
    if clash := sorted(taken & set(panel.names)):
        raise UserError(
            f"a judge of the panel is called {clash[0]!r}, as another one is; rename it"
        )
    if panel.is_drawn:
        raise UserError(
            "the panel draws judges for each item (`assign`), and here each judges all: "
            "name a copy of it without that line"
        )
    return plan_annotation(humans.comparisons, panel, orders="both")


def own_floors(panel: Panel) -> list[str]:
    """Its judges that are measured as floors in any case."""
    found = (judge for judge in panel.judges if isinstance(judge, Heuristic))
    return [judge.name for judge in found if judge.name == f"heuristic/{judge.rule}" in FLOORS]


def judge_pairs(plan: Plan, caller: Caller, watch: Watch = SILENT) -> Judged:
    """The verdicts of a plan's judges, and of the panel where they are several."""
    panel = plan.panel
    if caller.batch:
        caller.submit([(judge.spec, requests) for judge, requests in plan.asking])
    verdicts: list[Annotation] = []
    seconds: dict[str, float] = defaultdict(float)
    for judge in panel.judges:
        shown = plan.shown[judge.name]
        found = annotate(judge, shown, caller, Task(judge=judge.name, purpose="annotate"))
        for annotation, verdict in watch.track(found, len(shown), f"judging ({judge.name})"):
            verdicts.append(annotation)
            seconds[judge.name] += sum(call.seconds or 0.0 for call in verdict.calls)
    models = {judge.name: str(getattr(judge, "model", "")) for judge in panel.judges}
    families = {
        judge.name: getattr(judge, "family", None) or family_of(models[judge.name]) or ""
        for judge in panel.judges
    }
    free = {judge.name for judge in panel.judges if _is_free(judge)}
    if len(panel.judges) > 1:
        verdicts += _of_panel(plan, verdicts)
        seconds[PANEL] = sum(seconds.values())
        free |= {PANEL} if free == set(panel.names) else set()
    return Judged(
        verdicts=tuple(verdicts), models=models, families=families, seconds=seconds, free=free
    )


def _is_free(judge: Judge) -> bool:
    spec = getattr(judge, "spec", None)
    return spec is None or not spec.is_remote


def _of_panel(plan: Plan, verdicts: Sequence[Annotation]) -> list[Annotation]:
    """The panel's preference on every pair, with what its judges cost together."""
    panel, pairs = plan.panel, [pair for pair in plan.pairs if pair.id not in plan.known]
    items = panel_preferences(
        annotation_frame(verdicts),
        [pair.id for pair in pairs],
        panel.names,
        aggregate=panel.aggregate,
        weights=panel.weights,
        n_orders=[2 if judge.sees_order else 1 for judge in panel.judges],
        assigned=panel.assignment([pair.instruction for pair in pairs], plan.seed),
    )
    cost: dict[str, float | None] = defaultdict(float)
    for one in verdicts:
        so_far, is_known = cost[one.comparison_id], one.cost_usd is not None or not one.n_calls
        cost[one.comparison_id] = (
            so_far + (one.cost_usd or 0.0) if so_far is not None and is_known else None
        )
    return [
        Annotation(
            comparison_id=pair.id,
            annotator=PANEL,
            order="none",
            preference=None if preference != preference else float(preference),
            error="too few votes" if preference != preference else None,
            cost_usd=cost[pair.id],
        )
        for pair, preference in zip(pairs, items["preference"], strict=True)
    ]


def with_floors(humans: Humans, judged: Judged, caller: Caller) -> Judged:
    """The same with the recorded verdicts before it, and the longest and the shortest answer after
    it as judges that do not read; to these, answers of the same text are a tie."""
    tables = [{"kind": "heuristic", "rule": name.partition("/")[2]} for name in FLOORS]
    floors: list[Annotation] = []
    asked = {one.annotator for one in judged.verdicts}
    for judge in make_panel({"judges": tables}, Path()).judges:
        if judge.name in asked:
            continue
        shown = presentations(judge, humans.comparisons, "both", 0)
        floors += [found for found, _ in annotate(judge, shown, caller, Task())]
    recorded = {one.annotator: one.annotator for one in humans.recorded}
    return Judged(
        verdicts=(*humans.recorded, *judged.verdicts, *floors),
        models={**recorded, **judged.models},
        families={**{name: family_of(name) or "" for name in recorded}, **judged.families},
        seconds=judged.seconds,
        free=(*judged.free, *FLOORS),
        floors=FLOORS,
    )
