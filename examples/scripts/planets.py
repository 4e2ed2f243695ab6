"""The planets on their way around the sun, step by step, in plain Python.

::

    python examples/scripts/planets.py [years]

All bodies attract each other. The program moves them with the leapfrog method, says now and then
where they are, measures how long each planet takes for a turn, and compares that with Kepler's
third law. It also watches the energy of the whole, which should stay as it is.

Units: astronomical units, days, masses of the sun.
"""

from __future__ import annotations

import math
import sys
import time
from typing import NamedTuple

#: The constant of gravitation in these units: the square of Gauss's constant.
G = 0.01720209895**2

DAYS_PER_YEAR = 365.25

#: Days per step. Mercury, the fastest, takes 88 days for a turn.
STEP = 0.25
STEPS_PER_YEAR = round(DAYS_PER_YEAR / STEP)

#: Steps from one look at the angles to the next.
STEPS_PER_LOOK = 16

#: Share by which the planets disturb each other's periods at most; Jupiter and Saturn do most.
TOLERANCE = 0.02

YEARS = 120
YEARS_PER_LINE = 5

#: Characters on the map, and the distance at its ends.
MAP_WIDTH = 50
MAP_REACH = 10.5


class Orbit(NamedTuple):
    """What the tables say of a planet, and its letter on the map."""

    name: str
    letter: str
    sun_masses_per_mass: float
    semi_major_axis: float
    eccentricity: float

    @property
    def mass(self) -> float:
        """Mass, where that of the sun is one."""
        return 1.0 / self.sun_masses_per_mass

    @property
    def period(self) -> float:
        """Days for a turn, by Kepler's third law."""
        attraction = G * (1.0 + self.mass)
        return 2.0 * math.pi * math.sqrt(self.semi_major_axis**3 / attraction)


ORBITS = [
    Orbit("Mercury", "m", 6023600.0, 0.387098, 0.205630),
    Orbit("Venus", "V", 408524.0, 0.723332, 0.006772),
    Orbit("Earth", "E", 328900.5, 1.000000, 0.016709),
    Orbit("Mars", "M", 3098703.0, 1.523679, 0.093400),
    Orbit("Jupiter", "J", 1047.35, 5.204400, 0.048900),
    Orbit("Saturn", "S", 3497.9, 9.582600, 0.056500),
]


class Body:
    """A mass, where it is, and how it moves, in the plane."""

    __slots__ = ("ax", "ay", "mass", "name", "vx", "vy", "x", "y")

    def __init__(self, name: str, mass: float, x: float, y: float, vx: float, vy: float) -> None:
        self.name = name
        self.mass = mass
        self.x, self.y = x, y
        self.vx, self.vy = vx, vy
        self.ax = self.ay = 0.0

    def angle_from(self, other: Body) -> float:
        """Direction from the other body to this one, in radians."""
        return math.atan2(self.y - other.y, self.x - other.x)

    def distance_from(self, other: Body) -> float:
        """Distance between the two."""
        return math.hypot(self.x - other.x, self.y - other.y)


def make_planet(orbit: Orbit, direction: float) -> Body:
    """Put a planet at the point of its orbit that is nearest to the sun.

    Parameters
    ----------
    orbit : Orbit
        Its orbit.
    direction : float
        Where that point is, seen from the sun, in radians.
    """
    distance = orbit.semi_major_axis * (1.0 - orbit.eccentricity)
    # The law of energy on an ellipse.
    attraction = G * (1.0 + orbit.mass)
    speed = math.sqrt(attraction * (2.0 / distance - 1.0 / orbit.semi_major_axis))
    east, north = math.cos(direction), math.sin(direction)
    return Body(
        orbit.name, orbit.mass, distance * east, distance * north, -speed * north, speed * east
    )


class SolarSystem:
    """The sun and its planets.

    Parameters
    ----------
    orbits : list of Orbit
        The planets.
    """

    def __init__(self, orbits: list[Orbit]) -> None:
        self.sun = Body("Sun", 1.0, 0.0, 0.0, 0.0, 0.0)
        # The golden angle keeps them apart.
        self.planets = [make_planet(orbit, 2.39996 * i) for i, orbit in enumerate(orbits)]
        self.bodies = [self.sun, *self.planets]
        self._pairs = [
            (first, second)
            for i, first in enumerate(self.bodies)
            for second in self.bodies[i + 1 :]
        ]
        self._rest_the_center()
        self._attract()

    def _rest_the_center(self) -> None:
        """Let the sun move so that the whole stays where it is."""
        self.sun.vx = -sum(planet.mass * planet.vx for planet in self.planets)
        self.sun.vy = -sum(planet.mass * planet.vy for planet in self.planets)

    def step(self, duration: float) -> None:
        """Let some days pass: half of the push, the way, the other half of the push."""
        half = 0.5 * duration
        for body in self.bodies:
            body.vx += half * body.ax
            body.vy += half * body.ay
            body.x += duration * body.vx
            body.y += duration * body.vy
        self._attract()
        for body in self.bodies:
            body.vx += half * body.ax
            body.vy += half * body.ay

    def _attract(self) -> None:
        for body in self.bodies:
            body.ax = body.ay = 0.0
        for first, second in self._pairs:
            dx = second.x - first.x
            dy = second.y - first.y
            squared = dx * dx + dy * dy
            pull = G / (squared * math.sqrt(squared))
            first.ax += pull * second.mass * dx
            first.ay += pull * second.mass * dy
            second.ax -= pull * first.mass * dx
            second.ay -= pull * first.mass * dy

    def energy(self) -> float:
        """Energy of motion and of attraction together."""
        motion = sum(0.5 * b.mass * (b.vx * b.vx + b.vy * b.vy) for b in self.bodies)
        attraction = sum(
            G * first.mass * second.mass / first.distance_from(second)
            for first, second in self._pairs
        )
        return motion - attraction


