"""The web shop: an API that knows the company and the person behind every customer number of the invoices.

Who a customer is follows from the number alone, so that the same invoices always make the same shop.
"""

from __future__ import annotations

import base64
import binascii
import csv
import glob
import gzip
import hashlib
import random
import threading
import unicodedata
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flows.sandbox.config import SandboxConfig

MAX_LIMIT = 5000
FOREVER = datetime.max.replace(tzinfo=UTC)

_FIRST = (
    "Ada", "Bea", "Carl", "Dilip", "Emma", "Femi", "Grace", "Hugo", "Ines", "Jonas", "Kemi", "Liam", "Mara", "Noor",
    "Otis", "Priya", "Quentin", "Rosa", "Samir", "Tess", "Uma", "Victor", "Wanda", "Yusuf",
)  # fmt: skip
_LAST = (
    "Abbott", "Barlow", "Castell", "Dunmore", "Ellery", "Farrow", "Garside", "Hollis", "Ibbotson", "Jessop", "Kellett",
    "Lomax", "Merrow", "Norcott", "Oakes", "Penrose", "Quill", "Rushton", "Sefton", "Tolley", "Underhay", "Venn",
    "Wicks", "Yardley",
)  # fmt: skip
_ODD_PEOPLE = (
    "Zoë Šimek", "Siobhán O'Dea", "Łukasz Żak", "José Núñez", "Aoife \"Fee\" Quirke", "Madlaina", "Jean-Luc D'Arcy",
    "Anna Maria van der Veen", "小林 優", "Ömer Çelik",
)  # fmt: skip
_PLACES = (
    "Anchor", "Bramble", "Copper", "Dovecote", "Easter", "Foxglove", "Granary", "Harbour", "Ivy", "Juniper", "Kestrel",
    "Lantern", "Meadow", "Nutmeg", "Orchard", "Pebble", "Quay", "Rowan", "Saddler", "Thistle",
)  # fmt: skip
_TRADES = ("Gifts", "Homeware", "Interiors", "Living", "Parlour", "Stores", "Supplies", "Trading")
_FORMS = ("Ltd", "& Co", "LLP", "")
_ODD_COMPANIES = ('The "{0}" Shop', "{0}, {1} & Daughters", "{0}'s {2}, Wholesale", "Café {0} {2}")
_DIALS = {"United Kingdom": "+44 20 7946", "Germany": "+49 30 23125", "France": "+33 1 9900", "EIRE": "+353 20 910"}


@dataclass(frozen=True, slots=True)
class Customer:
    """One version of what the shop knows about a customer; its fields are the API's."""

    customer_id: str
    company: str
    person: str
    email: str
    phone: str | None
    country: str
    consent: bool
    updated_at: datetime


def versions(customer_id: str, first_seen: datetime, country: str) -> tuple[Customer, ...]:
    """Invent a customer: one version, or for about one in twenty a second one some days later.

    Args:
        customer_id: the number, such as ``17850``.
        first_seen: when it first occurs, UTC; the first version's ``updated_at``.
        country: in the till's spelling.
    """
    seed = hashlib.blake2b(customer_id.encode(), digest_size=8).digest()
    dice = random.Random(int.from_bytes(seed, "big"))  # noqa: S311 - invented data
    place, other, trade = dice.choice(_PLACES), dice.choice(_LAST), dice.choice(_TRADES)
    company = f"{place} {trade} {dice.choice(_FORMS)}".strip()
    if dice.random() < 0.06:
        company = dice.choice(_ODD_COMPANIES).format(place, other, trade)
    person = f"{dice.choice(_FIRST)} {dice.choice(_LAST)}"
    if dice.random() < 0.05:
        person = dice.choice(_ODD_PEOPLE)
    email = f"{_plain(person)}.{customer_id}@{_plain(place + ' ' + trade).replace('.', '-')}.example"
    if dice.random() < 0.04:
        email = email.upper()
    phone = f"{_DIALS.get(country, '+1 202 555')} {dice.randrange(10_000):04}" if dice.random() > 0.07 else None
    born = Customer(customer_id, company, person, email, phone, country, dice.random() > 0.08, first_seen)
    if dice.random() >= 0.05:
        return (born,)
    later = first_seen + timedelta(days=dice.randint(2, 12), minutes=dice.randrange(600), seconds=dice.randrange(60))
    if born.consent and dice.random() < 0.5:
        return born, replace(born, consent=False, updated_at=later)
    moved = f"{_plain(person)}@{_plain(place)}-{customer_id}.example"
    return born, replace(born, email=moved, updated_at=later)


def _plain(text: str) -> str:
    """Only what may stand in any e-mail address."""
    folded = unicodedata.normalize("NFKD", text.replace("ł", "l").replace("Ł", "L")).encode("ascii", "ignore").decode()
    words = "".join(letter if letter.isalnum() else " " for letter in folded.lower()).split()
    return ".".join(words) or "post"


