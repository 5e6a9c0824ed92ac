"""Recommendations on a terminal: pure, results in, rich renderables out.

Titles, reasons and preferences are words of a catalogue or a model: they go through `words`.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mllm_srec.agent.results import (
    IngestReport,
    Profile,
    Recommendation,
    RecommendedItem,
    Tokens,
    Window,
)
from mllm_srec.agent.terminal.history_view import history_view
from mllm_srec.agent.terminal.item_pictures import PICTURE_COLUMNS, Pictures
from mllm_srec.agent.terminal.paths import with_tilde
from mllm_srec.agent.terminal.pieces import heading, id_text, plain_table, to_copy
from mllm_srec.agent.untrusted import words

STRENGTHS = {"loves": "green", "likes": "cyan", "leans": "blue", "dislikes": "red"}


def recommendation_screen(result: Recommendation, pictures: Pictures) -> RenderableType:
    """Everything about one recommendation, in the order in which it came about."""
    titles = {entry.item_id: entry.title for entry in result.history}
    parts: list[RenderableType] = [Text.assemble("For ", words(result.user, "bold"))]
    parts += [Text.assemble(("! ", "yellow"), words(note, "yellow")) for note in result.notes]
    if result.history:
        parts += [heading("History"), history_view(result.history, pictures)]
    if result.windows:
        parts += [heading("How the preference moved"), windows_table(result.windows)]
    else:
        parts += [heading("Preference"), words(result.preference)]
    parts += [
        heading("Profile"),
        profile_table(result.profile, titles),
        heading(f"Top {len(result.items)}"),
        items_view(result.items, titles, pictures, digits=score_digits(result.noise_floor)),
        heading("What it took"),
        cost_table(result),
        Padding(run_facts(result), (1, 0, 0, 0)),
    ]
    return Group(*parts)


def windows_table(windows: Iterable[Window]) -> Table:
    """How the preference moved: one line a window, oldest first."""
    table = plain_table("window", "preference after it", "rising", "fading")
    for number, window in enumerate(windows, 1):
        mark = Text(" (counted, not the model's words)", "yellow") if window.fallback else Text()
        count = len(window.item_ids)
        table.add_row(
            Text(f"{number} ({count} item{'' if count == 1 else 's'})", "dim"),
            Text.assemble(words(_levels(window)), mark),
            words(" ".join(f"↑{value}" for value in window.rising), "green"),
            words(" ".join(f"↓{value}" for value in window.fading), "red"),
        )
    return table


def _levels(window: Window) -> str:
    """The preference without the directions, which have columns of their own."""
    text = window.preference
    for name, values in (("rising", window.rising), ("fading", window.fading)):
        text = text.replace(f"; {name} {', '.join(values)}", "") if values else text
    return text


def profile_table(profile: Profile, titles: Mapping[str, str]) -> RenderableType:
    """Stable tastes, strongest first, with what they rest on."""
    if not profile.statements:
        return words(profile.text or "nothing known yet")
    table = Table.grid(padding=(0, 2))
    for strength, group in groupby(profile.statements, key=lambda each: each.strength):
        style = STRENGTHS.get(strength, "")
        for index, statement in enumerate(group):
            table.add_row(
                words(strength if index == 0 else "", style),
                words(statement.facet, "bold"),
                _evidence(statement.evidence, titles),
            )
    return table


def items_view(
    items: Iterable[RecommendedItem],
    titles: Mapping[str, str],
    pictures: Pictures,
    *,
    digits: int = 3,
) -> RenderableType:
    """The recommended items, best first, each with its score, reason and evidence."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    if pictures.way != "none":
        table.add_column(width=PICTURE_COLUMNS)
    table.add_column(ratio=1)
    for rank, item in enumerate(items, 1):
        picture = pictures.of(item.item_id)
        about = Padding(_about(item, rank, titles, digits), (0, 0, 1, 0))
        cells = [picture] if picture is not None else []
        table.add_row(Text(str(rank), "bold"), *cells, about)
    return table


def _about(
    item: RecommendedItem, rank: int, titles: Mapping[str, str], digits: int
) -> RenderableType:
    moved = f"{item.retrieval_rank} → {rank}" if item.retrieval_rank != rank else str(rank)
    lines = [
        Text.assemble(
            words(item.title or "untitled", "bold", limit=120), " ", id_text(item.item_id)
        ),
        Text.assemble(
            ("score ", "dim"),
            (f"{item.score:.{digits}f}", "bold green"),
            (f"   retrieval {moved}", "dim"),
            (f"   by {', '.join(item.sources)}" if item.sources else "", "dim"),
        ),
        Text.assemble(("because ", "dim"), words(item.reason)),
    ]
    if item.line:
        lines.insert(1, words(item.line, "dim"))
    if item.evidence:
        lines.append(Text.assemble(("seen in ", "dim"), _evidence(item.evidence, titles)))
    return Group(*lines)


