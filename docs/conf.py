"""How Sphinx makes the manual. Run it with ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

from yoton import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "yoton"
author = "the authors of yoton"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "pictures"]
exclude_patterns = ["_build"]
# `PubChannel.send` in a docstring links to what has that name, if it is in the reference.
default_role = "py:obj"

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

#: Methods by which the rooms of the house talk to each other: public there, and none of the
#: user's business.
BETWEEN_ROOMS = [
    # of channels, for the context
    *(
        "deliver",
        "deliver_leading",
        "packages_delivered",
        "act_leading",
        "connection_made",
        "contexts_gone",
        "messages_lost",
        "peers_have_changed",
    ),
    # of the context, for channels
    *(
        "register",
        "await_senders",
        "unregister",
        "send_package",
        "neighbours",
    ),
    *("outboxes", "outbox"),
    *("next_recv_number", "queue_limit", "queue_overflow", "lead", "begin_burst", "flush_burst"),
    # of the context, for connections
    *("own_identity", "new_outbox", "log_level", "arrivals", "act"),
    *("connection_opened", "connection_closing", "connection_ended"),
    *("connection_resumed", "connection_closed", "join_network", "line_closing"),
    # of connections, for the context
    *("peer", "is_congested", "enqueue", "kick", "tell", "tell_news", "wait_for_room"),
    *("begin_close", "await_end", "abandon", "close_within"),
    *("give_up", "renew_outbox", "totals"),
    # of connections, for those who let peers in
    *("run", "resume", "expect_back", "has_session_with", "keeps_session"),
    # of connections, for the link
    *("heard", "announced", "silence_changed", "gap_found"),
    *("link_closing", "link_ended", "link_lost"),
]

autodoc_member_order = "bysource"
# The docstrings say in words what the arguments are.
autodoc_typehints = "none"
autodoc_default_options = {"exclude-members": ", ".join(BETWEEN_ROOMS)}
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "yoton"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_copy_source = False


def _keep_colon(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    # Napoleon takes what stands before a colon in the first line of a property for its type. So
    # another line comes first: a backslash and a line feed stand for nothing in reST.
    if what == "property":
        lines.insert(0, "\\")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _keep_colon, priority=400)  # before napoleon's
