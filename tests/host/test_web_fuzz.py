"""Every route with made-up input, from its own description, under all checks that the fuzzer has by itself."""

import hypothesis
import pytest

from openapi import described
from site_web import ANSWER_S, running_site, site_file

EXAMPLES = 10  # of each operation and kind of input

DESCRIBED = described()
OPERATIONS = [f"{method.upper()} {path}" for path, found in DESCRIBED["paths"].items() for method in found]
NOTHING_WRONG = ("GET /v1/jobs", "DELETE /api/v1/session", "GET /api/v1/events")  # nothing in them could be wrong


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with running_site(site_file(tmp_path_factory.mktemp("site"))) as site:
        yield site


@pytest.fixture(scope="module")
def operations():
    """{name: what the fuzzer knows of it}; its import takes a second and more, of each worker that collects."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(DESCRIBED)
    return {f"{found.ok().method.upper()} {found.ok().path}": found.ok() for found in schema.get_all_operations()}


@pytest.mark.parametrize("made_up", ["right", "wrong"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_answers_are_as_described(name, made_up, site, operations):
    from schemathesis.generation import GenerationMode

    wrong = made_up == "wrong" and name not in NOTHING_WRONG
    mode = GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE
    # A stream that is closed gives its first events and ends, where an open one would go on.
    site.server.parts.stream._closed = name == "GET /api/v1/events"

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip
    @hypothesis.given(case=operations[name].as_strategy(generation_mode=mode))
    def fuzz(case):
        token = {"Authorization": f"Bearer {site.tokens['commission']}"}
        case.call_and_validate(base_url=site.server.url, headers=token, timeout=ANSWER_S)

    fuzz()
    assert not [sentence for sentence in site.said if " failed: " in sentence]


def test_the_fuzzer_reaches_everything_that_changes_something(operations):
    assert list(operations) == OPERATIONS
    assert {"POST /v1/jobs", "DELETE /v1/jobs/{job}", "POST /api/v1/controls", "POST /api/v1/controls/{key}/confirm",
            "POST /api/v1/session", "GET /api/v1/reports/{name}", "POST /api/v1/reports",
            "GET /api/v1/events"} <= set(OPERATIONS)  # fmt: skip
