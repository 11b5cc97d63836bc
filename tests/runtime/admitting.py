"""An Admission that limits nothing, for tests of other things."""

from outcrop.counters.local import LocalCounters
from outcrop.fleet.units import Units
from outcrop.metering.config import AdmissionConfig
from outcrop.metering.quotas import Quotas
from outcrop.runtime.admission import Admission
from tests.clocks import FakeClock


def unlimited(*, queue_deadline_s: float = 30) -> Admission:
    terms = AdmissionConfig(queue_deadline_s=queue_deadline_s)
    return Admission(LocalCounters(FakeClock()), Quotas([]), Units({}, [], bases={}), terms)
