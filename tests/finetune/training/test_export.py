"""A model ships whole, in 16 bits, and only if both engines agree on it."""

import json
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from transformers import AutoModelForImageTextToText

from mllm_srec.finetune.training import parity
from mllm_srec.finetune.training.export import ExportError, export
from mllm_srec.finetune.training.model_folder import write_model
from mllm_srec.finetune.training.parity import (
    WITH_PICTURE,
    WITHOUT_PICTURE,
    Parity,
    ParityError,
    check_parity,
    largest_difference,
    parity_prompts,
)
from mllm_srec.finetune.training.recipe import Recipe
from mllm_srec.finetune.training.train import TrainReport, train
from mllm_srec.llm.engine import LabelScores, ModelError, Prompt
from mllm_srec.llm.load import Loaded
from mllm_srec.llm.pictures import PictureBudget, load_budget
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.tools.ranking import Calibration, shipped_calibration
from tests.finetune.small import (
    TASK_SHARES,
    picture_files,
    weights,
    write_pictures,
    write_small_data,
    write_small_model,
)
from tests.llm.tiny_model import make_tiny_model

AGREED = Parity(float32=0.0001, bfloat16=0.01)


def agrees(_: Path) -> Parity:
    return AGREED


def differs(_: Path) -> NoReturn:
    raise ParityError("they differ")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_an_exported_model_is_small_and_complete(model: Path, tmp_path: Path) -> None:
    report = export(model, tmp_path / "m", name="tiny", parity=agrees)
    assert report.bytes < 16 * 2**20
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.endswith("agree within 0.0001 nats (float32) and 0.01 (bfloat16) on 50 prompts.\n")
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "m", dtype="auto")
    assert again.dtype == torch.bfloat16
    assert load_budget(tmp_path / "m") == load_budget(model)
    assert {"tokenizer.json", "chat_template.jinja", "processor_config.json"} <= set(
        content(tmp_path / "m")
    )


def test_an_export_without_the_check_says_so(model: Path, tmp_path: Path) -> None:
    report = export(model, tmp_path / "m", name="tiny", parity=None)
    assert report.parity is None
    assert "Not checked" in (tmp_path / "m" / "README.md").read_text()


def test_a_refusal_leaves_the_old_export_as_it_was(model: Path, tmp_path: Path) -> None:
    export(model, tmp_path / "m", name="old", parity=agrees)
    before = content(tmp_path / "m")
    with pytest.raises(ParityError, match="they differ"):
        export(model, tmp_path / "m", name="new", parity=differs)
    with pytest.raises(ExportError, match=r"at most 0\.25 are wanted: raise --max-mib"):
        export(model, tmp_path / "m", name="new", max_bytes=2**18, parity=differs)
    assert content(tmp_path / "m") == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_nothing_but_a_model_is_replaced(model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="not empty and no model"):
        export(model, tmp_path, name="tiny", parity=agrees)
    with pytest.raises(ExportError, match=r"thesis\.txt' is a file: give --out a folder"):
        export(model, tmp_path / "thesis.txt", name="tiny", parity=agrees)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_folder_of_a_run_is_told_from_its_model(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "run" / "model")
    with pytest.raises(ExportError, match=r"the folder of a run: export '.*run/model'"):
        export(tmp_path / "run", tmp_path / "m", parity=agrees)


def test_a_model_in_32_bits_is_not_replaced_by_its_own_export(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "own")
    before = content(tmp_path / "own")
    with pytest.raises(ExportError, match="is the model itself, in more than 16 bits"):
        export(tmp_path / "own", tmp_path / "own", parity=agrees)
    assert content(tmp_path / "own") == before
    export(tmp_path / "own", tmp_path / "m", parity=agrees)
    # As for a calibration that is fitted later.
    export(tmp_path / "m", tmp_path / "m", calibration=Calibration(a=1.5, b=0.0), parity=agrees)
    assert shipped_calibration(tmp_path / "m") == Calibration(a=1.5, b=0.0)


def test_a_calibration_ships_with_the_model(model: Path, tmp_path: Path) -> None:
    fitted = Calibration(a=1.5, b=-0.25)
    export(model, tmp_path / "m", name="tiny", calibration=fitted, parity=agrees)
    assert shipped_calibration(tmp_path / "m") == fitted
    export(tmp_path / "m", tmp_path / "again", name="tiny", parity=agrees)
    assert shipped_calibration(tmp_path / "again") == fitted


def test_weights_that_are_no_numbers_are_refused(model: Path, tmp_path: Path) -> None:
    broken = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    write_model(broken, model, tmp_path / "broken")
    with pytest.raises(ExportError, match="not finite: train with a lower rate"):
        export(tmp_path / "broken", tmp_path / "m", name="tiny", parity=agrees)


