"""`python -m bench.cost HOME`: what 10 million items and 100 million interactions would take.

On paper: what `python -m bench` measured and left in its results, and what the home keeps, in
proportion. Whatever is assumed instead stands below by name, with its source. A row whose figure
was not measured yet names the command that measures it.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import RESULTS
from bench.scale import GIB, kept, lines
from mllm_srec.tools.collaborative import CollaborativeSettings

ITEMS, INTERACTIONS = 10_000_000, 100_000_000
HOUR = 3_600
SERVER_GIB = 64
"""Memory of a server: assumed, to say how many items fit into one."""
LINK_BYTES = 4 + 4
"""A link of a sparse matrix: a float32, and the int32 that says where."""
MATRICES = 2
"""Sparse matrices of a large catalogue: item-kNN and transitions; EASE is not fitted there."""

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, and the shares of its data sheet that are assumed to be reached."""

    name: str
    flops: float
    """Floating-point operations a second, dense bfloat16."""
    bandwidth: float
    """Bytes a second from its memory."""
    flops_share: float
    bandwidth_share: float


@dataclass(frozen=True, slots=True)
class Model:
    """A model in bfloat16."""

    name: str
    parameters: float
    cache_bytes: float
    """Keys and values of one token: 2 x layers x key-value heads x head dimension x 2 bytes."""


H100 = Device("H100 SXM", 989e12, 3.35e12, flops_share=0.4, bandwidth_share=0.6)
"""Rates: NVIDIA's data sheet of the H100 SXM. Shares: assumed."""
QWEN = Model("Qwen3-VL-4B-Instruct", 4.438e9, 2 * 36 * 8 * 128 * 2)
"""A model for one GPU. Parameters and shape: its checkpoint on the Hugging Face hub. Assumed: as
many tokens as srec-tiny's tokenizer and pictures make."""
AT_ONCE = 256
"""Prompts that one step writes a token of, so that they share one reading of the weights: assumed,
as `llm/vllm_settings.py` has it on CPUs."""


