"""The Doctor panel without a browser: what it makes of findings and of a browser's report."""

from types import SimpleNamespace

import pytest

from widgets import Doctor, doctor


def finding(state, check, found="", repair="", front_end=None):
    return SimpleNamespace(state=state, check=check, found=found, repair=repair, front_end=front_end)


REPORT = {
    "type": "report",
    "round_trip_ms": 12.0,
    "webgl": "ANGLE (NVIDIA GeForce)",
    "elsewhere": [],
    "front_ends": {"nglview-js-widgets": {"version": "3.1.4", "whole": True}},
}
MACHINE = [
    finding("ok", "nglview", "3.1.4", front_end=("nglview-js-widgets", "3.1.4")),
    finding("warn", "disk", "1.0 GB free", "du -sh runs/*"),
]


def told(**changes):
    """The panel after a report, and its rows by what was checked."""
    panel = Doctor(MACHINE)
    panel._receive(None, {**REPORT, **changes}, [])
    return panel, {row.check: row for row in panel.rows}


def test_says_that_no_browser_has_answered():
    panel = Doctor(MACHINE)
    assert not panel.answered
    assert panel.describe() == "2 checks are in order, 1 warn, 0 fail. The browser has not answered yet."
    assert panel.repair.startswith("reload the page")
    assert panel.rows[0].check == "disk", "the worst comes first"
    assert panel.picture().startswith(b"\x89PNG")


def test_a_good_report():
    panel, rows = told()
    assert panel.answered
    assert {row.state for row in panel._browser} == {"ok"}
    assert rows["messages, browser to kernel and back"].found == "12 ms"
    assert rows["nglview-js-widgets in this page"].found == "3.1.4"
    assert "6 checks are in order" in panel._rows.value


@pytest.mark.parametrize(
    ("changes", "check", "state", "words"),
    [
        ({"webgl": None}, "WebGL", "fail", "has none"),
        ({"webgl": "ANGLE (Google, Vulkan 1.3 (SwiftShader Device))"}, "WebGL", "warn", "on the processor"),
        ({"round_trip_ms": 4000}, "messages, browser to kernel and back", "warn", "4000 ms"),
        ({"elsewhere": ["cdn.example"]}, "without the network", "warn", "cdn.example"),
        ({"front_ends": {}}, "nglview-js-widgets in this page", "fail", "does not have it"),
        ({"front_ends": {"nglview-js-widgets": {"version": "3.1.5", "whole": True}}},
         "nglview-js-widgets in this page", "fail", "3.1.5; Python asks for 3.1.4"),
        ({"front_ends": {"nglview-js-widgets": {"version": "3.1.4", "whole": False}}},
         "nglview-js-widgets in this page", "fail", "does not load"),
    ],
)  # fmt: skip
def test_what_a_browser_lacks_is_found(changes, check, state, words):
    panel, rows = told(**changes)
    assert rows[check].state == state
    assert words in rows[check].found
    assert sum(row.state != "ok" for row in panel._browser) == 1
    if state == "fail":
        assert panel.repair == rows[check].repair != ""


def test_a_nglview_that_cannot_draw_is_found(monkeypatch):
    monkeypatch.setattr(
        doctor, "why_not", lambda: "nglview could not be imported (No module named 'pkg_resources')"
    )
    panel = Doctor()
    assert panel.rows[0].state == "fail"
    assert panel.repair.endswith("-m pip install nglview==3.1.4 'setuptools<82'")


def test_questions_are_answered_and_looking_again_forgets(monkeypatch):
    panel, _ = told()
    sent = []
    monkeypatch.setattr(panel._probe, "send", sent.append)
    panel._receive(None, {"type": "question", "at": 3.5}, [])
    panel._again.click()
    assert sent == [{"type": "answer", "at": 3.5}, {"type": "look"}]
    assert not panel.answered


def test_markup_in_a_finding_is_text():
    assert "<img" not in Doctor([finding("fail", "x", "<img src=y>", "rm '<b>'")])._rows.value
