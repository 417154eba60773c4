"""Read models: table descriptions, projections and queries."""
