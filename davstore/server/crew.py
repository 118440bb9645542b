"""The supervisor's hands: forks, tells to end, kills what is stuck or does not end."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from davstore.server import child
from davstore.server.pulse import Pulse
from davstore.server.signals import ended, send
from davstore.server.staff import Post

_log = logging.getLogger(__name__)

#: What a child is given beyond its patience before it is killed, in seconds.
_KILL_MARGIN = 5.0


@dataclass
class Leaver:
    """A child that was told to end. At `end` (time.monotonic()) it is killed."""

    patience: float
    end: float


class Crew:
    """All children: those who fill posts, and those who were told to end (`leaving`)."""

    def __init__(self) -> None:
        self.leaving: dict[int, Leaver] = {}

    def fill(self, post: Post, stuck_timeout: float) -> bool:
        """Fork; whether there was room for another process."""
        post.started = time.monotonic()
        pulse = post.pulse = Pulse(stuck_timeout)

        def run() -> int:
            pulse.begin()
            return post.run()

        try:
            post.pid = child.fork(run)
        except OSError as error:
            pause = post.vacate(post.started)
            _log.error("Cannot fork: %s; another try follows in %.1f s", error, pause)
            return False
        # Only workers tell when they are.
        post.is_ready = post.name != "worker"
        return True

    def is_vacant(self, post: Post) -> bool:
        """Whether `post` may be filled."""
        return post.pid is None and post.predecessor not in self.leaving

    def dismiss(self, posts: Iterable[Post], number: signal.Signals = signal.SIGTERM) -> None:
        """Tell who fills `posts` to end."""
        for post in posts:
            if post.pid is not None:
                end = time.monotonic() + post.patience + _KILL_MARGIN
                self.leaving[post.pid] = Leaver(post.patience, end)
                send(post.pid, number)
                post.pid = None

    def retire(self, posts: Iterable[Post]) -> None:
        """Let who fills `posts` end when it likes, since others have taken over."""
        posts = list(posts)
        pids = [post.pid for post in posts if post.pid is not None]
        self.dismiss(posts, child.RETIRE)
        for pid in pids:
            self.leaving[pid].end = math.inf

    def hurry(self) -> None:
        """Those who had no haste have some now."""
        for pid, leaver in self.leaving.items():
            leaver.end = min(leaver.end, time.monotonic() + leaver.patience + _KILL_MARGIN)
            send(pid, signal.SIGTERM)

    def kill(self) -> None:
        """End at once all who were told to end."""
        for pid in self.leaving:
            send(pid, signal.SIGKILL)

    def reap(self) -> None:
        """Forget who has ended as told."""
        for pid in list(self.leaving):
            if ended(pid) is not None:
                del self.leaving[pid]

    def watch(self, posts: Iterable[Post], now: float) -> None:
        """Kill who is stuck, and who does not end."""
        for post in posts:
            if post.pid is not None and post.pulse is not None and post.pulse.has_stopped(now):
                _log.error("The %s %d gives no sign of life and is killed", post.name, post.pid)
                send(post.pid, signal.SIGKILL)
        for pid, leaver in self.leaving.items():
            if leaver.end <= now:
                _log.warning("Process %d does not end and is killed", pid)
                send(pid, signal.SIGKILL)
                leaver.end = now + _KILL_MARGIN

    def due(self, posts: Iterable[Post]) -> Iterator[float]:
        """When `watch` has something to look at (time.monotonic())."""
        yield from (post.pulse.due for post in posts if post.pid and post.pulse)
        yield from (leaver.end for leaver in self.leaving.values() if leaver.end < math.inf)
