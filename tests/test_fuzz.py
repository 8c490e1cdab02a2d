"""Files that differ from a good one: each is read, or refused in one paragraph, in this process.

300 in every run of the suite, 2,000 in that of `make test-slow`.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest
from fuzzing import _same_registry, cases, folder, good, invoke, quietly, restored  # noqa: F401  (fixtures)
from hypothesis import Phase, given


@pytest.mark.parametrize("examples", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_changed_file_is_read_or_refused(examples, good, folder):  # noqa: F811
    seen: Counter[tuple[str, int]] = Counter()

    @quietly(examples, Phase.generate)
    @given(cases(good))
    def read_or_refused(case):
        kind, data = case
        restored(good, folder, kind, data)
        result = invoke(kind.command)
        assert result.exit_code in (0, 2), (kind.name, data, result.exit_code, result.output, result.exception)
        assert "Traceback" not in result.output, (kind.name, data, result.output)
        assert len(result.stderr) < 3000, (kind.name, data, result.stderr)
        seen[kind.name, result.exit_code] += 1

    read_or_refused()
    print(json.dumps({f"{name} {code}": count for (name, code), count in sorted(seen.items())}))
    total = sum(seen.values())
    assert total >= examples
    for code in (0, 2):
        share = sum(count for (_, found), count in seen.items() if found == code) / total
        assert share >= 0.3, f"exit {code}: {share:.0%} of {total}; {seen}"