def device_seconds(parts: Mapping[str, float], device: Device = H100, model: Model = QWEN) -> float:
    """Seconds that the tokens of `bench.shop.tokens` take, by a roofline.

    Prompts are bound by arithmetic, two operations a parameter and token. Writing is bound by
    memory: a step reads the weights once for all prompts, and the keys and values of each.
    """
    computing = 2 * model.parameters * parts["prompt_tokens"] / (device.flops * device.flops_share)
    weights = 2 * model.parameters * parts["completion_tokens"] / AT_ONCE
    read = weights + model.cache_bytes * parts["attended_tokens"]
    return computing + read / (device.bandwidth * device.bandwidth_share)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, made from one figure."""

    what: str
    figure: str
    """Of `python -m bench`."""
    measured: Callable[[Mapping[str, Any]], str]
    planned: Callable[[Mapping[str, Any]], str]
    """Both from the figure as the results hold it, its parts among the rest."""


ROWS = (
    Row(
        "describing, on the machine measured",
        "fuse_ratio",
        lambda one: f"{one['items_per_second']:,.1f} items/s",
        lambda one: f"{ITEMS / one['items_per_second'] / HOUR:,.0f} hours",
    ),
    Row(
        f"describing, {QWEN.name} on one {H100.name}",
        "fuse_ratio",
        lambda one: (
            f"{one['prompt_tokens']:,.0f} tokens read and {one['completion_tokens']:,.0f} written "
            "an item"
        ),
        lambda one: f"on paper {ITEMS * device_seconds(one) / HOUR:,.0f} GPU hours",
    ),
    Row(
        "taking in, the engine and Chroma apart",
        "ingest_time_growth",
        lambda one: f"{one['microseconds']:,.0f} microseconds an item",
        lambda one: f"{ITEMS * one['microseconds'] / 1e6 / HOUR:,.1f} hours, one writer",
    ),
    Row(
        "writing the vectors to Chroma",
        "ingest_time_growth",
        lambda one: f"{one['chroma_microseconds']:,.0f} microseconds an item",
        lambda one: f"{ITEMS * one['chroma_microseconds'] / 1e6 / HOUR:,.1f} hours, one writer",
    ),
    Row(
        "memory for the vectors in embedded Chroma",
        "ingest_time_growth",
        lambda one: f"{one['chroma_kib']:,.2f} KiB an item",
        lambda one: f"{ITEMS * one['chroma_kib'] * 1024 / GIB:,.1f} GiB",
    ),
    Row(
        "memory of a process that answers",
        "query_growth",
        lambda one: (
            f"{one['resident_mib']:,.0f} MiB, {one['resident_kib_an_item']:,.2f} KiB an item"
        ),
        lambda one: (
            f"{resident_bytes(one) / GIB:,.1f} GiB; {items_within(one, SERVER_GIB):,.0f} items "
            f"within {SERVER_GIB} GiB"
        ),
    ),
    Row(
        "a query without the engine",
        "query_growth",
        lambda one: (
            f"{one['query_milliseconds']:,.0f} ms at {one['items']:,.0f} items, "
            f"{one['value']:.2f} times a decade at worst"
        ),
        lambda one: f"{query_milliseconds(one):,.0f} ms, if it goes on so",
    ),
    Row(
        "users a second, on the machine measured",
        "many_of_raw",
        lambda one: f"{one['users_per_second']:.2f} users/s",
        lambda one: f"{one['users_per_second']:.2f} a server, in proportion to the servers",
    ),
    Row(
        f"users a second, {QWEN.name} on one {H100.name}",
        "many_of_raw",
        lambda one: (
            f"{one['prompt_tokens']:,.0f} tokens read and {one['completion_tokens']:,.0f} written "
            "a user"
        ),
        lambda one: f"on paper {1 / device_seconds(one):,.1f}",
    ),
)


def resident_bytes(query_growth: Mapping[str, Any]) -> float:
    """Memory of a process that answers at the size planned for, as it grew at last."""
    more = ITEMS - query_growth["items"]
    grown = more * query_growth["resident_kib_an_item"] * 1024
    return float(query_growth["resident_mib"]) * 2**20 + float(grown)


def items_within(query_growth: Mapping[str, Any], gib: float) -> float:
    """Items at which a process that answers has taken so much memory."""
    left = gib * GIB - float(query_growth["resident_mib"]) * 2**20
    return float(query_growth["items"] + left / (query_growth["resident_kib_an_item"] * 1024))


def query_milliseconds(query_growth: Mapping[str, Any]) -> float:
    """A query at the size planned for, if each decade costs what the worst measured one cost."""
    decades = math.log10(ITEMS / query_growth["items"])
    return float(query_growth["query_milliseconds"] * max(query_growth["value"], 1.0) ** decades)


def table(results: Results) -> Iterator[str]:
    """Yield the lines of what follows from the figures of `python -m bench`."""
    yield "| what | measured | at the size planned for |"
    yield "| --- | ---: | ---: |"
    for row in ROWS:
        held = results.get(row.figure, {})
        if parts := held.get("parts"):
            one = {**held, **parts}
            yield f"| {row.what} | {row.measured(one)} | {row.planned(one)} |"
        else:
            yield f"| {row.what} | not measured yet: `python -m bench --only {row.figure}` | |"
    yield from _collaborative(CollaborativeSettings())


def _collaborative(settings: CollaborativeSettings) -> Iterator[str]:
    """Yield what the collaborative source may take by its settings; nothing of it is measured."""
    links = f"at most {settings.links:,} links of {LINK_BYTES} bytes an item, {MATRICES} matrices"
    size = ITEMS * settings.links * LINK_BYTES * MATRICES
    yield f"| memory for links between items | {links} | at most {size / GIB:,.0f} GiB |"
    most = settings.ease_items
    dense = f"4 N² bytes for N items, {4 * most**2 / GIB:.1f} GiB at {most:,}, its limit"
    yield f"| memory to fit EASE | {dense} | not fitted ({4 * ITEMS**2 / 2**40:,.0f} TiB) |"


def main() -> int:
    """Print both tables; 1 where a figure is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("home", type=Path, help="its items described, vectors and pictures kept")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    try:
        disk = lines(kept(options.home), ITEMS, INTERACTIONS)
    except FileNotFoundError as error:
        parser.error(str(error))
    sys.stdout.write("\n".join([*disk, "", *table(results)]) + "\n")
    return 0 if all(results.get(row.figure, {}).get("parts") for row in ROWS) else 1


if __name__ == "__main__":
    sys.exit(main())
