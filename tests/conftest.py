"""What every test shares: the Hypothesis profiles, and nothing else.

`ci` (the default) is the same run every time: 200 derandomized examples, no deadline, because a
loaded machine is not a bug. `soak` looks for news: random, ten times as long, and it prints the
blob that replays a failure. Choose with HYPOTHESIS_PROFILE=soak; `make soak` does.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    derandomize=True,
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "soak",
    max_examples=2_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
