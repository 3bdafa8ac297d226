"""The sandbox: a staging CRM and staging sources on loopback, for trying and testing."""