@dataclass(frozen=True, slots=True)
class _Sighting:
    at: str
    country: str


class Shop:
    """The shop's customers, read again from the invoice files whenever one appears or changes.

    Args:
        retail_files: a glob of invoice files (CSV or CSV.gz); None for a shop without customers.
    """

    def __init__(self, retail_files: str | None) -> None:
        self._glob = retail_files
        self._lock = threading.Lock()
        self._files: dict[str, tuple[tuple[int, int], dict[str, _Sighting]]] = {}
        self._versions: list[tuple[Customer, ...]] = []

    def customers(self, until: datetime) -> list[Customer]:
        """Every customer in the newest version that is not later than a moment, by ``updated_at`` and number.

        Args:
            until: the moment, with a zone.
        """
        known = [[version for version in all_versions if version.updated_at <= until] for all_versions in self._known()]
        return sorted((past[-1] for past in known if past), key=_order)

    def _known(self) -> list[tuple[Customer, ...]]:
        with self._lock:
            if self._read():
                first: dict[str, _Sighting] = {}
                for _, sightings in self._files.values():
                    for number, seen in sightings.items():
                        if number not in first or seen.at < first[number].at:
                            first[number] = seen
                self._versions = [
                    versions(number, datetime.fromisoformat(seen.at).replace(tzinfo=UTC), seen.country)
                    for number, seen in first.items()
                ]
            return self._versions

    def _read(self) -> bool:
        """Read the files that are new or other than before; whether anything moved."""
        present: dict[str, tuple[int, int]] = {}
        for name in sorted(glob.glob(self._glob, recursive=True)) if self._glob else ():
            stat = Path(name).stat()
            present[name] = (stat.st_size, stat.st_mtime_ns)
        if present == {name: stamp for name, (stamp, _) in self._files.items()}:
            return False
        before = self._files
        self._files = {
            name: before[name] if name in before and before[name][0] == stamp else (stamp, _sightings(Path(name)))
            for name, stamp in present.items()
        }
        return True


def _sightings(path: Path) -> dict[str, _Sighting]:
    """A file's customers, each with its first invoice's moment and country."""
    first: dict[str, _Sighting] = {}
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        try:
            who, at, where = (header.index(name) for name in ("CustomerID", "InvoiceDate", "Country"))
        except ValueError:
            return {}
        for row in rows:
            number = row[who].removesuffix(".0") if len(row) == len(header) else ""
            if number and (number not in first or row[at] < first[number].at):
                first[number] = _Sighting(row[at], row[where])
    return first


def _order(customer: Customer) -> tuple[datetime, str]:
    return customer.updated_at, customer.customer_id


def _shown(customer: Customer) -> dict[str, Any]:
    return {**asdict(customer), "updated_at": _text(customer.updated_at)}


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _token(customer: Customer) -> str:
    """Where a page ends: stays right when customers are added while somebody reads."""
    return base64.urlsafe_b64encode(f"{_text(customer.updated_at)} {customer.customer_id}".encode()).decode()


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _bounds(request: Request) -> tuple[datetime, datetime, int, tuple[datetime, str] | None]:
    query = request.query_params
    since = _moment(query.get("updated_since") or "0001-01-01T00:00:00Z")
    until = _moment(query["updated_until"]) if query.get("updated_until") else FOREVER
    limit = int(query.get("limit") or 1000)
    if limit < 1:
        raise ValueError("limit must be at least 1")
    after = None
    if token := query.get("page"):
        at, number = base64.b64decode(token, altchars=b"-_", validate=True).decode().split(" ")
        after = (_moment(at), number)
    return since, until, min(limit, MAX_LIMIT), after


def _page(customers: list[Customer], since: datetime, limit: int, after: tuple[datetime, str] | None) -> dict[str, Any]:
    start = bisect_left(customers, since, key=lambda customer: customer.updated_at)
    if after is not None:
        start = max(start, bisect_right(customers, after, key=_order))
    items = customers[start : start + limit]
    more = start + limit < len(customers)
    return {"items": [_shown(item) for item in items], "next": _token(items[-1]) if more else None}


def routes(config: SandboxConfig) -> list[Route]:
    """The shop's routes, to be mounted under ``/shop``.

    ``GET /customers?updated_since=&updated_until=&limit=&page=`` answers ``{"items": [...], "next": token or null}``,
    sorted by ``updated_at`` and ``customer_id``; both bounds are inclusive, and every customer is in the newest
    version that is not later than ``updated_until``.

    Args:
        config: its ``retail_files`` are the invoice files whose customers the shop knows.
    """
    shop = Shop(config.retail_files)

    def customers(request: Request) -> JSONResponse:
        try:
            since, until, limit, after = _bounds(request)
        except (ValueError, binascii.Error) as error:
            return JSONResponse({"error": f"a query parameter cannot be read: {error}"}, status_code=400)
        return JSONResponse(_page(shop.customers(until), since, limit, after))

    return [Route("/customers", customers)]
