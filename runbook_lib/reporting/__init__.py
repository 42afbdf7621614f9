"""Tell a run to somebody who was not there: one page for a change ticket."""