class TurnCounter:
    """Counts the turns of a planet, and measures how long they take.

    Parameters
    ----------
    planet, sun : Body
        What turns, and around what.
    """

    def __init__(self, planet: Body, sun: Body) -> None:
        self._planet = planet
        self._sun = sun
        self._start = self._last = planet.angle_from(sun)
        self._turned = 0.0
        self._last_day = 0.0
        self._passages: list[float] = []

    def look(self, day: float) -> None:
        """Note where the planet is on a day; has to be called several times per turn."""
        angle = self._planet.angle_from(self._sun)
        change = (angle - self._last) % (2.0 * math.pi)
        before, self._turned = self._turned, self._turned + change
        next_passage = 2.0 * math.pi * (len(self._passages) + 1)
        if self._turned >= next_passage:
            part = (next_passage - before) / change
            self._passages.append(self._last_day + part * (day - self._last_day))
        self._last, self._last_day = angle, day

    @property
    def turns(self) -> int:
        """The number of turns that are complete."""
        return len(self._passages)

    @property
    def period(self) -> float | None:
        """Days that a turn takes on average, None before the first."""
        return self._passages[-1] / self.turns if self._passages else None


def map_line(system: SolarSystem) -> str:
    """Draw how far the planets are to the east (right) and west (left) of the sun."""
    cells = ["."] * MAP_WIDTH
    letters = ["*", *(orbit.letter for orbit in ORBITS)]
    # The inner ones last, as the outer ones would hide them.
    for body, letter in reversed(list(zip(system.bodies, letters, strict=True))):
        east = body.x - system.sun.x
        # The root spreads those that are near to the sun.
        share = math.copysign(math.sqrt(min(abs(east) / MAP_REACH, 1.0)), east)
        cells[round((1.0 + share) / 2.0 * (MAP_WIDTH - 1))] = letter
    return "".join(cells)


def watch(system: SolarSystem, years: int) -> list[TurnCounter]:
    """Let years pass, and say now and then how it goes."""
    counters = [TurnCounter(planet, system.sun) for planet in system.planets]
    energy_before = system.energy()
    for step in range(1, years * STEPS_PER_YEAR + 1):
        system.step(STEP)
        if step % STEPS_PER_LOOK == 0:
            for counter in counters:
                counter.look(step * STEP)
        year, rest = divmod(step, STEPS_PER_YEAR)
        if rest == 0 and year % YEARS_PER_LINE == 0:
            drift = abs(system.energy() / energy_before - 1.0)
            print(f"year {year:3}  {map_line(system)}  energy off by {drift:.0e}")
    return counters


def report(counters: list[TurnCounter], seconds: float) -> float:
    """Show what was measured, and get the largest difference from Kepler's law, as a share."""
    print()
    print(f"{'planet':10}{'turns':>8}{'days per turn':>18}{'by Kepler':>14}{'difference':>14}")
    largest = 0.0
    for orbit, counter in zip(ORBITS, counters, strict=True):
        if counter.period is None:
            print(f"{orbit.name:10}{0:8}{'-':>18}{orbit.period:14.2f}{'-':>14}")
            continue
        difference = counter.period / orbit.period - 1.0
        largest = max(largest, abs(difference))
        print(
            f"{orbit.name:10}{counter.turns:8}{counter.period:18.2f}{orbit.period:14.2f}"
            f"{difference:14.3%}"
        )
    print()
    print(f"{seconds:.1f} s; largest difference {largest:.2%}")
    return largest


def main(arguments: list[str]) -> int:
    """Run the simulation; returns 0 if Kepler's law holds."""
    years = int(arguments[0]) if arguments else YEARS
    print(f"{years} years with {len(ORBITS)} planets, {STEP} days at a time")
    print(f"          {'west':<{MAP_WIDTH - 4}}east")
    before = time.perf_counter()
    counters = watch(SolarSystem(ORBITS), years)
    largest = report(counters, time.perf_counter() - before)
    return 0 if largest < TOLERANCE else 1


if __name__ == "__main__":
    if main(sys.argv[1:]) != 0:
        raise SystemExit("Kepler would be surprised")
