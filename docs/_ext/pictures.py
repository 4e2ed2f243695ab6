"""The directive that puts a picture into a page: ``{picture} states``."""

from __future__ import annotations

import drawing
import state_diagram
import threads_picture
import way_picture
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import yoton.connection.protocol

PICTURES = {
    "states": state_diagram.draw,
    "threads": threads_picture.draw,
    "way": way_picture.draw,
}

#: What the pictures are made of; a page with a picture is made again when one of them changes.
_SOURCES = [
    __file__,
    *(module.__file__ for module in (drawing, state_diagram, threads_picture, way_picture)),
    yoton.connection.protocol.__file__,
]


class PictureDirective(SphinxDirective):
    """Draws the picture whose name is the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """See `docutils.parsers.rst.Directive.run`."""
        name = self.arguments[0]
        if name not in PICTURES:
            raise self.error(f"there is no picture {name!r}, but {', '.join(PICTURES)}")
        for source in _SOURCES:
            self.env.note_dependency(source)
        try:
            picture = PICTURES[name]()
        except state_diagram.MissingPlace as error:
            raise self.error(str(error)) from error
        return [nodes.raw("", f'<figure class="picture">{picture}</figure>', format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("picture", PictureDirective)
    return {"parallel_read_safe": True}
