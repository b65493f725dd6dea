"""Whether the time of an answer tells why an API key opens nothing.

    python -m benchmarks.key_timing --rounds 2000 --database postgres

Shows one key after the other to a server's `KnownKeys`, in turn: one that is unknown, revoked, expired, replaced by a
rotation, and not allowed from this address. The last three are known: they opened something before. Prints the median
of each in microseconds, with the quartiles, and its ratio to that of the unknown key. It has no bound: some percent are
nothing beside what a network adds.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from random import sample
from statistics import quantiles
from time import perf_counter_ns

from app.access.api_keys import create_api_key, revoke_api_key
from app.access.check import GrantValues, RoleValues
from app.access.known_keys import KnownKeys
from app.access.manage import create_role
from app.access.models import ApiKey
from app.access.rotate import rotate_api_key
from app.clock import now
from app.errors import Unauthenticated
from tests.journeys.installation import database_options, new_installation, opened
from tests.journeys.program import Heliograph

HERE, THERE = "192.0.2.7", "198.51.100.1"
LATER = [timedelta()]
KNOWN = KnownKeys(100, now=lambda: now() + LATER[0])
WARM_UP = 50


async def key_timing(installed: Heliograph, rounds: int) -> Mapping[str, list[int]]:
    """The nanoseconds of each answer, by what is wrong with the key."""
    await installed.migrate()
    async with opened(installed):
        keys = await _keys()
        for name in ("expired", "replaced", "elsewhere"):
            await KNOWN.authenticate(keys[name], origin=THERE)
        LATER[0] = timedelta(hours=2)
        times: dict[str, list[int]] = {name: [] for name in keys}
        for number in range(rounds + WARM_UP):
            for name, text in sample(list(keys.items()), len(keys)):
                began = perf_counter_ns()
                with suppress(Unauthenticated):
                    await KNOWN.authenticate(text, origin=HERE)
                if number >= WARM_UP:
                    times[name].append(perf_counter_ns() - began)
    return times


async def _keys() -> Mapping[str, str]:
    role = await create_role(RoleValues("shop", grants=(GrantValues(None, ["SEND"]),)), None)
    made = {
        name: await create_api_key(
            role.id, name, None, None, allowed_networks=["198.51.100.0/24"] if name == "elsewhere" else ()
        )
        for name in ("revoked", "expired", "replaced", "elsewhere")
    }
    await revoke_api_key(made["revoked"][0].id, None)
    await ApiKey.filter(id=made["expired"][0].id).update(expires_at=now() + timedelta(hours=1))
    await rotate_api_key(made["replaced"][0].id, 3600, None)
    return {"unknown": f"hg_{'x' * 43}"} | {name: text for name, (_, text) in made.items()}


def main() -> int:
    """The program; returns its exit status."""
    parser = database_options(__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    logging.basicConfig(filename="/dev/null", level="INFO")  # a line is written, as by a server
    with new_installation(options) as installed:
        times = asyncio.run(key_timing(installed, options.rounds))
    unknown = quantiles(times["unknown"], n=4)[1]
    for name, taken in times.items():
        lower, median, upper = quantiles(taken, n=4)
        print(f"{name:10} {median / 1e3:8.1f} us ({lower / 1e3:.1f} to {upper / 1e3:.1f})   {median / unknown:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
