"""The machine agent: measures and reports, carries out signed orders; judges nothing and knows no collector code."""
