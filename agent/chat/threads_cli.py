"""`srec threads`: list conversations, and delete old ones.

Options in, one function called, a result out. Nothing heavy is loaded here.
"""

# Bodies import what they need when they run (PLC0415): the command line must answer at once.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from mllm_srec.agent.cli_options import DEFAULT_HOME, Home, Json, group
from mllm_srec.agent.terminal.output import Output

threads_app = group("threads", "List conversations, and delete old ones.")

User = Annotated[str | None, typer.Option("--user", "-u", help="Those of this user alone.")]


@threads_app.command("list")
def list_(user: User = None, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List conversations, newest first.

    `srec chat --thread` goes on with one.
    """
    with Output(as_json=as_json) as out:
        from mllm_srec.agent.chat.view import threads_table
        from mllm_srec.store.home import Home as StoredHome

        with StoredHome.open(home) as opened:
            threads = opened.threads.all() if user is None else opened.threads.of(user)
        out.lines(
            (each.model_dump() for each in threads),
            lambda _: threads_table(threads, with_users=user is None),
        )


@threads_app.command()
def prune(
    days: Annotated[
        float | None, typer.Option(min=0, help="Begun more than so many days ago.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=0, help="All but the newest so many of each user.")
    ] = None,
    user: User = None,
    home: Home = DEFAULT_HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; else only count.")] = False,
    as_json: Json = False,
) -> None:
    """Delete old conversations, and give disk back.

    Those that are open stay.
    """
    if days is None and count is None:
        raise typer.BadParameter("say what may stay: --days or --count")
    with Output(as_json=as_json) as out:
        import time

        from mllm_srec.agent.conversation.retention import compact, delete_threads, expired
        from mllm_srec.store.home import Home as StoredHome

        with StoredHome.open(home) as opened:
            threads = opened.threads.all() if user is None else opened.threads.of(user)
            found = expired(threads, days=days, count=count, now=time.time())
            if not yes:
                said = f"{len(found):,} would go: add --yes"
                out.result({"threads": len(found), "deleted": 0}, lambda _: said)
                return
            deleted = delete_threads(opened, found)
            before, after = compact(opened)
        done = f"{len(deleted):,} deleted, {before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now"
        if left := len(found) - len(deleted):
            done += f"; {left:,} stay, because a chat has them open"
        out.result(
            {
                "threads": len(found),
                "deleted": len(deleted),
                "bytes_before": before,
                "bytes_after": after,
            },
            lambda _: done,
        )
