"""State machines as tables: rows of (state, event, guard, next state, action), walked by one small runner.

States, events, guards and actions are names. An event or guard is the name of a truth among the facts, an object's
attribute; a guard "" always holds. The rows of a state are asked in order, the first whose event and guard hold is
taken, one a step. What an action means is the business of whoever calls step().
"""

STATE_MS_MAX = 1 << 29


class Machine:
    """`state` and the time in it, `state_ms`, saturating."""

    def __init__(self, rows):
        self._rows = {}  # of each state: not every row of a long table is looked at in every round
        for row in rows:
            self._rows[row[0]] = self._rows.get(row[0], ()) + (row,)
            self._rows[row[3]] = self._rows.get(row[3], ())
        self.state = rows[0][0]
        self.state_ms = 0

    def step(self, facts, dt_ms):
        """The name of the action of the row that was taken ("" may be one), or None if none was."""
        if self.state_ms < STATE_MS_MAX:
            self.state_ms += dt_ms
        for row in self._rows[self.state]:
            if getattr(facts, row[1]) and (row[2] == "" or getattr(facts, row[2])):
                self.state = row[3]
                self.state_ms = 0
                return row[4]
        return None


def mermaid(rows):
    """The table as the text of a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> " + rows[0][0]]
    for state, event, guard, after, action in rows:
        label = event + (" [" + guard + "]" if guard else "") + (" / " + action if action else "")
        lines.append("    " + state + " --> " + after + " : " + label)
    return "\n".join(lines) + "\n"
