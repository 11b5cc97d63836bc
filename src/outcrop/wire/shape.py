"""What every generated wire type is: a frozen record that spells its members in camelCase.

The garbage collector passes them over (`gc=False`): nothing a record holds knows the record.
"""

from msgspec import Raw, Struct

ABSENT = Raw()
"""A document that is not there. Always this one: msgspec leaves out what is the very default."""


class Shape(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A structure of the service model; a member that is absent is never written."""


class UnionShape(Shape, frozen=True, kw_only=True):
    """A structure of which exactly one member is present; `violations` sees to it."""


class PascalShape(Shape, frozen=True, kw_only=True, rename="pascal"):
    """As `Shape`, spelt as Amazon's older services spell their members: `MetricName`."""
