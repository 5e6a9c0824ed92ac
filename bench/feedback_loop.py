"""`python -m bench.feedback_loop`: from judged turns to a better model, once, with figures.

Users of a drawn shop are recommended to, and each turn is judged as a careful reader of its trace
would (`srec trace annotate`): good where the preference and the profile say what the history holds.
Bad ones are forked with a better model, and judged again. What `srec finetune data --from-traces`
makes of that is trained for a few minutes. Other users are measured before and after, each time on
the shop as that model describes it.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.domains.commands import kept, note, srec
from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.inspection.reading import load_trace
from mllm_srec.agent.inspection.replay import fork
from mllm_srec.agent.inspection.state import states
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.state import Settings, State
from mllm_srec.finetune.data.splits import Case, Split, sample_cases, split_home
from mllm_srec.finetune.evaluation.pairs import rank_cases, request
from mllm_srec.finetune.evaluation.reasons import reason_figures
from mllm_srec.finetune.evaluation.scoring import score_pairs
from mllm_srec.finetune.evaluation.taste import preference_figures, profile_figures
from mllm_srec.finetune.evaluation.truth import Drift, drifts, true_descriptions
from mllm_srec.finetune.evaluation.understanding import held_out_phrasings, measure
from mllm_srec.llm.load import bundled_model
from mllm_srec.llm.model_files import model_hash
from mllm_srec.store.records import FusedItem
from mllm_srec.store.trace_notes import Verdict, annotate
from mllm_srec.store.traces import TraceStore

ROOT = Path(__file__).parents[1]
RECIPE = Path(__file__).with_suffix(".toml")
JUDGED, MEASURED = 400, 200
"""Users whose turns teach; and others, who are asked before and after."""
SHOWN = 5
"""Items of a turn."""
RUN = "run"
"""Name of the folder of the training."""
GOOD = 0.95
"""F1 of the preference and of the profile from which on a turn is judged good."""
FIRST = "summarize_preferences"
"""The step that bad turns are forked from."""
PAIRS = 10_000
MESSAGES = 1_000
"""Sentences of a chat, of which no turn says anything: what is forgotten would show here."""
SEED = 1


@dataclass(frozen=True)
class Shop:
    """A drawn shop, and what is true of it."""

    folder: Path

    @cached_property
    def items(self) -> Mapping[str, FusedItem]:
        """What a careful reader would write of each item."""
        return true_descriptions(self.folder / "truth")

    @cached_property
    def moved(self) -> Mapping[str, Drift]:
        """How the tastes of the users moved."""
        return drifts(self.folder / "truth")

    def taste(self, told: Sequence[State], settings: Settings) -> dict[str, Any]:
        """How well the chain read the histories of some users."""
        return {
            "preference": preference_figures(told, self.items, self.moved, settings),
            "profile": profile_figures(told, self.items, settings),
        }

    def home(self, path: Path, model: Path) -> Path:
        """The shop in a home of its own, described by a model; what is made stays."""
        files = ("--items", self.folder / "items.parquet", "--images", self.folder)
        log = ("--interactions", self.folder / "interactions.parquet")
        srec("ingest", *files, *log, "--home", path, "--model", model)
        return path


def main() -> int:
    """Make what is not made yet, and print the figures before and after."""
    parser = argparse.ArgumentParser(prog="python -m bench.feedback_loop", description=__doc__)
    parser.add_argument("--shop", type=Path, required=True, help="of `srec sample-shop --seed 2`")
    parser.add_argument("--model", type=Path, required=True, help="folder of what is to learn")
    parser.add_argument("--teacher", type=Path, default=bundled_model(), help="that bad turns ask")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "feedback-loop")
    options = parser.parse_args()
    shop, model, out = Shop(options.shop), options.model, options.out
    asked = {
        "model": model_hash(model),
        "teacher": model_hash(options.teacher),
        "recipe": RECIPE.read_text("utf-8"),
    }
    home = shop.home(out / "before", model)
    before = kept(out / "before.json", asked, lambda: _figures(shop, home, model))
    loop = kept(out / "loop.json", asked, lambda: _loop(shop, home, model, options.teacher, out))
    better = out / "model"
    # Kept apart: where it fails, nothing is judged and trained once more.
    words = ("--model", out / RUN / "model", "--out", better, "--name", "looped")
    kept(
        out / "export.json",
        asked | {"loop": loop},
        lambda: srec("finetune", "export", *words).answer,
    )
    after_home = shop.home(out / "after", better)
    after = kept(out / "after.json", asked, lambda: _figures(shop, after_home, better))
    sys.stdout.write(json.dumps({"loop": loop, "before": before, "after": after}, indent=1) + "\n")
    return 0


def _split(deployment: Deployment) -> Split:
    return split_home(deployment.home, min_rating=deployment.settings.liked_rating)


def _cases(split: Split) -> tuple[list[Case], list[Case]]:
    """Whose turns are judged, and who is measured; nobody is both."""
    warm = [case for case in split.cases("test") if not case.cold]
    drawn = sample_cases(warm, JUDGED + MEASURED, seed=SEED)
    measured = sample_cases(drawn, MEASURED, seed=SEED)
    users = {case.user_id for case in measured}
    return [case for case in drawn if case.user_id not in users], measured


def _loop(shop: Shop, home: Path, model: Path, teacher: Path, out: Path) -> dict[str, Any]:
    """Recommend, judge, fork, make data and train; what each step gave."""
    with Recommender.open(home, model=model) as recommender:
        judged, _ = _cases(_split(recommender.deployment))
        note(f"recommending to {len(judged)} users")
        turns = recommender.recommend_many([request(case) for case in judged], SHOWN)
        bad = _judge(shop, recommender.deployment, [turn.trace_id for turn in turns])
    with (
        Deployment.open(home, model=teacher) as deployment,
        TraceStore.open(deployment.home.traces_file) as traces,
    ):
        note(f"forking {len(bad)} bad turns")
        forks = [fork(deployment, traces.spans(each), FIRST, edits={}) for each in bad]
        still_bad = _judge(shop, deployment, forks)
    sft, run = out / "sft", out / RUN
    data = srec("finetune", "data", "--from-traces", "--home", home, "--out", sft).answer
    words = ("--home", home, "--base", model, "--recipe", RECIPE, "--out", run, "--resume")
    trained = srec("finetune", "train", "--data", sft, *words)
    return {
        "turns": len(turns),
        "bad": len(bad),
        "bad_with_teacher": len(still_bad),
        "data": data,
        "training": {name: trained.answer[name] for name in ("steps", "tokens", "seconds")},
    }


def _judge(shop: Shop, deployment: Deployment, trace_ids: Sequence[str]) -> list[str]:
    """Annotate turns; the bad ones."""
    bad = []
    with TraceStore.open(deployment.home.traces_file) as traces:
        for trace_id in trace_ids:
            verdict = _verdict(shop, traces, trace_id, deployment.settings)
            annotate(traces, trace_id, verdict)
            bad += [trace_id] * (verdict == "bad")
    return bad


def _verdict(shop: Shop, traces: TraceStore, trace_id: str, settings: Settings) -> Verdict:
    """What a reader of the trace who knows the items would say."""
    *_, (_, _, end) = states(load_trace(traces, trace_id))
    told = State(**{name: end[name] for name in ("user_id", "history", "windows", "profile")})
    right = shop.taste([told], settings).values()
    return "good" if all((each["attribute_f1"] or 0.0) >= GOOD for each in right) else "bad"


def _figures(shop: Shop, home: Path, model: Path) -> dict[str, Any]:
    """What the model makes of the users that are measured."""
    with Recommender.open(home, model=model) as recommender:
        deployment = recommender.deployment
        split = _split(deployment)
        _, cases = _cases(split)
        ranked = rank_cases(recommender, cases, lambda *_: None, "rank")
        scores = score_pairs(
            recommender, split, cases, ranked, truth=shop.folder / "truth", pairs=PAIRS, seed=SEED
        )
        asked = measure(recommender.context.calls, held_out_phrasings(MESSAGES))
        return {
            "users": len(cases),
            **shop.taste(ranked, deployment.settings),
            "plain_profiles": sum(state.profile_fallback for state in ranked),
            "plain_windows": sum(one["fallback"] for state in ranked for one in state.windows),
            **reason_figures(recommender, cases, lambda *_: None),
            "scoring": scores.figures(),
            "understanding": deployment.run(asked).to_dict(),
        }


if __name__ == "__main__":
    sys.exit(main())
