"""`python -m bench.domains`: srec-tiny fine-tuned on another domain, measured on what it never saw.

`--set clothing`: eight models, from srec-tiny and from scratch over 250 to all training photos.
`--set films`: one model, measured before and after. What is finished is kept, and not made again
until its file is deleted; a training that was killed goes on from its last checkpoint.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from bench.domains import clothing, films
from bench.domains.clothing import STARTS, Point, Start
from bench.domains.commands import note
from bench.domains.curve import draw, table
from bench.domains.training import OVERHEAD_MINUTES, Training
from bench.machine import made_on
from mllm_srec.llm.load import bundled_model

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "finetune" / "recipes"
FOLDERS = {"clothing": clothing.FOLDER, "films": films.FOLDER}
FILM_MINUTES = 10
"""What films take besides training, about: two ingests, two evaluations."""


def main() -> int:
    """Make what is not made yet, and print the figures."""
    options = _options()
    source = options.data / FOLDERS[options.set]
    if not source.is_dir():
        note(f"skipped {options.set}: {source} is not there, see --data")
        return 0
    out = options.out / options.set
    (_clothing if options.set == "clothing" else _films)(options, source, out)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.domains",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--set", choices=FOLDERS, required=True)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "domains")
    parser.add_argument("--base", type=Path, default=bundled_model(), help="in place of srec-tiny")
    parser.add_argument("--recipe", type=Path, help="in place of photos.toml or films.toml")
    parser.add_argument("--minutes", type=float, help="of each training, in place of the recipe's")
    parser.add_argument("--engine", default="auto", help="that measures")
    photos = parser.add_argument_group("clothing")
    photos.add_argument("--photos", type=int, action="append", help="only so many; repeatable")
    photos.add_argument("--start", choices=STARTS, action="append", help="only this; repeatable")
    photos.add_argument("--part", choices=("validation", "test"), default="test")
    return parser.parse_args()


def _clothing(options: argparse.Namespace, source: Path, out: Path) -> None:
    files = clothing.prepare(source, out)
    home, minutes = files.home, options.minutes
    recipe = options.recipe or RECIPES / "photos.toml"
    scratch = Path(__file__).with_name("from_scratch.toml")
    every: dict[Start, Training] = {
        "srec-tiny": Training(home, recipe, options.base, minutes=minutes),
        "scratch": Training(home, scratch, None, minutes=minutes),
    }
    trainings = {start: every[start] for start in options.start or STARTS}
    counts = options.photos or list(files.labels)
    if unknown := set(counts) - set(files.labels):
        note(f"--photos {sorted(unknown)}: say one of {sorted(files.labels)}")
        raise SystemExit(2)
    each = every["srec-tiny"].settings.minutes or 0.0
    runs = len(counts) * len(trainings)
    note(f"{runs} runs of {each:g} minutes: about {runs * (each + OVERHEAD_MINUTES):.0f} minutes")
    made: list[Point] = []
    for point in clothing.points(
        files, trainings, counts, part=options.part, engine=options.engine, out=out
    ):
        made.append(point)
        note(f"{point.photos} photos, {point.start}: {point.accuracy:.3f} of {point.items}")
        _write(out / f"{options.part}.json", [asdict(one) for one in made])
        draw(made, out / f"{options.part}.png", minutes=each, part=options.part)
    sys.stdout.write("\n".join(table(made)) + "\n")


def _films(options: argparse.Namespace, source: Path, out: Path) -> None:
    files = films.prepare(source, out)
    recipe = options.recipe or RECIPES / "films.toml"
    training = Training(files.training_home, recipe, options.base, minutes=options.minutes)
    each = training.settings.minutes or 0.0
    note(f"one run of {each:g} minutes: about {each + OVERHEAD_MINUTES + FILM_MINUTES:.0f} minutes")
    made = dict(films.compare(files, training, engine=options.engine, out=out))
    _write(out / "films.json", made)
    sys.stdout.write(json.dumps(made, indent=1) + "\n")


def _write(path: Path, figures: object) -> None:
    path.write_text(json.dumps({"made": made_on(), "figures": figures}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
