"""What the CRM should hold, computed from the files line by line, without SQL and without dbt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from tests.dbt.raw import Person, read_file

PENNY = Decimal("0.01")
SPELLINGS = {"EIRE": "Ireland", "RSA": "South Africa", "USA": "United States"}
NOWHERE = {"Unspecified", "European Community"}


@dataclass
class Invoice:
    number: str
    at: datetime
    lines: int = 0
    articles: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    cancelled: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


@dataclass
class Customer:
    number: str
    invoices: dict[str, Invoice] = field(default_factory=dict)
    cancellations: set[str] = field(default_factory=set)
    returns: list[tuple[datetime, str, Decimal]] = field(default_factory=list)
    total: Decimal = Decimal(0)
    seen: list[tuple[datetime, str, str, str]] = field(default_factory=list)


class Books:
    """What the files say so far; more of them can be read night by night."""

    def __init__(self) -> None:
        self.customers: dict[str, Customer] = {}
        self.newest = date.min

    def read(self, files: Iterable[Path]) -> None:
        """Read files that have not been read before."""
        for file in files:
            for position, row in enumerate(read_file(file), start=1):
                at = datetime.fromisoformat(row["InvoiceDate"])
                self.newest = max(self.newest, at.date())
                if not row["CustomerID"]:
                    continue
                number = row["CustomerID"].removesuffix(".0")
                customer = self.customers.setdefault(number, Customer(number))
                _add(customer, row, at, f"{file.name}:{position}")

    def crm(self, people: Iterable[Person]) -> dict[str, dict[str, tuple[Any, ...]]]:
        """The three models as model -> key -> the other columns in the contract's order, without changed_at."""
        customers, shop = self.customers, {person.customer_id: person for person in people}
        return {
            "crm_accounts": {c.number: _account(c, shop.get(c.number), self.newest) for c in customers.values()},
            "crm_contacts": {p.customer_id: _contact(p) for p in shop.values() if _reachable(p, customers)},
            "crm_opportunities": {
                number: row for c in customers.values() for number, row in _opportunities(c) if row[4] > 0
            },
        }


def crm(files: Iterable[Path], people: Iterable[Person]) -> dict[str, dict[str, tuple[Any, ...]]]:
    """What `Books.crm` says once all of these files are read."""
    books = Books()
    books.read(files)
    return books.crm(people)


def _add(customer: Customer, row: dict[str, str], at: datetime, line: str) -> None:
    amount = int(row["Quantity"]) * Decimal(row["UnitPrice"])
    invoice_no, code = row["InvoiceNo"], row["StockCode"].strip().upper()
    customer.total += amount
    if country := row["Country"].strip():
        customer.seen.append((at, invoice_no, line, country))
    if invoice_no[0] == "C":
        customer.cancellations.add(invoice_no)
        customer.returns.append((at, code, -amount))
        return
    invoice = customer.invoices.setdefault(invoice_no, Invoice(invoice_no, at))
    invoice.at = min(invoice.at, at)
    invoice.lines += 1
    invoice.articles[code] += amount


def _account(customer: Customer, person: Person | None, newest: date) -> tuple[Any, ...]:
    days = sorted(invoice.at.date() for invoice in customer.invoices.values())
    total = customer.total.quantize(PENNY, ROUND_HALF_UP)
    country = max(customer.seen)[3] if customer.seen else None
    company = (person.company or "").strip() if person else ""
    return (
        company or f"Customer {customer.number}",
        None if country in NOWHERE else SPELLINGS.get(country or "", country),
        days[0] if days else None,
        days[-1] if days else None,
        len(days),
        len(customer.cancellations),
        total,
        _segment((newest - days[-1]) if days else timedelta.max, len(days), total),
    )


def _segment(since: timedelta, orders: int, value: Decimal) -> str:
    if since.days > 180:
        return "Lost"
    if since.days > 90:
        return "At Risk" if orders > 2 or value >= 1000 else "Hibernating"
    if since.days <= 30 and orders == 1:
        return "New"
    if since.days <= 30 and orders > 4 and value >= 1000:
        return "Champions"
    return "Loyal" if orders > 2 else "Promising"


def _reachable(person: Person, customers: dict[str, Customer]) -> bool:
    return person.consent is True and bool(person.person) and person.customer_id in customers


def _contact(person: Person) -> tuple[Any, ...]:
    *first, last = (person.person or "").split(" ")
    email = (person.email or "").strip().lower() or None
    return (" ".join(first) or None, last, email, person.phone, person.updated_at, person.customer_id)


def _opportunities(customer: Customer) -> Iterable[tuple[str, tuple[Any, ...]]]:
    for invoice in customer.invoices.values():
        invoice.cancelled.clear()
    for at, code, amount in customer.returns:
        holding = [i for i in customer.invoices.values() if code in i.articles and i.at <= at]
        if holding:
            max(holding, key=lambda i: (i.at, i.number)).cancelled[code] += amount
    for invoice in customer.invoices.values():
        back = sum((min(amount, invoice.articles[code]) for code, amount in invoice.cancelled.items()), Decimal(0))
        net = (sum(invoice.articles.values()) - back).quantize(PENNY, ROUND_HALF_UP)
        yield (
            invoice.number,
            (
                f"Invoice {invoice.number}",
                "Closed Won",
                "closedwon",
                invoice.at.date(),
                net,
                back.quantize(PENNY, ROUND_HALF_UP),
                invoice.lines,
                customer.number,
            ),
        )
