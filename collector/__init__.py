"""The collector: keeps the records, holds the links to the agents, passes on signed orders; knows no agent code."""
