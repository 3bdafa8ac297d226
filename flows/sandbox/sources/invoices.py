"""Daily invoice files such as a wholesaler's till writes them, with everything that is odd about real ones.

All names, prices and people are made up; two calls with the same arguments write the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

HEADER = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")

Line = tuple[str, str, str, int, datetime, float, str, str]

_COLOURS = ("AMBER", "BLUE", "CORAL", "DOVE GREY", "GREEN", "IVORY", "LILAC", "MUSTARD", "NAVY", "PLUM", "RUST", "TEAL")
_STUFFS = (
    "BAMBOO",
    "BEESWAX",
    "CERAMIC",
    "CORK",
    "ENAMEL",
    "FELT",
    "GLASS",
    "LINEN",
    "OAK",
    "PAPER",
    "SLATE",
    "WICKER",
)
_THINGS = (
    "APRON", "BASKET", "BIRD FEEDER", "BOOKENDS, PAIR", "BOWL", "CANDLE HOLDER", "CLOCK", "COASTERS, SET OF 4",
    "DOORSTOP", "EGG CUP", "GARLAND 2M", "JAM JAR", "JUG", "KEY RACK", "LUNCH TIN", "MIRROR", "MUG", "NAPKIN RING",
    "PENCIL POT", "PICTURE FRAME 6\"", "PLANT POT", "STORAGE BOX", "TEAPOT", "TRAY", "TRINKET DISH", "VASE",
)  # fmt: skip
_COUNTRIES = (
    *("United Kingdom",) * 80, "Germany", "Germany", "Germany", "France", "France", "France", "EIRE", "EIRE", "Spain",
    "Belgium", "Netherlands", "Switzerland", "Portugal", "Australia", "Norway", "Channel Islands", "RSA", "USA",
    "Unspecified", "European Community",
)  # fmt: skip
_CARRIAGE = ("POST", "POSTAGE", (15.0, 18.0, 28.0, 40.0))
_NOTES = ("damaged", "found", "", "?", "check", "wet pallet", "")


@dataclass(frozen=True, slots=True)
class _Product:
    code: str
    name: str
    price: float


@dataclass(frozen=True, slots=True)
class _Customer:
    number: str
    country: str


class _Till:
    """One shop's till from its first day on; every day depends on the days before."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(f"till {seed}")  # noqa: S311 - invented data
        self.products = tuple(self._products(320))
        self.customers = tuple(self._customers(900))
        self.number = 536_000 + self.dice.randrange(500)
        self.sold: list[list[Line]] = []

    def _products(self, count: int) -> Iterator[_Product]:
        names = [f"{colour} {stuff} {thing}" for colour in _COLOURS for stuff in _STUFFS for thing in _THINGS]
        codes = self.dice.sample(range(10_000, 90_000), count)
        for name, code in zip(self.dice.sample(names, count), codes, strict=True):
            letter = self.dice.choice(("", "", "", "", "A", "B", "C"))
            spaced = name + ("  " if self.dice.random() < 0.03 else "")
            yield _Product(f"{code}{letter}", spaced, round(self.dice.choice((0.42, 0.85, 1.25, 2.1, 2.95, 4.95, 8.5))
                           * self.dice.uniform(0.8, 1.4), 2))  # fmt: skip

    def _customers(self, count: int) -> Iterator[_Customer]:
        for number in sorted(self.dice.sample(range(12_346, 18_288), count)):
            yield _Customer(f"{number}.0", self.dice.choice(_COUNTRIES))

    def day(self, day: date) -> list[Line]:
        """All lines of one day, in the order in which the till printed them."""
        count = self.dice.randint(24, 38)
        minutes = sorted(self.dice.sample(range(7 * 60 + 30, 18 * 60 + 30), count))
        lines: list[Line] = []
        for minute in minutes:
            at = datetime.combine(day, time(minute // 60, minute % 60))
            self.number += self.dice.choice((1, 1, 1, 2, 3))
            lines += self._slip(at)
        return lines

    def _slip(self, at: datetime) -> list[Line]:
        chance = self.dice.random()
        if chance < 0.13 and self.sold:
            return self._cancellation(at)
        if chance < 0.17:
            return self._correction(at)
        if chance < 0.27:
            return self._sale(at, None)
        # A few customers come often, most come seldom.
        return self._sale(at, self.customers[int(len(self.customers) * self.dice.random() ** 2)])

    def _sale(self, at: datetime, customer: _Customer | None) -> list[Line]:
        number = str(self.number)
        who, where = (customer.number, customer.country) if customer else ("", "United Kingdom")
        lines: list[Line] = []
        for product in self.dice.sample(self.products, min(60, 1 + int(self.dice.expovariate(1 / 16)))):
            quantity = self.dice.choice((1, 1, 2, 2, 3, 4, 6, 6, 8, 10, 12, 12, 24, 48))
            code = product.code.lower() if self.dice.random() < 0.01 else product.code
            price = 0.0 if self.dice.random() < 0.004 else product.price
            line = (number, code, product.name, quantity, at, price, who, where)
            lines += [line, line] if self.dice.random() < 0.012 else [line]
        if customer and where != "United Kingdom" and self.dice.random() < 0.5:
            code, name, prices = _CARRIAGE
            lines.append((number, code, name, 1, at, self.dice.choice(prices), who, where))
        if self.dice.random() < 0.02:
            lines.append((number, "M", "Manual", 1, at, round(self.dice.uniform(1, 90), 2), who, where))
        if customer:
            self.sold.append(lines)
        return lines

    def _cancellation(self, at: datetime) -> list[Line]:
        sold = self.dice.choice(self.sold[-400:])
        number = f"C{self.number}"
        if self.dice.random() < 0.06:
            off = -round(self.dice.uniform(5, 60), 2)
            return [(number, "D", "Discount", -1, at, -off, sold[0][6], sold[0][7])]
        if self.dice.random() < 0.2:
            given_back: Sequence[Line] = sold
        else:
            given_back = self.dice.sample(sold, min(len(sold), self.dice.randint(1, 3)))
        return [
            (number, line[1], line[2], -(line[3] if self.dice.random() < 0.6 else self.dice.randint(1, line[3])), at,
             line[5], line[6], line[7])
            for line in given_back
        ]  # fmt: skip

    def _correction(self, at: datetime) -> list[Line]:
        """A stock correction: no customer, no price, often a negative quantity and hardly a name."""
        product = self.dice.choice(self.products)
        quantity = self.dice.choice((-120, -36, -12, -3, -1, 10, 60))
        note = self.dice.choice(_NOTES)
        return [(str(self.number), product.code, note, quantity, at, 0.0, "", "United Kingdom")]


def trading_days(first: date, days: int) -> Iterator[date]:
    """The first so many days on which there is a file; Saturdays have none.

    Args:
        first: where to begin.
        days: how many.
    """
    day = first
    while days > 0:
        if day.weekday() != 5:
            yield day
            days -= 1
        day += timedelta(days=1)


def generate(folder: Path, *, days: int = 30, seed: int = 7, first: date = date(2010, 12, 1)) -> list[Path]:
    """Write one file of invoice lines for each trading day.

    More days with the same seed and first day leave the earlier files as they are. A file that holds the right lines
    already is not touched; another one of that name is replaced.

    Args:
        folder: where to; made if it is not there.
        days: how many files.
        seed: another seed is another shop.
        first: the first day.

    Returns:
        The files ``YYYY-MM-DD.csv.gz``, by day; a few hundred lines each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    till = _Till(seed)
    written = []
    for day in trading_days(first, days):
        path = folder / f"{day.isoformat()}.csv.gz"
        _write(path, _csv(till.day(day)))
        written.append(path)
    return written


def _csv(lines: Sequence[Line]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(lines)
    return text.getvalue().encode()


def _write(path: Path, content: bytes) -> None:
    try:
        if gzip.decompress(path.read_bytes()) == content:
            return
    except (OSError, EOFError):
        pass
    # A file that appears appears whole; names that begin with a dot are no delivery yet.
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(gzip.compress(content, mtime=0))
    draft.replace(path)
