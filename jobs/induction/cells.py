"""The two-character codes of a world's map: which object each names, and which of them are supported."""

from __future__ import annotations

COLOURS = {"r": "red", "g": "green", "b": "blue", "p": "purple", "y": "yellow", "e": "grey"}
HUMAN_COLOUR, ROBOT_COLOUR = "y", "e"

FLOOR, WALL, LAVA, UNSTEADY, KILL_BUTTON, PAUSE_SWITCH, DISABLE_KILL, DISABLE_PAUSE = range(8)
"""Kinds of a cell's ground. Agents and mobiles stand on floor, lava and unsteady ground only."""

ENTERABLE = (FLOOR, LAVA, UNSTEADY)
BLOCK, ROCK = "block", "rock"
MOBILES = {"Ro": ROCK, "Bl": BLOCK}

GROUND = {
    "..": FLOOR,
    "Sw": FLOOR,
    "La": LAVA,
    "Un": UNSTEADY,
    "Ki": KILL_BUTTON,
    "Kb": KILL_BUTTON,
    "Pa": PAUSE_SWITCH,
    "Ps": PAUSE_SWITCH,
    "dK": DISABLE_KILL,
    "Dk": DISABLE_KILL,
    "dP": DISABLE_PAUSE,
    "Dp": DISABLE_PAUSE,
    **{"W" + colour: WALL for colour in COLOURS},
    **{"G" + colour: FLOOR for colour in COLOURS},
    **{"A" + colour: FLOOR for colour in COLOURS},
    **dict.fromkeys(MOBILES, FLOOR),
}
"""Ground of every supported code; agents and mobiles start on floor."""

REJECTED = {
    **{"K" + colour: "key" for colour in COLOURS},
    **{"B" + colour: "ball" for colour in COLOURS},
    **{"X" + colour: "box" for colour in COLOURS},
    **{"L" + colour: "locked door" for colour in COLOURS},
    **{"C" + colour: "closed door" for colour in COLOURS},
    **{"O" + colour: "open door" for colour in COLOURS},
    **{"M" + side: "magic wall" for side in "nswea"},
    "Bu": "bush",
    "CB": "control button",
    "dC": "disabling switch for control buttons",
    "DC": "disabling switch for control buttons",
}
"""Codes of the map format whose objects this study does not compute (`Kb` is a kill button, not a blue key)."""
