"""What is made of the records: approvals, undo, what an earlier run had seen, a copy in
a bucket, a check.
"""
