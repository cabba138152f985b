"""Every enumeration test runs on each process."""

import pytest
from enumeration import INSTANCES, Instance


@pytest.fixture(params=INSTANCES, name="case")
def _case(request: pytest.FixtureRequest) -> Instance:
    return INSTANCES[request.param]
