"""The rules of slots and waiting, in the plainest way: everything is looked at each time."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Call:
    name: int
    standing: int
    account: str
    weight: float
    servers: tuple[int, ...]


@dataclass(eq=False)
class Turns:
    """Start-time fair queueing of whatever has a name."""

    now: float = 0.0
    ends: dict[object, float] = field(default_factory=dict[object, float])

    def start(self, key: object) -> float:
        return max(self.now, self.ends.get(key, 0.0))

    def serve(self, key: object, weight: float) -> None:
        self.now = self.start(key)
        self.ends[key] = self.now + 1 / weight


@dataclass(eq=False)
class Line:
    standing: int
    servers: tuple[int, ...]
    calls: list[Call] = field(default_factory=list[Call])
    turns: Turns = field(default_factory=Turns)
    entered: dict[str, tuple[float, int]] = field(default_factory=dict[str, tuple[float, int]])
    """When the next turn of each account begins, and a number for those that begin together."""
    number: int = 0

    def add(self, call: Call) -> None:
        if all(other.account != call.account for other in self.calls):
            self._enter(call.account)
        self.calls = [*self.calls, call]

    def first(self) -> Call:
        accounts = {call.account for call in self.calls}
        account = min(accounts, key=lambda account: self.entered[account])
        return next(call for call in self.calls if call.account == account)

    def weight(self) -> float:
        return sum({call.account: call.weight for call in self.calls}.values())

    def serve(self) -> Call:
        call = self.first()
        newest = [other for other in self.calls if other.account == call.account][-1]
        self.turns.serve(call.account, newest.weight)
        self.remove(call)
        if any(other.account == call.account for other in self.calls):
            self._enter(call.account)
        return call

    def remove(self, call: Call) -> None:
        self.calls = [other for other in self.calls if other is not call]
        if not self.calls:
            self.turns = Turns()

    def _enter(self, account: str) -> None:
        self.number += 1
        self.entered[account] = (self.turns.start(account), self.number)


@dataclass(eq=False)
class Server:
    most: int
    calls: list[Call] = field(default_factory=list[Call])
    turns: dict[int, Turns] = field(
        default_factory=lambda: {standing: Turns() for standing in range(4)}
    )

    @property
    def free(self) -> bool:
        return len(self.calls) < self.most


class Model:
    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.servers = [Server(most) for most in sizes]
        self.lines: list[Line] = []

    def enter(self, call: Call) -> None:
        line = self._line(call)
        if not line.calls:
            for number in call.servers:
                if self.servers[number].free:
                    self.servers[number].calls.append(call)
                    return
        if line not in self.lines:
            self.lines.append(line)
        line.add(call)

    def leave(self, call: Call) -> None:
        """Wherever it is."""
        for line in self.lines:
            if call in line.calls:
                line.remove(call)
        for number, server in enumerate(self.servers):
            if call in server.calls:
                server.calls.remove(call)
                self.hand_on(number)

    def hand_on(self, number: int) -> None:
        server = self.servers[number]
        while lines := [
            line for line in self.lines if line.calls and number in line.servers and server.free
        ]:
            line = min(lines, key=lambda o: (o.standing, server.turns[o.standing].start(o)))
            server.turns[line.standing].serve(line, line.weight())
            server.calls.append(line.serve())

    def holders(self) -> dict[int, int]:
        """By the name of each call that has a slot: which server's."""
        return {
            call.name: number for number, server in enumerate(self.servers) for call in server.calls
        }

    def waiting(self) -> set[int]:
        return {call.name for line in self.lines for call in line.calls}

    def _line(self, call: Call) -> Line:
        for line in self.lines:
            if (line.standing, line.servers) == (call.standing, call.servers):
                return line
        return Line(call.standing, call.servers)
