"""docs/coverage.md says what the code does."""

import re
from pathlib import Path

import yaml

from analytics.audit.page import updated
from config.schema import Config

PAGE = Path("docs/coverage.md").read_text()


def test_the_table_of_exemptions_is_that_of_the_code():
    assert updated(PAGE) == PAGE, "run python -m analytics.audit.page"


def test_the_settings_of_the_page_are_the_defaults():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    told = Config.model_validate(yaml.safe_load(text)).collector.analytics.audit_coverage
    assert told == Config().collector.analytics.audit_coverage
    shown = yaml.safe_load(text)["collector"]["analytics"]["audit_coverage"]
    assert set(shown) == set(type(told).model_fields)
