"""The sandbox's Salesforce dialect."""