def tune(folder: Path, base: Path, **settings: object) -> TrainReport:
    """Train a Hugging Face checkpoint for a few steps."""
    recipe = Recipe.of(
        {
            "steps": 4,
            "tokens_per_batch": 1024,
            "shares": TASK_SHARES,
            "bf16": False,
            "checkpoint_minutes": 1e-9,
            "learning_rate": 0.01,
            "best": "look_loss",
            **settings,
        }
    )
    data = write_small_data(folder / "data")
    pictures = picture_files(write_pictures(folder / "images"))
    return train(recipe, data, pictures, folder / "out", base=base)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the SmolVLM kind, with a tokenizer and a template of its own."""
    return make_tiny_model(tmp_path_factory.mktemp("hub"))


def test_adapters_of_a_hub_checkpoint_are_merged_into_its_weights(
    hub: Path, tmp_path: Path
) -> None:
    report = tune(tmp_path, hub, lora={"rank": 4})
    assert report.best is not None
    assert (report.best / "adapter_config.json").exists()
    export(report.best, tmp_path / "m", name="tuned", parity=agrees)
    merged, base = weights(tmp_path / "m"), weights(hub)
    moved = {key for key in base if not torch.equal(base[key].bfloat16().float(), merged[key])}
    assert moved
    assert all("text_model.layers" in key for key in moved)


def test_the_vision_part_is_adapted_by_choice(hub: Path, tmp_path: Path) -> None:
    report = tune(tmp_path, hub, lora={"rank": 4, "vision": True})
    tuned, base = weights(report.folder), weights(hub)
    moved = {key for key in base if not torch.equal(base[key], tuned[key])}
    assert {"vision_model" in key for key in moved} == {True, False}


def test_a_hub_checkpoint_is_trained_in_full(hub: Path, tmp_path: Path) -> None:
    report = tune(tmp_path, hub)
    tuned, base = weights(report.folder), weights(hub)
    assert [key for key in base if torch.equal(base[key], tuned[key])] == []
    export(report.folder, tmp_path / "m", name="tuned", parity=agrees)
    # What it was made of goes with it, also through another export.
    export(tmp_path / "m", tmp_path / "again", name="tuned", parity=agrees)
    made = (tmp_path / "again" / "settings.json").read_text()
    assert json.loads(made)["prompts"]["look"]
    assert made == (report.folder / "settings.json").read_text()


def test_adapters_are_not_merged_into_another_base(hub: Path, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base")
    report = tune(tmp_path, base, lora={"rank": 4})
    assert report.best is not None
    make_tiny_model(base, seed=1)
    with pytest.raises(ExportError, match="is not the one that the adapters in 'best'"):
        export(report.best, tmp_path / "m", name="tuned", parity=agrees)


def test_broken_adapters_and_a_base_that_is_gone_are_named(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base")
    best = tune(tmp_path, base, steps=1, lora={"rank": 4}).best
    assert best is not None
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(ExportError, match=r"'best' were trained on '.*base', which is no longer"):
        export(best, tmp_path / "m", parity=agrees)
    (tmp_path / "elsewhere").rename(base)
    (best / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ExportError, match=r"adapters in '.*best' cannot be put on '.*base'"):
        export(best, tmp_path / "m", parity=agrees)
    (best / "adapter_config.json").write_text("{")
    with pytest.raises(ExportError, match=r"adapter_config\.json' is broken"):
        export(best, tmp_path / "m", parity=agrees)


def test_weights_that_were_cut_are_no_model(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"cannot load .*cut"):
        export(tmp_path / "cut", tmp_path / "m", parity=agrees)
    with pytest.raises(ModelError, match=r"cannot load .*cut"):
        tune(tmp_path, tmp_path / "cut")


def test_a_checkpoint_to_go_on_from_is_not_exported(hub: Path, tmp_path: Path) -> None:
    report = tune(tmp_path, hub)
    checkpoint = report.folder.parent / "checkpoint-4"
    with pytest.raises(ExportError, match="'checkpoint-4' is a state to go on from"):
        export(checkpoint, tmp_path / "m", name="tuned", parity=agrees)


def test_a_model_of_other_prompts_is_not_exported(hub: Path, tmp_path: Path) -> None:
    report = tune(tmp_path, hub)
    settings = json.loads((report.folder / "settings.json").read_text())
    settings["prompts"]["look"] = "0" * 64
    (report.folder / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ExportError, match=r"another version of prompts/look\.md"):
        export(report.folder, tmp_path / "m", name="tuned", parity=agrees)


def test_fifty_prompts_are_compared_twenty_of_them_with_a_picture() -> None:
    prompts = list(parity_prompts(PictureBudget(96)))
    assert prompts == list(parity_prompts(PictureBudget(96)))
    assert len(set(prompts)) == len(prompts) == WITH_PICTURE + WITHOUT_PICTURE == 50
    assert sum(bool(prompt.pictures) for prompt in prompts) == WITH_PICTURE == 20


def test_one_prompt_that_differs_is_found() -> None:
    prompts = list(parity_prompts(PictureBudget(96)))

    def scores(seventh: float) -> list[LabelScores]:
        def score(prompt: Prompt, _: Sequence[str]) -> dict[str, float]:
            return {"Yes": -0.5, "No": seventh if prompt == prompts[7] else -1.0}

        return ScriptedEngine(score=score).score_labels(prompts, ("Yes", "No"))

    one, other = scores(-1.0), scores(-1.2)
    assert largest_difference(one, other) == pytest.approx(0.2)
    assert largest_difference(one, one) == 0.0


def test_an_engine_is_gone_before_the_next_one_is_loaded(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[str, str]] = []
    alive: list[weakref.ref[ScriptedEngine]] = []

    def load(kind: str, _: Path, *, dtype: str) -> Loaded:
        assert [one() for one in alive if one() is not None] == []
        loaded.append((kind, dtype))
        engine = ScriptedEngine(score=lambda prompt, labels: {"Yes": -0.5, "No": -1.0})
        alive.append(weakref.ref(engine))
        return Loaded(engine, None)

    monkeypatch.setattr(parity, "load_engine", load)
    told: list[tuple[str, int, int | None]] = []
    assert check_parity(model, lambda *each: told.append(each)) == Parity(0.0, 0.0)
    assert loaded == [
        (kind, dtype) for dtype in ("float32", "bfloat16") for kind in ("transformers", "vllm")
    ]
    assert told == [("parity", done, 4) for done in range(5)]


@pytest.mark.parametrize(
    ("off", "why"), [("bfloat16", "grown too large"), ("float32", "does not fit the weights")]
)
def test_a_difference_names_what_it_comes_from(
    model: Path, monkeypatch: pytest.MonkeyPatch, off: str, why: str
) -> None:
    def load(kind: str, _: Path, *, dtype: str) -> Loaded:
        low = -1.2 if (kind, dtype) == ("vllm", off) else -1.0
        engine = ScriptedEngine(score=lambda prompt, labels: {"Yes": -0.5, "No": low})
        return Loaded(engine, None)

    monkeypatch.setattr(parity, "load_engine", load)
    with pytest.raises(ParityError, match=rf"differ by 0\.2 nats .* in {off}.*{why}"):
        check_parity(model)


def test_an_engine_that_runs_out_of_memory_is_not_taken_for_a_full_disk(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(prompt: Prompt, labels: Sequence[str]) -> dict[str, float]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    loaded = Loaded(ScriptedEngine(score=score), None)
    monkeypatch.setattr(parity, "load_engine", lambda kind, _, *, dtype: loaded)
    with pytest.raises(ParityError, match="not be checked in float32: CUDA out of memory"):
        export(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def card(folder: Path) -> str:
    return (folder / "README.md").read_text("utf-8")


def test_the_card_has_the_name_of_the_folder_and_no_licence_of_its_own(
    model: Path, tmp_path: Path
) -> None:
    report = export(model, tmp_path / "shoes", parity=agrees)
    assert "# shoes\n" in card(tmp_path / "shoes")
    assert "license" not in card(tmp_path / "shoes")
    assert report.license is None


@pytest.mark.parametrize("settings", [{}, {"lora": {"rank": 4}}], ids=["in full", "adapters"])
def test_the_licence_is_the_base_s(tmp_path: Path, settings: dict[str, object]) -> None:
    base = make_tiny_model(tmp_path / "base")
    (base / "README.md").write_text("---\ntags: [x]\nlicense: cc-by-nc-4.0\n---\nlicense: mit\n")
    report = tune(tmp_path, base, steps=1, **settings)
    assert report.best is not None
    for source, folder in ((report.best, tmp_path / "best"), (report.folder, tmp_path / "last")):
        assert export(source, folder, parity=agrees).license == "cc-by-nc-4.0"
        assert "\nlicense: cc-by-nc-4.0\n" in card(folder)
    # And that of an export is its own.
    export(tmp_path / "last", tmp_path / "again", parity=agrees)
    assert "\nlicense: cc-by-nc-4.0\n" in card(tmp_path / "again")


@pytest.mark.slow
def test_a_tuned_model_passes_the_check_and_one_with_untied_heads_does_not(
    hub: Path, tmp_path: Path
) -> None:
    report = tune(tmp_path, hub, lora={"rank": 4}, learning_rate=0.001)
    exported = export(report.folder, tmp_path / "m", name="tuned")
    assert exported.parity is not None
    assert exported.parity.float32 <= 0.005
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = False
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ParityError, match="'m'"):
        check_parity(tmp_path / "m")
