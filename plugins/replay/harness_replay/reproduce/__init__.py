"""``harness reproduce``: one configuration for all rows of a published table, and our figures beside the published."""
