"""What every method was offered, and what it used (PROTOCOL §4)."""

from study.compare.budget import COUNTED, CellLedger, Used, offers
from study.compare.table import NONE, group_title, offer_text
from study.compare.verdict import WorkloadVerdicts
from study.report.answer import runs_anchor
from study.report.content import StudyContent
from study.report.document import (
    Block,
    Listing,
    Paragraph,
    Section,
    Words,
    anchor,
    by_workload,
    linked,
    strong,
    table,
    text,
)


def budgets(content: StudyContent) -> Section:
    """A table a workload; of a study without a completed run, all cells in one."""
    workloads = content.findings.workloads
    if not workloads:
        accounts = list(content.findings.accounts.values())
        rows = [_row(f"{one.dataset}, {one.model}, {one.method}", "", one) for one in accounts]
        return Section("budgets", "Budgets offered and used", (table("Used so far", _HEADER, rows),) if rows else ())
    parts = [
        Section(anchor("budgets", str(number + 1)), group_title(one.group), _workload(content, one))
        for number, one in enumerate(workloads)
    ]
    words = "Equality is a matter of what is offered; what is used depends on the search and on the machine."
    return by_workload("budgets", "Budgets offered and used", (Paragraph(text(words), "note"),), parts)


_HEADER = ["method", *(f"{outcome}" for outcome in COUNTED), "epochs searched", "device-seconds searched"]
_HEADER += ["runs for a score", "their epochs", "their device-seconds"]


def _workload(content: StudyContent, workload: WorkloadVerdicts) -> tuple[Block, ...]:
    group = workload.group
    accounts = content.findings.accounts_of(group)
    told = [text([strong(f"Offered to {to}"), f": {offer_text(offered)}."]) for to, offered in offers(accounts)]
    if not told:
        told.append(text("The records do not say what was offered."))
    rows = [_row(one.method, "#" + runs_anchor(group, one.method), one) for one in accounts]
    return Listing(tuple(told)), table("Used: search trials by how they ended, and what all runs took", _HEADER, rows)


def _row(label: str, link: str, account: CellLedger) -> list[Words]:
    search, trained = account.searched, account.trained
    outcomes = [str(search.outcomes[outcome]) for outcome in COUNTED]
    numbers = [*outcomes, *amounts(search), str(trained.ended), *amounts(trained)]
    return [strong(label, link), *(linked(number, link) for number in numbers)]


def amounts(used: Used) -> list[str]:
    """Epochs and device-seconds; with a + where some runs did not record theirs, a dash where none did."""
    more = "+" if used.unknown else ""
    return [NONE if amount is None else f"{amount:,.0f}{more}" for amount in (used.epochs, used.device_seconds)]
