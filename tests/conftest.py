"""What a run of the project's own tests shows at its end: which clause caught which broken driver."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the broken drivers that were caught, under how many there were."""
    reports = [report for word in ("passed", "failed") for report in terminalreporter.stats.get(word, ())]
    ran = [report for report in reports if "test_a_broken_driver_is_caught[" in report.nodeid]
    caught = sorted(str(value) for report in ran for name, value in report.user_properties if name == "caught by")
    if ran:
        terminalreporter.section(f"broken drivers: {len(caught)} of {len(ran)} caught")
        for line in caught:
            terminalreporter.write_line(line)
