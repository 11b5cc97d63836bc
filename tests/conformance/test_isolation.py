"""Model units hold on real sockets, beside ten times more on-demand traffic than there is room."""

import pytest

from benchmarks.isolation import Plan, run, summary


@pytest.mark.slow
def test_provisioned_traffic_is_not_disturbed_and_on_demand_traffic_has_the_rest() -> None:
    # Fewer and longer answers than the benchmark's: what is measured is the queue, not the machine.
    plan = Plan(slots=8, answer_s=0.25, unloaded_s=4, seconds=7, queue_deadline_s=1.0)

    found = summary(run(plan), plan)

    assert found.provisioned_refused == 0
    assert found.p99_ratio <= 1.5
    assert found.on_demand_answers_per_s >= 0.85 * (plan.capacity - found.provisioned_answers_per_s)
