"""One thread per test process, as the components have it; property tests are not timed."""

from hypothesis import settings

from sfmarl.threads import use_threads

use_threads(1)
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
