"""The supervisor: binds, forks, waits, signals. One thread, nothing else runs in it.

If it is killed the kernel kills its children (see `child`). A child that dies is replaced.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

from davstore.errors import ConfigError
from davstore.server import child
from davstore.server.children import Restarts, Shared, be_housekeeper, be_rehearsal, be_worker
from davstore.server.crew import Crew
from davstore.server.housekeeper import LEAVE_WITHIN
from davstore.server.listener import open_listener, turn_away
from davstore.server.plan import Plan, Renewal, Stage
from davstore.server.rehearsal import Rehearsal, SamePlan
from davstore.server.signals import ended, reap_orphans, send, signals_to
from davstore.server.staff import Post, describe
from davstore.server.tallies import Tallies
from davstore.server.tls import check_certificate
from davstore.server.words import Word, Words, pipe

_log = logging.getLogger(__name__)

#: Exit statuses of `run`.
OK = 0
FAILED = 1

#: A request to stop that comes again so soon is the same one, on two ways: a wrapper (timeout,
#: make) passes on what the whole process group has got already.
_SAME_REQUEST = 1.0

#: How long the post of a child that somebody else told to end stays empty: of a signal to the
#: whole group the supervisor's own may be the last to arrive.
_DESERTED = 0.5

#: The end of accepting leaves handshakes that are under way so many seconds to complete. The
#: workers go on accepting meanwhile.
_HANDSHAKE = 0.05

#: How long, in seconds, each step of a reload may take: trying the configuration, starting.
_RELOAD_WITHIN = 60.0


class Supervisor:
    """Runs the workers of `plan` on one socket, and a housekeeper.

    `on_ready` is called once, in the supervisor, when every worker answers, with the address
    bound; `on_stage` at every stage. `listener` and `admin` are listening sockets to adopt, the
    second one for the housekeeper; `outlives`: somebody else goes on with `listener` afterwards.
    `renewal` is where a reload has its plan from; without one it is the same plan.

    TERM, INT: stop gracefully: the housekeeper says that the node leaves, then nothing more is
    accepted, running requests end, the housekeeper ends last. A second one, a second later or
    more: at once. HUP: replace all children, the old ones finish what they have.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        on_ready: Callable[[tuple[str, int]], None] = lambda _: None,
        on_stage: Callable[[Stage], None] = lambda _: None,
        listener: socket.socket | None = None,
        outlives: bool = False,
        admin: socket.socket | None = None,
        renewal: Renewal | None = None,
    ) -> None:
        self._plan = plan
        self._renewal = renewal
        self._announce = on_ready
        self._tell = on_stage
        self._listener = listener
        self._outlives = outlives
        self._admin = admin
        self._crew = Crew()
        self._workers: list[Post] = []
        self._housekeeper: Post | None = None
        #: The first step of a reload; what it tries; the plan and the workers of the second one,
        #: until all of these are ready.
        self._rehearsing: Post | None = None
        self._rehearsal: Rehearsal | None = None
        self._next_plan = plan
        self._successors: list[Post] = []
        #: When the step at hand has failed.
        self._reload_until = math.inf
        self._reload_again = False
        self._is_stopping = False
        self._stopping_since = 0.0
        #: When accepting ends although the housekeeper has not said that the node has left.
        self._leave_until = math.inf
        self._is_draining = False
        self._is_announced = False
        self._status = OK
        self._shared: Shared
        self._handlers: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self.handle_sigterm,
            signal.SIGINT: self.handle_sigint,
            signal.SIGHUP: self.handle_sighup,
            signal.SIGCHLD: self.handle_sigchld,
        }

    def run(self) -> int:
        """Serve until told to stop. Returns the exit status for the process, which is to end
        then: what it could be told by has no effect any more."""
        settings = self._plan.settings
        try:
            check_certificate(settings)
            listener = self._listener or open_listener(
                settings.host, settings.port, settings.backlog
            )
        except ConfigError as error:
            _log.error("Cannot start: %s", error)
            return FAILED
        except OSError as error:
            _log.error("Cannot listen on %s, port %d: %s", settings.host, settings.port, error)
            return FAILED
        with listener, contextlib.ExitStack() as stack:
            words = Words(stack.enter_context(pipe()))
            self._shared = Shared(listener, self._admin, words, Tallies(), Restarts())
            signal_in, signal_out = stack.enter_context(pipe())
            stack.enter_context(signals_to(signal_out))
            # What is there now is shared with the children; the collector would copy its pages.
            gc.collect()
            gc.freeze()
            self._workers = self._new_workers(self._plan)
            if self._plan.housekeeping is not None:
                self._housekeeper = Post("housekeeper", self._keep_house, settings.drain_timeout)
                self._fill(self._housekeeper)
            while not self._is_over():
                self._wait(signal_in)
                self._do_what_is_due(time.monotonic())
        return self._status

    def _new_workers(self, plan: Plan) -> list[Post]:
        settings = plan.settings
        posts = [
            Post("worker", lambda: be_worker(plan, self._shared), settings.drain_timeout)
            for _ in range(settings.workers)
        ]
        for post in posts:
            self._fill(post)
        return posts

    def _keep_house(self) -> int:
        return be_housekeeper(self._plan, self._shared)

    # Signals, one method each.

    def handle_sigterm(self) -> None:
        if not self._is_stopping:
            self._stop()
        elif time.monotonic() - self._stopping_since >= _SAME_REQUEST:
            self._stop_at_once()

    def handle_sigint(self) -> None:
        self.handle_sigterm()

    def handle_sighup(self) -> None:
        """Have new workers take over; the old ones go once all of the new are ready."""
        if self._is_stopping:
            _log.warning("Not reloading: busy with stopping")
        elif not self._is_announced or self._is_reloading:
            # What was read already may have changed before this signal.
            _log.warning("Not reloading yet: busy with starting or reloading; it follows")
            self._reload_again = True
        else:
            self._reload()

    def handle_sigchld(self) -> None:
        for post in self._posts():
            if post.pid is not None and (status := ended(post.pid)) is not None:
                self._on_end(post, status)
        # After the posts: one signal may stand for several deaths, and the first can have the
        # others dismissed who are dead as well.
        self._crew.reap()
        reap_orphans([post.pid for post in self._posts() if post.pid] + list(self._crew.leaving))

    # Reloading.

    @property
    def _is_reloading(self) -> bool:
        return self._rehearsing is not None or bool(self._successors)

    def _reload(self) -> None:
        _log.info("Reloading")
        self._tell(Stage.RELOADING)
        self._reload_again = False
        self._reload_until = time.monotonic() + _RELOAD_WITHIN
        try:
            self._rehearsal = Rehearsal(self._renewal or SamePlan(self._plan))
        except OSError as error:
            _log.error("Not reloading: %s", error)
            self._end_reload()
            return
        self._rehearsing = Post("rehearsal", partial(be_rehearsal, self._rehearsal, self._shared))
        self._fill(self._rehearsing)

    def _on_rehearsed(self, status: int) -> None:
        rehearsal = self._rehearsal
        assert rehearsal is not None
        self._rehearsing = None
        try:
            if status != 0:
                _log.error("Not reloading, the old workers go on: see above")
            else:
                self._next_plan = rehearsal.plan()
                self._reload_until = time.monotonic() + _RELOAD_WITHIN
                self._successors = self._new_workers(self._next_plan)
        except Exception:
            _log.exception("Not reloading, the old workers go on")
        finally:
            rehearsal.close()
        if not self._successors:
            self._end_reload()

    def _succeed(self) -> None:
        """The new workers answer: the old ones may go, the housekeeper begins anew.

        There are never two housekeepers: what one does at its end must not hit the next one.
        """
        self._crew.retire(self._workers)
        self._workers, self._successors = self._successors, []
        stays_known = self._next_plan.known_as == self._plan.known_as
        self._plan = self._next_plan
        self._plan.begin()
        keeper = self._housekeeper
        if keeper is not None and keeper.pid is not None:
            keeper.predecessor = keeper.pid
            # Where it is known by what it was, nobody else would take it back.
            self._crew.dismiss([keeper], child.RETIRE if stays_known else signal.SIGTERM)
        _log.info("Reloaded")
        self._end_reload()

    def _fail_reload(self, reason: str) -> None:
        _log.error("Reload failed: %s; the old go on", reason)
        self._give_up_reload()
        self._end_reload()

    def _give_up_reload(self) -> None:
        """Nothing of it is needed any more."""
        if self._rehearsing is not None and self._rehearsal is not None:
            self._rehearsal.close()
            self._crew.dismiss([self._rehearsing], signal.SIGKILL)
            self._rehearsing = None
        self._crew.dismiss(self._successors)
        self._successors = []

    def _end_reload(self) -> None:
        self._reload_until = math.inf
        self._tell(Stage.READY)
        if self._reload_again:
            self._reload()

    # What happens.

    def _posts(self) -> list[Post]:
        others = (self._housekeeper, self._rehearsing)
        return self._workers + self._successors + [post for post in others if post is not None]

    def _is_over(self) -> bool:
        return self._is_draining and not self._crew.leaving and self._housekeeper is None

    def _fill(self, post: Post) -> None:
        filled = self._crew.fill(post, self._plan.settings.stuck_timeout)
        if filled and post.pid is not None and self._is_stopping:
            # It is here to say that the node leaves: the one before it was told otherwise.
            send(post.pid, child.LEAVE)

    def _on_end(self, post: Post, status: int) -> None:
        """The child `post.pid` has ended."""
        if post is self._rehearsing:
            self._on_rehearsed(status)
        elif self._is_stopping:
            post.pid = None
            if post is self._housekeeper:
                # What it has not said it will not say.
                self._drain()
        elif status == 0:
            # Whether it has to be replaced at all is known when the post is due.
            post.deserter = post.pid
            post.vacate(time.monotonic(), _DESERTED)
        else:
            self._replace(post, status)

    def _replace(self, post: Post, status: int) -> None:
        """What `post` was filled by has failed."""
        what = f"{post.name} {post.pid} {describe(status)}"
        was_ready = post.is_ready
        pause = post.vacate(time.monotonic())
        if post in self._successors:
            self._fail_reload(f"new {what}")
        elif post.name == "worker" and not self._is_announced and not was_ready:
            _log.error("Cannot start: %s", what)
            self._status = FAILED
            self._stop()
        else:
            _log.error("The %s; another one follows in %.1f s", what, pause)
            if post.name == "worker":
                self._shared.restarts.add()

    def _on_word(self, pid: int, word: Word) -> None:
        keeper = self._housekeeper
        if word is Word.LEFT:
            if self._is_stopping and keeper is not None and keeper.pid == pid:
                self._drain()
            return
        for post in self._posts():
            if post.pid == pid:
                post.is_ready = True
        if self._is_stopping:
            return
        if self._successors and all(post.is_ready for post in self._successors):
            self._succeed()
        if not self._is_announced and all(post.is_ready for post in self._workers):
            self._is_announced = True
            self._on_ready()

    def _on_ready(self) -> None:
        self._tell(Stage.READY)
        try:
            self._announce(self._shared.listener.getsockname()[:2])
        except Exception:
            # Whoever was to hear of it does not; the clients are served all the same.
            _log.exception("That all workers answer could not be announced")
        if self._reload_again:
            self._reload()

    # Stopping.

    def _stop(self) -> None:
        self._is_stopping = True
        self._stopping_since = now = time.monotonic()
        self._tell(Stage.STOPPING)
        self._give_up_reload()
        keeper = self._housekeeper
        is_away = keeper is None or (keeper.pid is None and self._crew.is_vacant(keeper))
        if self._admin is None or keeper is None or is_away:
            self._drain()
            return
        self._leave_until = now + LEAVE_WITHIN
        if keeper.pid is not None:
            send(keeper.pid, child.LEAVE)

    def _drain(self) -> None:
        """Nobody is sent here any more, or that has to be enough: take no new connections."""
        if self._is_draining:
            return
        self._is_draining = True
        self._leave_until = math.inf
        if not self._outlives:
            turn_away(self._shared.listener)
            time.sleep(_HANDSHAKE)
        # The workers take who has connected already, then close it as well.
        self._shared.listener.close()
        self._crew.hurry()
        self._crew.dismiss(self._workers)
        self._workers = []

    def _end_house(self) -> None:
        """The housekeeper goes last: until then it tells how things are."""
        if self._is_draining and not self._crew.leaving and self._housekeeper is not None:
            # What it does now can be taken up by the next one, at the next start.
            self._housekeeper.patience = 0.0
            self._crew.dismiss([self._housekeeper])
            self._housekeeper = None

    def _stop_at_once(self) -> None:
        _log.warning("Stopping at once")
        self._status = FAILED
        self._drain()
        if self._housekeeper is not None:
            self._crew.dismiss([self._housekeeper])
            self._housekeeper = None
        self._crew.kill()

    # Time.

    def _do_what_is_due(self, now: float) -> None:
        for post in self._posts():
            if self._has_to_be_filled(post, now):
                if post.deserter is not None:
                    text = "The %s %d ended without the supervisor's word; another one follows"
                    _log.warning(text, post.name, post.deserter)
                    post.deserter = None
                self._fill(post)
        self._crew.watch(self._posts(), now)
        if self._reload_until <= now:
            self._fail_reload(f"it is not done within {_RELOAD_WITHIN:.0f} s")
        if self._leave_until <= now:
            _log.warning("The housekeeper has not said in time that this node leaves")
            self._drain()
        self._end_house()

    def _may_be_filled(self, post: Post) -> bool:
        if self._is_stopping and (self._is_draining or post is not self._housekeeper):
            return False
        return self._crew.is_vacant(post)

    def _has_to_be_filled(self, post: Post, now: float) -> bool:
        return self._may_be_filled(post) and post.due <= now

    def _due(self) -> list[float]:
        """When something is to be looked at, if nothing happens before."""
        due = [post.due for post in self._posts() if self._may_be_filled(post)]
        due += self._crew.due(self._posts())
        due += [self._reload_until, self._leave_until]
        return [moment for moment in due if moment != math.inf]

    def _wait(self, signal_in: int) -> None:
        """Wait for a signal, for a child's word, or until something is due."""
        words = self._shared.words
        due = self._due()
        poll = select.poll()
        poll.register(signal_in, select.POLLIN)
        poll.register(words.fd, select.POLLIN)
        # Rounded up, so as not to wake a moment too early.
        timeout = max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None
        for fd, _ in poll.poll(timeout):
            if fd == words.fd:
                for pid, word in words.read():
                    self._on_word(pid, word)
            else:
                for number in os.read(fd, 64):
                    self._handlers[number]()
