from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

from hypothesis import example, given
from hypothesis import strategies as st

from registry_tool.cli.views.treemap import Box, squarify, treemap
from registry_tool.content.usage.account import Area

sizes = st.lists(st.integers(1, 2**60), max_size=40).map(lambda each: sorted(each, reverse=True))


@given(sizes)
def test_rectangles_fill_the_box_in_proportion(values: list[int]) -> None:
    box = Box(10, 20, 1200, 700)
    boxes = squarify(values, box)
    assert len(boxes) == len(values)
    for value, each in zip(values, boxes, strict=True):
        assert math.isclose(each.width * each.height, 1200 * 700 * value / sum(values), rel_tol=1e-6, abs_tol=1e-6)
        assert box.x - 1e-6 <= each.x <= each.x + each.width <= box.x + box.width + 1e-6
        assert box.y - 1e-6 <= each.y <= each.y + each.height <= box.y + box.height + 1e-6


names = st.text(st.characters(codec="utf-8"), max_size=20)
areas = st.lists(
    st.builds(Area, group=names, name=names, bytes=st.integers(1, 2**50)), max_size=20, unique_by=lambda area: (area.group, area.name)
)


@example("\ufffe", [Area(group="\uffff", name="a surrogate: \udc80", bytes=1)])
@given(names, areas)
def test_picture_is_xml_that_has_all_bytes_whatever_the_names(title: str, chosen: list[Area]) -> None:
    root = ET.fromstring(treemap(title, chosen))  # noqa: S314 - our own
    tooltips = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}title")]
    counted = [int(match[1]) for each in tooltips if (match := re.search(r"\((\d+) bytes\)\Z", each))]
    assert sum(counted) == sum(area.bytes for area in chosen)
