"""What every generated wire type is: a frozen record that spells its members in camelCase."""

from msgspec import Struct


class Shape(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A structure of the service model; a member that is absent is never written."""


class UnionShape(Shape, frozen=True, kw_only=True):
    """A structure of which exactly one member is present; `violations` sees to it."""
