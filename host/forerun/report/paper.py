"""A4 pages with headings, sentences and tables, as PDF: the same content gives the same bytes."""

import io
from collections.abc import Iterable
from pathlib import Path
from xml.sax import saxutils


class Paper:
    """One document; add to it from top to bottom, then take its bytes(). `story`: reportlab's flowables."""

    def __init__(self, title: str):
        import matplotlib
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont

        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        for name, file in (("sans", "DejaVuSans.ttf"), ("bold", "DejaVuSans-Bold.ttf")):
            pdfmetrics.registerFont(TTFont(name, str(fonts / file)))
        self.title = title
        self.story: list = []
        self._style = ParagraphStyle
        self._body = ParagraphStyle("body", fontName="sans", fontSize=8, leading=11, spaceAfter=3)
        self._cell = ParagraphStyle("cell", parent=self._body, fontSize=7, leading=9, spaceAfter=0)
        self._head = ParagraphStyle("head", parent=self._cell, fontName="bold")

    def heading(self, words: str, size: int) -> None:
        """A line in bold, `size` in points."""
        style = self._style("heading", fontName="bold", fontSize=size, leading=size * 1.4, spaceBefore=6)
        self._add(words, style)

    def text(self, words: str) -> None:
        """A paragraph."""
        self._add(words, self._body)

    def table(self, names: Iterable, rows: Iterable[Iterable], widths: tuple[int, ...]) -> None:
        """Rows under a head that is repeated on each page; `widths` are shares of the line."""
        from reportlab.lib.units import mm
        from reportlab.platypus import LongTable, Paragraph, Spacer

        made = [[Paragraph(saxutils.escape(str(item)), style) for item in row]
                for style, row in ((self._head, names), *((self._cell, row) for row in rows))]  # fmt: skip
        lines = [("LINEBELOW", (0, 0), (-1, -1), 0.3, "#999999"), ("VALIGN", (0, 0), (-1, -1), "TOP")]
        width_mm = 180 / sum(widths)
        self.story.append(LongTable(made, [width_mm * width * mm for width in widths], repeatRows=1, style=lines))
        self.story.append(Spacer(1, 4 * mm))

    def bytes(self) -> bytes:
        """The PDF; invariant: no date of making inside, so that a rebuild has the same bytes."""
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate

        paper = io.BytesIO()
        SimpleDocTemplate(paper, pagesize=A4, title=self.title, leftMargin=15 * mm, rightMargin=15 * mm,
                          topMargin=15 * mm, bottomMargin=18 * mm, invariant=1).build(self.story)  # fmt: skip
        return paper.getvalue()

    def _add(self, words: str, style) -> None:
        from reportlab.platypus import Paragraph

        self.story.append(Paragraph(saxutils.escape(words), style))
