"""``webtest.lint``, a second opinion beside ``wsgiref.validate``; WebOb below it still imports the deprecated ``cgi``."""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from webtest import lint


def webtest_lint(app: Any) -> Any:
    """The app, checked on both sides: header values latin-1, status range, bodiless statuses and more."""
    return lint.middleware(app)
