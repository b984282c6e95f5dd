"""A running site with its server, for the tests of its HTTP side."""

import pytest

from forerun.web.control import Controls
from site_web import running_site, site_file


@pytest.fixture(scope="module")
def one_site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / "reports" / "2026-05-01").mkdir(parents=True)
    (folder / "reports" / "2026-05-01" / "report.html").write_text("<h1>report</h1>")
    (folder / "secret.html").write_text("secret")
    (folder / "reports" / "link.html").symlink_to(folder / "secret.html")
    with running_site(site_file(folder)) as site:
        yield site


@pytest.fixture
def site(one_site):
    """The site without the requests and jobs of other tests."""
    one_site.server.parts.controls = Controls(one_site.server.parts.clock)
    yield one_site
    for name in list(one_site.running.service.jobs):
        one_site.operate.ask("DELETE", "/v1/jobs/" + name)
