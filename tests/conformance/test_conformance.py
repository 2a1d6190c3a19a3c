"""Each script runs against the bare session, the application in memory and a server on a real socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.cases import CASES
from conformance.doors import ServerPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.line import ConformanceCase, Transport


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerPool]:
    doors = ServerPool(tmp_path_factory.mktemp("server"))
    yield doors
    doors.close()


@pytest.mark.parametrize(
    ("case", "way"),
    [pytest.param(case, way, id=f"{case.name}-{way}") for case in CASES for way in case.transports],
)
async def test_the_server_does_as_documented(
    case: ConformanceCase, way: Transport, doors: ServerPool
) -> None:
    async with doors.open_server(way, case.settings, spends_server=case.spends_server) as door:
        await case.run(door)
