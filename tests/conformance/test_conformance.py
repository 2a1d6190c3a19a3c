"""Each script runs against the bare session, the application in memory and a server on a real socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.cases import CASES
from conformance.transports import ServerPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.client_api import ConformanceCase, Transport


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerPool]:
    pool = ServerPool(tmp_path_factory.mktemp("server"))
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("case", "transport"),
    [
        pytest.param(case, transport, id=f"{case.name}-{transport}")
        for case in CASES
        for transport in case.transports
    ],
)
async def test_the_server_does_as_documented(
    case: ConformanceCase, transport: Transport, pool: ServerPool
) -> None:
    async with pool.open_server(transport, case.settings, spends_server=case.spends_server) as server:
        await case.run(server)
