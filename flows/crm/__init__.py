"""Connectors: one small class for each kind of CRM, behind the protocol of `flows.crm.base`."""

from __future__ import annotations

from flows.crm.base import Connector
from flows.crm.hubspot import HubSpot
from flows.crm.salesforce import Salesforce
from flows.project import Connection, HubSpotConnection


def connect(connection: Connection) -> Connector:
    """Make a connector; no request is sent before it is used.

    Args:
        connection: which CRM, and how to log in.

    Returns:
        A connector for one event loop, used as ``async with``. Connectors of one connection share its login, its
        describe answers and its rate, over all threads of this process.
    """
    return HubSpot(connection) if isinstance(connection, HubSpotConnection) else Salesforce(connection)
