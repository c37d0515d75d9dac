"""How the scripts here tell what came of what they tried: a line each, read by the command that runs them."""

import asyncio
import traceback

# What one thing may take on a machine that does other work.
PATIENCE = 60


async def attempt(what, trial):
    """Awaits `trial()`; it is right if it ends without an exception, and what it returns is told with it."""
    try:
        told = await asyncio.wait_for(trial(), PATIENCE)
        say(what, f"ok, {told}" if told else "ok")
    except Exception as error:  # Whatever it was, the next one is tried as well.
        where = traceback.extract_tb(error.__traceback__)
        lines = [f"{place.filename.rsplit('/', 1)[-1]}:{place.lineno}" for place in where if "tests/clients" in place.filename]
        say(what, f"failed: {type(error).__name__}: {error} ({', '.join(lines[1:])})")


def say(what, result):
    print(what, " ".join(result.split()), sep="\t", flush=True)


def expect(got, wanted):
    """Holds one to the other, and says both if they differ."""
    if got != wanted:
        raise AssertionError(f"{got!r:.300} in place of {wanted!r:.300}")