def cost_table(result: Recommendation) -> Table:
    """Seconds and tokens, node by node."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("node", no_wrap=True)
    for name in ("seconds", "calls", "stored", "tokens in", "cached", "tokens out"):
        table.add_column(name, justify="right")
    nodes = [name for name in result.seconds if name != "total"]
    for name in nodes:
        table.add_row(Text(name), *_costs(result.seconds[name], result.tokens.get(name, Tokens())))
    total = sum(result.tokens.values(), Tokens())
    table.add_section()
    seconds = result.seconds.get("total", sum(result.seconds[name] for name in nodes))
    table.add_row(Text("total"), *_costs(seconds, total), style="bold")
    return table


def _costs(seconds: float, tokens: Tokens) -> list[Text]:
    counts = (tokens.calls, tokens.stored, tokens.prompt, tokens.cached, tokens.completion)
    return [Text(f"{seconds:.2f}"), *(Text(f"{count:,}" if count else "·") for count in counts)]


def run_facts(result: Recommendation) -> Table:
    """The path taken through the graph, what answered, and where to look closer."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row(Text("path"), Text(path_text(result.path)))
    engine = words(f"{result.engine} with {result.model}")
    if result.engine_seconds and (total := result.seconds.get("total")):
        engine.append(f", {result.engine_seconds / total:.0%} of the time", "dim")
    table.add_row(Text("engine"), engine)
    table.add_row(Text("trace"), Text(result.trace_id))
    if result.fallbacks:
        table.add_row(Text("note"), Text(_counted_forms(result.fallbacks, "text"), "yellow"))
    return table


def path_text(path: Iterable[str]) -> str:
    """The nodes in the order in which they ran, repeated ones counted."""
    steps = [(name, len(list(passes))) for name, passes in groupby(path)]
    return " → ".join(
        name if passes == 1 else f"{name} ({passes} passes)" for name, passes in steps
    )


def _counted_forms(number: int, noun: str) -> str:
    """How often code had to put a plain form in the place of the model's words."""
    if number == 1:
        return f"1 {noun} is a counted form, not the model's"
    return f"{number} {noun}s are counted forms, not the model's"


def _partly_timed(users: int, rows: int) -> str:
    """Whose times do not count, and what would make them count."""
    return (
        f"users with times in some rows only: {users:,} (rows without: {rows:,}); their rows stand "
        "in the order of the file: give each of them a time, or a position"
    )


def ingest_view(report: IngestReport) -> RenderableType:
    """What ingest took, made and refused."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold")
    table.add_column()
    facts = (
        (report.items, "item{s}", ""),
        (report.interactions, "interaction{s}", ""),
        (report.users, "user{s}", ""),
        (report.fused, "fused description{s}", ""),
        (report.repeats, "repeated row{s} of a user with an item: the first counts", "dim"),
        (report.left_out, "row{s} left out by --limit-items", "dim"),
        (report.rejected, "row{s} rejected", "yellow"),
        (report.pictures_rejected, "picture{s} rejected", "yellow"),
        (report.texts_cut, "text{s} cut short", "yellow"),
    )
    for number, name, style in facts:
        if number or not style:
            named = name.format(s="" if number == 1 else "s")
            table.add_row(Text(f"{number:,}"), Text(named, style))
    parts: list[RenderableType] = [table]
    if report.partly_timed_users:
        parts.append(Text(_partly_timed(report.partly_timed_users, report.untimed_rows), "yellow"))
    if report.fallbacks:
        parts.append(Text(_counted_forms(report.fallbacks, "description"), "yellow"))
    if report.reject_file:
        parts.append(words(with_tilde(f"reasons: {report.reject_file}"), "yellow"))
    # Without descriptions no engine was asked.
    by = "" if report.engine == "none" else f" with {report.engine}"
    parts.append(Text(f"{report.seconds:.1f} s{by}", "dim"))
    return Group(*parts)


def next_steps(commands: Iterable[tuple[str, str]]) -> RenderableType:
    """What to type next: commands, each whole on a line so that it can be copied, and what for."""
    lines: list[RenderableType] = [heading("What next")]
    for command, purpose in commands:
        lines += [to_copy(command, "bold cyan"), Padding(Text(purpose), (0, 0, 0, 3), expand=False)]
    return Group(*lines)


def facts_table(facts: Mapping[str, object]) -> Table:
    """Names and values, nested ones in lines of their own; what is not known is a dash."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if isinstance(value, Mapping):
            shown: RenderableType = facts_table(value)
        else:
            shown = words(_fact(value))
        table.add_row(Text(name.replace("_", " "), "dim"), shown)
    return table


def _fact(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "-" if value is None else with_tilde(str(value))


def score_digits(noise_floor: float | None) -> int:
    """Digits of a score that mean something: none below the engine's own noise."""
    if noise_floor is None or noise_floor < 0.0005:
        return 3
    return 2 if noise_floor < 0.005 else 1


def _evidence(item_ids: Iterable[str], titles: Mapping[str, str]) -> Text:
    ids = list(item_ids)
    names = [words(titles.get(item_id) or item_id, "dim", limit=34) for item_id in ids[:3]]
    more = Text(f" and {len(ids) - 3} more", "dim") if len(ids) > 3 else Text()
    return Text.assemble(Text(", ", "dim").join(names), more)
