"""One thread per test process, as the components have it."""

from sfmarl.threads import use_threads

use_threads(1)
